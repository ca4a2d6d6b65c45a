"""``--source NAME=random:N``: documents drawn from the corpus by chance, N for each query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from negmine.errors import UsageError
from negmine.params.retrieve import RetrieveParams
from negmine.sources.base import Asked, Capabilities, Hits, Source
from negmine.sources.child import DOCUMENTS, Needs
from negmine.sources.kind import Kind, Opening, SourceRef
from negmine.table.artifacts.reading import Artifact
from negmine.table.documents import Documents
from negmine.table.draws import digests, salted, splitmix
from negmine.table.ranking import positions_in_group

SCHEME = "random"
#: Bytes of a document: its place, who has that place, and its digest while places are sorted.
_HELD = 24
#: Numbers drawn beyond those that are wanted: some name a document again, or a positive.
_SPARE = 8
#: Numbers drawn at a time.
_AT_ONCE = 1 << 19


class RandomDocuments:
    """So many documents for each query, uniformly and without one twice; no known positive.

    The n-th number of a query is a hash of its id, the seed and n; it names a place in the order of
    the documents' hashed ids. So a query's documents depend on nothing but its id, the seed and the
    corpus, not on the order of the corpus, and a draw reads none of it.

    Args:
        documents: the corpus.
        count: documents of each query.
    """

    def __init__(self, documents: Documents, count: int) -> None:
        self.capabilities = Capabilities(
            searches=False, answers_all=True, reads_corpus=True, each=count
        )
        self._documents = documents
        self._count = count
        self._order: tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None

    def search(self, asked: Asked, k: int) -> Hits:
        """The documents of each query, in the order in which they were drawn; without a score."""
        order, place_of = self._by_hash(asked.seed)
        rows = self._documents.rows(asked.positive_docid)
        known = rows >= 0
        query, place = distinct_places(
            digests(asked.qids, salted(asked.seed, SCHEME)),
            len(order),
            self._count,
            (asked.positive_query[known].astype(np.int64), place_of[rows[known]]),
        )
        docid = self._documents.ids(order[place])
        return Hits(query.astype(np.int32), docid, np.full(len(query), np.nan, dtype=np.float32))

    def _by_hash(self, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(rows of the corpus in the order of their documents' hashed ids, each row's place)."""
        if self._order is None or self._order[0] != seed:
            order = np.argsort(self._documents.hashed(salted(seed, SCHEME)), kind="stable")
            place_of = np.empty_like(order)
            place_of[order] = np.arange(len(order))
            self._order = (seed, order, place_of)
        return self._order[1:]

    def close(self) -> None:
        """Let go of the order."""
        self._order = None


def distinct_places(
    keys: npt.NDArray[np.uint64],
    size: int,
    count: int,
    excluded: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Distinct places in ``range(size)`` for each query, drawn uniformly.

    Args:
        keys: a hash of each query [q].
        size: how many places there are.
        count: how many are wanted; where so many are not left, all of them.
        excluded: (query, place) pairs that are not drawn.

    Returns:
        (query ascending, place in the order of the draw).
    """
    barred = np.unique(excluded[0] * size + excluded[1])
    wanted = np.minimum(count, size - np.bincount(barred // size, minlength=len(keys)))
    found: list[tuple[np.ndarray, np.ndarray]] = []
    open_ = np.flatnonzero(wanted > 0)
    drawn = count + _SPARE
    while len(open_):
        still = []
        at_once = max(1, _AT_ONCE // drawn)
        for start in range(0, len(open_), at_once):
            some = open_[start : start + at_once]
            query, place = _first_places(keys[some], size, drawn, wanted[some], some, barred)
            enough = np.bincount(query, minlength=len(keys))[some] == wanted[some]
            done = np.zeros(len(keys), dtype=bool)
            done[some[enough]] = True
            found.append((query[done[query]], place[done[query]]))
            still.append(some[~enough])
        open_ = np.concatenate(still)
        # Anew with more: the first of these are the same.
        drawn *= 2
    if not found:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    query, place = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    order = np.argsort(query, kind="stable")
    return query[order], place[order]


def _first_places(
    keys: npt.NDArray[np.uint64],
    size: int,
    drawn: int,
    wanted: np.ndarray,
    numbers: np.ndarray,
    barred: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The first wanted distinct places among so many draws of some queries."""
    counter = np.arange(drawn, dtype=np.uint64)
    with np.errstate(over="ignore"):
        number = splitmix(splitmix(keys)[:, None] + counter[None, :])
    # The upper 32 bits of a product of halves: the place floor(number * size / 2^64).
    high, low = number >> np.uint64(32), number & np.uint64(0xFFFFFFFF)
    place = ((high * np.uint64(size)) + ((low * np.uint64(size)) >> np.uint64(32))) >> np.uint64(32)
    query = np.repeat(numbers, drawn)
    pair = query * size + place.astype(np.int64).ravel()
    first = np.zeros(len(pair), dtype=bool)
    first[np.unique(pair, return_index=True)[1]] = True
    first &= ~np.isin(pair, barred)
    query, pair = query[first], pair[first]
    most = np.repeat(wanted, np.bincount(query, minlength=numbers[-1] + 1)[numbers])
    kept = positions_in_group(query) <= most
    return query[kept], pair[kept] % size


# --- the kind of source -------------------------------------------------------------------------


def _choose(
    params: RetrieveParams, wanted: Mapping[str, str], index: Artifact
) -> Sequence[SourceRef]:
    held = {"the_order_of_the_documents": _HELD * int(index.input(DOCUMENTS).counts["documents"])}
    counts = {name: _count(name, rest) for name, rest in wanted.items()}
    return [
        SourceRef(
            name,
            partial(_open, name, count),
            spec=str(count),
            needs=lambda: Needs(fixed=held),
            each=count,
        )
        for name, count in counts.items()
    ]


def drawn_by_chance(params: Mapping[str, Any]) -> list[str]:
    """The sources of this kind among those of a table.

    Args:
        params: settings of the candidates: of this kind they hold a number of documents alone.
    """
    specs: Mapping[str, Any] = params.get("specs", {})
    return [name for name, spec in specs.items() if isinstance(spec, str) and spec.isdigit()]


def _count(name: str, rest: str) -> int:
    """N of ``random:N``.

    Raises:
        UsageError: it is no number of documents.
    """
    if not (rest.isascii() and rest.isdigit() and int(rest) > 0):
        raise UsageError(
            f"--source {name}={SCHEME}:{rest}: '{rest}' is no number of documents",
            hint=f"For example: --source {name}={SCHEME}:20",
        )
    return int(rest)


def _open(name: str, count: int, opening: Opening) -> Source:
    if count >= len(opening.corpus):
        opening.warnings.append(
            f"--source {name}: the corpus has {len(opening.corpus):,} documents: every query has "
            "all of them but its positives"
        )
    return RandomDocuments(opening.corpus, count)


RANDOM = Kind(SCHEME, _choose, scheme=SCHEME, usage=f"{SCHEME}:COUNT")
