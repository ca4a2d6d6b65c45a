"""What runs each scorer's model: decided once for a scored table, on a sample of its pairs."""

from __future__ import annotations

from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.models.base import SAMPLE, PairTexts, Settles
from negmine.params.rerank import RerankParams
from negmine.scorers import Scorer
from negmine.stages.rerank.rows import limited, to_score, wanted
from negmine.stages.rerank.setup import Setup
from negmine.table.artifacts.writing import Writer


def settled(
    params: RerankParams, setup: Setup, scorers: list[dict[str, Scorer]], writer: Writer
) -> list[dict[str, Scorer]]:
    """The scorers as they run for this table; a run that goes on keeps what was decided.

    So does a table of which some queries are scored already. On several GPUs there is nothing to
    decide.

    Raises:
        MissingDependencyError: what was decided before is not installed here.
    """
    if len(scorers) > 1:
        return scorers
    found = dict(scorers[0])
    for name, scorer in scorers[0].items():
        if isinstance(scorer, Settles):
            texts, rows = partial(_sample, params, setup), partial(to_score, params, setup.source)
            before = writer.chosen(name)
            if before is None and setup.known is not None:
                before = setup.known.chosen(name)
            found[name], chosen = scorer.settled(texts, rows, before)
            held = writer.choose(name, chosen) if chosen else chosen
            if held != chosen:
                # Another process that scores the same table was first.
                found[name], _ = scorer.settled(texts, rows, held)
    return [found]


def _sample(params: RerankParams, setup: Setup) -> PairTexts:
    """Pairs of the first part that are scored, at even distances."""
    source = setup.source
    name, table = next(limited(source, params.limit))
    rows = np.flatnonzero(wanted(table, params))
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), SAMPLE)).astype(np.int64)]
    picked = table.take(pa.array(rows)).select(["qid", "docid"])
    queries, docids = source.queries(name), picked.column("docid").combine_chunks().unique()
    pairs = np.stack(
        [
            pc.index_in(picked.column("qid"), value_set=queries.column("qid").combine_chunks()),
            pc.index_in(picked.column("docid"), value_set=docids),
        ],
        axis=1,
    )
    documents = source.documents.texts(docids).to_pylist()
    return queries.column("text").to_pylist(), documents, pairs
