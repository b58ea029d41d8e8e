"""Measuring a model on the machine at hand: the loop, fresh processes, and ``python -m edgeml_runtime.measure``.

An application that only predicts imports nothing of it. This file imports nothing either: the processes that measure
how long a start takes pass through it.
"""

__all__: list[str] = []
