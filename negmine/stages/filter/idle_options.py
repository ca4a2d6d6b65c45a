"""Options of ``filter`` that have no effect, because what reads them was not asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

from negmine import rules
from negmine.params.filter import FilterParams
from negmine.rules import Reason

Condition = Callable[[FilterParams], bool]


def _compares_with_positives(params: FilterParams) -> bool:
    given = any(rule.positive is not None and rule.active(params) for rule in rules.RULES)
    # A rule of another package reads what it likes.
    return given or params.sampler.startswith("simans") or params.difficulty or bool(params.rule)


def _reads_ranks(params: FilterParams) -> bool:
    given = any(rule.ranks != "none" and rule.active(params) for rule in rules.RULES)
    asked = params.sampler == "rank" or params.fill_beyond is not None
    return given or asked or bool(params.rule)


def _of_rules() -> dict[str, tuple[str, Condition]]:
    """Options that are parts of rules, and what asks for these."""
    owners: dict[str, list[Reason]] = {}
    for reason in rules.REASONS:
        for option in reason.options:
            owners.setdefault(option, []).append(reason)
    return {
        option: (" or ".join(reason.option for reason in reasons), partial(_any_active, reasons))
        for option, reasons in owners.items()
    }


def _any_active(reasons: Sequence[Reason], params: FilterParams) -> bool:
    return any(reason.active(params) for reason in reasons)


#: Per option, what must be asked for that it has an effect, and whether it is.
_NEEDS: dict[str, tuple[str, Condition]] = {
    "against": ("a rule that compares with positives", _compares_with_positives),
    "rank_by": ("a rule or a sampler that reads ranks", _reads_ranks),
    **_of_rules(),
    "simans_a": ("--sampler simans", lambda p: p.sampler.startswith("simans")),
    "simans_scale": ("--sampler simans", lambda p: p.sampler.startswith("simans")),
    "simans_b": (
        "--sampler simans or simans-code",
        lambda p: p.sampler in ("simans", "simans-code"),
    ),
    "weight_by": ("--weight dclr or gcse", lambda p: p.weight in ("dclr", "gcse")),
    "weight_above": ("--weight dclr", lambda p: p.weight == "dclr"),
    "weight_student": ("--weight gcse", lambda p: p.weight == "gcse"),
    "weight_sigma": ("--weight gcse", lambda p: p.weight == "gcse"),
    "weight_temperature": ("--weight gcse", lambda p: p.weight == "gcse"),
}


def warnings(params: FilterParams) -> list[str]:
    """A sentence per option that was given and changes nothing.

    Args:
        params: as they were given, defaults included.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(params)}
    return [
        f"--{name.replace('_', '-')} has no effect without {needed}"
        for name, (needed, met) in _NEEDS.items()
        if getattr(params, name) != defaults[name] and not met(params)
    ]
