"""Columns that tell how like its query's known positives each row is, for the learned score.

``like_NAME_mean`` and ``like_NAME_max`` per dense source of the candidates (cosines of its stored
vectors) and for the texts (``like_text_mean``, ``like_text_max``: MinHash similarity of word
triples). See :mod:`negmine.similarity` for what is compared with what.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from negmine import identity, samplers, similarity
from negmine.errors import UsageError, did_you_mean
from negmine.signatures import Signatures
from negmine.stages.kept import Part, distinct, groups
from negmine.table import schema as schemas
from negmine.table.artifact import Artifact
from negmine.table.documents import Documents
from negmine.table.names import ANN_PREFIX, likeness_column

#: Added to the seed, so that what a row is not compared with is no other choice's draw.
_DRAW = 4_000_037


def join(parts: Iterable[Part], source: Artifact, seed: int, at_once: int) -> Iterator[Part]:
    """Each part with the columns; rows of queries with fewer than two positives hold null.

    Args:
        parts: named parts of the scored artifact, labels as they count.
        source: the scored artifact.
        seed: of the draw.
        at_once: bytes of parts whose documents are looked up together.
    """
    documents = Documents(source.ancestor("index.documents"))
    signatures = Signatures(documents)
    vectors = {name: vectors_of(source, name) for name in dense_sources(source)}
    vectors = {name: found for name, found in vectors.items() if _normalised(found)}
    for group in groups(parts, at_once):
        docids, rows = distinct([table.column("docid") for _, table in group])
        features = signatures.take(docids)
        documents_rows = documents.known_rows(docids)
        for (name, table), row in zip(group, rows, strict=True):
            query, positive = schemas.queries_and_positives(table)
            draw = samplers.draws(table.column("qid"), table.column("docid"), seed + _DRAW)
            pairs = similarity.pairs(query, positive, draw)
            like = {
                source_name: pair_cosines(found, documents_rows[row], pairs.left, pairs.right)
                for source_name, found in vectors.items()
            }
            like["text"] = identity.similarity(
                features["signature"], row[pairs.left], row[pairs.right]
            )
            for kind, values in like.items():
                table = table.append_column(
                    likeness_column(kind, "mean"), _nullable(pairs.mean(values))
                ).append_column(likeness_column(kind, "max"), _nullable(pairs.greatest(values)))
            yield name, table


def _nullable(values: np.ndarray) -> pa.Array:
    return pa.array(values.astype(np.float32), mask=np.isnan(values))


# --- stored vectors -----------------------------------------------------------------------------


def dense_sources(source: Artifact) -> list[str]:
    """Sources of the candidates that have vectors in the index."""
    inputs = source.ancestor("retrieve").manifest["inputs"]
    known = [role for role in inputs if role not in ("documents", "bm25", "queries", "qrels")]
    known = [role for role in known if not role.startswith(ANN_PREFIX)]
    return [role for role in known if "stage" in inputs[role]]


def vectors_of(source: Artifact, name: str) -> Artifact:
    """The vectors that the candidates were retrieved with.

    Raises:
        UsageError: there are none of this name.
    """
    known = dense_sources(source)
    if name not in known:
        raise UsageError(
            f"no vectors '{name}' among the sources of the candidates",
            hint=did_you_mean(name, known),
        )
    return source.ancestor("retrieve").input(name)


def unit_vectors_of(source: Artifact, name: str) -> Artifact:
    """Likewise, of length 1.

    Raises:
        UsageError: there are none of this name, or they are of other lengths.
    """
    vectors = vectors_of(source, name)
    if not _normalised(vectors):
        raise UsageError(
            f"the vectors '{name}' are not of length 1, so their products are no cosines",
            hint="Index again with --normalize.",
        )
    return vectors


def _normalised(vectors: Artifact) -> bool:
    return bool(vectors.manifest["params"].get("normalize", False))


def pair_cosines(
    artifact: Artifact, row: np.ndarray, left: np.ndarray, right: np.ndarray
) -> np.ndarray:
    """Cosine of each pair, float64 [pairs].

    Args:
        artifact: stored vectors of length 1.
        row: each row's document.
        left: rows.
        right: rows of few distinct documents, which are held in memory.
    """
    from negmine.sources.dense import Vectors, score_pairs

    if len(right) == 0:
        return np.empty(0)
    vectors = Vectors(artifact)
    distinct_rows, inverse = np.unique(row[right], return_inverse=True)
    return score_pairs(vectors, vectors.take(distinct_rows), inverse, row[left]).astype(np.float64)
