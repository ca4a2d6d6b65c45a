"""``--quota``: what it asks for, which rows may fill it, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.errors import UsageError, did_you_mean
from negmine.params.filter import FilterParams
from negmine.rules import window
from negmine.sampling import quotas
from negmine.sampling.quotas import Wanted
from negmine.table import schemas
from negmine.table.names import SYNTHETIC, meta_column
from negmine.table.part import Part

#: Prefixes of the counts of rows that filled a quota, and of places that stayed empty.
FILLED, MISSING = "quota.", "quota_missing."
#: Count of the rows that fill places of no quota of theirs.
OTHERS = "quota_filled"


@dataclass(frozen=True)
class Quota:
    """So many negatives of a query are of a source, or have a value.

    Attributes:
        name: as the option spells it, and the ledger's column ``quota``.
        places: how many.
        column: a kept column of the corpus; None where the quota is a source's.
        value: what stands in it.
    """

    name: str
    places: int
    column: str | None = None
    value: str = ""


def parse(entries: Sequence[str]) -> list[Quota]:
    """``NAME=N`` and ``COLUMN:VALUE=N``.

    Raises:
        UsageError: an entry that is neither, one twice, or more than can be counted.
    """
    found: dict[str, Quota] = {}
    for entry in entries:
        name, equals, number = entry.rpartition("=")
        if not (equals and name and number.isdecimal() and int(number)):
            raise UsageError(
                f"--quota {entry!r} is not NAME=N",
                hint="For example: --quota bm25=2, or --quota kind:image=2 of a column that the "
                "index keeps.",
            )
        if name in found:
            raise UsageError(f"--quota names '{name}' twice", hint="Name it once.")
        column, colon, value = name.partition(":")
        found[name] = Quota(name, int(number), *((column, value) if colon else ()))
    if len(found) > quotas.MOST:
        raise UsageError(f"--quota: {len(found)} are more than {quotas.MOST}", hint="Ask for less.")
    return list(found.values())


def columns(params: FilterParams) -> list[str]:
    """The kept columns of the corpus that quotas read, each once."""
    named = [quota.column for quota in parse(params.quota) if quota.column is not None]
    return list(dict.fromkeys(named))


def check(params: FilterParams, schema: pa.Schema, kept: Sequence[str]) -> dict[str, Any]:
    """The parameters that quotas decide.

    Args:
        params: settings.
        schema: the table's.
        kept: columns kept of the corpus.

    Raises:
        UsageError: an unknown source or column, or options that contradict them.
    """
    if not params.quota:
        if params.quota_fill:
            raise UsageError("--quota-fill belongs to --quota, and there is none", hint="Add one.")
        return {}
    asked, known = parse(params.quota), schemas.source_names(schema)
    for quota in asked:
        if quota.column is None and quota.name == SYNTHETIC and not sources_of(quota, schema):
            raise UsageError(
                f"--quota {SYNTHETIC}: no candidate was written",
                hint="Retrieve with --source NAME=written:FOLDER (negmine write), too.",
            )
        if quota.column is None and not sources_of(quota, schema):
            raise UsageError(
                f"--quota: no source '{quota.name}'", hint=did_you_mean(quota.name, known)
            )
        if quota.column is not None and quota.column not in kept:
            again = f"Index again with --keep {quota.column}."
            raise UsageError(
                f"--quota {quota.name}: the index keeps no column '{quota.column}'",
                hint=f"{did_you_mean(quota.column, kept)} {again}" if kept else again,
            )
    if params.fill_beyond is not None:
        raise UsageError(
            "--fill-beyond fills from ranks of any source, which --quota limits",
            hint="Leave one of them out; --quota-fill fills from the survivors.",
        )
    return {"num_negatives": _total(params, sum(quota.places for quota in asked))}


def sources_of(quota: Quota, schema: pa.Schema) -> list[str]:
    """Whose rows may fill a quota that names no column: a source's, or all that were written."""
    known = schemas.source_names(schema)
    if quota.name == SYNTHETIC and SYNTHETIC not in known:
        return schemas.written_names(schema)
    return [quota.name] if quota.name in known else []


def _total(params: FilterParams, places: int) -> int:
    """All places, where nothing else is asked for.

    Raises:
        UsageError: another number of negatives is asked for.
    """
    default = next(field.default for field in fields(params) if field.name == "num_negatives")
    if params.num_negatives not in (default, places):
        raise UsageError(
            f"--num-negatives {params.num_negatives}: the places of --quota are {places} together",
            hint="Leave --num-negatives out, or change a --quota.",
        )
    return places


def wanted(params: FilterParams) -> Wanted:
    """What every query wants."""
    places = tuple(quota.places for quota in parse(params.quota))
    return Wanted(params.num_negatives, places, params.quota_fill)


def kinds(table: pa.Table, params: FilterParams) -> np.ndarray:
    """The quotas that each row may fill, a bit each, int16 [rows].

    A row is a source's where that source found it, within its window; a row that several found
    is of all of theirs.

    Args:
        table: the part, with the kept columns that quotas read.
        params: settings.
    """
    found = np.zeros(table.num_rows, dtype=np.int16)
    asked, part = parse(params.quota), Part(table)
    sources = {quota.name: sources_of(quota, table.schema) for quota in asked if not quota.column}
    named = dict.fromkeys(one for mine in sources.values() for one in mine)
    inside = window.within({name: part.rank(name) for name in named}, params)
    for number, quota in enumerate(asked):
        if quota.column is None:
            mine = np.logical_or.reduce([inside[name] for name in sources[quota.name]])
        else:
            values = table.column(meta_column(quota.column))
            equal = pc.fill_null(pc.equal(values, quota.value), False)
            mine = np.asarray(equal.to_numpy(), dtype=bool)
        found |= mine.astype(np.int16) << number
    return found


def filled(
    query: np.ndarray, place: np.ndarray, kind: np.ndarray, chosen: np.ndarray, want: Wanted
) -> np.ndarray:
    """Which quota each row fills, int64 [rows]; -1 for rows that fill none.

    Args:
        query: query number of each row, ascending.
        place: its place in the query's preference.
        kind: see :func:`kinds`.
        chosen: True for the rows that are taken.
        want: what every query wants.
    """
    found = np.full(len(query), -1, dtype=np.int64)
    if not want.places:
        return found
    rows = np.flatnonzero(chosen)
    if want.fill:
        # Some were taken whatever they are: those that the quotas alone would not take.
        alone = Wanted(want.total, want.places)
        rows = np.flatnonzero(quotas.chosen(query, np.where(chosen, place, 0), kind, alone))
    found[rows] = quotas.filled(query[rows], place[rows], kind[rows], want.places)
    return found


def named(quota: np.ndarray, params: FilterParams) -> pa.Array:
    """The ledger's column: the name of the quota that each row fills, null = none."""
    names = pa.array([one.name for one in parse(params.quota)], pa.string())
    return names.take(pa.array(quota, mask=quota < 0))


def count(
    quota: np.ndarray, chosen: np.ndarray, queries: int, params: FilterParams
) -> dict[str, int]:
    """Rows that filled each quota of a part, places that stayed empty, and rows of no quota.

    Args:
        quota: see :func:`filled`.
        chosen: True for the rows that are taken.
        queries: how many there are.
        params: settings.
    """
    asked = parse(params.quota)
    if not asked:
        return {}
    rows = np.bincount(quota[quota >= 0], minlength=len(asked)).tolist()
    stats = {f"{FILLED}{one.name}": n for one, n in zip(asked, rows, strict=True)}
    stats |= {
        f"{MISSING}{one.name}": one.places * queries - n for one, n in zip(asked, rows, strict=True)
    }
    if params.quota_fill:
        stats[OTHERS] = int((chosen & (quota < 0)).sum())
    return stats


def told(counts: Mapping[str, Any], params: FilterParams) -> list[str]:
    """The warning on places that stayed empty."""
    missing = {name: n for name, n in counts.get(MISSING.rstrip("."), {}).items() if n}
    if not missing:
        return []
    places = {one.name: one.places * counts["queries"] for one in parse(params.quota)}
    some = ", ".join(f"{name} {n:,} of {places[name]:,}" for name, n in missing.items())
    after = (
        f"{counts[OTHERS]:,} others stand in their place"
        if params.quota_fill
        else "a larger retrieve -k may bring more, --quota-fill takes other survivors"
    )
    return [f"--quota: places that stayed empty: {some}; {after}"]
