"""Rerankers behind HTTP: ``cohere:MODEL@URL``, ``vllm:MODEL@URL``, ``tei:MODEL@URL``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from negmine import log
from negmine.endpoints import probing
from negmine.endpoints.asking import Client
from negmine.endpoints.identity import identify
from negmine.endpoints.probing import ASKED, Drift, Probed
from negmine.endpoints.request import Answer, Failure, Request
from negmine.endpoints.reranking import COHERE, TEI, VLLM, Shape, scores_of
from negmine.endpoints.settings import limits_of, parsed, settings_of
from negmine.errors import UsageError
from negmine.models.counting import Scaled
from negmine.params.per_model import of_model
from negmine.params.rerank import RerankParams
from negmine.scorers.base import Prompts, Scorer, Scores
from negmine.scorers.grouping import grouped
from negmine.scorers.judging.calls import Calls, calls_of
from negmine.scorers.kind import Kind, Loading, ScorerRef

IS_A = "reranker behind HTTP"
#: Options of models that a server is not told.
_NOT_TOLD = ("max_length", "dtype", "runtime", "trust_remote_code")
#: How far scores of the probe may be from what they were, as a share of their range.
_DRIFT = 0.05


@dataclass(frozen=True)
class _Group:
    """What one call is about.

    Attributes:
        request: the call.
        rows: the pairs that it is about, in the order of its documents.
    """

    request: Request
    rows: Sequence[int]


class ServedReranker:
    """Asks a server about many documents of a query at a time.

    Args:
        client: the server, the stored answers and the budget.
        shape: what requests and answers look like.
        prompts: what is put before the texts.
        per_call: most documents in a call.
    """

    def __init__(self, client: Client, shape: Shape, prompts: Prompts, per_call: int) -> None:
        self._client, self._shape, self._prompts = client, shape, prompts
        self._per_call = per_call
        self._drift: Drift | None = None
        self._probed: Probed | None = None
        self._halved = False

    def describe(self) -> dict[str, Any]:
        """Who was asked, and how."""
        told = {"kind": self._shape.scheme, **self._client.who(), "per_call": self._per_call}
        return told if self._probed is None else {**told, "probe": self._probed.record()}

    def spent(self) -> dict[str, Any]:
        """Where it was asked, what that took, and whether it stayed the same."""
        drift = {} if self._drift is None else self._drift.record()
        return {**self._client.spent(), **drift}

    def probe(self, trusted: bool) -> None:
        """Ask about texts whose order is known.

        Args:
            trusted: whether the server is believed whatever it says of them.

        Raises:
            InvalidDataError: it does not tell them apart.
            EndpointError: it does not answer, or with something else.
        """
        requests = self._probes()
        with log.waiting(f"probing the server of '{self._client.settings.name}'"):
            found = self._client.ask(requests)
        answers = [probing.whole(self._client, found[one.key]) for one in requests]
        scores = np.stack([scores_of(answer) for answer in answers])
        self._probed = Probed(probing.apart(scores, probing.own_places()))
        probing.check(self._client.settings.name, self._probed.record(), trusted)
        spread = float(np.ptp(scores)) or 1.0

        def distance(one: Answer, other: Answer) -> float:
            return float(np.abs(scores_of(one) - scores_of(other)).max()) / spread

        self._drift = Drift(self._client, requests[0], answers[0], distance, _DRIFT)

    def score(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: np.ndarray,
        progress: Callable[[int], None] | None = None,
    ) -> Scores:
        """The server's score of each pair; none where it fails on a document for good."""
        found = np.full(len(pairs), np.nan)
        groups = list(self._groups(queries, documents, pairs))
        told = Scaled(progress, len(groups), len(pairs))
        for start in range(0, len(groups), probing.EVERY):
            failed = self._take(groups[start : start + probing.EVERY], found, told)
            while failed:
                halves = [self._group(queries, documents, pairs, rows) for rows in failed]
                failed = self._take(halves, found)
            if self._drift is not None:
                self._drift.look()
        known = ~np.isnan(found)
        return Scores(np.where(known, found, 0).astype(np.float32), known=known)

    def _take(
        self, groups: Sequence[_Group], found: np.ndarray, told: Scaled | None = None
    ) -> list[list[int]]:
        """Ask, and fill in the scores; the rows of what is asked again, see :meth:`_halves`."""
        answers = self._client.ask((one.request for one in groups), progress=told)
        failed: list[list[int]] = []
        for group in groups:
            answer = answers[group.request.key]
            if isinstance(answer, Failure):
                failed += self._halves(group, answer)
            else:
                found[list(group.rows)] = scores_of(answer)
        return failed

    def calls(self, queries: Sequence[str], documents: Sequence[str], pairs: np.ndarray) -> Calls:
        """What asking about the pairs would take, the probe with it; nobody is asked."""
        groups = self._groups(queries, documents, pairs)
        return calls_of([*self._probes(), *(one.request for one in groups)], self._client)

    def _halves(self, group: _Group, failure: Failure) -> list[list[int]]:
        """What is asked again of a group on which the server failed: a document may be at fault.

        Raises:
            InvalidDataError: it answers with something else than was asked for.
        """
        if failure.kind == "garbled":
            raise probing.refused(self._client, failure.message)
        rows = list(group.rows)
        if len(rows) == 1:
            return []
        if not self._halved:
            self._halved = True
            log.event(
                f"the server of '{self._client.settings.name}' fails on {len(rows)} documents in a "
                f"call ({failure.message}): they are asked about in halves. --batch-size says how "
                "many go in a call"
            )
        middle = len(rows) // 2
        return [rows[:middle], rows[middle:]]

    def _probes(self) -> list[Request]:
        """The requests of the probe."""
        return [
            self._request(question, probing.texts_for(number))
            for number, (question, _) in enumerate(ASKED)
        ]

    def _groups(
        self, queries: Sequence[str], documents: Sequence[str], pairs: np.ndarray
    ) -> Iterator[_Group]:
        for rows in grouped(queries, documents, pairs, self._per_call):
            yield self._group(queries, documents, pairs, rows)

    def _group(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: np.ndarray,
        rows: Sequence[int],
    ) -> _Group:
        """The call about some pairs of one query."""
        texts = [documents[d] for d in pairs[list(rows), 1].tolist()]
        return _Group(self._request(queries[pairs[rows[0], 0]], texts), rows)

    def _request(self, query: str, documents: Sequence[str]) -> Request:
        before, each = self._prompts.query or "", self._prompts.document or ""
        model = self._client.settings.model
        return self._shape.request(model, before + query, [each + text for text in documents])


def _kind(shape: Shape) -> Kind:
    return Kind(
        partial(_refer, shape), scheme=shape.scheme, options={"trust_anyway": IS_A}, served=True
    )


def _refer(shape: Shape, rest: str) -> ScorerRef:
    model, _ = parsed(rest, shape.place)
    return ScorerRef(
        # Not where the server is: it may come back elsewhere.
        f"{shape.scheme}:{model}",
        "asked of the server",
        partial(_load, shape, rest),
        is_a=IS_A,
        check=partial(_check, shape, rest),
        told=partial(_told, shape, rest),
    )


def _check(shape: Shape, rest: str, params: RerankParams, name: str) -> None:
    """See that the options fit, before anybody is asked."""
    settings_of(params, name, rest, shape.place)
    limits_of(params)
    if params.via == "batch":
        raise UsageError(
            f"--via batch is for language models, and '{name}' is a {IS_A}",
            hint="Leave it out, or give a judge a command of its own.",
        )
    default = RerankParams()
    for option in _NOT_TOLD:
        if of_model(getattr(params, option), name) != getattr(default, option):
            flag = option.replace("_", "-")
            raise UsageError(
                f"--{flag}: '{name}' is a {IS_A}, which does as its server is set up",
                hint=f"Name the model that it is for: --{flag} NAME=VALUE.",
            )


def _client(shape: Shape, rest: str, loading: Loading) -> Client:
    return loading.client(settings_of(loading.params, loading.name, rest, shape.place))


def _told(shape: Shape, rest: str, loading: Loading) -> dict[str, Any]:
    """Who answers."""
    with _client(shape, rest, loading) as client:
        return {"identity": identify(client)}


def _load(shape: Shape, rest: str, loading: Loading) -> Scorer:
    params, name = loading.params, loading.name
    client = _client(shape, rest, loading)
    with ExitStack() as closing:
        closing.callback(client.close)
        identify(client)
        scorer = ServedReranker(client, shape, loading.prompts, of_model(params.batch_size, name))
        if not loading.trial:
            scorer.probe(params.trust_anyway)
        kept = closing.pop_all()
        if loading.closing is not None:
            loading.closing.push(kept)
    return scorer


SERVED = tuple(map(_kind, (COHERE, VLLM, TEI)))
