"""A language model behind HTTP as a judge: ``llm:MODEL[@URL]``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from negmine.endpoints import chat
from negmine.endpoints.asking import Client
from negmine.endpoints.chat import ChatAnswer
from negmine.endpoints.identity import identify
from negmine.endpoints.request import Failure, Request
from negmine.endpoints.settings import Settings, limits_of, parsed, settings_of
from negmine.errors import EndpointError, UsageError
from negmine.models.counting import Scaled
from negmine.params.per_model import of_model
from negmine.params.rerank import RerankParams
from negmine.scorers.base import Scorer, Scores
from negmine.scorers.judging import prompts
from negmine.scorers.judging.calls import Calls, calls_of
from negmine.scorers.judging.columns import COLUMNS, scores_of
from negmine.scorers.judging.examination import FILLER, Ask, Sample
from negmine.scorers.judging.prompts import Prompt
from negmine.scorers.judging.questions import WAYS, By, Form, Questions, is_given
from negmine.scorers.judging.verdicts import Judgement, unjudged
from negmine.scorers.kind import Kind, Loading, ScorerRef

SCHEME = "llm"

#: Pairs by which it is found out how a server can be asked.
_TRIED = 3

#: Of a pair that nobody is asked about.
_NOT_ASKED = unjudged("failed")


class LLMJudge:
    """Asks a server about every pair; what was answered once is not asked again.

    Args:
        client: the server, the stored answers and the budget.
        prompt: how it is asked.
        by: what its score comes from; ``auto`` is found out by asking.
        per_call: most documents of a query in a call.
    """

    columns: Mapping[str, pa.DataType] = COLUMNS

    def __init__(self, client: Client, prompt: Prompt, by: By | Literal["auto"], per_call: int):
        self._client = client
        self._prompt = prompt
        self._wanted = by
        self._per_call = per_call
        self._questions = Questions(client.settings.model, prompt)
        self._settled: Form | None = None
        self._extra = 0

    def describe(self) -> dict[str, Any]:
        """Who was asked, and how."""
        told = {"kind": SCHEME, **self._client.who(), "prompt": self._prompt.digest}
        by = self._wanted if self._settled is None else self._settled.by
        return {**told, "judged_by": by, "per_call": self._per_call}

    def spent(self) -> dict[str, Any]:
        """Where it was asked, and what that took."""
        extra = {"extra_items": self._extra} if self._extra else {}
        return {**self._client.spent(), **extra}

    def score(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: np.ndarray,
        progress: Callable[[int], None] | None = None,
    ) -> Scores:
        """The judgement of each pair."""
        form = self._form(queries, documents, pairs)
        return scores_of(self._judged(queries, documents, pairs, form, progress))

    @property
    def documents_at_once(self) -> int:
        """How many documents of a query go in a call."""
        return self._per_call

    def ask(self, sample: Sample) -> Scores:
        """What it says of a sample, asked as it will be."""
        if self._client.settings.via == "batch":
            # One batch holds all that the examination asks.
            self._client.ask(self._requests_to_examine(sample), problem=chat.problem)
        return self.score(sample.queries, sample.documents, sample.pairs)

    def otherwise(self) -> Mapping[str, Ask]:
        """Documents first; and where several go in a call, one document a call."""
        others = self._others(self._presumed)
        return {name: partial(self._of_sample, form) for name, form in others.items()}

    def _others(self, form: Form) -> dict[str, Form]:
        """Other ways to ask than ``form``, by their names."""
        found = {}
        if self._prompt.can_swap(several=form.per_call > 1):
            name = "documents first" if form.per_call > 1 else "document first"
            found[name] = replace(form, swapped=True)
        if form.per_call > 1 and self._prompt.can_grade(several=False):
            found["one document a call"] = replace(form, per_call=1)
        return found

    def _of_sample(self, form: Form, sample: Sample) -> Scores:
        """What it says of a sample in another form; alone, nothing is asked to fill a call."""
        rows = _asked_in(form, sample)
        said = self._judged(sample.queries, sample.documents, sample.pairs[rows], form, None)
        of_row = dict(zip(rows.tolist(), said, strict=True))
        return scores_of([of_row.get(row, _NOT_ASKED) for row in range(len(sample.role))])

    def calls(self, queries: Sequence[str], documents: Sequence[str], pairs: np.ndarray) -> Calls:
        """What asking about the pairs would take; nobody is asked."""
        groups = self._questions.groups(queries, documents, pairs, self._presumed)
        return calls_of((group.request for group in groups), self._client)

    def calls_to_examine(self, sample: Sample) -> Calls:
        """What an examination on the sample would take."""
        return calls_of(self._requests_to_examine(sample), self._client)

    def _requests_to_examine(self, sample: Sample) -> list[Request]:
        found = []
        for form in (self._presumed, *self._others(self._presumed).values()):
            pairs = sample.pairs[_asked_in(form, sample)]
            groups = self._questions.groups(sample.queries, sample.documents, pairs, form)
            found += [group.request for group in groups]
        return found

    @property
    def _presumed(self) -> Form:
        """How it would be asked, as far as can be told without asking."""
        return self._settled or self._given() or Form("logprobs")

    def _given(self) -> Form | None:
        """How it is asked, where that need not be found out."""
        if self._per_call > 1:
            return Form("grade", self._per_call)
        if self._wanted != "auto":
            return Form(self._wanted)
        # Over files nobody is there to be tried.
        if self._client.settings.via == "batch":
            return Form("logprobs")
        found = self._client.store.settled(self._way)
        return next((Form(by) for by in WAYS if by == found), None)

    @property
    def _way(self) -> str:
        """What the way to judge is kept under: that of a resumed run is that of its beginning."""
        return f"judged by {self._client.identity} {self._prompt.digest}"

    def _form(self, queries: Sequence[str], documents: Sequence[str], pairs: np.ndarray) -> Form:
        """How it is asked; found out once, by asking about some pairs.

        Raises:
            EndpointError: the server refuses whatever it is asked.
        """
        if self._settled is None and len(pairs):
            self._settled = self._given() or self._found_out(queries, documents, pairs)
        return self._settled or Form("logprobs")

    def _found_out(
        self, queries: Sequence[str], documents: Sequence[str], pairs: np.ndarray
    ) -> Form | None:
        """The first way to judge that the server can; None where no pair fits, which says nothing.

        The shortest pairs are asked about, and more than one: an answer may be odd for its texts.
        """
        sizes = [len(queries[q]) + len(documents[d]) for q, d in pairs.tolist()]
        tried = pairs[np.argsort(sizes, kind="stable")[:_TRIED]].tolist()
        ways = list(WAYS)
        if not self._prompt.can_grade(several=False):
            ways.remove("grade")
        refused: EndpointError | None = None
        failed: set[str] = set()
        for by in ways:
            try:
                for q, d in tried:
                    said = self._tried(by, queries[q], documents[d])
                    if isinstance(said, Failure):
                        failed.add(said.kind)
                    elif is_given(by, said):
                        self._client.store.settle(self._way, by)
                        # Of several processes that find it out at once the first one's holds.
                        return self._given() or Form(by)
            except EndpointError as error:
                refused = refused or error
        if failed == {"too-long"} and refused is None:
            return None
        raise refused or UsageError(
            "the server gives neither log-probabilities nor grades nor words",
            where=self._client.settings.url,
        )

    def _tried(self, by: By, query: str, document: str) -> ChatAnswer | Failure:
        """What comes of asking about one pair so."""
        request = self._questions.request(Form(by), query, document)
        found = self._client.ask([request], problem=chat.problem)[request.key]
        return found if isinstance(found, Failure) else chat.read(found)

    def _judged(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: np.ndarray,
        form: Form,
        progress: Callable[[int], None] | None,
    ) -> list[Judgement]:
        groups = self._questions.groups(queries, documents, pairs, form)
        requests = {one.request.key: one.request for one in groups}
        told = Scaled(progress, len(requests), len(pairs))
        answers = self._client.ask(requests.values(), problem=chat.problem, progress=told)
        judgements = [_NOT_ASKED] * len(pairs)
        for group in groups:
            said, extra = self._questions.read(answers[group.request.key], form, len(group.rows))
            self._extra += extra
            for row, judgement in zip(group.rows, said, strict=True):
                judgements[row] = judgement
        return judgements


def _asked_in(form: Form, sample: Sample) -> np.ndarray:
    """The rows of a sample that are asked about: alone, nothing is there to fill a call."""
    return np.flatnonzero((sample.role != FILLER) | (form.per_call > 1))


def _refer(rest: str) -> ScorerRef:
    model, _ = parsed(rest)
    return ScorerRef(
        # Not where the server is: it may come back elsewhere.
        f"{SCHEME}:{model}",
        "asked of the server",
        partial(_load, rest),
        is_a="judge",
        check=partial(_check, rest),
        told=partial(_told, rest),
    )


def _check(rest: str, params: RerankParams, name: str) -> None:
    """See that the options fit, before anybody is asked."""
    _settings(params, name, rest)
    limits_of(params)
    prompt = _prompt(params, name)
    per_call, by = of_model(params.per_call, name), of_model(params.judge_by, name)
    if per_call > 1 and by in ("logprobs", "word"):
        raise UsageError(
            f"--per-call asks for grades, and --judge-by {by} for something else",
            hint="Leave one of them out.",
        )
    if per_call > 1 or by == "grade":
        prompt.check_grades(several=per_call > 1)


def _settings(params: RerankParams, name: str, rest: str) -> Settings:
    return settings_of(params, name, rest, via=params.via, batch_folder=params.batch_folder)


def _prompt(params: RerankParams, name: str) -> Prompt:
    return prompts.load(of_model(params.prompt_file, name))


def _client(rest: str, loading: Loading) -> Client:
    return loading.client(_settings(loading.params, loading.name, rest))


def _told(rest: str, loading: Loading) -> dict[str, Any]:
    """Who answers, and by which prompt."""
    with _client(rest, loading) as client:
        return {
            "identity": identify(client),
            "prompt": _prompt(loading.params, loading.name).digest,
        }


def _load(rest: str, loading: Loading) -> Scorer:
    params, name = loading.params, loading.name
    client = _client(rest, loading)
    if loading.closing is not None:
        loading.closing.callback(client.close)
    identify(client)
    return LLMJudge(
        client,
        _prompt(params, name),
        of_model(params.judge_by, name),
        of_model(params.per_call, name),
    )


LLM = Kind(
    _refer,
    scheme=SCHEME,
    served=True,
    options={
        "prompt_file": "judge",
        "per_call": "judge",
        "judge_by": "judge",
        "examine": "judge",
        "trust_anyway": "judge",
    },
)
