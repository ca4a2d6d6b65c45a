"""The benchmarks of encoding and reranking, their short forms: both sides run, and agree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.chains import make_data
from tests.conftest import run_script
from tests.hashed_scorer import make_candidates

SHORT = ("--rounds", 1, "--threads", 1, "--batch-size", 8)


def rows_of(printed: str) -> list[list[str]]:
    """The cells of the table's rows, without its head."""
    lines = re.findall(r"^\| (.*) \|$", printed, re.MULTILINE)
    return [line.split(" | ") for line in lines[1:]]


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_encoding_agrees_with_the_library(tmp_path: Path, tiny_body: Path, dtype: str) -> None:
    data = make_data(tmp_path / "data")
    given = (data, "--limit", 30, "--model", tiny_body, "--dtype", dtype, *SHORT)
    printed = run_script("bench_encode.py", *given)
    assert re.search(r"^30 texts of data, [\d,]+ tokens$", printed, re.MULTILINE)
    peer, ours = rows_of(printed)
    assert peer[0] == "SentenceTransformer.encode"
    assert ours[1].endswith(dtype)
    assert float(ours[6]) > 0
    assert (float(ours[8]) < 1e-4) is (dtype == "float32")


def test_reranking_agrees_with_the_library(tmp_path: Path, tiny_cross: Path) -> None:
    given = (make_candidates(tmp_path), tiny_cross, "--queries", 3, *SHORT)
    # By PyTorch, whatever a trial would say.
    how = ("--dtype", "float32", "--runtime", "torch")
    peer, ours = rows_of(run_script("bench_rerank.py", *given, *how))
    assert peer[0] == "CrossEncoder.predict per query"
    assert ours[1] == "torch, float32"
    assert float(ours[7]) < 1e-3
    assert float(ours[8]) > 0.999
