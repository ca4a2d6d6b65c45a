"""Whether an input can be read: the first bad record is told before anything is made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from negmine.inputs.columns import Columns
from negmine.inputs.dispatch import read
from negmine.inputs.examples import read_examples
from negmine.inputs.kinds import KINDS, PAIRS, QRELS
from negmine.inputs.problems import Problems
from negmine.inputs.specs import Specs

#: Records that are read, at the least; what lies behind is met by the run.
ROWS = 100_000
#: What to do about a set that holds documents, and none as a positive.
NO_POSITIVES = (
    "Where the set does not tell which of its documents are positives, --column label=FIELD names "
    "what does, --positive-first and --positive-above X go by place or score, and "
    "--keep-unlabelled mines without any."
)


@dataclass(frozen=True)
class Counted:
    """What the beginning of pairs or judgements holds.

    Attributes:
        queries: with a positive.
        positives: (query, document) pairs that are positive.
        whole: whether that is all of the input.
    """

    queries: int
    positives: int
    whole: bool


def try_out(
    role: str, specs: Specs, columns: Mapping[str, str], rows: int = ROWS
) -> Counted | None:
    """Read the beginning of an input as a run would, without what is asked about its columns.

    Args:
        role: what it is read as: corpus, queries, qrels, run or pairs.
        specs: what a user would name.
        columns: target to source column.
        rows: how many, at the least.

    Returns:
        The positives of pairs or judgements; None for what has none.

    Raises:
        NegmineError: a bad record among them, or the input cannot be read at all.
    """
    seen = positives = 0
    whole = True
    queries: set[str] = set()
    for batch in _batches(role, specs, Columns.of(columns, strict=False)):
        seen += batch.num_rows
        if role in (PAIRS.name, QRELS.name):
            known = batch.filter(pc.greater_equal(batch.column("grade"), 1.0))
            positives += known.num_rows
            queries.update(_asking(known))
        if seen >= rows:
            whole = False
            break
    return Counted(len(queries), positives, whole) if role in (PAIRS.name, QRELS.name) else None


def _asking(batch: pa.RecordBatch) -> list[str]:
    """What tells the queries of a batch apart: ids, or texts where there are none."""
    if "query" not in batch.schema.names:
        return batch.column("qid").unique().to_pylist()
    if "qid" not in batch.schema.names:
        return batch.column("query").unique().to_pylist()
    return pc.coalesce(batch.column("query"), batch.column("qid")).unique().to_pylist()


def _batches(role: str, specs: Specs, columns: Columns) -> Iterator[pa.RecordBatch]:
    if role == PAIRS.name:
        return read_examples(specs, columns, Problems("fail"))
    return read(KINDS[role], specs, columns, Problems("fail"))
