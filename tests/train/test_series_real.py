"""The Numenta Anomaly Benchmark itself, where it lies beside the checkout or ``EDGEML_NAB`` names its folder."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edgeml_runtime.errors import ProjectError
from edgeml_train import Project, init_project
from edgeml_train.checks import check_splits

BESIDE = Path(__file__).parents[2] / ".." / "shared" / "data" / "nab"
NAB = Path(os.environ.get("EDGEML_NAB", BESIDE)).resolve()

pytestmark = pytest.mark.skipif(not NAB.is_dir(), reason="the Numenta Anomaly Benchmark is not on this machine")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project of the template on the real series."""
    folder = tmp_path_factory.mktemp("real") / "my-machine"
    init_project(folder, "machine-temperature", NAB)
    return Project.open(folder, ())


@pytest.fixture(scope="module")
def splits(project):
    return project.task.splits()


def test_twenty_two_series_are_split_by_time(project, splits):
    check_splits(project.contract, splits)
    for part in (splits.train, splits.validation, splits.test):
        assert len(np.unique(part.attributes["series"])) >= 20
    assert "22 series" in splits.name
    assert len(set(splits.test.attributes["event"]) - {""}) >= 20


def test_the_clock_that_was_set_back_and_loggers_that_repeat_are_named(splits):
    named = {message.partition(",")[0] for message in splits.unreadable}
    assert named == {
        "ec2_disk_write_bytes_1ef3de.csv",
        "ec2_network_in_5abac7.csv",
        "ec2_request_latency_system_failure.csv",
        "machine_temperature_system_failure.csv",
    }
    assert any("2014-01-07 02:00:00 goes back behind" in message for message in splits.unreadable)


def test_series_sampled_otherwise_are_refused_by_name(project):
    other = Project.open(project.folder, ['data.series=["realKnownCause/*"]'])
    with pytest.raises(ProjectError, match=r"ambient_temperature_system_failure \(3600 s.*nyc_taxi \(1800 s"):
        other.task.splits()
