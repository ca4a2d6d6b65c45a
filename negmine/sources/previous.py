"""The negatives of an earlier ledger as a source: ``--source NAME=previous:LEDGER``.

A round takes with it what the one before has chosen (ANCE-Tele's momentum, arXiv 2210.17167; their
code joins both sets with duplicates, here a pair is one row whoever found it). Before the first
round there is none, which ``previous:`` without a ledger says: it finds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import log
from negmine.errors import InvalidDataError
from negmine.params.retrieve import RetrieveParams
from negmine.sources.base import Asked, Capabilities, Hits, Source
from negmine.sources.given import Given
from negmine.sources.kind import Kind, Opening, SourceRef
from negmine.table.artifacts import open_artifact
from negmine.table.artifacts.reading import Artifact
from negmine.table.documents import Documents
from negmine.table.names import FIRST_SCORE, score_column
from negmine.table.ranking import group_starts

SCHEME = "previous"
_SCHEMA = pa.schema(
    [
        ("qid", pa.string()),
        ("docid", pa.string()),
        ("score", pa.float32()),
        ("negative", pa.bool_()),
    ]
)


class Previous:
    """What an earlier ledger has chosen for a query id, in its order, whatever k is.

    A negative's score is the one that the earlier rules read (of the round in which it was chosen
    first, where the ledger tells that); positives have theirs, other pairs none.

    Args:
        table: see :class:`~negmine.sources.given.Given`.
        each: negatives of a query, at most.
    """

    def __init__(self, table: pa.Table, each: int = 0) -> None:
        self._given, self._each = Given(table), each

    @property
    def capabilities(self) -> Capabilities:
        """It searches nothing, and who else found its rows is told."""
        return Capabilities(searches=False, answers_all=True, each=self._each, counted=True)

    def search(self, asked: Asked, k: int) -> Hits:
        """The negatives of each query id, in their order; a score may be NaN."""
        return self._given.search(asked, k)

    def score(self, asked: Asked, query: np.ndarray, docids: pa.Array) -> np.ndarray:
        """Score of each (query index, docid) pair; NaN where the ledger's choice tells none."""
        return self._given.score(asked, query, docids)

    def close(self) -> None:
        """Nothing is held open."""


def open_previous(
    name: str, ledger: Artifact, qids: pa.Array, corpus: Documents
) -> tuple[Previous, dict[str, int], list[str]]:
    """Read what a ledger has chosen for the queries ``qids``.

    Args:
        name: the source's.
        ledger: the earlier ledger.
        qids: the mined queries.
        corpus: the documents of now.

    Returns:
        (the source, counts of what was read and left out, the losses in words).

    Raises:
        InvalidDataError: it has chosen something, and nothing of it is of these queries and this
            corpus.
    """
    table, read = _chosen(ledger, qids)
    negatives = int(pc.sum(table.column("negative"), min_count=0).as_py())
    known = pa.array(corpus.rows(table.column("docid").combine_chunks()) >= 0, pa.bool_())
    unknown = int(pc.sum(pc.and_(table.column("negative"), pc.invert(known)), min_count=0).as_py())
    if read and negatives == unknown:
        raise InvalidDataError(
            f"none of its {read} negatives is of a mined query and a document of the corpus",
            where=str(ledger.path),
            hint="Give a ledger over the same queries and corpus.",
        )
    table = table.filter(known)
    chosen = table.filter(table.column("negative"))
    query = pc.index_in(chosen.column("qid"), value_set=qids).to_numpy()
    counts = {
        "negatives_read": read,
        "rows_of_other_queries": read - negatives,
        "documents_unknown": unknown,
        "queries_missing": len(qids) - len(group_starts(np.sort(query))),
    }
    told = [
        f"--source {name}: {counts[count]} {words}"
        for count, words in (
            ("rows_of_other_queries", "negatives are of queries that are not mined: left out"),
            ("documents_unknown", "negatives are no document of the corpus: left out"),
            ("queries_missing", "of the mined queries have no negative there"),
        )
        if counts[count]
    ]
    return Previous(table, _each(ledger)), counts, told


def _chosen(ledger: Artifact, qids: pa.Array) -> tuple[pa.Table, int]:
    """The chosen negatives in their order, and positives, of these queries; negatives of all."""
    schema = ledger.schema()
    score = _score_of(ledger)
    columns = ["qid", "docid", "label", "selected"]
    scores = [name for name in (score, FIRST_SCORE) if name is not None and name in schema.names]
    kept, read = [_SCHEMA.empty_table()], 0
    for name in ledger.parts:
        part = ledger.read(name, [*columns, *scores])
        negative = pc.is_valid(part.column("selected"))
        read += int(pc.sum(negative, min_count=0).as_py())
        wanted = pc.or_(negative, pc.equal(part.column("label"), 1))
        wanted = pc.and_(wanted, pc.is_in(part.column("qid"), value_set=qids))
        # Positives first: they have no number, and their order does not matter.
        part = part.filter(wanted).sort_by([("qid", "ascending"), ("selected", "ascending")])
        found = pa.nulls(part.num_rows, pa.float32())
        if scores:
            found = pc.coalesce(*(part.column(one) for one in reversed(scores)))
        values = [part.column("qid"), part.column("docid"), found]
        negative = pc.is_valid(part.column("selected"))
        kept.append(pa.table([*values, negative], schema=_SCHEMA))
    return pa.concat_tables(kept), read


def _each(ledger: Artifact) -> int:
    """Negatives of a query, at most."""
    return int(ledger.params["num_negatives"])


def _score_of(ledger: Artifact) -> str | None:
    """The column that the ledger's rules read; None where no row of it has a score."""
    by = ledger.params.get("by")
    return None if by is None or by in ledger.params.get("unscored", ()) else score_column(by)


# --- the kind of source -------------------------------------------------------------------------


def _choose(
    params: RetrieveParams, wanted: Mapping[str, str], index: Artifact
) -> Sequence[SourceRef]:
    return [_ref(name, path) for name, path in wanted.items()]


def _ref(name: str, path: str) -> SourceRef:
    if not path:
        return SourceRef(name, partial(_none, name))
    ledger = open_artifact(path, ["filter"], purpose="the earlier ledger")
    spec: dict[str, Any] = {"score": ledger.params.get("by")}
    opened = partial(_open, name, ledger)
    return SourceRef(name, opened, beside={name: ledger}, spec=spec, each=_each(ledger))


def _none(name: str, opening: Opening) -> Source:
    log.event(
        f"{name}: no round before this one, so it finds nothing "
        f"(--source {name}={SCHEME}:LEDGER names an earlier ledger)"
    )
    return Previous(_SCHEMA.empty_table())


def _open(name: str, ledger: Artifact, opening: Opening) -> Source:
    found, counts, told = open_previous(name, ledger, opening.qids, opening.corpus)
    opening.counts.update({f"{name}_{what}": count for what, count in counts.items()})
    opening.warnings.extend(told)
    return found


PREVIOUS = Kind(SCHEME, _choose, scheme=SCHEME, usage=f"{SCHEME}:LEDGER")
