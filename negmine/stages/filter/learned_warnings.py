"""What is told of the learned scores where they do not do what their names promise."""

from __future__ import annotations

from negmine import rules
from negmine.learning.fit import Fit
from negmine.params.filter import FilterParams
from negmine.stages.filter.options import Columns
from negmine.table.names import LEARNED, P_PRIOR


def told(params: FilterParams, columns: Columns, fit: Fit) -> list[str]:
    """Warnings on ``p_prior`` and ``p_relevant``.

    Args:
        params: settings.
        columns: the columns that they read.
        fit: what was learned from the whole table.
    """
    warnings = []
    if columns.sample_by in LEARNED and params.sampler == "top" and not _limited(params):
        warnings.append(
            f"no rule reads {columns.sample_by}, and --sampler top takes the candidates that it "
            "holds most probably relevant: give a limit (--max-score), or --sampler rank"
        )
    if fit.prior is not None and not fit.prior.facts["positives"]:
        warnings.append(
            f"{P_PRIOR}: no source found a known positive, so that it takes these to stand where "
            "those of other collections do: check that the judgements belong to these candidates"
        )
    return warnings


def _limited(params: FilterParams) -> bool:
    """Whether anything compares scores; a rule of another package reads what it likes."""
    compared = any(rule.scores and rule.active(params) for rule in rules.RULES)
    return compared or bool(params.rule)
