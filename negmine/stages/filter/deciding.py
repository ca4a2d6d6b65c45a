"""What the rules and the sampler make of one part of the table; pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from negmine import rules
from negmine.dedup.copies import repeats
from negmine.learning import passes
from negmine.learning.fit import Fit
from negmine.params.filter import FilterParams
from negmine.rules import choice, labels
from negmine.rules.base import View
from negmine.rules.identity import BETWEEN, COPIES
from negmine.sampling import quotas as places
from negmine.sampling import samplers, weights
from negmine.stages import rank_only
from negmine.stages.filter import differing, earlier, quotas, relabelling, short_queries
from negmine.stages.filter.options import Columns, optional_columns
from negmine.stages.filter.relabelling import Flags, Relabelled, relabel
from negmine.table import draws, ranking
from negmine.table.names import FIRST_SCORE, P_PRIOR, P_RELEVANT, RELABELLED_BY, score_column
from negmine.table.part import UNRANKED, Part, positive_scores

#: Added to the seed where a draw must not be the sampler's.
_OTHER_DRAW = 1_000_003


@dataclass(frozen=True)
class Decided:
    """A part after the rules.

    Attributes:
        table: the part, with the labels that count.
        view: its arrays.
        reason: index of the rule that dropped each row, -1 = survived.
        names: the rules' names.
        hard: names of those that leave no way back.
        place: each survivor's place in its query's preference, 1 = first; 0 = dropped.
        by: what the sampler orders by.
        copies: number of each row's group of copies among its query's candidates, -1 = alone.
        kinds: the quotas that each row may fill, a bit each.
        relabelled: what became of the labels.
        weight: how much each row counts as a negative, NaN = not known; None where nothing asks.
    """

    table: pa.Table
    view: View
    reason: np.ndarray
    names: list[str]
    hard: list[str]
    place: np.ndarray
    by: np.ndarray
    copies: np.ndarray
    kinds: np.ndarray
    relabelled: Relabelled
    weight: np.ndarray | None = None


def decide(
    table: pa.Table, params: FilterParams, columns: Columns, fit: Fit, flags: Flags | None
) -> Decided:
    """Ask the rules, and order the survivors.

    Args:
        table: the part, with the learned score if the settings read it.
        params: settings, as :func:`~negmine.stages.filter.options.resolve` returns them.
        columns: the columns they read.
        fit: what was learned from the whole table.
        flags: what the guard says of the rows.
    """
    relabelled = relabel(table, params, columns, flags)
    table = relabelled.table
    groups = fit.bound.groups if fit.bound is not None else ("",)
    view = rules.view(
        table,
        params,
        columns.by,
        columns.rank_by,
        changed=relabelled.changed,
        flags=flags,
        group=passes.group_of(table, params, groups),
        fit=fit,
        unscored=columns.by in columns.unscored,
    )
    reason, active = rules.apply(view, params)
    names = [rule.name for rule in active]
    hard = [rule.name for rule in active if rule.hard]
    weight = _weight(table, view, params, fit)
    if weight is not None:
        reason[(reason < 0) & np.isnan(weight)] = len(names)
        reason[(reason < 0) & (weight == 0)] = len(names) + 1
        names += [choice.UNWEIGHTED.name, choice.WEIGHTLESS.name]
    same = columns.sample_by == columns.by
    if columns.sample_by in columns.unscored:
        order_by = rank_only.preference(table, columns.rank_by)
    else:
        order_by = view.score if same else Part(table).score(columns.sample_by)
    ordered = partial(_places, table, view, params, order_by, same)
    place = ordered(reason < 0)
    copies = np.full(len(reason), -1, dtype=np.int64)
    if params.repeated_texts:
        copies = view.flags.get(COPIES, copies)
        reason[repeats(copies, place)] = len(names)
        names.append(choice.REPEATED_TEXT.name)
        hard.append(choice.REPEATED_TEXT.name)
    if params.skip_survivors is not None:
        best = ranking.positions(view.query, order_by, view.docid, reason < 0)
        reason[(best > 0) & (best <= params.skip_survivors)] = len(names)
        names.append(choice.SKIP_SURVIVORS.name)
    if ((place > 0) & (reason >= 0)).any():
        place = ordered(reason < 0)
    if choice.REPEATED_CLUSTER.active(params):
        again = repeats(differing.in_query(table, params, view.query), place)
        reason[again], place = len(names), np.where(again, 0, place)
        names.append(choice.REPEATED_CLUSTER.name)
        hard.append(choice.REPEATED_CLUSTER.name)
    kinds = quotas.kinds(table, params)
    return Decided(
        table, view, reason, names, hard, place, order_by, copies, kinds, relabelled, weight
    )


def _places(
    table: pa.Table,
    view: View,
    params: FilterParams,
    order_by: np.ndarray,
    same: bool,
    survivors: np.ndarray,
) -> np.ndarray:
    """Each survivor's place in its query's preference, 1 = first; 0 for the others."""
    preference = _preference(table, view, params, order_by, survivors, same)
    place = ranking.positions(view.query, preference, view.docid, survivors)
    if params.prefer_given:
        place = _first(view.brought, place, view, survivors)
    if params.prefer_judged:
        # A judged low grade is a true negative: it goes before all that nobody looked at.
        between = view.flags.get(BETWEEN, np.zeros(table.num_rows, dtype=bool))
        judged = table.column("grade").is_valid().to_numpy() & ~between
        place = _first(judged, place, view, survivors)
    if params.replace_solved is not None:
        place = earlier.kept_first(place, view, survivors)
    return place


def preferred(
    table: pa.Table,
    view: View,
    params: FilterParams,
    order_by: np.ndarray,
    survivors: np.ndarray,
) -> np.ndarray:
    """The places in which rows would be taken if all of these survived; 0 for the others.

    Args:
        table: the part.
        view: its arrays.
        params: settings, of a sampler that does not compare with the positive.
        order_by: what the sampler orders by, float64 [rows].
        survivors: bool [rows].
    """
    return _places(table, view, params, order_by, False, survivors)


def _first(some: np.ndarray, place: np.ndarray, view: View, survivors: np.ndarray) -> np.ndarray:
    """The places with some rows before all others, each in their order."""
    preference = np.where(some, float(len(place)), 0.0) - place
    return ranking.positions(view.query, preference, view.docid, survivors)


def _preference(
    table: pa.Table,
    view: View,
    params: FilterParams,
    order_by: np.ndarray,
    survivors: np.ndarray,
    same: bool,
) -> np.ndarray:
    """The sampler's order, greatest first."""

    def positive() -> np.ndarray:
        if same:
            return view.positive_score
        of_query = positive_scores(order_by, view.compared, view.starts, params.against)
        return of_query[view.query]

    def draw() -> np.ndarray:
        return draws.draws(table.column("qid"), table.column("docid"), params.seed)

    seen = samplers.Survivors(
        view.query,
        survivors,
        order_by,
        view.rank,
        view.docid,
        positive,
        draw,
        differing.cosine(table, params),
    )
    return samplers.sampler(params.sampler).preference(seen, params)


def judge(
    table: pa.Table,
    params: FilterParams,
    columns: Columns,
    *,
    fit: Fit | None = None,
    flags: Flags | None = None,
) -> tuple[pa.Table, dict[str, int]]:
    """Add the ledger's columns to one part; a pure function of its arguments.

    Args:
        table: the part.
        params: settings, as :func:`~negmine.stages.filter.options.resolve` returns them.
        columns: the columns they read.
        fit: what was learned from the whole table; by default from this part.
        flags: what the guard says of the rows; by default nothing.
    """
    if fit is None:
        fit = rules.fit(passes.of_tables([table]), table.num_rows, params, columns.by)
    decided = decide(with_learned(table, fit), params, columns, fit, flags)
    table, view, reason, names = decided.table, decided.view, decided.reason, decided.names
    place = decided.place
    if params.max_reuse is not None and fit.reuse is not None:
        digests = draws.digests(table.column("docid").combine_chunks())
        at, counted = ranking.find(fit.reuse.docs, digests)
        if counted.any():
            crowded = counted & (claims(table, params) >= fit.reuse.cutoff[at])
            reason[(reason < 0) & crowded] = len(names)
        names.append(choice.MAX_REUSE.name)
        place = ranking.positions(view.query, -place.astype(np.float64), view.docid, reason < 0)
    taken = _choose(decided, params, place)
    dropped_by = pa.DictionaryArray.from_arrays(
        pa.array(reason, mask=reason < 0), pa.array(names, pa.string())
    ).cast(pa.string())
    selected = taken.selected
    table = table.append_column("dropped_by", dropped_by)
    table = table.append_column("selected", pa.array(selected, mask=selected == 0))
    for name in optional_columns(params):
        table = table.append_column(name, _optional(name, decided, taken, params, columns, fit))
    stats = _stats(view, reason, names, taken, params) | decided.relabelled.stats
    return table, stats | quotas.count(taken.quota, selected > 0, len(view.starts), params)


@dataclass(frozen=True)
class _Taken:
    """The negatives of a part, all of them [rows].

    Attributes:
        selected: their numbers 1, 2, ... in their query, 0 for other rows.
        filled: True for those of ``--fill-beyond``.
        quota: which quota each fills, -1 = none.
    """

    selected: np.ndarray
    filled: np.ndarray
    quota: np.ndarray


def _choose(decided: Decided, params: FilterParams, place: np.ndarray) -> _Taken:
    """Take the first survivors by their places; what fills up is no longer dropped."""
    view, wanted = decided.view, quotas.wanted(params)
    chosen = places.chosen(view.query, place, decided.kinds, wanted)
    quota = quotas.filled(view.query, place, decided.kinds, chosen, wanted)
    filled = np.zeros(len(chosen), dtype=bool)
    if params.fill_beyond is not None:
        filled = _fill(decided, params, chosen)
        decided.reason[filled] = -1
        chosen |= filled
    selected = _numbered(decided, params, place, chosen)
    if params.replace_solved is not None:
        selected = earlier.in_their_places(view, selected)
    return _Taken(selected, filled, quota)


def _numbered(
    decided: Decided, params: FilterParams, place: np.ndarray, chosen: np.ndarray
) -> np.ndarray:
    """The numbers 1, 2, ... of each query's chosen rows, 0 for the others, int32 [rows]."""
    if _walks_by_score(params):
        return np.where(chosen, place, 0).astype(np.int32)
    view, order = decided.view, decided.by
    if params.order == "easy-first":
        order = -order
    elif samplers.sampler(params.sampler).ranks:
        # As sampled: the order of the walk is its point.
        order = -view.rank.astype(np.float64)
    return ranking.numbered(view.query, order, view.docid, chosen)


def _optional(
    name: str, decided: Decided, taken: _Taken, params: FilterParams, columns: Columns, fit: Fit
) -> pa.Array:
    """One of the columns that only some settings write."""
    view = decided.view
    if name == "filled":
        return pa.array(taken.filled)
    if name == "quota":
        return quotas.named(taken.quota, params)
    if name == RELABELLED_BY:
        return relabelling.column(decided.relabelled, params)
    if name == FIRST_SCORE:
        return _floats(earlier.first_score(decided.table, columns.by, params, taken.selected))
    if name == "weight":
        return _floats(decided.weight)
    if name == "tau_plus":
        return _floats(np.full(len(view.query), params.tau_plus, dtype=np.float64))
    margin = np.where(view.positive, np.nan, view.score - view.positive_score)
    return _floats(weights.difficulty(margin, fit.margins))


def _walks_by_score(params: FilterParams) -> bool:
    """Whether the order in which rows were chosen is the order in which they are numbered."""
    return (
        samplers.sampler(params.sampler).falling
        and params.order == "hard-first"
        and not (params.prefer_judged or params.prefer_given or params.replace_solved)
        and params.fill_beyond is None
        and not params.quota
    )


def _fill(decided: Decided, params: FilterParams, chosen: np.ndarray) -> np.ndarray:
    """Rows that make up for missing negatives: beyond a rank, at random, of no checked score.

    RocketQA fills labelled queries only, from ranks below the 50 that it looked at.
    """
    assert params.fill_beyond is not None
    table, view = decided.table, decided.view
    beyond = (view.rank > params.fill_beyond) & (view.rank < UNRANKED)
    out = [number for number, name in enumerate(decided.names) if name in decided.hard]
    labelled = np.zeros(len(view.starts), dtype=bool)
    labelled[view.query[view.positive & ~view.promoted]] = True
    usable = beyond & ~chosen & ~np.isin(decided.reason, out) & labelled[view.query]
    if decided.weight is not None:
        # Another rule may have dropped it before its weight did.
        usable &= decided.weight != 0
    draw = draws.draws(table.column("qid"), table.column("docid"), params.seed)
    # A copy of what is chosen is none, and of copies the first is one.
    taken = np.isin(decided.copies, decided.copies[chosen]) & (decided.copies >= 0)
    place = ranking.positions(view.query, -draw, view.docid, usable & ~taken)
    once = (place > 0) & ~repeats(decided.copies, place)
    place = ranking.positions(view.query, -draw, view.docid, once)
    missing = params.num_negatives - np.bincount(view.query[chosen], minlength=len(view.starts))
    return (place > 0) & (place <= missing[view.query])


def _weight(table: pa.Table, view: View, params: FilterParams, fit: Fit) -> np.ndarray | None:
    """How much each row counts as a negative, NaN = not known; None where nothing asks."""
    method = weights.weight(params.weight)
    if method is None:
        return None
    part = Part(table)

    def judged() -> np.ndarray:
        assert fit.relevance is not None
        return fit.relevance.exposure(table)

    numbers = weights.Numbers(part.score, lambda: part.score(P_RELEVANT), judged)
    return np.where(view.positive, np.nan, method.weigh(numbers, params))


def _floats(values: np.ndarray | None) -> pa.Array:
    assert values is not None
    return pa.array(values.astype(np.float32), mask=np.isnan(values))


def _stats(
    view: View,
    reason: np.ndarray,
    names: list[str],
    taken: _Taken,
    params: FilterParams,
) -> dict[str, int]:
    selected = taken.selected
    chosen_per_query = np.bincount(view.query[selected > 0], minlength=len(view.starts))
    unknown = np.isnan(view.positive_score[view.starts])
    for gone in (labels.GIVEN_UP, labels.GIVEN_UP_POSITIVE):
        unknown[view.query[view.changed.get(gone, np.zeros(len(reason), dtype=bool))]] = False
    stats = {
        "candidates": len(reason),
        "survivors": int((reason < 0).sum()),
        "selected": int((selected > 0).sum()),
        "queries": len(view.starts),
        "queries_without_positive_score": int(unknown.sum()),
        "queries_short": int((chosen_per_query < params.num_negatives).sum()),
        "queries_with_none": int((chosen_per_query == 0).sum()),
    }
    if params.keep_unscored is not None:
        stats["kept_unscored"] = int((np.isnan(view.score) & (reason < 0) & ~view.positive).sum())
    if params.fill_beyond is not None:
        stats["filled"] = int(taken.filled.sum())
    if params.replace_solved is not None:
        stats |= earlier.stats(view, selected)
    for number, name in enumerate(names):
        stats[f"dropped.{name}"] = int((reason == number).sum())
    known = rules.named("positives")
    asked = params.num_negatives
    return stats | short_queries.count(view.query, reason, names, known, chosen_per_query, asked)


def with_learned(table: pa.Table, fit: Fit) -> pa.Table:
    """The part with the learned scores, where any were learned."""
    for name, model in ((P_RELEVANT, fit.relevance), (P_PRIOR, fit.prior)):
        column = score_column(name)
        if model is not None and column not in table.schema.names:
            table = table.append_column(column, model.predict(table))
    return table


def claims(table: pa.Table, params: FilterParams) -> np.ndarray:
    """Whom a document prefers when too many queries want it: the smallest."""
    return draws.draws(table.column("qid"), table.column("docid"), params.seed + _OTHER_DRAW)
