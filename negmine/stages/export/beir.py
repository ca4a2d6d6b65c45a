"""An evaluation set in BEIR's layout: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/test.tsv``.

Read off BEIR's ``GenericDataLoader``: ids, titles and texts are ``_id``, ``title`` and ``text`` of
JSON lines; judgements are fields between tabs, below a header.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from negmine import log, memory
from negmine.engine.parts import over_parts
from negmine.errors import InvalidDataError
from negmine.params.export import ExportParams
from negmine.stages import words
from negmine.stages.export.evaluation import Evaluation
from negmine.stages.export.setup import Setup
from negmine.stages.outcome import Outcome
from negmine.table import artifacts
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.replace import Replace
from negmine.table.candidates import Candidates
from negmine.table.conservation import conserve

VERSION = 1
#: What makes such a folder, told from a training set.
STAGE = "export.beir"
_CORPUS = pa.schema([(name, pa.string()) for name in ("_id", "title", "text")])
_QUERIES = pa.schema([(name, pa.string()) for name in ("_id", "text")])
_QRELS = pa.schema([(name, pa.string()) for name in ("query-id", "corpus-id", "score")])
#: What would be read as another id: csv takes a quote at the beginning for an opening one.
_UNSPEAKABLE = '^"|[\t\r\n]'
#: Counts that are told when they are 0, too.
_ALWAYS = ("documents", "queries", "judgements", "positives")


def plan(params: ExportParams, setup: Setup) -> Plan:
    """What the folder is made from."""
    names = ("beir_corpus", "split", "promoted", "limit")
    asked = {name: getattr(params, name) for name in names}
    return Plan(STAGE, VERSION, asked, artifacts={"ledger": setup.source.artifact})


def make(params: ExportParams, setup: Setup, out: Path, replacing: Replace) -> Outcome:
    """Write the evaluation set to the folder ``out``.

    Raises:
        EmptyResultError: no query would be in it.
        InvalidDataError: an id that a line of judgements cannot hold.
        ConflictError: see :func:`negmine.table.artifacts.begin`.
    """
    evaluation = Evaluation(params, setup)
    if not params.allow_empty:
        evaluation.refuse_empty()
    writer = artifacts.begin(out, plan(params, setup), replacing=replacing)
    if writer is None:
        found = artifacts.open_artifact(out)
        return Outcome(out, dict(found.counts), True, found.warnings)
    memory.reset_peak_memory()
    budget = memory.budget(params.memory)
    with writer:
        survey = evaluation.survey()
        files: dict[str, tuple[pa.Schema, Iterator[pa.Table], str]] = {
            "qrels/test.tsv": (_QRELS, _qrels(evaluation), "judgements"),
            "queries.jsonl": (_QUERIES, _queries(evaluation), "queries"),
            "corpus.jsonl": (_CORPUS, corpus(evaluation.source, survey.docids), "documents"),
        }
        over_parts(
            files.items(),
            finished=writer.has,
            make=lambda _, name, file: file,
            write=lambda name, file: writer.add_tables(
                name, file[1], file[0], header=name.endswith(".tsv")
            ),
        )
        for name, (_, _, counted) in files.items():
            conserve(counted, survey.counts[counted], rows_written=writer.rows_of(name))
        counts = {k: n for k, n in survey.counts.items() if n or k in _ALWAYS}
        warnings = evaluation.warnings(counts)
        writer.commit(counts, warnings=warnings, ceiling=budget.ceiling)
    return Outcome(out, counts, warnings=warnings)


def tell(outcome: Outcome) -> None:
    """Say what was written beside a training set."""
    if outcome.up_to_date:
        log.event(f"export: {outcome.path} is up to date", stage=STAGE, up_to_date=True)
    else:
        shown = words.told(outcome.counts)
        log.event(f"export: wrote {outcome.path} ({shown})", stage=STAGE, **outcome.counts)


def corpus(source: Candidates, docids: pa.Array | None) -> Iterator[pa.Table]:
    """Documents in the order of the corpus, a part at a time.

    Args:
        source: the table that they belong to.
        docids: which; None stands for all.
    """
    # What was written is no part of the corpus.
    documents = source.corpus if docids is None else source.documents
    rows = None if docids is None else documents.known_rows(docids)
    size = len(documents) if rows is None else len(rows)
    with log.progress("writing the corpus", size, " documents") as bar:
        for part in documents.some(rows, ["docid", "title", "text"]):
            yield part.rename_columns(_CORPUS.names)
            bar.update(part.num_rows)


def _queries(evaluation: Evaluation) -> Iterator[pa.Table]:
    """Ids and texts of the queries, a part at a time."""
    for name in evaluation.parts:
        qids = evaluation.asked(name).qids
        yield pa.table([qids, evaluation.texts(name, qids)], schema=_QUERIES)


def _qrels(evaluation: Evaluation) -> Iterator[pa.Table]:
    """Judged pairs with their grades, a part at a time; a positive without a grade has 1."""
    for asked in map(evaluation.asked, evaluation.parts):
        rows = asked.rows.filter(pa.array(asked.known))
        for name in ("qid", "docid"):
            _check_ids(rows, name)
        grades = pc.fill_null(rows.column("grade"), 1.0).combine_chunks().dictionary_encode()
        # There are few different ones.
        shown = [
            str(int(grade)) if grade.is_integer() else repr(grade)
            for grade in grades.dictionary.to_pylist()
        ]
        told = pa.array(shown, pa.string()).take(grades.indices)
        yield pa.table([rows.column("qid"), rows.column("docid"), told], schema=_QRELS)


def _check_ids(rows: pa.Table, name: str) -> None:
    """Refuse ids that a line of ``test.tsv`` cannot hold.

    Raises:
        InvalidDataError: one has a tab or a line end in it, or begins with a quote.
    """
    column = rows.column(name)
    bad = pc.match_substring_regex(column, _UNSPEAKABLE)
    if pc.any(bad, min_count=0).as_py():
        raise InvalidDataError(
            f"{name} {column.filter(bad)[0].as_py()!r} has a tab or a line end in it, or begins "
            "with a quote: a line of qrels/test.tsv cannot hold it",
            hint="Rename the id in the input.",
        )
