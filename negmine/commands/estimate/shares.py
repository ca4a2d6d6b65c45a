"""What one of several processes that make a stage would cost, and all of them together."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from negmine.commands.estimate.cost import Cost
from negmine.log import duration

#: What each process does for itself, whatever its share.
_EACH = ("start", "read", "tables", "load ")
#: What of an index is made part by part; the rest one process makes, before or when it collects.
_OF_INDEX = ("encode ", "signatures")


@dataclass(frozen=True)
class Shared:
    """What a stage costs that several processes make.

    Attributes:
        count: how many processes.
        one: seconds of one of them, of as many parts as the others.
        all: seconds of all of them, one after the other.
        rest: seconds of what is made once: before them, or by who collects.
        calls: requests to servers by one of them.
        price: what its unanswered ones cost; None = not known.
    """

    count: int
    one: float
    all: float
    rest: float
    calls: int
    price: float | None

    def facts(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            name: round(value, 2) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


def shared(cost: Cost, count: int) -> Shared:
    """What a stage costs by so many processes."""
    each = sum(seconds for what, seconds in cost.breakdown.items() if what.startswith(_EACH))
    once = 0.0
    if cost.stage == "index":
        known = (*_EACH, *_OF_INDEX)
        once = sum(
            seconds for what, seconds in cost.breakdown.items() if not what.startswith(known)
        )
    parts = cost.seconds - each - once
    return Shared(
        count,
        each + parts / count,
        count * each + parts,
        once,
        -(-cost.calls // count),
        None if cost.price is None else cost.price / count,
    )


def told(cost: Cost, share: str, found: Shared) -> str:
    """The same in words."""
    said = (
        f"{cost.stage}: shard {share} {duration(found.one)}; all {found.count} together "
        f"{duration(found.all)}"
    )
    if found.rest:
        said += f", and {duration(found.rest)} for what one process makes"
    if cost.calls:
        price = "not known (--price)" if found.price is None else f"{found.price:.6g}"
        said += f"; {found.calls:,} calls each, price {price} each"
    return said
