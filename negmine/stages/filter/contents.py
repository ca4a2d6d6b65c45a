"""What the candidates' texts hold, for the rules that look into them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.dedup import contents
from negmine.errors import UsageError, did_you_mean
from negmine.params.filter import FilterParams
from negmine.rules.content import ANSWER, NO_NUMBER
from negmine.table.candidates import Candidates
from negmine.table.documents import Documents
from negmine.table.names import meta_column

#: A text, what is made of it on the way, and its words as strings.
_COPIES = 8


@dataclass(frozen=True)
class Held:
    """What some documents hold.

    Attributes:
        words: their texts as :func:`negmine.dedup.contents.words` has them; empty where no setting
            asks.
        number: True for those with a number, likewise.
    """

    words: list[str] = field(default_factory=list)
    number: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))


def wanted(params: FilterParams) -> bool:
    """Whether a setting asks what texts hold."""
    return params.answers is not None or params.require_numbers != "off"


def check(params: FilterParams, source: Candidates) -> None:
    """See that the candidates' queries keep the answers.

    Raises:
        UsageError: they do not.
    """
    if params.answers is None:
        return
    kept = [str(name) for name in source.retrieved.params.get("keep", ())]
    if params.answers not in kept:
        again = f"Retrieve again with --keep {params.answers}."
        raise UsageError(
            f"--answers: the candidates keep no column '{params.answers}' of the queries",
            hint=f"{did_you_mean(params.answers, kept)} {again}" if kept else again,
        )


def fitting(documents: Documents, size: int) -> int:
    """Of how many documents the texts and their words are held in about ``size`` bytes."""
    return documents.fitting(size // _COPIES)


def held(documents: Documents, docids: pa.Array, params: FilterParams) -> Held:
    """What documents hold, as far as settings ask."""
    texts = documents.texts(docids)
    return Held(
        contents.words(texts).to_pylist() if params.answers is not None else [],
        contents.has_number(texts) if params.require_numbers != "off" else np.zeros(0, dtype=bool),
    )


def flags(
    found: Held,
    asked: pa.Table,
    qids: pa.Array,
    query: np.ndarray,
    row: np.ndarray,
    params: FilterParams,
) -> Mapping[str, np.ndarray]:
    """The masks of a part.

    Args:
        found: what its documents hold.
        asked: its queries, with the kept column of answers.
        qids: id of each query, by number.
        query: query number of each row.
        row: document of each row, as ``found`` has them.
        params: settings.
    """
    at = pc.index_in(qids, value_set=asked.column("qid").combine_chunks())
    masks = {}
    if params.answers is not None:
        told = asked.column(meta_column(params.answers)).combine_chunks().take(at).to_pylist()
        each = [contents.answers(value) for value in told]
        flat = pa.array([one for some in each for one in some], pa.string())
        words = iter(contents.words(flat).to_pylist())
        own = [[next(words) for _ in some] for some in each]
        masks[ANSWER] = contents.holding(query, row, found.words, own)
    if params.require_numbers != "off":
        texts = asked.column("text").combine_chunks().take(at)
        every = np.ones(len(texts), dtype=bool)
        asks = every if params.require_numbers == "all" else contents.asks_for_number(texts)
        masks[NO_NUMBER] = asks[query] & ~found.number[row]
    return masks


def unknown(params: FilterParams, source: Candidates) -> list[str]:
    """The warning where there are no answers to look for."""
    if params.answers is None:
        return []
    column = meta_column(params.answers)
    total = have = 0
    for name in source.parts:
        values = source.queries(name).column(column)
        total, have = total + len(values), have + len(values) - values.null_count
    if have == total:
        return []
    return [f"--answers: {total - have:,} of {total:,} queries have no {params.answers}"]
