"""Written queries and instructions: a training set, for neither is a document of a corpus.

``query`` makes labelled pairs: a query with its positives and chosen negatives, and every written
query with the document that does not answer it. ``instruction`` makes two triplets of each case:
as it was given, and under the written instruction with positive and negative swapped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from negmine import log, memory
from negmine.errors import InvalidDataError
from negmine.scorers import Scorer
from negmine.stages import cores, examination
from negmine.stages.outcome import Outcome
from negmine.stages.write.asked import calls_in_words, examined, foresee, spent, who
from negmine.stages.write.by_model import CUT_OFF, UNWRITTEN
from negmine.stages.write.cases import Case, Group
from negmine.stages.write.checks import LEFT_OUT, Checks, lost_in, why_nothing
from negmine.stages.write.distinct import DistinctInstructions, DistinctQueries
from negmine.stages.write.drafts import Draft, ids_of
from negmine.stages.write.setup import Setup, plan
from negmine.table import artifacts, writers
from negmine.table.artifacts.replace import Replace
from negmine.table.conservation import conserve
from negmine.table.names import QUERY, SYNTHETIC, score_column

_TEXT = pa.string()
_PAIRS = (
    *(("anchor", _TEXT), ("document", _TEXT), ("label", pa.int64())),
    *(("qid", _TEXT), ("docid", _TEXT), (SYNTHETIC, _TEXT), ("of", _TEXT), ("writer", _TEXT)),
)
_VIEWS = (
    *(("anchor", _TEXT), ("positive", _TEXT), ("negative", _TEXT), ("instruction", _TEXT)),
    *(("qid", _TEXT), ("positive_docid", _TEXT), ("negative_docid", _TEXT)),
    *((SYNTHETIC, _TEXT), ("writer", _TEXT)),
)
_Row = dict[str, Any]


@dataclass(frozen=True)
class _Written:
    """What was written for a group of queries.

    Attributes:
        group: the queries.
        stays: the texts that stay, a case's together.
        scores: of those, by the scorers that verified them.
        stats: what is counted of it.
    """

    group: Group
    stays: Sequence[Draft]
    scores: Mapping[str, np.ndarray]
    stats: Counter[str] = field(default_factory=Counter)


def make(setup: Setup, out: Path, replacing: Replace) -> Outcome:
    """Write the training set.

    Raises:
        InvalidDataError: no text is left.
        NegmineError: a judge is no better than chance, a limit is reached, answers are missing.
    """
    params, planned = setup.params, plan(setup, out)
    state = artifacts.state_of_file(out, planned, replacing=replacing)
    scorers, told = examined(setup, state)
    writer = artifacts.begin_file(out, planned, replacing=replacing)
    if writer is None:
        found = artifacts.file_manifest(out)
        examination.check_made(found, setup.verifying.params)
        return Outcome(out, dict(found["counts"]), True, list(found["warnings"]))
    cores.take(params.threads)
    memory.reset_peak_memory()
    budget = memory.budget(params.memory)
    with writer:
        if params.via == "batch":
            foresee(setup, _making(setup, scorers))
        total: Counter[str] = Counter()
        schema = _schema(setup, scorers)
        tables = _tables(setup, _making(setup, scorers), schema, total)
        suffix = writers.suffix_of(out)
        assert suffix is not None, "its name was looked at"
        rows = writers.write_tables(writer.hidden, suffix, tables, schema)
        counts = _counts(total)
        if not counts["written"]:
            raise InvalidDataError(
                f"nothing was written: {why_nothing(counts)}",
                hint="See docs/writing.md for what each kind needs.",
            )
        conserve("examples", counts["examples"], rows_written=rows)
        warnings = _warnings(counts)
        writer.commit(
            counts,
            warnings=warnings,
            ceiling=budget.ceiling,
            of_run=spent(setup, scorers),
            **who(setup, scorers, told),
        )
    log.warn(warnings)
    return Outcome(out, counts, warnings=warnings)


def _schema(setup: Setup, scorers: Mapping[str, Scorer]) -> pa.Schema:
    if setup.params.kind != QUERY:
        return pa.schema(_VIEWS)
    return pa.schema([*_PAIRS, *((score_column(name), pa.float32()) for name in scorers)])


def _making(setup: Setup, scorers: Mapping[str, Scorer]) -> Callable[[Group], _Written]:
    """What writes for a group, and checks it; one for each time that all groups are gone over."""
    writing = setup.writing
    assert writing is not None, "a model writes them"
    queries = setup.params.kind == QUERY
    distinct = DistinctQueries(setup.known_queries()) if queries else DistinctInstructions()
    checks = Checks(setup, distinct, scorers)

    def made(group: Group) -> _Written:
        drafts, unwritten = writing.drafts(group)
        stays, scores, lost = checks.kept(drafts, group.cases)
        conserve("drafts", len(drafts), kept=len(stays), left_out=sum(lost.values()))
        cases = len(writing.asking.cases(group))
        served = {draft.case.key for draft in stays}
        stats = Counter(
            {
                "queries": len(group.asked),
                "queries_without_text": len(group.asked) - len({qid for qid, *_ in served}),
                "cases": cases,
                "cases_without_text": cases - len(served),
                "drafts": len(drafts),
                "written": len(stays),
                "calls_without_text": unwritten[UNWRITTEN],
                "calls_cut_off": unwritten[CUT_OFF],
            }
        )
        stats.update(lost)
        return _Written(group, stays, scores, stats)

    return made


def _tables(
    setup: Setup, making: Callable[[Group], _Written], schema: pa.Schema, total: Counter[str]
) -> Iterator[pa.Table]:
    """The examples, a group of queries at a time; counts them."""
    rows_of = _pairs if setup.params.kind == QUERY else _views
    with log.progress("writing", None, " queries") as bar:
        for group in setup.groups():
            made = making(group)
            rows = rows_of(made)
            total.update(made.stats)
            total["examples"] += len(rows)
            yield pa.Table.from_pylist(rows, schema=schema)
            bar.update(len(group.asked))


def _pairs(made: _Written) -> list[_Row]:
    """Labelled pairs: of every query its own, and then those of what was written beside it."""
    by_query: dict[str, list[_Row]] = {one.qid: [] for one in made.group.asked}
    positives = [case for case in made.group.cases if case.docid]
    for label, cases in ((1, positives), (0, made.group.chosen)):
        for case in cases:
            by_query[case.qid].append(_pair(case.query, case, label, case.qid))
        made.stats["positives" if label else "chosen_negatives"] = len(cases)
    ids = ids_of([draft.text for draft in made.stays]).to_pylist()
    for number, (qid, draft) in enumerate(zip(ids, made.stays, strict=True)):
        scores = {score_column(name): float(one[number]) for name, one in made.scores.items()}
        known = {name: None if np.isnan(score) else score for name, score in scores.items()}
        told = {SYNTHETIC: draft.type, "of": draft.case.qid, "writer": draft.writer, **known}
        by_query[draft.case.qid].append({**_pair(draft.text, draft.case, 0, qid), **told})
    rows = [row for mine in by_query.values() for row in mine]
    found = {name: made.stats[name] for name in ("positives", "chosen_negatives", "written")}
    conserve("labelled pairs", len(rows), **found)
    return rows


def _pair(query: str, case: Case, label: int, qid: str) -> _Row:
    told = {"qid": qid, "docid": case.docid}
    return {"anchor": query, "document": case.passage, "label": label, **told}


def _views(made: _Written) -> list[_Row]:
    """Of each case that has a written instruction both views, one after the other."""
    rows: list[_Row] = []
    for draft in made.stays:
        case, other = draft.case, draft.case.negative
        assert other is not None, "its cases have one"
        rows.append(_view(case, other, case.instruction))
        told = {SYNTHETIC: draft.type, "writer": draft.writer}
        rows.append({**_view(other, case, draft.text), **told})
    conserve("views", len(rows), given=made.stats["written"], written=made.stats["written"])
    plain = [one for one in made.group.asked if not one.instruction]
    made.stats["queries_without_instruction"] = len(plain)
    return rows


def _view(positive: Case, negative: Case, instruction: str) -> _Row:
    return {
        **{"anchor": positive.query, "positive": positive.passage, "negative": negative.passage},
        **{"instruction": instruction, "qid": positive.qid},
        **{"positive_docid": positive.docid, "negative_docid": negative.docid},
    }


def _counts(total: Counter[str]) -> dict[str, Any]:
    """Counts for the manifest: reasons as a table of their own."""
    plain = {key: count for key, count in total.items() if not key.startswith(LEFT_OUT)}
    first = {key: plain[key] for key in ("queries", "examples", "written")}
    return {**first, **plain, "left_out": lost_in(total)}


def _warnings(counts: Mapping[str, Any]) -> list[str]:
    warnings = []
    if missing := counts["queries_without_text"]:
        warnings.append(f"{missing} of {counts['queries']} queries have no written text")
    if plain := counts.get("queries_without_instruction"):
        warnings.append(f"{plain} queries have no instruction: nothing is written for them")
    return warnings + calls_in_words(counts)
