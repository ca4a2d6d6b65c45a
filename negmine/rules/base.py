"""What a rule sees, and what a rule is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from negmine.learning.fit import Fit
from negmine.params.filter import FilterParams
from negmine.rules import labels
from negmine.table import conditions, ranking
from negmine.table.names import rank_column
from negmine.table.part import UNRANKED, Part, positive_scores
from negmine.table.schemas import source_names

#: The place of a negative that a training set brought along.
GIVEN = rank_column("given")


@dataclass(frozen=True)
class View:
    """A part of the scored table as aligned arrays, one entry per row.

    Attributes:
        query: number of the row's query within the part, 0, 1, 2, ... in table order.
        starts: first row of each query.
        positive: True for positives: what is left of the known ones, and the filter's own.
        promoted: True for the positives that the filter itself made.
        compared: True for the positives that limits compare with: known ones, and the filter's own
            of a query that has none.
        score: the score that rules read; NaN where the scorer did not see the row.
        positive_score: the score of the row's query's positives (their minimum, mean or
            maximum); NaN where the query has no positive, or a positive without a score.
        rank: retrieval rank, 1 = best; int32's maximum where no source retrieved the row.
        docid: codes that compare as the docids do, indexed by row numbers.
        guide: the guide's score; NaN where it did not see the row or there is none.
        positive_guide: the guide's score of the query's positives, like ``positive_score``.
        flags: per rule, rows about which texts, vectors or other parts have something to say.
        group: the row's group in the calibration.
        fit: what was learned from the whole table.
        unscored: no row of the whole table has a score, so that none is dropped for want of it.
        cleared: rows that need no score, as another column says of them (``--keep-unscored``).
        ranks: by source its retrieval rank of every row, like ``rank``; of no source where no
            setting asks.
        brought: True for negatives that a training set or an earlier round brought along, where
            these come first: windows over the ranking are for what was mined.
        earlier: the place that the row had as a negative of an earlier round, where
            ``--replace-solved`` asks for it; int32's maximum where it was none.
        first: the score that it was chosen with then, as ``score`` is; NaN where there is none.
        scores: further scores by name, like ``score``; of no name where no setting asks.
        positive_scores: the same of the query's positives, like ``positive_score``.
        changed: by the word in ``dropped_by``, rows whose label the filter changed.
    """

    query: np.ndarray
    starts: np.ndarray
    positive: np.ndarray
    promoted: np.ndarray
    compared: np.ndarray
    score: np.ndarray
    positive_score: np.ndarray
    rank: np.ndarray
    docid: np.ndarray | ranking.Codes
    guide: np.ndarray
    positive_guide: np.ndarray
    flags: Mapping[str, np.ndarray]
    group: np.ndarray
    fit: Fit = field(default_factory=Fit)
    unscored: bool = False
    cleared: np.ndarray = field(default_factory=lambda: np.zeros(1, dtype=bool))
    brought: np.ndarray = field(default_factory=lambda: np.zeros(1, dtype=bool))
    ranks: Mapping[str, np.ndarray] = field(default_factory=dict)
    earlier: np.ndarray = field(default_factory=lambda: np.full(1, UNRANKED))
    first: np.ndarray = field(default_factory=lambda: np.full(1, np.nan))
    scores: Mapping[str, np.ndarray] = field(default_factory=dict)
    positive_scores: Mapping[str, np.ndarray] = field(default_factory=dict)
    changed: labels.Changed = field(default_factory=dict)


Condition = Callable[[FilterParams], bool]
#: An option as it is told, and the parameters that it changes.
Way = tuple[str, dict[str, Any]]
#: What the numbers of a border are numbers of: the score that rules read, the guide's score, the
#: score of the query's best positive, a retrieval rank, or a place among the non-positives.
Unit = Literal["score", "guide", "positive", "rank", "place"]

#: What a rule's rows are: candidates that it judged, those that had nothing to be judged by, or
#: positives.
Rows = Literal["candidates", "unjudged", "positives"]


@dataclass(frozen=True)
class Border:
    """The line that a rule draws: what it compared, with what, and which side is dropped.

    Attributes:
        value: what the rule compared, float64 [n]; NaN where it had nothing to compare, infinite
            where no source retrieved the row.
        limit: what it compared with, float64 [n].
        unit: what both are numbers of.
        above: whether rows beyond the limit are those above it.
        strict: whether a value equal to the limit is kept.
        origin: what both are told from, float64 [n]; added to them they are of their unit.
    """

    value: np.ndarray
    limit: np.ndarray
    unit: Unit = "score"
    above: bool = True
    strict: bool = True
    origin: np.ndarray | float = 0.0

    @property
    def distance(self) -> np.ndarray:
        """How far beyond the limit each row lies, negative on the side that is kept."""
        return self.value - self.limit if self.above else self.limit - self.value

    @property
    def beyond(self) -> np.ndarray:
        """True for the rows that the limit drops; never where there was nothing to compare."""
        if self.above:
            return self.value > self.limit if self.strict else self.value >= self.limit
        return self.value < self.limit if self.strict else self.value <= self.limit

    @property
    def sign(self) -> str:
        """How a dropped row's value compares with the limit: ``>``, ``>=``, ``<`` or ``<=``."""
        return (">" if self.above else "<") + ("" if self.strict else "=")

    @property
    def told_value(self) -> np.ndarray:
        """The values in their unit."""
        return self.value + self.origin

    @property
    def told_limit(self) -> np.ndarray:
        """The limits in their unit."""
        return self.limit + self.origin


def always(params: FilterParams) -> bool:
    """Active with any settings."""
    return True


def never(params: FilterParams) -> bool:
    """Active with no settings."""
    return False


def no_ways(params: FilterParams, fit: Fit) -> list[Way]:
    """Nothing makes it drop less."""
    return []


def no_advice(params: FilterParams, everything: bool) -> str:
    """Nothing to say."""
    return ""


def no_check(params: FilterParams) -> None:
    """Contradicts nothing."""


@dataclass(frozen=True)
class Scaled:
    """An option that is a number of a score: on a known scale one that nothing reaches is refused.

    Attributes:
        option: the field of :class:`FilterParams`.
        difference: whether it is a difference of scores, not a score.
        score: the field that names the score; None = the score that rules read.
        when: whether it is such a number with these settings.
    """

    option: str
    difference: bool = False
    score: str | None = None
    # No class attribute: as one it would be documented as a method.
    when: Condition = field(default_factory=lambda: always)


@dataclass(frozen=True)
class Reason:
    """What ``dropped_by`` may say of a row, and all that there is to say about it.

    Attributes:
        name: the word in ``dropped_by``.
        active: whether the parameters ask for it.
        hard: rows it drops cannot be negatives at all, so ``--fill-beyond`` leaves them out too.
        words: what it means, in a few words.
        switch: what asks for it; by default the option of its name.
        options: fields of :class:`FilterParams` that have no effect unless it, or another one that
            names them, is asked for.
        check: refuses settings that contradict it.
        ways: settings under which it drops less, tried where queries are left short.
        advice: what to do about it where no setting helps; the second argument is whether it took
            nearly everything.
        tried: the values that ``audit --sweep auto`` gives the option of its name, by the scores of
            the known positives (float64, at least one).
    """

    name: str
    active: Condition
    hard: bool = field(default=False, kw_only=True)
    words: str = field(default="dropped by this rule", kw_only=True)
    switch: str = field(default="", kw_only=True)
    options: tuple[str, ...] = field(default=(), kw_only=True)
    check: Callable[[FilterParams], None] = field(default=no_check, kw_only=True)
    ways: Callable[[FilterParams, Fit], list[Way]] = field(default=no_ways, kw_only=True)
    advice: Callable[[FilterParams, bool], str] = field(default=no_advice, kw_only=True)
    tried: Callable[[np.ndarray], Sequence[float]] | None = field(default=None, kw_only=True)

    @property
    def option(self) -> str:
        """What asks for it on the command line."""
        return self.switch or flag(self.name)


@dataclass(frozen=True)
class Rule(Reason):
    """A reason to drop candidates that a part's arrays tell.

    Attributes:
        drop: True for the rows it drops; pure and vectorised.
        limit: where it compares a number, the line that it draws; what ``explain`` and ``report``
            show. :func:`comparing` makes a rule whose mask is its line.
        form: as what of the score its limit is the same for all queries: the score itself, minus
            the positive's, or that as a share of the positive's.
        scores: whether it reads the score of ``--by``.
        ranks: whether it reads retrieval ranks, of any source or of a single one.
        positive: the positive's number that it compares with; a candidate for which that is NaN is
            dropped as ``no_positive_score``. It may return None where it needs none after all.
        below_positive: whether it keeps nothing that scores above the positive.
        scaled: options that are numbers of a score.
        no_logits: what to do where the score turns out to be a logit, on which it means nothing.
        others: whether what it says of a row hangs on other rows' scores than those of its query's
            known positives.
        fitted: whether all that it takes from other rows is learned from the table beforehand.
        rows: ``candidates`` that it judged, ``unjudged`` ones that had nothing to be judged by, or
            ``positives``.
    """

    drop: Callable[[View, FilterParams], np.ndarray]
    limit: Callable[[View, FilterParams], Border] | None = field(default=None, kw_only=True)
    form: Callable[[FilterParams], Literal["score", "margin", "relative"]] = field(
        default=lambda params: "score", kw_only=True
    )
    scores: bool = field(default=False, kw_only=True)
    ranks: Literal["none", "any", "one"] = field(default="none", kw_only=True)
    positive: Callable[[View, FilterParams], np.ndarray | None] | None = field(
        default=None, kw_only=True
    )
    below_positive: Condition = field(default_factory=lambda: never, kw_only=True)
    scaled: tuple[Scaled, ...] = field(default=(), kw_only=True)
    no_logits: str = field(default="", kw_only=True)
    others: Condition = field(default_factory=lambda: never, kw_only=True)
    fitted: bool = field(default=False, kw_only=True)
    rows: Rows = field(default="candidates", kw_only=True)


def comparing(
    name: str, active: Condition, limit: Callable[[View, FilterParams], Border], **about: Any
) -> Rule:
    """A rule that drops what lies beyond its limit.

    Args:
        name: see :class:`Reason`.
        active: see :class:`Reason`.
        limit: the line that it draws.
        about: the other fields of :class:`Rule`.
    """

    def drop(view: View, params: FilterParams) -> np.ndarray:
        return limit(view, params).beyond

    return Rule(name, active, drop, limit=limit, **about)


def constant(view: View, value: float) -> np.ndarray:
    """The same limit for every row, float64 [n]."""
    return np.full(len(view.query), float(value))


def given(option: str) -> Condition:
    """Active where an option has a value."""
    return lambda params: getattr(params, option) is not None


def shortened(numbers: np.ndarray) -> list[float]:
    """Numbers with three digits: values worth trying need no more."""
    return [float(f"{number:.3g}") for number in numbers]


def flag(option: str) -> str:
    """An option as the command line spells it."""
    return f"--{option.replace('_', '-')}"


def leaving_out(option: str, without: Any = None) -> Callable[[FilterParams, Fit], list[Way]]:
    """The way that gives up an option.

    Args:
        option: a field of :class:`FilterParams`.
        without: its value where it is not given.
    """
    return lambda params, fit: [(f"leaving out {flag(option)}", {option: without})]


def view(
    table: pa.Table,
    params: FilterParams,
    by: str,
    rank_by: str | None,
    *,
    changed: labels.Changed | None = None,
    flags: Mapping[str, np.ndarray] | None = None,
    group: np.ndarray | None = None,
    fit: Fit | None = None,
    unscored: bool = False,
) -> View:
    """The arrays of one part.

    Args:
        table: rows grouped by query, with the labels that count.
        params: settings.
        by: the score that rules read.
        rank_by: the source whose rank they read; None = the best over all.
        changed: see :class:`View`.
        flags: see :class:`View`.
        group: see :class:`View`.
        fit: see :class:`View`.
        unscored: see :class:`View`.
    """
    part = Part(table)
    own = labels.rows_of(changed or {}, labels.PROMOTED)
    own = np.zeros(len(part), dtype=bool) if own is None else own
    compared = labels.compared(part.positive, own, part.query) if own.any() else part.positive

    def of_positives(values: np.ndarray) -> np.ndarray:
        return positive_scores(values, compared, part.starts, params.against)[part.query]

    score = part.score(by, params.transform)
    sources = source_names(table.schema) if params.window else []
    scores = {name: part.score(name) for name in params.consensus}
    guide = positive_guide = np.full(len(part), np.nan)
    if params.guide is not None:
        guide = part.score(params.guide)
        positive_guide = of_positives(guide)
    come_first = brought(table) if params.prefer_given else np.zeros(len(part), dtype=bool)
    earlier, first = np.full(len(part), UNRANKED), np.full(len(part), np.nan)
    if params.replace_solved is not None:
        earlier = part.rank(params.replace_solved)
        first = part.score(params.replace_solved, params.transform)
        come_first |= earlier < UNRANKED
    return View(
        query=part.query,
        starts=part.starts,
        positive=part.positive,
        promoted=own,
        compared=compared,
        score=score,
        positive_score=of_positives(score),
        rank=part.rank(rank_by),
        docid=part.docid,
        guide=guide,
        positive_guide=positive_guide,
        flags=flags or {},
        group=np.zeros(len(part), dtype=np.int64) if group is None else group,
        fit=fit or Fit(),
        unscored=unscored,
        cleared=_cleared(part, params, compared),
        ranks={name: part.rank(name) for name in sources},
        brought=come_first,
        earlier=earlier,
        first=first,
        scores=scores,
        positive_scores={name: of_positives(values) for name, values in scores.items()},
        changed=changed or {},
    )


def _cleared(part: Part, params: FilterParams, compared: np.ndarray) -> np.ndarray:
    """Rows that ``--keep-unscored`` says are fine without a score: bool [rows]."""
    if params.keep_unscored is None:
        return np.zeros(len(part), dtype=bool)
    condition = conditions.parse(params.keep_unscored, flag("keep_unscored"))
    return conditions.holds(condition, part, params.against, compared)


def brought(table: pa.Table) -> np.ndarray:
    """Rows that a training set brought along as negatives."""
    if GIVEN not in table.schema.names:
        return np.zeros(table.num_rows, dtype=bool)
    return np.asarray(table.column(GIVEN).is_valid().to_numpy(), dtype=bool)
