"""What runs inside the emulator: the self-test of one variant, and the calls that are counted.

What is here needs nothing but ``edgeml-runtime``, numpy and a backend of the guest's architecture.
"""

__all__: list[str] = []
