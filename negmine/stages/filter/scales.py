"""Thresholds that no score of a known scale can reach: percent, or another score's units."""

from __future__ import annotations

from negmine import rules
from negmine.errors import NegmineError, UsageError
from negmine.params.filter import FilterParams
from negmine.stages.filter import label_conditions
from negmine.table.candidates import Candidates, normalised
from negmine.table.names import LEARNED, score_column

#: Smallest and largest value of a score, and what such scores are called.
Scale = tuple[float, float, str]
_COSINES: Scale = (-1.0, 1.0, "cosines")
_SHARES: Scale = (0.0, 1.0, "probabilities")


def check(params: FilterParams, by: str, source: Candidates) -> None:
    """Refuse thresholds outside of the scale of the score that they are compared with.

    Args:
        params: settings.
        by: the score that the rules read.
        source: the scored table, whose lineage tells which sources' scores are cosines.

    Raises:
        UsageError: a threshold on cosines or probabilities that none can reach.
    """
    for rule in rules.RULES:
        for scaled in rule.scaled:
            if not scaled.when(params):
                continue
            score = by if scaled.score is None else getattr(params, scaled.score)
            shares = scaled.score is None and params.transform == "sigmoid"
            scale = _SHARES if shares else _scale(score, source)
            if scale is not None:
                width = scale[1] - scale[0]
                low, high = (-width, width) if scaled.difference else scale[:2]
                _refuse(scaled.option, getattr(params, scaled.option), low, high, score, scale)
    for option, one in label_conditions.limits(params):
        name = one.column.removeprefix(score_column(""))
        known = _scale(name, source)
        if known is not None and isinstance(one.value, float):
            _refuse(option, one.value, *known[:2], name, known)


def _refuse(
    name: str, value: float | None, low: float, high: float, score: str, scale: Scale
) -> None:
    if value is None or low <= value <= high:
        return
    lead = f"If {value:g} percent is meant, write {value / 100:g}. " if abs(value) <= 100 else ""
    raise UsageError(
        f"--{name.replace('_', '-')} must lie between {low:g} and {high:g}, not {value:g}: "
        f"the scores '{score}' are {scale[2]}",
        hint=f"{lead}Or name another score.",
    )


def _scale(score: str, source: Candidates) -> Scale | None:
    """The scale of a score; None where it is not known."""
    if score in LEARNED:
        return _SHARES
    try:
        if score not in source.dense:
            return None
        vectors = source.vectors(score)
    except NegmineError:
        # Made elsewhere, or moved: then nobody knows the scale, and the rules need not.
        return None
    return _COSINES if normalised(vectors) else None
