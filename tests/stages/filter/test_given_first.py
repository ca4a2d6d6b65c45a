"""``--prefer-given``, and what ``--pseudo-positive`` may not choose, through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.inputs.test_training_sets import TRUTH
from tests.tables import make_scored
from tests.training_sets import command, lines, rows

FILLERS = [f"{query} is what people ask, {at}." for query, _, _ in TRUTH for at in range(6)]


def done(*arguments: object) -> Any:
    result = command(*arguments)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def candidates(tmp_path: Path) -> Path:
    """Triplets beside a corpus whose documents BM25 ranks above the given negatives."""
    lines(tmp_path / "corpus.jsonl", [{"_id": f"f{n}", "text": t} for n, t in enumerate(FILLERS)])
    records = [{"query": q, "positive": p, "negative": n} for q, p, n in TRUTH]
    pairs = lines(tmp_path / "pairs.jsonl", records)
    both = ("--corpus", tmp_path / "corpus.jsonl", "--pairs", pairs)
    done("index", *both, "-o", tmp_path / "index")
    done("retrieve", tmp_path / "index", "--pairs", pairs, "-o", tmp_path / "candidates")
    return tmp_path / "candidates"


def trained(folder: Path, candidates: Path, *options: object) -> dict[str, list[str]]:
    """The negatives of each query in the training file."""
    name = f"ledger{len(list(folder.glob('ledger*')))}"
    done("filter", candidates, *options, "--no-repeated-texts", "-o", folder / name)
    out = folder / f"{name}.jsonl"
    done("export", folder / name, "--format", "flagembedding", "-o", out)
    return {row["query"]: row["neg"] for row in map(json.loads, out.read_text().splitlines())}


@pytest.mark.parametrize(
    "options",
    [
        ("--sampler", "random"),
        ("--sampler", "rank", "--rank-by", "bm25"),
        ("--sampler", "random", "--rank-by", "bm25", "--range-min", 2, "--range-max", 4),
        ("--sampler", "top", "--rank-by", "bm25", "--shift", 2),
    ],
    ids=lambda options: "".join(map(str, options)),
)
def test_given_negatives_come_first(tmp_path: Path, candidates: Path, options: Any) -> None:
    options = (*options, "--num-negatives", 2)
    found = trained(tmp_path, candidates, *options, "--prefer-given")
    for query, _, negative in TRUTH:
        assert negative in found[query]
        assert len(found[query]) == 2
    assert any(
        negative not in trained(tmp_path, candidates, *options)[query]
        for query, _, negative in TRUTH
    )


def test_rules_hold_for_given_negatives(tmp_path: Path, candidates: Path) -> None:
    given = [row for row in rows(candidates) if row.get("rank_given")]
    (tmp_path / "banned.txt").write_text(f"{given[0]['docid']}\n")
    options = ("--prefer-given", "--num-negatives", 2, "--exclude", tmp_path / "banned.txt")
    found = trained(tmp_path, candidates, *options)
    assert sum(negative in found[query] for query, _, negative in TRUTH) == 2


def test_nothing_given_is_told(tmp_path: Path) -> None:
    pairs = lines(tmp_path / "p.jsonl", [{"query": q, "positive": p} for q, p, _ in TRUTH])
    done("index", "--pairs", pairs, "-o", tmp_path / "index")
    done("retrieve", tmp_path / "index", "--pairs", pairs, "-o", tmp_path / "candidates")
    told = done("filter", tmp_path / "candidates", "--prefer-given", "-o", tmp_path / "ledger")
    assert "--prefer-given has no effect: --pairs brought no negatives along" in told.stderr


def test_kalm_takes_a_lines_own_negatives_first(tmp_path: Path) -> None:
    """Its training file: those that were given wherever they are ranked, the rest of 51 to 100."""
    depth, given = 110, {5: 1, 70: 2, 105: 3}
    table: list[dict[str, Any]] = []
    for q in range(3):
        for d in range(depth):
            rank = d + 1 if d < 100 else None
            score = 0.9 - d / 200
            row = {"qid": f"q{q}", "docid": f"d{q}x{d}", "label": int(d == 0)}
            row |= {"grade": 1 if d == 0 else None, "rank_minilm": rank, "score_minilm": score}
            row |= {"rank_given": given.get(d), "score_given": None}
            table.append(row)
    make_scored(tmp_path, [table], sources=["minilm", "given"], scorers=[])
    done("filter", tmp_path / "scored", *recipe_of("kalm"), "-o", tmp_path / "ledger")
    out = tmp_path / "train.jsonl"
    done("export", tmp_path / "ledger", "--format", "flagembedding", "--ids", "-o", out)
    written = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(written) == 3
    for row in written:
        q = row["query_id"].removeprefix("q")
        own = {f"d{q}x{d}" for d in given}
        assert len(row["neg_id"]) == 7
        assert own <= set(row["neg_id"])
        rest = {int(docid.split("x")[1]) for docid in set(row["neg_id"]) - own}
        assert rest <= set(range(50, 100))


def recipe_of(name: str) -> list[object]:
    """The filter's options of a recipe, as flags."""
    from negmine import recipe

    table = recipe.load(recipe.shipped()[name]).tables["filter"]
    options: list[object] = []
    for key, value in table.items():
        options += [f"--{key}"] if value is True else [f"--{key}", value]
    return options


OWN = "why is the sea salty"
BEST = "The sea is salty, and why the sea is salty is known."


@pytest.mark.parametrize("own", [OWN, f"{OWN}?", ""])
@pytest.mark.parametrize("by_id", [False, True])
def test_no_pseudo_positive_is_the_querys_own(tmp_path: Path, own: str, by_id: bool) -> None:
    """Its text, the text under another title, or the document that bears its id."""
    texts = {"own": ("", own) if own else ("A title", OWN), "best": ("", BEST), "x": ("", "Rain.")}
    corpus = [
        {"_id": "q1" if by_id and name == "own" else name, "title": title, "text": text}
        for name, (title, text) in texts.items()
    ]
    lines(tmp_path / "corpus.jsonl", corpus)
    queries = [{"_id": "q1", "text": OWN}, {"_id": "q2", "text": "rain"}]
    lines(tmp_path / "queries.jsonl", queries)
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq2\tx\t1\n")
    assert promoted(tmp_path) == {"q1": "best"}


def test_no_pseudo_positive_is_what_was_judged_or_excluded(tmp_path: Path) -> None:
    names = ("judged", "banned", "blank", "best")
    texts = [BEST, f"{BEST} Indeed.", "", "The sea is salty for some reason that is known."]
    corpus = [{"_id": n, "text": t} for n, t in zip(names, texts, strict=True)]
    lines(tmp_path / "corpus.jsonl", [*corpus, {"_id": "x", "text": "Rain."}])
    queries = [{"_id": "q1", "text": OWN}, {"_id": "q2", "text": "rain"}]
    lines(tmp_path / "queries.jsonl", queries)
    judged = "query-id\tcorpus-id\tscore\nq2\tx\t1\nq1\tjudged\t0\n"
    (tmp_path / "qrels.tsv").write_text(judged)
    (tmp_path / "banned.txt").write_text("banned\n")
    assert promoted(tmp_path, "--exclude", tmp_path / "banned.txt") == {"q1": "best"}


def promoted(folder: Path, *options: object) -> dict[str, str]:
    """The positives that the filter chose, as the training file has them."""
    done("index", "--corpus", folder / "corpus.jsonl", "-o", folder / "index")
    asked = ("--queries", folder / "queries.jsonl", "--qrels", folder / "qrels.tsv")
    done(
        *("retrieve", folder / "index", *asked, "--keep-unlabelled"),
        *("-o", folder / "candidates"),
    )
    done(
        *("filter", folder / "candidates", "--pseudo-positive", 0, *options),
        *("--no-near-duplicates", "-o", folder / "ledger"),
    )
    table = rows(folder / "ledger")
    return {row["qid"]: row["docid"] for row in table if row["dropped_by"] == "pseudo_positive"}
