"""Denoising rules, in the order in which they are asked: the first that hits names the reason."""

from __future__ import annotations

import numpy as np

from negmine.params import FilterParams
from negmine.rules import known, margin, ranges
from negmine.rules.base import Rule, View, view

#: Raised when a rule's outcome changes for the same parameters; part of every ledger's
#: fingerprint.
VERSION = 1

RULES: tuple[Rule, ...] = (*known.RULES, *ranges.RULES, *margin.RULES)


def apply(part: View, params: FilterParams) -> tuple[np.ndarray, list[str]]:
    """Ask every active rule about every row.

    Returns:
        (index of the first rule that drops each row, -1 = survives, int8 [n]; the rules' names).
    """
    active = [rule for rule in RULES if rule.active(params)]
    reason = np.full(len(part.query), -1, dtype=np.int8)
    for number, rule in enumerate(active):
        reason[(reason < 0) & rule.drop(part, params)] = number
    return reason, [rule.name for rule in active]


__all__ = ["RULES", "VERSION", "Rule", "View", "apply", "view"]
