"""Batches at export: the vectors and scores that :mod:`negmine.batchers` works on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from negmine import batchers, log
from negmine.batchers import Items, Lists
from negmine.errors import UsageError, did_you_mean
from negmine.formats.base import Chosen, Column, Examples
from negmine.params import ExportParams
from negmine.recipe import per_name
from negmine.stages.examples import Choices
from negmine.table.artifact import Artifact
from negmine.table.documents import Documents
from negmine.table.schema import group_starts

#: TAS-Balanced's own ratio: 2000 clusters for 400,000 training queries.
_QUERIES_PER_CLUSTER = 200
#: B3's window of teacher ranks for retrieval: 30 left out at the top, 100 taken.
_B3_FIRST, _B3_COUNT = 30, 100
#: Random batches that the batches are compared with: about so many, in at most so many orders.
_RANDOM_BATCHES, _RANDOM_DRAWS = 1000, 20


def numbered(examples: Examples, batch_size: int | None) -> Examples:
    """The examples with a column ``batch``: 0, 1, 2, ... in their order, or -1 for all."""
    batch = np.full(examples.count, -1)
    if batch_size is not None:
        batch = np.arange(examples.count) // batch_size
    return replace(examples, columns=[*examples.columns, Column("batch", "label", batch)])


def batched(
    examples: Examples, chosen: Chosen, params: ExportParams, choices: Choices
) -> tuple[Examples, dict[str, Any]]:
    """The examples in batches, in order; what fits in no full batch is left out.

    Returns:
        The examples, and how hard the batches are beside random ones.

    Raises:
        UsageError: the ledger's sources have no vectors.
    """
    query = examples.queries()
    if len(query) == 0:
        return examples, {"batches": 0}
    items = Items(query, _documents(examples), _positives(chosen))
    active, inverse = np.unique(query, return_inverse=True)
    query_vectors, positive_vectors = _vectors(
        params, choices, chosen, active, _first_positive(chosen, active)
    )
    rng = np.random.default_rng(params.seed)
    # Batchers work on the queries that have an example, numbered 0, 1, 2, ...
    by_query = np.argsort(inverse, kind="stable")
    sequences: list[np.ndarray]
    if params.batcher == "tas-balanced":
        sequences = _tas(params, inverse, by_query, query_vectors, _margins(items, chosen), rng)
    else:
        if params.batcher == "ngame":
            clusters = batchers.balanced_clusters(query_vectors, params.cluster_size, rng)
        else:
            first = min(_B3_FIRST, len(active) // 4)
            graph = batchers.rank_graph(query_vectors, positive_vectors, first, _B3_COUNT)
            clusters = batchers.grown_clusters(graph, params.cluster_size, rng)
        order = batchers.shuffled(clusters, rng)
        sequences = [by_query[batchers.rounds(inverse[by_query], order)]]
    batches, _ = batchers.pack(sequences, items, params.batch_size)
    batches = batches[rng.permutation(len(batches))]
    # Of few batches a single random order says little.
    draws = max(1, min(_RANDOM_DRAWS, _RANDOM_BATCHES // max(1, len(batches))))
    left, right = query_vectors[inverse], positive_vectors[inverse]
    usual = [
        batchers.hardness(
            left,
            right,
            batchers.pack([rng.permutation(len(query))], items, params.batch_size)[0],
        )
        for _ in range(draws)
    ]
    facts = {
        "batches": len(batches),
        "in_batch_hardness": round(batchers.hardness(left, right, batches), 4),
        "in_batch_hardness_of_random": round(float(np.mean(usual)), 4),
    }
    return examples.take(batches.ravel()), facts


def _tas(
    params: ExportParams,
    query: np.ndarray,
    by_query: np.ndarray,
    vectors: np.ndarray,
    margin: np.ndarray,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """Per cluster of queries, in random order, an example of each query; and again every round."""
    clusters = params.clusters or max(1, len(vectors) // _QUERIES_PER_CLUSTER)
    cluster = batchers.kmeans(vectors, clusters, params.seed)
    sequences = []
    for _ in range(params.rounds):
        drawn = by_query[batchers.balanced_draw(query[by_query], margin[by_query], rng)]
        drawn = drawn[rng.permutation(len(drawn))]
        drawn = drawn[np.argsort(cluster[query[drawn]], kind="stable")]
        sequences += np.split(drawn, group_starts(cluster[query[drawn]])[1:])
    return sequences


def _documents(examples: Examples) -> Lists:
    """The documents of every example, its positive first."""
    lists = examples.document_lists()
    example = np.concatenate([np.repeat(np.arange(examples.count), np.diff(o)) for _, o in lists])
    document = np.concatenate([values for values, _ in lists])
    order = np.argsort(example, kind="stable")
    offsets = np.concatenate(([0], np.cumsum(np.bincount(example, minlength=examples.count))))
    return Lists(document[order], offsets)


def _positives(chosen: Chosen) -> Lists:
    count = np.bincount(chosen.positive_query, minlength=len(chosen.qids))
    return Lists(chosen.positive_doc, np.concatenate(([0], np.cumsum(count))))


def _first_positive(chosen: Chosen, queries: np.ndarray) -> np.ndarray:
    """A positive of each query."""
    return chosen.positive_doc[np.searchsorted(chosen.positive_query, queries)]


def _margins(items: Items, chosen: Chosen) -> np.ndarray:
    """Score of an example's first document (its positive) minus the mean of the others'."""
    width = len(chosen.docids)
    key = np.concatenate(
        [
            chosen.positive_query * width + chosen.positive_doc,
            chosen.negative_query * width + chosen.negative_doc,
        ]
    )
    score = np.concatenate([chosen.positive_score, chosen.negative_score])
    order = np.argsort(key)
    lengths = np.diff(items.documents.offsets)
    wanted = np.repeat(items.query, lengths) * width + items.documents.values
    found = score[order[np.searchsorted(key[order], wanted)]]
    first = found[items.documents.offsets[:-1]]
    total = np.add.reduceat(found, items.documents.offsets[:-1])
    with np.errstate(invalid="ignore"):
        return np.where(lengths > 1, first - (total - first) / np.maximum(lengths - 1, 1), np.nan)


def _vectors(
    params: ExportParams,
    choices: Choices,
    chosen: Chosen,
    queries: np.ndarray,
    documents: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """A vector per query, and one of the document beside it."""
    from negmine.sources.dense import Vectors, load_query_encoder

    retrieved = choices.ledger.ancestor("retrieve")
    inputs = retrieved.manifest["inputs"]
    known = [role for role, record in inputs.items() if record.get("stage") == "index.vectors"]
    name = params.batch_by or (known[0] if known else None)
    if name is None:
        raise UsageError(
            "--batcher compares vectors, and the candidates came from no encoder",
            hint="Index with --encoder NAME=MODEL, and retrieve with --source NAME.",
        )
    if name not in known:
        raise UsageError(f"--batch-by: no encoder '{name}'", hint=did_you_mean(name, known))
    artifact: Artifact = retrieved.input(name)
    prompts = per_name(
        tuple(retrieved.manifest["params"].get("query_prompt", ())),
        {role: role for role in known},
        "--query-prompt",
    )
    encoder = load_query_encoder(
        artifact,
        name,
        query_prompt=prompts.get(name),
        batch_size=int(retrieved.manifest["params"].get("batch_size", 128)),
        device=params.device,
        trusted=params.trust_remote_code,
    )
    log.event(f"encoding {len(queries)} queries with {name} for the batches")
    texts = chosen.query_texts.take(queries).to_pylist()
    corpus = Documents(choices.ledger.ancestor("index.documents"))
    rows = corpus.rows(chosen.docids.take(documents))
    return encoder.encode(texts, "query"), Vectors(artifact).take(rows)
