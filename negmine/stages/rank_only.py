"""Scores that no row of a table has, as of runs of ranks alone: ranks stand for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from negmine import rules
from negmine.errors import UsageError
from negmine.params.filter import FilterParams
from negmine.sampling import samplers, weights
from negmine.table import schemas
from negmine.table.candidates import Candidates
from negmine.table.names import score_column
from negmine.table.part import UNRANKED, Part

#: Answers whether a source's score is null in every row.
Empty = Callable[[str], bool]


def empty_in(source: Candidates) -> Empty:
    """Answers for a table, reading one column, up to the first part with a score."""
    known: dict[str, bool] = {}

    def empty(name: str) -> bool:
        if name not in known:
            column = score_column(name)
            counts = (
                (table.num_rows, table.column(column).null_count)
                for table in (source.read(part, [column]) for part in source.parts)
            )
            known[name] = all(rows == nulls for rows, nulls in counts)
        return known[name]

    return empty


def default_score(schema: pa.Schema, empty: Empty) -> str:
    """The last scorer, else the first source, but one with scores where a search has any."""
    first = schemas.pick_score(schema, None, "--by")
    sources = schemas.source_names(schema)
    if first not in sources or not empty(first):
        return first
    return next((name for name in schemas.searched_names(schema) if not empty(name)), first)


def unscored(schema: pa.Schema, empty: Empty, names: Sequence[str]) -> tuple[str, ...]:
    """Those of some scores that are sources' and null in every row."""
    sources = schemas.source_names(schema)
    return tuple(name for name in dict.fromkeys(names) if name in sources and empty(name))


def refuse_readers(
    params: FilterParams, by: str, sample_by: str, missing: Sequence[str], scored: Sequence[str]
) -> None:
    """Refuse options that read a score that no row has.

    Args:
        params: settings.
        by: the score that rules read.
        sample_by: the score that the sampler orders by.
        missing: those that no row has.
        scored: scores that some rows have.

    Raises:
        UsageError: a rule, a sampler or a column reads a missing score.
    """
    if by in missing:
        given = [rule.option for rule in rules.RULES if rule.scores and rule.active(params)]
        given += ["--difficulty"] if params.difficulty else []
        if given:
            _refuse(given[0], by, "--by", scored)
    if sample_by in missing and samplers.sampler(params.sampler).distances:
        _refuse(f"--sampler {params.sampler}", sample_by, "--sample-by", scored)
    if params.guide is not None and params.guide in missing:
        _refuse("--guide", params.guide, "--guide", scored)
    for name in params.consensus:
        if name in missing:
            _refuse("--consensus", name, "--consensus", scored)
    weight = weights.weight(params.weight)
    for option in ("weight_by", "weight_student") if weight is not None and weight.second else ():
        name = getattr(params, option)
        if name in missing:
            _refuse(f"--weight {params.weight}", name, f"--{option.replace('_', '-')}", scored)


def _refuse(asked: str, name: str, option: str, scored: Sequence[str]) -> None:
    others = f"name a score that rows have ({option} {' or '.join(scored)}), " if scored else ""
    raise UsageError(
        f"{asked} reads scores, and no row has a score_{name}: its source tells ranks alone",
        hint=f"Score the candidates first (negmine rerank --scorer NAME=MODEL), {others}"
        f"or leave {asked} out: without it the best ranks are taken.",
    )


def preference(table: pa.Table, rank_by: str | None) -> np.ndarray:
    """What stands for a score that no row has: greater for better ranks, float64 [rows].

    Rows that only a training set or judgements bring come after those that were found, in their
    own order.
    """
    part = Part(table)
    rank = part.rank(rank_by).astype(np.float64)
    others = schemas.not_searched_names(table.schema)
    brought = np.full(table.num_rows, float(UNRANKED))
    for name in others:
        brought = np.minimum(brought, part.rank(name).astype(np.float64))
    return -np.where(rank < UNRANKED, rank, UNRANKED + brought)


def told(by: str, sample_by: str, rank_by: str | None, missing: Sequence[str]) -> list[str]:
    """What is said where ranks stand for scores."""
    if sample_by not in missing:
        return [f"no row has a score_{by}: no row is dropped for want of it"] if missing else []
    ranks = "the best rank over the sources" if rank_by is None else f"rank_{rank_by}"
    return [
        f"no row has a score_{sample_by}: {ranks} stands for it; for scores: negmine rerank "
        "--scorer NAME=MODEL"
    ]


def fingerprint(columns: dict[str, object]) -> dict[str, object]:
    """What stands for the columns in a fingerprint: the same as ever where scores are there."""
    return {name: value for name, value in columns.items() if name != "unscored" or value}
