"""The traced graph: what lies between inputs and the first layer, what is folded, and which layers there are."""

__all__: list[str] = []
