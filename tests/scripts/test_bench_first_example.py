"""From a command to the first examples, against the peer: the short form."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chains import cranfield_slice
from tests.conftest import run_script


@pytest.mark.real
def test_its_short_form_tells_both_sides(tmp_path: Path, minilm: Path) -> None:
    data = cranfield_slice(tmp_path / "data", 150)
    given = [data, "--out", tmp_path / "out", "--model", minilm, "--pairs", 60]
    given += ["--num-negatives", 2, "--rounds", 0]
    printed = run_script("bench_first_example.py", *given)
    lines = [line.split("|") for line in printed.splitlines() if line.startswith("|")]
    told = {cells[1].strip(): [cell.strip() for cell in cells[2:-1]] for cells in lines}
    # Seconds, share of the peer's, CPU seconds, share of the peer's.
    assert told["mine_hard_negatives"][1::2] == ["1.00", "1.00"]
    assert float(told["negmine run"][3]) > 0
    assert (tmp_path / "out" / "run" / "train.parquet").is_file()
    assert (tmp_path / "out" / "peer.parquet").is_file()
