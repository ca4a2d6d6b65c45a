"""What a judge behind HTTP is asked, and how its answers are read: pure, nobody is asked here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from negmine.endpoints import chat
from negmine.endpoints.chat import Chat, ChatAnswer
from negmine.endpoints.request import Answer, Failure, Request
from negmine.scorers.grouping import grouped
from negmine.scorers.judging.prompts import Prompt
from negmine.scorers.judging.verdicts import (
    GRADE_SCHEMA,
    GRADES_SCHEMA,
    Judgement,
    Words,
    by_grade,
    by_grades,
    by_logprobs,
    by_text,
    unjudged,
    words_of,
)

By = Literal["logprobs", "grade", "word"]
#: What a score can come from, the best first.
WAYS: tuple[By, ...] = get_args(By)

#: Of the first token so many alternatives are asked for: what all servers give at most.
_ALTERNATIVES = 20
#: Tokens of an answer: one where only its beginning counts; of a word; of a grade; of each further.
_MOST_TOKENS: Mapping[By, int] = {"logprobs": 1, "word": 16, "grade": 32}
_TOKENS_EACH = 24


@dataclass(frozen=True)
class Form:
    """How a judge is asked.

    Attributes:
        by: what its score comes from.
        per_call: most documents in a call.
        swapped: whether documents come before the query.
    """

    by: By
    per_call: int = 1
    swapped: bool = False


@dataclass(frozen=True)
class Group:
    """What one call is about.

    Attributes:
        request: the call.
        rows: the pairs that it is about, in the order of the prompt.
    """

    request: Request
    rows: Sequence[int]


@dataclass(frozen=True)
class Questions:
    """What is asked of one model by one prompt.

    Attributes:
        model: as its server calls it.
        prompt: how it is asked.
    """

    model: str
    prompt: Prompt

    @cached_property
    def _words(self) -> Words:
        return words_of(self.prompt)

    def read(self, answer: Answer | Failure, form: Form, count: int) -> tuple[list[Judgement], int]:
        """Judgements of the documents of a call, and how many items there were beyond them."""
        if isinstance(answer, Failure):
            reason = "too_long" if answer.kind == "too-long" else "failed"
            return [unjudged(reason)] * count, 0
        said = chat.read(answer)
        if form.per_call > 1:
            return by_grades(said, count)
        if form.by == "logprobs":
            return [by_logprobs(said, self._words)], 0
        return [by_grade(said) if form.by == "grade" else by_text(said, self._words)], 0

    def groups(
        self, queries: Sequence[str], documents: Sequence[str], pairs: np.ndarray, form: Form
    ) -> list[Group]:
        """The calls about the pairs: of each query so many at a time, in an order by chance."""
        if form.per_call == 1:
            return [
                Group(self.request(form, queries[q], documents[d]), (row,))
                for row, (q, d) in enumerate(pairs.tolist())
            ]
        groups = []
        for some in grouped(queries, documents, pairs, form.per_call):
            texts = [documents[d] for d in pairs[some, 1].tolist()]
            query = queries[pairs[some[0], 0]]
            groups.append(Group(self._request_of_several(form, query, texts), some))
        return groups

    def request(self, form: Form, query: str, document: str) -> Request:
        """The call about one document."""
        graded = form.by == "grade"
        messages = self.prompt.asking(query, document, graded=graded, swapped=form.swapped)
        return Chat(
            self.model,
            max_tokens=_MOST_TOKENS[form.by],
            top_logprobs=_ALTERNATIVES if form.by == "logprobs" else None,
            schema=GRADE_SCHEMA if graded else None,
            parameters=self.prompt.parameters,
        ).request(messages)

    def _request_of_several(self, form: Form, query: str, documents: Sequence[str]) -> Request:
        messages = self.prompt.asking_several(query, documents, swapped=form.swapped)
        return Chat(
            self.model,
            max_tokens=_MOST_TOKENS["grade"] + _TOKENS_EACH * len(documents),
            schema=GRADES_SCHEMA,
            parameters=self.prompt.parameters,
        ).request(messages)


def is_given(by: By, said: ChatAnswer) -> bool:
    """Whether an answer is of this way: a server that does not know it may say nothing of that."""
    if by == "logprobs":
        return said.first is not None
    return by == "word" or by_grade(said).reason not in ("unparsable", "wrong_schema")
