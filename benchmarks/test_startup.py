"""What importing the runtime, loading a bundle and a first prediction cost over the bare backend, in fresh processes.

``python -m pytest benchmarks/test_startup.py``. CPU time is user and system time of the whole process, memory its peak;
both ways import numpy and the backend and run the same model. Processes alternate. Bytecode is cached, as
``pip install`` leaves it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from edgeml_runtime import Bundle

PROCESSES = 15
CPU_MS_BAR = 40.0
RSS_MB_BAR = 7.0
RUNTIME = Path(__file__).parent.parent / "runtime"

FIGURES = """
import resource
def peak_mb():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
used = resource.getrusage(resource.RUSAGE_SELF)
print((used.ru_utime + used.ru_stime) * 1e3, peak_mb())
"""

BARE = {
    "onnx-fp32": """
import sys
import numpy as np
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
content = open(sys.argv[2], "rb").read()
session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
scores = session.run(["probabilities"], {"features": np.zeros((1, 16), np.float32)})[0]
label = "abcdefghijklmnop"[scores.argmax()]
""",
    "tflite-fp32": """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_content=open(sys.argv[2], "rb").read(), num_threads=1)
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.zeros((1, 16), np.float32))
interpreter.invoke()
scores = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
label = "abcdefghijklmnop"[scores.argmax()]
""",
}

RUNTIME_WAY = """
import sys
import numpy as np
from edgeml_runtime import Model
label = Model.load(sys.argv[1], variant={variant!r}).predict(np.zeros(16, np.float32)).label
"""


def run_fresh(source, arguments, cache):
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    env |= {"PYTHONPYCACHEPREFIX": str(cache), "PYTHONPATH": str(RUNTIME)}
    command = [sys.executable, "-c", source + FIGURES, *map(str, arguments)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return tuple(map(float, done.stdout.split()))


@pytest.mark.parametrize("variant", BARE)
def test_start_over_bare_backend(one_node, tmp_path, show, variant):
    path = one_node["float32"]
    with Bundle.open(path) as bundle:
        model = tmp_path / "model"
        model.write_bytes(bundle.read(next(v.file for v in bundle.manifest.variants if v.id == variant)))
    ways = {"bare": BARE[variant], "runtime": RUNTIME_WAY.format(variant=variant)}
    figures = {name: [] for name in ways}
    for number in range(PROCESSES + 1):
        for name, source in ways.items():
            figure = run_fresh(source, (path, model), tmp_path / "bytecode")
            if number:  # the first process of each writes the bytecode
                figures[name].append(figure)
    cpu_ms, rss_mb = ({k: statistics.median(f[i] for f in v) for k, v in figures.items()} for i in (0, 1))
    over_ms, over_mb = (median["runtime"] - median["bare"] for median in (cpu_ms, rss_mb))
    show(
        f"\n{variant:12} CPU bare {cpu_ms['bare']:.1f} ms, runtime {cpu_ms['runtime']:.1f} ms, over {over_ms:.1f} ms; "
        f"peak memory {rss_mb['bare']:.1f} and {rss_mb['runtime']:.1f} MB, over {over_mb:.2f} MB"
    )
    assert over_ms <= CPU_MS_BAR
    assert over_mb <= RSS_MB_BAR
