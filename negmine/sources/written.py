"""Texts that ``negmine write`` made, as a source: ``--source NAME=written:FOLDER``.

They are documents beside the corpus: no search finds them, and each is a candidate of the queries
alone that it was written for. What reads texts of candidates reads theirs; what goes by stored
vectors, or by BM25, knows nothing of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.errors import InvalidDataError
from negmine.params.retrieve import RetrieveParams
from negmine.sources.base import Asked, Capabilities, Hits, Source
from negmine.sources.child import DOCUMENTS
from negmine.sources.kind import Kind, Opening, SourceRef
from negmine.sources.listed import Listed
from negmine.table.artifacts import open_artifact
from negmine.table.artifacts.reading import Artifact
from negmine.table.names import WRITTEN

SCHEME = "written"


class Written:
    """The texts that were written for a query id, in their order, whatever k is.

    Args:
        qids: the query of each, string [n].
        docids: its document, string [n], a pair once.
    """

    def __init__(self, qids: pa.Array, docids: pa.Array) -> None:
        names, texts = qids.unique(), docids.unique()
        query = pc.index_in(qids, value_set=names).to_numpy().astype(np.int64)
        doc = pc.index_in(docids, value_set=texts).to_numpy().astype(np.int64)
        order = np.argsort(query, kind="stable")
        nothing = np.full(len(order), np.nan, dtype=np.float32)
        self._listed = Listed(names, texts, query[order], doc[order], nothing)
        self._each = int(np.bincount(query).max(initial=0))

    @property
    def capabilities(self) -> Capabilities:
        """It searches nothing, and its documents are its own."""
        return Capabilities(searches=False, answers_all=True, each=self._each, written=True)

    def search(self, asked: Asked, k: int) -> Hits:
        """The texts of each query id, in their order, without scores."""
        return self._listed.search(asked)

    def close(self) -> None:
        """Nothing is held open."""


def open_written(name: str, written: Artifact, opening: Opening) -> Written:
    """Read which texts were written for the mined queries.

    Args:
        name: the source's.
        written: the artifact.
        opening: what it is opened with; is told what is left out.

    Raises:
        InvalidDataError: nothing is of these queries, or the corpus holds a text of that id.
    """
    parts = [written.read(f"_pairs/{part}", ["qid", "docid"]) for part in written.parts]
    pairs = pa.concat_tables(parts).combine_chunks()
    mine = pairs.filter(pc.is_in(pairs.column("qid"), value_set=opening.qids))
    if pairs.num_rows and not mine.num_rows:
        raise InvalidDataError(
            f"none of its {pairs.num_rows} texts was written for a mined query",
            where=str(written.path),
            hint="Write for the queries that are mined: their ids must be the same.",
        )
    qids, docids = (mine.column(column).combine_chunks() for column in ("qid", "docid"))
    inside = opening.corpus.rows(docids) >= 0
    if inside.any():
        taken = docids[int(np.flatnonzero(inside)[0])].as_py()
        raise InvalidDataError(
            f"the corpus holds {taken!r}, which is a written text",
            where=str(written.path),
            hint="Index the corpus without what was written: the source brings those texts.",
        )
    counts = {"texts_of_other_queries": pairs.num_rows - mine.num_rows}
    counts["queries_without_text"] = len(opening.qids) - len(qids.unique())
    opening.counts.update({f"{name}_{what}": count for what, count in counts.items()})
    if written.inputs[DOCUMENTS]["fingerprint"] != opening.corpus.artifact.fingerprint:
        opening.warnings.append(
            f"--source {name}: its texts were compared with another corpus than this: what is in "
            "this one alone may be among them"
        )
    return Written(qids, docids)


# --- the kind of source -------------------------------------------------------------------------


def _choose(
    params: RetrieveParams, wanted: Mapping[str, str], index: Artifact
) -> Sequence[SourceRef]:
    return [_ref(name, path) for name, path in wanted.items()]


def _ref(name: str, path: str) -> SourceRef:
    written = open_artifact(path, [WRITTEN], purpose="the written texts")
    return SourceRef(name, partial(_open, name, written), beside={name: written})


def _open(name: str, written: Artifact, opening: Opening) -> Source:
    return open_written(name, written, opening)


#: The option ``--source NAME=written:FOLDER``.
WRITTEN_TEXTS = Kind(SCHEME, _choose, scheme=SCHEME, usage=f"{SCHEME}:FOLDER")
