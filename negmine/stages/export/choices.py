"""Who was chosen: positives and negatives of every query of a ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.errors import UsageError, did_you_mean
from negmine.formats.base import Chosen, Examples, Kind, Measure, nothing
from negmine.rules import labels
from negmine.table import schemas
from negmine.table.candidates import Candidates
from negmine.table.names import SYNTHETIC, rank_column, score_column
from negmine.table.part import Part

Side = Literal["all", "train", "heldout"]
#: What stands for the negatives (``--negatives``), and the ledger's count of them.
NEGATIVES: Mapping[str, str] = {"chosen": "selected", "survivors": "survivors"}
#: The extra column that the ledger does not hold: which positives the filter chose itself.
PROMOTED = "promoted"


@dataclass(frozen=True)
class Piece:
    """Some of the examples, and what is counted about them."""

    name: str
    examples: Examples
    chosen: Chosen
    stats: dict[str, int]


class Choices:
    """What a ledger chose, part by part or as a whole, without the documents' texts.

    Args:
        ledger: the ledger.
        by: name of the score that goes out.
        ranks: read the sources' ranks of the negatives.
        extras: columns that go out beside the documents.
        order_by: column that the examples are ordered by.
        promoted: which of the positives that the filter made itself and of the known ones go out,
            as ``--promoted`` says it.
        negatives: a key of :data:`NEGATIVES`.
        limit: only the first so many queries.
        split: share of the queries that is held out.

    Raises:
        UsageError: the ledger has no such extra column, or it holds text.
    """

    def __init__(
        self,
        ledger: Candidates,
        by: str,
        *,
        ranks: bool = False,
        extras: Sequence[str] = (),
        order_by: str | None = None,
        promoted: str = "use",
        negatives: str = "chosen",
        limit: int | None = None,
        split: float | None = None,
    ) -> None:
        self.ledger = ledger
        self.sources = schemas.source_names(ledger.schema()) if ranks else []
        self.extras = _kinds(ledger.schema(), extras)
        if order_by is not None:
            _kinds(ledger.schema(), [order_by], "--order-by")
        self._order_by = order_by
        self._promoted = promoted
        self._survivors = negatives == "survivors"
        self._by = score_column(by)
        self._split = split
        self._most: dict[str, int | None] = dict.fromkeys(ledger.parts)
        if limit is not None:
            self._most = {}
            for name in ledger.parts:
                if limit <= 0:
                    break
                self._most[name] = limit
                limit -= len(pc.unique(ledger.read(name, ["qid"]).column("qid")))

    @property
    def names(self) -> list[str]:
        """The parts in use."""
        return list(self._most)

    def part(self, name: str, side: Side) -> tuple[Chosen, int]:
        """The choices of one part on one side of the split.

        Returns:
            The choices, and how many negatives lie on the other side.
        """
        columns = ["qid", "docid", "label", "dropped_by", self._by, "selected"]
        columns += [rank_column(source) for source in self.sources]
        columns += [extra for extra in self.extras if extra not in (PROMOTED, SYNTHETIC)]
        columns += [rank_column(one) for one in self.ledger.written if SYNTHETIC in self.extras]
        columns += [self._order_by] if self._order_by is not None else []
        table = self.ledger.read(name, list(dict.fromkeys(columns)))
        used = pc.or_(pc.equal(table.column("label"), 1), self._negative(table))
        # A query without a chosen row still counts as a query, so its first row is kept.
        first = np.zeros(table.num_rows, dtype=bool)
        first[Part(table).starts] = True
        table = table.filter(pc.or_(used, pa.chunked_array([pa.array(first)])))
        qids, table, other = self.sides(name, table, side)
        elsewhere = pc.sum(self._negative(other)).as_py() or 0
        return self._chosen(table, qids, self.query_texts(name, qids)), elsewhere

    def sides(self, name: str, table: pa.Table, side: Side) -> tuple[pa.Array, pa.Table, pa.Table]:
        """Ids of a part's queries on a side, their rows, and the rows of the other side.

        Args:
            name: the part.
            table: rows of it, at least one of every query.
            side: which side.
        """
        qids = table.column("qid").combine_chunks().unique()
        most = self._most[name]
        if most is not None and len(qids) > most:
            qids = qids.slice(0, most)
            table = table.filter(pc.is_in(table.column("qid"), value_set=qids))
        if side == "all":
            return qids, table, table.slice(0, 0)
        assert self._split is not None
        held_out = qids_held_out(qids, self._split)
        qids = qids.filter(pa.array(held_out == (side == "heldout")))
        here = pc.is_in(table.column("qid"), value_set=qids)
        return qids, table.filter(here), table.filter(pc.invert(here))

    def query_texts(self, name: str, qids: pa.Array) -> pa.Array:
        """Texts of a part's queries."""
        queries = self.ledger.queries(name)
        at = pc.index_in(qids, value_set=queries.column("qid").combine_chunks())
        return queries.column("text").combine_chunks().take(at)

    def _negative(self, table: pa.Table) -> pa.ChunkedArray:
        """True for the rows that stand for negatives."""
        if self._survivors:
            candidate = pc.not_equal(table.column("label"), 1)
            return pc.and_(candidate, pc.is_null(table.column("dropped_by")))
        return pc.is_valid(table.column("selected"))

    def _chosen(self, table: pa.Table, qids: pa.Array, texts: pa.Array) -> Chosen:
        """The positives and the negatives of one part, as indices."""
        docids = table.column("docid").combine_chunks().unique()
        query = pc.index_in(table.column("qid"), value_set=qids).to_numpy().astype(np.int64)
        doc = pc.index_in(table.column("docid"), value_set=docids).to_numpy().astype(np.int64)
        score = table.column(self._by).to_numpy().astype(np.float64)
        own = labels.promoted_in(table)
        positive = np.flatnonzero(going_out(Part(table).positive, own, self._promoted))
        negative = self._ordered(table, query, score)
        return Chosen(
            qids=qids,
            query_texts=texts,
            docids=docids,
            doc_texts=None,
            positive_query=query[positive],
            positive_doc=doc[positive],
            positive_score=score[positive],
            negative_query=query[negative],
            negative_doc=doc[negative],
            negative_score=score[negative],
            negative_ranks={
                source: pc.fill_null(table.column(rank_column(source)), 0).to_numpy()[negative]
                for source in self.sources
            },
            extras=tuple(
                Measure(name, kind, values[positive], values[negative])
                for name, kind in self.extras.items()
                for values in [own.astype(float) if name == PROMOTED else self._values(table, name)]
            ),
            negative_order=np.empty(0)
            if self._order_by is None
            else _floats(table, self._order_by)[negative],
            positive_promoted=own[positive],
        )

    def _values(self, table: pa.Table, name: str) -> np.ndarray:
        """An extra column; of ``synthetic`` whether a row's document was written."""
        if name != SYNTHETIC:
            return _floats(table, name)
        ranks = [table.column(rank_column(one)).is_valid() for one in self.ledger.written]
        found = [rank.to_numpy().astype(np.float64) for rank in ranks]
        return np.max([np.zeros(table.num_rows), *found], axis=0)

    def _ordered(self, table: pa.Table, query: np.ndarray, score: np.ndarray) -> np.ndarray:
        """Rows of the negatives, query by query: the chosen in their order, others by score."""
        rows = np.flatnonzero(self._negative(table).to_numpy())
        number = pc.fill_null(table.column("selected"), np.iinfo(np.int32).max).to_numpy()[rows]
        worse = np.where(np.isnan(score[rows]), np.inf, -score[rows])
        return rows[np.lexsort((worse, number, query[rows]))]

    def whole(self, side: Side) -> tuple[Chosen, int]:
        """The choices of all parts; see :meth:`part`. Holds the chosen rows, but no text."""
        found = [self.part(name, side) for name in self.names]
        joined = _joined([chosen for chosen, _ in found], self.nothing())
        return joined, sum(n for _, n in found)

    def nothing(self) -> Chosen:
        """No choice, for the schema."""
        return nothing(self.sources, self.extras)

    def integer_ids(self) -> bool:
        """Whether every id of the ledger is an integer, written as one."""
        for name in self.names:
            for column in self.ledger.read(name, ["qid", "docid"]).columns:
                plain = pc.match_substring_regex(column, "^(0|[1-9][0-9]{0,17})$")
                if not pc.all(plain, min_count=0).as_py():
                    return False
        return True


def going_out(positive: np.ndarray, own: np.ndarray, promoted: str) -> np.ndarray:
    """The positives that ``--promoted`` lets out, bool [rows].

    Args:
        positive: all of them.
        own: those that the filter made itself.
        promoted: ``use``, ``leave-out`` or ``only``.
    """
    if promoted == "use":
        return positive
    return positive & (own if promoted == "only" else ~own)


def qids_held_out(qids: pa.Array, share: float) -> np.ndarray:
    """True for the queries that a split holds out: a hash of the id decides, and nothing else."""
    digests = b"".join(
        hashlib.blake2b(qid.encode(), digest_size=8, person=b"negmine.split").digest()
        for qid in qids.to_pylist()
    )
    return np.frombuffer(digests, dtype="<u8").astype(np.float64) / 2.0**64 < share


def _kinds(schema: pa.Schema, extras: Sequence[str], option: str = "--extra") -> dict[str, Kind]:
    """What the values of each extra column are."""
    numbers = [field.name for field in schema if not pa.types.is_string(field.type)]
    kinds: dict[str, Kind] = {PROMOTED: "flag", SYNTHETIC: "flag"} if option == "--extra" else {}
    for name in numbers:
        if pa.types.is_boolean(schema.field(name).type):
            kinds[name] = "flag"
        else:
            kinds[name] = "real" if pa.types.is_floating(schema.field(name).type) else "integer"
    for name in extras:
        if name not in kinds:
            missing = "holds text" if name in schema.names else "is not in the ledger"
            raise UsageError(f"{option}: '{name}' {missing}", hint=did_you_mean(name, kinds))
    return {name: kinds[name] for name in extras}


def _floats(table: pa.Table, name: str) -> np.ndarray:
    """A column of numbers or marks as float64, NaN where it is null."""
    column = table.column(name)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    return column.cast(pa.float64()).to_numpy()


def _joined(parts: list[Chosen], empty: Chosen) -> Chosen:
    """Parts as one; no query spans two parts, but documents do."""
    if not parts:
        return replace(empty, doc_texts=None)
    docids = pa.chunked_array([part.docids for part in parts], pa.string()).unique()
    doc_code = [pc.index_in(part.docids, value_set=docids).to_numpy() for part in parts]
    first = np.cumsum([0, *(len(part.qids) for part in parts)])

    def join(arrays: Iterable[np.ndarray]) -> np.ndarray:
        return np.concatenate(list(arrays))

    return Chosen(
        qids=pa.chunked_array([part.qids for part in parts], pa.string()).combine_chunks(),
        query_texts=pa.chunked_array(
            [part.query_texts for part in parts], pa.string()
        ).combine_chunks(),
        docids=docids,
        doc_texts=None,
        positive_query=join(p.positive_query + first[i] for i, p in enumerate(parts)),
        positive_doc=join(doc_code[i][p.positive_doc] for i, p in enumerate(parts)),
        positive_score=join(p.positive_score for p in parts),
        negative_query=join(p.negative_query + first[i] for i, p in enumerate(parts)),
        negative_doc=join(doc_code[i][p.negative_doc] for i, p in enumerate(parts)),
        negative_score=join(p.negative_score for p in parts),
        negative_ranks={s: join(p.negative_ranks[s] for p in parts) for s in empty.negative_ranks},
        extras=tuple(
            replace(
                measure,
                positive=join(p.extras[i].positive for p in parts),
                negative=join(p.extras[i].negative for p in parts),
            )
            for i, measure in enumerate(empty.extras)
        ),
        negative_order=join(p.negative_order for p in parts),
        positive_promoted=join(p.positive_promoted for p in parts),
    )
