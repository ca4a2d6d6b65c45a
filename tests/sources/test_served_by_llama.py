"""Vectors of a real server: llama.cpp's, with a model that was never trained to give any."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Invoke, require_packages, write_jsonl
from tests.scorers import judged
from tests.servers.llama import MODEL, PACKAGES, llama

pytestmark = pytest.mark.real
TEXTS = ["Paris is the capital of France.", "Bees make honey.", "Water boils at 100 degrees."]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    require_packages(*PACKAGES)
    with llama(1, 512, "--pooling", "MEAN") as found:
        yield found


def test_vectors_of_llama_cpp(url: str, tmp_path: Path, invoke: Invoke) -> None:
    rows = [{"_id": f"d{at}", "title": "", "text": text} for at, text in enumerate(TEXTS)]
    write_jsonl(tmp_path / "corpus.jsonl", rows)
    write_jsonl(tmp_path / "queries.jsonl", [{"_id": "q0", "text": "capital of France"}])
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t1\n")
    encoder = ("--encoder", f"v=openai:{MODEL}@{url}", "--no-bm25", "--vectors", "float32")
    words = ("index", "--corpus", tmp_path, *encoder, "-o", tmp_path / "index")
    done = invoke(*words)
    assert done.exit_code == 0, done.output
    vectors = np.load(tmp_path / "index" / "vectors" / "v" / "part-00000.npy")
    assert vectors.shape == (3, 576)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    asked = ("--queries", tmp_path, "--qrels", tmp_path, "-o", tmp_path / "candidates")
    found = invoke("retrieve", tmp_path / "index", *asked)
    assert found.exit_code == 0, found.output
    assert len(judged.rows_of(tmp_path / "candidates")) == 3
    manifest = judged.manifest_of(tmp_path / "index" / "vectors" / "v")
    assert manifest["models"]["v"]["revision"].startswith(f"{MODEL} ")
