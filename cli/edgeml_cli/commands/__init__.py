"""The commands of ``edgeml``; each module defines one click command called ``command``."""

__all__: list[str] = []
