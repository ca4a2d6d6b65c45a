"""Labels that the filter changes: candidates become positives, positives are none, queries go.

RLHN (arXiv 2505.16967) makes positives of what a judge calls relevant among the negatives, ARHN
(arXiv 2604.11092) of what answers better than the positive; RocketQA (arXiv 2010.08191) gives
queries without positives their best candidate. All of it happens here, before the rules.

All conditions are asked of the labels as they came: in which order they are given changes nothing,
and no promotion moves the limit of another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.dedup.copies import repeats
from negmine.params.filter import FilterParams
from negmine.rules import labels
from negmine.rules.identity import BARRED, CONTENT, KNOWN_COPIES
from negmine.stages.filter import label_conditions
from negmine.stages.filter.options import Columns
from negmine.table import conditions, ranking
from negmine.table.conditions import Condition
from negmine.table.names import RELABELLED_BY
from negmine.table.part import UNRANKED, Part

#: What the guard says of a part's rows: a mask per rule, and numbers under some names.
Flags = Mapping[str, np.ndarray]

#: Counts of rows that a condition took, by the option; of queries, where it gives these up. Rows of
#: queries that are given up count, too.
COUNTS = "relabelled."
#: Counts of queries: given up; of those that are not, without any known positive that is left, and
#: of these with a promoted one.
GIVEN_UP, BARE, REPLACED = "queries_given_up", "queries_all_demoted", "queries_replaced"
#: Candidates that ``--promote`` did not take: judged not relevant, or the guard's.
JUDGED, GUARDED = "promotable_judged", "promotable_guarded"


@dataclass(frozen=True)
class Relabelled:
    """A part with the labels that count.

    Attributes:
        table: the part: positives are what is left of the known ones, and the filter's own.
        changed: by the word in ``dropped_by``, the rows that it will stand at, bool [rows].
        by: which of :func:`label_conditions.options_of` changed each row, -1 = none, int64 [rows].
        stats: counts that add up over parts.
    """

    table: pa.Table
    changed: Flags = field(default_factory=dict)
    by: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    stats: dict[str, int] = field(default_factory=dict)

    @property
    def guarded(self) -> pa.Table:
        """The part with all as positives that is one, or was: copies of these are no negatives."""
        was = labels.rows_of(self.changed, (labels.DEMOTED, labels.GIVEN_UP_POSITIVE))
        if was is None:
            return self.table
        part = Part(self.table)
        return part.relabelled(part.positive | was).table

    @property
    def compared(self) -> pa.Table:
        """The part with those as positives that limits compare with."""
        part = Part(self.table)
        own = labels.rows_of(self.changed, labels.PROMOTED)
        if own is None:
            return self.table
        return part.relabelled(labels.compared(part.positive, own, part.query)).table


# --- a part -----------------------------------------------------------------------------------


def unchanged(table: pa.Table) -> Relabelled:
    """A part with the labels that it came with."""
    return Relabelled(table)


def relabel(
    table: pa.Table, params: FilterParams, columns: Columns, flags: Flags | None = None
) -> Relabelled:
    """Give a part the labels that count; a pure function of its arguments.

    Args:
        table: the part, labels as they came.
        params: settings.
        columns: the columns they read.
        flags: what the guard says of the rows before labels change.
    """
    if not label_conditions.active(params) and params.pseudo_positive is None:
        return unchanged(table)
    part, flags = Part(table), flags or {}
    by = np.full(len(part), -1, dtype=np.int64)
    changed: dict[str, np.ndarray] = {}
    stats: dict[str, int] = {}
    if label_conditions.active(params):
        by, changed, stats = _by_conditions(part, params, flags)
    if params.pseudo_positive is not None:
        pseudo = _pseudo(part, params, columns, flags, changed)
        by[pseudo] = len(label_conditions.options_of(params)) - 1
        changed[labels.PSEUDO] = pseudo
    label = part.positive.copy()
    for names, value in ((labels.PROMOTED, True), (labels.NO_MORE, False)):
        rows = labels.rows_of(changed, names)
        if rows is not None:
            label[rows] = value
    return Relabelled(part.relabelled(label).table, changed, by, stats)


def _by_conditions(
    part: Part, params: FilterParams, flags: Flags
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, int]]:
    """(which option changed each row, the rows by word, counts)."""
    was = part.positive
    promote, demote = label_conditions.promote(params), label_conditions.demote(params)
    hit = _first(part, promote, params.against, ~was)
    stats = {} if not promote else _refused(part, params, flags, hit)
    promoted = (hit >= 0) & ~_barred(part, params, flags)
    promoted &= ~_copies(part, promoted, flags)
    low = _first(part, demote, params.against, was)
    demoted = low >= 0
    gone = _given_up(part, params, promoted, demoted)
    gone = np.where(gone >= 0, gone + len(promote) + len(demote), -1)
    given_up = (gone >= 0)[part.query]
    by = np.where(promoted, hit, np.where(demoted, low + len(promote), -1))
    options = label_conditions.options_of(params)
    fulfilled = np.concatenate([by[by >= 0], gone[gone >= 0]])
    times = np.bincount(fulfilled, minlength=len(options))
    stats |= {f"{COUNTS}{option}": int(n) for option, n in zip(options, times, strict=True)}
    by = np.where(given_up, gone[part.query], by)
    promoted, demoted = promoted & ~given_up, demoted & ~given_up
    changed = {
        labels.BY_CONDITION: promoted,
        labels.DEMOTED: demoted,
        labels.GIVEN_UP_POSITIVE: given_up & was,
        labels.GIVEN_UP: given_up & ~was,
    }

    def any_of(mask: np.ndarray) -> np.ndarray:
        return np.bincount(part.query[mask], minlength=part.queries) > 0

    bare = any_of(demoted) & ~any_of(was & ~demoted)
    stats |= {
        GIVEN_UP: int((gone >= 0).sum()),
        BARE: int(bare.sum()),
        REPLACED: int((bare & any_of(promoted)).sum()),
    }
    return by, changed, stats


def _first(part: Part, some: Sequence[Condition], against: str, rows: np.ndarray) -> np.ndarray:
    """The first condition that holds for each of some rows, -1 = none, int64 [rows]."""
    found = np.full(len(part), -1, dtype=np.int64)
    for number, condition in enumerate(some):
        found[rows & (found < 0) & conditions.holds(condition, part, against)] = number
    return found


def _barred(part: Part, params: FilterParams, flags: Flags) -> np.ndarray:
    """Rows that ``--promote`` may not take whatever their scores."""
    barred = _of_guard(part, flags)
    return barred if params.promote_judged else barred | part.valid("grade")


def _of_guard(part: Part, flags: Flags) -> np.ndarray:
    none = np.zeros(len(part), dtype=bool)
    return np.asarray(flags.get(BARRED, none) | flags.get(KNOWN_COPIES, none), dtype=bool)


def _refused(part: Part, params: FilterParams, flags: Flags, hit: np.ndarray) -> dict[str, int]:
    """How many rows fulfil a condition of ``--promote`` and are not taken."""
    guarded = (hit >= 0) & _of_guard(part, flags)
    judged = (hit >= 0) & ~guarded & part.valid("grade") & (not params.promote_judged)
    return {GUARDED: int(guarded.sum()), JUDGED: int(judged.sum())}


def _copies(part: Part, promoted: np.ndarray, flags: Flags) -> np.ndarray:
    """Of promoted rows of one text all but the best-ranked; the guard drops them as its copies."""
    if CONTENT not in flags:
        return np.zeros(len(part), dtype=bool)
    rank = -part.best_rank.astype(np.float64)
    place = ranking.positions(part.query, rank, part.docid, promoted)
    pairs = np.stack([part.query.astype(np.uint64), flags[CONTENT]])
    group = np.unique(pairs, axis=1, return_inverse=True)[1].reshape(-1)
    return repeats(np.where(promoted, group, -1), place)


def _given_up(
    part: Part, params: FilterParams, promoted: np.ndarray, demoted: np.ndarray
) -> np.ndarray:
    """The first condition of ``--drop-query`` that holds for each query, -1 = none."""
    asked = label_conditions.drop_query(params)
    if not asked:
        return np.full(part.queries, -1, dtype=np.int64)

    def count(mask: np.ndarray) -> np.ndarray:
        return np.bincount(part.query[mask], minlength=part.queries)

    told: dict[str, object] = {
        "qid": part.qids,
        "promoted": count(promoted),
        "demoted": count(demoted),
        label_conditions.LEFT: count(part.positive & ~demoted),
    }
    for column in {one.column for condition in asked for one in condition} - set(told):
        score = part.score(column.removeprefix(label_conditions.OF_POSITIVES))
        value = part.positive_score(score, params.against)[part.starts]
        told[column] = pa.array(value, mask=np.isnan(value))
    queries = Part(pa.table(told))
    return _first(queries, asked, params.against, np.ones(len(queries), dtype=bool))


def _pseudo(
    part: Part, params: FilterParams, columns: Columns, flags: Flags, changed: Flags
) -> np.ndarray:
    """The best candidate of each query without positives, if it scores high enough.

    RocketQA (arXiv 2010.08191) does so for unlabelled queries only: the best of the top 50
    (``--range-max``) where the teacher says more than 0.9.
    """
    assert params.pseudo_positive is not None
    none = np.zeros(len(part), dtype=bool)
    no_more = labels.rows_of(changed, (*labels.NO_MORE, labels.GIVEN_UP))
    no_more = none if no_more is None else no_more
    positive = (part.positive & ~no_more) | changed.get(labels.BY_CONDITION, none)
    labelled = np.zeros(part.queries, dtype=bool)
    labelled[part.query[positive]] = True
    # Where a query has no positive, what was judged was judged not to be one.
    barred = flags.get(BARRED, none) | part.valid("grade") | no_more
    score = part.score(columns.by, params.transform)
    rank = part.rank(columns.rank_by)
    near = rank <= params.range_max if params.range_max is not None else rank < UNRANKED
    eligible = ~labelled[part.query] & near & ~barred & ~np.isnan(score)
    place = ranking.positions(part.query, score, part.docid, eligible)
    return np.asarray((place == 1) & (score > params.pseudo_positive), dtype=bool)


# --- told -------------------------------------------------------------------------------------


def column(relabelled: Relabelled, params: FilterParams) -> pa.Array:
    """Of each row the option that changed its label; null where none did."""
    by = relabelled.by
    codes = pa.array(by.astype(np.int32), mask=by < 0)
    options = pa.array(label_conditions.options_of(params), pa.string())
    return pa.DictionaryArray.from_arrays(codes, options).cast(pa.string())


@dataclass(frozen=True)
class Compared:
    """A comparison that a row fulfilled when its label changed.

    Attributes:
        column: what was compared.
        value: the row's.
        sign: how it compares with the limit.
        limit: a number, or a text.
    """

    column: str
    value: float | str | None
    sign: str
    limit: float | str | None


def compared(table: pa.Table, params: FilterParams) -> dict[int, list[Compared]]:
    """By row of a ledger that a condition promoted or demoted, what was compared with what."""
    if RELABELLED_BY not in table.schema.names:
        return {}
    part, was = Part(table), labels.known_in(table)
    every = [*label_conditions.promote(params), *label_conditions.demote(params)]
    changed = table.column(RELABELLED_BY)
    found: dict[int, list[Compared]] = {}
    for option, condition in zip(label_conditions.options_of(params), every, strict=False):
        rows = np.flatnonzero(pc.fill_null(pc.equal(changed, option), False).to_numpy())
        if len(rows):
            told = [_compared(one, part, params.against, was, rows) for one in condition]
            found |= dict(zip(rows.tolist(), map(list, zip(*told, strict=True)), strict=True))
    return found


def _compared(
    one: conditions.Comparison, part: Part, against: str, was: np.ndarray, rows: np.ndarray
) -> list[Compared]:
    """A comparison of each of some rows."""
    if isinstance(one.value, str):
        texts = part.table.column(one.column).take(pa.array(rows)).to_pylist()
        return [Compared(one.column, str(text), one.sign, one.value) for text in texts]
    values, limit = conditions.compared(one, part, against, was)
    both = zip(values[rows].tolist(), limit[rows].tolist(), strict=True)
    return [Compared(one.column, value, one.sign, other) for value, other in both]


def warnings(counts: Mapping[str, object], params: FilterParams) -> list[str]:
    """What is to be known of the labels that changed, and of those that did not.

    Args:
        counts: the ledger's.
        params: settings.
    """
    if not label_conditions.active(params):
        return []
    changed = counts.get(COUNTS.rstrip("."), {})
    assert isinstance(changed, dict)
    asked = ("--promote", "--demote")
    given = [one for one in label_conditions.options_of(params) if one.startswith(asked)]
    told = [f"{one}: fulfilled by none" for one in given if not changed.get(one)]
    numbers = {name: int(str(counts.get(name, 0))) for name in (BARE, REPLACED, JUDGED)}
    if numbers[BARE]:
        rest = numbers[BARE] - numbers[REPLACED]
        told.append(
            f"{numbers[BARE]} queries lost all their known positives to --demote: "
            f"{numbers[REPLACED]} have promoted ones, {rest} have none and give no example "
            "(--drop-query 'positives = 0' gives all of them up)"
        )
    if numbers[JUDGED]:
        told.append(
            f"{numbers[JUDGED]} candidates fulfil --promote and were judged not relevant, so they "
            "are not promoted (--promote-judged takes them, too)"
        )
    return told
