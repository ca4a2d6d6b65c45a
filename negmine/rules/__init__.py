"""Denoising rules, in the order in which they are asked: the first that hits names the reason."""

from __future__ import annotations

import functools

import numpy as np

from negmine import plugins
from negmine.errors import UsageError
from negmine.params.filter import FilterParams
from negmine.rules import conformal, flags, known, margin, ranges
from negmine.rules.base import Rule, View, view

#: Raised when a rule's outcome changes for the same parameters; part of every ledger's
#: fingerprint.
VERSION = 6

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


def plugged(params: FilterParams) -> list[Rule]:
    """Other packages' rules that the parameters ask for, made with their values.

    Raises:
        UsageError: no such rule, a name that is taken, or no :class:`Rule`.
        MissingDependencyError: the package that defines it does not import.
    """
    return list(_made(params.rule))


@functools.cache
def _made(entries: tuple[str, ...]) -> tuple[Rule, ...]:
    made: list[Rule] = []
    for entry in entries:
        name, separator, value = entry.partition("=")
        plugin = plugins.find("rule", name, "--rule")
        rule = plugin.load()(value if separator else None)
        if not isinstance(rule, Rule) or rule.name != name:
            raise UsageError(
                f"--rule: '{name}' makes no negmine.rules.base.Rule of that name",
                where=plugin.value,
            )
        if name in {known.name for known in (*RULES, *made)}:
            raise UsageError(f"--rule: there is a rule '{name}' already", where=plugin.value)
        made.append(rule)
    return tuple(made)


def identities(params: FilterParams) -> list[str]:
    """What stands for the code of the plug-ins' rules in a fingerprint."""
    names = [entry.partition("=")[0] for entry in params.rule]
    return [plugins.find("rule", name, "--rule").identity for name in names]


def apply(part: View, params: FilterParams) -> tuple[np.ndarray, list[Rule]]:
    """Ask every active rule about every row.

    Returns:
        (index of the first rule that drops each row, -1 = survives, int8 [n]; the rules).
    """
    active = [rule for rule in RULES if rule.active(params)]
    active += [rule for rule in plugged(params) if rule.active(params)]
    reason = np.full(len(part.query), -1, dtype=np.int8)
    for number, rule in enumerate(active):
        reason[(reason < 0) & rule.drop(part, params)] = number
    return reason, active


__all__ = ["RULES", "VERSION", "Rule", "View", "apply", "identities", "plugged", "view"]
