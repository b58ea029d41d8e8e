"""The emulated half of :mod:`edgeml_export.without_vnni`: runs a model over items and writes what comes out.

Started by its path, not imported: an import costs ten times as much under emulation, so it loads numpy, ONNX Runtime
and the backend, and nothing of the package around it. Its one argument is a JSON object: ``path``, the folders to
import those from; ``folder``, where the model and the items lie and the outputs go; ``inputs`` and ``outputs``, names
of the model's tensors.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main(request: dict[str, Any]) -> None:
    """Run every item, one by one.

    Args:
        request: The argument, parsed.

    Raises:
        BackendError: When the model cannot be loaded or run.
    """
    sys.path += request["path"]
    import numpy as np

    from edgeml_runtime.backends.onnxruntime import OnnxRuntimeBackend

    folder = Path(request["folder"])
    names, outputs = request["inputs"], request["outputs"]
    feeds = [np.load(folder / f"in-{index}.npy") for index in range(len(names))]
    backend = OnnxRuntimeBackend.create(
        (folder / "model.onnx").read_bytes(), input_names=names, output_names=outputs, threads=1
    )
    rows = [backend.run([feed[item : item + 1] for feed in feeds]) for item in range(len(feeds[0]))]
    for index in range(len(outputs)):
        np.save(folder / f"out-{index}.npy", np.concatenate([row[index] for row in rows]))


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except Exception as error:  # noqa: BLE001 - whatever the model does to the library is the answer
        sys.stdout.write(f"{type(error).__name__}: {error}")
        sys.exit(1)
