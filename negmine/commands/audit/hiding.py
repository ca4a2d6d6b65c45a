"""Which known positives are hidden, and a table without them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.commands.audit.settings import VERSION
from negmine.errors import InvariantError
from negmine.stages import cascade
from negmine.table import artifacts, draws, ranking
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.reading import Artifact
from negmine.table.part import Part

RANDOM, HELD_OUT, POOLED = "random", "held-out", "pooled"
_SEPARATOR = "\x1f"


@dataclass(frozen=True)
class Scheme:
    """A way to hide positives.

    Attributes:
        name: ``random``, ``biased:SOURCE``, ``pooled:DEPTH`` or ``held-out``.
        source: whose worst-ranked positives are hidden; None = at random, unless pooled.
        runs: how many times, each with another seed.
        depth: where positives are pooled: those stay known that some source ranks within it.
    """

    name: str
    source: str | None = None
    runs: int = 1
    depth: int | None = None


# --- hiding -----------------------------------------------------------------------------------


def queries_of(source: Artifact) -> tuple[pa.Array, np.ndarray]:
    """All qids and how many positives each has."""
    qids, positives = [], []
    for name in source.parts:
        part = source.read(name, ["qid", "label"])
        grouped = part.group_by("qid", use_threads=False).aggregate([("label", "sum")])
        qids.append(grouped.column("qid").combine_chunks())
        positives.append(grouped.column("label_sum").to_numpy())
    return pa.concat_arrays(qids), np.concatenate(positives)


def hide(table: pa.Table, scheme: Scheme, keep: int, seed: int) -> tuple[pa.Table, np.ndarray]:
    """A part with some positives' labels turned to 0; a pure function of its arguments.

    Returns:
        (the table, grades of the hidden ones removed too; True for the rows it hid).
    """
    part = Part(table)
    query, positive = part.query, part.positive
    hidden = np.zeros(len(part), dtype=bool)
    if scheme.name == HELD_OUT:
        # Seeds come in pairs, each query losing its positive in one of the two.
        draw = draws.draws(table.column("qid"), table.column("qid"), seed // 2)
        hidden = positive & ((draw < 0.5) == (seed % 2 == 0))
    else:
        rows = np.flatnonzero(positive)
        if scheme.source is None and scheme.depth is None:
            key = draws.draws(table.column("qid"), table.column("docid"), seed)
        else:
            key = -part.rank(scheme.source).astype(np.float64)
        order = rows[ranking.rank_order(query[rows], key[rows], part.docid, rows)]
        hidden[order[ranking.positions_in_group(query[order]) > keep]] = True
        if scheme.depth is not None:
            hidden &= part.best_rank > scheme.depth
    table = part.relabelled(positive & ~hidden).table
    index = table.schema.get_field_index("grade")
    grade = pc.if_else(pa.array(hidden), pa.scalar(None, pa.float64()), table.column("grade"))
    return table.set_column(index, table.schema.field(index), grade), hidden


@dataclass(frozen=True)
class Hidden:
    """What was hidden in one part: keys of all hidden pairs, and the queries they belong to."""

    pairs: pa.Array
    qids: pa.Array


def mask(source: Artifact, folder: Path, scheme: Scheme, keep: int, seed: int) -> dict[str, Hidden]:
    """Write the whole table with labels hidden into ``folder``, as ``filter`` takes it.

    Returns:
        What was hidden, per part.
    """
    plan = Plan(
        "rerank",
        VERSION,
        {"scheme": scheme.name, "keep": keep, "seed": seed},
        artifacts={"candidates": source},
    )
    found: dict[str, Hidden] = {}
    screens = cascade.recorded(source)
    writer = artifacts.begin(folder, plan, replacing=artifacts.Replace.ALL)
    if writer is None:
        raise InvariantError("the temporary table was there already")
    with writer:
        for name in source.parts:
            table, hidden = hide(source.read(name), scheme, keep, seed)
            table = cascade.as_candidates(table, hidden, screens)
            mask = pa.array(hidden)
            found[name] = Hidden(
                pairs=keys_of(table.filter(mask)),
                qids=table.column("qid").filter(mask).combine_chunks().unique(),
            )
            table = table.filter(pa.array(~hidden | Part(table).found))
            writer.add_table(name, table, source.schema())
        writer.commit({})
    return found


def keys_of(pairs: pa.Table) -> pa.Array:
    """One string per (query, document) pair, to look pairs up."""
    keys = pc.binary_join_element_wise(pairs.column("qid"), pairs.column("docid"), _SEPARATOR)
    return keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys
