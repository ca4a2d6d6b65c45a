"""What must add up in a part of a ledger, and in the examples made of one.

Counted anew from what goes out, not from what the code that made it says about itself, so that a
mistake in a rule, a sampler or a layout stops the run instead of spoiling a training set.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.rules import labels
from negmine.table import ranking
from negmine.table.conservation import conserve, violated
from negmine.table.part import Part


def check_ledger(
    part: pa.Table,
    ledger: pa.Table,
    asked: int,
    stats: Mapping[str, int],
    quotas: Mapping[str, int] | None = None,
) -> None:
    """Check a part of a ledger against the part of the scored table that it was made from.

    Every candidate is there, in its place; survived or was dropped, as counted; a query has at
    most ``asked`` negatives, numbered 1, 2, ...; and none of them is a positive, or was dropped.

    Args:
        part: what went in.
        ledger: what goes out.
        asked: ``--num-negatives``.
        stats: the counts that are recorded with the part.
        quotas: places of each ``--quota``.

    Raises:
        InvariantError: something does not hold, which is a bug.
    """
    conserve("candidate rows of a part", part.num_rows, decided=ledger.num_rows)
    for name in ("qid", "docid"):
        if not ledger.column(name).equals(part.column(name)):
            violated(f"the {name}s of a part's candidate rows changed while they were filtered")
    dropped = ledger.column("dropped_by")
    conserve("survivors of a part", dropped.null_count, counted=stats["survivors"])
    found = {entry["values"]: entry["counts"] for entry in dropped.value_counts().to_pylist()}
    for name, count in found.items():
        if name is not None:
            conserve(f"rows dropped by {name}", count, counted=stats.get(f"dropped.{name}", 0))
    _check_labels(part, ledger)
    selected = ledger.column("selected")
    conserve("negatives of a part", len(selected) - selected.null_count, counted=stats["selected"])
    chosen = ledger.filter(pc.is_valid(selected))
    if pc.any(pc.equal(chosen.column("label"), 1)).as_py():
        violated("a known positive was selected as a negative")
    if pc.any(pc.is_valid(chosen.column("dropped_by"))).as_py():
        violated("a dropped candidate was selected as a negative")
    query = Part(chosen).query
    number = np.asarray(chosen.column("selected"), dtype=np.int64)
    per_query = np.bincount(query)
    if per_query.max(initial=0) > asked:
        violated(f"{per_query.max()} negatives of a query are more than the {asked} asked for")
    order = np.lexsort((number, query))
    if not np.array_equal(number[order], ranking.positions_in_group(query[order])):
        violated("the negatives of a query are not numbered 1, 2, 3, ...")
    for name, places in (quotas or {}).items():
        mine = pc.fill_null(pc.equal(chosen.column("quota"), name), False)
        most = np.bincount(query[mine.to_numpy()]).max(initial=0)
        if most > places:
            violated(f"{most} negatives of a query fill the {places} places of --quota {name}")


def _check_labels(part: pa.Table, ledger: pa.Table) -> None:
    """Every known positive is one still, or was taken away by name; further ones have a name."""
    before, after = (table.column("label").to_numpy() == 1 for table in (part, ledger))
    reasons = ledger.column("dropped_by")

    def at(word: str) -> np.ndarray:
        return pc.fill_null(pc.equal(reasons, word), False).to_numpy()

    lost, won = (
        np.logical_or.reduce([*map(at, words)]) for words in (labels.NO_MORE, labels.PROMOTED)
    )
    conserve(
        "known positives of a part",
        int(before.sum()),
        kept=int((before & at("positive")).sum()),
        taken_away=int((before & lost).sum()),
    )
    conserve(
        "positives of a part of the ledger",
        int(after.sum()),
        known=int((before & at("positive")).sum()),
        promoted=int((~before & won).sum()),
    )
    both = set(ledger.column("qid").filter(pa.array(at(labels.GIVEN_UP))).to_pylist())
    chosen = ledger.filter(pc.or_(pa.array(after), pc.is_valid(ledger.column("selected"))))
    if both & set(chosen.column("qid").to_pylist()):
        violated("a query that is given up has a positive or a negative")
