"""The parts of a table with the columns of the scorers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import log
from negmine.engine.parts import groups, over_parts
from negmine.errors import InvalidDataError
from negmine.models.checkpoint import Checkpoint
from negmine.models.counting import AT_LIMIT, READ, Reading, read_of
from negmine.params.rerank import RerankParams
from negmine.scorers import GoesOn, Scorer, Scores
from negmine.scorers.base import checked, columns_of
from negmine.stages import lazily, verdicts
from negmine.stages.awaiting import Awaiting
from negmine.stages.lazily import Flags, Piece, Turns
from negmine.stages.rerank.rows import limited, to_score, wanted
from negmine.stages.rerank.setup import Setup
from negmine.table import schemas
from negmine.table.artifacts.writing import Writer
from negmine.table.conservation import conserve
from negmine.table.names import score_column, scorer_column

#: Counts of a scorer that sees some rows alone, in the manifest a table of them.
BY_SCORER = "scored_by"
#: Likewise of pairs that a scorer was asked about, and gave no score.
WITHOUT_SCORE = "without_score"
#: Counts by scorer that are there only where something was counted.
_SUMMED = frozenset({WITHOUT_SCORE, *READ})


def score(
    params: RerankParams,
    setup: Setup,
    scorers: Sequence[Mapping[str, Scorer]],
    writer: Writer,
    size: int,
) -> dict[str, Any]:
    """Write every part of the candidates with its scores.

    Args:
        params: which rows are scored.
        setup: the candidates, and who says that a query has enough.
        scorers: of each device the scorers by name; each scores the next part that no other has
            begun.
        writer: where the parts go.
        size: bytes of document text that are fetched at a time, about.

    Returns:
        Counts.
    """
    source = setup.source
    documents = source.documents
    schema = _schema(source.schema(), scorers[0])
    setup.cascade.check(schema)
    rows = sum(source.rows(name) for name in source.parts)
    number = {name: place for place, name in enumerate(source.parts, 1)}
    # Of a run that stops early the rows that nobody scores count, too: as done.
    counted = params if setup.until is None else replace(params, top=None)
    every = counted.top is None and params.limit is None and setup.sample is None
    asked = rows if every else to_score(counted, source, setup.sample)
    # Several devices work on parts of two groups where one ends.
    at_once = documents.fitting(size // min(2, len(scorers)))
    total: Counter[str] = Counter()
    awaiting = Awaiting()
    with log.progress("scoring", asked * len(scorers[0]), " pairs") as bar:

        def skipped(name: str, _: pa.Table) -> None:
            bar.there(writer.stats(name)["scored"] * len(scorers[0]))
            total.update(writer.stats(name))

        def write(name: str, made: tuple[pa.Table, dict[str, int]] | None) -> None:
            if made is None:
                return
            table, stats = made
            writer.add_table(name, table, schema, stats)
            total.update(stats)
            if setup.until is not None:
                bar.there(stats["unscored"] * len(scorers[0]))

        over_parts(
            limited(source, params.limit, sample=setup.sample),
            finished=writer.has,
            make=awaiting.making(partial(_scored, bar=bar, writer=writer, setup=setup)),
            write=write,
            models=scorers,
            prepare=lambda parts: _with_texts(parts, params, setup, at_once),
            skipped=skipped,
            started=lambda name: bar.part(number[name], len(number)),
            share=writer.share,
        )
    awaiting.check()
    if params.limit is None and setup.sample is None:
        conserve("candidate rows", rows, written=total["candidates"])
    conserve("candidates", total["candidates"], scored=total["scored"], unscored=total["unscored"])
    counts: dict[str, Any] = {key: count for key, count in total.items() if "." not in key}
    if setup.cascade.screens:
        counts[BY_SCORER] = {name: total[_by(name)] for name in setup.cascade.screens}
    failed = {name: total[_without(name)] for name in scorers[0] if total[_without(name)]}
    if failed:
        counts[WITHOUT_SCORE] = failed
    made = [writer.stats(name) for name in source.parts if writer.has(name)]
    return {**counts, **_read(made, scorers[0]), **verdicts.tables(total)}


def _read(parts: Sequence[Mapping[str, int]], scorers: Iterable[str]) -> dict[str, dict[str, int]]:
    """Each count of what was read, by scorer; nothing of who counts no tokens."""
    found = {name: read for name in scorers if (read := read_of(parts, f".{name}"))}
    return {what: {name: read[what] for name, read in found.items()} for what in READ if found}


def told(counts: Mapping[str, Any]) -> list[str]:
    """Of each scorer, of how many pairs (or documents) the end may have been cut off."""
    pairs = "pairs, or documents that it reads by themselves,"
    return [
        f"{name}: {long:,} {pairs} have as many tokens as it reads, so their ends may be cut off "
        "(--max-length)"
        for name, long in counts.get(AT_LIMIT, {}).items()
        if long
    ]


def warnings(counts: Mapping[str, Any]) -> list[str]:
    """A warning of each scorer that gave no score of some pairs, by the counts of a run."""
    return [
        f"{name}: {count:,} pairs have no score, for the scorer failed on them: they are no "
        "negatives; --rebuild asks anew"
        for name, count in counts.get(WITHOUT_SCORE, {}).items()
    ]


def _by(name: str) -> str:
    """The count of the rows that a scorer saw, in what is recorded of a part."""
    return f"{BY_SCORER}.{name}"


def _without(name: str) -> str:
    """The count of the rows that a scorer was asked about and gave no score."""
    return f"{WITHOUT_SCORE}.{name}"


def _without_scores(table: pa.Table, by: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Of each scorer that gives no reasons, how many of the rows that it saw have no score."""
    found: dict[str, int] = {}
    for name, seen in by.items():
        missing = table.column(score_column(name)).is_null().to_numpy() & seen
        if missing.any() and scorer_column("verdict", name) not in table.schema.names:
            found[_without(name)] = int(missing.sum())
    return found


def _schema(schema: pa.Schema, scorers: Mapping[str, Scorer]) -> pa.Schema:
    """The table's columns with those of the scorers.

    Raises:
        InvalidDataError: a scorer declares a column that no table can hold, or that is there.
    """
    for name, scorer in scorers.items():
        schema = schemas.with_scores(schema, [name])
        for column, kind in columns_of(scorer, name).items():
            full = scorer_column(column, name)
            if full in schema.names:
                raise InvalidDataError(
                    f"the scorer '{name}' declares '{column}', and the table has '{full}' already",
                    hint="Give the scorer another name: --scorer NAME=...",
                )
            schema = schema.append(pa.field(full, kind))
    return schema


@dataclass(frozen=True)
class _Part:
    """A part to score.

    Attributes:
        table: its rows.
        turns: when each is scored.
        flags: what was said of them beforehand.
        queries: ids and texts of its queries.
        docids: documents of which there are texts.
        texts: these.
        known: by scorer, what is known of rows that are in no turn.
    """

    table: pa.Table
    turns: Turns
    flags: Flags
    queries: pa.Table
    docids: pa.Array
    texts: pa.Array
    known: Mapping[str, Piece]


def _with_texts(
    parts: Iterable[tuple[str, pa.Table]],
    params: RerankParams,
    setup: Setup,
    at_once: int,
) -> Iterator[tuple[str, _Part]]:
    """Parts with their texts; the corpus is read once for as many documents as fit in memory."""
    source = setup.source
    chosen = _in_turns(parts, params, setup)
    for group in groups(chosen, lambda part: int((part[2].asked >= 0).sum()), at_once):
        # With its type: of no row at all there is no document.
        docids = pa.chunked_array(
            [
                chunk
                for _, table, one, _ in group
                for chunk in table.column("docid").filter(pa.array(one.asked >= 0)).chunks
            ],
            pa.string(),
        ).unique()
        texts = source.documents.texts(docids)
        for name, table, turns, flags in group:
            known = {} if setup.known is None else setup.known.pieces(name, table)
            yield name, _Part(table, turns, flags, source.queries(name), docids, texts, known)


def _in_turns(
    parts: Iterable[tuple[str, pa.Table]], params: RerankParams, setup: Setup
) -> Iterator[tuple[str, pa.Table, Turns, Flags]]:
    """Parts with the turn in which each row is scored, and what is said of the rows."""
    until = setup.until
    if until is None:
        for name, table in parts:
            yield name, table, lazily.at_once(wanted(table, params)), {}
        return
    for name, table, flags in until.flagged(parts):
        places, enough = until.places(table, flags), params.enough or params.enough_block
        turns = lazily.turns(places, until.first(table), enough, params.enough_block)
        asked = wanted(table, params)
        if setup.known is not None:
            asked &= ~setup.known.rows(table)
        yield name, table, turns.only(asked), flags


def _scored(
    scorers: Mapping[str, Scorer],
    name: str,
    part: _Part,
    *,
    bar: log.Progress,
    writer: Writer,
    setup: Setup,
) -> tuple[pa.Table, dict[str, int]]:
    """One part with its new columns, and its counts; scorers see only this part's texts."""
    reading: dict[str, Reading] = {}

    def ask(scorer: str, rows: np.ndarray, turn: int) -> Scores:
        # What a model has in its batch is a turn's: so much of it is kept where a run is cut short.
        of = scorer if setup.until is None else f"{scorer}-{turn}"
        read = reading.setdefault(scorer, Reading(bar))
        if not len(rows):
            read.reads(0, 0)
        return _asked(
            scorers[scorer], scorer, part, rows, read, partial(writer.checkpoint, name, of=of)
        )

    table, by = lazily.score(
        part.table, part.turns, setup.cascade, ask, setup.until, part.flags, part.known
    )
    scored = np.logical_or.reduce(list(by.values()))
    before = {} if setup.known is None else setup.known.stats(name)
    # What nobody asks about is done.
    bar.there(sum(int((scored & ~mine).sum()) for mine in by.values()))
    bar.there(before.get("scored", 0) * len(by))
    stats = {"scored": int(scored.sum())}
    stats |= {_by(one): int(by[one].sum()) for one in setup.cascade.screens}
    stats |= _without_scores(table, by)
    for one, read in reading.items():
        stats |= {f"{what}.{one}": count for what, count in read.counts().items()}
    of_both = [*stats, *(key for key in before if key.partition(".")[0] in _SUMMED)]
    stats = {key: stats.get(key, 0) + before.get(key, 0) for key in dict.fromkeys(of_both)}
    return table, {
        "candidates": table.num_rows,
        "scored": stats.pop("scored"),
        "unscored": table.num_rows - int(scored.sum()) - before.get("scored", 0),
        "queries": len(pc.unique(table.column("qid"))),
        **stats,
        **verdicts.counts(scorers, table),
    }


def _asked(
    scorer: Scorer,
    name: str,
    part: _Part,
    rows: np.ndarray,
    bar: Callable[[int], None],
    checkpoint: Callable[[dict[str, Any]], Checkpoint],
) -> Scores:
    """What a scorer says of some rows of a part; of no rows nobody is asked."""
    columns = columns_of(scorer, name)
    if not len(rows):
        nothing = {column: pa.array([], kind) for column, kind in columns.items()}
        return Scores(np.empty(0, dtype=np.float32), nothing)
    picked = part.table.take(pa.array(rows))
    mine = picked.column("docid").combine_chunks().unique()
    documents = part.texts.take(pc.index_in(mine, value_set=part.docids)).to_pylist()
    asked = part.queries
    pairs = np.stack(
        [
            pc.index_in(picked.column("qid"), value_set=asked.column("qid").combine_chunks()),
            pc.index_in(picked.column("docid"), value_set=mine),
        ],
        axis=1,
    )
    given = (asked.column("text").to_pylist(), documents, pairs, bar)
    if isinstance(scorer, GoesOn):
        said = scorer.score_on(*given, checkpoint(scorer.describe()))
    else:
        said = scorer.score(*given)
    return checked(said, name, columns)
