"""What the identity guard needs of every document's text, stored beside the index.

One row per document: the digests of the normalised text with and without its title, its number of
shingles and its MinHash signature, of which the low 16 bits of each value are kept (b-bit minwise
hashing, Li and König 2010, with b = 16: two different minima agree by chance once in 65,536 times,
which is far below the estimate's own error). 276 bytes per document; a filter then reads no text.
An index without them, or with those of another version, is served all the same, by describing the
texts anew: the rows are the same.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from negmine.dedup import minhash
from negmine.dedup.normal import normalise
from negmine.engine.parts import over_parts
from negmine.table import arrays, artifacts
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.reading import Artifact
from negmine.table.artifacts.writing import Writer
from negmine.table.documents import Documents, full_text
from negmine.table.draws import digests

#: Raised when the features of a text change.
VERSION = 3
STAGE = "index.signatures"
#: The folder inside an index, and its role in the index's manifest.
FOLDER = "signatures"
#: What is stored of a text.
ROW = np.dtype(
    [
        ("content", "<u8"),
        ("untitled", "<u8"),
        ("size", "<i4"),
        ("signature", "<u2", (minhash.PERMUTATIONS,)),
    ]
)
#: Corpora up to these sizes are described whole, once per process: an audit filters many times.
_WHOLE_BYTES = 32 << 20
_WHOLE_DOCUMENTS = 50_000

_described: dict[tuple[str, ...], np.ndarray] = {}


def plan(documents: Artifact) -> Plan:
    """What the signatures of these documents are made from."""
    return Plan(
        STAGE, VERSION, {"permutations": minhash.PERMUTATIONS}, artifacts={"documents": documents}
    )


def build(documents: Documents, writer: Writer, progress: Callable[[int], None]) -> None:
    """Describe every part of the corpus into ``part-NNNNN.npy``.

    Raises:
        MissingDependencyError: the MinHash library is not installed.
    """
    names = documents.names

    def described(_: None, target: str, name: str) -> np.ndarray:
        part = documents.artifact.read(name)
        return describe(full_text(part), part.column("title"))

    rows = {name.replace(".parquet", ".npy"): documents.artifact.rows(name) for name in names}

    def write(target: str, features: np.ndarray) -> None:
        writer.add_array(target, features)
        progress(rows[target])

    over_parts(
        zip(rows, names, strict=True),
        finished=writer.has,
        make=described,
        write=write,
        skipped=lambda target, _: progress(rows[target]),
        share=writer.share,
    )


def describe(texts: pa.Array, titles: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The features of texts that begin with these titles, :data:`ROW` [n]."""
    found = np.empty(len(texts), dtype=ROW)
    if isinstance(titles, pa.ChunkedArray):
        titles = titles.combine_chunks()
    made = minhash.describe(texts, titles)
    found["content"], found["untitled"], found["size"] = made.content, made.untitled, made.size
    found["signature"] = made.signature.astype(np.uint16)
    return found


class Signatures:
    """Features of documents by docid: stored, or made when they are asked for.

    Args:
        documents: the corpus.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._stored = stored(documents.artifact)

    @property
    def small(self) -> bool:
        """Whether a corpus without stored features is described whole."""
        size = int(self._documents.artifact.counts.get("text_bytes", 0))
        return describes_whole(size, len(self._documents))

    def fitting(self, size: int) -> int:
        """For how many documents a call of :meth:`take` needs about ``size`` bytes."""
        if self._stored is not None or self.small:
            return max(1, size // ROW.itemsize)
        return self._documents.fitting(size)

    def take(self, docids: pa.Array) -> np.ndarray:
        """The features of distinct docids, :data:`ROW` [n], in that order.

        Raises:
            InvalidDataError: a docid is not in the corpus.
        """
        if self._stored is not None:
            return self._read(docids)
        if self.small:
            return self._whole()[self._documents.known_rows(docids)]
        return describe(*self._documents.titled(docids))

    def contents(self) -> np.ndarray:
        """Digests of all normalised texts, with and without their titles, uint64, ascending."""
        found = []
        if self._stored is not None:
            for name in self._stored.files:
                with self._stored.held(name) as path:
                    part = arrays.mapped(path)
                found += [part["content"].copy(), part["untitled"].copy()]
        first = 0 if self._stored is None else self._documents.written_from
        for row, table in self._documents.parts(["docid", "title", "text"]):
            if row >= first:
                alone = table.column("text").combine_chunks()
                found += [digests(normalise(one).texts) for one in (full_text(table), alone)]
        return np.unique(np.concatenate(found))

    def _read(self, docids: pa.Array) -> np.ndarray:
        """What is stored; of texts beside the corpus nothing is, and they are described."""
        assert self._stored is not None
        rows = self._documents.known_rows(docids)
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        found = np.empty(len(rows), dtype=ROW)
        beside = rows >= self._documents.written_from
        if beside.any():
            found[beside] = describe(*self._documents.titled(docids.filter(pa.array(beside))))
        first = 0
        for name in self._stored.files:
            after = first + self._stored.rows(name)
            low, high = np.searchsorted(ordered, [first, after])
            if high > low:
                with self._stored.held(name) as path:
                    part = arrays.mapped(path)
                found[order[low:high]] = part[ordered[low:high] - first]
            first = after
        return found

    def _whole(self) -> np.ndarray:
        documents = self._documents
        key = (str(documents.artifact.path), *documents.fingerprints)
        if key not in _described:
            parts = [
                describe(full_text(part), part.column("title")) for _, part in documents.parts()
            ]
            _described.clear()
            _described[key] = np.concatenate(parts)
        return _described[key]


def describes_whole(text_bytes: int, documents: int) -> bool:
    """Whether a corpus is small enough for all its texts to be described at once."""
    return text_bytes <= _WHOLE_BYTES and documents <= _WHOLE_DOCUMENTS


def stored(documents: Artifact) -> Artifact | None:
    """The signatures beside these documents, if there are any of this version."""
    found = _beside(documents)
    return found if found and found.fingerprint == plan(documents).fingerprint else None


def outdated(documents: Artifact) -> bool:
    """Whether what lies beside these documents describes them as another version did."""
    found = _beside(documents)
    if found is None or found.stage != STAGE or found.version == VERSION:
        return False
    of = found.inputs.get("documents", {})
    return bool(of.get("fingerprint") == documents.fingerprint)


def _beside(documents: Artifact) -> Artifact | None:
    folder = documents.path.parent / FOLDER
    if not artifacts.is_finished(folder):
        return None
    return artifacts.open_artifact(folder)
