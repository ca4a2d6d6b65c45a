"""Passes over the whole table that learn what its parts are judged with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.errors import InvalidDataError, UsageError
from negmine.learning import assumption, calibration, selection
from negmine.learning.calibration import Bound, Form, Positives
from negmine.learning.fit import Fit
from negmine.params.filter import FilterParams
from negmine.table import draws, schemas
from negmine.table.part import Part, known_scores

#: The table's parts, once more from the start at every call.
Tables = Callable[[], Iterable[pa.Table]]

#: Margins kept to tell quantiles from, about.
_SAMPLE = 1_000_000
#: Added to the seed, so that it is another draw than the sampler's.
_POOL_DRAW = 5_000_011
#: Share of queries that choose the form of the bound and do not calibrate it.
_CHOOSING = 0.2
#: Cosines may exceed 1 by rounding.
_ROUNDING = 1e-3


def fit(tables: Tables, params: FilterParams, by: str) -> Fit:
    """All that the settings need to know of the table, except what depends on other fits.

    Raises:
        UsageError: the settings do not suit the scores, or there are too few positives.
    """
    known = np.empty(0)
    if params.percentile is not None:
        known = known_scores(tables(), by, params.transform)
        if len(known) == 0:
            raise InvalidDataError(f"--percentile: no positive has a score '{by}'")
    margins = _margins(tables, params, by) if params.difficulty else np.empty(0)
    bound = fit_bound(tables, params, by) if params.max_fn_rate is not None else None
    return Fit(positive_scores=known, margins=margins, bound=bound)


def refuse_logits(tables: Tables, by: str, option: str, hint: str) -> None:
    """Refuse an option that means nothing on logits, whose zero is arbitrary.

    Args:
        tables: the table's parts.
        by: the score that it reads.
        option: what asks for it.
        hint: what to do instead.

    Raises:
        UsageError: the score has negative values, and values that are no cosine's.
    """
    low, high = np.inf, -np.inf
    for table in tables():
        score = Part(table).score(by)
        score = score[~np.isnan(score)]
        if len(score):
            low, high = min(low, float(score.min())), max(high, float(score.max()))
    if low < 0 and (low < -1 - _ROUNDING or high > 1 + _ROUNDING):
        raise UsageError(
            f"{option}: score '{by}' runs from {low:.3g} to {high:.3g}, so it is a logit: a "
            "percentage of it means nothing",
            hint=hint,
        )


def _margins(tables: Tables, params: FilterParams, by: str) -> np.ndarray:
    """Sorted ``s - p`` of candidates: all, or a random million, the same in any division."""
    rows = sum(table.num_rows for table in tables())
    found = [np.empty(0)]
    for table in tables():
        part = Part(table)
        score = part.score(by, params.transform)
        margin = score - part.positive_score(score, params.against)
        keep = ~part.positive & ~np.isnan(margin)
        if rows > _SAMPLE:
            draw = draws.draws(table.column("qid"), table.column("docid"), params.seed)
            keep &= draw < _SAMPLE / rows
        found.append(margin[keep])
    return np.sort(np.concatenate(found))


def fit_bound(tables: Tables, params: FilterParams, by: str) -> Bound:
    """Calibrate ``--max-fn-rate``.

    Raises:
        UsageError: there are too few positives for the level, in all or in a group.
    """
    alpha = params.max_fn_rate
    assert alpha is not None
    groups = _groups(tables, params)
    positives, above = _positives(tables, params, by, groups)
    form: Form = "score"
    if params.bias_from:
        pool = _pool(tables, params, by, groups)
        bound = selection.calibrate(pool, params.bias_from, alpha, groups, by)
        return _with_selection(bound, positives, above)
    if params.fn_form == "margin":
        form = "margin"
    elif params.fn_form == "auto" and params.calibrate_by is None:
        calibrating = calibration.values(positives.take(~positives.choosing), "margin")
        if len(np.unique(calibrating.query)) >= calibration.needed(alpha):
            form = _better_form(tables, params, by, positives.take(positives.choosing), alpha)
            positives = positives.take(~positives.choosing)
    bound = calibration.calibrate(positives, form, alpha, groups, by)
    return _with_selection(bound, positives, above)


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


def _pool(tables: Tables, params: FilterParams, by: str, groups: tuple[str, ...]) -> selection.Pool:
    """What the correction learns from: of a large table the rows of some queries."""
    rows = sum(table.num_rows for table in tables())
    pools: list[selection.Pool] = []
    queries = 0
    for table in tables():
        part = Part(table)
        score = part.score(by, params.transform)
        usable = part.found & ~np.isnan(score)
        labelled = np.bincount(part.query[usable & part.positive], minlength=part.queries) > 0
        usable &= labelled[part.query]
        if rows > _SAMPLE:
            draw = draws.draws(table.column("qid"), table.column("qid"), params.seed + _POOL_DRAW)
            usable &= draw < _SAMPLE / rows
        pool = selection.Pool(
            query=part.query + queries,
            score=score,
            depth=selection.depths(part, params.bias_from),
            positive=part.positive,
            judged=part.valid("grade") & ~part.positive,
            group=group_of(table, params, groups),
        )
        pools.append(pool.take(usable))
        queries += part.queries
    return selection.joined(pools)


def _above(
    table: pa.Table, teacher: str | None, places: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Per source, how often unlabelled candidates that a teacher likes stand above a label."""
    if teacher is None:
        return {}
    part = Part(table)
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


def _better_form(
    tables: Tables, params: FilterParams, by: str, positives: Positives, alpha: float
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
    kept: dict[Form, int] = {"score": 0, "margin": 0}
    for table in tables():
        part = Part(table)
        score = part.score(by, params.transform)
        anchor = part.positive_score(score, params.against)
        asked = ~part.positive & _choosing(table, params) & ~np.isnan(anchor)
        for form in forms:
            value = score if form == "score" else score - anchor
            count = np.bincount(part.query[asked & (value < limits[form])])
            kept[form] += int(np.minimum(count, params.num_negatives).sum())
    return "margin" if kept["margin"] > kept["score"] else "score"


def _choosing(table: pa.Table, params: FilterParams) -> np.ndarray:
    draw = draws.draws(table.column("qid"), table.column("qid"), params.seed)
    return draw < _CHOOSING


def _positives(
    tables: Tables, params: FilterParams, by: str, groups: tuple[str, ...]
) -> tuple[Positives, dict[str, list[np.ndarray]]]:
    """The known positives, and per source what stands above them (see :func:`_above`)."""
    found: list[Positives] = []
    above: dict[str, list[np.ndarray]] = {}
    queries = 0
    for table in tables():
        part = Part(table)
        places = {
            name: selection.depths(part, [name]) for name in schemas.searched_names(table.schema)
        }
        for name, shares in _above(table, _teacher(table.schema, by), places).items():
            above.setdefault(name, []).append(shares)
        rows = np.flatnonzero(part.positive)
        score, query = part.score(by, params.transform)[rows], part.query[rows]
        other = calibration.leave_one_out(score, query, params.against)
        found.append(
            Positives(
                query=query + queries,
                score=score,
                margin=score - other,
                usable=part.found[rows],
                group=group_of(table, params, groups)[rows],
                choosing=_choosing(table, params)[rows],
                depth={name: place[rows] for name, place in places.items()},
            )
        )
        queries += part.queries
    return calibration.joined(found), above


def _groups(tables: Tables, params: FilterParams) -> tuple[str, ...]:
    if params.calibrate_by is None:
        return ("",)
    names: set[str] = set()
    for table in tables():
        names.update(_group_names(table, params.calibrate_by).unique().to_pylist())
    return tuple(sorted(names))


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
