"""Anchor queries: a cross-encoder's scores of every document for a few queries, made once.

CUR's rows (ANNCUR, arXiv 2210.12579): from them and from a new query's scores of a few documents
follows about what the cross-encoder would score every document. They cost queries times documents
pairs, so they are an artifact of their own, finished part by part, which other candidates over the
same documents and anchors take as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from negmine import log
from negmine.engine.parts import over_parts
from negmine.models.counting import tell_resumed
from negmine.scorers.base import GoesOn, Scorer, checked, columns_of
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.reading import Artifact
from negmine.table.artifacts.writing import Writer
from negmine.table.conservation import conserve
from negmine.table.documents import Documents, full_text
from negmine.table.draws import digests, splitmix

STAGE = "retrieve.anchors"
VERSION = 1
#: Pairs of a part: what is held of them while a model reads them, and the size of a file.
PART_PAIRS = 1 << 18
#: Singular values below this share of the largest are left out. Without it recall falls to a half
#: where there are about as many anchor documents as anchor queries (docs/benchmarks.md).
_NOISE = 1e-2


@dataclass(frozen=True)
class Drawn:
    """What decides the anchors.

    Attributes:
        qids: of the anchor queries, in the order of their draws.
        texts: of these.
        items: how many documents a query is scored with.
        seed: of the draws.
    """

    qids: Sequence[str]
    texts: Sequence[str]
    items: int
    seed: int


def draw(ids: pa.Array, count: int, seed: int) -> npt.NDArray[np.int64]:
    """Places of ``count`` of the ids, by a hash of each: the order and number of others is nothing.

    Args:
        ids: string [n].
        count: how many are wanted; all where there are no more.
        seed: of the hash.
    """
    found: npt.NDArray[np.int64] = np.argsort(splitmix(digests(ids, seed)), kind="stable")[:count]
    return found


def draw_documents(corpus: Documents, count: int, seed: int) -> npt.NDArray[np.int64]:
    """Row numbers of ``count`` documents, likewise, ascending; ids are read a part at a time."""
    rows = np.empty(0, dtype=np.int64)
    keys = np.empty(0, dtype=np.uint64)
    for first, part in corpus.parts(["docid"]):
        more = splitmix(digests(part.column("docid").combine_chunks(), seed))
        keys = np.concatenate([keys, more])
        rows = np.concatenate([rows, first + np.arange(len(more))])
        least = np.argsort(keys, kind="stable")[:count]
        keys, rows = keys[least], rows[least]
    return np.sort(rows)


def anchors_plan(
    documents: Artifact, spec: str, revision: str, drawn: Drawn, settings: Mapping[str, Any]
) -> Plan:
    """What the scores of anchors are made from.

    Args:
        documents: the corpus.
        spec: how the user wrote the model.
        revision: of the model.
        drawn: the anchors.
        settings: how the model is run.
    """
    texts = hashlib.blake2b(digest_size=16)
    for text in drawn.texts:
        encoded = text.encode("utf-8", "surrogatepass")
        texts.update(len(encoded).to_bytes(8, "little") + encoded)
    return Plan(
        STAGE,
        VERSION,
        {
            "queries": len(drawn.texts),
            "texts": texts.hexdigest(),
            "items": drawn.items,
            "seed": drawn.seed,
            **settings,
        },
        artifacts={"documents": documents},
        models={"scorer": {"model": spec, "revision": revision}},
    )


@dataclass(frozen=True)
class _Slice:
    """Documents that make a part: rows of a part of the corpus."""

    corpus_part: str
    start: int
    stop: int


def slices(corpus: Documents, queries: int) -> dict[str, _Slice]:
    """The parts by name, each of so many documents that their pairs make :data:`PART_PAIRS`."""
    size = max(1, PART_PAIRS // queries)
    found = [
        _Slice(name, start, min(start + size, corpus.artifact.rows(name)))
        for name in corpus.names
        for start in range(0, corpus.artifact.rows(name), size)
    ]
    return {f"part-{number:05d}.npy": one for number, one in enumerate(found)}


def make(
    writer: Writer, corpus: Documents, scorers: Sequence[Scorer], drawn: Drawn, ceiling: int
) -> Artifact:
    """Score every document for every anchor query; a row of a part is a document.

    Args:
        writer: where the parts go; those that an interrupted run finished are kept.
        corpus: the documents.
        scorers: the model, once for each device.
        drawn: the anchors.
        ceiling: bytes that the process is to take at most.
    """
    wanted = slices(corpus, len(drawn.texts))
    places = {name: place for place, name in enumerate(wanted, 1)}
    pairs = len(corpus) * len(drawn.texts)
    with log.progress("scoring all documents for the anchor queries", pairs, " pairs") as bar:
        over_parts(
            wanted.items(),
            finished=writer.has,
            make=partial(_scored, drawn=drawn, writer=writer, bar=bar),
            write=writer.add_array,
            models=scorers,
            prepare=partial(_with_texts, corpus),
            skipped=lambda name, one: tell_resumed(bar, (one.stop - one.start) * len(drawn.texts)),
            started=lambda name: bar.part(places[name], len(places)),
        )
    conserve("documents", len(corpus), scored=writer.rows())
    items = draw_documents(corpus, drawn.items, drawn.seed)
    return writer.commit(
        {"documents": len(corpus), "queries": len(drawn.texts), "pairs": pairs},
        ceiling=ceiling,
        anchor_queries=list(drawn.qids),
        anchor_documents=items.tolist(),
        scorer=scorers[0].describe(),
    )


def _with_texts(
    corpus: Documents, parts: Iterator[tuple[str, _Slice]]
) -> Iterator[tuple[str, list[str]]]:
    """The texts of each part; a part of the corpus is read once."""
    held, texts = "", pa.array([], pa.string())
    for name, one in parts:
        if one.corpus_part != held:
            held, texts = one.corpus_part, full_text(corpus.artifact.read(one.corpus_part))
        yield name, texts.slice(one.start, one.stop - one.start).to_pylist()


def _scored(
    scorer: Scorer, name: str, texts: list[str], *, drawn: Drawn, writer: Writer, bar: log.Progress
) -> npt.NDArray[np.float32]:
    """The scores of some documents: float32 [documents, anchor queries]."""
    queries = len(drawn.texts)
    document, query = np.divmod(np.arange(len(texts) * queries), queries)
    pairs = np.stack([query, document], axis=1)
    given = (drawn.texts, texts, pairs, bar)
    if isinstance(scorer, GoesOn):
        found = scorer.score_on(*given, writer.checkpoint(name, scorer.describe()))
    else:
        found = scorer.score(*given)
    scores: npt.NDArray[np.float32] = checked(found, "cur", columns_of(scorer, "cur")).score
    return scores.reshape(len(texts), queries)


def mixing(items: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """From a query's scores of the anchor documents to its place among the anchor queries.

    Args:
        items: scores of the anchor documents by the anchor queries [documents, queries].

    Returns:
        U of CUR, float64 [documents, queries]: the pseudo-inverse of the block in which anchor
        queries and anchor documents meet. What of it hangs on small singular values alone is left
        out: a model's scores are noisy there, and the noise would be multiplied.
    """
    block = items.T.astype(np.float64)
    return np.asarray(np.linalg.pinv(block, rcond=_NOISE), dtype=np.float64)
