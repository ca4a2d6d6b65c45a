"""Windows over the rankings of single sources: what is taken of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from negmine.errors import UsageError, did_you_mean
from negmine.params.filter import FilterParams
from negmine.rules.base import Rule, View, flag, leaving_out
from negmine.table.names import rank_column
from negmine.table.part import UNRANKED

#: The first and the last rank that a window takes.
Window = tuple[int, int]


def parse(entries: tuple[str, ...]) -> dict[str, Window]:
    """``NAME=A:B`` as ranks by source: the slice [A:B] holds the ranks A + 1 to B.

    Raises:
        UsageError: an entry that is no slice, or that holds nothing.
    """
    found: dict[str, Window] = {}
    for entry in entries:
        name, equals, slice_ = entry.partition("=")
        first, colon, end = slice_.partition(":")
        plain = all(not part or part.isdecimal() for part in (first, end))
        if not (name and equals and colon and plain and (first or end)):
            raise UsageError(
                f"--window {entry!r} is not NAME=A:B",
                hint="A slice of the source's ranking, counted from 0: bm25=30:50 are the ranks "
                "31 to 50, minilm=:10 the first 10.",
            )
        low, high = int(first or 0) + 1, int(end) if end else UNRANKED - 1
        if low > high:
            raise UsageError(
                f"--window {entry!r} holds no rank", hint="A is counted from 0 and less than B."
            )
        if name in found:
            raise UsageError(f"--window names '{name}' twice", hint="Name it once.")
        found[name] = (low, high)
    return found


def within(ranks: Mapping[str, np.ndarray], params: FilterParams) -> dict[str, np.ndarray]:
    """By source the rows that it found within its window, or anywhere where it has none.

    Args:
        ranks: retrieval ranks by source, :data:`UNRANKED` where it did not find a row.
        params: settings.
    """
    windows = parse(params.window)
    found = {}
    for name, rank in ranks.items():
        low, high = windows.get(name, (1, UNRANKED - 1))
        found[name] = (rank >= low) & (rank <= high)
    return found


def window(view: View, params: FilterParams) -> np.ndarray:
    """Rows that sources found, and none of them within its window.

    RaDeR (arXiv 2505.18405) takes BM25's [30:50] and the first 10 of another retriever: what
    BM25 ranks third is none of its 20, and is taken all the same where the other ranks it third,
    too.
    """
    somewhere = np.zeros(len(view.query), dtype=bool)
    inside = somewhere.copy()
    for name, rows in within(view.ranks, params).items():
        somewhere |= view.ranks[name] < UNRANKED
        inside |= rows
    return somewhere & ~inside


def check(params: FilterParams, known: Sequence[str], searched: Sequence[str]) -> None:
    """Refuse windows over rankings that there are not, and those of which other rules leave none.

    Args:
        params: settings.
        known: names of the sources.
        searched: those of them whose ranks make the best rank.

    Raises:
        UsageError: the first such window.
    """
    for name, (low, high) in parse(params.window).items():
        if name not in known:
            raise UsageError(f"--window: no source '{name}'", hint=did_you_mean(name, known))
        mine = params.rank_by is not None and params.rank_by.removeprefix(rank_column("")) == name
        # The best rank is no deeper than that of any source that has a say in it.
        best = params.rank_by is None and name in searched
        above = params.range_min is not None and high < params.range_min and (mine or best)
        below = params.range_max is not None and low > params.range_max and mine
        if above or below:
            end, rank = ("max", params.range_max) if below else ("min", params.range_min)
            raise UsageError(
                f"--window {name} takes the ranks {low} to {high}, and --range-{end} {rank} drops "
                "all of them",
                hint="Leave one of them out.",
            )


RULE = Rule(
    "window",
    lambda params: bool(params.window),
    window,
    words="outside the windows of the sources that found it",
    ways=leaving_out("window", ()),
    advice=lambda params, everything: f"widen the slices of {flag('window')}",
)
