"""Contracts as files: the golden ones in ``data/contracts``, and what can be wrong with a file as such."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path

import pytest

from edgeml_runtime.contract_parse import contract_sha256, contract_to_dict
from edgeml_runtime.errors import ContractError, ProjectError
from edgeml_train import contract_file
from edgeml_train.contract_file import read_contract_file

CONTRACTS = Path(__file__).parents[1] / "runtime" / "data" / "contracts"
GOOD = sorted((CONTRACTS / "good").glob("*.toml"))
BAD = sorted((CONTRACTS / "bad").glob("*.toml"))
SHORTEST = (CONTRACTS / "good" / "shortest.toml").read_text(encoding="utf-8")

# The hash stands in bundles and on telemetry: a change here makes every fielded contract another one.
HASHES = {
    "anomaly": "6540eb4d46b82378e36b3bd2f9f5609bb5454bfc9ed2821fa439cb0190dab2a8",
    "every_table": "2dc4395af3c110fda4fa740aa0ee609f4efc7b86f98c88545380d84038936096",
    "regression": "0ba341bb5866c26164b132a9d07aca6b3fda3c192bae7212849013abdf06dc7c",
    "shortest": "a21e555112532cc9f782d7e61ddd53859fc16414ed579ad76c20dd9d82a7a140",
}


def expected_faults(text):
    """The ``#! PATH | TEXT [| TEXT]`` lines of a bad contract: every fault, and what it says."""
    lines = re.findall(r"^#! (.*)$", text, re.MULTILINE)
    return [(path, parts) for path, *parts in (line.split(" | ") for line in lines)]


def written(folder, content):
    path = folder / "edgeml.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(path):
    with pytest.raises(ContractError) as caught:
        read_contract_file(path)
    return caught.value


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_contract_has_exactly_these_faults(path):
    expected = expected_faults(path.read_text(encoding="utf-8"))
    assert expected
    error = refusal(path)
    found = [(fault.path, str(fault)) for fault in error.faults]
    assert sorted(where for where, _ in found) == sorted(where for where, _ in expected), str(error)
    for where, parts in expected:
        assert any(where == place and all(part in text for part in parts) for place, text in found), (where, str(error))


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_a_good_contract_keeps_its_hash(path):
    assert contract_sha256(contract_to_dict(read_contract_file(path).contract)) == HASHES[path.stem]


def test_the_canonical_form_is_this_one():
    contract = read_contract_file(CONTRACTS / "good" / "every_table.toml").contract
    expected = json.loads((CONTRACTS / "good" / "every_table.json").read_text(encoding="utf-8"))
    assert contract_to_dict(contract) == expected
    spelled = json.dumps(expected, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert hashlib.sha256(spelled).hexdigest() == HASHES["every_table"]


def test_the_limits_of_int64_stay_exact():
    (spec,) = read_contract_file(CONTRACTS / "good" / "regression.toml").contract.inputs
    assert spec.range == (-(2**63), 2**63 - 1)
    assert contract_to_dict(read_contract_file(CONTRACTS / "good" / "regression.toml").contract)["inputs"][0][
        "range"
    ] == [-(2**63), 2**63 - 1]


def test_the_error_names_the_file_and_counts_the_faults(tmp_path):
    path = written(tmp_path, SHORTEST.replace("floor = 0.9", "floor = 2").replace("0.1.0", "1"))
    error = refusal(path)
    assert error.source == str(path)
    assert str(error).startswith(f"{path}: 2 fault(s) in the contract\n  model.version: expected MAJOR.MINOR.PATCH")
    assert error.exit_code == 2


def test_folder_file_and_path_object_are_the_same(tmp_path):
    path = written(tmp_path, SHORTEST)
    assert read_contract_file(tmp_path) == read_contract_file(path) == read_contract_file(str(tmp_path))


def test_the_projects_own_tables_come_as_they_stand(tmp_path):
    read = read_contract_file(written(tmp_path, SHORTEST + "[data]\npath = 'a'\nx.y = [1, 2]\n[train]\nanything = 1\n"))
    assert read.data == {"path": "a", "x": {"y": [1, 2]}}
    assert read.train == {"anything": 1}
    assert read_contract_file(written(tmp_path, SHORTEST)).data == {}


def test_what_a_fast_training_sets_comes_as_it_stands(tmp_path):
    text = SHORTEST + "[fast]\ntrain.epochs = 2\n[fast.data]\nx.y = [1, 2]\n"
    assert read_contract_file(written(tmp_path, text)).fast == {"train": {"epochs": 2}, "data": {"x": {"y": [1, 2]}}}
    assert read_contract_file(written(tmp_path, SHORTEST + "[fast]\n")).fast == {"train": {}, "data": {}}
    assert read_contract_file(written(tmp_path, SHORTEST)).fast is None


@pytest.mark.parametrize("line", ["'train.epochs' = 2", "epochs = 2", "train = 2"])
def test_a_fast_table_of_another_form_is_refused(tmp_path, line):
    (fault,) = refusal(written(tmp_path, SHORTEST + f"[fast]\n{line}\n")).faults
    assert fault.path.startswith("fast.")
    assert "one of data, train" in fault.expected or fault.expected == "a table"


@pytest.mark.parametrize("content", [SHORTEST.encode("utf-8-sig"), SHORTEST.replace("\n", "\r\n").encode()])
def test_what_windows_editors_write_is_read(tmp_path, content):
    assert read_contract_file(written(tmp_path, content)).contract.name == "shortest"


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path):
    error = refusal(written(tmp_path, b"[model]\nname = 'caf\xe9'\n"))
    assert [str(fault) for fault in error.faults] == ["line 2: expected UTF-8 text, found the byte 0xe9"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = " + "[" * 5000 + "]" * 5000, "nested too deep"),
        ("a = " + "9" * 5000, "digits"),
        ("a\n", "at line 1"),
        ("\x00", "at line 1"),
    ],
    ids=["deep", "long integer", "no value", "zero byte"],
)
def test_text_that_is_no_toml_is_refused(tmp_path, text, says):
    (fault,) = refusal(written(tmp_path, text)).faults
    assert fault.path == "syntax"
    assert says in fault.found


def test_an_integer_too_long_to_be_shown_is_refused(tmp_path):
    (fault,) = refusal(written(tmp_path, SHORTEST.replace("floor = 0.9", "floor = 0x" + "f" * 8000))).faults
    assert (fault.path, fault.found) == ("metric.floor", "an integer of 32000 bits")


def test_a_missing_file_says_how_to_make_one(tmp_path):
    for path, name in [(tmp_path, "edgeml.toml"), (tmp_path / "other.toml", "other.toml")]:
        with pytest.raises(ProjectError, match=f"no {name} in {re.escape(str(tmp_path))}.*`edgeml init` makes one"):
            read_contract_file(path)
    with pytest.raises(ProjectError, match=r"no edgeml.toml in \.: .*`edgeml init`"):
        read_contract_file("edgeml.toml")


def test_a_folder_in_place_of_the_file_is_refused(tmp_path):
    (tmp_path / "edgeml.toml").mkdir()
    for path in (tmp_path, tmp_path / "edgeml.toml"):
        with pytest.raises(ProjectError, match=r"edgeml\.toml: expected a file, found a folder"):
            read_contract_file(path)


def test_a_file_too_large_for_a_contract_is_refused(tmp_path):
    filled = SHORTEST.encode() + b"#" * ((1 << 20) - len(SHORTEST))
    assert read_contract_file(written(tmp_path, filled)).contract.name == "shortest"
    with pytest.raises(ProjectError, match="larger than 1048576 bytes"):
        read_contract_file(written(tmp_path, filled + b"#"))


def test_a_file_that_cannot_be_opened_is_refused(tmp_path):
    path = tmp_path / "edgeml.toml"
    path.symlink_to(path)
    with pytest.raises(ProjectError, match="cannot be read: Too many levels"):
        read_contract_file(path)


@pytest.mark.parametrize(("version", "package"), [((3, 10, 0), "tomli"), ((3, 11, 0), "tomllib")])
def test_a_missing_parser_is_named(tmp_path, monkeypatch, version, package):
    monkeypatch.setattr(sys, "version_info", version)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ProjectError, match=f"needs the package {package}: pip install {package}"):
        contract_file.read_contract_file(written(tmp_path, SHORTEST))
