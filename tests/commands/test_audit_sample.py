"""``negmine audit --judge``: the draw, the sheets, the estimates, and what is refused."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from negmine.table import artifacts
from tests.conftest import Invoke
from tests.scorers import judged
from tests.tables import make_scored

#: Of each query the known positive d0, hidden positives d1 and d2, seven others, two by chance.
QUERIES, DOCUMENTS = 60, 10
FILTER = ("--by", "minilm", "--num-negatives", 6)


def relevant(docid: str) -> bool:
    return docid.endswith(("_d0", "_d1", "_d2"))


def rows_of(seed: int = 0, *, silent: int = 0) -> list[list[dict[str, Any]]]:
    """A judge that says yes (score above 0) to 90% of the relevant and 20% of the others.

    The first ``silent`` queries have candidates that it never saw.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for q in range(QUERIES):
        order = rng.permutation(DOCUMENTS)
        for d in range(DOCUMENTS + 2):
            docid = f"q{q}_d{d}"
            says = rng.random() < (0.9 if relevant(docid) else 0.2)
            found = d < DOCUMENTS
            rank = int(order[d]) + 1 if found else None
            rows.append(
                {
                    "qid": f"q{q:02d}",
                    "docid": docid,
                    "label": int(d == 0),
                    "grade": 1.0 if d == 0 else None,
                    "rank_bm25": rank,
                    "score_bm25": None if rank is None else 20.0 - rank,
                    "rank_minilm": rank,
                    "score_minilm": None if rank is None else 1 - rank / 100,
                    "rank_chance": None if found else d - DOCUMENTS + 1,
                    "score_ce": None if q < silent and d else (2.0 if says else -2.0),
                }
            )
    return [rows[: len(rows) // 2 // 12 * 12], rows[len(rows) // 2 // 12 * 12 :]]


@pytest.fixture
def ledger(tmp_path: Path, invoke: Invoke) -> Path:
    return mined(tmp_path, invoke)


def mined(tmp_path: Path, invoke: Invoke, **asked: Any) -> Path:
    scored = make_scored(
        tmp_path / "work",
        rows_of(**asked),
        sources=("bm25", "minilm", "chance"),
        not_searched=("chance",),
        specs={"chance": "2"},
    )
    result = invoke("filter", scored, *FILTER, "-o", tmp_path / "ledger")
    assert result.exit_code == 0, result.stderr
    return tmp_path / "ledger"


def truth(ledger: Path) -> float:
    found = artifacts.open_artifact(ledger)
    tables = [found.read(name, ["docid", "label", "selected"]) for name in found.parts]
    chosen = [
        relevant(row["docid"])
        for table in tables
        for row in table.to_pylist()
        if row["selected"] is not None and not row["label"]
    ]
    return sum(chosen) / len(chosen)


def audited(invoke: Invoke, *arguments: object) -> dict[str, Any]:
    result = invoke("audit", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def filled(
    sheet: Path, say: Callable[[Mapping[str, str]], str], *, first: int | None = None
) -> None:
    """Answer a CSV sheet as a spreadsheet saves it, its first rows or all."""
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]), delimiter=";")
    writer.writeheader()
    for number, row in enumerate(rows):
        answer = say(row) if first is None or number < first else ""
        writer.writerow({**row, "relevant": answer})
    sheet.write_text(out.getvalue(), encoding="utf-8")


def honest(row: Mapping[str, str]) -> str:
    return "yes" if relevant(row["docid"]) else "No"


def holds(found: Mapping[str, float], value: float) -> bool:
    return found["low"] <= value <= found["high"]


def test_people_who_read_a_sample_correct_a_biased_judge(ledger: Path, invoke: Invoke) -> None:
    sheet = ledger.parent / "sheet.csv"
    asked = [ledger, "--judge", "ce", "--sample", 150]
    result = invoke("audit", *asked, "--sheet", sheet)
    assert result.exit_code == 0, result.stderr
    assert "150 rows in" in result.stderr
    assert "ce" not in sheet.read_text(encoding="utf-8-sig").splitlines()[0]
    filled(sheet, honest)
    out = ledger.parent / "audit"
    result = invoke("audit", *asked, "--gold", sheet, "-o", out)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip() == str(out)
    report = json.loads((out / "audit.json").read_text())
    assert report["how"] == "gold"
    assert holds(report["contamination"], truth(ledger))
    assert not holds(report["uncorrected"], truth(ledger))
    strata = report["sample"]["strata"]
    assert sum(one["drawn"] for one in strata.values()) == 150
    assert strata["yes"]["probability"] > strata["no"]["probability"]
    assert f"contamination  {100 * report['contamination']['value']:.1f}%" in result.stderr
    again = invoke("audit", *asked, "--gold", sheet, "-o", out)
    assert "is up to date" in again.stderr
    assert "contamination  " in again.stderr


def test_all_that_is_read_leaves_no_doubt(ledger: Path, invoke: Invoke) -> None:
    sheet = ledger.parent / "sheet.csv"
    asked = [ledger, "--sample", 10_000]
    assert invoke("audit", *asked, "--sheet", sheet).exit_code == 0
    filled(sheet, honest)
    found = audited(invoke, *asked, "--gold", sheet)["contamination"]
    assert found["low"] == found["value"] == found["high"] == pytest.approx(truth(ledger), abs=1e-6)


def test_without_people_known_positives_and_chance_correct_the_judge(
    ledger: Path, invoke: Invoke
) -> None:
    report = audited(invoke, ledger, "--judge", "ce")
    assert report["how"] == "controls"
    assert holds(report["contamination"], truth(ledger))
    assert not holds(report["uncorrected"], truth(ledger))
    assert report["by"]["sensitivity"]["of"] == "hidden known positives that the same filter chose"
    assert 20 <= report["by"]["sensitivity"]["rows"] < QUERIES
    assert report["by"]["false_positive_rate"]["rows"] == 2 * QUERIES
    assert len(report["assumptions"]) == 2


def filtered_by_likeness(tmp_path: Path, invoke: Invoke, known: int) -> Path:
    """Negatives that a limit on the cross-encoder chose; its score and the judge's go together.

    Of each query's four positives so many are known.
    """
    rng = np.random.default_rng(5)
    rows = []
    for q in range(150):
        for d in range(12):
            positive, found = d < 4, d < 10
            likes = rng.normal(1.5 if positive else -1.5 if found else -2.0, 1.0)
            rank = d + 1 if found else None
            rows.append(
                {
                    "qid": f"q{q:03d}",
                    "docid": f"q{q}_d{d}",
                    "label": int(d < known),
                    "grade": 1.0 if d < known else None,
                    "rank_bm25": rank,
                    "score_bm25": None if rank is None else 20.0 - rank,
                    "rank_chance": None if found else 1,
                    "score_ce": likes,
                    "score_llm": likes + rng.normal(0, 0.7),
                }
            )
    scored = make_scored(
        tmp_path / "work",
        [rows],
        sources=("bm25", "chance"),
        scorers=("ce", "llm"),
        not_searched=("chance",),
        specs={"chance": "2"},
    )
    options = ["--by", "ce", "--max-score", 1.5, "--num-negatives", 8]
    assert invoke("filter", scored, *options, "-o", tmp_path / "ledger").exit_code == 0
    return tmp_path / "ledger"


def test_positives_that_went_through_the_filter_say_what_it_leaves(
    tmp_path: Path, invoke: Invoke
) -> None:
    """What a limit lets through looks less relevant: a judge finds fewer of it."""
    ledger = filtered_by_likeness(tmp_path, invoke, 2)
    found = artifacts.open_artifact(ledger)
    chosen = [
        row["docid"].endswith(("_d2", "_d3"))
        for name in found.parts
        for row in found.read(name, ["docid", "selected"]).to_pylist()
        if row["selected"] is not None
    ]
    report = audited(invoke, ledger, "--judge", "llm", "--judge-cut", 1.5)
    assert holds(report["contamination"], float(np.mean(chosen)))
    # Of all known positives it says yes to half, of those that the limit lets through to fewer.
    assert report["by"]["sensitivity"]["value"] < 0.35
    # The limit's own score says yes to nothing that it left.
    refused = invoke("audit", ledger, "--judge", "ce", "--judge-cut", 1.5)
    assert refused.exit_code == 2
    assert "no better than chance" in refused.stderr


def test_verdicts_of_the_judges_own_are_read(tmp_path: Path, invoke: Invoke) -> None:
    said = {2.0: "yes", -2.0: "no"}
    rows = [[{**row, "verdict_ce": said[row["score_ce"]]} for row in part] for part in rows_of()]
    for number, row in enumerate(row for part in rows for row in part if not row["label"]):
        row["verdict_ce"] = {0: "unsure", 1: "unjudged"}.get(number % 10, row["verdict_ce"])
    scored = make_scored(
        tmp_path / "work",
        rows,
        sources=("bm25", "minilm", "chance"),
        not_searched=("chance",),
        specs={"chance": "2"},
        columns_said={"verdict_ce": pa.string()},
    )
    report = audited(invoke, scored, *FILTER, "--judge", "ce")
    said_of = report["judge"]["negatives"]
    assert report["judge"]["yes"] == "verdict_ce = yes"
    assert said_of["unsure"] > 0
    assert said_of["unjudged"] > 0
    untold = (said_of["unsure"] + said_of["unjudged"]) / report["negatives"]
    found = report["contamination"]
    assert found["at_most"] - found["at_least"] == pytest.approx(untold, abs=1e-5)


def test_a_language_model_brings_its_examination(tmp_path: Path, invoke: Invoke) -> None:
    """Without a source of random documents: those that it was asked about before it scored."""
    judged.make_candidates(tmp_path, invoke)
    # Of a run that has every known positive first.
    data, trec = tmp_path / "data", tmp_path / "known.trec"
    known = [line.split("\t")[:2] for line in (data / "qrels.tsv").read_text().splitlines()[1:]]
    first = [f"{qid} Q0 {docid} 1 99 x" for qid, docid in known]
    trec.write_text("\n".join(first) + "\n" + (tmp_path / "found.trec").read_text())
    candidates, index = tmp_path / "known", tmp_path / "index"
    asked = ["retrieve", index, "--queries", data, "--qrels", data / "qrels.tsv"]
    done = invoke(*asked, "--run", f"found={trec}", "--on-error", "skip", "-o", candidates)
    assert done.exit_code == 0, done.output
    scored, sheet = tmp_path / "scored", tmp_path / "sheet.csv"
    with judged.server(tmp_path / "data") as server:
        scorer = judged.judge_of(server)
        done = invoke("rerank", candidates, "--scorer", scorer, "-o", scored)
        assert done.exit_code == 0, done.output
    asked = [scored, "--by", "found", "--num-negatives", 4, "--judge", "judge"]
    report = audited(invoke, *asked)
    assert report["judge"]["yes"] == "verdict_judge = yes"
    found = report["by"]["false_positive_rate"]
    examination = judged.manifest_of(scored)["scorers"]["judge"]["examination"]
    assert found["of"] == "random documents of its examination"
    assert (found["value"], found["rows"]) == (examination["accepted"][0], examination["random"])
    assert report["contamination"]["low"] == 0
    # And people read what it judged.
    assert invoke("audit", *asked, "--sample", 30, "--sheet", sheet).exit_code == 0
    filled(sheet, lambda _: "no")
    read = audited(invoke, *asked, "--sample", 30, "--gold", sheet)
    assert read["contamination"]["at_least"] == 0


def test_a_scored_table_is_filtered_first(tmp_path: Path, ledger: Path, invoke: Invoke) -> None:
    scored = tmp_path / "work" / "scored"
    of_table = audited(invoke, scored, *FILTER, "--judge", "ce")
    of_ledger = audited(invoke, ledger, "--judge", "ce")
    assert of_table["contamination"] == of_ledger["contamination"]
    assert of_table["fingerprint"] == of_ledger["fingerprint"]
    refused = invoke("audit", ledger, *FILTER, "--judge", "ce")
    assert refused.exit_code == 2
    assert "a ledger has settings of its own" in refused.stderr


def test_a_sheet_that_is_half_filled_is_read_as_far_as_it_goes(
    ledger: Path, invoke: Invoke
) -> None:
    sheet = ledger.parent / "sheet.csv"
    asked = [ledger, "--judge", "ce", "--sample", 200]
    invoke("audit", *asked, "--sheet", sheet)
    filled(sheet, honest, first=80)
    report = audited(invoke, *asked, "--gold", sheet)
    assert (report["by"]["answered"], report["by"]["not_read"]) == (80, 120)
    assert holds(report["contamination"], truth(ledger))
    # The strata are mixed evenly: each is read in the same proportion.
    read = {name: one["read"] for name, one in report["by"]["strata"].items()}
    drawn = {name: one["drawn"] for name, one in report["sample"]["strata"].items()}
    assert read["yes"] / drawn["yes"] == pytest.approx(read["no"] / drawn["no"], abs=0.05)


def test_what_nobody_can_tell_is_neither_clean_nor_dirty(ledger: Path, invoke: Invoke) -> None:
    sheet = ledger.parent / "sheet.csv"
    asked = [ledger, "--sample", 120]
    invoke("audit", *asked, "--sheet", sheet)
    # "unsure" of a sixth, nothing of another: rows that were passed over.
    said = {0: "unsure", 1: ""}
    filled(sheet, lambda row: said.get(int(row["number"]) % 6, honest(row)))
    report = audited(invoke, *asked, "--gold", sheet)
    found = report["contamination"]
    assert found["value"] is None
    assert found["at_most"] - found["at_least"] == pytest.approx(40 / 120, abs=0.01)
    assert found["low"] < found["at_least"] < truth(ledger) < found["at_most"] < found["high"]
    assert "have no answer" in report["warnings"][0]


def test_negatives_that_the_judge_never_saw_are_bounds(tmp_path: Path, invoke: Invoke) -> None:
    ledger = mined(tmp_path, invoke, silent=15)
    report = audited(invoke, ledger, "--judge", "ce")
    found = report["contamination"]
    silent = report["judge"]["negatives"]["unjudged"] / report["negatives"]
    assert silent == pytest.approx(0.25)
    assert found["at_most"] - found["at_least"] == pytest.approx(silent, abs=1e-6)
    assert "not taken for clean" in report["warnings"][0]


def test_label_studio_has_the_tasks_and_gives_them_back(ledger: Path, invoke: Invoke) -> None:
    sheet = ledger.parent / "tasks.json"
    asked = [ledger, "--judge", "ce", "--sample", 50]
    assert invoke("audit", *asked, "--sheet", sheet).exit_code == 0
    tasks = json.loads(sheet.read_text())
    assert len(tasks) == 50
    assert {"query", "document", "key"} <= set(tasks[0]["data"])

    def annotation(choice: str, **more: Any) -> dict[str, Any]:
        value = {"choices": [choice]}
        return {"result": [{"type": "choices", "from_name": "relevant", "value": value}], **more}

    for number, task in enumerate(tasks):
        said = [annotation(honest(task["data"])), annotation("unsure", was_cancelled=True)]
        if number == 3:
            said.append(annotation("yes" if honest(task["data"]) == "No" else "no"))
        task["annotations"] = said
    sheet.write_text(json.dumps(tasks))
    report = audited(invoke, *asked, "--gold", sheet)
    assert (report["by"]["answered"], report["by"]["differing"]) == (50, 1)
    assert sum(one["unsure"] for one in report["by"]["strata"].values()) == 1
    small = [{**t["data"], "relevant": honest(t["data"])} for t in tasks]
    sheet.write_text(json.dumps(small))
    assert audited(invoke, *asked, "--gold", sheet)["by"]["answered"] == 50
    # Into the other form, with the answers.
    both = ledger.parent / "both.csv"
    invoke("audit", *asked, "--gold", sheet, "--sheet", both)
    assert audited(invoke, *asked, "--gold", both)["by"]["answered"] == 50


def changed(sheet: Path, column: str, to: str) -> None:
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    rows[1][column] = to
    rows[0]["relevant"] = "yes"
    with sheet.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(
    ("column", "to", "told"),
    [
        ("document", "another text", "the document of line 3 (query "),
        ("query", "another question", "the query of line 3"),
        ("docid", "q1_d9x", "was changed"),
        ("key", "k0123", "was not drawn of this ledger"),
        ("ledger", "0123456789abcdef", "is of another ledger"),
        ("draw", "--sample 7 --sample-seed 1", "is of another draw"),
        ("relevant", "perhaps so", "line 3 answers 'perhaps so'"),
    ],
)
def test_a_changed_row_is_refused_by_name(
    ledger: Path, invoke: Invoke, column: str, to: str, told: str
) -> None:
    sheet = ledger.parent / "sheet.csv"
    asked = [ledger, "--judge", "ce", "--sample", 20]
    invoke("audit", *asked, "--sheet", sheet)
    changed(sheet, column, to)
    result = invoke("audit", *asked, "--gold", sheet)
    assert result.exit_code == 5
    assert told in result.stderr
    assert str(sheet) in result.stderr


def test_a_sheet_of_other_settings_is_refused(tmp_path: Path, ledger: Path, invoke: Invoke) -> None:
    sheet = tmp_path / "sheet.csv"
    invoke("audit", ledger, "--sheet", sheet)
    filled(sheet, honest)
    scored = tmp_path / "work" / "scored"
    other = invoke("audit", scored, "--by", "bm25", "--num-negatives", 3, "--gold", sheet)
    assert other.exit_code == 5
    assert "line 2 (query 'q" in other.stderr
    assert "is of another ledger" in other.stderr
    # Drawn without a judge it serves any.
    assert audited(invoke, ledger, "--judge", "ce", "--gold", sheet)["how"] == "gold"
    assert audited(invoke, ledger, "--judge", "bm25", "--gold", sheet)["how"] == "gold"


def test_a_sheet_is_not_written_over(ledger: Path, invoke: Invoke) -> None:
    sheet = ledger.parent / "sheet.csv"
    assert invoke("audit", ledger, "--sheet", sheet).exit_code == 0
    assert invoke("audit", ledger, "--sheet", sheet).exit_code == 0
    filled(sheet, honest)
    refused = invoke("audit", ledger, "--sheet", sheet)
    assert refused.exit_code == 6
    assert "may hold answers" in refused.stderr
    assert invoke("audit", ledger, "--sheet", sheet, "--force").exit_code == 0


def test_a_spreadsheet_runs_no_formula(tmp_path: Path, invoke: Invoke) -> None:
    texts = {f"q{q}_d{d}": f"=HYPERLINK({q}, {d})" for q in range(QUERIES) for d in range(12)}
    scored = make_scored(
        tmp_path / "work",
        rows_of(),
        sources=("bm25", "minilm", "chance"),
        not_searched=("chance",),
        specs={"chance": "2"},
        doc_texts=texts,
    )
    sheet = tmp_path / "sheet.csv"
    asked = [scored, *FILTER, "--sample", 30]
    result = invoke("audit", *asked, "--sheet", sheet)
    assert result.exit_code == 0, result.stderr
    cells = [row["document"] for row in csv.DictReader(io.StringIO(sheet.read_text("utf-8-sig")))]
    assert cells
    assert all(cell.startswith("'=") for cell in cells)
    filled(sheet, honest)
    assert audited(invoke, *asked, "--gold", sheet)["how"] == "gold"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--judge", "cee"], "Did you mean 'ce'?"),
        (["--judge", "p_relevant"], "The filter makes it where a rule reads it"),
        (["--judge", "ce", "--keep", 2], "--keep hides known positives"),
        (["--sample", 10], "--sample has no effect without --judge"),
        (["--sheet", "sheet.txt"], "a sheet is a CSV file or Label Studio's JSON"),
        (["--judge", "ce", "--judge-cut", 3], "no better than chance"),
        (["--sheet", "s.csv", "--judge-cut", 3], "--judge-cut has no effect without --judge"),
    ],
)
def test_what_tells_nothing_is_refused(
    ledger: Path, invoke: Invoke, options: list[object], told: str
) -> None:
    result = invoke("audit", ledger, *options)
    assert result.exit_code == 2
    assert told in result.stderr


def test_doubts_are_told(tmp_path: Path, invoke: Invoke) -> None:
    scored = make_scored(tmp_path / "work", rows_of(), sources=("bm25", "minilm"))
    result = invoke("audit", scored, "--by", "ce", "--absolute-margin", 1, "--judge", "ce")
    assert result.exit_code == 0, result.stderr
    assert "'ce' decided what was chosen (--by" in result.stderr
    assert "of no random document 'ce' says yes or no" in result.stderr
    assert "contamination  0.0% [0.0-" in result.stdout


def test_an_audit_by_hiding_prints_its_report_too(
    tmp_path: Path, ledger: Path, invoke: Invoke
) -> None:
    scored, out = tmp_path / "work" / "scored", tmp_path / "hiding"
    missing = invoke("audit", scored, "--seeds", 1)
    assert missing.exit_code == 2
    assert "-o is missing" in missing.stderr
    result = invoke("audit", scored, *FILTER, "--seeds", 1, "-o", out, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == json.loads((out / "audit.json").read_text())


def test_a_refused_audit_leaves_nothing(ledger: Path, invoke: Invoke) -> None:
    out = ledger.parent / "refused.json"
    assert invoke("audit", ledger, "--judge", "ce", "--judge-cut", 3, "-o", out).exit_code == 2
    assert not list(ledger.parent.glob(".refused*"))
    assert not out.exists()
    again = invoke("audit", ledger, "--judge", "ce", "-o", out)
    assert again.exit_code == 0, again.stderr
    assert json.loads(out.read_text())["how"] == "controls"


def test_python_asks_the_same(ledger: Path, invoke: Invoke) -> None:
    import negmine

    report = negmine.open(ledger).audit(judge="ce")
    assert report["contamination"] == audited(invoke, ledger, "--judge", "ce")["contamination"]


def test_the_report_shows_the_figure(ledger: Path, invoke: Invoke) -> None:
    sheet, out = ledger.parent / "sheet.csv", ledger.parent / "audit"
    invoke("audit", ledger, "--judge", "ce", "--sheet", sheet)
    filled(sheet, honest)
    invoke("audit", ledger, "--judge", "ce", "--gold", sheet, "-o", out)
    report = json.loads((out / "audit.json").read_text())
    page = invoke("report", ledger, "-o", "-").stdout
    value = f"{100 * report['contamination']['value']:.1f}%"
    assert f"Likely false: {value} [" in page
    assert "by what people said of a sample of them" in page
    assert "audit: positives that nobody labelled" in page
    # Of a table, with other settings: not this ledger's.
    other = ledger.parent / "other.json"
    scored = ledger.parent / "work" / "scored"
    invoke("audit", scored, "--by", "bm25", "--judge", "ce", "-o", other)
    assert "other.json" not in invoke("report", ledger, "-o", "-").stdout
    refused = invoke("report", ledger, "--audit", other, "-o", "-")
    assert refused.exit_code == 2
    assert "audited another ledger" in refused.stderr


@pytest.mark.parametrize("judge", [("--judge", "ce"), ("--seeds", "1")], ids=["sample", "hiding"])
@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_another_list_of_excluded_documents_is_another_audit(
    tmp_path: Path, invoke: Invoke, judge: tuple[str, str], folder: bool
) -> None:
    known = 2 if judge[0] == "--seeds" else 1
    filtered_by_likeness(tmp_path, invoke, known)
    listed = tmp_path / "listed" / "qrels" / "test.tsv" if folder else tmp_path / "listed.tsv"
    listed.parent.mkdir(parents=True, exist_ok=True)
    head = "query-id\tcorpus-id\tscore\n"
    listed.write_text(f"{head}q000\tq0_d5\t1\n")
    given = f"{tmp_path / 'listed'}:test" if folder else listed
    scored = artifacts.open_artifact(tmp_path / "ledger").input("scored").path
    asked = [scored, *judge, "--by", "ce", "--exclude", given]
    asked += ["-o", tmp_path / "audit.json"]
    first = invoke("audit", *asked)
    assert first.exit_code == 0, first.stderr
    assert "is up to date" in invoke("audit", *asked).stderr
    listed.write_text(f"{head}q000\tq0_d5\t1\nq001\tq1_d6\t1\n")
    again = invoke("audit", *asked)
    assert "is up to date" not in again.stderr
    assert again.exit_code != 0
    assert "exclude" in again.stderr
