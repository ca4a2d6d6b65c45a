"""What is told of the learned scores where they do not do what their names promise."""

from __future__ import annotations

from negmine import rules
from negmine.learning.fit import Fit
from negmine.params.filter import FilterParams
from negmine.stages.filter.options import Columns
from negmine.table.names import LEARNED, P_PRIOR

#: Places of single positives differ by about one standard deviation, so the mean of ten by a third;
#: that moves the odds of ``p_prior`` by about as much.
_FEW = 10


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
    if fit.prior is not None:
        warnings += _measured_by(fit.prior.facts["positives"])
    return warnings


def _measured_by(positives: int) -> list[str]:
    """Warnings on the known positives that ``p_prior`` was measured by."""
    if not positives:
        return [
            f"{P_PRIOR}: no source found a known positive, so that it takes these to stand where "
            "those of other collections do: check that the judgements belong to these candidates"
        ]
    if positives >= _FEW:
        return []
    return [
        f"{P_PRIOR}: where the known positives stand on average decides how many candidates it "
        f"takes for relevant, and sources found only {positives}: of fewer than {_FEW} that is a "
        "matter of luck. Look at what is chosen (negmine explain LEDGER --random)"
    ]


def _limited(params: FilterParams) -> bool:
    """Whether anything compares scores; a rule of another package reads what it likes."""
    compared = any(rule.scores and rule.active(params) for rule in rules.RULES)
    return compared or bool(params.rule)
