"""What ``filter`` must know of all queries before it looks at a part: a summary of each, merged.

Which queries are near-duplicates of each other, with what is right for the others; and what a
document means that bears its query's id.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import memory
from negmine.dedup import minhash
from negmine.learning.summaries import Summaries
from negmine.params.filter import FilterParams
from negmine.stages.filter import own_documents
from negmine.stages.filter.own_documents import SameIds
from negmine.table.candidates import Candidates
from negmine.table.draws import digests_of

#: Bytes that are let go of before they are given back.
_GIVEN_BACK = 16 << 20
#: Under which name it is told what was found, and the round.
_SURVEY = "queries"


@dataclass(frozen=True)
class Duplicates:
    """Near-duplicate queries.

    Attributes:
        parts: of each part, the ids of its queries that are in a cluster, and the cluster of each.
        keys: keys of (cluster, document) positives, ascending.
    """

    parts: Mapping[str, tuple[pa.Array, np.ndarray]]
    keys: np.ndarray

    def clusters(self, name: str, qids: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """The cluster of each row's query, int64 [rows]; -1 = alone.

        Args:
            name: the part. A set of all queries would be hashed again for every one.
            qids: the query of each row.
        """
        near, cluster = self.parts[name]
        place = pc.fill_null(pc.index_in(qids, value_set=near), len(near)).to_numpy()
        return np.append(cluster, -1)[place]


@dataclass(frozen=True)
class Survey:
    """What is known of all parts: near-duplicate queries, and what equal ids mean."""

    duplicates: Duplicates | None = None
    same_ids: SameIds | None = None


def survey(params: FilterParams, source: Candidates, summaries: Summaries) -> Survey:
    """What settings must know of all queries.

    Args:
        params: settings.
        source: the candidates.
        summaries: goes over them.
    """
    by_id = params.own_document == "auto"
    if not (params.duplicate_queries or by_id):
        return Survey()

    def read(names: Sequence[str]) -> Iterator[tuple[str, tuple[pa.Table, pa.Table | None]]]:
        columns = ["qid", "docid", "label"]
        for name, table in source.tables("reading queries", columns, names):
            yield name, (table, source.queries(name) if params.duplicate_queries else None)

    def summary(part: tuple[pa.Table, pa.Table | None]) -> dict[str, Any]:
        table, asked = part
        found = {} if asked is None else _queries(table, asked)
        return found | ({"bearing": own_documents.bearing(table)} if by_id else {})

    def found() -> dict[str, Any]:
        parts = dict(zip(source.parts, summaries.over(_SURVEY, read, summary), strict=True))
        told: dict[str, Any] = {}
        if by_id:
            bearers = {name: one["bearing"] for name, one in parts.items()}
            told["same_ids"] = asdict(own_documents.decide(bearers, source))
        if params.duplicate_queries:
            told |= _duplicates(parts, params.duplicate_query_at)
        return told

    told = summaries.agreed(_SURVEY, found)
    return Survey(
        Duplicates(told["near"], told["keys"]) if params.duplicate_queries else None,
        SameIds(**told["same_ids"]) if by_id else None,
    )


def _queries(table: pa.Table, asked: pa.Table) -> dict[str, Any]:
    """The queries of a part, with their known positives.

    Args:
        table: its qid, docid and label.
        asked: its queries' texts.
    """
    known = table.filter(pc.equal(table.column("label"), 1))
    qids = table.column("qid").combine_chunks().unique()
    at = pc.index_in(qids, value_set=asked.column("qid").combine_chunks())
    signature, size = minhash.signatures(asked.column("text").combine_chunks().take(at))
    return {
        "qids": qids,
        "signature": signature,
        "size": size,
        # Number of each positive's query, and its document.
        "owner": pc.index_in(known.column("qid"), value_set=qids).to_numpy(),
        "docs": digests_of(known.column("docid")),
    }


def _duplicates(parts: Mapping[str, dict[str, Any]], at: float) -> dict[str, Any]:
    """Clusters of near-duplicate queries over all parts, with their known positives.

    Args:
        parts: the :func:`_queries` of each; they are left without what is large in them.
        at: similarity.
    """

    def joined(name: str) -> np.ndarray:
        return _joined(parts.values(), name)

    cluster = minhash.clusters(joined("signature"), joined("size"), at)
    of_part = np.split(cluster, np.cumsum([len(one["qids"]) for one in parts.values()])[:-1])
    near = {
        name: (one["qids"].filter(pa.array(own >= 0)), own[own >= 0])
        for (name, one), own in zip(parts.items(), of_part, strict=True)
    }
    owners = [own[one["owner"]] for one, own in zip(parts.values(), of_part, strict=True)]
    owner = np.concatenate(owners)
    keys = minhash.pair_keys(owner[owner >= 0], joined("docs")[owner >= 0])
    return {"near": near, "keys": np.unique(keys)}


def _joined(parts: Collection[dict[str, Any]], name: str) -> np.ndarray:
    """An array of all parts, each of which lets go of its own: a row is held once."""
    first = next(iter(parts))[name]
    rows = sum(len(one[name]) for one in parts)
    found = np.empty((rows, *first.shape[1:]), dtype=first.dtype)
    at = freed = 0
    for one in parts:
        own = one.pop(name)
        found[at : at + len(own)] = own
        at, freed = at + len(own), freed + own.nbytes
        # Small arrays lie among what stays, where malloc would keep their pages.
        if freed > _GIVEN_BACK:
            del own
            memory.give_back()
            freed = 0
    return found
