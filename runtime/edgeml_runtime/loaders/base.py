"""What a loader is, what it may cost, and how its options are checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edgeml_runtime.errors import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from edgeml_runtime.tensors import InputSpec

__all__ = ["Loader", "LoaderLimits", "choice_fault", "integer_fault", "unknown_option_faults"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderLimits:
    """What a loader is willing to handle; checked before anything of that size is allocated.

    Attributes:
        file_bytes: Largest file that is read.
        image_pixels: Largest image that is decoded, width times height; the decoder needs 4 bytes for each.
        audio_channels: Largest number of channels of a recording.
        sample_rate_hz: Highest sampling rate of a recording.
    """

    file_bytes: int = 256 * 2**20
    image_pixels: int = 64 * 10**6
    audio_channels: int = 64
    sample_rate_hz: int = 768_000


class Loader(Protocol):
    """A decoder; plugged in by one line in :data:`edgeml_runtime.loaders.LOADERS`.

    Attributes:
        versions: The versions this runtime has. A version is never changed once released: what would give other
            tensors for the same bytes is a new version.
    """

    versions: tuple[int, ...]

    def faults(self, spec: InputSpec, path: str) -> list[Fault]:
        """Check an input's dtype, shape and loader options.

        Args:
            spec: The input; its ``loader`` is set and names this loader.
            path: Key path of the input in the contract, such as ``"inputs[0]"``.

        Returns:
            Every fault, none where :meth:`load` can be called.
        """

    def load(self, spec: InputSpec, data: bytes, *, name: str, limits: LoaderLimits) -> NDArray[Any]:
        """Decode.

        Args:
            spec: The input, without faults.
            data: The encoded file.
            name: What to call the file in messages.
            limits: What may be allocated.

        Returns:
            A new array of exactly the input's dtype and shape.

        Raises:
            InputError: The data is corrupt, of another kind or over a limit.
        """


def unknown_option_faults(options: Mapping[str, object], known: Sequence[str], path: str) -> list[Fault]:
    """Report options that the loader does not have.

    Args:
        options: The options as written.
        known: Names of the options there are.
        path: Key path of the loader.
    """
    expected = f"one of {', '.join(known)}"
    return [
        Fault(f"{path}.{name}", expected, "an option this loader does not have")
        for name in options
        if name not in known
    ]


def choice_fault(options: Mapping[str, object], name: str, choices: Sequence[str], path: str) -> list[Fault]:
    """Report an option that is given and is none of the choices.

    Args:
        options: The options as written.
        name: Name of the option.
        choices: Values it may take; the first is the default.
        path: Key path of the loader.
    """
    value = options.get(name, choices[0])
    if isinstance(value, str) and value in choices:
        return []
    return [Fault(f"{path}.{name}", "one of " + ", ".join(f'"{choice}"' for choice in choices), repr(value))]


def integer_fault(
    options: Mapping[str, object], name: str, low: int, high: int, path: str, *, default: int | None = None
) -> list[Fault]:
    """Report an option that is no integer within bounds.

    Args:
        options: The options as written.
        name: Name of the option.
        low: Smallest allowed value.
        high: Largest allowed value.
        path: Key path of the loader.
        default: Value where it is not given; None makes the option required.
    """
    value = options.get(name, default)
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return []
    found = "nothing" if value is None else repr(value)
    return [Fault(f"{path}.{name}", f"an integer from {low} to {high}", found)]
