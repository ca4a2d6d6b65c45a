"""Progress of models: by tokens, told in rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from negmine.models.batching import length_batches
from negmine.models.counting import ByTokens, Reading, Scaled, read_of, tell_tokens
from tests.conftest import Invoke, write_jsonl
from tests.tiny_models import texts


class Seen:
    """Takes what it is told."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.before: list[int] = []

    def __call__(self, count: int) -> None:
        self.made.append(count)

    def there(self, count: int) -> None:
        self.before.append(count)


def test_half_of_the_tokens_is_half_of_the_progress() -> None:
    lengths = np.array([10] * 90 + [100] * 9)
    seen = Seen()
    counted = ByTokens(seen, lengths)
    batches = length_batches(lengths, batch_size=9)
    counted.made(batches[0])
    assert set(lengths[batches[0]]) == {100}
    assert sum(seen.made) == 99 // 2
    for rows in batches[1:]:
        counted.made(rows)
    assert sum(seen.made) == 99


def test_rows_that_were_there_are_told_as_such() -> None:
    seen = Seen()
    counted = ByTokens(seen, np.array([4, 4, 4, 4]))
    counted.there(np.array([0, 1]))
    counted.made(np.array([2, 3]))
    assert (seen.before, seen.made) == ([2], [2])
    plain: list[int] = []
    ByTokens(plain.append, np.array([4, 4])).there(np.array([0]))
    assert plain == [1]


def test_documents_told_in_pairs() -> None:
    seen = Seen()
    scaled = Scaled(seen, 3, 10)
    for _ in range(3):
        scaled(1)
    assert sum(seen.made) == 10
    Scaled(None, 0, 0)(1)


def test_tokens_are_told_to_who_wants_to_know() -> None:
    seen: list[int] = []
    reading = Reading(seen.append)
    assert reading.counts() == {}
    for lengths in ([3, 8, 8], [8, 1]):
        tell_tokens(reading, np.array(lengths), 8)
    assert reading.counts() == {"tokens": 28, "at_limit": 3}
    reading(2)
    reading.there(1)
    assert seen == [2, 1]
    tell_tokens(None, np.array([1]), 1)
    tell_tokens(seen.append, np.array([1]), 1)


def test_a_sum_of_what_was_not_counted_is_none() -> None:
    counted = {"tokens": 3, "at_limit": 1, "rows": 7}
    assert read_of([counted, counted]) == {"tokens": 6, "at_limit": 2}
    # A part that an earlier version has made.
    assert read_of([counted, {"rows": 7}]) == {}
    assert read_of([]) == {}


# --- what a user reads of it --------------------------------------------------------------------


def lengths_by_library(model: Path, most: int, *columns: Iterable[str]) -> np.ndarray:
    """Tokens of each text or pair, by transformers."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model))
    made = tokenizer(*map(list, columns), truncation="longest_first", max_length=most)
    return np.array([len(row) for row in made["input_ids"]])


def counts(artifact: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((artifact / "_manifest.json").read_text())["counts"]
    return found


def test_of_documents_and_pairs_it_is_told_how_many_may_be_cut_off(
    invoke: Invoke, tmp_path: Path, tiny_bi: Path, tiny_splade: Path, tiny_cross: Path
) -> None:
    documents = [f"of {text}" for text in texts(40)]
    queries = [f"what {text}" for text in texts(6, seed=1, longest=20)]
    corpus = [{"_id": str(n), "text": text} for n, text in enumerate(documents)]
    asked = [{"_id": f"q{n}", "text": text} for n, text in enumerate(queries)]
    given = {"corpus": corpus, "queries": asked}
    paths = {name: write_jsonl(tmp_path / f"{name}.jsonl", rows) for name, rows in given.items()}
    qrels = tmp_path / "qrels.tsv"
    qrels.write_text("".join(f"q{n}\t{n}\t1\n" for n in range(6)))
    encoders = ("--encoder", f"dense={tiny_bi}", "--encoder", f"sparse={tiny_splade}")
    options = ("--doc-prompt", "", "--max-length", "dense=16", "--max-length", "sparse=24")
    index, found, scored = (tmp_path / name for name in ("index", "candidates", "scored"))
    told = invoke(
        "index", "--corpus", paths["corpus"], "--no-bm25", *encoders, *options, "-o", index
    ).stderr
    for place, model, most in (("vectors/dense", tiny_bi, 16), ("sparse/sparse", tiny_splade, 24)):
        lengths = lengths_by_library(model, most, documents)
        cut = int((lengths == most).sum())
        of_it = counts(index / place)
        assert (of_it["tokens"], of_it["at_limit"]) == (lengths.sum(), cut)
        assert 0 < cut < len(documents)
        assert f"{place.partition('/')[2]}: {cut} of 40 documents have as many tokens" in told
        assert (
            f"tokens {lengths.sum():,}, at limit {cut}" in invoke("inspect", index / place).stdout
        )
    searched = ("--queries", paths["queries"], "--qrels", qrels, "-k", "5", "-o", found)
    told = invoke("retrieve", index, "--source", "dense", "--query-prompt", "", *searched).stderr
    long = int((lengths_by_library(tiny_bi, 16, queries) == 16).sum())
    assert 0 < long < len(queries)
    assert f"dense: {long} of 6 queries have as many tokens as it reads" in told
    told = invoke(
        "rerank", found, "--scorer", f"ce={tiny_cross}", "--max-length", "32", "-o", scored
    ).stderr
    every = pair_lengths(scored, tiny_cross, queries, documents)
    cut = int((every == 32).sum())
    assert counts(scored)["tokens"] == {"ce": every.sum()}
    assert counts(scored)["at_limit"] == {"ce": cut}
    assert 0 < cut < len(every)
    assert f"ce: {cut} pairs, or documents that it reads by themselves, have as many" in told
    # Some queries are scored whole for the limit first: all of them, or half.
    for sample in (100, 3):
        learned = tmp_path / f"learned-{sample}"
        until = ("sampler=rank", "percentile=0.9", f"fit-sample={sample}")
        limit = ("--enough", "1", *(word for one in until for word in ("--until", one)))
        words = ("--scorer", f"ce={tiny_cross}", "--max-length", "32", *limit, "-o", learned)
        made = invoke("rerank", found, *words)
        assert made.exit_code == 0, made.stderr
        some = pair_lengths(learned, tiny_cross, queries, documents)
        assert counts(learned)["tokens"] == {"ce": some.sum()}
        assert counts(learned)["at_limit"] == {"ce": int((some == 32).sum())}


def pair_lengths(
    scored: Path, model: Path, queries: Sequence[str], documents: Sequence[str]
) -> np.ndarray:
    """Tokens of each pair that has a score."""
    parts = [pq.read_table(path) for path in sorted(scored.glob("part-*.parquet"))]
    pairs = [row for part in parts for row in part.to_pylist() if row["score_ce"] is not None]
    asked = [queries[int(row["qid"][1:])] for row in pairs]
    return lengths_by_library(model, 32, asked, [documents[int(row["docid"])] for row in pairs])


def test_what_was_not_counted_of_all_is_not_told() -> None:
    """A part that an earlier version has scored; a scorer that counts no tokens."""
    counted = {"tokens.a": 3, "at_limit.a": 1, "tokens.b": 2, "at_limit.b": 0, "scored": 1}
    other = {"tokens.a": 0, "at_limit.a": 0}
    assert read_of([counted, other], ".a") == {"tokens": 3, "at_limit": 1}
    assert read_of([counted, other], ".b") == read_of([counted], ".c") == read_of([], ".a") == {}
