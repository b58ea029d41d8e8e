"""What the package offers by name."""

from __future__ import annotations

import edgeml_devices


def test_the_public_names_are_these():
    assert sorted(edgeml_devices.__all__) == [
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
    assert all(hasattr(edgeml_devices, name) for name in edgeml_devices.__all__)
