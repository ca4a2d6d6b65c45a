"""Tables without scores, through the command line: ranks stand for them, and no rule reads them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.training_sets import command, lines

DOCS = [f"{chr(97 + n) * 3} stands on stone {chr(97 + n) * 5} alone" for n in range(26)]
#: Per query, documents by rank; the positive stands among them.
RUN = {"q1": [7, 3, 1, 12, 5, 9], "q2": [2, 20, 4, 11, 8, 1]}
POSITIVES = {"q1": 1, "q2": 2}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Candidates of a run of ranks alone, beside a judged document that it does not hold."""
    folder = tmp_path_factory.mktemp("ranks")
    corpus = lines(
        folder / "corpus.jsonl", [{"docid": f"d{n}", "text": t} for n, t in enumerate(DOCS)]
    )
    lines(folder / "queries.jsonl", [{"qid": q, "text": f"about {q}"} for q in RUN])
    grades = [(q, f"d{d}", 1) for q, d in POSITIVES.items()] + [("q1", "d15", 0)]
    (folder / "qrels.tsv").write_text(
        "qid\tdocid\tgrade\n" + "".join(f"{q}\t{d}\t{g}\n" for q, d, g in grades)
    )
    # MS MARCO's layout, the lines not in order.
    rows = [f"{q}\td{d}\t{r}\n" for q, ds in RUN.items() for r, d in enumerate(ds, 1)]
    (folder / "run.tsv").write_text("".join(rows))
    ran("index", "--corpus", corpus, "--no-bm25", "-o", folder / "index")
    inputs = ("--queries", folder / "queries.jsonl", "--qrels", folder / "qrels.tsv")
    run = f"r={folder / 'run.tsv'}"
    ran("retrieve", folder / "index", *inputs, "--run", run, "-o", folder / "candidates")
    return folder / "candidates"


def ran(*arguments: object) -> Any:
    result = command(*arguments)
    assert result.exit_code == 0, result.output
    return result


def chosen(table: Path, out: Path, options: Iterable[object] = ()) -> dict[str, list[str]]:
    """Per query, the negatives of the file that comes out, in its order."""
    ran("filter", table, *options, "-o", out / "ledger")
    ran("export", out / "ledger", "--ids", "-o", out / "train.jsonl")
    found: dict[str, list[str]] = {}
    for line in (out / "train.jsonl").read_text().splitlines():
        row = json.loads(line)
        found.setdefault(row["qid"], []).append(row["negative_docid"])
    return found


def negatives(query: str) -> list[str]:
    return [f"d{d}" for d in RUN[query] if d != POSITIVES[query]]


def test_the_best_ranks_are_taken_and_told(table: Path, tmp_path: Path) -> None:
    result = ran("filter", table, "-o", tmp_path / "told")
    assert "no row has a score_r: the best rank over the sources stands for it" in result.stderr
    assert "no positive with a score" not in result.stderr
    # What judgements alone bring comes last.
    assert chosen(table, tmp_path) == {"q1": [*negatives("q1"), "d15"], "q2": negatives("q2")}
    told = json.loads((tmp_path / "ledger" / "_manifest.json").read_text())["warnings"]
    assert any("stands for it" in one for one in told)


@pytest.mark.parametrize(
    ("options", "q2"),
    [
        (("--num-negatives", 2), ["d20", "d4"]),
        (("--sampler", "rank", "--num-negatives", 2), ["d20", "d4"]),
        (("--sampler", "bottom", "--num-negatives", 2, "--order", "easy-first"), ["d1", "d8"]),
        (("--shift", 2, "--num-negatives", 2), ["d11", "d8"]),
        (("--range-min", 3, "--range-max", 4), ["d4", "d11"]),
        (("--skip-survivors", 1, "--num-negatives", 2), ["d4", "d11"]),
        (("--by", "r", "--num-negatives", 1), ["d20"]),
    ],
)
def test_what_reads_ranks_alone(
    table: Path, tmp_path: Path, options: tuple[object, ...], q2: list[str]
) -> None:
    assert chosen(table, tmp_path, options)["q2"] == q2


@pytest.mark.parametrize(
    "options",
    [
        ("--relative-margin", "0.05"),
        ("--absolute-margin", "0"),
        ("--min-score", "-3"),
        ("--percentile", "0.5"),
        ("--query-min-rank", "3"),
        ("--max-fn-rate", "0.5"),
        ("--guide", "r"),
        ("--sampler", "simans"),
        ("--sampler", "stratified"),
        ("--difficulty",),
    ],
)
def test_what_reads_scores_is_refused(
    table: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    result = command("filter", table, *options, "-o", tmp_path / "ledger")
    assert result.exit_code == 2, result.output
    assert "no row has a score_r" in result.stderr
    assert options[0] in result.stderr
    assert not (tmp_path / "ledger").exists()


def test_another_source_with_scores_goes_first(table: Path, tmp_path: Path) -> None:
    folder = table.parent
    (tmp_path / "scored.tsv").write_text(
        "".join(
            f"{q} Q0 d{d} {r} {10 - r}.5 other\n"
            for q, ds in RUN.items()
            for r, d in enumerate(reversed(ds), 1)
        )
    )
    runs = ("--run", f"r={folder / 'run.tsv'}", "--run", f"s={tmp_path / 'scored.tsv'}")
    inputs = ("--queries", folder / "queries.jsonl", "--qrels", folder / "qrels.tsv")
    ran("retrieve", folder / "index", *inputs, *runs, "-o", tmp_path / "both")
    assert chosen(tmp_path / "both", tmp_path)["q2"] == negatives("q2")[::-1]
    by_rank = chosen(tmp_path / "both", tmp_path / "r", ("--by", "r"))
    assert by_rank["q2"] == negatives("q2")
    other = ("--by", "s", "--sample-by", "r", "--max-score", "8")
    assert chosen(tmp_path / "both", tmp_path / "other", other)["q2"] == ["d20", "d4", "d11"]
    result = command("filter", tmp_path / "both", "--by", "r", "--max-score", "8", "-o", "x")
    assert result.exit_code == 2
    assert "(--by s)" in result.stderr


def test_given_negatives_alone_keep_their_order(tmp_path: Path) -> None:
    texts = {"sugar": ["Cells burn it.", "Hail is ice.", "A moon."], "salt": ["Zinc.", "Ash."]}
    records = [
        {"query": query, "pos": [f"{query} is made of crystals"], "neg": negative}
        for query, negative in texts.items()
    ]
    pairs = lines(tmp_path / "train.jsonl", records)
    ran("index", "--pairs", pairs, "--no-bm25", "-o", tmp_path / "index")
    result = command("retrieve", tmp_path / "index", "--pairs", pairs, "-o", tmp_path / "c")
    assert result.exit_code == 2
    assert "--source given" in result.stderr
    ran("retrieve", tmp_path / "index", "--pairs", pairs, "--source", "given", "-o", tmp_path / "c")
    ran("filter", tmp_path / "c", "-o", tmp_path / "ledger")
    out = tmp_path / "out.jsonl"
    ran("export", tmp_path / "ledger", "--format", "flagembedding", "-o", out)
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["query"]: row["neg"] for row in found} == texts


@pytest.mark.parametrize(
    "options", [("--scores",), ("--format", "trec-run"), ("--format", "pylate-kd")]
)
def test_scores_that_no_row_has_are_not_written(
    table: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    ran("filter", table, "--num-negatives", 2, "-o", tmp_path / "ledger")
    suffix = "trec" if "trec-run" in options else "jsonl"
    result = command("export", tmp_path / "ledger", *options, "-o", tmp_path / f"out.{suffix}")
    assert result.exit_code == 2, result.output
    assert "no row of the ledger has a score_r" in result.stderr
    assert "negmine rerank" in result.stderr


def test_explain_goes_by_rank(table: Path, tmp_path: Path) -> None:
    ran("filter", table, "-o", tmp_path / "ledger")
    report = json.loads(ran("explain", tmp_path / "ledger", "q2", "--json").stdout)
    assert [row["docid"] for row in report["candidates"]] == [f"d{d}" for d in RUN["q2"]]


def test_what_audit_cannot_sweep_is_told(table: Path, tmp_path: Path) -> None:
    result = command("audit", table, "--sweep", "auto", "-o", tmp_path / "audit")
    assert result.exit_code == 5
    assert "--sweep range-min=1:20:5" in result.stderr
    ran("audit", table, "--sweep", "range-min=1:20:5", "-o", tmp_path / "audit")


def test_a_grade_that_no_judgement_reaches_is_told(table: Path, tmp_path: Path) -> None:
    folder = table.parent
    inputs = ("--queries", folder / "queries.jsonl", "--qrels", folder / "qrels.tsv")
    run = ("--run", f"r={folder / 'run.tsv'}")
    grade = ("--min-grade", 2)
    result = command("retrieve", folder / "index", *inputs, *run, *grade, "-o", tmp_path / "c")
    assert result.exit_code == 5
    assert "none of --min-grade 2 or above: lower it" in result.stderr


def test_a_training_set_that_was_not_indexed_is_told(table: Path, tmp_path: Path) -> None:
    pairs = lines(tmp_path / "other.jsonl", [{"query": "a b", "pos": ["c d"], "neg": ["e f"]}])
    index = table.parent / "index"
    arguments = ("--pairs", pairs, "--source", "given", "-o", tmp_path / "c")
    result = command("retrieve", index, *arguments)
    assert result.exit_code == 5
    assert "Give the same --pairs to negmine index" in result.stderr


def test_a_margin_of_another_scale_is_told(table: Path, tmp_path: Path) -> None:
    folder = table.parent
    rows = "".join(f"{q} Q0 d{d} 1 {30 - n} s\n" for q, ds in RUN.items() for n, d in enumerate(ds))
    (tmp_path / "s.trec").write_text(rows)
    inputs = ("--queries", folder / "queries.jsonl", "--qrels", folder / "qrels.tsv")
    run = ("--run", f"s={tmp_path / 's.trec'}")
    ran("retrieve", folder / "index", *inputs, *run, "-o", tmp_path / "c")
    result = ran("filter", tmp_path / "c", "--absolute-margin", 1000, "-o", tmp_path / "ledger")
    assert "--absolute-margin 1000 leaves next to nothing of these scores" in result.stderr
