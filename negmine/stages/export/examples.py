"""From a ledger to examples: what ``export`` reads, lays out, orders and gives texts to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa

from negmine.engine.parts import groups
from negmine.formats.base import Chosen, Examples, Format, Options, localise
from negmine.stages.export import shortfall
from negmine.stages.export.accounts import account
from negmine.stages.export.choices import Piece
from negmine.table.documents import Documents
from negmine.table.joins import distinct

#: Counts the positives that the filter made itself.
PROMOTED = "positives_promoted"
#: A part of a folder whose examples are ordered as a whole holds about this much text.
PIECE_BYTES = 256 << 20


def lay_out(chosen: Chosen, layout: Format, options: Options, texts: bool) -> Examples:
    """The examples of some choices."""
    examples = layout.layout(chosen, options)
    return examples if texts else examples.without_texts()


def stats_of(
    examples: Examples, chosen: Chosen, elsewhere: int, asked: int, *, selective: bool = False
) -> dict[str, int]:
    """What is counted about some choices and all the examples made of them.

    Raises:
        InvariantError: a selected negative is not among them; see :func:`account`.
    """
    return {
        "examples": examples.count,
        "queries": len(chosen.qids),
        "queries_left_out": examples.queries_left_out,
        **shortfall.count(examples, chosen, asked),
        "positives": len(chosen.positive_query),
        PROMOTED: int(chosen.positive_promoted.sum()),
        "selected": len(chosen.negative_query),
        "selected_other_side": elsewhere,
        "scores_unknown": examples.unknown_scores(),
        **account(examples, chosen, selective=selective),
    }


def pieces(
    examples: Examples, chosen: Chosen, stats: dict[str, int], rows: int, suffix: str
) -> list[tuple[str, np.ndarray, dict[str, int]]]:
    """A whole training set cut into named pieces of so many rows.

    Returns:
        Name, example numbers, and counts of each; counts of the whole stand in the first.
    """
    starts = range(0, max(1, examples.count), rows)
    cut = []
    for number, start in enumerate(starts):
        stop = min(start + rows, examples.count)
        counts = {**(stats if number == 0 else {}), "examples": stop - start}
        cut.append((f"part-{number:05d}{suffix}", np.arange(start, stop), counts))
    return cut


def rows_per_piece(examples: Examples, documents: Documents, size: int) -> int:
    """How many examples hold about ``size`` bytes of text, by the corpus's mean."""
    used = sum(
        len(leaf.values)
        for column in examples.columns
        for leaf in column.leaves()
        if leaf.kind in ("doc_text", "doc_id", "doc_number")
    )
    mean = documents.artifact.counts.get("text_bytes", 0) / max(1, len(documents))
    return max(1, int(size / max(1.0, mean * used / max(1, examples.count))))


def with_texts(found: Iterable[Piece], documents: Documents, size: int) -> Iterator[Piece]:
    """The pieces with the texts of their documents, about ``size`` bytes fetched at a time."""
    local = (
        replace(piece, examples=examples, chosen=chosen)
        for piece in found
        for examples, chosen in [localise(piece.examples, piece.chosen)]
    )
    at_once = documents.fitting(size)

    def size_of(piece: Piece) -> int:
        # A piece without texts waits for no other.
        return len(piece.chosen.docids) if _has_texts(piece) else at_once

    for group in groups(local, size_of, at_once):
        yield from _filled(group, documents) if _has_texts(group[0]) else group


def _has_texts(piece: Piece) -> bool:
    """Whether the examples hold texts of documents: all pieces of an export do, or none."""
    leaves = (leaf for column in piece.examples.columns for leaf in column.leaves())
    return any(leaf.kind == "doc_text" for leaf in leaves)


def _filled(group: list[Piece], documents: Documents) -> Iterator[Piece]:
    docids, rows = distinct([piece.chosen.docids for piece in group])
    texts = documents.texts(docids)
    for piece, row in zip(group, rows, strict=True):
        doc_texts = texts.take(pa.array(row))
        yield replace(piece, chosen=replace(piece.chosen, doc_texts=doc_texts))
