"""A negative only if every model says so: each score puts it below the query's positive."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from negmine.errors import UsageError, did_you_mean
from negmine.learning.fit import Fit
from negmine.params.filter import FilterParams
from negmine.rules.base import Rule, View, Way, leaving_out
from negmine.rules.margin import looser
from negmine.table import schemas
from negmine.table.names import score_column

#: What stands for every score that ranks the corpus or candidates.
ALL = "all"


def named(params: FilterParams, schema: pa.Schema, missing: Sequence[str]) -> tuple[str, ...]:
    """The scores that ``--consensus`` means, each once.

    Args:
        params: settings.
        schema: the table's, with the scores that may be learned.
        missing: scores that no row has, which ``all`` leaves out.

    Raises:
        UsageError: there is no such score.
    """
    own = [*schemas.searched_names(schema), *schemas.scorer_names(schema)]
    known = schemas.score_names(schema)
    found: dict[str, None] = {}
    for entry in params.consensus:
        name = entry.removeprefix(score_column(""))
        if name == ALL:
            found |= dict.fromkeys(one for one in own if one not in missing)
        elif name in known:
            found[name] = None
        else:
            raise UsageError(
                f"--consensus: the table has no score '{name}'",
                hint=did_you_mean(name, [ALL, *known]),
            )
    return tuple(found)


def unseen(view: View, params: FilterParams) -> np.ndarray:
    """Rows that one of the scores does not know: then not every one has spoken."""
    found = np.zeros(len(view.query), dtype=bool)
    for name in params.consensus:
        found |= np.isnan(view.scores[name])
    return found


def consensus(view: View, params: FilterParams) -> np.ndarray:
    """Rows that some score does not put below the positive: ``s >= p``, each in its own units."""
    found = np.zeros(len(view.query), dtype=bool)
    for name in params.consensus:
        found |= view.scores[name] >= view.positive_scores[name]
    return found


def positive(view: View, params: FilterParams) -> np.ndarray:
    """What must be known: NaN where the positives lack one of the scores."""
    return np.sum([view.positive_scores[name] for name in params.consensus], axis=0)


def _asked(params: FilterParams) -> bool:
    return bool(params.consensus)


def _ways(params: FilterParams, fit: Fit) -> list[Way]:
    found = looser(params, fit) + leaving_out("consensus", ())(params, fit)
    for name in params.consensus if len(params.consensus) > 1 else ():
        others = tuple(one for one in params.consensus if one != name)
        found.append((f"--consensus without {name}", {"consensus": others}))
    return found


RULES = (
    Rule(
        "unscored_consensus",
        _asked,
        unseen,
        words="not seen by every score of --consensus",
        switch="--consensus",
        advice=lambda params, everything: (
            "score those rows too, or name scores that all rows have (--consensus NAME)"
        ),
        rows="unjudged",
    ),
    Rule(
        "consensus",
        _asked,
        consensus,
        words="not below the positive for every score",
        ways=_ways,
        positive=positive,
        below_positive=_asked,
    ),
)
