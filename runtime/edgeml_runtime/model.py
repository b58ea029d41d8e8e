"""A loaded model: from a bundle to predictions."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from edgeml_runtime.bundle import Bundle
from edgeml_runtime.errors import BackendFailedError, BundleIntegrityError, InputError
from edgeml_runtime.open_session import AUTO, TUNED, open_backend, select_variant
from edgeml_runtime.result import Result, ResultLayout
from edgeml_runtime.validate import batch_feeds, compile_feeds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Any

    from numpy.typing import NDArray

    from edgeml_runtime.backends.base import Backend
    from edgeml_runtime.bundle import Limits
    from edgeml_runtime.manifest import Manifest, Variant
    from edgeml_runtime.selftest import SelfTestReport

__all__ = ["Model"]


class Model:
    """One variant of a bundle, ready to predict; made by :meth:`load`. Any number of threads may use it.

    Close it when done, or use it as a context manager::

        with Model.load("my-words-1.0.0.edgeml") as model:
            print(model.predict(waveform).label)

    Attributes:
        manifest: What the bundle states about itself; ``manifest.inputs`` says what :meth:`predict` takes.
        variant: The variant that runs.
        backend_name: What runs it, such as ``"onnxruntime"``.
        backend_version: Release of that, such as ``"1.32.0"``.
        bundle_path: Absolute path of the file it was loaded from; it is not kept open.
        threads: Threads the backend uses for one prediction.
    """

    __slots__ = (
        "_backend",
        "_feeds",
        "_layout",
        "_limits",
        "_whole_batches",
        "backend_name",
        "backend_version",
        "bundle_path",
        "manifest",
        "threads",
        "variant",
    )

    def __init__(self, bundle: Bundle, variant: Variant, backend: Backend, threads: int | None) -> None:
        self._backend = backend
        self._limits = bundle.limits
        self._feeds = compile_feeds(bundle.manifest.inputs)
        self._layout = ResultLayout(bundle.manifest.outputs, variant.id, anomaly="anomaly" in bundle.manifest.contract)
        self._whole_batches = all(tensor.shape[:1] == (None,) for tensor in (*backend.inputs, *backend.outputs))
        self.manifest: Manifest = bundle.manifest
        self.variant = variant
        self.backend_name = backend.name
        self.backend_version = backend.version
        self.bundle_path = os.path.abspath(bundle.path)
        self.threads = threads or 1

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        variant: str = AUTO,
        threads: int | None = None,
        backend: str | None = None,
        limits: Limits | None = None,
        tune_seconds: float = 2.0,
        tuned_path: str | os.PathLike[str] | None = None,
    ) -> Model:
        """Load a bundle.

        Args:
            path: A ``.edgeml`` file.
            variant: A variant id such as ``"onnx-int8"``, or ``"auto"`` for the first variant, in the manifest's order,
                whose backend is installed and new enough and whose CPU features are there. ``"tuned"`` for the fastest
                variant, backend and number of threads on this machine: as remembered beside the bundle, else measured
                now in a process of its own, and remembered. Where that fails, which is logged, it is ``"auto"``.
            threads: Threads for one prediction; None for 1, which is the fastest for small models and leaves the other
                cores to the application. With ``"tuned"``, None leaves the number to be found.
            backend: What is to run it, such as ``"openvino"``; None for the backend that the manifest names and the
                bundle's metrics were obtained with. Another one is used only after the bundle's golden vectors have
                passed on it, which adds one prediction per golden case to the loading.
            limits: What to refuse as too large; the defaults of :class:`edgeml_runtime.bundle.Limits` when left out.
            tune_seconds: How long ``"tuned"`` may measure, in all, where nothing is remembered.
            tuned_path: File in which ``"tuned"`` remembers, or an existing folder for such files; None for
                ``PATH.tuned.json`` beside the bundle.

        Returns:
            The model; the caller closes it.

        Raises:
            InputError: The bundle has no such variant, or ``threads`` is not a positive integer.
            BundleError: The bundle must not be used: missing, truncated, altered, too large or of a newer format.
            BackendMissingError: No installed backend runs it; the message names the package to install.
            BackendUnsuitableError: The backend is too old or made for other formats, or the CPU lacks a feature; or the
                golden vectors do not pass on the backend asked for.
            BackendFailedError: The backend cannot load the model file.
        """
        if variant == TUNED:
            from edgeml_runtime.tuned import load_tuned
            from edgeml_runtime.tuned_store import Asked

            asked = Asked(threads=threads, backend=backend)
            return load_tuned(path, asked=asked, limits=limits, seconds=tune_seconds, stored=tuned_path)
        with Bundle.open(path, limits=limits) as bundle:
            chosen = select_variant(bundle, variant, backend=backend)
            return cls(bundle, chosen, open_backend(bundle, chosen, threads, backend=backend), threads)

    def predict(self, x: NDArray[Any] | Mapping[str, NDArray[Any]]) -> Result:
        """Predict one item.

        Args:
            x: For a model with one input, an array of the contract's dtype and shape, without a batch dimension. For
                any model, a mapping from input name to such an array. Arrays are only read, and may be changed
                afterwards.

        Returns:
            The result.

        Raises:
            InputError: The item does not fit the contract; the message says what was expected and found. The model goes
                on working.
            BackendFailedError: The backend raised.
            BackendError: The model was closed.
        """
        return Result(self._backend.run(self._feeds(x)), self._layout)

    def predict_batch(self, x: NDArray[Any] | Mapping[str, NDArray[Any]]) -> list[Result]:
        """Predict several items; all of them are checked before the first one is run.

        They are run one after another, or all at once where the file leaves the batch dimension open.

        Args:
            x: For a model with one input, an array [n, *shape] of the contract's dtype. For any model, a mapping from
                input name to such an array.

        Returns:
            One result per item.

        Raises:
            InputError: An item does not fit the contract, the batch is empty, or the inputs' lengths differ.
            BackendFailedError: The backend raised, or gave other than one output per item.
            BackendError: The model was closed.
        """
        batches = batch_feeds(x, self.manifest.inputs)
        layout, run, count = self._layout, self._backend.run, len(batches[0])
        if not self._whole_batches:
            return [Result(run([batch[index : index + 1] for batch in batches]), layout) for index in range(count)]
        arrays = run(batches)
        if {len(array) for array in arrays} != {count}:
            shapes = [array.shape for array in arrays]
            raise BackendFailedError(f"{self!r}: expected outputs for {count} items, found {shapes}; export it again")
        return [Result([array[index : index + 1] for array in arrays], layout) for index in range(count)]

    def predict_file(self, path: str | os.PathLike[str]) -> Result:
        """Decode a file with the contract's loader and predict it.

        Args:
            path: An encoded file, such as a recording or an image.

        Returns:
            The result.

        Raises:
            InputError: The file is missing, corrupt or of another kind, or the model has other inputs beside.
            BackendFailedError: The backend raised.
            BackendError: The model was closed.
        """
        return self.predict(self.load_file(path))

    def load_file(self, path: str | os.PathLike[str]) -> NDArray[Any]:
        """Decode a file with the contract's loader.

        Args:
            path: An encoded file, such as a recording or an image.

        Returns:
            A new array as the input that has the loader takes it.

        Raises:
            InputError: The file is missing, corrupt or of another kind, or not exactly one input has a loader.
        """
        from edgeml_runtime.loaders import load_tensor

        loaded = [spec for spec in self.manifest.inputs if spec.loader is not None]
        if len(loaded) != 1:
            names = ", ".join(repr(spec.name) for spec in loaded) or "none"
            raise InputError(
                f"reading a file needs exactly one input with a loader; those of this model: {names}; hand in arrays"
            )
        return load_tensor(loaded[0], path)

    def self_test(self) -> SelfTestReport:
        """Run the bundle's golden vectors through :meth:`predict` and compare with what is expected of this variant.

        Returns:
            The report, per case and output; ``report.passed`` says whether all is well.

        Raises:
            BundleError: The golden vectors were altered, or another bundle lies at ``bundle_path`` meanwhile.
            BackendError: The model was closed.
        """
        from edgeml_runtime.selftest import run_self_test

        with Bundle.open(self.bundle_path, limits=self._limits) as bundle:
            if bundle.manifest != self.manifest:
                raise BundleIntegrityError(
                    f"{self.bundle_path}: was replaced since the model was loaded; load it again"
                )
            return run_self_test(self, bundle)

    def close(self) -> None:
        """Release the model. Predictions that run in other threads end as usual. Closing twice is allowed."""
        self._backend.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        name, version = self.manifest.name, self.manifest.version
        return f"Model({name} {version}, {self.variant.id}, {self.backend_name} {self.backend_version})"
