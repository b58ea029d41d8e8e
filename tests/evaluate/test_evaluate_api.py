from __future__ import annotations

import subprocess
import sys

import edgeml_evaluate


def test_public_names():
    assert sorted(edgeml_evaluate.__all__) == [
        "EventLoss",
        "Interval",
        "LabelledData",
        "MetricValue",
        "OperatingPoint",
        "PairedLoss",
        "Ranking",
        "Score",
        "SliceLoss",
        "SliceResult",
        "Threshold",
        "choose_threshold",
        "compute_metric",
        "decide",
        "decision_output",
        "difference_interval",
        "event_loss",
        "metric_interval",
        "operating_point",
        "paired_loss",
        "rank_scores",
        "run_backend",
        "score_predictions",
        "slice_losses",
        "slice_report",
        "wilson_interval",
    ]
    assert all(hasattr(edgeml_evaluate, name) for name in edgeml_evaluate.__all__)


def test_importing_it_loads_no_framework():
    code = "import sys, edgeml_evaluate; print(sorted({'torch', 'onnx', 'onnxruntime', 'mlflow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
