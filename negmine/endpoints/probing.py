"""Texts whose order is known: what a server must tell apart before anything that it says is used.

A server whose template or tokenizer is not the model's answers with numbers that mean nothing; one
that says them in another order than it tells means something else. Both show on a few texts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from negmine import log
from negmine.endpoints.asking import Client
from negmine.endpoints.request import Answer, Failure, Request
from negmine.errors import InvalidDataError

#: Questions, each with the one of the texts that answers it.
ASKED: tuple[tuple[str, str], ...] = (
    ("what is the capital of France", "Paris is the capital of France."),
    ("who wrote the play Hamlet", "The play Hamlet was written by William Shakespeare."),
    ("at what temperature does water boil", "Water boils at a temperature of 100 degrees."),
    ("what do bees make from nectar", "Bees make honey from the nectar of flowers."),
    ("which planet is the largest", "Jupiter is the largest planet of the solar system."),
    ("who invented the telephone", "The telephone was invented by Alexander Graham Bell."),
)
#: Share of (answer, other text) that must be in order; numbers by chance reach it once in 200.
_ENOUGH = 0.85
#: Answers until one text is asked about again.
EVERY = 500


def texts_for(question: int) -> list[str]:
    """The texts, whose order is another one for each question."""
    answers = [answer for _, answer in ASKED]
    shift = len(ASKED) - 1 - 2 * question
    return [answers[(place - shift) % len(answers)] for place in range(len(answers))]


def apart(scores: np.ndarray, own: np.ndarray) -> float:
    """The share of other texts that each question's own stands above; ties count half.

    Args:
        scores: of each question (row) for each text, float [questions, texts].
        own: the place of each question's own text, int [questions].
    """
    mine = np.take_along_axis(scores, own[:, None], axis=1)
    others = np.arange(scores.shape[1])[None, :] != own[:, None]
    return float(((mine > scores) + 0.5 * (mine == scores))[others].mean())


@dataclass(frozen=True)
class Probed:
    """What a probe found.

    Attributes:
        share: of pairs (a question's own text, another one) in order.
    """

    share: float

    @property
    def passed(self) -> bool:
        """Whether the server tells the texts apart."""
        return self.share >= _ENOUGH

    def record(self) -> dict[str, Any]:
        """For manifests."""
        return {"in_order": round(self.share, 4), "passed": self.passed}


def own_places() -> np.ndarray:
    """For each question the place of its own text among :func:`texts_for`, int [questions]."""
    return np.array([texts_for(n).index(answer) for n, (_, answer) in enumerate(ASKED)])


def whole(client: Client, answer: Answer | Failure) -> Answer:
    """An answer to the probe.

    Raises:
        InvalidDataError: there is none.
    """
    if isinstance(answer, Failure):
        raise refused(client, answer.message)
    return answer


def refused(client: Client, why: str) -> InvalidDataError:
    """That a server says what cannot be used, for people."""
    settings = client.settings
    return InvalidDataError(
        f"the server of '{settings.name}' fails: {why}",
        where=settings.url,
        hint="Another kind of server may be meant (cohere:, vllm:, tei:, openai:), or its model, "
        "template or pooling is not the right one.",
    )


def check(name: str, record: dict[str, Any] | None, trusted: bool) -> None:
    """See that a server which was probed may be believed.

    Args:
        name: of the scorer or encoder.
        record: what a manifest has of the probe; None = there was none.
        trusted: whether it is believed anyway (``--trust-anyway``).

    Raises:
        InvalidDataError: it does not tell texts apart whose order is known.
    """
    if trusted or record is None or record["passed"]:
        return
    raise InvalidDataError(
        f"the server of '{name}' does not tell an answer from other texts: "
        f"{record['in_order']:.0%} of {len(ASKED) * (len(ASKED) - 1)} pairs are in order, and half "
        "are by chance",
        where=name,
        hint="Its template, pooling or prompt may not be the model's. --trust-anyway takes its "
        "word for it, for example where it reads no English.",
    )


class Drift:
    """Asks about one text again now and then: a server may be changed while it is used.

    Attributes:
        looked: how often it was asked again.
        largest: by how much an answer was another, at most.

    Args:
        client: the server.
        request: what is asked again.
        first: what was answered to it first.
        distance: how far two answers are from each other.
        most: how far they may be.
    """

    def __init__(
        self,
        client: Client,
        request: Request,
        first: Answer,
        distance: Callable[[Answer, Answer], float],
        most: float,
    ) -> None:
        self._client, self._request, self._first = client, request, first
        self._distance, self._most = distance, most
        # An answer that was there may be an old one.
        self._next = client.answered + (EVERY if client.answered else 1)
        self.looked = 0
        self.largest = 0.0

    def look(self) -> None:
        """Ask again, if so many answers have come since; warn where the answer is another one.

        A budget that is spent stays so: what is left to be done stops at it by itself.
        """
        if self._client.answered < self._next or self._client.budget.reached() is not None:
            return
        found = self._client.again(self._request)
        self._next = self._client.answered + EVERY
        if not isinstance(found, Failure):
            self.compare(self._distance(self._first, found))

    def compare(self, distance: float) -> None:
        """Take note of how far an answer is from an earlier one; warn where that is far."""
        self.looked += 1
        before = self.largest
        self.largest = max(before, distance)
        if before <= self._most < self.largest:
            log.warn(
                [
                    f"the server of '{self._client.settings.name}' says something else of the same "
                    f"texts than before: {self.largest:.3g} apart, where {self._most:g} is much. "
                    "Scores from before and after do not compare"
                ]
            )

    def record(self) -> dict[str, Any]:
        """For the facts of a run in manifests."""
        return {"drift": {"asked_again": self.looked, "largest": round(self.largest, 6)}}
