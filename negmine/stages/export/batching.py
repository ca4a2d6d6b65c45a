"""Batches at export: the vectors and scores that :mod:`negmine.sampling.batchers` works on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.formats.base import Chosen, Column, Examples
from negmine.params.export import ExportParams
from negmine.sampling import batchers, orders
from negmine.sampling.batchers import Items, Lists
from negmine.stages.export import compared
from negmine.stages.export.choices import Choices
from negmine.stages.export.compared import Servers
from negmine.table.ranking import group_starts

#: Random batches that the batches are compared with: about so many, in at most so many orders.
_RANDOM_BATCHES, _RANDOM_DRAWS = 1000, 20
#: Groups without a batch that are named, at most.
_GROUPS_NAMED = 5


def numbered(examples: Examples, batch_size: int | None) -> Examples:
    """The examples with a column ``batch``: 0, 1, 2, ... in their order, or -1 for all."""
    batch = np.full(examples.count, -1)
    if batch_size is not None:
        batch = np.arange(examples.count) // batch_size
    return replace(examples, columns=[*examples.columns, Column("batch", "label", batch)])


@dataclass(frozen=True)
class _Inputs:
    """What batches are made of.

    Attributes:
        items: what the examples hold.
        asks: number of each example's query among those that have an example [e].
        queries: a vector per such query.
        positives: a vector of its positive per such query.
        margin: the teacher's margin of each example [e]; empty unless the batcher reads it.
    """

    items: Items
    asks: np.ndarray
    queries: np.ndarray
    positives: np.ndarray
    margin: np.ndarray


def batched(
    examples: Examples,
    chosen: Chosen,
    params: ExportParams,
    choices: Choices,
    servers: Servers,
) -> tuple[Examples, dict[str, Any], list[str]]:
    """The examples in batches, in order; what fits in no full batch is left out.

    Returns:
        The examples, how hard the batches are beside random ones, and what the user should know.

    Raises:
        UsageError: the ledger's sources have no vectors, or the corpus keeps no such column.
    """
    query = examples.queries()
    if len(query) == 0:
        return examples, {"batches": 0}, []
    items = Items(query, _documents(examples), _positives(chosen))
    names, groups = _groups(params, choices, chosen, items)
    rng = np.random.default_rng(params.seed)
    inputs = None if params.batcher is None else _inputs(params, choices, chosen, items, servers)
    if inputs is None:
        sequences, remarks = [[rows[rng.permutation(len(rows))]] for rows in groups], []
    else:
        ordered = [_sequences(params, inputs, rows, rng) for rows in groups]
        sequences, remarks = [found for found, _ in ordered], [remark for _, remark in ordered]
    of_groups = [batchers.pack(found, items, params.batch_size)[0] for found in sequences]
    batches = np.concatenate(of_groups)
    batches = batches[rng.permutation(len(batches))]
    told = _once([remark for remark in remarks if remark])
    facts: dict[str, Any] = {"batches": len(batches)}
    if inputs is not None:
        facts |= _hardness(inputs, batches, groups, rng)
    if params.group_by is not None:
        empty = [name for name, found in zip(names, of_groups, strict=True) if not len(found)]
        facts |= {"batch_groups": len(groups), "batch_groups_left_out": len(empty)}
        told += _about_groups(params, names, empty)
    return examples.take(batches.ravel()), facts, told


def _groups(
    params: ExportParams, choices: Choices, chosen: Chosen, items: Items
) -> tuple[list[str | None], list[np.ndarray]]:
    """Names and examples of the groups that no batch may cross; a group of all where none is asked.

    An example belongs where the document of its positive does.
    """
    count = len(items.query)
    if params.group_by is None:
        return [None], [np.arange(count)]
    corpus = choices.ledger.documents
    own = items.documents.values[items.documents.offsets[:-1]]
    documents, at = np.unique(own, return_inverse=True)
    values = corpus.values(params.group_by, chosen.docids.take(pa.array(documents)))
    codes = pc.cast(values, pa.string()).dictionary_encode(null_encoding="encode")
    codes = codes.combine_chunks() if isinstance(codes, pa.ChunkedArray) else codes
    code = codes.indices.to_numpy()[at]
    order = np.argsort(code, kind="stable")
    groups = np.split(order, group_starts(code[order])[1:])
    names = codes.dictionary.to_pylist()
    return [names[code[rows[0]]] for rows in groups], groups


def _about_groups(
    params: ExportParams, names: list[str | None], empty: list[str | None]
) -> list[str]:
    """Groups that are none, or too small."""
    told = []
    if None in names:
        told.append(f"documents without a {params.group_by} make a group of their own (--group-by)")
    if empty:
        some = ", ".join("(none)" if name is None else name for name in empty[:_GROUPS_NAMED])
        more = f" and {len(empty) - _GROUPS_NAMED} more" if len(empty) > _GROUPS_NAMED else ""
        told.append(
            f"{len(empty)} of {len(names)} groups of {params.group_by} fill no batch of "
            f"{params.batch_size}: {some}{more}"
        )
    return told


def _once(remarks: list[str]) -> list[str]:
    """The first remark, and of how many groups the same is to be said."""
    if len(remarks) < 2:
        return remarks
    return [f"{remarks[0]} (and the same in {len(remarks) - 1} other groups)"]


def _inputs(
    params: ExportParams, choices: Choices, chosen: Chosen, items: Items, servers: Servers
) -> _Inputs:
    """What the batcher reads."""
    active, asks = np.unique(items.query, return_inverse=True)
    texts = chosen.query_texts.take(active).to_pylist()
    positives = chosen.docids.take(_first_positive(chosen, active))
    vectors = compared.vectors(texts, positives, params, choices.ledger, servers)
    assert params.batcher is not None
    margins = orders.batcher(params.batcher).margins
    return _Inputs(items, asks, *vectors, _margins(items, chosen) if margins else np.empty(0))


def _sequences(
    params: ExportParams,
    inputs: _Inputs,
    rows: np.ndarray,
    rng: np.random.Generator,
) -> tuple[list[np.ndarray], str]:
    """A group's examples, near ones near each other, and what the user should know.

    Batchers work on the queries that have an example in the group, numbered 0, 1, 2, ...
    """
    active, query = np.unique(inputs.asks[rows], return_inverse=True)
    margin = inputs.margin[rows] if len(inputs.margin) else inputs.margin
    group = orders.Group(query, inputs.queries[active], inputs.positives[active], margin)
    assert params.batcher is not None
    found, remark = orders.batcher(params.batcher).order(group, params, rng)
    return [rows[sequence] for sequence in found], remark


def _hardness(
    inputs: _Inputs, batches: np.ndarray, groups: list[np.ndarray], rng: np.random.Generator
) -> dict[str, float]:
    """How hard the batches are, and random ones of the same groups."""
    size = batches.shape[1]
    # Of few batches a single random order says little.
    draws = max(1, min(_RANDOM_DRAWS, _RANDOM_BATCHES // max(1, len(batches))))
    left, right = inputs.queries[inputs.asks], inputs.positives[inputs.asks]
    usual = []
    for _ in range(draws):
        packed = [
            batchers.pack([rows[rng.permutation(len(rows))]], inputs.items, size)[0]
            for rows in groups
        ]
        usual.append(batchers.hardness(left, right, np.concatenate(packed)))
    return {
        "in_batch_hardness": round(batchers.hardness(left, right, batches), 4),
        "in_batch_hardness_of_random": round(float(np.mean(usual)), 4),
    }


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
