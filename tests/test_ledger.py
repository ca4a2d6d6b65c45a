"""``negmine.open``: a ledger that can be asked again, against the command line and its files."""

from __future__ import annotations

import doctest
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import negmine
from negmine import ledger as ledgers
from negmine.errors import (
    ConflictError,
    EmptyResultError,
    MissingInputError,
    UsageError,
)
from tests.conftest import ROOT, Invoke
from tests.tables import make_scored

QUERIES = {"q1": "what is the first thing", "q2": "what is the second thing"}
ROWS: list[list[dict[str, Any]]] = [
    [
        {"qid": "q1", "docid": "d1", "label": 1, "rank_bm25": 1, "score_bm25": 9, "score_ce": 1.0},
        {"qid": "q1", "docid": "d2", "label": 0, "rank_bm25": 2, "score_bm25": 8, "score_ce": 0.96},
        {"qid": "q1", "docid": "d3", "label": 0, "rank_bm25": 3, "score_bm25": 7, "score_ce": 0.85},
        {"qid": "q1", "docid": "d4", "label": 0, "rank_bm25": 4, "score_bm25": 6, "score_ce": 0.4},
    ],
    [
        {"qid": "q2", "docid": "d5", "label": 1, "rank_bm25": 1, "score_bm25": 5, "score_ce": 1.0},
        {"qid": "q2", "docid": "d6", "label": 0, "rank_bm25": 2, "score_bm25": 4, "score_ce": 0.5},
    ],
]
FILTER = ["--relative-margin", "0.1", "--num-negatives", "2"]


@pytest.fixture
def work(tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work folder with a ledger in the current folder."""
    make_scored(tmp_path / "work", ROWS, sources=("bm25",), query_texts=QUERIES)
    monkeypatch.chdir(tmp_path)
    done = invoke("filter", "work/scored", *FILTER, "-o", "work/ledger")
    assert done.exit_code == 0, done.output
    return Path("work")


def rows_of(ledger: Path) -> list[dict[str, Any]]:
    """What lies in its files."""
    return [
        row for part in sorted(ledger.glob("part-*")) for row in pq.read_table(part).to_pylist()
    ]


def test_every_example_of_the_docstrings(work: Path) -> None:
    names = {"ledger": negmine.open(work / "ledger")}
    ran = doctest.testmod(ledgers, extraglobs=names, raise_on_error=False)
    assert ran.failed == 0
    asked = {"explain", "refilter", "to_arrow", "to_pandas", "examples", "counts", "short_queries"}
    for name in asked:
        assert ">>>" in (getattr(ledgers.Ledger, name).__doc__ or ""), name


def test_the_page_about_python(work: Path) -> None:
    """The code of the documentation runs, in its order, and prints what stands there."""
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```pycon\n(.*?)```", page, re.DOTALL)
    assert blocks
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner()
    test = parser.get_doctest("\n".join(blocks), {}, "python.md", None, 0)
    assert runner.run(test).failed == 0


def test_counts_are_those_of_the_rows(work: Path) -> None:
    ledger, rows = negmine.open(work / "ledger"), rows_of(work / "ledger")
    counts = ledger.counts
    assert (counts.queries, counts.rows, len(ledger)) == (2, 6, 6)
    assert sum(counts.dropped.values()) == sum(row["dropped_by"] is not None for row in rows)
    assert counts.survivors == sum(row["dropped_by"] is None for row in rows)
    assert counts.selected == sum(row["selected"] is not None for row in rows)
    assert (counts.short, counts.none) == (1, 0)
    assert ledger.short_queries() == ["q2"]
    assert ledger.qids() == ["q1", "q2"]
    assert ledger.sources == ["bm25"]
    assert ledger.scores == ["bm25", "ce"]
    assert repr(ledger) == "Ledger('work/ledger': 2 queries, 6 rows, 3 selected)"


def test_explain_is_what_the_command_prints(work: Path, invoke: Invoke) -> None:
    printed = invoke("explain", str(work / "ledger"), "q1", "--json").stdout
    assert negmine.open(work / "ledger").explain("q1") == json.loads(printed)
    with pytest.raises(MissingInputError, match="no query 'q3'"):
        negmine.open(work / "ledger").explain("q3")


def test_the_settings_can_be_given_again(work: Path, invoke: Invoke) -> None:
    """With none changed the same ledger comes out, also of files and of scores that were named."""
    Path("never.txt").write_text("d3\n")
    assert negmine.open(work / "ledger").params.relative_margin == 0.1
    for number, options in enumerate(
        (
            [],
            ["--by", "bm25", "--absolute-margin", "0.5"],
            ["--by", "ce", "--sample-by", "bm25", "--exclude", "never.txt"],
            ["--max-fn-rate", "0.5", "--rank-by", "bm25"],
        )
    ):
        out = work / f"ledger-{number}"
        done = invoke("filter", str(work / "scored"), *options, "-o", str(out))
        assert done.exit_code == 0, done.output
        ledger = negmine.open(out)
        again = ledger.refilter()
        assert again.fingerprint == ledger.fingerprint, options
        assert again.to_arrow().equals(ledger.to_arrow())
        assert again.path != ledger.path


def test_refilter_is_the_command_with_other_options(work: Path, invoke: Invoke) -> None:
    ledger = negmine.open(work / "ledger")
    wider = ledger.refilter(work / "wider", relative_margin=0.2, num_negatives=1)
    done = invoke(
        *("filter", str(work / "scored"), "--relative-margin", "0.2", "--num-negatives", "1"),
        *("-o", str(work / "by-hand")),
    )
    assert done.exit_code == 0, done.output
    assert rows_of(work / "wider") == rows_of(work / "by-hand")
    assert wider.fingerprint == negmine.open(work / "by-hand").fingerprint
    # None takes a default back; the score that the sampler orders by follows the rules'.
    plain = ledger.refilter(relative_margin=None, by="bm25")
    assert plain.params.relative_margin is None
    assert plain.params.by == "bm25"
    assert plain.counts.selected == 3
    assert plain.to_arrow().column("selected").to_pylist() == [None, 1, 2, None, None, 1]
    with pytest.raises(ConflictError, match="other settings"):
        ledger.refilter(work / "wider", relative_margin=0.3)
    assert ledger.refilter(work / "wider", relative_margin=0.3, force=True).counts.rows == 6
    with pytest.raises(UsageError, match="unknown key 'relative_magrin'"):
        ledger.refilter(relative_magrin=0.3)


def test_a_temporary_ledger_goes_with_its_last_reader(work: Path) -> None:
    first = negmine.open(work / "ledger").refilter(relative_margin=0.2)
    second = first.refilter(num_negatives=1)
    folder = second.path.parent
    assert folder.is_dir()
    assert second.refilter().counts == second.counts
    del second
    assert not folder.exists()


def test_tables_with_texts(work: Path) -> None:
    ledger = negmine.open(work / "ledger")
    assert ledger.to_arrow().to_pylist() == rows_of(work / "ledger")
    table = ledger.to_arrow(["docid", "label"], qids=["q2"], texts=True)
    assert table.to_pylist() == [
        {"docid": d, "label": n, "query": QUERIES["q2"], "document": explained["text"]}
        for d, n, explained in zip(
            ("d5", "d6"), (1, 0), ledger.explain("q2")["candidates"], strict=True
        )
    ]
    assert ledger.to_arrow(qids=["nobody"], texts=True).num_rows == 0
    with pytest.raises(UsageError, match="no column 'score_cee'"):
        ledger.to_arrow(["score_cee"])
    frame = ledger.to_pandas()
    assert frame.columns.tolist() == ledger.columns
    assert str(frame.selected.dtype) == "Int32"
    assert frame.selected.dropna().tolist() == [1, 2, 1]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("triplet", {}),
        ("n-tuple", {"scores": True}),
        ("flagembedding", {}),
        ("swift-embedding", {}),
    ],
)
def test_examples_are_what_export_writes(
    work: Path, invoke: Invoke, name: str, options: dict[str, Any]
) -> None:
    made = negmine.open(work / "ledger").examples(name, **options)
    flags = [f"--{flag}" for flag in options]
    done = invoke("export", "work/ledger", "--format", name, *flags, "-o", "-")
    assert made.to_pylist() == [json.loads(line) for line in done.stdout.splitlines()]


def test_examples_that_are_none(work: Path) -> None:
    nothing = negmine.open(work / "ledger").refilter(max_score=-1.0)
    with pytest.raises(EmptyResultError):
        nothing.examples()
    assert nothing.examples(allow_empty=True).num_rows == 0
    with pytest.raises(UsageError, match="--split writes two files"):
        nothing.examples(split=0.5)
    assert isinstance(nothing.examples(allow_empty=True), pa.Table)


def test_an_audit_is_what_the_command_writes(work: Path, invoke: Invoke) -> None:
    by_score = negmine.open(work / "ledger").refilter(relative_margin=None, max_score=0.9)
    options = ["--by", "ce", "--max-score", "0.9", "--num-negatives", "2", "--seeds", "2"]
    done = invoke("audit", "work/scored", *options, "-o", "work/audit.json")
    assert done.exit_code == 0, done.output
    written = json.loads((work / "audit.json").read_text())
    written["scored"] = str(Path(written["scored"]).resolve())
    made = by_score.audit(seeds=2)
    made["scored"] = str(Path(made["scored"]).resolve())
    assert made == written


def test_what_is_no_ledger_is_refused(work: Path) -> None:
    with pytest.raises(UsageError, match="made by 'rerank'"):
        negmine.open(work / "scored")
    with pytest.raises(MissingInputError):
        negmine.open(work / "nothing")


def test_the_name_costs_nothing_before_it_is_used() -> None:
    code = "import sys, negmine; print('pyarrow' in sys.modules, negmine.open.__name__)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert found.stdout.split() == ["False", "open_ledger"]
