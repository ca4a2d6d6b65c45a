"""Texts that a model writes, and what it is asked about them when they are there."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from negmine.endpoints import chat
from negmine.endpoints.asking import Client
from negmine.endpoints.budget import Budget
from negmine.endpoints.chat import Chat
from negmine.endpoints.identity import identify
from negmine.endpoints.request import Answer, Failure, Request, parsed, writable
from negmine.endpoints.settings import settings_of
from negmine.endpoints.store import FOLDER, Store
from negmine.errors import UsageError
from negmine.params.per_model import of_model
from negmine.params.values import named
from negmine.params.write import WriteParams
from negmine.scorers.judging.calls import Calls, calls_of
from negmine.stages.write import prompts
from negmine.stages.write.asking import Asking, asking_of
from negmine.stages.write.cases import Case, Group
from negmine.stages.write.drafts import Draft
from negmine.stages.write.prompts import WritingPrompt

SCHEME = "llm:"
#: What an answer with texts must look like.
_SCHEMA = {
    "type": "object",
    "properties": {"texts": {"type": "array", "items": {"type": "string"}}},
    "required": ["texts"],
    "additionalProperties": False,
}
#: Tokens of an answer of one word.
_WORD = 8
#: Why nothing came of a call, and why a text is left out.
UNWRITTEN, UNCONFIRMED, BEYOND = "unwritten", "not_confirmed", "beyond_each"
#: Of a call that was cut off after some texts; and why a text is left out that nobody asked for.
CUT_OFF, UNASKED = "cut_off", "beyond_variants"
#: Up to the first text of an answer, and between two.
_BEGINS, _BETWEEN = re.compile(r'\s*\{\s*"texts"\s*:\s*\[\s*'), re.compile(r"\s*,\s*")


@dataclass(frozen=True)
class Writing:
    """A model that writes.

    Attributes:
        name: what the user calls it.
        client: the server, the stored answers and the budget.
        prompt: how it is asked.
        params: what is asked.
    """

    name: str
    client: Client
    prompt: WritingPrompt
    params: WriteParams

    @property
    def spec(self) -> str:
        """The model as a user writes it, but for the server."""
        return f"{SCHEME}{self.client.settings.model}"

    @property
    def record(self) -> dict[str, Any]:
        """Who writes, and by which prompt: for the fingerprint."""
        told = {"model": self.spec, "identity": self.client.identity}
        return {**told, "prompt": self.prompt.digest}

    @property
    def asking(self) -> Asking:
        """What is asked for texts of this kind."""
        return asking_of(self.params)

    def requests(self, group: Group) -> list[tuple[Case, Request]]:
        """What is asked for a group: of each of its cases once."""
        asking = self.asking
        how = Chat(
            self.client.settings.model,
            max_tokens=self.params.answer_tokens,
            schema=_SCHEMA,
            parameters=self.prompt.parameters,
        )
        count = self.params.variants
        return [
            (case, how.request(self.prompt.asking(asking.told(case), count)))
            for case in asking.cases(group)
        ]

    def drafts(
        self, group: Group, progress: Callable[[int], None] | None = None
    ) -> tuple[list[Draft], Counter[str]]:
        """The texts for a group, and how many calls brought none, or were cut off after some."""
        asked = self.requests(group)
        answers = self._ask(request for _, request in asked)
        drafts: list[Draft] = []
        lost: Counter[str] = Counter()
        for case, request in asked:
            texts = texts_of(answers[request.key])
            lost[UNWRITTEN] += not texts
            lost[CUT_OFF] += bool(texts) and is_cut_off(answers[request.key])
            kind = str(self.params.kind)
            drafts += [Draft(case, kind, "", text, writer=self.name) for text in texts]
        return drafts, lost

    def questions(self, draft: Draft) -> list[tuple[Request, bool]]:
        """The questions about a text, each with whether yes is the answer that lets it stay."""
        how = Chat(self.client.settings.model, max_tokens=_WORD, parameters=self.prompt.parameters)
        return [
            (how.request(messages), yes)
            for told, yes in self.asking.checked(draft)
            for messages in self.prompt.checking(told)
        ]

    def confirmed(self, drafts: Sequence[Draft]) -> list[bool]:
        """Of each text whether every question about it is answered as it must be."""
        if not self.params.check:
            return [True] * len(drafts)
        asked = [self.questions(draft) for draft in drafts]
        answers = self._ask(one for questions in asked for one, _ in questions)
        return [
            all(self._says(answers[one.key], yes) for one, yes in questions) for questions in asked
        ]

    def _says(self, answer: Answer | Failure, yes: bool) -> bool:
        if isinstance(answer, Failure):
            return False
        said = chat.read(answer)
        return said.refusal is None and self.prompt.says(said.text, yes)

    def _ask(self, requests: Iterable[Request]) -> dict[str, Answer | Failure]:
        return self.client.ask(list(requests), problem=chat.problem)

    def calls(self, groups: Iterable[Group]) -> tuple[Calls, int]:
        """(what writing would take, the most calls that check what is written)."""
        found = calls_of(
            (request for group in groups for _, request in self.requests(group)), self.client
        )
        checks = len(self.prompt.checks) * self.asking.passages * self.params.variants
        checks = checks if self.params.check else 0
        return found, (len(found.left) + len(found.stored)) * checks


def first_each(drafts: Sequence[Draft], each: int) -> Iterator[bool]:
    """Of each text whether it is among the first of its case."""
    seen: Counter[tuple[str, ...]] = Counter()
    for draft in drafts:
        seen[draft.case.key] += 1
        yield seen[draft.case.key] <= each


def texts_of(answer: Answer | Failure) -> list[str]:
    """The texts in an answer; of one that is cut off those that are whole.

    There are none in a refusal, or where it is no such JSON.
    """
    if isinstance(answer, Failure):
        return []
    said = chat.read(answer)
    if said.refusal is not None or said.finish == "content_filter":
        return []
    found = _before_the_cut(said.text) if said.finish == "length" else _listed(said.text)
    texts = (" ".join(writable(text).split()) for text in found if isinstance(text, str))
    return [text for text in texts if text]


def is_cut_off(answer: Answer | Failure) -> bool:
    """Whether an answer ends where the limit of its tokens was."""
    return isinstance(answer, Answer) and chat.read(answer).finish == "length"


def _listed(said: str) -> list[Any]:
    """The entries of a whole answer."""
    try:
        told = parsed(said)
    except ValueError:
        return []
    listed = told.get("texts") if isinstance(told, dict) else None
    return listed if isinstance(listed, list) else []


def _before_the_cut(said: str) -> list[Any]:
    """The entries of an answer that ends somewhere: those that are whole."""
    found: list[Any] = []
    at = _BEGINS.match(said)
    reader = json.JSONDecoder()
    while at is not None:
        try:
            entry, end = reader.raw_decode(said, at.end())
        except ValueError:
            break
        found.append(entry)
        at = _BETWEEN.match(said, end)
    return found


def set_up(params: WriteParams, out: Path, spending: Budget, closing: ExitStack) -> Writing:
    """The model that writes into ``out``; its server is asked who it is.

    Args:
        params: what is asked.
        out: where the texts go.
        spending: what the whole command may spend.
        closing: takes up the connection, and the last file of a batch.

    Raises:
        UsageError: there is not one writer, or it is none.
        NegmineError: the prompt cannot be read, or the server does not answer.
    """
    writers = named(params.writer, "--writer")
    if len(writers) != 1:
        raise UsageError(
            f"--kind {params.kind} needs one --writer",
            hint="For example: --writer smol=llm:smollm2@http://localhost:8080",
        )
    ((name, spec),) = writers.items()
    if not spec.startswith(SCHEME):
        raise UsageError(
            f"--writer {name}={spec}: no model that writes",
            hint=f"Write {name}={SCHEME}MODEL@URL.",
        )
    asked_by = of_model(params.prompt_file, name)
    prompt = prompts.load(str(params.kind), asked_by)
    if params.check:
        prompts.refuse_unchecked(prompt, str(params.kind), asked_by or str(params.kind))
    settings = settings_of(
        params,
        name,
        spec.removeprefix(SCHEME),
        via=params.via,
        batch_folder=params.batch_folder,
    )
    client = Client(settings, Store(out.parent / FOLDER), spending)
    closing.callback(client.close)
    identify(client)
    return Writing(name, client, prompt, params)
