"""Denoising rules, in the order in which they are asked: the first that hits names the reason."""

from __future__ import annotations

import numpy as np

from negmine.params import FilterParams
from negmine.rules import conformal, flags, known, margin, ranges
from negmine.rules.base import Rule, View, view

#: Raised when a rule's outcome changes for the same parameters; part of every ledger's
#: fingerprint.
VERSION = 2

RULES: tuple[Rule, ...] = (
    *known.IDENTITIES,
    *flags.IDENTITIES,
    *known.QUERIES,
    *known.SCORED,
    *ranges.RULES,
    *margin.RULES,
    *conformal.RULES,
    *flags.VECTORS,
)


def apply(part: View, params: FilterParams) -> tuple[np.ndarray, list[Rule]]:
    """Ask every active rule about every row.

    Returns:
        (index of the first rule that drops each row, -1 = survives, int8 [n]; the rules).
    """
    active = [rule for rule in RULES if rule.active(params)]
    reason = np.full(len(part.query), -1, dtype=np.int8)
    for number, rule in enumerate(active):
        reason[(reason < 0) & rule.drop(part, params)] = number
    return reason, active


__all__ = ["RULES", "VERSION", "Rule", "View", "apply", "view"]
