"""The public names of every package, pinned: a change of them is a change of this file."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

PUBLIC_NAMES = {
    "edgeml_runtime": """
        BackendError BackendFailedError BackendMissingError BackendUnsuitableError Bundle BundleError
        BundleFormatError BundleIntegrityError BundleLimitError BundleVersionError EdgemlError InputError
        Limits Model Result SelfTestReport
    """,
    "edgeml_runtime.backends": """
        BACKENDS FORMAT_BACKENDS Backend TensorInfo installed_backend_version load_backend
    """,
    "edgeml_runtime.loaders": "LOADERS Loader LoaderLimits load_tensor loader_faults",
    "edgeml_evaluate": """
        Interval LabelledData MetricValue PairedLoss Score SliceLoss SliceResult compute_metric decide
        decision_output metric_interval paired_loss run_backend score_predictions slice_losses slice_report
        wilson_interval
    """,
    "edgeml_devices": """
        BenchReport BudgetResult DeviceProfile Verdict bench check_budgets known_profiles load_profile match
        probe_host
    """,
    "edgeml_export": """
        KNOWN_VARIANTS CalibrationMethod ExportOptions ExportReport Folding HostileResult Inventory LayerLoss
        OperatorCount Parity Precision QuantScheme SearchStep ValidationLoss VariantPlan VariantReport VariantSpec
        VnniCheck export_bundle
    """,
    "edgeml_export.explain": "explain_html write_explanation",
    "edgeml_export.foreign": """
        ForeignData ForeignLimits ForeignReport UnscoredReport export_foreign load_foreign_data
    """,
    "edgeml_export.graph": "",
    "edgeml_train": """
        TEMPLATES Project ProjectExport Splits Task TrainReport TrainSettings TrainedRun export_project
        init_project load_run train_project train_schema
    """,
    "edgeml_train.data": """
        Recording find_recordings handwritten_digits load_recordings stratified_parts write_pngs
    """,
    "edgeml_train.features": "Chain FeaturePipeline Fill ImageFeatures LogMel Standardise Window",
    "edgeml_train.networks": "GlobalAveragePool count_parameters digit_cnn ds_cnn",
    "edgeml_train.templates": "TEMPLATES Template init_project",
    "edgeml_fleet": "",
    "edgeml_cli": "",
    "edgeml_cli.commands": "",
}


@pytest.mark.parametrize("package", PUBLIC_NAMES)
def test_public_names_are_these(package):
    assert sorted(importlib.import_module(package).__all__) == sorted(PUBLIC_NAMES[package].split())


@pytest.mark.parametrize("package", PUBLIC_NAMES)
def test_every_public_name_is_there(package):
    module = importlib.import_module(package)
    assert [name for name in module.__all__ if getattr(module, name, None) is None] == []


def test_every_package_is_pinned():
    inits = ROOT.glob("*/edgeml_*/**/__init__.py")
    found = {".".join(path.parent.relative_to(ROOT).parts[1:]) for path in inits}
    assert found == set(PUBLIC_NAMES)


@pytest.mark.parametrize("package", [name for name in PUBLIC_NAMES if "." not in name])
def test_every_package_is_typed(package):
    assert (ROOT / package.removeprefix("edgeml_") / package / "py.typed").is_file()
