"""What there is to tell of one ledger: counts and distributions, in bounded memory.

Two passes over the parts: the first finds the range of every number, the second fills histograms
of it. Beyond that 16 bytes are held per document that was chosen at least once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.commands.report.histogram import Histogram
from negmine.commands.report.limits import Limit, Limits
from negmine.commands.report.slices import FATES, SELECTED, SURVIVED, Measure, Reader, Slice
from negmine.commands.report.written import Written
from negmine.table import draws, ranking
from negmine.table.candidates import Candidates
from negmine.table.names import LEARNED, rank_column
from negmine.table.part import UNRANKED, Part

#: The rows whose distributions are drawn.
GROUPS = ("positive", "selected", "dropped", "random")
#: Ranks are told in at most this many buckets.
BUCKETS = 20
HUBS = 12
SHORT = 12
_PENDING = 1 << 20
#: Relative margins beyond this are told as this.
_FARTHEST = 4.0


@dataclass(frozen=True)
class Dropped:
    """Rows that a rule dropped, and the queries they belong to."""

    rows: int
    queries: int


@dataclass(frozen=True)
class Distribution:
    """A measure of every group of rows, with the rules' lines."""

    measure: Measure
    groups: dict[str, Histogram]
    limits: list[Limit]


@dataclass(frozen=True)
class Ranks:
    """Rows of one source by their retrieval rank.

    Attributes:
        source: its name.
        counts: rows by fate and rank (column 0 = rank 1), int64 [4, ranks].
        width: ranks in a bucket.
        selected: margins of the selected, a histogram per bucket.
        candidates: margins of all but positives, a histogram per bucket.
    """

    source: str
    counts: np.ndarray
    width: int
    selected: Histogram
    candidates: Histogram

    @property
    def edges(self) -> list[int]:
        """First rank of each bucket, and the rank after the last."""
        return [1 + self.width * n for n in range(self.buckets + 1)]

    @property
    def buckets(self) -> int:
        """How many buckets there are."""
        return -(-self.counts.shape[1] // self.width)

    def bucketed(self) -> np.ndarray:
        """Rows by fate and bucket, int64 [4, buckets]."""
        padding = self.buckets * self.width - self.counts.shape[1]
        padded = np.pad(self.counts, ((0, 0), (0, padding)))
        return padded.reshape(len(FATES), self.buckets, self.width).sum(axis=2)

    def quantiles(self, fate: int, shares: Sequence[float]) -> list[int | None]:
        """Ranks of the rows of one fate that the source found."""
        total = int(self.counts[fate].sum())
        if not total:
            return [None] * len(shares)
        wanted = np.maximum(1, np.ceil(np.asarray(shares) * total - 1e-9))
        return [int(n) + 1 for n in np.searchsorted(np.cumsum(self.counts[fate]), wanted)]


@dataclass(frozen=True)
class Combination:
    """Rows that exactly these sources found."""

    sources: tuple[str, ...]
    fates: tuple[int, ...]

    @property
    def rows(self) -> int:
        """All of them."""
        return sum(self.fates)


@dataclass(frozen=True)
class Hub:
    """A document that was chosen for many queries."""

    docid: str
    chosen: int
    positive: int


@dataclass(frozen=True)
class Hubs:
    """How often documents were chosen.

    Attributes:
        documents: documents chosen at least once.
        reuse: documents by how often they were chosen, ascending.
        top: the most often chosen.
    """

    documents: int
    reuse: list[tuple[int, int]]
    top: list[Hub]


@dataclass(frozen=True)
class ShortQuery:
    """A query with fewer negatives than were wanted."""

    qid: str
    part: str
    chosen: int
    rows: int
    dropped: list[tuple[str, int]]


class Counting(Protocol):
    """What is given every part of a ledger in turn."""

    def add(self, part: Slice) -> None:
        """Count a part."""


@dataclass
class Facts:
    """Everything that the page tells of one ledger, texts apart.

    ``learned`` is by learned score its sum over the chosen and over how many; ``written`` a row of
    words for each type of written texts.
    """

    reader: Reader
    queries: int = 0
    candidates: int = 0
    fates: list[int] = field(default_factory=lambda: [0] * len(FATES))
    dropped: dict[str, Dropped] = field(default_factory=dict)
    sampled: int = 0
    distributions: list[Distribution] = field(default_factory=list)
    ranks: list[Ranks] = field(default_factory=list)
    combinations: list[Combination] = field(default_factory=list)
    hubs: Hubs = field(default_factory=lambda: Hubs(0, [], []))
    chosen_per_query: dict[int, int] = field(default_factory=dict)
    short: list[ShortQuery] = field(default_factory=list)
    learned: dict[str, tuple[float, int]] = field(default_factory=dict)
    written: list[Sequence[str]] = field(default_factory=list)

    @property
    def selected(self) -> int:
        """Negatives chosen."""
        return self.fates[SELECTED]

    @property
    def survivors(self) -> int:
        """Rows that no rule dropped, the chosen among them."""
        return self.fates[SELECTED] + self.fates[SURVIVED]

    @property
    def ledger(self) -> Candidates:
        """The ledger."""
        return self.reader.ledger


def collect(reader: Reader, *also: Counting) -> Facts:
    """Count and measure a ledger.

    Args:
        reader: it, opened.
        also: what else is given every part while it is read.
    """
    measures = reader.measures()
    ranges, deepest = _ranges(reader, measures)
    facts = Facts(reader)
    distributions = [
        Distribution(m, {g: Histogram(*ranges[m]) for g in GROUPS}, []) for m in measures
    ]
    margin = measures[1]
    ranks = [_ranks(source, deepest[source], ranges[margin]) for source in reader.sources]
    dropped: Counter[str] = Counter()
    dropped_queries: Counter[str] = Counter()
    found: Counter[tuple[int, int]] = Counter()
    reuse = _Reuse()
    texts = Written(reader.ledger)
    limits = Limits(ranges, reader)
    chosen: Counter[int] = Counter()
    for part in reader.slices():
        facts.queries += len(part.view.starts)
        facts.candidates += len(part.fate)
        fates = np.bincount(part.fate, minlength=len(FATES))
        facts.fates = [int(a + b) for a, b in zip(facts.fates, fates, strict=True)]
        facts.sampled += int(part.random.sum())
        _add_learned(part, facts)
        _count_dropped(part, dropped, dropped_queries)
        for distribution in distributions:
            values = part.measure(distribution.measure)
            for group, histogram in distribution.groups.items():
                histogram.add(values[part.group(group)])
        margins = part.measure(margin)
        for source in ranks:
            _count_ranks(part, source, margins)
        for key, count in _combinations(part, reader.sources):
            found[key] += count
        reuse.add(part)
        limits.add(part)
        facts.short = _count_short(part, reader, chosen, facts.short)
        for one in (texts, *also):
            one.add(part)
    # The order in which rules are asked, which the manifest keeps; rules without a row too.
    order = dict.fromkeys([*reader.ledger.counts.get("dropped", {}), *dropped])
    facts.dropped = {name: Dropped(dropped[name], dropped_queries[name]) for name in order}
    facts.distributions = [replace(d, limits=limits.of(d.measure)) for d in distributions]
    facts.ranks = ranks
    facts.combinations = _named(found, reader.sources)
    facts.written = texts.rows()
    facts.hubs = _hubs(reader, reuse)
    facts.chosen_per_query = dict(sorted(chosen.items()))
    return facts


def _ranks(source: str, deepest: int, margins: tuple[float, float]) -> Ranks:
    """Nothing counted yet of a source whose ranks go down to ``deepest``."""
    width = max(1, -(-deepest // BUCKETS))
    buckets = max(1, -(-deepest // width))
    return Ranks(
        source,
        np.zeros((len(FATES), deepest), dtype=np.int64),
        width,
        Histogram(*margins, rows=buckets, cells=1024),
        Histogram(*margins, rows=buckets, cells=1024),
    )


# --- ranges -----------------------------------------------------------------------------------


def _ranges(
    reader: Reader, measures: Sequence[Measure]
) -> tuple[dict[Measure, tuple[float, float]], dict[str, int]]:
    """Smallest and greatest value of every measure, and the deepest rank of every source."""
    found = dict.fromkeys(measures, (np.inf, -np.inf))
    deepest = dict.fromkeys(reader.sources, 0)
    for part in reader.slices():
        for measure, (low, high) in found.items():
            values = part.measure(measure)
            values = values[~np.isnan(values)]
            if len(values):
                found[measure] = (min(low, values.min()), max(high, values.max()))
        for source, deep in deepest.items():
            ranks = pc.max(part.table.column(rank_column(source))).as_py()
            deepest[source] = max(deep, ranks or 0)
    for measure, (low, high) in found.items():
        if low > high:
            found[measure] = (0.0, 1.0)
        elif measure.kind == "relative":
            # A positive near 0 makes shares without bounds; they are counted at the ends.
            found[measure] = (max(low, -_FARTHEST), min(high, _FARTHEST))
    return found, deepest


# --- one part ---------------------------------------------------------------------------------


def _add_learned(part: Slice, facts: Facts) -> None:
    chosen = part.group("selected")
    for name in set(LEARNED) & set(facts.reader.scores):
        values = Part(part.table).score(name)[chosen]
        known = values[~np.isnan(values)]
        total, count = facts.learned.get(name, (0.0, 0))
        facts.learned[name] = (total + float(known.sum()), count + len(known))


def _count_dropped(part: Slice, rows: Counter[str], queries: Counter[str]) -> None:
    codes, names = ranking.string_codes(part.table.column("dropped_by").fill_null(""))
    told = names.to_pylist()
    counts = np.bincount(codes, minlength=len(told))
    pairs = np.unique(codes * len(part.view.starts) + part.view.query)
    distinct = np.bincount(pairs // max(1, len(part.view.starts)), minlength=len(told))
    for name, count, number in zip(told, counts.tolist(), distinct.tolist(), strict=True):
        if name:
            rows[name] += count
            queries[name] += number


def _count_ranks(part: Slice, ranks: Ranks, margins: np.ndarray) -> None:
    rank = Part(part.table).rank(ranks.source)
    ranked = rank < UNRANKED
    place = part.fate[ranked].astype(np.int64) * ranks.counts.shape[1] + rank[ranked] - 1
    counted = np.bincount(place, minlength=ranks.counts.size)
    ranks.counts[...] += counted.reshape(ranks.counts.shape)
    bucket = (rank.astype(np.int64) - 1) // ranks.width
    for histogram, mask in (
        (ranks.selected, ranked & part.group("selected")),
        (ranks.candidates, ranked & ~part.view.positive),
    ):
        histogram.add(margins[mask], bucket[mask])


def _combinations(part: Slice, sources: Sequence[str]) -> list[tuple[tuple[int, int], int]]:
    """((bits of the sources that found it, fate), rows)."""
    bits = np.zeros(len(part.fate), dtype=np.int64)
    for number, source in enumerate(sources):
        valid = part.table.column(rank_column(source)).is_valid().to_numpy()
        bits |= valid.astype(np.int64) << number
    keys, counts = np.unique(bits * len(FATES) + part.fate, return_counts=True)
    return [
        ((int(key) // len(FATES), int(key) % len(FATES)), int(count))
        for key, count in zip(keys, counts, strict=True)
    ]


def _named(found: Counter[tuple[int, int]], sources: Sequence[str]) -> list[Combination]:
    bits = {bits for bits, _ in found}
    combinations = [
        Combination(
            tuple(source for n, source in enumerate(sources) if one >> n & 1),
            tuple(found.get((one, fate), 0) for fate in range(len(FATES))),
        )
        for one in bits
    ]
    return sorted(combinations, key=lambda c: (-c.rows, c.sources))


def _count_short(
    part: Slice, reader: Reader, chosen: Counter[int], short: list[ShortQuery]
) -> list[ShortQuery]:
    """Count the negatives of each query; keep the queries that have fewest."""
    starts, query = part.view.starts, part.view.query
    count = np.bincount(query[part.fate == SELECTED], minlength=len(starts))
    for number, queries in zip(*np.unique(count, return_counts=True), strict=True):
        chosen[int(number)] += int(queries)
    few = np.flatnonzero(count < reader.params.num_negatives)
    few = few[np.argsort(count[few], kind="stable")][:SHORT]
    ends = np.append(starts[1:], len(query))
    for one in few:
        rows = part.table.slice(int(starts[one]), int(ends[one] - starts[one]))
        reasons = Counter(r for r in rows.column("dropped_by").to_pylist() if r is not None)
        short.append(
            ShortQuery(
                rows.column("qid")[0].as_py(),
                part.name,
                int(count[one]),
                rows.num_rows,
                reasons.most_common(),
            )
        )
    return sorted(short, key=lambda s: s.chosen)[:SHORT]


class _Reuse:
    """How often each document was chosen, by digest."""

    def __init__(self) -> None:
        self.docs = np.zeros(0, dtype=np.uint64)
        self.counts = np.zeros(0, dtype=np.int64)
        self._pending: list[np.ndarray] = []
        self._size = 0

    def add(self, part: Slice) -> None:
        mask = pa.array(part.fate == SELECTED)
        docids = part.table.column("docid").filter(mask).combine_chunks()
        self._pending.append(draws.digests(docids))
        self._size += len(docids)
        if self._size > _PENDING:
            self.settle()

    def settle(self) -> None:
        docs = np.concatenate([self.docs, *self._pending])
        weights = np.concatenate([self.counts, np.ones(self._size, dtype=np.int64)])
        self.docs, inverse = np.unique(docs, return_inverse=True)
        # Integers below 2**53: exact in float64.
        self.counts = np.bincount(inverse, weights=weights).astype(np.int64)
        self._pending, self._size = [], 0


def _hubs(reader: Reader, reuse: _Reuse) -> Hubs:
    reuse.settle()
    times, documents = np.unique(reuse.counts, return_counts=True)
    most = np.lexsort((reuse.docs, -reuse.counts))[:HUBS]
    wanted = {int(reuse.docs[n]): int(reuse.counts[n]) for n in most if reuse.counts[n] > 1}
    chosen: dict[str, int] = {}
    positive: Counter[str] = Counter()
    if wanted:
        keys = np.array(sorted(wanted), dtype=np.uint64)
        for name in reader.ledger.parts:
            table = reader.ledger.read(name, ["docid", "label"])
            docids, codes = _dictionary(table.column("docid"))
            digests = draws.digests(docids)
            hit = np.isin(digests, keys)
            for number in np.flatnonzero(hit):
                chosen[docids[int(number)].as_py()] = wanted[int(digests[number])]
            labelled = codes[Part(table).positive]
            for number in labelled[hit[labelled]].tolist():
                positive[docids[number].as_py()] += 1
    top = [Hub(docid, count, positive[docid]) for docid, count in chosen.items()]
    return Hubs(
        len(reuse.docs),
        [(int(t), int(d)) for t, d in zip(times, documents, strict=True)],
        sorted(top, key=lambda hub: (-hub.chosen, hub.docid)),
    )


def _dictionary(values: pa.ChunkedArray) -> tuple[pa.Array, np.ndarray]:
    codes, distinct = ranking.string_codes(values)
    return distinct, codes


def counts_of(facts: Facts) -> dict[str, Any]:
    """The counts that a report's own manifest keeps."""
    return {
        "queries": facts.queries,
        "candidates": facts.candidates,
        "survivors": facts.survivors,
        "selected": facts.selected,
    }
