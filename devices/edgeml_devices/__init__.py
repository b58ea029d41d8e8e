"""Hardware profiles, budgets and bench reports."""

from __future__ import annotations

from edgeml_devices.bench import bench
from edgeml_devices.budgets import check_budgets
from edgeml_devices.catalogue import list_profiles
from edgeml_devices.ceilings import Ceiling, measure_ceilings
from edgeml_devices.host import match, probe_host
from edgeml_devices.probe import Probe, probe_profile
from edgeml_devices.profile import DeviceProfile
from edgeml_devices.profile_files import known_profiles, load_profile
from edgeml_devices.report import BenchReport, BudgetResult, Verdict

__all__ = [
    "BenchReport",
    "BudgetResult",
    "Ceiling",
    "DeviceProfile",
    "Probe",
    "Verdict",
    "bench",
    "check_budgets",
    "known_profiles",
    "list_profiles",
    "load_profile",
    "match",
    "measure_ceilings",
    "probe_host",
    "probe_profile",
]
