"""Two ledgers over the same queries, side by side: what became of the same pair in each.

The parts of the first are read in order, and for each of them those parts of the second that hold
any of its queries: one where both descend from the same candidates. Eight bytes are held per query
of the second.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.commands.report import drift, examples
from negmine.commands.report.collect import Facts
from negmine.commands.report.histogram import Histogram
from negmine.commands.report.slices import Measure, Reader, Slice
from negmine.errors import UsageError
from negmine.params.filter import FilterParams
from negmine.table import draws, ranking
from negmine.table.artifacts.reading import Artifact
from negmine.table.candidates import Candidates

CHANGED = 10
_CELLS = 20
_SEPARATOR = "\x1f"
#: Parts of the second ledger held at once.
_HELD = 4
#: Not told as differences: no setting of the user's.
_UNTOLD = ("rules",)


@dataclass(frozen=True)
class Overlaid:
    """The selected of both ledgers (and the first's positives) on a measure that both have."""

    measure: Measure
    first: Histogram
    second: Histogram
    positive: Histogram


@dataclass
class Changed:
    """A query whose negatives differ.

    Attributes:
        qid: its id.
        part: of the first ledger, where its text is found.
        shared: negatives that both chose.
        first: negatives that the first alone chose, docids.
        second: negatives that the second alone chose.
        text: the query's.
        texts: the documents', by docid.
    """

    qid: str
    part: str
    shared: int
    first: list[str]
    second: list[str]
    text: str = ""
    texts: dict[str, str] = field(default_factory=dict)


@dataclass
class Comparison:
    """What there is to tell of two ledgers together.

    Attributes:
        first: facts of the first.
        second: facts of the second.
        same_candidates: both filter the same retrieved table.
        same_corpus: both name the same documents.
        settings: (option, value in the first, in the second), where they differ.
        queries: in both; in the first alone; in the second alone.
        fates: pairs of both by what became of them: (in the first, in the second) -> rows.
        selected: negatives of shared queries: in both, in the first alone, in the second alone.
        agreement: queries by Jaccard similarity of their negatives, 20 cells of 0..1; the last
            holds 1 too.
        identical: queries with the same negatives.
        drift: how the score of the rules moved; None where that is not the same one's.
        overlaid: distributions of the selected.
        changed: the queries that differ most.
    """

    first: Facts
    second: Facts
    same_candidates: bool
    same_corpus: bool
    settings: list[tuple[str, Any, Any]]
    queries: list[int] = field(default_factory=lambda: [0, 0, 0])
    fates: Counter[tuple[str, str]] = field(default_factory=Counter)
    selected: list[int] = field(default_factory=lambda: [0, 0, 0])
    agreement: np.ndarray = field(default_factory=lambda: np.zeros(_CELLS, dtype=np.int64))
    identical: int = 0
    drift: drift.Drift | None = None
    overlaid: list[Overlaid] = field(default_factory=list)
    changed: list[Changed] = field(default_factory=list)


def compare(first: Facts, second: Facts) -> Comparison:
    """Read both ledgers together.

    Raises:
        UsageError: they share no query.
    """
    a, b = first.reader, second.reader
    found = Comparison(
        first,
        second,
        same_candidates=_same(a.ledger.retrieved, b.ledger.retrieved),
        same_corpus=_same(a.ledger.documents.artifact, b.ledger.documents.artifact),
        settings=_settings(a, b),
        drift=drift.of(a, b),
    )
    places, numbers = _where(b.ledger)

    @lru_cache(_HELD)
    def other(number: int) -> pa.Table:
        more = found.drift.columns if found.drift is not None else []
        return b.ledger.read(b.ledger.parts[number], [*_columns(), *more])

    for part in a.slices():
        qids = part.table.column("qid").combine_chunks().unique()
        digests = draws.digests(qids)
        at, here = ranking.find(places, digests)
        shared = qids.filter(pa.array(here))
        found.queries[0] += len(shared)
        found.queries[1] += len(qids) - len(shared)
        tables = [other(int(n)) for n in np.unique(numbers[at[here]])] if len(shared) else []
        rows = [t.filter(pc.is_in(t.column("qid"), value_set=shared)) for t in tables]
        if rows:
            _count(found, part, pa.concat_tables(rows), shared)
    found.queries[2] = second.queries - found.queries[0]
    if not found.queries[0]:
        raise UsageError(
            "the two ledgers share no query",
            where=f"{a.ledger.path} and {b.ledger.path}",
            hint="Compare ledgers that were filtered from the same candidates.",
        )
    found.overlaid = _overlaid(first, second)
    _fetch(found)
    return found


def _columns() -> list[str]:
    return ["qid", "docid", "label", "dropped_by", "selected"]


def _same(a: Artifact, b: Artifact) -> bool:
    return a.fingerprint == b.fingerprint


def _settings(a: Reader, b: Reader) -> list[tuple[str, Any, Any]]:
    """Options whose values differ, the filter's and which models scored."""
    first, second = a.ledger.params, b.ledger.params
    names = [n for n in dict.fromkeys([*first, *second]) if n not in _UNTOLD]
    default = FilterParams()
    found = [
        (
            name.replace("_", "-"),
            first.get(name, getattr(default, name, None)),
            second.get(name, getattr(default, name, None)),
        )
        for name in names
    ]
    return [row for row in found if row[1] != row[2]]


def _where(ledger: Candidates) -> tuple[np.ndarray, np.ndarray]:
    """(digests of all qids, sorted; the number of the part that holds each)."""
    digests, numbers = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.int32)]
    for number, name in enumerate(ledger.parts):
        qids = ledger.read(name, ["qid"]).column("qid").combine_chunks().unique()
        digests.append(draws.digests(qids))
        numbers.append(np.full(len(qids), number, dtype=np.int32))
    all_digests, all_numbers = np.concatenate(digests), np.concatenate(numbers)
    order = np.argsort(all_digests, kind="stable")
    return all_digests[order], all_numbers[order]


def _overlaid(first: Facts, second: Facts) -> list[Overlaid]:
    """Distributions of the measures that both ledgers have."""
    other = {d.measure: d for d in second.distributions}
    return [
        Overlaid(
            d.measure,
            d.groups["selected"],
            other[d.measure].groups["selected"],
            d.groups["positive"],
        )
        for d in first.distributions
        if d.measure in other
    ]


def _fate(table: pa.Table) -> pa.Array:
    """``selected``, ``survived``, or what ``dropped_by`` says: ``positive``, or a rule."""
    rest = pc.if_else(pc.is_valid(table.column("selected")), "selected", "survived")
    fate = pc.if_else(pc.is_valid(table.column("dropped_by")), table.column("dropped_by"), rest)
    return fate.combine_chunks() if isinstance(fate, pa.ChunkedArray) else fate


def _keys(table: pa.Table) -> pa.Array:
    keys = pc.binary_join_element_wise(table.column("qid"), table.column("docid"), _SEPARATOR)
    return keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys


def _count(found: Comparison, part: Slice, other: pa.Table, shared: pa.Array) -> None:
    """Count one part of the first ledger against its queries' rows of the second."""
    mine = part.table.filter(pc.is_in(part.table.column("qid"), value_set=shared))
    left, right = _fate(mine), _fate(other)
    at = pc.index_in(_keys(mine), value_set=_keys(other))
    if found.drift is not None:
        found.drift.add(mine, other, at.fill_null(-1).to_numpy().astype(np.int64))
    there = right.take(at).fill_null("not a candidate")
    pairs = pa.table({"a": left, "b": there}).group_by(["a", "b"]).aggregate([([], "count_all")])
    for row in pairs.to_pylist():
        found.fates[row["a"], row["b"]] += row["count_all"]
    missing = pc.invert(pc.is_in(_keys(other), value_set=_keys(mine)))
    for row in right.filter(missing).value_counts().to_pylist():
        found.fates["not a candidate", row["values"]] += row["counts"]

    chosen_a = mine.filter(pc.equal(left, "selected"))
    chosen_b = other.filter(pc.equal(right, "selected"))
    both = pc.is_in(_keys(chosen_a), value_set=_keys(chosen_b))
    size = len(shared)

    def per_query(table: pa.Table) -> np.ndarray:
        number = pc.index_in(table.column("qid"), value_set=shared).to_numpy()
        return np.bincount(number, minlength=size)

    count_a, count_b = per_query(chosen_a), per_query(chosen_b)
    common = per_query(chosen_a.filter(both))
    found.selected[0] += int(common.sum())
    found.selected[1] += int((count_a - common).sum())
    found.selected[2] += int((count_b - common).sum())
    union = count_a + count_b - common
    # Two queries without any negative agree.
    jaccard = np.where(union > 0, common / np.maximum(union, 1), 1.0)
    cell = np.minimum((jaccard * _CELLS).astype(np.int64), _CELLS - 1)
    found.agreement += np.bincount(cell, minlength=_CELLS)
    found.identical += int((common == union).sum())
    _keep_changed(found, part.name, shared, jaccard, union - common, chosen_a, chosen_b)


def _keep_changed(
    found: Comparison,
    part: str,
    qids: pa.Array,
    jaccard: np.ndarray,
    differing: np.ndarray,
    chosen_a: pa.Table,
    chosen_b: pa.Table,
) -> None:
    """Keep the queries in which most negatives differ."""
    rows = np.flatnonzero(differing > 0)
    rows = rows[np.lexsort((rows, jaccard[rows], -differing[rows]))][:CHANGED]
    for row in rows.tolist():
        qid = qids[row].as_py()
        a, b = (
            t.filter(pc.equal(t.column("qid"), qid)).sort_by("selected").column("docid").to_pylist()
            for t in (chosen_a, chosen_b)
        )
        in_a, in_b = set(a), set(b)
        found.changed.append(
            Changed(
                qid,
                part,
                len(in_a & in_b),
                [docid for docid in a if docid not in in_b],
                [docid for docid in b if docid not in in_a],
            )
        )
    found.changed.sort(key=lambda c: -(len(c.first) + len(c.second)))
    del found.changed[CHANGED:]


def _fetch(found: Comparison) -> None:
    a, b = found.first.ledger, found.second.ledger
    first = a.documents.texts_by_id(d for c in found.changed for d in c.first)
    second = b.documents.texts_by_id(d for c in found.changed for d in c.second)
    queries = examples.query_texts(a, [(c.part, c.qid) for c in found.changed])
    for changed in found.changed:
        changed.text = queries[changed.qid]
        changed.texts = {d: first[d] for d in changed.first}
        changed.texts |= {d: second[d] for d in changed.second}
