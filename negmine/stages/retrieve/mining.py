"""Searching: parts of the candidates table from the sources' hits and the judgements."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import log, memory
from negmine.errors import UsageError
from negmine.params import RetrieveParams
from negmine.sources import Hits, Source, given, judged, languages
from negmine.sources.run_file import open_run
from negmine.sources.union import Judgements, union
from negmine.stages.outcome import conserve
from negmine.stages.retrieve.setup import Setup
from negmine.stages.retrieve.task import Task
from negmine.table import schema as schemas
from negmine.table.artifact import Artifact, Writer
from negmine.table.documents import Documents
from negmine.table.names import rank_column

#: Rows of a part, about: the unit of every later stage's memory and of resuming. A slow scorer on a
#: slow machine does ten pairs a second, so this is the most that a kill costs: some minutes.
PART_ROWS = 8_192
#: Parts up to so many hits of a source, and so many queries, are encoded together: a few full
#: batches of a model, whatever the memory.
GROUP_HITS = 400_000
GROUP_QUERIES = 4096
#: Bytes of a hit while a source's hits are ranked, and while those of the others are held.
_RANKED_HIT, _HELD_HIT = 160, 50


def open_sources(
    params: RetrieveParams, setup: Setup, task: Task, corpus: Documents, budget: memory.Budget
) -> dict[str, Source]:
    """Every source by name, in table order; what is to be told of runs goes to the task."""
    found_by_runs = {name: open_run(path, task.qids, corpus) for name, path in setup.runs.items()}
    for name, found_by_run in found_by_runs.items():
        task.counts.update({f"{name}_{k}": n for k, n in found_by_run.counts.items()})
        task.warnings.extend(f"--run {name}: {told}" for told in found_by_run.warnings)

    def opened(name: str) -> Source:
        if name in setup.runs:
            return found_by_runs[name]
        if name in setup.plugged:
            plugin, argument = setup.plugged[name]
            made: Source = plugin.load()(argument, corpus, params)
            return made
        return _open_source(
            name,
            setup.children[name],
            corpus,
            params,
            setup.prompts.get(name),
            budget,
            len(setup.sources),
            setup.approximate.get(name),
            budget.lists // max(1, len(setup.approximate)),
        )

    if "bm25" in setup.children:
        language = _language(setup.children["bm25"])
        if misfit := languages.misfit(languages.Reading(language, languages.shares(task.texts))):
            task.warnings.append(f"queries: {misfit}, as the index does: few words will be found")
    sources = {name: opened(name) for name in setup.sources}
    if task.given is not None:
        sources[given.NAME] = task.given
    if not sources:
        raise UsageError(
            "--source given: no negative is given", hint="Give --pairs a set that has negatives."
        )
    not_relevant = judged.Judged(task.qids, task.judgements, params.negative_grade)
    if len(not_relevant):
        sources[judged.NAME] = not_relevant
    return sources


def _language(bm25: Artifact) -> str:
    """The language that a BM25 index was made with."""
    language: str = bm25.manifest["params"].get("language", languages.ENGLISH)
    return language


def _open_source(
    name: str,
    artifact: Artifact,
    corpus: Documents,
    params: RetrieveParams,
    prompt: str | None,
    budget: memory.Budget,
    sources: int,
    approximate: Artifact | None,
    lists: int,
) -> Source:
    if name == "bm25":
        from negmine.sources.bm25 import Bm25Source

        return Bm25Source(
            artifact.file("lucene"),
            k1=params.k1,
            b=params.b,
            threads=os.cpu_count() or 1,
            memory_bytes=budget.heap,
            language=_language(artifact),
        )
    from negmine.sources.dense import DenseSource, Vectors, load_query_encoder

    opened = None
    if approximate is not None:
        from negmine.sources.ann import open_index

        opened = open_index(approximate, params.ann or "", lists)

    return DenseSource(
        corpus,
        Vectors(artifact),
        lambda: load_query_encoder(
            artifact,
            name,
            query_prompt=prompt,
            batch_size=params.batch_size,
            device=params.device,
            trusted=params.trust_remote_code,
        ),
        memory=budget.search,
        ann=opened,
        device=params.device,
        together=queries_per_part(params.k, sources) * parts_together(params.k, sources),
    )


def _part_name(number: int) -> str:
    return f"part-{number:05d}.parquet"


def queries_per_part(k: int, sources: int) -> int:
    """Queries whose candidates make a part."""
    return max(1, PART_ROWS // (k * sources))


def parts_together(k: int, sources: int) -> int:
    """Parts whose queries are encoded together."""
    return max(1, min(GROUP_QUERIES, GROUP_HITS // k) // queries_per_part(k, sources))


def queries_at_once(k: int, sources: int, memory_bytes: int) -> int:
    """Queries whose hits take so much memory while they are ranked; at least one."""
    return max(1, memory_bytes // (k * (_RANKED_HIT + _HELD_HIT * sources)))


def mine(
    task: Task, sources: Mapping[str, Source], k: int, writer: Writer, memory_bytes: int
) -> dict[str, Any]:
    """Search some parts at a time, as hits fit the memory; write the union; returns counts."""
    size = queries_per_part(k, len(sources))
    together = parts_together(k, len(sources))
    parts = [
        range(start, min(start + size, len(task.texts)))
        for start in range(0, len(task.texts), size)
    ]
    with log.progress("retrieving", len(task.texts), " queries") as bar:
        numbered = list(enumerate(parts))
        missing = {number for number, _ in numbered if not writer.has(_part_name(number))}
        bar.update(sum(len(part) for number, part in numbered if number not in missing))
        # Always all that is encoded together, some of it being finished or not: what else a model
        # has in its batch shows in the last digits of a score.
        batches = [numbered[start : start + together] for start in range(0, len(parts), together)]
        batches = [batch for batch in batches if any(number in missing for number, _ in batch)]
        at_once = max(1, queries_at_once(k, len(sources), memory_bytes) // (size * together))
        for start in range(0, len(batches), at_once):
            group = [part for batch in batches[start : start + at_once] for part in batch]
            for number, part, table in _search(task, sources, k, group):
                if number not in missing:
                    continue
                bar.part(number + 1, len(parts))
                name = _part_name(number)
                texts = pa.table(
                    {
                        "qid": task.qids.slice(part.start, len(part)),
                        "text": task.texts.slice(part.start, len(part)),
                    }
                )
                if not writer.has(f"_queries/{name}"):
                    writer.add_table(f"_queries/{name}", texts, schemas.QUERIES)
                schema = schemas.candidates(list(sources))
                writer.add_table(name, table, schema, _part_stats(table, sources))
                bar.update(len(part))
    total: Counter[str] = Counter()
    for number in range(len(parts)):
        total.update(writer.stats(_part_name(number)))
    conserve(
        "positives of the mined queries",
        int(task.judgements.positive.sum()),
        rows_labelled_1=total["positives"],
    )
    conserve("candidates", total["candidates"], written=writer.rows())
    # Later stages see rows only: a query without any is lost to them, so it is told here.
    total["queries_without_candidates"] = len(task.texts) - total.pop("queries_with_candidates")
    return dict(total)


def _search(
    task: Task, sources: Mapping[str, Source], k: int, group: Sequence[tuple[int, range]]
) -> Iterator[tuple[int, range, pa.Table]]:
    """Candidates of several parts, searched as one batch of queries."""
    rows = np.concatenate([np.arange(part.start, part.stop) for _, part in group])
    texts = task.texts.take(pa.array(rows)).to_pylist()
    qids = task.qids.take(pa.array(rows)).to_pylist()
    place = np.full(len(task.texts), -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    judged = _select(task.judgements, place[task.judgements.query])
    positives = np.flatnonzero(judged.positive)
    hits: dict[str, Hits] = {}
    scores: dict[str, np.ndarray] = {}
    for name, source in sources.items():
        asked = qids if getattr(source, "asked_by", "text") == "qid" else texts
        hits[name] = source.search(asked, k)
        scores[name] = source.score(
            asked, judged.query[positives], judged.docid.take(pa.array(positives))
        )
    first = 0
    for number, part in group:
        last = first + len(part)
        part_qids = task.qids.slice(part.start, len(part))
        part_hits = {name: _slice_hits(found, first, last) for name, found in hits.items()}
        of_part = _between(judged.query, first, last)
        part_judged = Judgements(
            query=judged.query[of_part] - first,
            docid=judged.docid[of_part],
            grade=judged.grade[of_part],
            positive=judged.positive[of_part],
        )
        scored = _between(positives, of_part.start, of_part.stop)
        part_scores = {name: score[scored] for name, score in scores.items()}
        yield number, part, union(part_qids, part_hits, part_judged, part_scores)
        first = last


def _select(judgements: Judgements, query: np.ndarray) -> Judgements:
    """The judgements whose new query index is not negative, with that index."""
    keep = np.flatnonzero(query >= 0)
    return Judgements(
        query=query[keep].astype(np.int32),
        docid=judgements.docid.take(pa.array(keep)),
        grade=judgements.grade[keep],
        positive=judgements.positive[keep],
    )


def _slice_hits(hits: Hits, first: int, last: int) -> Hits:
    found = _between(hits.query, first, last)
    return Hits(query=hits.query[found] - first, docid=hits.docid[found], score=hits.score[found])


def _between(ascending: np.ndarray, first: int, last: int) -> slice:
    """Where the numbers from ``first`` to below ``last`` are."""
    # Bounds of another type would have all the numbers converted, for every part anew.
    low, high = np.searchsorted(ascending, np.array([first, last], dtype=ascending.dtype))
    return slice(int(low), int(high))


def _part_stats(table: pa.Table, sources: Iterable[str]) -> dict[str, int]:
    label = table.column("label").to_numpy()
    stats = {
        "candidates": table.num_rows,
        "positives": int(label.sum()),
        "queries_with_candidates": len(pc.unique(table.column("qid"))),
    }
    for source in sources:
        found = table.column(rank_column(source)).is_valid().to_numpy()
        stats[f"hits_{source}"] = int(found.sum())
        stats[f"positives_found_{source}"] = int((found & (label == 1)).sum())
    return stats
