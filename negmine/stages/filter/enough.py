"""When ``rerank --enough`` may stop: the rules, asked before all rows have their score.

What is chosen must be what would be chosen if every row had a score. So the order in which rows are
taken must be known beforehand, and what becomes of a row may hang on its own scores and on those of
its query's known positives, which are always scored, or on those of rows that are scored first for
all others' sake, and on no other row's. Then the first survivors in that order are the same,
however many further rows are scored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from negmine import rules
from negmine.errors import UsageError
from negmine.learning import prior
from negmine.learning.fit import Fit
from negmine.params.filter import FilterParams
from negmine.params.filter_identity import IdentityOptions
from negmine.params.rerank import RerankParams
from negmine.params.values import build, named, parsed
from negmine.rules.base import flag
from negmine.sampling import samplers
from negmine.stages import rank_only
from negmine.stages.cascade import OPTION
from negmine.stages.filter import fitting, relabelling
from negmine.stages.filter.deciding import decide, preferred, with_learned
from negmine.stages.filter.guard import Guard, excluded_file
from negmine.stages.filter.options import Columns, resolve, wants_prior
from negmine.stages.filter.setup import VERSION
from negmine.stages.lazily import Flagged, Flags
from negmine.table import artifacts, conditions, schemas
from negmine.table.artifacts.reading import Artifact
from negmine.table.candidates import Candidates
from negmine.table.names import LEARNED, P_PRIOR, score_column
from negmine.table.part import Part

#: Options of ``filter`` beside those of rules under which a row's fate is its own; what the
#: identity guard asks reads no score.
_ALLOWED = frozenset(
    (
        *(one.name for one in fields(IdentityOptions)),
        *("by", "transform", "rank_by", "against", "keep_unscored", "fit_sample"),
        "prior_pool",
        *("sampler", "sample_by", "num_negatives"),
        *("prefer_judged", "prefer_given", "order", "seed", "memory"),
    )
)


def told(params: FilterParams) -> tuple[str, ...]:
    """Settings of ``filter`` as ``--until`` takes them: those that are not the defaults."""
    return tuple(
        f"{one.name.replace('_', '-')}={json.dumps(value, ensure_ascii=False)}"
        for one in fields(FilterParams)
        if (value := getattr(params, one.name)) != one.default and one.name != "memory"
    )


def settings(enough: int, until: Sequence[str]) -> FilterParams:
    """The settings of ``filter`` that ``--until`` tells, for as many negatives as are enough.

    Raises:
        UsageError: one is none, or there are to be more negatives than are enough.
    """
    given: dict[str, Any] = {}
    for entry in until:
        name, equals, value = entry.partition("=")
        if not equals:
            raise UsageError(
                f"--until {entry!r} is no KEY=VALUE", hint="For example: --until max-score=-4"
            )
        key, one = name.replace("_", "-"), parsed(value)
        # As on the command line: what may be repeated is, and of anything else two are refused.
        given[key] = [*_several(given[key]), *_several(one)] if key in given else one
    asked = build(FilterParams, given, {}, where="--until")
    if "num-negatives" in given and asked.num_negatives > enough:
        raise UsageError(
            f"--enough {enough} is below the {asked.num_negatives} negatives of filter",
            hint=f"Give --enough {asked.num_negatives}, or lower --num-negatives.",
        )
    return replace(asked, num_negatives=enough, memory=None)


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def stopped_at(scored: Artifact) -> int | None:
    """Of how many survivors of a query its scoring stopped; None where it did not."""
    return scored.params.get("enough") if scored.stage == "rerank" else None


def unlike(params: FilterParams, scored: Artifact) -> list[str]:
    """What is to be known of scores that stopped where other settings had enough.

    Args:
        params: settings.
        scored: the scored table.
    """
    enough = stopped_at(scored)
    if enough is None:
        return []
    before = _spelt(settings(enough, scored.params.get("until", ())))
    now = replace(_spelt(params), memory=None, exclude=None, num_negatives=enough)
    others = [
        f.name for f in fields(FilterParams) if getattr(now, f.name) != getattr(before, f.name)
    ]
    known = scored.manifest.get("inputs", {}).get("exclude")
    if _digest(_excluded(params, known)) != _digest(known):
        others.append("exclude")
    if params.num_negatives > enough:
        others.append("num_negatives")
    if not others:
        return []
    return [
        f"the scores stopped where {enough} of a query survived other settings "
        f"({', '.join(map(flag, others))} differ): what was never scored is dropped as "
        "unscored, so queries may be short that need not be; score again with these settings, or "
        "without --enough"
    ]


def _spelt(params: FilterParams) -> FilterParams:
    """The settings with their condition in one spelling."""
    if params.keep_unscored is None:
        return params
    condition = conditions.parse(params.keep_unscored, flag("keep_unscored"))
    return replace(params, keep_unscored=conditions.told(condition))


def _excluded(params: FilterParams, known: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The record of the file of ``--exclude``, where there is one."""
    if params.exclude is None:
        return None
    return artifacts.external_input(excluded_file(params.exclude), known)


def _digest(record: Mapping[str, Any] | None) -> str | None:
    return None if record is None else record["digest"]


def check(params: RerankParams) -> None:
    """See, before there are candidates, that one can stop at all with these settings.

    Raises:
        UsageError: one cannot.
    """
    if params.enough is None:
        if params.until:
            raise UsageError("--until is read with --enough alone", hint="Add --enough N.")
        return
    asked = settings(params.enough, params.until)
    _refuse_whole(asked)
    if asked.prior_pool is not None and (params.top is not None or params.only_if):
        option = OPTION if params.top is None else "--top"
        raise UsageError(
            f"--enough: of the candidates that prior-pool draws {option} would leave some unscored",
            hint="Leave it out: with --enough few others are scored.",
        )
    _refuse_order(asked, named(params.scorer, "--scorer"))


def _refuse_whole(params: FilterParams) -> None:
    """Refuse what wants every row's score."""
    by_rule = {name for rule in rules.RULES for name in (rule.name, *rule.options)}
    for one in fields(FilterParams):
        if getattr(params, one.name) != one.default and one.name not in _ALLOWED | by_rule:
            raise _whole(flag(one.name))
    for rule in rules.asked(params):
        known = rule.fitted and params.fit_sample is not None
        if (rule.others(params) and not known) or rule not in rules.RULES:
            raise _whole(rule.option, learned=rule.fitted)
    known_prior = P_PRIOR if params.prior_pool is not None else None
    named = [(option, getattr(params, option)) for option in ("by", "sample_by", "guide")]
    named += [("consensus", name) for name in params.consensus]
    for option, name in named:
        learned = None if name is None else name.removeprefix(score_column(""))
        if learned in LEARNED and learned != known_prior:
            raise _whole(f"{flag(option)} {name}", pool=learned == P_PRIOR)


def _whole(option: str, *, learned: bool = False, pool: bool = False) -> UsageError:
    way = "Score"
    if learned:
        way = (
            "Learn the limit from some queries, which are scored whole (filter's fit-sample = N, "
            "here --until fit-sample=N). Or score"
        )
    elif pool:
        way = (
            "Have it tell by some candidates of each query where the others stand (filter's "
            "prior-pool = 24, here --until prior-pool=24). Or score"
        )
    return UsageError(
        f"--enough: with {option} it is not known who survives before all have their scores",
        hint=f"{way} all of them (leave --enough out), or take a limit "
        "on the score itself or on its distance to the positive's, such as --max-score or "
        "--relative-margin.",
    )


def _refuse_order(params: FilterParams, scorers: Iterable[str]) -> None:
    """Refuse a sampler whose order is not known before the scores are."""
    sampler = samplers.sampler(params.sampler)
    new = params.sample_by or params.by
    later = {*scorers, *LEARNED}
    if not sampler.alone or (sampler.scores and (new is None or new in later)):
        raise UsageError(
            f"--enough: in which order --sampler {params.sampler} takes candidates is not known "
            "before all are scored",
            hint="Take them by retrieval rank (--sampler rank), at random, or by the score of a "
            "source (--sample-by).",
        )


@dataclass(frozen=True)
class Enough:
    """The filter as ``rerank`` asks it; see :class:`negmine.stages.lazily.Until`.

    Attributes:
        params: its settings, scores' names in full.
        columns: the columns that they read.
        guard: answers for texts.
        fit: what was learned beforehand.
    """

    params: FilterParams
    columns: Columns
    guard: Guard
    fit: Fit = field(default_factory=Fit)

    @property
    def sample(self) -> tuple[int, int] | None:
        """How many queries are scored whole for what is learned, and the seed of their draw."""
        count = self.params.fit_sample
        return None if count is None else (count, self.params.seed)

    def learned(self, scored: Candidates) -> Enough:
        """The same with what these queries' scores teach."""
        fit = fitting.learn(self.params, scored, self.columns, self.guard.at_once)
        return replace(self, fit=fit)

    def anchored(self, tables: Iterable[pa.Table]) -> Enough:
        """The same with what the sources' scores say of the known positives."""
        if not wants_prior(self.params):
            return self
        known = prior.anchor(tables, among=fitting.among(self.params))
        return replace(self, fit=Fit(prior=known))

    def first(self, table: pa.Table) -> np.ndarray:
        """Known positives, and those by which it is told where the others stand."""
        part = Part(table)
        if not wants_prior(self.params):
            return part.positive
        return part.positive | fitting.among(self.params).drawn(part)

    def flagged(self, parts: Iterable[tuple[str, pa.Table]]) -> Iterator[Flagged]:
        """What the guard says of each part's rows."""
        yield from self.guard.flags(parts, lambda table, flags: relabelling.unchanged(table))

    def places(self, table: pa.Table, flags: Flags) -> np.ndarray:
        """The sampler's order of the rows that no rule drops whatever their scores."""
        # Others may read one of the scorers, too, whose column is not there yet.
        params = replace(self.params, guide=None, consensus=(), keep_unscored=None)
        view = rules.view(table, params, self._known(table), self.columns.rank_by, flags=flags)
        open_ = ~rules.without_scores(view, params) & ~view.positive
        return preferred(table, view, params, self._order_by(table), open_)

    def short(self, table: pa.Table, flags: Flags, reached: np.ndarray) -> np.ndarray:
        """Rows of queries that have fewer survivors than negatives are wanted."""
        table = with_learned(table, self.fit)
        decided = decide(table, self.params, self.columns, self.fit, flags)
        view = decided.view
        survivors = np.bincount(
            view.query[(decided.place > 0) & reached], minlength=len(view.starts)
        )
        return np.asarray((survivors < self.params.num_negatives)[view.query], dtype=bool)

    def record(self) -> Mapping[str, Any]:
        """The code of the rules, and the columns that were found."""
        columns = rank_only.fingerprint(asdict(self.columns))
        return {"code": [rules.VERSION, VERSION], "columns": columns}

    def files(self, out: Path) -> Mapping[str, Mapping[str, Any]]:
        """The file of ``--exclude``."""
        record = _excluded(self.params, artifacts.recorded_file(out, "exclude"))
        return {} if record is None else {"exclude": record}

    def _known(self, table: pa.Table) -> str:
        """A score that the table has before it is scored: no rule that is asked reads it."""
        names = schemas.score_names(table.schema)
        return self.columns.by if self.columns.by in names else names[0]

    def _order_by(self, table: pa.Table) -> np.ndarray:
        """What the sampler orders by, where it goes by a score."""
        if self.columns.sample_by not in schemas.score_names(table.schema):
            return np.zeros(table.num_rows)
        return Part(table).score(self.columns.sample_by)


def until(params: RerankParams, source: Candidates, scorers: Sequence[str], at_once: int) -> Enough:
    """The filter that ``--until`` tells, for a table that the scorers will add columns to.

    Args:
        params: the options of ``rerank``.
        source: the candidates.
        scorers: names of the scorers.
        at_once: bytes of texts that the guard holds.

    Raises:
        UsageError: an unknown column, no rule that reads a scorer, or what wants all scores.
    """
    assert params.enough is not None
    asked = settings(params.enough, params.until)
    _refuse_whole(asked)
    empty = rank_only.empty_in(source)
    resolved, columns = resolve(
        asked,
        schemas.with_scores(source.schema(), scorers),
        empty=lambda name: name not in scorers and empty(name),
    )
    _refuse_order(replace(resolved, sample_by=columns.sample_by), scorers)
    if not {columns.by, resolved.guide, *resolved.consensus} & {*scorers, *LEARNED}:
        raise UsageError(
            f"--enough: no rule of --until reads {' or '.join(f'score_{n}' for n in scorers)}",
            hint=f"Name it: --until by={next(iter(scorers))}.",
        )
    return Enough(resolved, columns, Guard(resolved, source, at_once))
