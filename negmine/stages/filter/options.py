"""What the options of ``filter`` mean for one table: columns found, contradictions refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from negmine import rules
from negmine.errors import UsageError, did_you_mean
from negmine.params import bounds
from negmine.params.filter import FilterParams
from negmine.rules import consensus, window
from negmine.sampling import weights
from negmine.stages import rank_only
from negmine.stages.filter import differing, earlier, label_conditions, quotas
from negmine.table import conditions, schemas
from negmine.table.names import (
    FIRST_SCORE,
    LEARNED,
    P_PRIOR,
    P_RELEVANT,
    RELABELLED_BY,
    meta_column,
    rank_column,
    score_column,
)

#: Options that name a score.
_SCORES = ("by", "sample_by", "guide", "weight_by", "weight_student")


@dataclass(frozen=True)
class Columns:
    """The columns that a filter reads, by the names of their scores and sources.

    Attributes:
        by: the score that rules read.
        sample_by: the score that the sampler orders by.
        rank_by: the source whose rank counts; None = the best over all.
        unscored: those of the scores that no row has; ranks stand for them.
    """

    by: str
    sample_by: str
    rank_by: str | None = None
    unscored: tuple[str, ...] = ()


def resolve(
    params: FilterParams,
    schema: pa.Schema,
    kept: Sequence[str] = (),
    empty: rank_only.Empty = lambda name: False,
) -> tuple[FilterParams, Columns]:
    """Check the options against the table's columns.

    Args:
        params: settings.
        schema: the table's.
        kept: columns kept of the corpus.
        empty: whether no row has a source's score.

    Returns:
        (the parameters with scores' names in full, the columns).

    Raises:
        UsageError: an unknown column, or options that contradict each other.
    """
    default = rank_only.default_score(schema, empty)
    full = schemas.with_scores(schema, LEARNED)

    def score(name: str | None, option: str, otherwise: str) -> str:
        return schemas.pick_score(full, name or otherwise, option)

    by = score(params.by, "--by", default)
    sample_by = score(params.sample_by, "--sample-by", by)
    rank_by = _rank_by(params, schema, by)
    changes = _other_scores(params, score, by, sample_by)
    bounds.check_all(params)
    rules.check(params)
    window.check(params, schemas.source_names(schema), schemas.searched_names(schema))
    label_conditions.check(params, full)
    changes |= quotas.check(params, schema, kept)
    changes |= differing.check(params, schema)
    if params.keep_unscored is not None:
        option = "--keep-unscored"
        needed = conditions.parse(params.keep_unscored, option)
        conditions.check(needed, schema, option)
        changes["keep_unscored"] = conditions.told(needed)
    if params.calibrate_by is not None:
        changes["calibrate_by"] = _calibrate_by(params, schema, kept)
    if params.bias_from:
        changes["bias_from"] = _bias_from(params, schema)
    if params.replace_solved is not None:
        changes["replace_solved"] = earlier.source_of(params.replace_solved, schema)
    if params.consensus:
        none = rank_only.unscored(schema, empty, schemas.source_names(schema))
        changes["consensus"] = consensus.named(params, full, none)
    params = replace(params, **changes)
    others = (params.guide, params.weight_by, params.weight_student)
    named = [name for name in others if name is not None]
    missing = rank_only.unscored(schema, empty, [by, sample_by, *named, *params.consensus])
    if missing:
        scored = [name for name in schemas.score_names(schema) if not empty(name)]
        rank_only.refuse_readers(params, by, sample_by, missing, scored)
        if rank_by is None and sample_by in missing and (params.by or params.sample_by):
            # Who names a source that tells ranks alone means its ranks.
            rank_by = sample_by
    unscored = tuple(name for name in missing if name in (by, sample_by))
    columns = Columns(by, sample_by, rank_by, unscored)
    if params.similar_to_positives and not wants_relevance(params):
        raise UsageError(
            "--similar-to-positives is read by p_relevant alone, which nothing here asks for",
            hint="Add --by p_relevant.",
        )
    return params, columns


def foresee(params: FilterParams, schema: pa.Schema) -> None:
    """See, before there is a table, that the scores and sources that options name will be in it.

    Args:
        params: settings.
        schema: of a table with every score and source that may be there.

    Raises:
        UsageError: an option names another one.
    """
    full = schemas.with_scores(schema, LEARNED)
    for option in _SCORES:
        if (name := getattr(params, option)) is not None:
            schemas.pick_score(full, name, f"--{option.replace('_', '-')}")
    consensus.named(params, full, ())
    if params.rank_by is not None:
        _rank_by(params, schema, "")
    if params.bias_from:
        _bias_from(params, schema)


def _rank_by(params: FilterParams, schema: pa.Schema, by: str) -> str | None:
    """The source whose rank counts: the one that is named, or the one that a rule needs."""
    if params.rank_by is not None:
        rank_by = params.rank_by.removeprefix(rank_column(""))
        known = schemas.source_names(schema)
        if rank_by not in known:
            raise UsageError(f"--rank-by: no source '{rank_by}'", hint=did_you_mean(rank_by, known))
        return rank_by
    single = next((rule for rule in rules.asked(params) if rule.ranks == "one"), None)
    if single is None:
        return None
    sources = schemas.searched_names(schema)
    if by not in sources and len(sources) > 1:
        raise UsageError(
            f"{single.option} needs --rank-by: the ranks of several sources are mixed",
            hint=f"One of: {', '.join(sources)}.",
        )
    return by if by in sources else sources[0]


def _other_scores(
    params: FilterParams, score: Callable[[str | None, str, str], str], by: str, sample_by: str
) -> dict[str, Any]:
    """The other scores that are read, by their full names.

    Args:
        params: settings.
        score: finds (a name, for an option, or else another name) among the table's scores.
        by: the score that rules read.
        sample_by: the score that the sampler orders by.
    """
    changes: dict[str, Any] = {}
    if params.guide is not None:
        changes["guide"] = score(params.guide, "--guide", by)
    weight = weights.weight(params.weight)
    if weight is not None and weight.second:
        if params.weight_by is None:
            raise UsageError(
                f"--weight {params.weight} needs --weight-by, the second model's score"
            )
        changes["weight_by"] = score(params.weight_by, "--weight-by", by)
        changes["weight_student"] = score(params.weight_student, "--weight-student", sample_by)
    return changes


def _calibrate_by(params: FilterParams, schema: pa.Schema, kept: Sequence[str]) -> str:
    """The column that ``--calibrate-by`` names: of the table, else kept of the corpus."""
    column = params.calibrate_by
    assert column is not None
    if params.max_fn_rate is None:
        raise UsageError("--calibrate-by needs --max-fn-rate")
    if params.fn_form == "margin":
        raise UsageError("--calibrate-by calibrates scores: leave out --fn-form margin")
    usable = [name for name in schema.names if name not in ("qid", "docid", "label")]
    usable = [name for name in usable if not name.startswith(score_column(""))]
    if column in usable:
        return column
    if column.removeprefix(meta_column("")) in kept:
        return meta_column(column.removeprefix(meta_column("")))
    raise UsageError(
        f"--calibrate-by: no such column '{column}'",
        hint=did_you_mean(column, [*usable, *kept])
        + ("" if kept else f" A column of the corpus must be kept: index again, --keep {column}."),
    )


def _bias_from(params: FilterParams, schema: pa.Schema) -> tuple[str, ...]:
    """The sources whose ranking selected the labels, each once."""
    if params.fn_form == "margin":
        raise UsageError(
            "--bias-from corrects a bound on the score itself, not on its margin",
            hint="Leave out --fn-form margin.",
        )
    known = schemas.searched_names(schema)
    names = dict.fromkeys(name.removeprefix(rank_column("")) for name in params.bias_from)
    for name in names:
        if name not in known:
            raise UsageError(f"--bias-from: no source '{name}'", hint=did_you_mean(name, known))
    return tuple(names)


def wants_relevance(params: FilterParams) -> bool:
    """Whether any score that is read is learned from the user's labels."""
    weight = weights.weight(params.weight)
    return P_RELEVANT in _named(params) or (weight is not None and weight.relevance)


def wants_prior(params: FilterParams) -> bool:
    """Whether any score that is read is the probability by other collections."""
    return P_PRIOR in _named(params)


def _named(params: FilterParams) -> set[str]:
    """The scores that the options name; what is learned here is read only where it is named."""
    every = (*(getattr(params, option) for option in _SCORES), *params.consensus)
    read = {name.removeprefix(score_column("")) for name in every if name is not None}
    return read | label_conditions.learned(params)


def optional_columns(params: FilterParams) -> list[str]:
    """The ledger's columns that only some settings write."""
    wanted = {
        "filled": params.fill_beyond is not None,
        "quota": bool(params.quota),
        "weight": params.weight != "none",
        "difficulty": params.difficulty,
        "tau_plus": params.tau_plus is not None,
        FIRST_SCORE: params.replace_solved is not None,
        RELABELLED_BY: label_conditions.active(params),
    }
    return [name for name, given in wanted.items() if given]
