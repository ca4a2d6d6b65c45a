"""Scores of a real server: llama.cpp's, with a model that is no reranker, which the probe finds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests import judged
from tests.chains import call
from tests.conftest import require_packages
from tests.servers.llama import MODEL, PACKAGES, llama

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    require_packages(*PACKAGES)
    with llama(1, 512, "--pooling", "RANK") as found:
        yield found


@pytest.mark.parametrize("shape", ["cohere", "tei"])
def test_a_model_that_is_no_reranker_is_refused(url: str, tmp_path: Path, shape: str) -> None:
    data = judged.collection(tmp_path / "data", 2)
    table = judged.candidates(data, tmp_path)
    where = url if shape == "cohere" else url.removesuffix("/v1")
    words = ("rerank", table, "--scorer", f"ce={shape}:{MODEL}@{where}", "-o", tmp_path / "scored")
    code, output = call(*words)
    assert code == 5, output
    assert "does not tell an answer from other texts" in " ".join(output.split())
    code, output = call(*words, "--trust-anyway")
    assert code == 0, output
    scores = [row["score_ce"] for row in judged.rows(tmp_path / "scored").values()]
    assert len(set(scores)) > 6
    assert np.isfinite(scores).all()
    # What was answered is stored: the same numbers, though the server would give others.
    code, output = call(*words, "--trust-anyway", "--rebuild")
    assert code == 0, output
    assert [r["score_ce"] for r in judged.rows(tmp_path / "scored").values()] == scores
