"""What ``--diverse-by`` and ``--same-cluster`` read: the table's clusters, an index's vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from negmine.engine.parts import groups
from negmine.errors import UsageError, did_you_mean
from negmine.params.filter import FilterParams
from negmine.rules.choice import CLUSTER, is_cluster
from negmine.sampling.diverse import Cosine
from negmine.sources.vectors import Vectors, products
from negmine.table.candidates import Candidates
from negmine.table.joins import NamedTable, distinct
from negmine.table.names import cluster_column, score_column, vector_column


def by_vectors(params: FilterParams) -> str | None:
    """The vectors in which the chosen are to differ."""
    by = params.diverse_by
    return None if params.sampler != "diverse" or is_cluster(by) else by


def check(params: FilterParams, schema: pa.Schema) -> dict[str, Any]:
    """The options by the names of what they read.

    Raises:
        UsageError: the table has no such clusters, or an option is missing.
    """
    found: dict[str, Any] = {}
    if params.same_cluster:
        names = [_source(name, schema, "--same-cluster") for name in params.same_cluster]
        found["same_cluster"] = tuple(dict.fromkeys(names))
    if params.sampler != "diverse":
        return found
    if params.diverse_by is None:
        raise UsageError(
            "--sampler diverse needs --diverse-by: what the negatives are to differ in",
            hint="cluster:NAME takes at most one of a cluster, NAME goes by an encoder's vectors.",
        )
    if is_cluster(params.diverse_by):
        name = params.diverse_by.removeprefix(CLUSTER)
        found["diverse_by"] = CLUSTER + _source(name, schema, "--diverse-by")
    else:
        found["diverse_by"] = params.diverse_by.removeprefix(score_column(""))
    return found


def _source(name: str, schema: pa.Schema, option: str) -> str:
    """The name of a source that says each row's cluster."""
    prefix = cluster_column("")
    known = [column.removeprefix(prefix) for column in schema.names if column.startswith(prefix)]
    name = name.removeprefix(prefix)
    if name not in known:
        raise UsageError(
            f"{option}: the table has no clusters '{name}'",
            hint=did_you_mean(name, known)
            if known
            else "Retrieve with a source of clusters: --source NAME=clusters:ENCODER.",
        )
    return name


def check_vectors(params: FilterParams, source: Candidates) -> None:
    """See that there are vectors of length 1 to go by.

    Raises:
        UsageError: there are none of this name, or they are of other lengths, or of some documents
            alone.
    """
    if (name := by_vectors(params)) is not None:
        source.unit_vectors(name)
        if source.documents.written_from < len(source.documents):
            refuse_written(params)


def refuse_written(params: FilterParams) -> None:
    """Refuse to go by vectors where texts were written.

    Raises:
        UsageError: they are gone by.
    """
    if (name := by_vectors(params)) is not None:
        raise UsageError(
            f"--diverse-by {name} compares stored vectors, and written documents have none",
            hint="Give another --sampler, or do without the written documents (--source).",
        )


def cluster(table: pa.Table, source: str) -> np.ndarray:
    """The cluster of each row's document, int64 [rows]; -1 = not known."""
    column = table.column(cluster_column(source)).fill_null(-1)
    found: np.ndarray = column.to_numpy().astype(np.int64)
    return found


def in_query(table: pa.Table, params: FilterParams, query: np.ndarray) -> np.ndarray:
    """A number of each row's query and cluster, int64 [rows]; -1 = not known."""
    assert params.diverse_by is not None
    found = cluster(table, params.diverse_by.removeprefix(CLUSTER))
    width = int(found.max(initial=0)) + 1
    return np.where(found >= 0, query * width + found, -1)


def join(
    parts: Iterable[NamedTable], source: Candidates, params: FilterParams, at_once: int
) -> Iterator[NamedTable]:
    """Each part with the vectors of its rows' documents, where the sampler reads them.

    Args:
        parts: named parts of the scored artifact.
        source: the scored table.
        params: settings.
        at_once: bytes of vectors that are looked up together.
    """
    name = by_vectors(params)
    if name is None:
        yield from parts
        return
    vectors, documents = Vectors(source.unit_vectors(name)), source.documents
    dimension = vectors.part(0).shape[1]
    for group in groups(parts, lambda part: 4 * dimension * part[1].num_rows, at_once):
        docids, rows = distinct([table.column("docid") for _, table in group])
        taken = vectors.take(documents.known_rows(docids))
        for (part, table), row in zip(group, rows, strict=True):
            column = pa.FixedSizeListArray.from_arrays(taken[row].ravel(), dimension)
            yield part, table.append_column(vector_column(name), column)


def cosine(table: pa.Table, params: FilterParams) -> Cosine | None:
    """Cosines of pairs of rows; None where the sampler reads none."""
    name = by_vectors(params)
    if name is None:
        return None
    column = table.column(vector_column(name)).combine_chunks()
    vectors = column.flatten().to_numpy().reshape(table.num_rows, -1)

    def of_pairs(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return products(vectors[left], vectors[right]).astype(np.float64)

    return of_pairs
