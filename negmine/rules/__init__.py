"""Denoising rules, in the order in which they are asked: the first that hits names the reason.

A rule owns everything about itself in its own module (:class:`~negmine.rules.base.Rule`): the
options that it reads, its mask or its limit, what contradicts it, its words, and what is tried and
advised. Who shows, sweeps or checks rules asks them and knows none by name.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from negmine import plugins
from negmine.errors import NegmineError, UsageError
from negmine.learning import passes
from negmine.learning.fit import Fit
from negmine.params.filter import FilterParams
from negmine.rules import (
    adaptive,
    choice,
    conformal,
    consensus,
    content,
    guide,
    identity,
    known,
    labels,
    margin,
    missing,
    percentile,
    ranges,
    solved,
    window,
)
from negmine.rules.base import Border, Reason, Rows, Rule, View, Way, view

#: Raised when a rule's outcome changes for the same parameters; part of every ledger's
#: fingerprint.
VERSION = 6

#: Those that compare with the positive's score, and what they cannot compare.
_COMPARING: tuple[Rule, ...] = (
    *margin.RULES,
    percentile.RULE,
    missing.GUIDE,
    guide.RULE,
    *consensus.RULES,
    conformal.RULE,
)

RULES: tuple[Rule, ...] = (
    *known.POSITIVES,
    *identity.RULES,
    *content.RULES,
    *known.QUERIES,
    missing.SCORE,
    *ranges.RULES,
    solved.RULE,
    window.RULE,
    adaptive.RULE,
    missing.no_positive_score(_COMPARING),
    *_COMPARING,
    identity.closer_than_positive(_COMPARING),
)

#: All that ``dropped_by`` may say, plug-ins apart.
REASONS: tuple[Reason, ...] = (*RULES, *choice.REASONS)


# --- of other packages ------------------------------------------------------------------------


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


def _installed(params: FilterParams) -> list[Rule]:
    """Those of the plug-ins' rules that can be loaded.

    A ledger may be looked at where the packages that made it are not installed.
    """
    rules: list[Rule] = []
    for entry in params.rule:
        try:
            rules += _made((entry,))
        except NegmineError:
            continue
    return rules


# --- all of them asked ------------------------------------------------------------------------


def asked(params: FilterParams) -> list[Rule]:
    """The active rules, in their order.

    Raises:
        UsageError: see :func:`plugged`.
    """
    return [rule for rule in (*RULES, *plugged(params)) if rule.active(params)]


def apply(part: View, params: FilterParams) -> tuple[np.ndarray, list[Rule]]:
    """Ask every active rule about every row.

    Returns:
        (index of the first rule that drops each row, -1 = survives, int8 [n]; the rules).
    """
    active = asked(params)
    reason = np.full(len(part.query), -1, dtype=np.int8)
    for number, rule in enumerate(active):
        reason[(reason < 0) & rule.drop(part, params)] = number
    return reason, active


def without_scores(part: View, params: FilterParams) -> np.ndarray:
    """The rows that active rules drop whatever their scores are, bool [rows]."""
    dropped = np.zeros(len(part.query), dtype=bool)
    for rule in asked(params):
        if not rule.scores and rule.positive is None and rule.rows != "unjudged":
            dropped |= rule.drop(part, params)
    return dropped


def check(params: FilterParams) -> None:
    """Refuse settings that contradict a rule.

    Raises:
        UsageError: the first contradiction.
    """
    for reason in (*REASONS, *plugged(params)):
        reason.check(params)


def fit(over: passes.Over, rows: int, params: FilterParams, by: str) -> Fit:
    """What the active rules need to know of the whole table.

    Args:
        over: goes over the table.
        rows: how many rows it has.
        params: settings.
        by: the score that they read.

    Raises:
        UsageError: the settings do not suit the scores, or there are too few positives.
    """
    logits = {}
    if params.transform == "none":
        logits = {rule.option: rule.no_logits for rule in asked(params) if rule.no_logits}
    return passes.fit(over, rows, params, by, logits)


# --- what there is to say ---------------------------------------------------------------------


def borders(part: View, params: FilterParams) -> dict[str, Border]:
    """The lines of the active rules that compare numbers, by the rule's name."""
    rules = [rule for rule in (*RULES, *_installed(params)) if rule.active(params)]
    return {rule.name: rule.limit(part, params) for rule in rules if rule.limit is not None}


def words(name: str, params: FilterParams) -> str:
    """What a word in ``dropped_by`` means."""
    every: Sequence[Reason] = (*REASONS, *_installed(params))
    return next((reason.words for reason in every if reason.name == name), Reason.words)


def ways(name: str, params: FilterParams, fit: Fit) -> list[Way]:
    """Settings under which a rule drops less."""
    known = next((reason for reason in REASONS if reason.name == name), None)
    if known is not None:
        return known.ways(params, fit)
    others = tuple(entry for entry in params.rule if entry.partition("=")[0] != name)
    own = [rule for rule in _installed(params) if rule.name == name]
    found = [way for rule in own for way in rule.ways(params, fit)]
    if others != params.rule:
        found.append((f"leaving out --rule {name}", {"rule": others}))
    return found


def advice(name: str, params: FilterParams, everything: bool) -> str:
    """What to do about a rule where no setting helps.

    Args:
        name: the rule's.
        params: settings.
        everything: whether it dropped nearly all candidates of the queries in question.
    """
    every: Sequence[Reason] = (*REASONS, *_installed(params))
    return next((r.advice(params, everything) for r in every if r.name == name), "")


def named(rows: Rows) -> tuple[str, ...]:
    """The names of the rules whose rows are ``positives``, ``unjudged`` or ``candidates``."""
    return tuple(rule.name for rule in RULES if rule.rows == rows)


__all__ = [
    "REASONS",
    "RULES",
    "VERSION",
    "Border",
    "Reason",
    "Rule",
    "View",
    "Way",
    "advice",
    "apply",
    "asked",
    "borders",
    "check",
    "fit",
    "identities",
    "labels",
    "named",
    "plugged",
    "view",
    "ways",
    "without_scores",
    "words",
]
