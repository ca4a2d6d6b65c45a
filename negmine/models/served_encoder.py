"""An encoder behind HTTP: ``openai:MODEL[@URL]``, ``tei:MODEL@URL``.

Vectors of documents are not kept with other answers: a corpus of five million would be a file of
20 GB. They go into the checkpoint of their part when they arrive, which is removed when the part is
written. Vectors of queries are few, and kept as all answers are.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from negmine import log
from negmine.endpoints import probing
from negmine.endpoints.asking import Client
from negmine.endpoints.budget import Budget
from negmine.endpoints.embedding import SHAPES, Shape, vectors_of
from negmine.endpoints.identity import identify
from negmine.endpoints.probing import ASKED, Drift, Probed
from negmine.endpoints.request import Answer, Failure, Request
from negmine.endpoints.settings import Options, Settings, settings_of
from negmine.endpoints.store import FOLDER, Nothing, Store
from negmine.errors import EndpointError, UsageError
from negmine.models.base import EncoderSettings, Side, Vectors
from negmine.models.checkpoint import Checkpoint, Flushes
from negmine.models.counting import Progress, tell_resumed
from negmine.models.devices import Placement
from negmine.models.resolve import ModelRef
from negmine.models.tokens import Ints

#: Calls that are asked for together: their vectors are held as text and as numbers.
_TOGETHER = 64
#: Bytes of a text that are a token, about.
_BYTES_A_TOKEN = 4
#: How far a vector of the probe may be from what it was: 1 less the cosine.
_DRIFT = 0.005
#: Settings of models on this machine that a server is not told.
_NOT_TOLD = ("pooling", "max_length", "dtype", "runtime", "trust_remote_code")
#: The answers to the questions of the probe, in another order than these: vectors that come in
#: another one than they are numbered in are not taken for right.
_TEXTS = probing.texts_for(0)
#: Calls of the probe.
PROBES = 2
#: In :meth:`ServedEncoder.spent`, the vector of the first of these texts, float32 in base64.
PROBED = "probed_text"
#: Numbers of a vector, where nobody is asked how many there are.
ASSUMED = 1024


def shape_of(spec: str) -> Shape | None:
    """What a server looks like that ``spec`` names; None where it names a model on this machine."""
    scheme, colon, _ = spec.partition(":")
    return next((shape for shape in SHAPES if colon and shape.scheme == scheme), None)


@dataclass(frozen=True)
class Served:
    """An encoder behind HTTP that is asked for.

    Attributes:
        shape: what requests and answers look like.
        settings: which server, and how it is asked.
        budget: what may be spent, by all encoders of the command together.
        trusted: whether it is believed whatever it says of the probe.
    """

    shape: Shape
    settings: Settings
    budget: Budget
    trusted: bool

    @property
    def spec(self) -> str:
        """How it is written, without where the server is: it may come back elsewhere."""
        return f"{self.shape.scheme}:{self.settings.model}"

    def client(self, place: Path | None) -> Client:
        """The connection; ``place``: the folder in which answers are kept, None = they are not."""
        return Client(
            self.settings, Nothing() if place is None else Store(place / FOLDER), self.budget
        )

    @cached_property
    def reference(self) -> ModelRef:
        """The model, by what the server tells of it.

        Raises:
            NegmineError: see :func:`negmine.endpoints.identity.identify`.
        """
        with self.client(None) as client:
            return ModelRef(self.spec, self.spec, "http", "bi-encoder", identify(client))


def served(
    spec: str, name: str, options: Options, budget: Budget, trusted: bool = False
) -> Served | None:
    """The encoder ``name`` behind HTTP that a spec names; None where it names no such one.

    Raises:
        UsageError: it names no model, or no server.
    """
    shape = shape_of(spec)
    if shape is None:
        return None
    rest = spec.partition(":")[2]
    return Served(shape, settings_of(options, name, rest, shape.place), budget, trusted)


def calls_for(texts: int, batch_size: int) -> int:
    """How many calls so many texts take, the probe's with them."""
    return -(-texts // batch_size) + PROBES


def check(name: str, settings: EncoderSettings) -> None:
    """See that a server is asked for nothing that it decides itself.

    Raises:
        UsageError: it is.
    """
    plain = EncoderSettings()
    for option in _NOT_TOLD:
        if getattr(settings, option) != getattr(plain, option):
            flag = option.replace("_", "-")
            raise UsageError(
                f"--{flag}: '{name}' is an encoder behind HTTP, which does as its server is set up",
                hint=f"Name the model that it is for: --{flag} NAME=VALUE.",
            )


class ServedEncoder:
    """Texts to vectors, by a server.

    Args:
        asked: who is asked.
        settings: prompts, truncation, length, and how many texts go in a call.
        place: where answers are kept, see :meth:`Served.client`.
        before: what the probe told when the documents were encoded: :data:`PROBED`.
    """

    #: Tokens are the server's.
    max_length = batch_tokens = 0

    def __init__(
        self,
        asked: Served,
        settings: EncoderSettings,
        place: Path | None = None,
        before: str | None = None,
    ) -> None:
        self._asked, self._settings, self._before = asked, settings, before
        self._client = asked.client(place)
        self._client.identity = asked.reference.revision
        self._most = settings.batch_size
        self._width = 0
        self._probed: Probed | None = None
        self._first = ""
        self._drift: Drift | None = None

    @property
    def placement(self) -> Placement:
        """That it runs elsewhere."""
        return Placement("server", "float32", "asked over HTTP", "http")

    @property
    def dimension(self) -> int:
        """Length of a vector; the server is asked for it."""
        self.probe()
        return self._settings.truncated(self._width, self._asked.spec)

    @property
    def assumed_dimension(self) -> int:
        """Length of a vector, where nobody may be asked."""
        return self._settings.truncate_dim or ASSUMED

    def describe(self) -> dict[str, object]:
        """Who answers, and how it is asked."""
        settings = self._settings
        told = {"kind": self._asked.shape.scheme, **self._client.who()}
        probe = {} if self._probed is None else {"probe": self._probed.record()}
        return {
            **told,
            "query_prompt": settings.query_prompt,
            "doc_prompt": settings.doc_prompt,
            "normalize": settings.normalize,
            **settings.truncation(),
            **probe,
        }

    def spent(self) -> dict[str, Any]:
        """Where it was asked, what that took, and whether it stayed the same."""
        drift = {} if self._drift is None else self._drift.record()
        return {**self._client.spent(), **drift, PROBED: self._first}

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def lengths(self, texts: Sequence[str], side: Side) -> Ints:
        """About how many tokens each text has."""
        sizes = [len(text.encode(errors="replace")) // _BYTES_A_TOKEN + 1 for text in texts]
        return np.array(sizes, dtype=np.int64)

    def calls(self, texts: int) -> int:
        """How many calls so many texts take, the probe's with them."""
        return calls_for(texts, self._settings.batch_size)

    def probe(self) -> None:
        """Ask about texts of which it is known which belong together, once.

        Raises:
            InvalidDataError: the server does not tell them apart.
            EndpointError: it does not answer, or with something else.
        """
        if self._probed is not None:
            return
        client, requests = self._client, self._probes()
        with log.waiting(f"probing the server of '{client.settings.name}'"):
            found = client.ask(requests)
        first, texts = (probing.whole(client, found[one.key]) for one in requests)
        questions, answers = vectors_of(first), vectors_of(texts)
        if questions.shape[1] != answers.shape[1]:
            raise probing.refused(
                client, f"vectors of {questions.shape[1]} and of {answers.shape[1]} numbers"
            )
        self._width = questions.shape[1]
        near = _unit(questions) @ _unit(answers).T
        own = np.array([_TEXTS.index(answer) for _, answer in ASKED])
        self._probed = Probed(probing.apart(near, own))
        probing.check(client.settings.name, self._probed.record(), self._asked.trusted)
        # Of a text: what stands before queries may be another thing when they are encoded.
        self._first = base64.b64encode(answers[0].astype("<f4").tobytes()).decode()
        self._drift = Drift(client, requests[0], first, _distance, _DRIFT)
        if self._before is not None:
            before = np.frombuffer(base64.b64decode(self._before), dtype="<f4")
            self._drift.compare(_apart(before[None], answers[:1]))

    def encode(
        self,
        texts: Sequence[str],
        side: Side,
        progress: Progress | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Vectors:
        """One float32 row per text, in the order of the texts.

        What ``checkpoint`` has is not asked again, and every answer is in it when the next one is
        looked at.

        Raises:
            EndpointError: the server fails on a text.
        """
        out = np.empty((len(texts), self.dimension), dtype=np.float32)
        done = np.zeros(len(texts), dtype=bool) if checkpoint is None else checkpoint.restore(out)
        if progress is not None and done.any():
            tell_resumed(progress, int(done.sum()))
        left = np.flatnonzero(~done)
        while len(left):
            some, left = np.split(left, [_TOGETHER * self._most])
            self._fill(out, texts, some, side, progress, checkpoint)
            if self._drift is not None:
                self._drift.look()
        return out

    def _fill(
        self,
        out: np.ndarray,
        texts: Sequence[str],
        rows: Ints,
        side: Side,
        progress: Progress | None,
        checkpoint: Checkpoint | None,
    ) -> None:
        """Ask about some rows; a call that fails for its texts is made again in halves."""
        groups = [rows[at : at + self._most] for at in range(0, len(rows), self._most)]
        while groups:
            asked: dict[str, list[Ints]] = {}
            requests = []
            for group in groups:
                requests.append(self._request([texts[row] for row in group.tolist()], side))
                asked.setdefault(requests[-1].key, []).append(group)

            def take(
                request: Request, answer: Answer, asked: dict[str, list[Ints]] = asked
            ) -> None:
                vectors = self._scaled(vectors_of(answer))
                for group in asked[request.key]:
                    out[group] = vectors
                    if checkpoint is not None:
                        checkpoint.add(group)
                    if progress is not None:
                        progress(len(group))
                if isinstance(checkpoint, Flushes):
                    checkpoint.flush()

            if checkpoint is not None:
                found = self._client.ask(requests, arrived=take)
            else:
                found = self._client.ask(requests)
                for request in {one.key: one for one in requests}.values():
                    answer = found[request.key]
                    if isinstance(answer, Answer):
                        take(request, answer)
            groups = [
                half
                for key, answer in found.items()
                if isinstance(answer, Failure)
                for group in asked[key]
                for half in self._halves(group, answer)
            ]

    def _halves(self, rows: Ints, failure: Failure) -> list[Ints]:
        """What is asked again of a call that failed; later calls are no larger.

        Raises:
            InvalidDataError: the server answers with something else than was asked for.
            EndpointError: it fails on one text alone.
        """
        client = self._client
        if failure.kind == "garbled":
            raise probing.refused(client, failure.message)
        if len(rows) == 1:
            raise EndpointError(
                f"the server of '{client.settings.name}' fails on a text: {failure.message}",
                where=client.settings.url,
                hint="Have the server cut what is too long, or leave the text out of the corpus.",
            )
        half = -(-len(rows) // 2)
        if half < self._most:
            self._most = half
            log.event(
                f"the server of '{client.settings.name}' fails on {len(rows)} texts in a call "
                f"({failure.message}): from now on {half} go in a call (--batch-size)"
            )
        return [rows[:half], rows[half:]]

    def _probes(self) -> list[Request]:
        """The questions, and their answers."""
        return [
            self._request([question for question, _ in ASKED], "query"),
            self._request(_TEXTS, "document"),
        ]

    def _request(self, texts: Sequence[str], side: Side) -> Request:
        settings = self._settings
        before = settings.query_prompt if side == "query" else settings.doc_prompt
        model = self._client.settings.model
        return self._asked.shape.request(
            model, [f"{before or ''}{text}" for text in texts], self._width or None
        )

    def _scaled(self, vectors: np.ndarray) -> np.ndarray:
        """Truncated and of length 1, as is asked for."""
        kept = vectors[:, : self._settings.truncate_dim]
        return _unit(kept) if self._settings.normalize else kept


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Of length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _distance(one: Answer, other: Answer) -> float:
    """How far the vectors of two answers are from each other."""
    return _apart(vectors_of(one), vectors_of(other))


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    """The largest of 1 less the cosine, row by row; vectors of another length are far apart."""
    if one.shape != other.shape:
        return 1.0
    return max(0.0, 1 - float((_unit(one) * _unit(other)).sum(axis=1).min()))
