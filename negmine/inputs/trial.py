"""Whether an input can be read: the first bad record is told before anything is made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from negmine.inputs.columns import Columns
from negmine.inputs.dispatch import read
from negmine.inputs.examples import read_examples
from negmine.inputs.kinds import KINDS, PAIRS
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


def try_out(role: str, specs: Specs, columns: Mapping[str, str], rows: int = ROWS) -> bool:
    """Read the beginning of an input as a run would, without what is asked about its columns.

    Args:
        role: what it is read as: corpus, queries, qrels, run or pairs.
        specs: what a user would name.
        columns: target to source column.
        rows: how many, at the least.

    Returns:
        Whether a pair among them tells a positive; true for what is no pairs.

    Raises:
        NegmineError: a bad record among them, or the input cannot be read at all.
    """
    seen = 0
    told = role != PAIRS.name
    for batch in _batches(role, specs, Columns.of(columns, strict=False)):
        seen += batch.num_rows
        told = told or bool(pc.any(pc.greater(batch.column("grade"), 0)).as_py())
        if seen >= rows:
            break
    return told


def _batches(role: str, specs: Specs, columns: Columns) -> Iterator[pa.RecordBatch]:
    if role == PAIRS.name:
        return read_examples(specs, columns, Problems("fail"))
    return read(KINDS[role], specs, columns, Problems("fail"))
