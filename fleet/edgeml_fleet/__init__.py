"""The server side of a fleet: collecting telemetry, drift, publishing and roll-outs."""

__all__: list[str] = []
