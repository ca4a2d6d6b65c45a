"""CUR: candidates by a cross-encoder itself (ANNCUR, arXiv 2210.12579).

The cross-encoder scores a query with a few anchor documents. From these scores, and from those of
the anchor queries (:mod:`negmine.sources.anchors`), follows about what it would score every
document: a product of small vectors, searched exactly. What comes out best is scored by it in
earnest, and that score ranks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from negmine import log
from negmine.engine.parts import groups
from negmine.errors import MissingInputError
from negmine.memory import Budget
from negmine.models.base import Side
from negmine.models.checkpoint import Checkpoint
from negmine.models.counting import Progress
from negmine.models.devices import Placement, gpus
from negmine.models.tokens import Ints
from negmine.params.per_model import for_model
from negmine.params.rerank import RerankParams
from negmine.scorers import Loading, Prompts, ScorerRef, load_scorer
from negmine.scorers.base import GoesOn, HasPlacement, Scorer, checked, columns_of
from negmine.sources import anchors
from negmine.sources.anchors import Drawn
from negmine.sources.base import Asked, Capabilities, Hits, Keep, Workshop
from negmine.sources.dense import DenseSource
from negmine.sources.vectors import Vectors
from negmine.table import artifacts
from negmine.table.artifacts.reading import Artifact
from negmine.table.documents import Documents
from negmine.table.ranking import rank_order, string_codes

#: Pairs that a model reads in one call, about; its batches are cut among these.
_PAIRS_AT_ONCE = 8_192
#: What decides a model's scores.
_SETTINGS = ("batch_size", "max_length", "dtype", "trust_remote_code")


@dataclass(frozen=True)
class Model:
    """The cross-encoder of a source.

    Attributes:
        name: the source's.
        reference: the model, not loaded yet.
        params: how it is run.
    """

    name: str
    reference: ScorerRef
    params: RerankParams

    def load(self, device: str | None = None) -> Scorer:
        """Load it, on a device of one's own choice where one is given."""
        params = self.params if device is None else replace(self.params, device=device)
        return load_scorer(self.reference, Loading(params, self.name, Prompts()))


@dataclass
class _Pairs:
    """Scores of pairs, each of which a model reads once even if it is killed meanwhile.

    Attributes:
        name: the source's.
        scorer: the model.
        keep: where it keeps what it has made.
    """

    name: str
    scorer: Scorer
    keep: Keep

    def scores(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: npt.NDArray[np.integer],
        progress: Callable[[int], None] | None = None,
    ) -> npt.NDArray[np.float32]:
        """Score of each (query index, document index), float32 [n]."""
        if isinstance(self.scorer, GoesOn):
            # What is read is its own name: a run that goes on reads the same.
            read = hashlib.blake2b(np.ascontiguousarray(pairs).tobytes(), digest_size=8)
            for text in (*queries, *documents):
                read.update(text.encode("utf-8", "surrogatepass") + b"\0")
            kept = self.keep(f"{self.name}-{read.hexdigest()}", self.scorer.describe())
            found = self.scorer.score_on(queries, documents, pairs, progress, kept)
        else:
            found = self.scorer.score(queries, documents, pairs, progress)
        return checked(found, self.name, columns_of(self.scorer, self.name)).score


@dataclass(frozen=True)
class AnchorQueries:
    """Queries as weights of the anchor queries: what stands for an encoder of queries.

    Attributes:
        pairs: scores a query with the anchor documents.
        items: the anchor documents' texts.
        mixing: U of CUR, float64 [anchor documents, anchor queries].
        known: anchor queries by text: their scores of all documents are known, so they stand for
            themselves.
    """

    pairs: _Pairs
    items: Sequence[str]
    mixing: npt.NDArray[np.float64]
    known: Mapping[str, int]

    @property
    def dimension(self) -> int:
        """Anchor queries."""
        return int(self.mixing.shape[1])

    @property
    def placement(self) -> Placement:
        """Where the model runs."""
        scorer = self.pairs.scorer
        if isinstance(scorer, HasPlacement):
            return scorer.placement
        return Placement("cpu", "float32", "another package's")

    @property
    def max_length(self) -> int:
        """Nothing is cut here."""
        return 0

    @property
    def batch_tokens(self) -> int:
        """No batch is cut here."""
        return 0

    def describe(self) -> dict[str, object]:
        """What the model says of itself."""
        return self.pairs.scorer.describe()

    def lengths(self, texts: Sequence[str], side: Side) -> Ints:
        """No tokens: pairs are counted, and not queries."""
        return np.zeros(len(texts), dtype=np.int64)

    def encode(
        self,
        texts: Sequence[str],
        side: Side,
        progress: Progress | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> npt.NDArray[np.float32]:
        """Weights of the anchor queries for each text, float32 [texts, anchor queries]."""
        weights = np.zeros((len(texts), self.dimension), dtype=np.float32)
        place = np.array([self.known.get(text, -1) for text in texts], dtype=np.int64)
        anchor, other = np.flatnonzero(place >= 0), np.flatnonzero(place < 0)
        weights[anchor, place[anchor]] = 1
        if progress is not None:
            progress(len(anchor))
        size = max(1, _PAIRS_AT_ONCE // max(1, len(self.items)))
        for start in range(0, len(other), size):
            some = other[start : start + size]
            pairs = np.stack(
                np.divmod(np.arange(len(some) * len(self.items)), len(self.items)), axis=1
            )
            found = self.pairs.scores([texts[i] for i in some.tolist()], self.items, pairs)
            scores = found.reshape(len(some), len(self.items)).astype(np.float64)
            weights[some] = scores @ self.mixing
            if progress is not None:
                progress(len(some))
        return weights


class CurSource:
    """Candidates of a cross-encoder, by its own scores.

    Args:
        model: the cross-encoder.
        corpus: the documents.
        drawn: the anchors.
        budget: what may be held.
        device: where it runs; the search goes there, too.
        together: queries that are asked together.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(costly=True)

    def __init__(
        self,
        model: Model,
        corpus: Documents,
        drawn: Drawn,
        budget: Budget,
        device: str,
        together: int,
    ) -> None:
        self._model, self._corpus, self._drawn = model, corpus, drawn
        self._budget, self._device, self._together = budget, device, together
        self._scorer: Scorer | None = None
        self._dense: DenseSource | None = None
        self._pairs: _Pairs | None = None

    def scorer(self) -> Scorer:
        """The cross-encoder, loaded."""
        if self._scorer is None:
            self._scorer = self._model.load()
        return self._scorer

    # --- before it is asked -------------------------------------------------------------------

    def _plan(self) -> artifacts.Plan:
        reference = self._model.reference
        params = for_model(self._model.params, self._model.name)
        settings = {option: getattr(params, option) for option in _SETTINGS}
        return anchors.anchors_plan(
            self._corpus.artifact, reference.spec, reference.revision, self._drawn, settings
        )

    def prepare(self, workshop: Workshop, keep: Keep) -> Mapping[str, Any]:
        """Have all documents scored for the anchor queries, unless they are."""
        made = self._anchors(workshop)
        stored = Vectors(made)
        rows = np.array(made.manifest["anchor_documents"], dtype=np.int64)
        items = self._corpus.texts(self._corpus.ids(rows)).to_pylist()
        mixing = anchors.mixing(stored.take(rows))
        # Of anchor queries of one text the first.
        known = {text: i for i, text in reversed(list(enumerate(self._drawn.texts)))}
        self._pairs = _Pairs(self._model.name, self.scorer(), keep)
        encoder = AnchorQueries(self._pairs, items, mixing, known)
        self._dense = DenseSource(
            self._corpus,
            stored,
            lambda: encoder,
            memory=self._budget.search,
            device=self._device,
            together=self._together,
        )
        return {"fingerprint": made.fingerprint, **made.counts, "items": len(items)}

    def _anchors(self, workshop: Workshop) -> Artifact:
        folder = workshop.folder / self._model.name
        if not workshop.makes and self._state(workshop).kind != "made":
            raise MissingInputError(
                "the documents are not scored for the anchor queries yet",
                where=str(folder),
                hint="The first shard (0/N) does it before its own parts: run the others after it.",
            )
        writer = artifacts.begin(folder, self._plan(), replacing=workshop.replacing, keep=True)
        if writer is None:
            return artifacts.open_artifact(folder)
        with writer:
            scorers = self._on_every_gpu()
            return anchors.make(writer, self._corpus, scorers, self._drawn, workshop.ceiling)

    def _state(self, workshop: Workshop) -> artifacts.State:
        """What there is of them."""
        folder = workshop.folder / self._model.name
        return artifacts.state_of(folder, self._plan(), replacing=workshop.replacing, keep=True)

    def _on_every_gpu(self) -> list[Scorer]:
        first = self.scorer()
        if not isinstance(first, HasPlacement):
            return [first]
        others = gpus(self._device, first.placement.device)[1:]
        return [first, *(self._model.load(device) for device in others)]

    def pairs_beforehand(self, documents: int, workshop: Workshop) -> int:
        """Pairs of anchor queries and documents that are not scored yet."""
        queries = len(self._drawn.texts)
        if documents != len(self._corpus):
            return documents * queries
        state = self._state(workshop)
        if state.kind == "made":
            return 0
        parts = anchors.slices(self._corpus, queries)
        done = sum(parts[name].stop - parts[name].start for name in state.done if name in parts)
        return (documents - done) * queries

    def pairs_of_query(self, k: int) -> int:
        """Pairs with the anchor documents, and with the best k."""
        return self._drawn.items + k

    # --- asked --------------------------------------------------------------------------------

    def search(self, asked: Asked, k: int) -> Hits:
        """The documents that are the best k by CUR, in the order of the cross-encoder's scores."""
        assert self._dense is not None, "prepared"
        near = self._dense.search(asked, k)
        score = self._scores(asked, near.query, near.docid)
        order = rank_order(near.query, score, string_codes(near.docid)[0])
        return Hits(near.query[order], near.docid.take(pa.array(order)), score[order])

    def score(self, asked: Asked, query: np.ndarray, docids: pa.Array) -> np.ndarray:
        """The cross-encoder's score of each (query index, docid) pair; NaN of unknown documents."""
        known = np.flatnonzero(self._corpus.rows(docids) >= 0)
        # Pairs of one query side by side.
        known = known[np.argsort(query[known], kind="stable")]
        found = np.full(len(docids), np.nan, dtype=np.float32)
        found[known] = self._scores(asked, query[known], docids.take(pa.array(known)))
        return found

    def _scores(self, asked: Asked, query: np.ndarray, docids: pa.Array) -> np.ndarray:
        """Score of each (query index, docid) pair, those of a query side by side."""
        assert self._pairs is not None, "prepared"
        found = np.empty(len(query), dtype=np.float32)
        at_once = self._corpus.fitting(self._budget.texts)
        with log.progress(f"scoring with {self._model.name}", len(query), " pairs") as bar:
            for group in groups(_whole_queries(query), len, at_once):
                needed = docids.slice(group[0].start, group[-1].stop - group[0].start).unique()
                texts = self._corpus.texts(needed)
                for some in group:
                    mine = docids.slice(some.start, len(some))
                    distinct = mine.unique()
                    numbers, row = np.unique(query[some.start : some.stop], return_inverse=True)
                    pairs = np.stack(
                        [row, pc.index_in(mine, value_set=distinct).to_numpy()], axis=1
                    )
                    place = pc.index_in(distinct, value_set=needed)
                    found[some.start : some.stop] = self._pairs.scores(
                        [asked.texts[i] for i in numbers.tolist()],
                        texts.take(place).to_pylist(),
                        pairs,
                        bar,
                    )
        return found

    def close(self) -> None:
        """Let go of the model."""
        self._scorer = self._dense = self._pairs = None


def _whole_queries(query: np.ndarray) -> Iterator[range]:
    """Ranges of rows, each all rows of some queries and about :data:`_PAIRS_AT_ONCE` of them."""
    bounds = [0, *(np.flatnonzero(np.diff(query)) + 1).tolist(), len(query)]
    start = 0
    for end, following in zip(bounds[1:], [*bounds[2:], None], strict=True):
        if following is None or following - start > _PAIRS_AT_ONCE:
            if end > start:
                yield range(start, end)
            start = end
