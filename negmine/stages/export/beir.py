"""The held-out queries of a ledger as an evaluation set in BEIR's layout.

``corpus.jsonl``, ``queries.jsonl`` and ``qrels/test.tsv``, as BEIR's ``GenericDataLoader`` reads
them. The corpus is the whole one, or what these queries need of it: what is judged for them, and
hard negatives. So MMTEB made large tasks small (Enevoldsen et al. 2025, arXiv 2502.13595).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import log, memory
from negmine.engine.parts import over_parts
from negmine.errors import EmptyResultError, InvalidDataError
from negmine.params.export import ExportParams
from negmine.stages import words
from negmine.stages.export.choices import Choices, Side
from negmine.stages.export.setup import Setup
from negmine.stages.outcome import Outcome
from negmine.table import artifacts
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.replace import Replace
from negmine.table.conservation import conserve

VERSION = 1
#: What makes such a folder, told from a training set.
STAGE = "export.beir"
_CORPUS = pa.schema([(name, pa.string()) for name in ("_id", "title", "text")])
_QUERIES = pa.schema([(name, pa.string()) for name in ("_id", "text")])
_QRELS = pa.schema([(name, pa.string()) for name in ("query-id", "corpus-id", "score")])
#: What would be read as another id: csv takes a quote at the beginning for an opening one.
_UNSPEAKABLE = '^"|[\t\r\n]'


@dataclass(frozen=True)
class Survey:
    """What an evaluation set will hold.

    Attributes:
        counts: queries, judgements, and what is left out.
        docids: the documents of its corpus, each once; None stands for all.
    """

    counts: Mapping[str, int]
    docids: pa.Array | None


@dataclass(frozen=True)
class _Asked:
    """A part's queries that are evaluated: on their side, and with a positive.

    Attributes:
        qids: their ids, in table order.
        rows: their rows of the ledger.
        positive: which of these are positives.
        judged: which are no positives, and have a grade.
        left_out: how many queries of this side have no positive.
        elsewhere: ids of the queries on the other side.
    """

    qids: pa.Array
    rows: pa.Table
    positive: np.ndarray
    judged: np.ndarray
    left_out: int
    elsewhere: pa.Array


class Evaluation:
    """The evaluation set that an export is asked for, on its way into files."""

    def __init__(self, params: ExportParams, setup: Setup) -> None:
        self.params = params
        self.source = setup.source
        self._side: Side = "all" if params.split is None else "heldout"
        self._promoted = params.promoted == "use"
        self._choices = Choices(setup.source, setup.by, limit=params.limit, split=params.split)

    def plan(self) -> Plan:
        """What it is made from."""
        names = ("beir_corpus", "split", "promoted", "limit")
        params = {name: getattr(self.params, name) for name in names}
        return Plan(STAGE, VERSION, params, artifacts={"ledger": self.source.artifact})

    # --- what it holds ----------------------------------------------------------------------------

    def refuse_empty(self) -> None:
        """See whether it would have any query, before anything is written.

        Raises:
            EmptyResultError: it would have none.
        """
        without = 0
        for asked in map(self._asked, self._choices.names):
            if len(asked.qids):
                return
            without += asked.left_out
        if without:
            what = f"not one of {without} queries has a known positive"
            hint = "Judge some of them (retrieve --qrels)."
        elif self.params.split is not None:
            what, hint = f"--split {self.params.split:g} holds out no query", "Raise --split."
        else:
            what, hint = "the ledger has no query", ""
        raise EmptyResultError(
            f"the evaluation set is empty: {what}",
            where=str(self.source.path),
            hint=f"{hint} --allow-empty writes an empty one.".strip(),
        )

    def survey(self) -> Survey:
        """Count what it will hold, and find its documents.

        Holds the ids of these documents, and 8 bytes a query.

        Raises:
            InvalidDataError: an id that the files cannot hold.
        """
        total: Counter[str] = Counter()
        whole, found = self.params.beir_corpus == "whole", _Distinct()
        here, elsewhere = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for part in self._choices.names:
            asked = self._asked(part)
            total.update(_counts(asked))
            here.append(_hashes(self._choices.query_texts(part, asked.qids)))
            elsewhere.append(_hashes(self._choices.query_texts(part, asked.elsewhere)))
            for name in ("qid", "docid"):
                _check_ids(asked.rows.filter(pa.array(asked.positive | asked.judged)), name)
            if not whole:
                wanted = pa.array(asked.positive | asked.judged | self._hard(asked.rows))
                found.add(asked.rows.column("docid").filter(wanted))
        if self.params.limit is None and "queries" in self.source.counts:
            conserve(
                "queries of the ledger",
                self.source.counts["queries"],
                evaluated=total["queries"],
                without_positives=total["queries_without_positives"],
                on_the_other_side=total["queries_other_side"],
            )
        shared = np.isin(np.concatenate(here), np.concatenate(elsewhere))
        total["queries_of_both_sides"] = int(shared.sum())
        if whole:
            total["documents"] = len(self.source.documents)
            return Survey(total, None)
        docids = found.ids()
        total["documents"] = len(docids)
        return Survey(total, docids)

    def _asked(self, name: str) -> _Asked:
        columns = ["qid", "docid", "label", "grade", "dropped_by", "selected"]
        table = self.source.read(name, columns)
        qids, rows, other = self._choices.sides(name, table, self._side)
        positive, _ = self._relevant(rows)
        labelled = rows.column("qid").filter(pa.array(positive)).combine_chunks().unique()
        rows = rows.filter(pc.is_in(rows.column("qid"), value_set=labelled))
        return _Asked(
            labelled,
            rows,
            *self._relevant(rows),
            left_out=len(qids) - len(labelled),
            elsewhere=other.column("qid").combine_chunks().unique(),
        )

    def _relevant(self, rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """(the positives, what has a grade and is none), bool [rows] each."""
        label = rows.column("label").to_numpy() == 1
        graded = rows.column("grade").is_valid().to_numpy()
        return label & (graded | self._promoted), ~label & graded

    def _hard(self, rows: pa.Table) -> np.ndarray:
        """The rows whose documents make the corpus hard, bool [rows]."""
        match self.params.beir_corpus:
            case "pool":
                hard = np.ones(rows.num_rows, dtype=bool)
            case "survivors":
                hard = rows.column("dropped_by").is_null().to_numpy()
            case _:
                hard = rows.column("selected").is_valid().to_numpy()
        return np.asarray(hard, dtype=bool)

    # --- its files --------------------------------------------------------------------------------

    def queries(self) -> Iterator[pa.Table]:
        """Ids and texts of the queries, a part at a time."""
        for name in self._choices.names:
            qids = self._asked(name).qids
            yield pa.table([qids, self._choices.query_texts(name, qids)], schema=_QUERIES)

    def qrels(self) -> Iterator[pa.Table]:
        """Judged pairs with their grades, a part at a time; a positive without a grade has 1."""
        for asked in map(self._asked, self._choices.names):
            rows = asked.rows.filter(pa.array(asked.positive | asked.judged))
            grades = pc.fill_null(rows.column("grade"), 1.0).to_pylist()
            shown = [str(int(grade)) if grade.is_integer() else repr(grade) for grade in grades]
            columns = [rows.column("qid"), rows.column("docid"), pa.array(shown, pa.string())]
            yield pa.table(columns, schema=_QRELS)

    def corpus(self, docids: pa.Array | None) -> Iterator[pa.Table]:
        """The documents in the order of the corpus, a part at a time.

        Args:
            docids: which; None stands for all.
        """
        documents = self.source.documents
        rows = None if docids is None else documents.known_rows(docids)
        size = len(documents) if rows is None else len(rows)
        with log.progress("writing the corpus", size, " documents") as bar:
            for part in documents.some(rows, ["docid", "title", "text"]):
                yield part.rename_columns(_CORPUS.names)
                bar.update(part.num_rows)

    def warnings(self, counts: Mapping[str, int]) -> list[str]:
        """What the user should know, in words."""
        told = []
        side = "held-out queries" if self._side == "heldout" else "queries"
        if without := counts.get("queries_without_positives"):
            told.append(
                f"{without} of {without + counts['queries']} {side} have no known positive and are "
                "not in the evaluation set"
            )
        if shared := counts.get("queries_of_both_sides"):
            told.append(
                f"{shared} held-out queries have the text of a query of the train side, under "
                "another id: what is learned of the one shows on the other"
            )
        if own := counts.get("positives_unjudged"):
            told.append(
                f"{own} of the positives were chosen by the filter itself (--pseudo-positive) and "
                "judged by nobody: --promoted leave-out evaluates without them"
            )
        if fractions := counts.get("grades_with_fractions"):
            told.append(
                f"{fractions} grades have fractions: BEIR's loader and trec_eval read whole numbers"
            )
        if strange := counts.get("grades_of_another_meaning"):
            grade = self.source.retrieved.params.get("min_grade", 1.0)
            told.append(
                f"{strange} grades are above 0 without making a positive, or make one at 0 or "
                f"below: most tools take what is above 0 for relevant (here it is --min-grade "
                f"{grade:g})"
            )
        return told


def make(params: ExportParams, setup: Setup, out: Path, replacing: Replace) -> Outcome:
    """Write the evaluation set to the folder ``out``.

    Raises:
        NegmineError: see :class:`Evaluation` and :func:`negmine.table.artifacts.begin`.
    """
    evaluation = Evaluation(params, setup)
    if not params.allow_empty:
        evaluation.refuse_empty()
    writer = artifacts.begin(out, evaluation.plan(), replacing=replacing)
    if writer is None:
        found = artifacts.open_artifact(out)
        return Outcome(out, dict(found.counts), True, found.warnings)
    budget = memory.budget(params.memory)
    with writer:
        survey = evaluation.survey()
        files: dict[str, tuple[pa.Schema, Iterator[pa.Table], str]] = {
            "qrels/test.tsv": (_QRELS, evaluation.qrels(), "judgements"),
            "queries.jsonl": (_QUERIES, evaluation.queries(), "queries"),
            "corpus.jsonl": (_CORPUS, evaluation.corpus(survey.docids), "documents"),
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


#: Counts that are told when they are 0, too.
_ALWAYS = ("documents", "queries", "judgements", "positives")


def _counts(asked: _Asked) -> dict[str, int]:
    grade = asked.rows.column("grade").to_numpy(zero_copy_only=False).astype(np.float64)
    used = asked.positive | asked.judged
    # Nobody's grade goes out as 1, which means what it says.
    above = np.where(np.isnan(grade), 1.0, grade) > 0
    return {
        "documents": 0,
        "queries": len(asked.qids),
        "judgements": int(used.sum()),
        "positives": int(asked.positive.sum()),
        "positives_unjudged": int((asked.positive & np.isnan(grade)).sum()),
        "judged_not_positive": int(asked.judged.sum()),
        "queries_without_positives": asked.left_out,
        "queries_other_side": len(asked.elsewhere),
        "grades_with_fractions": int((used & (np.nan_to_num(grade) % 1 != 0)).sum()),
        "grades_of_another_meaning": int((used & (above != asked.positive)).sum()),
    }


def _hashes(texts: pa.Array) -> np.ndarray:
    """A number for each text, int64; only those of one process compare."""
    return np.fromiter(map(hash, texts.to_pylist()), np.int64, len(texts))


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


class _Distinct:
    """Distinct strings of a stream; at most twice as many are held as there are."""

    def __init__(self) -> None:
        self._known = pa.array([], pa.string())
        self._more: list[pa.Array] = []

    def add(self, values: pa.ChunkedArray) -> None:
        """Take in some."""
        self._more.append(values.combine_chunks().unique())
        if sum(map(len, self._more)) > len(self._known):
            self._known = self.ids()
            self._more = []

    def ids(self) -> pa.Array:
        """All so far, each once."""
        return pa.chunked_array([self._known, *self._more], pa.string()).unique()
