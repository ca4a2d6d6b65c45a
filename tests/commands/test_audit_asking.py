"""``negmine audit --judge NAME=MODEL``: a judge is asked about the sample alone."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Invoke
from tests.scorers import judged
from tests.servers.chat import ChatServer
from tests.servers.judges import Bend

BY = ("--by", "found", "--num-negatives", 4)


@pytest.fixture
def ledger(tmp_path: Path, invoke: Invoke) -> Path:
    """Of a run that has every known positive first; no judge has seen it."""
    judged.make_candidates(tmp_path, invoke)
    data, trec = tmp_path / "data", tmp_path / "known.trec"
    known = [line.split("\t")[:2] for line in (data / "qrels.tsv").read_text().splitlines()[1:]]
    first = [f"{qid} Q0 {docid} 1 99 x" for qid, docid in known]
    trec.write_text("\n".join(first) + "\n" + (tmp_path / "found.trec").read_text())
    asked = ["retrieve", tmp_path / "index", "--queries", data, "--qrels", data / "qrels.tsv"]
    run = ["--run", f"found={trec}", "--on-error", "skip", "-o", tmp_path / "work" / "candidates"]
    for command in (
        [*asked, *run],
        ["filter", tmp_path / "work" / "candidates", *BY, "-o", tmp_path / "work" / "ledger"],
    ):
        done = invoke(*command)
        assert done.exit_code == 0, done.output
    return tmp_path / "work" / "ledger"


@pytest.fixture
def server(ledger: Path) -> Iterator[ChatServer]:
    """A judge that is right about most pairs, and turned round for a tenth of them."""
    with judged.server(ledger.parent.parent / "data", bend=Bend(flips=0.1)) as running:
        yield running


def scored_whole(ledger: Path, judge: str, invoke: Invoke) -> Path:
    """The same ledger of a table that the judge has scored whole, in a folder of its own."""
    whole = ledger.parent.parent / "whole"
    for command in (
        ["rerank", ledger.parent / "candidates", "--scorer", judge, "-o", whole / "scored"],
        ["filter", whole / "scored", *BY, "-o", whole / "ledger"],
    ):
        done = invoke(*command)
        assert done.exit_code == 0, done.output
    return whole / "ledger"


def audited(invoke: Invoke, *arguments: object) -> dict[str, Any]:
    done = invoke("audit", *arguments, "--json")
    assert done.exit_code == 0, done.output
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def dry(invoke: Invoke, *arguments: object) -> tuple[int, int]:
    """Calls, and how many of them are answered already."""
    (told,) = audited(invoke, *arguments, "--dry-run")["stages"]
    return told["calls"], told["calls_stored"]


@pytest.mark.parametrize("kind", ["llm", "cohere"])
def test_a_sample_of_all_is_what_the_whole_column_says(
    ledger: Path, server: ChatServer, invoke: Invoke, kind: str
) -> None:
    """By the verdicts of a judge; of a reranker by the score that half of the positives reach."""
    judge = judged.judge_of(server).replace("llm:", f"{kind}:")
    found = audited(invoke, ledger, "--judge", judge, "--sample", 10_000)
    whole = audited(invoke, scored_whole(ledger, judge, invoke), "--judge", "judge")
    for name in ("negatives", "how", "contamination", "uncorrected", "by", "assumptions"):
        assert found[name] == whole[name], name
    who = found["judge"].pop("asked")
    assert found["judge"] == whole["judge"]
    if kind == "llm":
        assert who["examination"]["better_than_chance"]
    else:
        assert "examination" not in who
        assert found["judge"]["cut"] is not None


def test_the_sample_alone_is_asked_about_and_once(
    ledger: Path, server: ChatServer, invoke: Invoke
) -> None:
    sheet = ledger.parent / "sheet.csv"
    asked = [ledger, "--judge", judged.judge_of(server), "--sample", 30]
    calls, stored = dry(invoke, *asked)
    assert (stored, server.journal.count("asked")) == (0, 0)
    report = audited(invoke, *asked, "--sheet", sheet)
    # Where the server can say so is found out, with three pairs at most.
    assert calls <= server.journal.count("answered") <= calls + 3
    before = server.journal.count("asked")
    assert dry(invoke, *asked) == (calls, calls)
    assert audited(invoke, *asked)["contamination"] == report["contamination"]
    assert server.journal.count("asked") == before
    rows = list(csv.DictReader(io.StringIO(sheet.read_text("utf-8-sig"))))
    assert len(rows) == 30
    ledger_of_all = scored_whole(ledger, judged.judge_of(server), invoke)
    drawn = {(row["qid"], row["docid"]) for row in rows}
    said = [
        row["verdict_judge"]
        for row in judged.rows_of(ledger_of_all)
        if (row["qid"], row["docid"]) in drawn
    ]
    told = report["judge"]["negatives"]
    assert told == {name: said.count(name) for name in ("yes", "no", "unsure", "unjudged")}
    neither = said.count("unsure") + said.count("unjudged")
    found = report["uncorrected"]
    assert found["at_least"] == pytest.approx(said.count("yes") / 30, abs=1e-6)
    assert found["at_most"] == pytest.approx((said.count("yes") + neither) / 30, abs=1e-6)
    assert report["negatives"] > 30
    # People who read the sheet correct it: their word is of all negatives, whoever judged.
    for row in rows:
        row["relevant"] = "no"
    with sheet.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    read = audited(invoke, *asked, "--gold", sheet)
    alone = audited(invoke, ledger, "--sample", 30, "--gold", sheet)
    assert read["contamination"] == alone["contamination"]


@pytest.mark.parametrize("number", [2, 10])
def test_what_is_asked_about_as_a_control_is_no_drawn_negative(
    ledger: Path, server: ChatServer, invoke: Invoke, number: int
) -> None:
    """A chosen document by chance may be both; where it is one alone it counts as that alone.

    Of few such documents many are controls that were not drawn as negatives; of many, the drawn
    negatives hold some that were not drawn as controls.
    """
    home = ledger.parent.parent
    data, mixed, chosen = home / "data", home / "mixed", home / "mixed-ledger"
    asked = ["retrieve", home / "index", "--queries", data, "--qrels", data / "qrels.tsv"]
    run = ["--run", f"found={home / 'known.trec'}", "--on-error", "skip"]
    places = ["--quota", "found=2", "--quota", "chance=2"]
    judge = ["--scorer", judged.judge_of(server)]
    for command in (
        [*asked, *run, "--source", f"chance=random:{number}", "-o", mixed],
        ["rerank", mixed, *judge, "-o", home / "mixed-scored"],
        ["filter", home / "mixed-scored", "--by", "judge", *places, "-o", chosen],
    ):
        done = invoke(*command)
        assert done.exit_code == 0, done.output
    sheet = home / "sheet.csv"
    other = judged.judge_of(server).replace("judge=", "other=")
    report = audited(invoke, chosen, "--judge", other, "--sample", 30, "--sheet", sheet)
    rows = list(csv.DictReader(io.StringIO(sheet.read_text("utf-8-sig"))))
    drawn = {(row["qid"], row["docid"]) for row in rows}
    table = judged.rows_of(chosen)
    said = [row["verdict_judge"] for row in table if (row["qid"], row["docid"]) in drawn]
    # Of another name it is another model, which says the same.
    told = report["judge"]["negatives"]
    assert told == {name: said.count(name) for name in ("yes", "no", "unsure", "unjudged")}
    assert sum(told.values()) == 30 == len(drawn)
    assert report["by"]["false_positive_rate"]["rows"] <= 30


def test_an_audit_is_stopped_by_its_budget_and_goes_on(
    ledger: Path, server: ChatServer, invoke: Invoke
) -> None:
    out = ledger.parent / "audit"
    asked = ["audit", ledger, "--judge", judged.judge_of(server), "--sample", 30, "-o", out]
    stopped = invoke(*asked, "--max-calls", 50)
    assert stopped.exit_code == 9, stopped.output
    assert server.journal.count("answered") == 50
    assert not out.exists()
    done = invoke(*asked)
    assert done.exit_code == 0, done.output
    assert "the judge 'judge' on" in done.stderr
    count = server.journal.count("answered")
    assert len({one.key for one in server.journal.entries}) == count
    # Where the server is decides nothing: another address is the same audit.
    again = invoke(*[str(word).replace("127.0.0.1", "localhost") for word in asked])
    assert again.exit_code == 0, again.output
    assert "is up to date" in again.stderr
    assert server.journal.count("answered") == count


def test_nobody_is_asked_for_what_too_few_positives_tell(
    ledger: Path, server: ChatServer, invoke: Invoke
) -> None:
    asked = ["audit", ledger, "--judge", judged.judge_of(server), "--sample", 19]
    for more in ([], ["--dry-run"]):
        done = invoke(*asked, *more)
        assert done.exit_code == 2, done.output
        told = " ".join(done.stderr.split())
        assert "asked about 19 known positives, and at least 20" in told
        assert "Raise --sample" in told
    assert server.journal.count("asked") == 0
    # Who asks for a sheet is about to have people's word.
    done = invoke(*asked, "--sheet", ledger.parent / "sheet.csv")
    assert done.exit_code == 0, done.output
    assert server.journal.count("answered") > 0


def test_a_judge_at_chance_is_refused(ledger: Path, invoke: Invoke) -> None:
    with judged.server(ledger.parent.parent / "data", bend=Bend(scale=0.0)) as server:
        asked = ["audit", ledger, "--judge", judged.judge_of(server), "--sample", 30]
        done = invoke(*asked)
        assert done.exit_code == 5
        assert "no better than chance" in done.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--judge", "found=llm:m@http://localhost:1"], "has a score 'found' already"),
        (["--judge", "found", "--prompt-file", "de"], "--prompt-file has no effect"),
        (["--sheet", "s.csv", "--max-calls", 3], "--max-calls has no effect"),
        (["--judge", "j=llm:m@http://localhost:1", "--judge-by", "x=word"], "no scorer 'x'"),
        (["--dry-run"], "none is"),
        (["--judge", "judge"], "--judge judge=MODEL"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    ledger: Path, invoke: Invoke, options: list[object], told: str
) -> None:
    done = invoke("audit", ledger, *options)
    assert done.exit_code == 2, done.output
    assert told in " ".join(done.stderr.split())
