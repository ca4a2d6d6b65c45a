"""Chat completions: how a question is put, and what an answer says.

Source: OpenAI's API reference (``/chat/completions``), as vLLM, llama.cpp, SGLang, Ollama and
hosted services serve it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from negmine.endpoints.request import Answer, Request, writable

PATH = "/chat/completions"


@dataclass(frozen=True)
class Chat:
    """How a model is asked.

    Attributes:
        model: its name at the server.
        max_tokens: most tokens of an answer.
        top_logprobs: of the first token so many log-probabilities are asked for; None = none.
        schema: JSON schema that an answer must follow.
        parameters: further fields of the body; None takes one away (such as ``max_tokens``, where
            the server calls it otherwise).
    """

    model: str
    max_tokens: int = 16
    top_logprobs: int | None = None
    schema: Mapping[str, Any] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def request(self, messages: Sequence[Mapping[str, str]]) -> Request:
        """The request that puts ``messages`` (role and content each) to the model."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [dict(message) for message in messages],
            "temperature": 0,
            "max_tokens": self.max_tokens,
        }
        if self.top_logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        if self.schema is not None:
            named = {"name": "answer", "strict": True, "schema": dict(self.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        body |= self.parameters
        body = {name: value for name, value in body.items() if value is not None}
        # As the server is told, by either of its names.
        told = (body.get(name) for name in ("max_tokens", "max_completion_tokens"))
        return Request(PATH, body, max((one for one in told if isinstance(one, int)), default=None))


@dataclass(frozen=True)
class ChatAnswer:
    """What a model said.

    Attributes:
        text: its words; empty where it said none.
        finish: why it ended: ``stop``, ``length`` (cut off), ``content_filter`` or another word of
            the server's; empty where that is not told.
        first: of its first token (token, log-probability), the most probable first; None where the
            server tells none that are numbers.
        refusal: what it says instead of an answer; None = it does not refuse.
        model: who answered, in the server's words.
        prompt_tokens: tokens that were read.
        completion_tokens: tokens that were written.
        cost: as the server tells.
        not_finite: first tokens that the server tells something else of than a log-probability:
            NaN, null (as which some write NaN), infinity.
    """

    text: str
    finish: str
    first: tuple[tuple[str, float], ...] | None
    refusal: str | None
    model: str
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: float | None
    not_finite: frozenset[str] = frozenset()


def problem(body: Mapping[str, Any]) -> str | None:
    """What makes a server's JSON no chat completion; None = it is one."""
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        return "an answer without 'choices'"
    if not isinstance(choices[0].get("message"), Mapping):
        return "an answer without a 'message'"
    return None


def read(answer: Answer) -> ChatAnswer:
    """What a chat completion says (one that :func:`problem` lets pass)."""
    choice = answer.body["choices"][0]
    message = choice["message"]
    first, not_finite = _first(choice.get("logprobs"))
    refusal = message.get("refusal")
    return ChatAnswer(
        _text(message.get("content")),
        str(choice.get("finish_reason") or ""),
        first,
        str(refusal) if refusal else None,
        answer.model,
        answer.usage.prompt,
        answer.usage.completion,
        answer.usage.cost,
        not_finite,
    )


def _text(content: Any) -> str:
    """Text of a message: a string, or parts of which some are text."""
    if isinstance(content, str):
        return writable(content)
    parts = content if isinstance(content, list) else []
    found = (str(part.get("text", "")) for part in parts if isinstance(part, Mapping))
    return writable("".join(found))


def _first(logprobs: Any) -> tuple[tuple[tuple[str, float], ...] | None, frozenset[str]]:
    """Log-probabilities of the first token, None without any; and tokens that have no such."""
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    position = content[0] if isinstance(content, list) and content else None
    if not isinstance(position, Mapping):
        return None, frozenset()
    top = position.get("top_logprobs")
    found: dict[str, float] = {}
    odd: set[str] = set()
    for entry in [*(top if isinstance(top, list) else []), position]:
        if not isinstance(entry, Mapping):
            continue
        token, value = entry.get("token"), _logprob(entry.get("logprob"))
        if not isinstance(token, str):
            continue
        if value is None:
            odd.add(token)
        else:
            found.setdefault(token, value)
    ordered = tuple(sorted(found.items(), key=lambda one: -one[1]))
    return ordered or None, frozenset(odd)


def _logprob(value: Any) -> float | None:
    """A log-probability; None of what is none. That of the impossible is minus infinity."""
    known = isinstance(value, int | float) and not isinstance(value, bool)
    # A hair above 0 is rounding; NaN is not below anything.
    return min(float(value), 0.0) if known and value <= 1e-3 else None
