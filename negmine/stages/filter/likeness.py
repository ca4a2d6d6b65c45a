"""Columns that tell how like its query's known positives each row is, for the learned score.

``like_NAME_mean`` and ``like_NAME_max`` per dense source of the candidates (cosines of its stored
vectors) and for the texts (``like_text_mean``, ``like_text_max``: MinHash similarity of word
triples). See :mod:`negmine.learning.similarity` for what is compared with what.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from negmine.dedup import minhash
from negmine.dedup.signatures import Signatures
from negmine.engine.parts import groups
from negmine.learning import similarity
from negmine.sources.vectors import pair_cosines
from negmine.table import draws
from negmine.table.candidates import Candidates, normalised
from negmine.table.joins import NamedTable, distinct
from negmine.table.names import likeness_column
from negmine.table.part import Part

#: Added to the seed, so that what a row is not compared with is no other choice's draw.
_DRAW = 4_000_037


def join(
    parts: Iterable[NamedTable], source: Candidates, seed: int, at_once: int
) -> Iterator[NamedTable]:
    """Each part with the columns; rows of queries with fewer than two positives hold null.

    Args:
        parts: named parts of the scored artifact, labels as they count.
        source: the scored table.
        seed: of the draw.
        at_once: bytes of parts whose documents are looked up together.
    """
    documents = source.documents
    signatures = Signatures(documents)
    vectors = {name: source.vectors(name) for name in source.dense}
    vectors = {name: found for name, found in vectors.items() if normalised(found)}
    for group in groups(parts, lambda part: part[1].nbytes, at_once):
        docids, rows = distinct([table.column("docid") for _, table in group])
        features = signatures.take(docids)
        documents_rows = documents.known_rows(docids)
        for (name, table), row in zip(group, rows, strict=True):
            part = Part(table)
            draw = draws.draws(table.column("qid"), table.column("docid"), seed + _DRAW)
            pairs = similarity.pairs(part.query, part.positive, draw)
            like = {
                source_name: pair_cosines(found, documents_rows[row], pairs.left, pairs.right)
                for source_name, found in vectors.items()
            }
            like["text"] = minhash.similarity(
                features["signature"], row[pairs.left], row[pairs.right]
            )
            for kind, values in like.items():
                table = table.append_column(
                    likeness_column(kind, "mean"), _nullable(pairs.mean(values))
                ).append_column(likeness_column(kind, "max"), _nullable(pairs.greatest(values)))
            yield name, table


def _nullable(values: np.ndarray) -> pa.Array:
    return pa.array(values.astype(np.float32), mask=np.isnan(values))
