"""What importing the runtime costs: names, modules and size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import edgeml_runtime

PACKAGE = Path(edgeml_runtime.__file__).parent

PUBLIC = [
    "BackendError",
    "BackendFailedError",
    "BackendMissingError",
    "BackendUnsuitableError",
    "Bundle",
    "BundleError",
    "BundleFormatError",
    "BundleIntegrityError",
    "BundleLimitError",
    "BundleVersionError",
    "EdgemlError",
    "InputError",
    "Limits",
    "Model",
    "Result",
    "SelfTestReport",
]

# Beyond what numpy itself loads: JSON for the manifest, dataclasses, checksums.
LIGHT = {"__future__", "_json", "_sha2", "_sha256", "copy", "dataclasses", "edgeml_runtime", "json", "org", "zlib"}
WITH_BACKEND = LIGHT | {"importlib", "numpy"}

# Of what an application imports; measuring is for benches, and apart (docs/adr/0020).
SOURCE_BYTES = 300_000
MEASURE_BYTES = 80_000


def loaded_after(source, *arguments):
    """Top-level modules that come to those of numpy."""
    script = (
        "import sys, json\nimport numpy\nbefore = set(sys.modules)\n"
        f"{source}\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in set(sys.modules) - before})))"
    )
    # sys and json of the script itself must not hide what the runtime imports.
    script = script.replace("import sys, json", "import sys").replace("print(json", "import json\nprint(json")
    env = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], env=env, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


def test_public_names():
    assert sorted(edgeml_runtime.__all__) == PUBLIC
    assert dir(edgeml_runtime) == PUBLIC
    for name in PUBLIC:
        assert getattr(edgeml_runtime, name).__name__ == name


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'Nodel'"):
        edgeml_runtime.Nodel  # noqa: B018


def test_import_loads_numpy_and_nothing_heavy():
    assert loaded_after("from edgeml_runtime import Model, Result, InputError, BundleError") <= LIGHT


def test_importing_the_package_alone_loads_not_even_numpy():
    script = "import sys\nimport edgeml_runtime.errors\nprint('numpy' in sys.modules)"
    env = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("variant", "backend"),
    [("onnx-fp32", {"onnxruntime"}), ("tflite-fp32", {"ai_edge_litert", "ai_edge_litert_sdk_intel"})],
)
def test_load_and_predict_load_one_backend_and_nothing_heavy(bundle_of, variant, backend):
    source = (
        "from edgeml_runtime import Model\nimport numpy as np\n"
        "model = Model.load(sys.argv[1], variant=sys.argv[2])\nmodel.predict(np.zeros(16, np.float32)).label"
    )
    loaded = loaded_after(source, bundle_of("scores"), variant)
    assert backend & loaded
    assert loaded <= WITH_BACKEND | backend


def test_source_stays_small():
    sizes = {path.relative_to(PACKAGE): path.stat().st_size for path in PACKAGE.rglob("*.py")}
    assert len(sizes) > 10
    measure = {path for path in sizes if path.parts[0] == "measure"}
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:10]
    assert sum(sizes[path] for path in measure) < MEASURE_BYTES, largest
    assert sum(sizes[path] for path in sizes.keys() - measure) < SOURCE_BYTES, largest
