"""Scorers that see some rows alone: those of which a condition on other columns holds.

A cheap model screens and a strong one decides. Known positives are scored whatever the condition
says, since rules compare with them, unless it is to be asked of them, too. What the condition
compares may be another scorer's of the same command, which then goes first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.errors import UsageError
from negmine.params.rerank import RerankParams
from negmine.table import conditions, schemas
from negmine.table.artifacts.reading import Artifact
from negmine.table.conditions import Condition
from negmine.table.names import meta_column, rank_column, score_column, scorer_column
from negmine.table.part import Part

OPTION = "--only-if"


@dataclass(frozen=True)
class Screen:
    """Which rows a scorer sees.

    Attributes:
        condition: what must hold of a row.
        positives: whether of a known positive, too; otherwise these are always seen.
    """

    condition: Condition
    positives: bool = False

    def __str__(self) -> str:
        return conditions.told(self.condition)

    def passes(self, table: pa.Table) -> np.ndarray:
        """The rows that are seen, bool [rows]."""
        part = Part(table)
        found = conditions.holds(self.condition, part)
        return found if self.positives else found | part.positive


@dataclass(frozen=True)
class Cascade:
    """The scorers of a run, and which rows each of them sees.

    Attributes:
        names: the scorers in the order of their columns.
        order: the same in the order in which they are asked.
        screens: by scorer, which rows it sees; one without an entry sees all.
        reads: by scorer, the others whose scores its screen compares.
    """

    names: tuple[str, ...]
    order: tuple[str, ...]
    screens: Mapping[str, Screen] = field(default_factory=dict)
    reads: Mapping[str, Collection[str]] = field(default_factory=dict)

    def seen(self, name: str, rows: np.ndarray, table: Callable[[], pa.Table]) -> np.ndarray:
        """Those of some rows that a scorer sees.

        Args:
            name: the scorer.
            rows: numbers of rows.
            table: makes the part with what the scorers before it said.
        """
        screen = self.screens.get(name)
        return rows if screen is None or not len(rows) else rows[screen.passes(table())[rows]]

    def check(self, schema: pa.Schema) -> None:
        """See that conditions suit what the scorers, which are loaded now, add to the table.

        Raises:
            UsageError: a column is missing, or is of another type than what it is compared with.
        """
        for screen in self.screens.values():
            conditions.check(screen.condition, schema, OPTION)

    def record(self) -> dict[str, str]:
        """The conditions by scorer, for the fingerprint: each in one spelling."""
        return {name: str(screen) for name, screen in self.screens.items()}


def of_all(names: Iterable[str]) -> Cascade:
    """Scorers that see every row."""
    every = tuple(names)
    return Cascade(every, every)


def cascade(params: RerankParams, names: Sequence[str], schema: pa.Schema) -> Cascade:
    """What ``--only-if`` says of the scorers.

    A condition without a scorer's name is for every scorer that it does not read.

    Args:
        params: the options of ``rerank``.
        names: the scorers.
        schema: the table's, before any of them.

    Raises:
        UsageError: no condition, an unknown column, or scorers that wait for each other.
    """
    if not params.only_if:
        if params.only_if_positives:
            raise UsageError(
                "--only-if-positives is read with --only-if alone", hint="Add --only-if CONDITION."
            )
        return of_all(names)
    named, for_all = _read(params.only_if, names)
    full = schemas.with_scores(schema, names)
    reads = {one: _reads(one, names, full) for one in [*named.values(), *for_all]}
    for condition in for_all:
        others = [one for one in names if one not in named and one not in reads[condition]]
        if not others:
            raise UsageError(
                f"{OPTION} '{conditions.told(condition)}' is for no scorer: "
                "each is read by it, or has a condition of its own",
                hint="A scorer's condition compares another score: of an earlier stage, or of "
                "another --scorer.",
            )
        named |= dict.fromkeys(others, condition)
    before = {name: reads[named[name]] if name in named else frozenset() for name in names}
    screens = {
        name: Screen(named[name], params.only_if_positives) for name in names if name in named
    }
    return Cascade(tuple(names), _in_order(before), screens, before)


def _read(
    entries: Iterable[str], names: Collection[str]
) -> tuple[dict[str, Condition], list[Condition]]:
    """(conditions by scorer, the one for all others, at most)."""
    named: dict[str, Condition] = {}
    for_all: list[Condition] = []
    for entry in entries:
        before, equals, rest = entry.partition("=")
        name = before.strip() if equals and before.strip() in names else None
        if name in named or (name is None and for_all):
            whom = "without a scorer's name" if name is None else f"for '{name}'"
            raise UsageError(
                f"{OPTION} is given twice {whom}",
                hint=f"Join what must hold together by 'and'; write {OPTION} NAME='CONDITION' for "
                "each scorer that has another one.",
            )
        if name is None:
            for_all.append(conditions.parse(entry, OPTION))
        else:
            named[name] = conditions.parse(rest, f"{OPTION} {name}")
    return named, for_all


def _reads(condition: Condition, names: Iterable[str], schema: pa.Schema) -> frozenset[str]:
    """The scorers of this command that a condition reads.

    What else a scorer says of a pair (``COLUMN_NAME``) is known when it is loaded.

    Raises:
        UsageError: a column that neither the table has nor a scorer may have.
    """
    found: set[str] = set()
    for one in condition:
        columns = conditions.columns([(replace(one, of_positive=False),)], schema)
        own = [name for name in names if columns == [score_column(name)]]
        if not columns:
            own = [name for name in names if name == _whose(one.column, names)]
        if columns or not own:
            conditions.check((one,), schema, OPTION)
        found.update(own)
    return frozenset(found)


def _in_order(before: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """The scorers, each after those that its condition reads, else in their own order.

    Raises:
        UsageError: some wait for each other.
    """
    order: list[str] = []
    while len(order) < len(before):
        ready = [one for one, reads in before.items() if one not in order and {*reads} <= {*order}]
        if not ready:
            waiting = [name for name in before if name not in order]
            raise UsageError(
                f"{OPTION}: the scorers {', '.join(waiting)} wait for each other's scores"
                if len(waiting) > 1
                else f"{OPTION}: the condition of {waiting[0]} reads its own score",
                hint="One of them must be asked without a condition on the others.",
            )
        order.append(ready[0])
    return tuple(order)


def recorded(scored: Artifact) -> dict[str, Screen]:
    """The screens of the scorers that made a table, those of earlier ``rerank`` runs with them."""
    found: dict[str, Screen] = {}
    while scored.stage == "rerank":
        positives = bool(scored.params.get("only_if_positives", False))
        for name, text in scored.params.get("only_if", {}).items():
            found[name] = Screen(conditions.parse(text, OPTION), positives)
        scored = scored.input("candidates")
    return found


def as_candidates(table: pa.Table, hidden: np.ndarray, screens: Mapping[str, Screen]) -> pa.Table:
    """A part whose labels were hidden, without the scores that rows have as known positives alone.

    Args:
        table: the part, the hidden rows no positives any more.
        hidden: which they are, bool [rows].
        screens: by scorer, which rows it sees.
    """
    names = schemas.score_names(table.schema)
    # One scorer's nulls are another one's reason not to see a row: as often as there are scorers.
    for name, screen in [*screens.items()] * len(screens):
        unseen = pa.array(hidden & ~screen.passes(table))
        for index, column in enumerate(table.schema):
            if column.name == score_column(name) or _whose(column.name, names) == name:
                nothing = pa.scalar(None, column.type)
                values = pc.if_else(unseen, nothing, table.column(index))
                table = table.set_column(index, column, values)
    return table


def _whose(column: str, names: Iterable[str]) -> str | None:
    """The scorer that says a column of a pair besides its score; None where it is none of these.

    Of names that end alike (``judge``, ``strong_judge``) it is the longest one's.
    """
    if column.startswith((score_column(""), rank_column(""), meta_column(""))):
        return None
    mine = [name for name in names if column.endswith(scorer_column("", name))]
    return max(mine, key=len, default=None)


def told(cascade: Cascade, counts: Mapping[str, int], rows: int) -> list[str]:
    """How many rows each screened scorer saw, in words.

    Args:
        cascade: the scorers.
        counts: by scorer, the rows that it saw.
        rows: candidates there are.
    """
    said = []
    for name, screen in cascade.screens.items():
        also = "" if screen.positives else ", and the known positives"
        share = counts[name] / max(1, rows)
        said.append(
            f"{name} scored {counts[name]:,} of {rows:,} candidates ({share:.0%}): those of which "
            f"{screen} holds{also}; the others have no score_{name}"
        )
    return said
