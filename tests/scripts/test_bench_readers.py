"""The bench of the readers makes its files, reads every one of them, and counts right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from negmine import inputs as readers
from tests.conftest import ROOT

SCRIPT = ROOT / "scripts" / "bench_readers.py"


def test_every_file_is_made_and_read(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--rows", "300", "--repeat", "1", "--work", tmp_path]
    made = [
        *command,
        "--only",
        "corpus.tsv",
        "--only",
        "pairs.csv",
        "--report",
        tmp_path / "r.json",
    ]
    subprocess.run(list(map(str, made)), check=True, stdout=subprocess.DEVNULL)
    report = json.loads((tmp_path / "r.json").read_text())
    assert set(report["files"]) == {"corpus.tsv", "pairs.csv"}
    assert report["slower"] == []
    assert report["files"]["corpus.tsv"]["here_cpu"] > 0


@pytest.mark.parametrize(
    "name",
    [
        *("corpus.jsonl", "corpus.csv", "corpus.tsv", "corpus.parquet"),
        *("qrels.tsv", "pairs.jsonl", "pairs.csv"),
    ],
)
def test_files_are_what_they_are_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import bench_readers  # type: ignore[import-not-found, unused-ignore]

    path = bench_readers._file(tmp_path, name, 50)
    columns = readers.Columns()
    read = getattr(readers, f"read_{bench_readers.FILES[name][0]}")
    batches = list(read(str(path), columns, readers.Problems("fail")))
    assert sum(batch.num_rows for batch in batches) == 50
    assert columns.account.notes == []
