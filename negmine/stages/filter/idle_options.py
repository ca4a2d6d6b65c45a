"""Options of ``filter`` that have no effect, because what reads them was not asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from negmine.params.filter import FilterParams

Condition = Callable[[FilterParams], bool]


def _compares_with_positives(params: FilterParams) -> bool:
    margins = (params.absolute_margin, params.relative_margin, params.margin_pos, params.perc_pos)
    others = (params.percentile, params.guide, params.max_fn_rate)
    given = any(value is not None for value in (*margins, *others))
    # A rule of another package reads what it likes.
    return given or params.sampler.startswith("simans") or params.difficulty or bool(params.rule)


def _reads_ranks(params: FilterParams) -> bool:
    windows = (params.range_min, params.range_max, params.shift, params.query_min_rank)
    given = any(value is not None for value in (*windows, params.fill_beyond))
    asked = params.sampler == "rank" or params.pseudo_positive is not None
    return given or asked or bool(params.rule)


#: Per option, what must be asked for that it has an effect, and whether it is.
_NEEDS: dict[str, tuple[str, Condition]] = {
    "against": ("a rule that compares with positives", _compares_with_positives),
    "rank_by": ("a rule or a sampler that reads ranks", _reads_ranks),
    "percentile_floor": ("--percentile", lambda p: p.percentile is not None),
    "guide_margin": ("--guide", lambda p: p.guide is not None),
    "guide_margin_form": ("--guide", lambda p: p.guide is not None),
    "fn_form": ("--max-fn-rate", lambda p: p.max_fn_rate is not None),
    "near_duplicate_at": (
        "--near-duplicates or --repeated-texts",
        lambda p: p.near_duplicates or p.repeated_texts,
    ),
    "duplicate_query_at": ("--duplicate-queries", lambda p: p.duplicate_queries),
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
