"""What the limits are learned from: a summary of each part, and what is made of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.errors import InvalidDataError, UsageError
from negmine.learning import assumption, calibration, selection
from negmine.learning.calibration import Bound, Form, Positives
from negmine.learning.fit import Fit
from negmine.params.filter import FilterParams
from negmine.table import draws, schemas
from negmine.table.part import Part, positives_scores

Summary = TypeVar("Summary")

#: Margins kept to tell quantiles from, about.
_SAMPLE = 1_000_000
#: Added to the seed, so that it is another draw than the sampler's.
_POOL_DRAW = 5_000_011
#: Share of queries that choose the form of the bound and do not calibrate it.
_CHOOSING = 0.2
#: Cosines may exceed 1 by rounding.
_ROUNDING = 1e-3
_NOTHING = np.empty(0)


class Over(Protocol):
    """Goes over the parts of a table."""

    def __call__(self, name: str, summarise: Callable[[pa.Table], Summary]) -> list[Summary]:
        """A summary of each part, in order; ``name`` is the round's."""


def of_tables(tables: Sequence[pa.Table]) -> Over:
    """Goes over parts that are in memory."""

    def over(name: str, summarise: Callable[[pa.Table], Summary]) -> list[Summary]:
        return [summarise(table) for table in tables]

    return over


@dataclass(frozen=True)
class Seen:
    """What the limits are learned from, of one part: as much of it as settings ask.

    Attributes:
        queries: how many it has.
        low: the least score, and
        high: the greatest.
        known: the positives' scores.
        margins: candidates' margins ``s - p``: all, or a random sample.
        positives: its known positives.
        above: per source, what stands above them (see :func:`_above`).
        pool: what the correction of ``--bias-from`` learns from.
        groups: names of the groups that numbers mean in this part.
    """

    queries: int
    low: float = np.inf
    high: float = -np.inf
    known: np.ndarray = field(default_factory=lambda: _NOTHING)
    margins: np.ndarray = field(default_factory=lambda: _NOTHING)
    positives: Positives | None = None
    above: Mapping[str, np.ndarray] = field(default_factory=dict)
    pool: selection.Pool | None = None
    groups: tuple[str, ...] = ()


def fit(
    over: Over, rows: int, params: FilterParams, by: str, logits: Mapping[str, str] | None = None
) -> Fit:
    """All that the settings need to know of the table, except what depends on other fits.

    Args:
        over: goes over the table.
        rows: how many rows it has.
        params: settings.
        by: the score that they read.
        logits: options that mean nothing on logits, whose zero is arbitrary, and what to do
            instead.

    Raises:
        UsageError: the settings do not suit the scores, or there are too few positives.
    """
    logits = logits or {}
    limits = (params.percentile, params.max_fn_rate)
    if not (logits or params.difficulty or any(limit is not None for limit in limits)):
        return Fit()
    found = over("limits", partial(_seen, rows=rows, params=params, by=by, ranged=bool(logits)))
    _refuse_logits(found, by, logits)
    known = np.sort(np.concatenate([_NOTHING, *(one.known for one in found)]))
    if params.percentile is not None and len(known) == 0:
        raise InvalidDataError(f"--percentile: no positive has a score '{by}'")
    margins = np.sort(np.concatenate([_NOTHING, *(one.margins for one in found)]))
    bound = _bound(over, found, params, by) if params.max_fn_rate is not None else None
    return Fit(positive_scores=known, margins=margins, bound=bound)


# --- of a part --------------------------------------------------------------------------------


def _seen(table: pa.Table, rows: int, params: FilterParams, by: str, ranged: bool) -> Seen:
    """The summary of a part.

    Args:
        table: the part.
        rows: how many rows all parts have.
        params: settings.
        by: the score that they read.
        ranged: whether its range is asked for.
    """
    part = Part(table)
    seen = Seen(part.queries)
    if ranged:
        score = part.score(by)
        score = score[~np.isnan(score)]
        if len(score):
            seen = replace(seen, low=float(score.min()), high=float(score.max()))
    if params.percentile is not None:
        seen = replace(seen, known=positives_scores(table, by, params.transform))
    if params.difficulty:
        seen = replace(seen, margins=_margins(part, rows, params, by))
    if params.max_fn_rate is None:
        return seen
    groups = _groups(table, params)
    group = group_of(table, params, groups)
    places = {name: selection.depths(part, [name]) for name in schemas.searched_names(table.schema)}
    pool = _pool(part, rows, params, by, group) if params.bias_from else None
    return replace(
        seen,
        positives=_positives(part, params, by, places, group),
        above=_above(part, _teacher(table.schema, by), places),
        pool=pool,
        groups=groups,
    )


def _margins(part: Part, rows: int, params: FilterParams, by: str) -> np.ndarray:
    """``s - p`` of candidates: all, or of a table of many rows about a million, drawn by ids."""
    table = part.table
    score = part.score(by, params.transform)
    margin = score - part.positive_score(score, params.against)
    keep = ~part.positive & ~np.isnan(margin)
    if rows > _SAMPLE:
        draw = draws.draws(table.column("qid"), table.column("docid"), params.seed)
        keep &= draw < _SAMPLE / rows
    return margin[keep]


def _positives(
    part: Part,
    params: FilterParams,
    by: str,
    places: Mapping[str, np.ndarray],
    group: np.ndarray,
) -> Positives:
    rows = np.flatnonzero(part.positive)
    score, query = part.score(by, params.transform)[rows], part.query[rows]
    other = calibration.leave_one_out(score, query, params.against)
    return Positives(
        query=query,
        score=score,
        margin=score - other,
        usable=part.found[rows],
        group=group[rows],
        choosing=_choosing(part.table, params)[rows],
        depth={name: place[rows] for name, place in places.items()},
    )


def _pool(
    part: Part, rows: int, params: FilterParams, by: str, group: np.ndarray
) -> selection.Pool:
    """What the correction learns from: of a large table the rows of some queries."""
    qids = part.table.column("qid")
    score = part.score(by, params.transform)
    usable = part.found & ~np.isnan(score)
    labelled = np.bincount(part.query[usable & part.positive], minlength=part.queries) > 0
    usable &= labelled[part.query]
    if rows > _SAMPLE:
        usable &= draws.draws(qids, qids, params.seed + _POOL_DRAW) < _SAMPLE / rows
    pool = selection.Pool(
        query=part.query,
        score=score,
        depth=selection.depths(part, params.bias_from),
        positive=part.positive,
        judged=part.valid("grade") & ~part.positive,
        group=group,
    )
    return pool.take(usable)


def _above(
    part: Part, teacher: str | None, places: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Per source, how often unlabelled candidates that a teacher likes stand above a label."""
    if teacher is None:
        return {}
    score = part.score(teacher)
    usable = part.found & ~np.isnan(score)
    labelled = part.positive[usable]
    unlabelled = ~labelled & ~part.valid("grade")[usable]
    return {
        name: assumption.standing_above(
            part.query[usable], score[usable], depth[usable], labelled, unlabelled
        )
        for name, depth in places.items()
    }


def _teacher(schema: pa.Schema, by: str) -> str | None:
    """A score that is no source's ranking: that of the rules where it is one, else the last."""
    scorers = schemas.scorer_names(schema)
    return by if by in scorers else next(reversed(scorers), None)


def _choosing(table: pa.Table, params: FilterParams) -> np.ndarray:
    draw = draws.draws(table.column("qid"), table.column("qid"), params.seed)
    return draw < _CHOOSING


def _groups(table: pa.Table, params: FilterParams) -> tuple[str, ...]:
    if params.calibrate_by is None:
        return ("",)
    return tuple(sorted(_group_names(table, params.calibrate_by).unique().to_pylist()))


# --- of all of them ---------------------------------------------------------------------------


def _refuse_logits(found: Sequence[Seen], by: str, options: Mapping[str, str]) -> None:
    """Refuse options that mean nothing on logits.

    Raises:
        UsageError: the score has negative values, and values that are no cosine's.
    """
    low = min((one.low for one in found), default=np.inf)
    high = max((one.high for one in found), default=-np.inf)
    if not (low < 0 and (low < -1 - _ROUNDING or high > 1 + _ROUNDING)):
        return
    option, hint = next(iter(options.items()))
    raise UsageError(
        f"{option}: score '{by}' runs from {low:.3g} to {high:.3g}, so it is a logit: a "
        "percentage of it means nothing",
        hint=hint,
    )


def _bound(over: Over, found: Sequence[Seen], params: FilterParams, by: str) -> Bound:
    """Calibrate ``--max-fn-rate``.

    Raises:
        UsageError: there are too few positives for the level, in all or in a group.
        InvalidDataError: there is nothing.
    """
    alpha = params.max_fn_rate
    assert alpha is not None
    if not found:
        raise InvalidDataError("--max-fn-rate: there are no candidates to learn it from")
    groups = tuple(sorted({name for one in found for name in one.groups}))
    positives, pools, above = _together(found, groups)
    form: Form = "score"
    if params.bias_from:
        pool = selection.joined(pools)
        bound = selection.calibrate(pool, params.bias_from, alpha, groups, by)
        return _with_selection(bound, positives, above)
    if params.fn_form == "margin":
        form = "margin"
    elif params.fn_form == "auto" and params.calibrate_by is None:
        calibrating = calibration.values(positives.take(~positives.choosing), "margin")
        if len(np.unique(calibrating.query)) >= calibration.needed(alpha):
            form = _better_form(over, params, by, positives.take(positives.choosing), alpha)
            positives = positives.take(~positives.choosing)
    bound = calibration.calibrate(positives, form, alpha, groups, by)
    return _with_selection(bound, positives, above)


def _together(
    found: Sequence[Seen], groups: tuple[str, ...]
) -> tuple[Positives, list[selection.Pool], dict[str, list[np.ndarray]]]:
    """The known positives of all parts, their pools, and per source what stands above positives.

    Queries and groups are numbered through.
    """
    positives: list[Positives] = []
    pools: list[selection.Pool] = []
    above: dict[str, list[np.ndarray]] = {}
    queries = 0
    of_all = {name: place for place, name in enumerate(groups)}
    for one in found:
        number = np.array([of_all[name] for name in one.groups], dtype=np.int64)
        for name, shares in one.above.items():
            above.setdefault(name, []).append(shares)
        if (known := one.positives) is not None:
            group = number[known.group]
            positives.append(replace(known, query=known.query + queries, group=group))
        if (pool := one.pool) is not None:
            pools.append(replace(pool, query=pool.query + queries, group=number[pool.group]))
        queries += one.queries
    return calibration.joined(positives), pools, above


def _with_selection(
    bound: Bound, positives: Positives, above: Mapping[str, list[np.ndarray]]
) -> Bound:
    """The bound with what the data say of the assumption that labels are missing at random."""
    alpha = bound.facts["alpha"]
    usable = calibration.values(positives, bound.form)
    value = usable.score if bound.form == "score" else usable.margin
    passes = {
        name: assumption.passing(value, usable.query, depth, alpha)
        for name, depth in usable.depth.items()
    }
    several = int((np.unique(usable.query, return_counts=True)[1] > 1).sum())
    found = assumption.facts_of(alpha, above, passes, several)
    return replace(bound, facts={**bound.facts, "selection": found})


def _better_form(
    over: Over, params: FilterParams, by: str, positives: Positives, alpha: float
) -> Form:
    """The form that gives the choosing queries more negatives at their own quantile.

    No query counts for more than the negatives it wants: rows kept beyond that are of no use.
    """
    limits: dict[Form, float] = {}
    forms: tuple[Form, Form] = ("score", "margin")
    for form in forms:
        usable = calibration.values(positives, form)
        values = usable.score if form == "score" else usable.margin
        if len(values) == 0:
            return "score"
        limits[form] = float(np.quantile(values, alpha, method="lower"))
    found = over("form", partial(_kept, params=params, by=by, limits=limits))
    kept = {form: sum(one[form] for one in found) for form in forms}
    return "margin" if kept["margin"] > kept["score"] else "score"


def _kept(
    table: pa.Table, params: FilterParams, by: str, limits: Mapping[Form, float]
) -> dict[Form, int]:
    """Negatives that each form's limit gives the choosing queries of a part."""
    part = Part(table)
    score = part.score(by, params.transform)
    anchor = part.positive_score(score, params.against)
    asked = ~part.positive & _choosing(table, params) & ~np.isnan(anchor)
    kept: dict[Form, int] = {}
    for form, limit in limits.items():
        value = score if form == "score" else score - anchor
        count = np.bincount(part.query[asked & (value < limit)])
        kept[form] = int(np.minimum(count, params.num_negatives).sum())
    return kept


def group_of(table: pa.Table, params: FilterParams, groups: tuple[str, ...]) -> np.ndarray:
    """The number of each row's group, int64 [rows]."""
    if params.calibrate_by is None:
        return np.zeros(table.num_rows, dtype=np.int64)
    names = _group_names(table, params.calibrate_by)
    return pc.index_in(names, value_set=pa.array(groups)).to_numpy().astype(np.int64)


def _group_names(table: pa.Table, column: str) -> pa.Array:
    """A column's values as strings; ranks in powers of ten, since each alone is too rare."""
    values = table.column(column)
    if column.startswith("rank_"):
        rank = values.to_numpy().astype(np.float64)
        with np.errstate(invalid="ignore"):
            power = np.nan_to_num(np.ceil(np.log10(rank)), nan=-1.0).astype(np.int64)
        values = pa.chunked_array([pa.array(np.where(power < 0, -1, 10 ** np.maximum(power, 0)))])
        named = pc.binary_join_element_wise("up to ", values.cast(pa.string()), "")
        named = pc.if_else(pc.less(values, 0), "not retrieved", named)
    else:
        named = pc.fill_null(values.cast(pa.string()), "none")
    return named.combine_chunks() if isinstance(named, pa.ChunkedArray) else named
