"""What a run says to people: counts in words, short queries plainly and once, what comes next."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from negmine.commands import ending
from negmine.params import FilterParams
from negmine.stages import words
from negmine.stages.outcome import Outcome
from negmine.stages.stage import Step
from tests.chains import make_data
from tests.conftest import Invoke, write_jsonl

#: What Python would write of a list, a dictionary, a tuple, None, True or False.
PYTHON = re.compile(r"\[['\"\]]|\{|\}|\('|\bNone\b|\bTrue\b|\bFalse\b|\barray\(|<\w+ object")
RECIPE = """work = "work"
[index]
corpus = "data"
[retrieve]
queries = "data"
qrels = "data/qrels.tsv"
k = 10
[filter]
num-negatives = 3
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    make_data(tmp_path / "data")
    Path("r.toml").write_text(RECIPE)
    return "r.toml"


def test_no_line_of_a_chain_speaks_python(recipe: str, invoke: Invoke) -> None:
    commands = [
        ["init", "data", "--encoder", "a=m/x", "-o", "made.toml"],
        ["run", recipe, "-v"],
        ["run", recipe],
        ["run", recipe, "--set", "filter.relative-margin=0.9"],
        ["run", recipe, "--set", "filter.relative-margin=0.9", "--set", "export.split=0.5"],
        ["run", recipe, "--set", "filter.query-text=false", "-o", "other"],
        ["audit", "work/candidates", "--seeds", "1", "-o", "audit"],
        ["report", "work/ledger", "-o", "report.html"],
        ["retrieve", "work/index", "--pairs", "none.jsonl", "-k", "5", "-o", "work/candidates"],
        ["index", "--corpus", "data", "--no-bm25", "--keep", "text", "-o", "work/index"],
    ]
    said = "".join(invoke(*command).stderr for command in commands)
    assert len(said.splitlines()) > 30
    found = [line for line in said.splitlines() if PYTHON.search(line)]
    assert found == []


def test_known_positives_are_known_and_json_keeps_its_names(recipe: str, invoke: Invoke) -> None:
    said = invoke("run", recipe).stderr
    (filtered,) = [line for line in said.splitlines() if line.startswith("filter: wrote")]
    positives = pq.read_table("work/ledger", columns=["label"])["label"].to_pylist().count(1)
    assert f"; {positives} known" in filtered
    assert "positive" not in filtered
    lines = invoke("run", recipe, "-o", "again", "--log-format", "json").stderr.splitlines()
    made = {e["stage"]: e for e in map(json.loads, lines) if "wrote" in e.get("message", "")}
    assert made["filter"]["dropped"]["positive"] == positives
    assert made["index"]["bm25"] is True
    assert made["retrieve"]["hits_bm25"] > 0


def test_counts_in_words() -> None:
    told = words.told(
        {
            **{"documents": 2000, "bm25": True, "signatures": False, "encoders": ["a", "b"]},
            **{"queries": 1, "selected": 0, "unscored": 0, "hits_a": 5, "positives_found_a": 1},
            "dropped": {"positive": 1200, "own_document": 0, "max_score": 3},
            "heldout": {"examples": 1},
        }
    )
    assert told == (
        "2,000 documents, BM25, encoders a, b, 1 query, 0 selected; a found 5, 1 of them known; "
        "1,200 known; dropped by rule: max_score 3; held out: 1 example"
    )


def test_what_comes_next_runs_as_it_is_told(recipe: str, invoke: Invoke) -> None:
    result = invoke("run", recipe)
    lines = [x.removeprefix("next: ") for x in result.stderr.splitlines() if x.startswith("next:")]
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("negmine ")]
    assert [command[1] for command in commands] == ["report", "explain"]
    for command in commands:
        done = invoke(*command[1:])
        assert done.exit_code == 0, done.output
    assert Path("work/report.html").exists()
    call = 'datasets.load_dataset("parquet", data_files="work/train.parquet", split="train")'
    assert lines[-1].startswith(call)
    assert result.stdout == "work/train.parquet\n"
    assert "next:" not in invoke("run", recipe, "--quiet").stderr
    tagged = invoke("run", recipe, "--tag", "b", "--set", "filter.num-negatives=2").stderr
    assert "next: negmine report work/ledger-b -o work/report-b.html" in tagged


def two_positives(folder: Path) -> None:
    """Queries whose second positive shares no word with them, beside documents that share two."""
    rows, documents = [], []
    for n in range(8):
        query = f"alpha{n} beta{n} gamma{n}"
        near = f"{query} near it lies the answer number {n}"
        rows += [(query, near), (query, f"other words for {n * 'very '}far things {n}")]
        documents += [f"alpha{n} beta{n} and distractor {n} {m} of it" for m in range(4)]
    write_jsonl(folder / "p.jsonl", ({"query": q, "positive": p} for q, p in rows))
    write_jsonl(folder / "c.jsonl", ({"_id": str(n), "text": t} for n, t in enumerate(documents)))


def test_many_short_queries_are_told_plainly_and_once_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    """With the share, the rule, and a change of the recipe that does what it promises."""
    monkeypatch.chdir(tmp_path)
    two_positives(tmp_path)
    Path("r.toml").write_text(
        'work = "w"\n[index]\npairs = "p.jsonl"\ncorpus = "c.jsonl"\n'
        '[retrieve]\npairs = "p.jsonl"\n'
        "[filter]\nrelative-margin = 0.05\nnum-negatives = 2\nrepeated-texts = false\n"
        "[export]\nallow-empty = true\n"
    )
    for _ in range(2):
        # Also where all is up to date.
        said = invoke("run", "r.toml").stderr.splitlines()
        end = said[-6:]
        (line,) = [one for one in said if "of the queries are left short" in one]
        assert sum("queries have fewer than" in one for one in end) == 1
        assert line in end
    assert line.startswith(
        "warning: filter: 100% of the queries are left short. 8 of 8 queries have "
    )
    assert "relative_margin took the most of their candidates" in line
    promised = re.search(r" would leave (\d+)", line)
    change = re.search(r"To try it: --set (\S+)$", line)
    assert promised is not None
    assert change is not None, line
    result = invoke("run", "r.toml", "--set", change[1], "-o", "tried")
    assert result.exit_code == 0
    counts = json.loads(Path("tried/ledger/_manifest.json").read_text())["counts"]
    assert counts["queries_short"] == int(promised[1]) == 0
    assert "left short" not in result.stderr


@pytest.mark.parametrize(
    ("mend", "told"),
    [
        ("--against max would leave 0, --x", "--set filter.against=max"),
        ("--no-near-duplicates would leave 1", "--set filter.near-duplicates=false"),
        ("leaving out --max-reuse would choose 3 more", "take max-reuse out of [filter]"),
        ("retrieve with a larger -k", None),
    ],
)
def test_a_change_in_the_words_of_a_recipe(mend: str, told: str | None) -> None:
    advice = (
        f"3 of 9 queries have fewer than 4 negatives (0 have none): x took most (1 of 2); {mend}"
    )
    step = Step("filter", FilterParams(), Path("w/ledger"))

    def end(queries: int) -> str:
        counts = {"queries_short": 3, "queries": queries}
        (warning,) = ending.warnings(step, Outcome(step.out, counts, warnings=[advice]))
        return warning

    assert end(9) == f"filter: 33% of the queries are left short. {advice}" + (
        "" if told is None else f". To try it: {told}"
    )
    # A tenth is not more than a tenth.
    assert end(30) == f"filter: {advice}"
