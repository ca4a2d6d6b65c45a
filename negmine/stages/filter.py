"""``negmine filter``: the ledger. Every candidate is kept, with the rule that dropped it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from negmine import fitting, log, memory, rules, samplers, weights
from negmine.calibration import Fit
from negmine.errors import UsageError, did_you_mean
from negmine.params import FilterParams, output_affecting
from negmine.rules.base import UNRANKED, View, read_rank, read_score
from negmine.stages.behind import behind
from negmine.stages.guard import Guard, excluded_file
from negmine.stages.outcome import Outcome, conserve
from negmine.table import artifact as artifacts
from negmine.table import schema as schemas
from negmine.table.artifact import Artifact, Plan, Writer
from negmine.table.names import rank_column, score_column

VERSION = 2

#: The learned score's name.
P_RELEVANT = "p_relevant"
#: Added to the seed where a draw must not be the sampler's.
_OTHER_DRAW = 1_000_003

Flags = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Setup:
    """What a run reads, its parameters checked.

    Attributes:
        params: the parameters, columns' names in full.
        names: {by, sample_by, rank_by}.
        source: the scored candidates.
    """

    params: FilterParams
    names: dict[str, Any]
    source: Artifact


def set_up(params: FilterParams, scored: Path) -> Setup:
    """Check the parameters against the scored (or just retrieved) table at ``scored``.

    Raises:
        UsageError: an unknown column, or options that contradict each other.
        MissingInputError: there is no such artifact.
    """
    source = artifacts.open_artifact(
        scored, ["retrieve", "rerank"], purpose="the scored candidates"
    )
    params, names = resolve(params, source.schema())
    rules.plugged(params)
    return Setup(params, names, source)


def plan(setup: Setup, out: Path) -> Plan:
    """What the ledger at ``out`` is made from."""
    params = setup.params
    files = {}
    if params.exclude is not None:
        known = artifacts.recorded_file(out, "exclude")
        files["exclude"] = artifacts.external_input(excluded_file(params.exclude), known)
    return Plan(
        "filter",
        VERSION,
        {
            **output_affecting(params),
            **setup.names,
            "rules": rules.VERSION,
            **({"plugins": rules.identities(params)} if params.rule else {}),
        },
        artifacts={"scored": setup.source},
        files=files,
    )


def run(params: FilterParams, scored: Path, out: Path, *, force: bool = False) -> Outcome:
    """Filter and sample the scored (or just retrieved) table at ``scored`` into ``out``.

    Raises:
        NegmineError: see the exit codes in :mod:`negmine.errors`.
    """
    setup = set_up(params, scored)
    params = setup.params
    budget = memory.budget(params.memory)
    guard = Guard(params, setup.source, budget.shingles)
    writer = artifacts.begin(out, plan(setup, out), force=force)
    if writer is None:
        found = artifacts.open_artifact(out)
        return Outcome(out, dict(found.counts), True, list(found.manifest["warnings"]))
    artifacts.reset_peak_memory()
    with writer:
        counts, fit = judge_all(setup, guard, writer)
        warnings = _warnings(counts, params, setup.names["by"])
        extra = {"calibration": dict(fit.bound.facts)} if fit.bound is not None else {}
        if fit.relevance is not None:
            extra["p_relevant"] = dict(fit.relevance.facts)
        writer.commit(counts, warnings=warnings, ceiling=budget.ceiling, **extra)
    for warning in warnings:
        log.event(warning, level=30)
    return Outcome(out, counts, warnings=warnings)


def judge_all(setup: Setup, guard: Guard, writer: Writer) -> tuple[dict[str, Any], Fit]:
    """Write every part of the table with the ledger's columns.

    Returns:
        (counts, what was learned from the whole table).
    """
    params, names, source = setup.params, setup.names, setup.source
    total: Counter[str] = Counter()
    rows = sum(source.rows(name) for name in source.parts)
    fit = _fit(params, source, guard, **names)
    ledger_schema = _ledger_schema(source.schema(), params, **names)
    with (
        log.progress("filtering", rows, " rows") as bar,
        behind(writer.add_table) as add_table,
    ):
        pending = [name for name in source.parts if not writer.has(name)]
        bar.update(rows - sum(map(source.rows, pending)))
        number = {name: place for place, name in enumerate(source.parts, 1)}
        for name, part, flags in _flagged(params, source, guard, fit, pending, **names):
            bar.part(number[name], len(number))
            table, stats = judge(part, params, **names, fit=fit, flags=flags)
            add_table(name, table, ledger_schema, stats)
            bar.update(table.num_rows)
    for name in source.parts:
        total.update(writer.stats(name))
    counts = _counts(total)
    dropped: dict[str, int] = counts["dropped"]
    conserve("candidate rows", rows, read=counts["candidates"])
    conserve(
        "candidates",
        counts["candidates"],
        survivors=counts["survivors"],
        **{f"dropped_by_{name}": count for name, count in dropped.items()},
    )
    return counts, fit


# --- what the options mean for this table -----------------------------------------------------


def resolve(params: FilterParams, schema: pa.Schema) -> tuple[FilterParams, dict[str, Any]]:
    """Check the options against the table's columns.

    Returns:
        (the parameters with columns' names in full, {by, sample_by, rank_by}).

    Raises:
        UsageError: an unknown column, or options that contradict each other.
    """
    default = schemas.pick_score(schema, None, "--by")
    full = schemas.with_scores(schema, [P_RELEVANT])

    def score(name: str | None, option: str, otherwise: str) -> str:
        return schemas.pick_score(full, name or otherwise, option)

    by = score(params.by, "--by", default)
    sample_by = score(params.sample_by, "--sample-by", by)
    rank_by = None
    if params.rank_by is not None:
        rank_by = params.rank_by.removeprefix(rank_column(""))
        known = schemas.source_names(schema)
        if rank_by not in known:
            raise UsageError(f"--rank-by: no source '{rank_by}'", hint=did_you_mean(rank_by, known))
    if params.query_min_rank is not None and rank_by is None:
        sources = schemas.source_names(schema)
        if by not in sources and len(sources) > 1:
            raise UsageError(
                "--query-min-rank needs --rank-by: the ranks of several sources are mixed",
                hint=f"One of: {', '.join(sources)}.",
            )
        rank_by = by if by in sources else sources[0]
    changes: dict[str, Any] = {}
    if params.guide is not None:
        changes["guide"] = score(params.guide, "--guide", by)
    if params.weight in ("dclr", "gcse"):
        if params.weight_by is None:
            raise UsageError(
                f"--weight {params.weight} needs --weight-by, the second model's score"
            )
        changes["weight_by"] = score(params.weight_by, "--weight-by", by)
        changes["weight_student"] = score(params.weight_student, "--weight-student", sample_by)
    _check(params, schema)
    names = {"by": by, "sample_by": sample_by, "rank_by": rank_by}
    return replace(params, **changes), names


def _check(params: FilterParams, schema: pa.Schema) -> None:
    if (
        params.range_min is not None
        and params.range_max is not None
        and params.range_min > params.range_max
    ):
        raise UsageError("--range-min is greater than --range-max: nothing would be left")
    if params.max_fn_rate is not None and not 0 < params.max_fn_rate < 1:
        raise UsageError(f"--max-fn-rate must be between 0 and 1, not {params.max_fn_rate:g}")
    if params.calibrate_by is not None:
        if params.max_fn_rate is None:
            raise UsageError("--calibrate-by needs --max-fn-rate")
        if params.fn_form == "margin":
            raise UsageError("--calibrate-by calibrates scores: leave out --fn-form margin")
        usable = [n for n in schema.names if n not in ("qid", "docid", "label")]
        usable = [n for n in usable if not n.startswith(score_column(""))]
        if params.calibrate_by not in usable:
            raise UsageError(
                f"--calibrate-by: no such column '{params.calibrate_by}'",
                hint=did_you_mean(params.calibrate_by, usable),
            )
    for name in ("near_duplicate_at", "duplicate_query_at"):
        if not 0 < getattr(params, name) <= 1:
            raise UsageError(f"--{name.replace('_', '-')} must be above 0 and at most 1")
    if params.closer_than_positive:
        margins = {
            "--absolute-margin": params.absolute_margin is not None and params.absolute_margin >= 0,
            "--relative-margin": params.relative_margin is not None and params.relative_margin >= 0,
            "--margin-pos": params.margin_pos is not None,
            "--perc-pos": params.perc_pos is not None,
            "--percentile": params.percentile is not None,
            "--guide": params.guide is not None,
        }
        for option, given in margins.items():
            if given:
                raise UsageError(
                    f"--closer-than-positive keeps what {option} drops: candidates nearer than "
                    "the positive",
                    hint="Give one or the other.",
                )
    if params.fill_beyond is not None and params.max_reuse is not None:
        raise UsageError("--fill-beyond takes unchecked rows, which --max-reuse cannot count")


def _wants_relevance(params: FilterParams, by: str, sample_by: str) -> bool:
    named = (by, sample_by, params.guide, params.weight_by, params.weight_student)
    return P_RELEVANT in named or params.weight in ("p-relevant", "cet")


def _optional(params: FilterParams) -> list[str]:
    wanted = {
        "filled": params.fill_beyond is not None,
        "weight": params.weight != "none",
        "difficulty": params.difficulty,
        "tau_plus": params.tau_plus is not None,
    }
    return [name for name, given in wanted.items() if given]


def _ledger_schema(
    schema: pa.Schema, params: FilterParams, by: str, sample_by: str, rank_by: str | None
) -> pa.Schema:
    if _wants_relevance(params, by, sample_by):
        schema = schemas.with_scores(schema, [P_RELEVANT])
    return schemas.with_ledger(schema, _optional(params))


# --- passes over the table --------------------------------------------------------------------


def _fit(
    params: FilterParams,
    source: Artifact,
    guard: Guard,
    by: str,
    sample_by: str,
    rank_by: str | None,
) -> Fit:
    """Everything that must be known of the whole table before a part can be judged."""

    def plain() -> Iterator[pa.Table]:
        for _, table in source.tables("learning from the table"):
            yield table

    relevance = None
    if _wants_relevance(params, by, sample_by):
        from negmine.relevance import learn

        relevance = learn(plain, params.seed)

    def tables() -> Iterator[pa.Table]:
        for table in plain():
            yield _with_relevance(table, Fit(relevance=relevance))

    fit = replace(fitting.fit(tables, params, by), relevance=relevance)
    if params.max_reuse is None:
        return fit
    parts = []
    queries = 0
    for _, table, flags in _flagged(
        params, source, guard, fit, source.parts, by, sample_by, rank_by
    ):
        decided = _decide(table, params, by, sample_by, rank_by, fit, flags)
        rows = np.flatnonzero(decided.place)
        docs = table.column("docid").combine_chunks()
        parts.append(
            (
                decided.view.query[rows] + queries,
                samplers.digests(docs.take(pa.array(rows))),
                decided.place[rows],
                _claims(table, params)[rows],
            )
        )
        queries += len(decided.view.starts)
    query, doc, place, draw = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    cut = samplers.reuse_cut(
        query, doc, place, draw, wanted=params.num_negatives, limit=params.max_reuse
    )
    return replace(fit, reuse=cut)


def _flagged(
    params: FilterParams,
    source: Artifact,
    guard: Guard,
    fit: Fit,
    names: list[str],
    by: str,
    sample_by: str,
    rank_by: str | None,
) -> Iterator[tuple[str, pa.Table, Flags]]:
    """(name, part, what the guard says of its rows)."""

    def labelled() -> Iterator[tuple[str, pa.Table, pa.Table]]:
        for name in names:
            table = _with_relevance(source.read(name), fit)
            yield name, table, label_pseudo(table, params, by, rank_by)[0]

    yield from guard.flags(labelled())


def _with_relevance(table: pa.Table, fit: Fit) -> pa.Table:
    column = score_column(P_RELEVANT)
    if fit.relevance is None or column in table.schema.names:
        return table
    return table.append_column(column, fit.relevance.predict(table))


def _claims(table: pa.Table, params: FilterParams) -> np.ndarray:
    """Whom a document prefers when too many queries want it: the smallest."""
    return samplers.draws(table.column("qid"), table.column("docid"), params.seed + _OTHER_DRAW)


# --- one part ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decided:
    """A part after the rules.

    Attributes:
        table: the part, pseudo-positives labelled.
        view: its arrays.
        reason: index of the rule that dropped each row, -1 = survived.
        names: the rules' names.
        hard: names of those that leave no way back.
        place: each survivor's place in its query's preference, 1 = first; 0 = dropped.
        by: what the sampler orders by.
    """

    table: pa.Table
    view: View
    reason: np.ndarray
    names: list[str]
    hard: list[str]
    place: np.ndarray
    by: np.ndarray


def label_pseudo(
    table: pa.Table, params: FilterParams, by: str, rank_by: str | None
) -> tuple[pa.Table, np.ndarray]:
    """Give queries without positives their best candidate as one, if it scores high enough.

    RocketQA (arXiv 2010.08191) does so for unlabelled queries only: the best of the top 50
    (``--range-max``) where the teacher says more than 0.9.

    Returns:
        (the table with its labels changed, True for the rows that were).
    """
    pseudo = np.zeros(table.num_rows, dtype=bool)
    if params.pseudo_positive is None:
        return table, pseudo
    codes, _ = schemas.string_codes(table.column("qid"))
    starts = schemas.group_starts(codes)
    lengths = np.diff(np.append(starts, len(codes)))
    query = np.repeat(np.arange(len(starts)), lengths)
    label = table.column("label").to_numpy()
    labelled = np.repeat(np.maximum.reduceat(label, starts) == 1, lengths)
    score = read_score(table, by, params.transform)
    rank = read_rank(table, rank_by)
    near = rank <= params.range_max if params.range_max is not None else rank < UNRANKED
    docid, _ = schemas.string_codes(table.column("docid"))
    place = samplers.positions(query, score, docid, ~labelled & near & ~np.isnan(score))
    pseudo = (place == 1) & (score > params.pseudo_positive)
    index = table.schema.get_field_index("label")
    changed = pa.array(np.where(pseudo, 1, label).astype(np.int8))
    return table.set_column(index, table.schema.field(index), changed), pseudo


def _decide(
    table: pa.Table,
    params: FilterParams,
    by: str,
    sample_by: str,
    rank_by: str | None,
    fit: Fit,
    flags: Flags | None,
) -> Decided:
    table, pseudo = label_pseudo(table, params, by, rank_by)
    groups = fit.bound.groups if fit.bound is not None else ("",)
    view = rules.view(
        table,
        params,
        by,
        rank_by,
        pseudo=pseudo,
        flags=flags,
        group=fitting.group_of(table, params, groups),
        fit=fit,
    )
    reason, active = rules.apply(view, params)
    names = [rule.name for rule in active]
    hard = [rule.name for rule in active if rule.hard]
    same = sample_by == by
    order_by = view.score if same else read_score(table, sample_by)
    if params.skip_survivors is not None:
        place = samplers.positions(view.query, order_by, view.docid, reason < 0)
        reason[(place > 0) & (place <= params.skip_survivors)] = len(names)
        names.append("skip_survivors")
    survivors = reason < 0
    preference = _preference(table, view, params, order_by, survivors, same)
    place = samplers.positions(view.query, preference, view.docid, survivors)
    if params.prefer_judged:
        # A judged low grade is a true negative: it goes before all that nobody looked at.
        judged = table.column("grade").is_valid().to_numpy()
        first = np.where(judged, float(table.num_rows), 0.0) - place
        place = samplers.positions(view.query, first, view.docid, survivors)
    return Decided(table, view, reason, names, hard, place, order_by)


def _preference(
    table: pa.Table,
    view: View,
    params: FilterParams,
    order_by: np.ndarray,
    survivors: np.ndarray,
    same: bool,
) -> np.ndarray:
    """The sampler's order, greatest first."""
    if params.sampler == "top":
        return order_by
    if params.sampler == "bottom":
        return -order_by
    if params.sampler == "rank":
        return -view.rank.astype(np.float64)
    draw = samplers.draws(table.column("qid"), table.column("docid"), params.seed)
    if params.sampler == "random":
        return -draw
    if params.sampler == "stratified":
        return samplers.stratified(
            view.query, order_by, view.docid, survivors, draw, params.num_negatives
        )
    anchor = view.positive_score
    if not same:
        per_query = rules.base.positive_scores(order_by, view.positive, view.starts, params.against)
        anchor = per_query[view.query]
    return samplers.simans(
        order_by, anchor, draw, a=params.simans_a, b=params.simans_b, form=params.sampler
    )


def judge(
    table: pa.Table,
    params: FilterParams,
    by: str,
    sample_by: str,
    rank_by: str | None,
    *,
    fit: Fit | None = None,
    flags: Flags | None = None,
) -> tuple[pa.Table, dict[str, int]]:
    """Add the ledger's columns to one part; a pure function of its arguments.

    Args:
        table: the part.
        params: settings, as :func:`resolve` returns them.
        by: the score that rules read.
        sample_by: the score that the sampler orders by.
        rank_by: the source whose rank counts; None = the best over all.
        fit: what was learned from the whole table; by default from this part.
        flags: what the guard says of the rows; by default nothing.
    """
    if fit is None:
        fit = fitting.fit(lambda: [table], params, by)
    decided = _decide(
        _with_relevance(table, fit), params, by, sample_by, rank_by, fit=fit, flags=flags
    )
    table, view, reason, names = decided.table, decided.view, decided.reason, decided.names
    place = decided.place
    if params.max_reuse is not None and fit.reuse is not None:
        digests = samplers.digests(table.column("docid").combine_chunks())
        at = np.searchsorted(fit.reuse.docs, digests)
        at = np.minimum(at, max(0, len(fit.reuse.docs) - 1))
        if len(fit.reuse.docs):
            crowded = (fit.reuse.docs[at] == digests) & (
                _claims(table, params) >= fit.reuse.cutoff[at]
            )
            reason[(reason < 0) & crowded] = len(names)
        names.append("max_reuse")
        place = samplers.positions(view.query, -place.astype(np.float64), view.docid, reason < 0)
    chosen = (place > 0) & (place <= params.num_negatives)
    filled = np.zeros(len(reason), dtype=bool)
    if params.fill_beyond is not None:
        filled = _fill(table, decided, params, chosen)
        reason[filled] = -1
        chosen |= filled
    survivors = reason < 0
    # As sampled with "rank" (the order of the walk is its point), else by score.
    by_score = decided.by if params.sampler != "rank" else -view.rank.astype(np.float64)
    if params.order == "easy-first":
        by_score = -decided.by
    if _walks_by_score(params):
        selected = np.where(chosen, place, 0).astype(np.int32)
    else:
        selected = samplers.numbered(view.query, by_score, view.docid, chosen)
    dropped_by = pa.DictionaryArray.from_arrays(
        pa.array(reason, mask=survivors), pa.array(names, pa.string())
    ).cast(pa.string())
    table = table.append_column("dropped_by", dropped_by)
    table = table.append_column("selected", pa.array(selected, mask=selected == 0))
    columns = {
        "filled": lambda: pa.array(filled),
        "weight": lambda: _floats(_weight(table, view, params, fit)),
        "difficulty": lambda: _floats(
            weights.difficulty(
                np.where(view.positive, np.nan, view.score - view.positive_score), fit.margins
            )
        ),
        "tau_plus": lambda: _floats(np.full(len(reason), params.tau_plus, dtype=np.float64)),
    }
    for name in _optional(params):
        table = table.append_column(name, columns[name]())
    return table, _stats(view, reason, names, selected, filled, params)


def _walks_by_score(params: FilterParams) -> bool:
    """Whether the order in which rows were chosen is the order in which they are numbered."""
    return (
        params.sampler == "top"
        and params.order == "hard-first"
        and not params.prefer_judged
        and params.fill_beyond is None
    )


def _fill(
    table: pa.Table, decided: Decided, params: FilterParams, chosen: np.ndarray
) -> np.ndarray:
    """Rows that make up for missing negatives: beyond a rank, at random, of no checked score.

    RocketQA fills labelled queries only, from ranks below the 50 that it looked at.
    """
    assert params.fill_beyond is not None
    view = decided.view
    beyond = (view.rank > params.fill_beyond) & (view.rank < UNRANKED)
    out = [number for number, name in enumerate(decided.names) if name in decided.hard]
    labelled = np.zeros(len(view.starts), dtype=bool)
    labelled[view.query[view.positive & ~view.pseudo]] = True
    usable = beyond & ~chosen & ~np.isin(decided.reason, out) & labelled[view.query]
    draw = samplers.draws(table.column("qid"), table.column("docid"), params.seed)
    place = samplers.positions(view.query, -draw, view.docid, usable)
    missing = params.num_negatives - np.bincount(view.query[chosen], minlength=len(view.starts))
    return (place > 0) & (place <= missing[view.query])


def _weight(table: pa.Table, view: View, params: FilterParams, fit: Fit) -> np.ndarray:
    if params.weight in ("dclr", "gcse"):
        assert params.weight_by is not None
        second = read_score(table, params.weight_by)
        if params.weight == "dclr":
            weight = weights.dclr(second, params.weight_above)
        else:
            assert params.weight_student is not None
            weight = weights.gcse(
                read_score(table, params.weight_student),
                second,
                temperature=params.weight_temperature,
                sigma=params.weight_sigma,
            )
    else:
        relevant = read_score(table, P_RELEVANT)
        if params.weight == "p-relevant":
            weight = weights.irrelevance(relevant)
        else:
            assert fit.relevance is not None
            weight = weights.exposure_corrected(relevant, fit.relevance.exposure(table))
    return np.where(view.positive, np.nan, weight)


def _floats(values: np.ndarray) -> pa.Array:
    return pa.array(values.astype(np.float32), mask=np.isnan(values))


def _stats(
    view: View,
    reason: np.ndarray,
    names: list[str],
    selected: np.ndarray,
    filled: np.ndarray,
    params: FilterParams,
) -> dict[str, int]:
    chosen_per_query = np.bincount(view.query[selected > 0], minlength=len(view.starts))
    unknown = np.isnan(view.positive_score[view.starts])
    stats = {
        "candidates": len(reason),
        "survivors": int((reason < 0).sum()),
        "selected": int((selected > 0).sum()),
        "queries": len(view.starts),
        "queries_without_positive_score": int(unknown.sum()),
        "queries_short": int((chosen_per_query < params.num_negatives).sum()),
        "queries_with_none": int((chosen_per_query == 0).sum()),
    }
    if params.fill_beyond is not None:
        stats["filled"] = int(filled.sum())
    for number, name in enumerate(names):
        stats[f"dropped.{name}"] = int((reason == number).sum())
    return stats


def _counts(total: Counter[str]) -> dict[str, Any]:
    counts: dict[str, Any] = {k: v for k, v in total.items() if not k.startswith("dropped.")}
    counts["dropped"] = {
        name.removeprefix("dropped."): count
        for name, count in total.items()
        if name.startswith("dropped.")
    }
    return counts


def _warnings(counts: dict[str, Any], params: FilterParams, by: str) -> list[str]:
    told = []
    if counts["queries_short"]:
        told.append(
            f"{counts['queries_short']} of {counts['queries']} queries have fewer than "
            f"{params.num_negatives} negatives ({counts['queries_with_none']} have none)"
        )
    if counts["queries_without_positive_score"]:
        told.append(
            f"{counts['queries_without_positive_score']} queries have no positive with a score_{by}"
        )
    return told
