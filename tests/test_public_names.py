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
        BACKENDS BACKEND_FORMATS FORMAT_BACKENDS Backend TensorInfo installed_backend_version load_backend
    """,
    "edgeml_runtime.loaders": "LOADERS Loader LoaderLimits load_tensor loader_faults",
    "edgeml_runtime.measure": "",
    "edgeml_pages": """
        STYLES Bar Cell Html Plot Scale bars code document escaped figure folded gallery gauge judged legend section
        size_text stack table tag xml_text yes_no
    """,
    "edgeml_evaluate": """
        EventLoss Interval LabelledData MetricValue OperatingPoint PairedLoss Ranking Score SliceLoss
        SliceResult Threshold choose_threshold compute_metric decide decision_output difference_interval
        event_loss metric_interval operating_point paired_loss rank_scores run_backend score_predictions
        slice_losses slice_report wilson_interval
    """,
    "edgeml_devices": """
        BenchReport BudgetResult Ceiling DeviceProfile Probe Verdict bench check_budgets known_profiles list_profiles
        load_profile match measure_ceilings probe_host probe_profile
    """,
    "edgeml_devices.emulator": """
        ARCHITECTURES Emulator SetUp Site Sysroot cache_folder open_sysroot remove_emulator set_up_emulator
    """,
    "edgeml_devices.emulator.guest": "",
    "edgeml_devices.native": "Runner RunnerKind read_runner",
    "edgeml_devices.profilers": "",
    "edgeml_devices.pages": "bench_page",
    "edgeml_devices.reports": """
        BenchRecord FORMATS History Subject TargetBench check_report_path make_record read_history read_subject
        report_text write_report
    """,
    "edgeml_devices.remote": """
        AdbAddress AdbLimits AdbTarget ManyReport NativeTarget SshAddress SshLimits SshTarget TargetReport bench_targets
        parse_target
    """,
    "edgeml_export": """
        KNOWN_VARIANTS CalibrationMethod ExportOptions ExportReport Folding HostileResult Inventory LayerLoss
        OperatorCount Parity Precision QuantScheme SearchStep ValidationLoss VariantPlan VariantReport VariantSpec
        VnniCheck export_bundle
    """,
    "edgeml_export.explain": "explain_html write_explanation",
    "edgeml_export.fakequant": """
        LearnedRange LearnedRanges MeasuredVariant SimulatedModel measure_int8 simulate_int8
    """,
    "edgeml_export.foreign": """
        ForeignData ForeignLimits ForeignReport UnscoredReport export_foreign load_foreign_data
    """,
    "edgeml_export.graph": "",
    "edgeml_train": """
        Project ProjectExport QatReport RunComparison SlimRequest Splits TEMPLATES Task TrainReport
        TrainSettings TrainedRun compare_runs export_project init_project load_run train_project train_qat_project
        train_schema
    """,
    "edgeml_train.data": """
        CIFAR10_LABELS Event LabelledFile LoadedFiles Part Recording SPEECH_COMMANDS_12 Series cut_windows
        find_images find_machine_sounds find_photographs find_recordings find_series find_speech_commands
        grouped_parts handwritten_digits load_cifar10 load_files load_photographs load_series load_splits
        load_table part_by_hash read_series split_students stratified_parts write_pngs
    """,
    "edgeml_train.features": """
        Cepstra Chain FeaturePipeline Fill Function ImageFeatures Join LogMel OneHot Relative Standardise Window
    """,
    "edgeml_train.networks": """
        GlobalAveragePool ReconstructionScore ScoringAutoencoder count_parameters dense_autoencoder digit_cnn
        ds_cnn load_pretrained mlp mobilenet_v1 resnet8
    """,
    "edgeml_train.slim": "ChannelGroup Channels NetworkShape SlimRequest Slimming find_channels",
    "edgeml_train.qat": "QatReport QatRow Stage",
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
