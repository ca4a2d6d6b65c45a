"""Queries that give no example, or one with too few negatives, and what mends it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from negmine.errors import EmptyResultError
from negmine.formats.base import Chosen, Examples, Format

#: Prefix of the counts of queries (with a positive) that have so many negatives.
_HAVING = "having."
#: A smaller number of negatives is proposed if so many of the queries have it.
_ENOUGH = 0.9


def count(examples: Examples, chosen: Chosen, asked: int) -> dict[str, int]:
    """Which queries gave an example, and how many negatives they have.

    Args:
        examples: what a layout made.
        chosen: what it was made of.
        asked: negatives of a complete query.

    Returns:
        ``queries_without_positives``, ``queries_without_negatives`` (of those that have a
        positive), ``queries_short`` (with an example, and fewer negatives than asked for), and a
        histogram that :func:`warnings` reads and :func:`told` leaves out.
    """
    queries = len(chosen.qids)
    positives = np.bincount(chosen.positive_query, minlength=queries)
    negatives = np.bincount(chosen.negative_query, minlength=queries)
    used = np.zeros(queries, dtype=bool)
    used[examples.queries()] = True
    having = np.bincount(negatives[positives > 0])
    return {
        "queries_without_positives": int((positives == 0).sum()),
        "queries_without_negatives": int(((positives > 0) & (negatives == 0)).sum()),
        "queries_short": int((used & (negatives > 0) & (negatives < asked)).sum()),
        **{f"{_HAVING}{number}": int(n) for number, n in enumerate(having) if n},
    }


def told(counts: Mapping[str, int]) -> dict[str, int]:
    """The counts without the histogram."""
    return {name: n for name, n in counts.items() if not name.startswith(_HAVING)}


def warnings(counts: Mapping[str, int], name: str, layout: Format, asked: int) -> list[str]:
    """What the user should know about left-out and short queries, in words.

    Args:
        counts: sums of what :func:`count` gave, and ``queries`` and ``queries_left_out``.
        name: the format.
        layout: the format.
        asked: negatives of a complete query.
    """
    found = []
    left_out = counts.get("queries_left_out", 0)
    if left_out:
        need = layout.needs.format(n=asked)
        found.append(
            f"{left_out} of {counts['queries']} queries gave no example ({name} needs {need}): "
            f"{', '.join(_reasons(counts, asked))}. {mend(counts, layout, asked)}".rstrip()
        )
    short = counts.get("queries_short", 0)
    if short and layout.trains:
        found.append(
            f"{short} of {counts['queries'] - left_out} queries go out with fewer than {asked} "
            "negatives; nothing is padded, and trainers that want a fixed number repeat some"
        )
    return found


def mend(counts: Mapping[str, int], layout: Format, asked: int) -> str:
    """What gives the left-out queries an example, as sentences; empty where nothing does."""
    ways = []
    too_few = _too_few(counts, asked)
    if too_few and "{n}" in layout.needs:
        smaller, kept = _smaller(counts, asked)
        total = sum(_having(counts).values())
        if smaller:
            ways.append(f"filter --num-negatives {smaller} keeps {kept} of {total} queries")
        if layout.any_number:
            ways.append(f"--format {layout.any_number} takes any number of negatives")
    if counts.get("queries_without_negatives"):
        ways.append("the filter's warnings say which rule took the candidates")
    if counts.get("queries_without_positives"):
        ways.append(
            "queries without positives come of retrieve --keep-unlabelled, of filter --demote and "
            "--drop-query, or of --promoted"
        )
    text = "; ".join(ways)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def refuse(
    counts: Mapping[str, int], name: str, layout: Format, asked: int, *, where: str, split: bool
) -> None:
    """Say that not one query gave an example.

    Raises:
        EmptyResultError: always.
    """
    need = layout.needs.format(n=asked)
    what = f"the training set is empty: no query has what {name} needs, {need}"
    if counts.get("queries", 0) == 0:
        what = "the training set is empty: there is no query"
        what += " on its side of the split" if split else " in the ledger"
        hint = "Lower --split." if split else ""
    elif not counts.get("selected", 0):
        what = f"the training set is empty: none of {counts['queries']} queries has a negative"
        hint = (
            "The filter chose none: its warnings say which rule took the candidates, and negmine "
            "explain shows them for one query."
        )
    else:
        what += f" ({', '.join(_reasons(counts, asked))})"
        hint = mend(counts, layout, asked)
    raise EmptyResultError(
        what, where=where, hint=f"{hint} --allow-empty writes an empty one.".strip()
    )


def _having(counts: Mapping[str, int]) -> dict[int, int]:
    """Queries (with a positive) by their number of negatives."""
    return {
        int(name.removeprefix(_HAVING)): n for name, n in counts.items() if name.startswith(_HAVING)
    }


def _too_few(counts: Mapping[str, int], asked: int) -> int:
    return sum(n for number, n in _having(counts).items() if 0 < number < asked)


def _reasons(counts: Mapping[str, int], asked: int) -> list[str]:
    reasons = {
        f"with fewer than {asked} negatives": _too_few(counts, asked),
        "without negatives": counts.get("queries_without_negatives", 0),
        "without positives": counts.get("queries_without_positives", 0),
    }
    return [f"{n} {reason}" for reason, n in reasons.items() if n]


def _smaller(counts: Mapping[str, int], asked: int) -> tuple[int, int]:
    """The largest smaller number of negatives that most queries have, and how many have it."""
    having = _having(counts)
    some = sum(n for number, n in having.items() if number)
    for number in range(asked - 1, 0, -1):
        kept = sum(n for other, n in having.items() if other >= number)
        if kept >= _ENOUGH * some:
            return number, kept
    return 0, 0
