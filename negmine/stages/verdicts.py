"""Counts of what judges say, a part at a time and in all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from negmine.scorers.judging.columns import counted
from negmine.scorers.judging.verdicts import REASONS, VERDICTS
from negmine.table.names import scorer_column

#: In a manifest a table of counts for each judge: ``verdicts_NAME``.
_VERDICTS = "verdicts"


def counts(scorers: Iterable[str], table: pa.Table) -> dict[str, int]:
    """How often each judge gave each verdict in a part, and each reason for none.

    Args:
        scorers: names; those without verdicts are passed over.
        table: the part.
    """
    found: dict[str, int] = {}
    for name in scorers:
        both = {one: scorer_column(one, name) for one in ("verdict", "reason")}
        if set(both.values()) <= set(table.schema.names):
            said = {one: table.column(full) for one, full in both.items()}
            found |= {f"{_VERDICTS}.{name}.{key}": n for key, n in counted(said).items()}
    return found


def tables(total: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """The same of all parts, a table for each judge."""
    found: dict[str, dict[str, int]] = {}
    for key, count in total.items():
        if key.startswith(f"{_VERDICTS}."):
            _, name, word = key.split(".")
            found.setdefault(f"{_VERDICTS}_{name}", {})[word] = count
    return found


def warnings(total: Mapping[str, Any], scorers: Iterable[str]) -> list[str]:
    """A warning of each judge that gave no verdict of some pairs.

    Args:
        total: the counts of a run.
        scorers: names.
    """
    found = []
    for name in scorers:
        said: Mapping[str, int] = total.get(f"{_VERDICTS}_{name}", {})
        reasons = [f"{reason} {count}" for reason, count in said.items() if reason in REASONS]
        if reasons:
            asked = sum(said.get(verdict, 0) for verdict in VERDICTS)
            again = "; --rebuild asks anew about what failed" if said.get("failed") else ""
            found.append(
                f"{name}: {said['unjudged']:,} of {asked:,} pairs have no verdict "
                f"({', '.join(reasons)}): they have no score, and are no negatives{again}"
            )
    return found
