"""A scorer whose scores follow from the texts alone, and which pairs it was asked about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.chains import make_data
from tests.tables import make_scored
from tests.test_plugins import install

#: Scores of eighths in [0, 1] by the texts and its file's name alone; in the file is a line for
#: every pair that it was asked about. Where a file FILE.die holds a number, it is interrupted once
#: it was asked about so many. With "+verdict" it says also yes, no or nothing of each.
SCORER = """
import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
from negmine.extend import Scores

class Hashed:
    def __init__(self, log):
        self.log = log

    def score(self, queries, documents, pairs, progress=None):
        die, done = Path(self.log + ".die"), Path(self.log)
        told = len(done.read_text().splitlines()) if done.exists() else 0
        if die.exists() and told >= int(die.read_text()):
            die.unlink()
            raise KeyboardInterrupt
        with open(self.log, "a") as file:
            for q, d in pairs.tolist():
                file.write(f"{queries[q]}|{documents[d]}\\n")
        salt = Path(self.log).suffix.removesuffix(".log")
        def one(query, document):
            drawn = hashlib.blake2b((salt + query + document).encode(), digest_size=2).digest()[0]
            return (drawn % 6) / 8 + (0.25 if "right" in document else 0)
        if progress is not None:
            progress(len(pairs))
        return np.array(
            [one(queries[q], documents[d]) for q, d in pairs.tolist()], dtype=np.float32
        )

    def describe(self):
        return {"kind": "hashed"}

class WithVerdict(Hashed):
    columns = {"verdict": pa.string()}

    def score(self, queries, documents, pairs, progress=None):
        found = super().score(queries, documents, pairs, progress)
        said = [None if s == 0.25 else "yes" if s > 0.4 else "no" for s in found.tolist()]
        return Scores(found, {"verdict": pa.array(said, pa.string())})

def load(argument, params, prompts):
    if argument.endswith("+verdict"):
        return WithVerdict(argument.removesuffix("+verdict"))
    return Hashed(argument)
"""
QUERIES, DEPTH = 12, 40


def make_candidates(folder: Path) -> Path:
    """Candidates in two parts, copies among them; two positives each, one query without any."""
    rng = np.random.default_rng(5)
    rows: list[list[dict[str, Any]]] = [[], []]
    texts = {}
    for q in range(QUERIES):
        ranks = rng.permutation(np.arange(1, DEPTH + 1))
        for d in range(DEPTH):
            docid, label = f"q{q:02d}d{d:02d}", int(d < 2 and q != 7)
            copied = f"q{q:02d}d{d - 1:02d}" if d % 9 == 8 else docid
            texts[docid] = " ".join(f"{w}{copied}" for w in "abcdefgh") + " right" * label
            rows[q % 2].append(
                {
                    "qid": f"q{q:02d}",
                    "docid": docid,
                    "label": label,
                    "grade": 1 if label else 0 if d % 7 == 6 else None,
                    "rank_bm25": int(ranks[d]),
                    "score_bm25": float(DEPTH - ranks[d]),
                }
            )
    make_scored(folder, rows, sources=("bm25",), scorers=(), doc_texts=texts)
    return folder / "candidates"


def make_recipe(folder: Path, rerank: str, filtering: str) -> Path:
    """A collection in ``data``, and a recipe for it without an encoder.

    Args:
        folder: where both go.
        rerank: lines of ``[rerank]``.
        filtering: lines of ``[filter]``.
    """
    make_data(folder / "data")
    recipe = folder / "mine.toml"
    recipe.write_text(
        f"""work = "work"
[index]
corpus = "data"
[retrieve]
queries = "data"
qrels = "data/qrels.tsv"
k = 20
[rerank]
{rerank}
[filter]
{filtering}
num-negatives = 3
"""
    )
    return recipe


@pytest.fixture
def hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    point = {"negmine.scorers": {"hashed": "hashed_scorer:load"}}
    project = {"name": "hashed", "version": "1", "entry-points": point}
    install(tmp_path / "site", monkeypatch, project, {"hashed_scorer": SCORER})
    return "plugin:hashed"


def asked(log: Path) -> list[str]:
    """The pairs that a scorer was asked about, QUERY|DOCUMENT each."""
    return log.read_text().splitlines() if log.exists() else []


def pairs_of(log: Path) -> int:
    """How many they are."""
    return len(asked(log))
