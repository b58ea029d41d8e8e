"""How long each operator of a model takes, by the backend's own profiler.

What is here needs nothing but ``edgeml-runtime``, numpy and a backend: it is sent to devices that have no more.
"""

__all__: list[str] = []
