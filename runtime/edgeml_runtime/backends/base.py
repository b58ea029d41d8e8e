"""What a backend is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from edgeml_runtime.errors import BackendError, BackendFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from edgeml_runtime.manifest import InputEncoding

__all__ = ["Backend", "TensorInfo", "closed_run", "failed_run", "pick_tensors"]


class TensorInfo:
    """A tensor as a model file declares it. A plain class: building a dataclass takes a millisecond of every start.

    Attributes:
        name: Name in the file.
        dtype: Element type by its numpy name; the file's own word where numpy has none.
        shape: Full shape with the batch dimension; None for a dimension the file leaves open.
    """

    __slots__ = ("dtype", "name", "shape")

    def __init__(self, *, name: str, dtype: str, shape: tuple[int | None, ...]) -> None:
        self.name = name
        self.dtype = dtype
        self.shape = shape

    def __repr__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name!r} {self.dtype}[{sizes}]"


class Backend(Protocol):
    """A model loaded into an inference library; plugged in by one line in :data:`edgeml_runtime.backends.BACKENDS`.

    A module of a backend imports its library inside functions only.

    Attributes:
        name: Its key in :data:`edgeml_runtime.backends.BACKENDS`.
        version: Release of the library that runs it.
        package: What to ``pip install`` to get the library.
        inputs: The tensors that :meth:`run` takes, in its order.
        outputs: The tensors that :meth:`run` gives, in its order.
    """

    name: str
    package: str
    version: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    @classmethod
    def installed_version(cls) -> str:
        """Import the library.

        Returns:
            Its release.

        Raises:
            ImportError: It is not installed, or does not load.
        """

    @classmethod
    def installed_package(cls) -> str:
        """Say which of the packages that can bring the library it comes from here.

        Returns:
            Its name, such as ``tflite-runtime``; a variant can be refused by it.

        Raises:
            ImportError: None is installed, or it does not load.
        """

    @classmethod
    def declared(cls, model: bytes) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
        """Read which tensors a model file takes and gives, by the names :meth:`create` knows them by.

        Args:
            model: Content of the model file.

        Returns:
            The inputs and the outputs, in the order of the file.

        Raises:
            BackendFailedError: The library cannot load the file.
            ImportError: The library is not installed.
        """

    @classmethod
    def create(
        cls,
        model: bytes,
        *,
        input_names: Sequence[str],
        output_names: Sequence[str],
        threads: int | None,
        encodings: Sequence[InputEncoding | None] = (),
    ) -> Backend:
        """Load a model.

        Args:
            model: Content of the model file.
            input_names: Names, in the file, of the tensors that :meth:`run` takes, in its order.
            output_names: Names, in the file, of the tensors that :meth:`run` gives, in its order.
            threads: Threads for one run; None for 1, which is the fastest for small models and leaves the other cores
                to the application.
            encodings: How the file encodes each input, None where it does not; empty where it encodes none.

        Returns:
            The loaded model; the caller closes it.

        Raises:
            BackendFailedError: The library cannot load the file, the file has no tensor of such a name, or the backend
                cannot encode an input so.
            ImportError: The library is not installed.
        """

    def run(self, feeds: Sequence[NDArray[Any]], /) -> list[NDArray[Any]]:
        """Run once. Any number of threads may call this. An attribute that holds a function will do, and is faster.

        Args:
            feeds: One array per input, of the dtype and shape ``inputs`` states; of uint8 where the input is encoded.
                They are only read.

        Returns:
            One new array per output, of its own memory, as ``outputs`` states.

        Raises:
            BackendFailedError: The library raised.
            BackendError: The backend was closed.
        """

    def close(self) -> None:
        """Release the model. Runs in other threads end as usual. Closing twice is allowed."""


def closed_run(_: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """The run of a closed backend.

    Raises:
        BackendError: Always.
    """
    raise BackendError("the model was closed; load it again with Model.load")


def failed_run(library: str, error: Exception) -> BackendFailedError:
    """Build the error for a run in which a library raised.

    Args:
        library: Its name and release.
        error: What it raised.
    """
    return BackendFailedError(f"{library} failed while running the model: {error}")


def pick_tensors(names: Sequence[str], declared: Sequence[TensorInfo], kind: str) -> tuple[TensorInfo, ...]:
    """Find tensors of a model file by name.

    Args:
        names: Names to find.
        declared: What the file declares.
        kind: ``"input"`` or ``"output"``, for the message.

    Returns:
        The tensors in the order of ``names``.

    Raises:
        BackendFailedError: There is no tensor of one of the names; or, for inputs, one is left over.
    """
    by_name = {tensor.name: tensor for tensor in declared}
    known = ", ".join(map(repr, by_name))
    for name in names:
        if name not in by_name:
            raise BackendFailedError(f"the model file has no {kind} {name!r}; its {kind}s are {known}; export it again")
    if kind == "input" and len(names) != len(declared):
        raise BackendFailedError(
            f"the model file takes the inputs {known}, but the manifest names {', '.join(map(repr, names))}; "
            "export it again"
        )
    return tuple(by_name[name] for name in names)
