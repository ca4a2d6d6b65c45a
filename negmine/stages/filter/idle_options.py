"""Options of ``filter`` that have no effect, because what reads them was not asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from negmine import rules
from negmine.params.filter import FilterParams
from negmine.rules import Reason
from negmine.sampling import method, samplers, weights
from negmine.stages.filter import differing, label_conditions, options

Condition = Callable[[FilterParams], bool]


def _compares_with_positives(params: FilterParams) -> bool:
    given = label_conditions.compares_with_positives(params)
    given = given or any(rule.positive is not None and rule.active(params) for rule in rules.RULES)
    # A rule of another package reads what it likes.
    given = given or samplers.sampler(params.sampler).positive
    return given or params.difficulty or bool(params.rule)


def _reads_ranks(params: FilterParams) -> bool:
    given = any(rule.ranks != "none" and rule.active(params) for rule in rules.RULES)
    asked = samplers.sampler(params.sampler).ranks or params.fill_beyond is not None
    return given or asked or bool(params.rule)


def _learns(params: FilterParams) -> bool:
    given = any(rule.fitted and rule.active(params) for rule in rules.RULES) or params.difficulty
    return given or options.wants_prior(params) or options.wants_relevance(params)


def _weighs_differences(params: FilterParams) -> bool:
    return differing.by_vectors(params) is not None


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


def _of_methods(
    choice: str, methods: Mapping[str, method.Method]
) -> dict[str, tuple[str, Condition]]:
    """Options that belong to samplers or weights, and what asks for these."""
    return {
        option: (f"--{choice} {method.either(names)}", partial(_is_one_of, choice, names))
        for option, names in method.owners(methods).items()
    }


def _is_one_of(choice: str, names: tuple[str, ...], params: FilterParams) -> bool:
    return getattr(params, choice) in names


#: Per option, what must be asked for that it has an effect, and whether it is.
_NEEDS: dict[str, tuple[str, Condition]] = {
    "against": ("a rule that compares with positives", _compares_with_positives),
    "fit_sample": ("a limit or a score that is learned", _learns),
    "prior_pool": ("a score p_prior", options.wants_prior),
    "rank_by": ("a rule or a sampler that reads ranks", _reads_ranks),
    **_of_rules(),
    **_of_methods("sampler", samplers.SAMPLERS),
    "mmr_lambda": ("--sampler diverse and --diverse-by with vectors", _weighs_differences),
    **_of_methods("weight", weights.WEIGHTS),
}


def warnings(params: FilterParams, by_ranks: bool = False) -> list[str]:
    """A sentence per option that was given and changes nothing.

    Args:
        params: as they were given, defaults included.
        by_ranks: whether ranks stand for a score that no row has.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(params)}
    return [
        f"--{name.replace('_', '-')} has no effect without {needed}"
        for name, (needed, met) in _NEEDS.items()
        if getattr(params, name) != defaults[name]
        and not met(params)
        and not (by_ranks and name == "rank_by")
    ]
