"""What scorers that ask a server would ask: calls, those that are stored, tokens, the price."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.commands.estimate.cost import Cost
from negmine.endpoints.settings import Options, limits_of
from negmine.params.rerank import RerankParams
from negmine.scorers.judging.calls import Calls
from negmine.scorers.judging.examination import Sample
from negmine.stages import examination, rerank
from negmine.table.candidates import Candidates

#: Bytes of a text that are a token, about.
BYTES_A_TOKEN = 4


@runtime_checkable
class Asks(Protocol):
    """A scorer that asks somebody, and can tell beforehand what."""

    def calls(self, queries: Sequence[str], documents: Sequence[str], pairs: np.ndarray) -> Calls:
        """What asking about the pairs would take, and what comes before the first one."""


@runtime_checkable
class AsksToExamine(examination.IsExamined, Protocol):
    """One that is examined first, over the same way."""

    def calls_to_examine(self, sample: Sample) -> Calls:
        """What the examination on a sample would take."""


def count(cost: Cost, name: str, params: Options, found: Calls, of: float = 1.0) -> None:
    """Count calls, which some pairs would take, for ``of`` times as many."""
    left = len(found.left) * of
    prompt = sum(size for size, _ in found.left.values()) / BYTES_A_TOKEN * of
    completion = sum(most for _, most in found.left.values()) * of
    cost.calls += round(left) + len(found.stored)
    cost.calls_stored += len(found.stored)
    cost.tokens += round(prompt + completion)
    cost.guesses.append(f"{name}: a token is {BYTES_A_TOKEN} bytes, and answers are full length")
    _, prices = limits_of(params)
    if prices is not None:
        cost.price = (cost.price or 0.0) + prices.of(prompt, completion)


def count_server(cost: Cost, params: Options, asked: int, tokens: int) -> None:
    """Count calls to an encoder, of which so many tokens are read."""
    cost.calls += asked
    cost.tokens += tokens
    _, prices = limits_of(params)
    if prices is not None:
        cost.price = (cost.price or 0.0) + prices.of(tokens, 0)


def of_table(asks: Asks, params: RerankParams, setup: rerank.Setup, name: str) -> Calls:
    """What a run over the table would ask, its examination first.

    Args:
        asks: the scorer.
        params: which rows are scored.
        setup: the table.
        name: the scorer's.
    """
    found = Calls()
    if params.examine and isinstance(asks, AsksToExamine):
        drawn = examination.sample(setup.source, params.examine, asks.documents_at_once)
        found |= asks.calls_to_examine(drawn)
    for queries, documents, pairs in _pairs(params, setup, name):
        found |= asks.calls(queries, documents, pairs)
    return found


def _pairs(
    params: RerankParams, setup: rerank.Setup, name: str
) -> Iterator[tuple[list[str], list[str], np.ndarray]]:
    """Of each part the pairs that the scorer would see, as far as columns that are there say."""
    source: Candidates = setup.source
    screen = None if setup.cascade.reads.get(name) else setup.cascade.screens.get(name)
    for part, table in rerank.limited(source, params.limit):
        seen = rerank.wanted(table, params)
        if screen is not None:
            seen &= screen.passes(table)
        picked = table.filter(pa.array(seen))
        asked = source.queries(part)
        docids = picked.column("docid").combine_chunks().unique()
        pairs = np.stack(
            [
                pc.index_in(picked.column("qid"), value_set=asked.column("qid").combine_chunks()),
                pc.index_in(picked.column("docid"), value_set=docids),
            ],
            axis=1,
        )
        yield asked.column("text").to_pylist(), source.documents.texts(docids).to_pylist(), pairs
