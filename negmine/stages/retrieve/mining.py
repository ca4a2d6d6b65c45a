"""Searching: parts of the candidates table from the sources' hits and the judgements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import log
from negmine.engine.parts import groups, over_parts
from negmine.params.retrieve import RetrieveParams
from negmine.sources import Asked, HasColumns, Hits, ScoresPairs, Source, capabilities_of
from negmine.sources.base import HasRecall
from negmine.sources.union import Candidates, Judgements, gather, union
from negmine.stages.retrieve import bands
from negmine.stages.retrieve.bands import Band, Extent
from negmine.stages.retrieve.depths import depths
from negmine.stages.retrieve.depths import search as depths_search
from negmine.stages.retrieve.task import Task
from negmine.table import schemas
from negmine.table.artifacts.writing import Writer
from negmine.table.conservation import conserve
from negmine.table.names import rank_column, scorer_column

#: Rows of a part, about: the unit of every later stage's memory and of resuming.
PART_ROWS = 8_192
#: Parts up to so many hits of a source, and so many queries, are encoded together: a few full
#: batches of a model, whatever the memory.
GROUP_HITS = 400_000
GROUP_QUERIES = 4096
#: Bytes of a hit while a source's hits are ranked, and of a row while another source scores it;
#: then of a candidate while all are held, by itself and for each source.
_RANKED_HIT, _SCORED_ROW, _HELD_ROW, _HELD_SCORE = 160, 120, 90, 12

#: Under which names it is told what approximate searches miss.
_RECALL = "recall."


def _part_name(number: int) -> str:
    return f"part-{number:05d}.parquet"


def queries_per_part(extent: Extent) -> int:
    """Queries whose candidates make a part."""
    # What a part is cut out of must not be more than is searched together.
    return max(1, min(PART_ROWS // (extent.kept * extent.sources), GROUP_HITS // extent.hits))


def parts_together(extent: Extent) -> int:
    """Parts whose queries are encoded together."""
    return max(1, min(GROUP_QUERIES, GROUP_HITS // extent.hits) // queries_per_part(extent))


def queries_together(extent: Extent) -> int:
    """Queries that are encoded together."""
    return queries_per_part(extent) * parts_together(extent)


def queries_at_once(k: int, sources: int, memory_bytes: int) -> int:
    """Queries whose hits take so much memory while they are ranked; at least one."""
    return max(1, memory_bytes // (k * _bytes_of_rank(sources)))


def _bytes_of_rank(sources: int) -> int:
    """Bytes that go with each rank of a query's rankings."""
    working = max(_RANKED_HIT, _SCORED_ROW * (sources - 1))
    return working + (_HELD_ROW + _HELD_SCORE * sources) * sources


def mine(
    task: Task,
    sources: Mapping[str, Source],
    params: RetrieveParams,
    writer: Writer,
    memory_bytes: int,
) -> dict[str, Any]:
    """Search some parts at a time, as hits fit the memory; write the union; returns counts.

    Args:
        task: the queries.
        sources: who is asked, by name.
        params: how many candidates, scored by whom, and the seed.
        writer: where the parts go.
        memory_bytes: what may be held at a time.
    """
    each = {name: capabilities_of(source).each for name, source in sources.items()}
    extent = bands.extent(params, each)
    size, together = queries_per_part(extent), parts_together(extent)
    parts = [
        range(start, min(start + size, len(task.texts)))
        for start in range(0, len(task.texts), size)
    ]
    named = {_part_name(number): part for number, part in enumerate(parts)}
    places = {name: place for place, name in enumerate(named, 1)}
    schema = schema_of(sources)
    costly = any(capabilities_of(source).costly for source in sources.values())
    at_once = 0 if costly else memory_bytes // _bytes_of_rank(len(sources))
    search = _Search(task, sources, params, extent.hits, schema)
    asked_bands = bands.parse(params)
    recalls = _agreed_recalls(sources, writer)
    with log.progress("retrieving", len(task.texts), " queries") as bar:

        def write(name: str, table: pa.Table) -> None:
            part = named[name]
            recalls()
            if not writer.has(f"_queries/{name}"):
                asked = schemas.queries(list(task.kept))
                columns = [task.qids, task.texts, *task.kept.values()]
                texts = pa.table([each.slice(part.start, len(part)) for each in columns], asked)
                writer.add_table(f"_queries/{name}", texts, asked)
            stats = _part_stats(table, sources) | _short_of_bands(table, len(part), asked_bands)
            writer.add_table(name, table, schema, stats)
            bar.update(len(part))

        over_parts(
            named.items(),
            # Either may have been damaged since it was finished.
            finished=lambda name: writer.has(name) and writer.has(f"_queries/{name}"),
            make=search.made,
            write=write,
            prepare=lambda missing: _found(search, list(named.items()), together, at_once, missing),
            skipped=lambda name, part: bar.update(len(part)),
            started=lambda name: bar.part(places[name], len(places)),
            share=writer.share,
            together=together,
        )
    return _totals(task, writer, named)


def _agreed_recalls(sources: Mapping[str, Source], writer: Writer) -> Callable[[], None]:
    """Have the sources know what approximate searches miss, if another process has told it.

    Returns:
        What tells others of what was measured here, before there is a part that was searched so:
        who collects searches nothing, and tells it of the whole.
    """
    approximate = {name: one for name, one in sources.items() if isinstance(one, HasRecall)}
    for name, one in approximate.items():
        one.recall = writer.told(_RECALL + name) or one.recall
    new = {name for name, one in approximate.items() if one.recall is None}

    def tell() -> None:
        for name in [name for name in new if approximate[name].recall is not None]:
            approximate[name].recall = writer.tell(_RECALL + name, approximate[name].recall or {})
            new.remove(name)

    return tell


def schema_of(sources: Mapping[str, Source]) -> pa.Schema:
    """Columns of the table that these sources make."""
    others = {name for name, one in sources.items() if not capabilities_of(one).searches}
    columns = {
        scorer_column(column, name): kind
        for name, one in sources.items()
        if isinstance(one, HasColumns)
        for column, kind in one.columns.items()
    }
    written = {name for name, one in sources.items() if capabilities_of(one).written}
    return schemas.candidates(list(sources), others, columns, written)


def _totals(task: Task, writer: Writer, names: Iterable[str]) -> dict[str, Any]:
    """Counts of all parts, and whether nothing was lost on the way."""
    total: Counter[str] = Counter()
    for name in names:
        total.update(writer.stats(name))
    conserve(
        "positives of the mined queries",
        int(task.judgements.positive.sum()),
        rows_labelled_1=total["positives"],
    )
    conserve("candidates", total["candidates"], written=writer.rows())
    # Later stages see rows only: a query without any is lost to them, so it is told here.
    with_candidates = total.pop("queries_with_candidates")
    total["queries_without_candidates"] = len(task.texts) - with_candidates
    total["queries_of_positives_only"] = with_candidates - total.pop("queries_with_negatives")
    return dict(total)


_Part = tuple[str, range]


@dataclass(frozen=True)
class _Search:
    """What every part's search reads.

    Attributes:
        task: the queries.
        sources: who is asked, by name.
        params: how many candidates, scored by whom, and the seed.
        hits: of a query, of the source that has most.
        schema: of the table.
    """

    task: Task
    sources: Mapping[str, Source]
    params: RetrieveParams
    hits: int
    schema: pa.Schema

    @cached_property
    def slices(self) -> dict[str, Band]:
        """The slice of each source's ranking that is taken."""
        return bands.slices(self.params, self.sources)

    @cached_property
    def _by_reach(self) -> dict[int, np.ndarray]:
        reaches = {self.hits, *(taken.end for taken in self.slices.values())}
        queries = len(self.task.texts)
        return {reach: depths(self.task.judgements, queries, reach) for reach in reaches}

    def depth(self, source: str) -> np.ndarray:
        """How deep each query is searched by a source, int64 [queries]."""
        return self._by_reach[self.slices[source].end]

    def ranks(self, batch: Sequence[_Part]) -> int:
        """Ranks that a batch's queries are searched for, of one source."""
        deepest = self._by_reach[self.hits]
        return sum(int(deepest[part.start : part.stop].sum()) for _, part in batch)

    def made(self, _: None, name: str, found: tuple[range, Candidates]) -> pa.Table:
        """A part's table of what was found for its queries."""
        part, candidates = found
        return union(self.task.qids.slice(part.start, len(part)), candidates, self.schema)


def _found(
    search: _Search,
    parts: Sequence[_Part],
    together: int,
    at_once: int,
    missing: Iterable[_Part],
) -> Iterator[tuple[str, tuple[range, Candidates]]]:
    """The candidates of the missing parts, as many searched at a time as fit.

    Always all that is encoded together, some of it being finished or not: what else a model has in
    its batch shows in the last digits of a score.
    """
    names = {name for name, _ in missing}
    batches = [parts[start : start + together] for start in range(0, len(parts), together)]
    batches = [batch for batch in batches if any(name in names for name, _ in batch)]
    for group in groups(batches, search.ranks, at_once):
        searched = [part for batch in group for part in batch]
        for (name, part), candidates in zip(searched, _candidates(search, searched), strict=True):
            if name in names:
                yield name, (part, candidates)


def _candidates(search: _Search, group: Sequence[_Part]) -> list[Candidates]:
    """Candidates of several parts, searched as one batch of queries."""
    task, sources = search.task, search.sources
    rows = np.concatenate([np.arange(part.start, part.stop) for _, part in group])
    place = np.full(len(task.texts), -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    judged = _select(task.judgements, place[task.judgements.query])
    asked = Asked(
        qids=task.qids.take(pa.array(rows)),
        texts=task.texts.take(pa.array(rows)).to_pylist(),
        positive_query=judged.query[judged.positive],
        positive_docid=judged.docid.filter(pa.array(judged.positive)),
        kept={name: column.take(pa.array(rows)) for name, column in task.kept.items()},
        seed=search.params.seed,
    )
    hits = {}
    for name, source in sources.items():
        with log.waiting(f"searching with {name}"):
            hits[name] = depths_search(source, asked, search.depth(name)[rows])
    taken = {
        name: (part.first, part.end)
        for name, part in search.slices.items()
        if not capabilities_of(sources[name]).answers_all
    }
    firsts = np.cumsum([0, *(len(part) for _, part in group)]).tolist()
    found = []
    for first, last in pairwise(firsts):
        part_hits = {name: _slice_hits(every, first, last) for name, every in hits.items()}
        found.append(gather(part_hits, _slice_judgements(judged, first, last), taken))
    del hits
    for name, source in sources.items():
        if isinstance(source, ScoresPairs):
            _score_not_found(name, source, asked, found, firsts, not search.params.score_union)
        if isinstance(source, HasColumns):
            _say_of_all(name, source, asked, found, firsts)
    return found


def _score_not_found(
    name: str,
    source: ScoresPairs,
    asked: Asked,
    found: Sequence[Candidates],
    firsts: Sequence[int],
    positives_only: bool,
) -> None:
    """Fill in a source's scores of the pairs that it did not find, of several parts at once.

    Args:
        name: the source's name.
        source: who scores.
        asked: all the parts' queries.
        found: each part's candidates, whose scores are filled in.
        firsts: each part's first query among those asked.
        positives_only: leave the pairs without a score that are no known positives.
    """
    rows = [candidates.not_found_by(name, positives_only) for candidates in found]
    if not any(map(len, rows)):
        return
    query = np.concatenate(
        [
            candidates.query[some] + first
            for candidates, some, first in zip(found, rows, firsts, strict=False)
        ]
    )
    docids = [
        candidates.docid.take(pa.array(some)) for candidates, some in zip(found, rows, strict=True)
    ]
    wanted = pa.chunked_array(docids, pa.string()).combine_chunks()
    with log.waiting(f"scoring with {name} what others found"):
        scores = source.score(asked, query.astype(np.int32), wanted)
    start = 0
    for candidates, some in zip(found, rows, strict=True):
        candidates.score[name][some] = scores[start : start + len(some)]
        start += len(some)


def _say_of_all(
    name: str,
    source: HasColumns,
    asked: Asked,
    found: Sequence[Candidates],
    firsts: Sequence[int],
) -> None:
    """Take down what a source has to say of every pair, of several parts at once.

    Args:
        name: the source's name.
        source: who says it.
        asked: all the parts' queries.
        found: each part's candidates, whose columns are filled in.
        firsts: each part's first query among those asked.
    """
    numbers = [one.query + first for one, first in zip(found, firsts, strict=False)]
    docids = pa.chunked_array([one.docid for one in found], pa.string()).combine_chunks()
    said = source.say(asked, np.concatenate(numbers).astype(np.int32), docids)
    start = 0
    for candidates in found:
        rows = len(candidates.docid)
        for column, values in said.items():
            candidates.columns[scorer_column(column, name)] = values.slice(start, rows)
        start += rows


def _select(judgements: Judgements, query: np.ndarray) -> Judgements:
    """The judgements whose new query index is not negative, with that index."""
    keep = np.flatnonzero(query >= 0)
    return Judgements(
        query=query[keep].astype(np.int32),
        docid=judgements.docid.take(pa.array(keep)),
        grade=judgements.grade[keep],
        positive=judgements.positive[keep],
    )


def _slice_judgements(judgements: Judgements, first: int, last: int) -> Judgements:
    some = _between(judgements.query, first, last)
    return Judgements(
        query=judgements.query[some] - first,
        docid=judgements.docid[some],
        grade=judgements.grade[some],
        positive=judgements.positive[some],
    )


def _slice_hits(hits: Hits, first: int, last: int) -> Hits:
    found = _between(hits.query, first, last)
    return Hits(query=hits.query[found] - first, docid=hits.docid[found], score=hits.score[found])


def _between(ascending: np.ndarray, first: int, last: int) -> slice:
    """Where the numbers from ``first`` to below ``last`` are."""
    # Bounds of another type would have all the numbers converted, for every part anew.
    low, high = np.searchsorted(ascending, np.array([first, last], dtype=ascending.dtype))
    return slice(int(low), int(high))


def _short_of_bands(table: pa.Table, queries: int, asked: Mapping[str, Band]) -> dict[str, int]:
    """Queries of a part whose rankings end before a band does, by its source."""
    stats = {}
    negatives = table.filter(pa.array(table.column("label").to_numpy() == 0))
    for name, band in asked.items():
        found = negatives.filter(negatives.column(rank_column(name)).is_valid())
        counts = found.group_by("qid", use_threads=False).aggregate([([], "count_all")])
        full = pc.sum(pc.greater_equal(counts.column("count_all"), len(band))).as_py() or 0
        stats[f"short_of_band_{name}"] = queries - full
    return stats


def _part_stats(table: pa.Table, sources: Mapping[str, Source]) -> dict[str, int]:
    label = table.column("label").to_numpy()
    stats = {
        "candidates": table.num_rows,
        "positives": int(label.sum()),
        "queries_with_candidates": len(pc.unique(table.column("qid"))),
        "queries_with_negatives": len(pc.unique(table.column("qid").filter(pa.array(label == 0)))),
    }
    found = {
        name: table.column(rank_column(name)).is_valid().to_numpy().astype(bool) for name in sources
    }
    finders = np.sum(list(found.values()), axis=0)
    for name, source in sources.items():
        stats[f"hits_{name}"] = int(found[name].sum())
        stats[f"positives_found_{name}"] = int((found[name] & (label == 1)).sum())
        if capabilities_of(source).counted:
            stats[found_again(name)] = int((found[name] & (finders > 1)).sum())
    return stats


def found_again(name: str) -> str:
    """The count of a source's finds that others found, too."""
    return f"found_again_{name}"
