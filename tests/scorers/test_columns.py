"""Scorers that say more of a pair than a score: through entry points and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negmine.scorers.base import HasColumns, Scores
from tests.conftest import Invoke
from tests.scorers import judged
from tests.test_plugins import install

QUERIES, DOCUMENTS = judged.QUERIES, judged.DEPTH
JUDGE = """
import numpy as np
import pyarrow as pa
from negmine.extend import InvalidDataError, Scores

class Judge:
    def __init__(self, argument):
        self.argument = argument
        self.columns = {
            "verdict": pa.string(), "sure": pa.bool_(), "words": pa.int32(), "cost": pa.float64()
        }
        if argument == "taken":
            self.columns = {"score_too": pa.float32()}
        if argument == "list":
            self.columns = {"reasons": pa.list_(pa.string())}

    def score(self, queries, documents, pairs, progress=None):
        shared = [
            len(set(queries[q].split()) & set(documents[d].split())) for q, d in pairs.tolist()
        ]
        columns = {
            "verdict": pa.array(["relevant" if n else None for n in shared], pa.string()),
            "sure": pa.array([n > 1 for n in shared]),
            "words": pa.array(shared, pa.int32()),
            "cost": pa.array([0.5 * n for n in shared]),
        }
        if self.argument == "silent":
            del columns["cost"]
        if self.argument == "short":
            columns["words"] = columns["words"].slice(1)
        known = None
        if self.argument == "shy":
            known = np.array([n != 1 for n in shared])
        if self.argument == "miscounted":
            known = np.ones(len(shared) + 1, dtype=bool)
        return Scores(np.array(shared, dtype=np.float32), columns, known)

    def describe(self):
        return {"kind": "judge"}

def load(argument, params, prompts):
    return Judge(argument)

class Slow:
    def score(self, queries, documents, pairs, progress=None):
        raise AssertionError("score_on is there")

    def score_on(self, queries, documents, pairs, progress, checkpoint):
        out = np.full(len(pairs), np.nan, dtype=np.float32)
        done = checkpoint.restore(out)
        for number, row in enumerate(np.flatnonzero(~done)):
            if number == len(out) // 3 and not done.any():
                raise InvalidDataError("the service is gone")
            out[row] = len(documents[pairs[row, 1]]) + (1000 if done.any() else 0)
            checkpoint.add(np.array([row]))
        return out

    def describe(self):
        return {"kind": "slow"}

def load_slow(argument, params, prompts):
    return Slow()
"""


@pytest.fixture
def candidates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke) -> Path:
    """What a run found, of a corpus without any index; and another package's scorer."""
    point = {"negmine.scorers": {"judge": "their_judge:load", "slow": "their_judge:load_slow"}}
    project = {"name": "theirs", "version": "1", "entry-points": point}
    install(tmp_path / "site", monkeypatch, project, {"their_judge": JUDGE})
    return judged.make_candidates(tmp_path, invoke)


def test_each_column_is_the_pair_s(candidates: Path, tmp_path: Path, invoke: Invoke) -> None:
    command = ["rerank", candidates, "--scorer", "llm=plugin:judge", "--top", 4]
    dry = invoke(*command, "-o", tmp_path / "scored", "--dry-run", "--json")
    assert dry.exit_code == 0, dry.output
    assert invoke(*command, "-o", tmp_path / "scored").exit_code == 0
    table = pq.read_table(tmp_path / "scored")
    names = ["score_llm", "verdict_llm", "sure_llm", "words_llm", "cost_llm"]
    assert table.schema.names[-5:] == names
    types = [pa.float32(), pa.string(), pa.bool_(), pa.int32(), pa.float64()]
    assert [table.schema.field(name).type for name in names] == types
    documents = judged.texts(tmp_path / "data" / "corpus.jsonl")
    queries = judged.texts(tmp_path / "data" / "queries.jsonl")
    rows = table.to_pylist()
    scored = [row for row in rows if row["score_llm"] is not None]
    assert 0 < len(scored) < len(rows)
    assert {row["words_llm"] > 1 for row in scored} == {True, False}
    for row in scored:
        shared = len({*queries[row["qid"]].split()} & {*documents[row["docid"]].split()})
        assert row["score_llm"] == row["words_llm"] == shared
        assert row["cost_llm"] == 0.5 * shared
        assert row["sure_llm"] == (shared > 1)
        assert row["verdict_llm"] == ("relevant" if shared else None)
    # What was not scored has no verdict either.
    assert all(row[name] is None for row in rows if row["score_llm"] is None for name in names)


def test_later_stages_keep_them(candidates: Path, tmp_path: Path, invoke: Invoke) -> None:
    work = tmp_path
    commands: list[list[object]] = [
        ["rerank", candidates, "--scorer", "llm=plugin:judge", "-o", work / "scored"],
        # Another one beside it: its columns bear its own name.
        ["rerank", work / "scored", "--scorer", "two=plugin:judge", "-o", work / "both"],
        ["filter", work / "both", "--by", "llm", "--num-negatives", 2, "-o", work / "ledger"],
        ["export", work / "ledger", "--ids", "-o", work / "train.jsonl"],
        ["explain", work / "ledger", "q1"],
        ["inspect", work / "ledger"],
    ]
    for command in commands:
        result = invoke(*command)
        assert result.exit_code == 0, (command, result.output)
    both, ledger = pq.read_table(work / "both"), pq.read_table(work / "ledger")
    assert {"verdict_llm", "verdict_two"} <= set(both.schema.names)
    for name in ("verdict_llm", "cost_two"):
        assert ledger.column(name).equals(both.column(name))


def test_what_it_cannot_tell_has_no_score_and_is_no_negative(
    candidates: Path, tmp_path: Path, invoke: Invoke
) -> None:
    scored, ledger = tmp_path / "scored", tmp_path / "ledger"
    assert not invoke(
        "rerank", candidates, "--scorer", "llm=plugin:judge/shy", "-o", scored
    ).exit_code
    rows = pq.read_table(scored).to_pylist()
    assert {row["words_llm"] == 1 for row in rows} == {True, False}
    # The other columns say what was seen; the score is not known, and not 0.
    assert all((row["score_llm"] is None) == (row["words_llm"] == 1) for row in rows)
    done = invoke("filter", scored, "--by", "llm", "--num-negatives", 2, "-o", ledger)
    assert done.exit_code == 0, done.output
    for row in pq.read_table(ledger).to_pylist():
        if row["label"] != 1 and row["score_llm"] is None:
            assert row["dropped_by"] == "unscored"
            assert row["selected"] is None


@pytest.mark.parametrize(
    ("argument", "what"),
    [
        ("taken", "declares a column 'score_too'"),
        ("list", "declares 'reasons' as list<item: string>"),
        ("silent", "and declares verdict (string), sure (bool), words (int32), cost (double)"),
        ("short", "values of 'words' for"),
        ("miscounted", "whether they have a score, and scores"),
    ],
)
def test_what_no_table_can_hold_is_refused(
    candidates: Path, tmp_path: Path, invoke: Invoke, argument: str, what: str
) -> None:
    out = tmp_path / "scored"
    result = invoke("rerank", candidates, "--scorer", f"llm=plugin:judge/{argument}", "-o", out)
    assert result.exit_code == 5
    assert "the scorer 'llm'" in result.stderr
    assert what in " ".join(result.stderr.split())
    assert not list(out.glob("part-*"))


def test_a_column_that_is_there_is_not_replaced(
    candidates: Path, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``verdict`` of ``a_b`` and ``verdict_a`` of ``b`` would be one column."""
    code = JUDGE.replace('"verdict"', '"verdict_a"')
    point = {"negmine.scorers": {"other": "other_judge:load"}}
    project = {"name": "others", "version": "1", "entry-points": point}
    install(tmp_path / "site2", monkeypatch, project, {"other_judge": code})
    scorers = ["--scorer", "a_b=plugin:judge", "--scorer", "b=plugin:other"]
    result = invoke("rerank", candidates, *scorers, "-o", tmp_path / "scored")
    assert result.exit_code == 5
    assert "the table has 'verdict_a_b' already" in result.stderr


def test_a_scorer_of_one_score_declares_nothing() -> None:
    class Plain:
        def score(self, *_: Any) -> np.ndarray:
            return np.zeros(0, dtype=np.float32)

        def describe(self) -> dict[str, Any]:
            return {}

    class Telling(Plain):
        columns: Mapping[str, pa.DataType] = {"verdict": pa.string()}

    assert not isinstance(Plain(), HasColumns)
    assert isinstance(Telling(), HasColumns)
    assert Scores(np.zeros(1)).columns == {}


def test_one_that_goes_on_makes_no_row_twice(
    candidates: Path, tmp_path: Path, invoke: Invoke
) -> None:
    command = ["rerank", candidates, "--scorer", "s=plugin:slow", "-o", tmp_path / "scored"]
    assert invoke(*command).exit_code != 0
    result = invoke(*command)
    assert result.exit_code == 0, result.output
    rows = pq.read_table(tmp_path / "scored").to_pylist()
    documents = judged.texts(tmp_path / "data" / "corpus.jsonl")
    # The second run marks what it makes.
    first = [row["score_s"] < 1000 for row in rows]
    assert sum(first) == len(rows) // 3
    for row in rows:
        assert row["score_s"] % 1000 == len(documents[row["docid"]])
