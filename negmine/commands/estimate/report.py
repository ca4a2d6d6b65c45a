"""The costs as a table for people, or as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from negmine.commands.estimate import several
from negmine.commands.estimate.cost import Cost
from negmine.engine.shares import WHOLE, Shard, Share
from negmine.log import duration, printable, printable_json

_COLUMNS = ("stage", "documents", "queries", "pairs", "tokens", "disk", "memory", "time", "state")
_UNITS = ("B", "kB", "MB", "GB", "TB")


def as_json(
    costs: Sequence[Cost],
    share: Share = WHOLE,
    among: Sequence[several.ByWorkers] | None = None,
) -> str:
    """All that is known, machine-readable; what workers would take, where some are asked for."""
    stages = [cost.facts() for cost in costs]
    if isinstance(share, Shard):
        for facts, cost in zip(stages, costs, strict=True):
            facts["shard"] = several.shared(cost, share.count).facts()
    by_workers = {} if among is None else {"by_workers": several.facts(among)}
    return printable_json(
        {
            **by_workers,
            "stages": stages,
            "seconds": round(sum(cost.seconds for cost in costs), 2),
            "disk_bytes": sum(cost.disk_bytes for cost in costs),
            "memory_bytes": max((cost.memory_bytes for cost in costs), default=0),
        },
        indent=2,
    )


def as_table(
    costs: Sequence[Cost],
    share: Share = WHOLE,
    among: Sequence[several.ByWorkers] | None = None,
) -> str:
    """One line per stage, a line for all, what a share or workers cost, and what was guessed."""
    rows = [_COLUMNS, *(_row(cost) for cost in costs)]
    if len(costs) > 1:
        rows.append(
            (
                *("all", "", "", "", ""),
                size(sum(cost.disk_bytes for cost in costs)),
                size(max(cost.memory_bytes for cost in costs)),
                duration(sum(cost.seconds for cost in costs)),
                "",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS) - 1)]
    last = len(_COLUMNS) - 1
    lines = [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(row[i].rjust(widths[i]) for i in range(1, last)),
                row[last],
            ]
        ).rstrip()
        for row in rows
    ]
    for cost in costs:
        spent = sorted(cost.breakdown.items(), key=lambda item: -item[1])
        shown = ", ".join(f"{what} {duration(seconds)}" for what, seconds in spent)
        if shown:
            lines.append(f"{cost.stage}: {shown}")
    lines += [_asked(cost) for cost in costs if cost.calls]
    if isinstance(share, Shard):
        todo = (cost for cost in costs if not cost.skipped)
        lines += [
            several.told(cost, str(share), several.shared(cost, share.count)) for cost in todo
        ]
    lines += [] if among is None else several.lines(among)
    guesses = {guess: None for cost in costs for guess in cost.guesses}
    lines += [f"guessed: {guess}" for guess in guesses]
    return "\n".join(printable(line) for line in lines)


def _asked(cost: Cost) -> str:
    """What would be asked of servers."""
    price = "not known (--price)" if cost.price is None else f"{cost.price:.6g}"
    return (
        f"{cost.stage}: {cost.calls:,} calls, {cost.calls_stored:,} of them answered already; "
        f"price {price}"
    )


def _row(cost: Cost) -> tuple[str, ...]:
    counts = (cost.documents, cost.queries, cost.rows, cost.tokens)
    return (
        cost.stage,
        *(f"{count:,}" if count else "-" for count in counts),
        size(cost.disk_bytes),
        size(cost.memory_bytes),
        duration(cost.seconds) if not cost.skipped else "-",
        cost.state,
    )


def size(count: float) -> str:
    """``1.2 GB``; a dash for nothing."""
    if not count:
        return "-"
    unit = 0
    while count >= 1000 and unit < len(_UNITS) - 1:
        count /= 1000
        unit += 1
    return f"{count:.3g} {_UNITS[unit]}" if count < 1000 else f"{count:,.0f} {_UNITS[unit]}"
