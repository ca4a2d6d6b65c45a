"""Small artifacts on which the stages' own code is timed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from negmine.scorers import Scores
from negmine.sources import Asked, HasTokens, Hits, capabilities_of
from negmine.sources.union import Judgements
from negmine.stages.retrieve import Task
from negmine.table.artifacts.reading import Artifact
from negmine.table.candidates import Candidates
from negmine.table.documents import ByContent, Documents

_PARTS_READ = 8
#: Documents among which hits are drawn.
_HITS = 10_000


def restricted(source: Candidates, names: Sequence[str]) -> Candidates:
    """The table as if it had these parts only, its counts summed over them."""
    artifact = source.artifact
    every = artifact.files
    # The texts of the queries stay: they are looked up by the part's name.
    files = {name: r for name, r in every.items() if name in names or not name.startswith("part-")}
    counts: Counter[str] = Counter()
    for name in names:
        counts.update({k: v for k, v in every[name]["stats"].items() if isinstance(v, int)})
    manifest = {**artifact.manifest, "files": files, "counts": {**counts}}
    return Candidates(Artifact(artifact.path, manifest))


def written(artifact: Artifact) -> int:
    """Bytes of an artifact's files."""
    total = 0
    for record in artifact.files.values():
        inner = record["files"].values() if "files" in record else [record]
        total += sum(int(file["bytes"]) for file in inner)
    return total


def spread(documents: Documents, count: int) -> Iterator[pa.RecordBatch]:
    """About ``count`` documents at even distances, out of a few parts."""
    names = documents.names
    step = max(1, -(-len(names) // _PARTS_READ))
    read = names[::step]
    held = sum(documents.artifact.rows(name) for name in read)
    every = max(1, held // max(1, count))
    for name in read:
        part = documents.artifact.read(name)
        rows = np.arange(0, part.num_rows, every)
        yield from part.take(pa.array(rows)).to_batches()


class AnyDocument:
    """A corpus that holds whatever is asked for: what is judged is taken to be there."""

    @property
    def added_from(self) -> int:
        """None of its documents was added."""
        return 1

    def rows(self, docids: pa.Array) -> np.ndarray:
        """A row number of each docid."""
        return np.zeros(len(docids), dtype=np.int64)

    def empty(self) -> pa.Array:
        """No document without text."""
        return pa.array([], pa.string())

    def find_contents(self, contents: pa.Array, *, untitled: bool = True) -> ByContent:
        """No document with any of these contents."""
        return ByContent(pa.nulls(len(contents), pa.string()))


class PositivesFirst:
    """A source of random vectors in which the positives score above all else.

    A real encoder places most of them first: by random scores a margin would drop everything. All
    else is the source's.
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self.capabilities = capabilities_of(source)

    def search(self, asked: Asked, k: int) -> Hits:
        """What the source finds."""
        hits: Hits = self._source.search(asked, k)
        return hits

    def tokens(self, queries: Sequence[str]) -> int:
        """What the source's encoder reads."""
        return self._source.tokens(queries) if isinstance(self._source, HasTokens) else 0

    def score(self, asked: Asked, query: np.ndarray, docids: pa.Array) -> npt.NDArray[np.float32]:
        """The source's cosines, which are near 0; for the positives, and 1."""
        found: npt.NDArray[np.float32] = self._source.score(asked, query, docids)
        return found + asked.positive(query, docids).astype(np.float32)

    def close(self) -> None:
        """Let go of what the source holds."""
        self._source.close()


class AnyHits:
    """Stands in for a source whose search costs too much to be tried: documents by chance.

    The positives score above all else, as :class:`PositivesFirst` has them.
    """

    def __init__(self, documents: Documents) -> None:
        self._docids = pa.concat_arrays(
            [batch.column("docid") for batch in spread(documents, _HITS)]
        )
        self._random = np.random.default_rng(0)

    def search(self, asked: Asked, k: int) -> Hits:
        """Some documents of each query."""
        k = min(k, len(self._docids))
        query = np.repeat(np.arange(len(asked), dtype=np.int32), k)
        start = self._random.integers(0, len(self._docids), len(asked))
        row = (np.repeat(start, k) + np.tile(np.arange(k), len(asked))) % len(self._docids)
        score = np.tile(-np.linspace(0, 1, k, dtype=np.float32), len(asked))
        return Hits(query, self._docids.take(pa.array(row)), score)

    def score(self, asked: Asked, query: np.ndarray, docids: pa.Array) -> npt.NDArray[np.float32]:
        """Random numbers; for the positives, and 1."""
        drawn = self._random.uniform(-1, 0, len(query)).astype(np.float32)
        return drawn + asked.positive(query, docids).astype(np.float32)

    def close(self) -> None:
        """Nothing is held."""


class RandomScorer:
    """Stands in for a scorer: the rows get some score, and a verdict where it gives verdicts.

    Args:
        columns: its further columns; all but verdicts are null.
    """

    def __init__(self, columns: Mapping[str, pa.DataType] | None = None) -> None:
        self.columns = dict(columns or {})
        self._random = np.random.default_rng(0)

    def score(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: np.ndarray,
        progress: Any = None,
    ) -> Scores:
        """Random numbers."""
        if progress is not None:
            progress(len(pairs))
        said = {name: pa.nulls(len(pairs), kind) for name, kind in self.columns.items()}
        if "verdict" in said:
            drawn = self._random.integers(0, 2, len(pairs))
            said["verdict"] = pa.array(np.array(["yes", "no"])[drawn].tolist(), pa.string())
        return Scores(self._random.standard_normal(len(pairs), dtype=np.float32), said)

    def describe(self) -> dict[str, Any]:
        """Nothing worth telling."""
        return {}


def some_queries(task: Task, first: int, count: int, inside: pa.Array | None) -> Task:
    """The task with ``count`` of its queries, at even distances.

    Args:
        task: all queries.
        first: how many of these are left out: other queries than those of an earlier call.
        count: how many are wanted.
        inside: where given, the docids that stand in for those that are judged.
    """
    order = np.random.default_rng(0).permutation(len(task.texts))
    rows = np.sort(order[first : first + count])
    place = np.full(len(task.texts), -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    judged = task.judgements
    keep = np.flatnonzero(place[judged.query] >= 0)
    docids = judged.docid.take(pa.array(keep))
    if inside is not None:
        # Neighbours in the list are different documents, as a query's have to be.
        docids = inside.take(pa.array(np.arange(len(keep)) % len(inside)))
    return replace(
        task,
        qids=task.qids.take(pa.array(rows)),
        texts=task.texts.take(pa.array(rows)),
        kept={name: column.take(pa.array(rows)) for name, column in task.kept.items()},
        judgements=Judgements(
            query=place[judged.query[keep]].astype(np.int32),
            docid=docids,
            grade=judged.grade[keep],
            positive=judged.positive[keep],
        ),
    )
