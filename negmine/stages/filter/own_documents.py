"""Whether a document that bears a query's id is the document that the query was made of.

In ArguAna or SCIDOCS queries are documents of the corpus and equal ids mean the same; in Cranfield,
CACM or SciFact both are numbered, and query 1 has nothing to do with document 1. What the texts of
some of them say decides for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.dedup import minhash
from negmine.dedup.normal import normalise
from negmine.dedup.shingles import DOCUMENT, shingles
from negmine.table.candidates import Candidates
from negmine.table.draws import digests

#: Candidates whose texts are compared with their query's.
_COMPARED = 200
#: Share of a query's shingles in a document that it was cut or shortened from.
_CONTAINED = 0.5
#: Shares of agreeing texts from which equal ids are believed, and between which that is doubtful.
_BELIEVED, _DOUBTFUL = 0.5, (0.05, 0.95)


@dataclass(frozen=True)
class SameIds:
    """Candidates that bear their query's id, known positives left out.

    Attributes:
        candidates: how many there are.
        compared: of how many the texts were compared.
        agree: of how many of these the document is the query's text, its title or what it was
            taken from.
        believed: whether all of them are taken for their query's own document.
    """

    candidates: int
    compared: int
    agree: int
    believed: bool

    def facts(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)

    @property
    def doubtful(self) -> bool:
        """Whether the texts of some agree, and of others do not."""
        return _DOUBTFUL[0] <= self.agree / max(1, self.compared) < _DOUBTFUL[1]

    def told(self) -> str:
        """What was seen and is done, in words."""
        seen = f"{self.agree} of {self.compared} compared have the query's text"
        if self.believed:
            return (
                f"{self.candidates} candidates bear their query's id and {seen}: all are taken for "
                "the query's own document (--own-document text takes those alone)"
            )
        return (
            f"{self.candidates} candidates bear their query's id, but {seen}: ids of queries and "
            "documents are taken to be unrelated (--own-document id if they mean the same)"
        )


def bearing(table: pa.Table) -> pa.Array:
    """The queries of a part that have an unlabelled candidate of their own id."""
    mask = pc.and_(
        pc.equal(table.column("qid"), table.column("docid")),
        pc.not_equal(table.column("label"), 1),
    )
    return table.column("qid").filter(mask).combine_chunks()


def decide(bearers: Mapping[str, pa.Array], source: Candidates) -> SameIds:
    """What the texts of some candidates say about all that bear their query's id.

    Args:
        bearers: of each part, its :func:`bearing` queries.
        source: the candidates, with the texts of queries and documents.
    """
    stops = np.cumsum([len(qids) for qids in bearers.values()])
    count = int(stops[-1]) if len(stops) else 0
    if count == 0:
        return SameIds(0, 0, 0, believed=False)
    some = np.unique(np.linspace(0, count - 1, min(count, _COMPARED)).astype(np.int64))
    ids: list[str] = []
    queries: list[str] = []
    for (name, qids), first in zip(bearers.items(), [0, *stops[:-1]], strict=True):
        mine = some[(some >= first) & (some < first + len(qids))] - first
        if len(mine):
            asked = source.queries(name)
            wanted = qids.take(pa.array(mine))
            at = pc.index_in(wanted, value_set=asked.column("qid").combine_chunks())
            ids += wanted.to_pylist()
            queries += asked.column("text").take(at).to_pylist()
    texts, titles = source.documents.titled(pa.array(ids, pa.string()))
    agree = int(agreeing(queries, texts, titles).sum())
    return SameIds(count, len(ids), agree, believed=agree >= _BELIEVED * len(ids))


def agreeing(queries: Sequence[str], texts: pa.Array, titles: pa.Array) -> np.ndarray:
    """Which queries are their document's text, with or without title, its title, or a piece of it.

    Args:
        queries: a query for each document.
        texts: full texts.
        titles: the titles that they begin with, empty where there is none.
    """
    asked = normalise(pa.array(queries, pa.large_string()))
    described = minhash.describe(texts, titles)
    digest = digests(asked.texts)
    told = pc.not_equal(asked.texts, "").to_numpy(zero_copy_only=False)
    same = (digest == described.content) | (digest == described.untitled)
    same |= digest == digests(normalise(titles).texts)
    mine, mine_at = shingles(asked, DOCUMENT)
    theirs, theirs_at = shingles(normalise(texts), DOCUMENT)
    # Some hundreds at most.
    for row in np.flatnonzero(told & ~same):
        within = theirs[theirs_at[row] : theirs_at[row + 1]]
        same[row] = np.isin(mine[mine_at[row] : mine_at[row + 1]], within).mean() >= _CONTAINED
    return told & same
