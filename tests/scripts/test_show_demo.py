"""The demo's comparison counts what it says, and its pip tells how far it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.conftest import ROOT
from tests.test_docs import script


def ledger(folder: Path, selected: list[int | None]) -> None:
    folder.mkdir(parents=True)
    rows = {"qid": ["a", "a", "b", "b"], "docid": ["1", "2", "1", "3"], "selected": selected}
    pq.write_table(
        pa.table(
            rows, schema=pa.schema([("qid", "string"), ("docid", "string"), ("selected", "int32")])
        ),
        folder / "part-00000.parquet",
    )


def test_both_rules_side_by_side(tmp_path: Path) -> None:
    module = script("show_demo")
    qrels = tmp_path / "qrels.tsv"
    qrels.write_text("query-id\tcorpus-id\tscore\na\t1\t1\nb\t3\t1\n")
    ledger(tmp_path / "ledger-margin", [1, 2, None, 1])
    ledger(tmp_path / "ledger", [None, 1, 1, None])
    told = "\n".join(module.compared(tmp_path, module.judged(qrels)))
    assert "3  2 of 3 (66.7%)" in told
    assert "2  0 of 2 (0.0%)" in told
    assert "--set filter.max-score=" in told


def test_pip_tells_what_it_is_at_and_what_went_wrong(tmp_path: Path) -> None:
    """With a stand-in for pip: nothing is fetched."""
    pip = tmp_path / "pip"
    pip.mkdir()
    (pip / "__init__.py").touch()
    (pip / "__main__.py").write_text(
        "import sys\n"
        "print('Collecting numpy')\nprint('  Downloading numpy.whl (20 MB)')\n"
        "sys.exit(3 if 'bad' in sys.argv else 0)\n"
    )
    for package, code, end in (("good", 0, "pip: done in 0 s"), ("bad", 3, "Downloading numpy")):
        done = subprocess.run(
            [sys.executable, str(ROOT / "scripts" / "pip_install.py"), package],
            env={"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        lines = done.stderr.strip().splitlines()
        assert lines[0] == "pip,   0 s: Collecting numpy"
        assert end in lines[-1]
