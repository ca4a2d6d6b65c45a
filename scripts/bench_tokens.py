"""What tokenising, padding and equal texts cost beside the models.

Of an encoder over a corpus and its queries, and of a cross-encoder over candidates: CPU seconds to
tokenise each text once, those that the model takes (of a sample, by its tokens), the padding that
batches of similar length leave and that batches in the given order would, and how many texts are
there more than once. So it shows what could be gained by tokenising less often, and a second table
what is: documents that another encoder with the same tokenizer has read, and texts of candidates
that are remembered from one part to the next::

    negmine index --corpus DATA/medquad --limit 2000 -o WORK/index
    negmine retrieve WORK/index --queries DATA/medquad --qrels DATA/medquad -k 60 --limit 100 \\
      -o WORK/found
    OMP_NUM_THREADS=1 python scripts/bench_tokens.py DATA/medquad --candidates WORK/found
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import _bench
import numpy as np
import pyarrow.compute as pc

from negmine.models import token_cache
from negmine.models.base import CrossEncoderSettings, EncoderSettings, Side
from negmine.models.batching import length_batches
from negmine.models.cross_encoders import load_cross_encoder
from negmine.models.encoders import load_encoder
from negmine.models.resolve import resolve
from negmine.models.token_files import FOLDER, Turn, between_encoders
from negmine.table.candidates import open_candidates
from negmine.table.documents import PART_DOCUMENTS

#: Rows of a model by which the time of all is told.
_SAMPLE = 48
_SIDES = {"document": "documents", "query": "queries"}
_HEAD = (
    *("what", "rows", "tokens", "tokenising, CPU s", "the model, CPU s", "tokenising's share"),
    *("padding", "padding unsorted", "texts", "of them again"),
)
_BEFORE = ("what", "texts", "of them tokenised", "CPU s", "MB in files")


class _Counted(token_cache.TokenCache):
    """Counts the texts that it is asked for, and those that it does not know."""

    asked = made = 0

    def of(self, texts: Sequence[str], tokenise: token_cache.Tokenise) -> token_cache.Tokens:
        """Likewise, counted."""

        def counted(some: Sequence[str]) -> token_cache.Tokens:
            _Counted.made += len(some)
            return tokenise(some)

        _Counted.asked += len(texts)
        return super().of(texts, counted)


@contextmanager
def _counting(size: int = token_cache.CACHE_BYTES) -> Iterator[None]:
    """Nothing is remembered at its beginning, so many bytes at most afterwards."""
    _Counted.asked = _Counted.made = 0
    before, token_cache.TokenCache = token_cache.TokenCache, lambda: _Counted(size)  # type: ignore
    token_cache.cache_of.cache_clear()
    try:
        yield
    finally:
        token_cache.TokenCache = before  # type: ignore[misc]
        token_cache.cache_of.cache_clear()


def main() -> int:
    """Measure both and print two tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder in BEIR layout")
    parser.add_argument("--candidates", type=Path, help="candidates, to score them")
    parser.add_argument("--encoder", default=_bench.MINILM)
    parser.add_argument("--scorer", default=_bench.RERANKER)
    parser.add_argument("--limit", type=int, help="documents and queries, at even distances")
    options = parser.parse_args()
    before = _again(options)
    with _counting(0):
        rows = _texts(options)
        if options.candidates is not None:
            row, without = _pairs(options, "none remembered")
            rows.append(row)
            before.append(without)
    if options.candidates is not None:
        with _counting():
            before.append(_pairs(options, "remembered")[1])
    print(_bench.machine("negmine", "torch", "tokenizers", "onnxruntime"))
    print(f"{_bench.table(_HEAD, rows)}\n\n{_bench.table(_BEFORE, before)}")
    return 0


def _again(options: argparse.Namespace) -> list[tuple[str, ...]]:
    """Rows of the documents as two encoders with one tokenizer read them, one after the other."""
    reference = resolve(options.encoder)
    encoder = load_encoder(reference, EncoderSettings(threads=1))
    texts = _bench.corpus(options.data, options.limit)[1]
    parts = [texts[at : at + PART_DOCUMENTS] for at in range(0, len(texts), PART_DOCUMENTS)]
    encoder.lengths(texts[:64], "document")
    told: list[tuple[str, ...]] = []
    with (
        tempfile.TemporaryDirectory() as place,
        between_encoders(Path(place), [Turn(reference)] * 2),
    ):
        for turn in ("an encoder", "another encoder with its tokenizer"):
            with _counting(0), _bench.timed() as took:
                for part in parts:
                    encoder.lengths(part, "document")
                made = _Counted.made
            size = sum(path.stat().st_size for path in (Path(place) / FOLDER).iterdir())
            counts = (f"{len(texts):,}", f"{made:,}", f"{took['work']:.2f}", f"{size / 1e6:.1f}")
            told.append((f"documents of {options.data.name}, {turn}", *counts))
    return told


def _texts(options: argparse.Namespace) -> list[tuple[str, ...]]:
    """A row of the documents and one of the queries."""
    encoder = load_encoder(resolve(options.encoder), EncoderSettings(threads=1))
    told = []
    given: tuple[tuple[Side, list[str]], ...] = (
        ("document", _bench.corpus(options.data, options.limit)[1]),
        ("query", _bench.queries(options.data, options.limit)[1]),
    )
    for side, texts in given:
        parts = [texts[at : at + PART_DOCUMENTS] for at in range(0, len(texts), PART_DOCUMENTS)]
        with _bench.timed() as took:
            lengths = [encoder.lengths(part, side) for part in parts]
        some = _bench.evenly(texts, _SAMPLE)
        encoder.encode(some[:4], side)
        of_some = int(encoder.lengths(some, side).sum())
        with _bench.timed() as ran:
            encoder.encode(some, side)
        again = len(texts) - len(set(texts))
        told.append(
            _row(
                f"{_SIDES[side]} of {options.data.name}, encoder",
                lengths,
                took["work"],
                ran["work"] / of_some,
                (encoder.batch_tokens, 64),
                (len(texts), again),
            )
        )
    return told


def _pairs(options: argparse.Namespace, what: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A row of each table: the candidates' pairs, part by part as they are scored."""
    model = load_cross_encoder(resolve(options.scorer), CrossEncoderSettings(threads=1))
    source = open_candidates(options.candidates, ["retrieve"])
    lengths, took, texts, every = [], 0.0, 0, set[str]()
    _Counted.asked = _Counted.made = 0
    sample: tuple[list[str], list[str], np.ndarray] | None = None
    for name in source.parts:
        table, queries = source.read(name), source.queries(name)
        docids = table.column("docid").combine_chunks().unique()
        documents = source.documents.texts(docids).to_pylist()
        asked = queries.column("text").to_pylist()
        pairs = np.stack(
            [
                pc.index_in(table.column("qid"), value_set=queries.column("qid").combine_chunks()),
                pc.index_in(table.column("docid"), value_set=docids),
            ],
            axis=1,
        )
        with _bench.timed() as ran:
            lengths.append(model.lengths(asked, documents, pairs))
        took += ran["work"]
        texts += len(documents)
        every.update(docids.to_pylist())
        spread = np.linspace(0, len(pairs) - 1, min(len(pairs), _SAMPLE)).astype(np.int64)
        sample = sample or (asked, documents, pairs[spread])
    assert sample is not None
    counts = (f"{_Counted.asked:,}", f"{_Counted.made:,}", f"{took:.2f}", "0")
    before = (f"texts of {options.candidates.name}, {what}", *counts)
    asked, documents, some = sample
    model.score(asked, documents, some[:4])
    of_some = int(model.lengths(asked, documents, some).sum())
    with _bench.timed() as ran:
        model.score(asked, documents, some)
    row = _row(
        f"pairs of {options.candidates.name}, cross-encoder",
        lengths,
        took,
        ran["work"] / of_some,
        (model.batch_tokens, 64),
        (texts, texts - len(every)),
    )
    return row, before


def _row(
    what: str,
    parts: Sequence[np.ndarray],
    tokenising: float,
    a_token: float,
    batches: tuple[int, int],
    texts: tuple[int, int],
) -> tuple[str, ...]:
    """A line of the table: of the lengths of each part, and CPU seconds for each token."""
    budget, size = batches
    lengths = np.concatenate(parts)
    tokens = int(lengths.sum())
    padded = sum(
        len(rows) * int(part[rows].max())
        for part in parts
        for rows in length_batches(part, size, budget)
    )
    unsorted = 0
    for part in parts:
        for at in range(0, len(part), 32):
            batch = part[at : at + 32]
            unsorted += len(batch) * int(batch.max())
    model = a_token * tokens
    return (
        what,
        f"{len(lengths):,}",
        f"{tokens:,}",
        f"{tokenising:.2f}",
        f"{model:.1f}",
        f"{tokenising / (tokenising + model):.2%}",
        f"{padded / tokens - 1:.2%}",
        f"{unsorted / tokens - 1:.0%}",
        f"{texts[0]:,}",
        f"{texts[1] / max(1, texts[0]):.1%}",
    )


if __name__ == "__main__":
    raise SystemExit(main())
