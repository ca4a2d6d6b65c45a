"""The positives of the nearest queries: ``--source NAME=neighbours:ENCODER/query``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import log
from negmine.models.base import Encoder
from negmine.models.devices import gpus
from negmine.sources.base import Asked, Capabilities, Hits
from negmine.sources.encoded import Behind
from negmine.sources.exact import MEMORY
from negmine.sources.nearest import Nearest, Pairs, expanded, greatest, joined
from negmine.sources.vectors import Spilled, score_pairs
from negmine.table.ranking import find, positions_in_group, string_codes

#: So many times the documents that are wanted is how many queries are looked at, at most: nearer
#: ones may share their positives.
_WIDEST = 8


@dataclass(frozen=True)
class _Known:
    """The queries among which neighbours are sought, and their positives.

    Attributes:
        qids: their ids, string [n].
        vectors: their vectors.
        nearest: the search of these.
        ends: where each query's positives end, int64 [n].
        docids: the positives, each once, ascending, string [d].
        code: each query's positives as places there, ascending within a query, int64 [p].
    """

    qids: pa.Array
    vectors: Spilled
    nearest: Nearest
    ends: np.ndarray
    docids: pa.Array
    code: np.ndarray

    @cached_property
    def count(self) -> np.ndarray:
        """How many positives each query has."""
        return np.diff(self.ends, prepend=0)

    @cached_property
    def by_document(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(queries in the order of their positives, first of each document, how many it has)."""
        owner = np.repeat(np.arange(len(self.ends)), self.count)
        count = np.bincount(self.code, minlength=len(self.docids))
        return owner[np.argsort(self.code, kind="stable")], np.cumsum(count) - count, count

    def places(self, asked: Asked) -> np.ndarray:
        """The place of each query that is asked."""
        found: np.ndarray = pc.index_in(asked.qids, value_set=self.qids).to_numpy()
        return found.astype(np.int64)


class QueryNeighbours:
    """Documents that are positives of queries near the query; what is its own is none of them.

    A document's score is the greatest product of the query's vector with that of any other query
    whose positive it is. Of each query the ``8k`` nearest are looked at, at most.

    All queries are encoded once, in batches that do not depend on who is asked, and their vectors
    lie in a file.

    Args:
        every: the queries among which neighbours are sought, their texts as an Arrow array; None:
            those of the batch that is asked, where it is only tried what a search costs.
        load: loads the encoder of queries.
        memory: bytes for a search.
        device: where models run; the search goes where the encoder does.
        together: queries encoded together.
        folder: where the file with the vectors lies.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(searches=False, reads_corpus=True)

    def __init__(
        self,
        every: Asked | None,
        load: Callable[[], Encoder],
        *,
        memory: int = MEMORY,
        device: str = "auto",
        together: int = 4096,
        folder: Path | None = None,
    ) -> None:
        self._every = every
        self._load = load
        self._memory = memory
        self._device = device
        self._together = together
        self._folder = folder
        self._encoder: Encoder | None = None
        self._spent: dict[str, Any] = {}
        self._known: tuple[Asked, _Known] | None = None

    def tokens(self, queries: Sequence[str]) -> int:
        """Tokens that the encoder reads for these queries."""
        return int(self._loaded().lengths(queries, "query").sum())

    def _loaded(self) -> Encoder:
        if self._encoder is None:
            self._encoder = self._load()
        return self._encoder

    def _known_of(self, asked: Asked) -> _Known:
        """The queries among which those of a batch have their neighbours."""
        every = self._every or (asked.among[0] if asked.among else asked)
        if self._known is None or self._known[0] is not every:
            self._let_go()
            self._known = (every, self._encoded(every))
            if self._every is not None:
                # Nobody asks for another vector.
                self._let_encoder_go()
        return self._known[1]

    def _encoded(self, every: Asked) -> _Known:
        code, docids = string_codes(every.positive_docid)
        query = every.positive_query.astype(np.int64)
        order = np.lexsort((code, query))
        encoder = self._loaded()
        on = gpus(self._device, encoder.placement.device)
        with log.progress("encoding queries for their neighbours", len(every), " queries") as bar:
            vectors = Spilled(self._blocks(every, encoder, bar), encoder.dimension, self._folder)
        nearest = Nearest(
            vectors, lambda rows: every.qids.take(pa.array(rows)), memory=self._memory, on=on
        )
        ends = np.cumsum(np.bincount(query, minlength=len(every)))
        return _Known(every.qids, vectors, nearest, ends, docids, code[order])

    def _blocks(self, every: Asked, encoder: Encoder, bar: log.Progress) -> Iterator[np.ndarray]:
        for start in range(0, len(every), self._together):
            texts = every.texts[start : start + self._together]
            some = texts.to_pylist() if isinstance(texts, pa.Array) else list(texts)
            yield encoder.encode(some, "query", bar)

    def search(self, asked: Asked, k: int) -> Hits:
        """The k best documents of each query, by (-score, docid)."""
        known = self._known_of(asked)
        place = known.places(asked)
        barred = self._own(known, asked)
        open_ = np.arange(len(asked))
        widths = sorted({min(len(known.qids), width) for width in (k + 1, _WIDEST * k)})
        found = []
        for width in widths:
            positives = -(-len(known.code) // len(known.qids))
            more = 4 * known.vectors.dimension + 80 * width * positives
            still = []
            for some in known.nearest.groups(len(open_), width, more):
                pairs, done = self._near(
                    known, open_[some], place, barred, (width, k), width == widths[-1]
                )
                found.append(pairs)
                still.append(open_[some][~done])
            open_ = np.concatenate([np.empty(0, dtype=np.int64), *still])
        query, code, score = joined(found)
        order = np.argsort(query, kind="stable")
        docid = known.docids.take(pa.array(code[order]))
        return Hits(query[order].astype(np.int32), docid, score[order])

    def _own(self, known: _Known, asked: Asked) -> np.ndarray:
        """The known positives of the queries that are asked, as sorted pairs."""
        code = pc.index_in(asked.positive_docid, value_set=known.docids)
        code = pc.fill_null(code, len(known.docids)).to_numpy().astype(np.int64)
        return np.sort(asked.positive_query.astype(np.int64) * (len(known.docids) + 1) + code)

    def _near(
        self,
        known: _Known,
        queries: np.ndarray,
        place: np.ndarray,
        barred: np.ndarray,
        sizes: tuple[int, int],
        last: bool,
    ) -> tuple[Pairs, np.ndarray]:
        """(query, document, score) of those that are done, and which are.

        Args:
            known: the queries among which neighbours are sought.
            queries: a group of those that are asked.
            place: the place of every query that is asked.
            barred: their known positives.
            sizes: how many queries are looked at, and how many documents are wanted.
            last: no more queries are looked at: what is found by now counts.
        """
        width, k = sizes
        vectors = known.vectors.take(place[queries])
        number, other, score = known.nearest.search(vectors, width)
        cut = score.reshape(len(queries), width)[:, -1]
        # Those of one query tie: only the first by docid can be among the best.
        most = k + int(np.bincount(barred // (len(known.docids) + 1), minlength=1).max())
        count = np.where(other == place[queries][number], 0, np.minimum(known.count[other], most))
        row = np.repeat(np.arange(len(count)), count)
        code = known.code[(known.ends - known.count)[other[row]] + positions_in_group(row) - 1]
        query, score = number[row], score[row]
        pair = queries[query] * (len(known.docids) + 1) + code
        keep = ~find(barred, pair)[1]
        # Queries that were not looked at may tie with the last that was.
        keep &= last | (score > cut[query])
        query, code, score = query[keep], code[keep], score[keep]
        order = np.lexsort((code, -score, query))
        query, code, score = query[order], code[order], score[order]
        best = np.zeros(len(query), dtype=bool)
        best[np.unique(query * (len(known.docids) + 1) + code, return_index=True)[1]] = True
        query, code, score = query[best], code[best], score[best]
        done = last | (np.bincount(query, minlength=len(queries)) >= k)
        taken = done[query] & (positions_in_group(query) <= k)
        return (queries[query[taken]], code[taken], score[taken]), done

    def score(self, asked: Asked, query: np.ndarray, docids: pa.Array) -> np.ndarray:
        """Greatest product with another query whose positive it is; NaN where there is none."""
        known = self._known_of(asked)
        place = known.places(asked)
        owner, first, held = known.by_document
        code = pc.index_in(docids, value_set=known.docids)
        code = pc.fill_null(code, -1).to_numpy().astype(np.int64)
        result = np.full(len(query), np.nan, dtype=np.float32)
        vectors = known.vectors
        at_once = self._memory // (4 * vectors.dimension + 64)
        for row, nth in expanded(np.append(held, 0)[code], at_once):
            other = owner[first[code[row]] + nth]
            others = other != place[query[row]]
            row, other = row[others], other[others]
            distinct, which = np.unique(place[query[row]], return_inverse=True)
            if len(row):
                greatest(result, row, score_pairs(vectors, vectors.take(distinct), which, other))
        return result

    def close(self) -> None:
        """Let go of the model and the vectors."""
        self._let_go()
        self._let_encoder_go()

    def spent(self) -> dict[str, Any]:
        """What the server of the encoder was asked, where it is behind HTTP."""
        return self._encoder.spent() if isinstance(self._encoder, Behind) else self._spent

    def _let_encoder_go(self) -> None:
        if isinstance(self._encoder, Behind):
            self._spent = self._encoder.spent()
            self._encoder.close()
        self._encoder = None

    def _let_go(self) -> None:
        if self._known is not None:
            self._known[1].vectors.close()
        self._known = None
