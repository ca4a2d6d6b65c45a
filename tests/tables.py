"""Small artifacts made without models: documents, candidates and scores given by the test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from negmine.table import artifacts, schemas
from negmine.table.artifacts import Artifact, Plan

Row = Mapping[str, Any]


def _write(
    folder: Path,
    plan: Plan,
    tables: Iterable[tuple[str, pa.Table, pa.Schema]],
    counts: Mapping[str, int] | None = None,
) -> Artifact:
    writer = artifacts.begin(folder, plan)
    assert writer is not None
    with writer:
        for name, table, schema in tables:
            writer.add_table(name, table, schema)
        return writer.commit(counts or {})


def _vectors(folder: Path, rows: int) -> Artifact:
    writer = artifacts.begin(folder, Plan("index.vectors", 1, {"normalize": True}))
    assert writer is not None
    with writer:
        drawn = np.random.default_rng(rows).normal(size=(rows, 8)).astype(np.float32)
        unit = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        writer.add_array("part-00000.npy", unit)
        return writer.commit({"vectors": rows})


def make_scored(
    folder: Path,
    parts: Sequence[Sequence[Row]],
    *,
    sources: Sequence[str] = ("bm25", "minilm"),
    scorers: Sequence[str] = ("ce",),
    doc_texts: Mapping[str, str] | None = None,
    query_texts: Mapping[str, str] | None = None,
    kept: Mapping[str, Mapping[str, str]] | None = None,
    vectors: Sequence[str] = (),
    not_searched: Sequence[str] = (),
    columns_said: Mapping[str, pa.DataType] | None = None,
    specs: Mapping[str, str] | None = None,
) -> Path:
    """A scored artifact with its whole lineage, as ``index``, ``retrieve`` and ``rerank`` leave it.

    Args:
        folder: where ``documents``, ``candidates`` and ``scored`` go.
        parts: rows per part: qid, docid, label, and any of grade, rank_*, score_*.
        sources: retrieval sources.
        scorers: scorers.
        doc_texts: texts by docid; by default each is unlike every other.
        query_texts: texts by qid.
        kept: per kept column its values by docid.
        vectors: sources whose scores are cosines of stored vectors; the vectors are random.
        not_searched: sources whose ranks are no search's.
        columns_said: other columns that sources say of every row.
        specs: by source, what its manifest says of ``--source NAME=...``.

    Returns:
        The scored artifact's folder.
    """
    doc_texts, query_texts = dict(doc_texts or {}), dict(query_texts or {})
    docids = sorted({row["docid"] for rows in parts for row in rows})
    texts = [doc_texts.get(d, " ".join(f"{word}{d}" for word in "abcdefgh")) for d in docids]
    columns: dict[str, Any] = {"docid": docids, "title": [""] * len(docids), "text": texts}
    for name, values in (kept or {}).items():
        columns[f"meta_{name}"] = [values.get(docid) for docid in docids]
    document_schema = schemas.documents(list(kept or {}))
    documents = _write(
        folder / "documents",
        Plan("index.documents", 1, {}),
        [
            (
                "part-00000.parquet",
                pa.table(columns).cast(document_schema),
                document_schema,
            )
        ],
        {"documents": len(docids), "text_bytes": sum(map(len, texts))},
    )
    schema = schemas.candidates(sources, not_searched, columns_said)
    full = schemas.with_scores(schema, scorers)
    retrieved, scored = [], []
    for number, rows in enumerate(parts):
        name = f"part-{number:05d}.parquet"
        pairs = {
            field.name: pa.array([row.get(field.name) for row in rows], field.type)
            for field in full
        }
        table = pa.table(pairs, schema=full)
        qids = list(dict.fromkeys(row["qid"] for row in rows))
        queries = pa.table({"qid": qids, "text": [query_texts.get(q, f"ask {q}") for q in qids]})
        retrieved.append((name, table.select(schema.names), schema))
        retrieved.append((f"_queries/{name}", queries.cast(schemas.QUERIES), schemas.QUERIES))
        scored.append((name, table, full))
    inputs = {"documents": documents}
    for name in vectors:
        inputs[name] = _vectors(folder / "vectors" / name, len(docids))
    asked: dict[str, Any] = {"source": list(sources), **({"specs": specs} if specs else {})}
    candidates = _write(
        folder / "candidates",
        Plan("retrieve", 1, asked, artifacts=inputs),
        retrieved,
        {"queries": len({row["qid"] for rows in parts for row in rows})},
    )
    _write(
        folder / "scored",
        Plan("rerank", 1, {"scorer": list(scorers)}, artifacts={"candidates": candidates}),
        scored,
    )
    return folder / "scored"
