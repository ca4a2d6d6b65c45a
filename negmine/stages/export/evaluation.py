"""Which queries an export holds out to be evaluated, what is judged for them, and their corpus.

The corpus is the whole one, or what these queries need of it: what is judged for them, and hard
negatives. So MMTEB made large tasks small (Enevoldsen et al. 2025, arXiv 2502.13595).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.errors import EmptyResultError
from negmine.params.export import ExportParams
from negmine.rules import labels
from negmine.stages.export.choices import Choices, Side, going_out
from negmine.stages.export.setup import Setup
from negmine.table.conservation import conserve


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
class Asked:
    """A part's queries that are evaluated: on their side, and with a positive.

    Attributes:
        qids: their ids, in table order.
        rows: their rows of the ledger.
        positive: which of these are positives.
        judged: which are no positives, and have a grade.
        demoted: how many of their rows were known positives before the filter.
        left_out: how many queries of this side have no positive.
        elsewhere: ids of the queries on the other side.
    """

    qids: pa.Array
    rows: pa.Table
    positive: np.ndarray
    judged: np.ndarray
    demoted: int
    left_out: int
    elsewhere: pa.Array

    @property
    def known(self) -> np.ndarray:
        """Which rows are judged, or positives that the filter chose itself, bool [rows]."""
        return np.asarray(self.positive | self.judged, dtype=bool)


class Evaluation:
    """The evaluation set that an export is asked for, whatever its files look like."""

    def __init__(self, params: ExportParams, setup: Setup) -> None:
        self.params = params
        self.source = setup.source
        self._side: Side = "all" if params.split is None else "heldout"
        self._choices = Choices(setup.source, setup.by, limit=params.limit, split=params.split)

    @property
    def parts(self) -> list[str]:
        """Names of the ledger's parts in use."""
        return self._choices.names

    def texts(self, name: str, qids: pa.Array) -> pa.Array:
        """Texts of a part's queries."""
        return self._choices.query_texts(name, qids)

    def refuse_empty(self) -> None:
        """See whether it would have any query, before anything is written.

        Raises:
            EmptyResultError: it would have none.
        """
        without = 0
        for asked in map(self.asked, self.parts):
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
        """
        total: Counter[str] = Counter()
        whole, found = self.params.beir_corpus == "whole", _Distinct()
        here, elsewhere = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for name in self.parts:
            asked = self.asked(name)
            total.update(_counts(asked))
            here.append(_hashes(self.texts(name, asked.qids)))
            elsewhere.append(_hashes(self.texts(name, asked.elsewhere)))
            if not whole:
                wanted = pa.array(asked.known | self._hard(asked.rows))
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
            total["documents"] = len(self.source.corpus)
            return Survey(total, None)
        docids = found.ids()
        total["documents"] = len(docids)
        return Survey(total, docids)

    def asked(self, name: str) -> Asked:
        """The queries of a part that are evaluated."""
        columns = ["qid", "docid", "label", "grade", "dropped_by", "selected"]
        table = _own_unjudged(self.source.read(name, columns))
        qids, rows, other = self._choices.sides(name, table, self._side)
        positive, _ = self._relevant(rows)
        labelled = rows.column("qid").filter(pa.array(positive)).combine_chunks().unique()
        rows = rows.filter(pc.is_in(rows.column("qid"), value_set=labelled))
        return Asked(
            labelled,
            rows,
            *self._relevant(rows),
            demoted=int((labels.known_in(rows) & (rows.column("label").to_numpy() != 1)).sum()),
            left_out=len(qids) - len(labelled),
            elsewhere=other.column("qid").combine_chunks().unique(),
        )

    def _relevant(self, rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """(the positives, what has a grade and is none), bool [rows] each.

        What was a known positive before the filter is neither.
        """
        label = rows.column("label").to_numpy() == 1
        graded = rows.column("grade").is_valid().to_numpy()
        positive = going_out(label, labels.promoted_in(rows), self.params.promoted)
        return positive, ~label & graded & ~labels.known_in(rows)

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
                f"{own} of the positives were chosen by the filter itself (--promote, "
                "--pseudo-positive) and judged by nobody: --promoted leave-out evaluates without "
                "them"
            )
        if demoted := counts.get("positives_demoted"):
            told.append(
                f"{demoted} known positives that the filter took away (--demote) are left out: "
                "they count neither as relevant nor as judged"
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


def _own_unjudged(table: pa.Table) -> pa.Table:
    """The rows without a grade for positives that the filter made itself: nobody judged them so."""
    own = labels.promoted_in(table)
    if not own.any():
        return table
    at = table.schema.get_field_index("grade")
    grade = pc.if_else(pa.array(own), pa.scalar(None, pa.float64()), table.column("grade"))
    return table.set_column(at, table.schema.field(at), grade)


def _counts(asked: Asked) -> dict[str, int]:
    grade = asked.rows.column("grade").to_numpy(zero_copy_only=False).astype(np.float64)
    used = asked.known
    # Nobody's grade goes out as 1, which means what it says.
    above = np.where(np.isnan(grade), 1.0, grade) > 0
    return {
        "documents": 0,
        "queries": len(asked.qids),
        "judgements": int(used.sum()),
        "positives": int(asked.positive.sum()),
        "positives_unjudged": int((asked.positive & np.isnan(grade)).sum()),
        "positives_demoted": asked.demoted,
        "judged_not_positive": int(asked.judged.sum()),
        "queries_without_positives": asked.left_out,
        "queries_other_side": len(asked.elsewhere),
        "grades_with_fractions": int((used & (np.nan_to_num(grade) % 1 != 0)).sum()),
        "grades_of_another_meaning": int((used & (above != asked.positive)).sum()),
    }


def _hashes(texts: pa.Array) -> np.ndarray:
    """A number for each text, int64; only those of one process compare."""
    return np.fromiter(map(hash, texts.to_pylist()), np.int64, len(texts))


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
