"""Where the report of an audit goes: a folder, or a file alone."""

from __future__ import annotations

from pathlib import Path

from negmine.table import artifacts
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.replace import Replace

Writer = artifacts.FileWriter | artifacts.Writer


def begin(out: Path, plan: Plan, *, replacing: Replace) -> Writer | None:
    """A writer of the report, of a file ``*.json`` or else of a folder; None = it is up to date.

    Raises:
        ConflictError: something else is there.
    """
    if out.suffix == ".json":
        return artifacts.begin_file(out, plan, replacing=replacing)
    return artifacts.begin(out, plan, replacing=replacing)
