"""Who changed a label and why, where a ledger is looked at; and what goes out of one."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import negmine
from tests.conftest import Invoke
from tests.stages.filter.test_relabelling import SOME, row, scored

OPTIONS = [
    *("--promote", "ce >= positive + 0.4", "--demote", "ce < 0.2"),
    *("--drop-query", "promoted > 1", "--num-negatives", 2),
]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """q has a promoted one, r lost its only positive, s is given up, t has two positives."""
    folder = tmp_path_factory.mktemp("seen")
    rows = [*SOME]
    rows += [row("r", "rp", 1, 0.1), row("r", "ra", 0, 0.3, 2), row("r", "rb", 0, 0.05, 3)]
    rows += [row("s", "sp", 1, 0.3), row("s", "sa", 0, 0.9, 2), row("s", "sb", 0, 0.8, 3)]
    rows += [row("t", "tp", 1, 0.7), row("t", "tq", 1, 0.15, 2), row("t", "ta", 0, 0.4, 3)]
    from tests.training_sets import command

    done = command("filter", scored(folder, rows), *OPTIONS, "-o", folder / "ledger")
    assert done.exit_code == 0, done.output
    # Two of them in the query that they give up.
    assert "--promote ce >= positive + 0.4 3" in done.stderr
    return folder / "ledger"


def test_explain_tells_the_option_and_what_it_compared(ledger: Path, invoke: Invoke) -> None:
    report = json.loads(invoke("explain", ledger, "q", "--json").stdout)
    assert report["positives"] == ["sure", "p"]
    assert report["promoted"] == ["sure"]
    told = {one["docid"]: one for one in report["candidates"]}
    assert told["sure"]["fate"] == "promoted by --promote ce >= positive + 0.4"
    (compared,) = told["sure"]["relabelled"]
    assert compared == {
        **{"column": "ce", "sign": ">="},
        **{"value": pytest.approx(0.95), "limit": pytest.approx(0.9)},
    }
    # Limits are told of the known positive.
    assert report["thresholds"]["positive (min)"] == pytest.approx(0.5)
    told = {
        one["docid"]: one["fate"]
        for qid in "rst"
        for one in json.loads(invoke("explain", ledger, qid, "--json").stdout)["candidates"]
    }
    assert told["rp"] == told["tq"] == "demoted by --demote ce < 0.2"
    assert told["sp"] == "known positive of a query given up by --drop-query promoted > 1"
    assert told["sa"] == "dropped: query given up by --drop-query promoted > 1"
    assert told["tp"] == "known positive"


def test_inspect_and_open_count_them(ledger: Path, invoke: Invoke) -> None:
    told = invoke("inspect", ledger, "--rows", 9).stdout
    assert "1 candidate" not in told.splitlines()[0]
    assert "1 candidates made positives, 3 known positives taken away" in told
    assert "--promote ce >= positive + 0.4: 3" in told
    assert "promoted by --promote ce >= positive + 0.4 (0.95 >= 0.9)" in " ".join(told.split())
    counts = negmine.open(ledger).counts
    assert (counts.promoted, counts.demoted) == (1, 3)


def test_a_report_counts_and_shows_them(ledger: Path, invoke: Invoke, tmp_path: Path) -> None:
    done = invoke("report", ledger, "-o", tmp_path / "report.html")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "report.html").read_text()
    assert "Candidates that were made positives" in page
    assert "Known positives that were taken away" in page
    assert "--promote ce &gt;= positive + 0.4" in page


def test_an_export_counts_the_promoted_ones(ledger: Path, invoke: Invoke, tmp_path: Path) -> None:
    done = invoke("export", ledger, "-o", tmp_path / "train.parquet")
    assert "3 positives, 1 of them promoted" in done.stderr
    done = invoke("export", ledger, "--promoted", "leave-out", "-o", tmp_path / "out.parquet")
    assert "2 known positives, 5 selected" in done.stderr


def exported(ledger: Path, out: Path, invoke: Invoke, *options: object) -> list[dict[str, object]]:
    done = invoke("export", ledger, "--ids", *options, "-o", out)
    assert done.exit_code == 0, done.output
    rows: list[dict[str, object]] = pq.read_table(out).to_pylist()
    return rows


def test_what_goes_out(ledger: Path, invoke: Invoke, tmp_path: Path) -> None:
    listed = ("--format", "flagembedding", "--extra", "promoted")
    rows = exported(ledger, tmp_path / "use.parquet", invoke, *listed)
    told = {one["query_id"]: (one["pos_id"], one["pos_promoted"], one["neg_id"]) for one in rows}
    assert told == {
        "q": (["p", "sure"], [False, True], ["near", "far"]),
        "t": (["tp"], [False], ["ta"]),
    }
    rows = exported(ledger, tmp_path / "out.parquet", invoke, *listed, "--promoted", "leave-out")
    assert [(one["query_id"], one["pos_id"]) for one in rows] == [("q", ["p"]), ("t", ["tp"])]
    rows = exported(ledger, tmp_path / "only.parquet", invoke, *listed, "--promoted", "only")
    assert [(one["query_id"], one["pos_id"]) for one in rows] == [("q", ["sure"])]


def test_an_evaluation_set_tells_what_is_no_judgement(
    ledger: Path, invoke: Invoke, tmp_path: Path
) -> None:
    done = invoke("export", ledger, "--promoted", "leave-out", "--beir", tmp_path / "eval")
    assert done.exit_code == 0, done.output
    qrels = (tmp_path / "eval/qrels/test.tsv").read_text().splitlines()[1:]
    assert [line.split("\t") for line in qrels] == [["q", "p", "1"], ["t", "tp", "1"]]
    assert "1 known positives that the filter took away" in done.stderr
    done = invoke("export", ledger, "--promoted", "only", "--beir", tmp_path / "no")
    assert done.exit_code == 2
    assert "--promoted leave-out" in done.stderr
