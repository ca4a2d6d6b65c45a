"""Chat completions: how a question is put, what an answer says, and who answers.

Source: OpenAI's API reference (``/chat/completions``), as vLLM, llama.cpp, SGLang, Ollama and
hosted services serve it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from negmine import log
from negmine.endpoints.asking import Client
from negmine.endpoints.request import Answer, Request, canonical, writable
from negmine.endpoints.transport import Trouble
from negmine.errors import EndpointError, UsageError, did_you_mean

PATH = "/chat/completions"

#: What of a model's description says what it is; other fields are times and permissions.
_SAYS = ("id", "root", "parent", "object", "max_model_len")
_META = ("vocab_type", "n_vocab", "n_ctx_train", "n_embd", "n_params", "size")


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


def identify(client: Client) -> str:
    """Ask the server who answers, and have the client keep its answers under that identity.

    A server that cannot be reached is taken for what it was when it was asked last; over files
    nobody is asked at all. Of a server that lists no models only the name is known.

    Returns:
        What stands for the model in a fingerprint.

    Raises:
        UsageError: the server lists models, and not this one.
        EndpointError: it does not answer, and never did, or lets nobody in.
    """
    settings = client.settings
    known = client.store.remembered(settings.url, settings.model)
    if settings.via == "batch":
        client.identity = known[0] if known is not None else ""
        return client.identity or settings.model
    try:
        client.identity = _told(client, patient=known is None)
    except EndpointError as error:
        if known is None:
            raise
        log.event(f"{error.what}: the model is taken for what it was when it was asked last")
        client.identity = known[0]
        client.confirm = partial(_confirm, client)
    return client.identity


def _told(client: Client, *, patient: bool) -> str:
    """The identity that the server tells now."""
    settings = client.settings
    listed = client.get("/models", patient=patient)
    if isinstance(listed, Trouble):
        if not listed.message.startswith(("404", "405", "501")):
            raise client.stopped(listed)
        return settings.model
    told = _described(_models(listed), settings.model, settings.url)
    digest = hashlib.blake2b(canonical(told), digest_size=8).hexdigest()
    identity = f"{settings.model} {digest}"
    client.store.remember(settings.url, settings.model, identity, told)
    return identity


def _confirm(client: Client) -> None:
    """See that a server which was away is what it was.

    Raises:
        EndpointError: it is not, or is away still.
    """
    client.confirm = None
    if _told(client, patient=True) != client.identity:
        settings = client.settings
        raise EndpointError(
            f"the server of '{settings.name}' has another model '{settings.model}' than before",
            where=settings.url,
            hint="Run the same command again: it asks the model that is there now.",
        )


def _models(listed: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The models that a server lists: OpenAI's ``data``."""
    data = listed.get("data")
    entries = data if isinstance(data, list) else []
    return [one for one in entries if isinstance(one, Mapping) and isinstance(one.get("id"), str)]


def _described(models: Iterable[Mapping[str, Any]], model: str, url: str) -> dict[str, Any]:
    """What the server tells of the model that stays the same when the server is started anew."""
    by_id = {one["id"]: one for one in models}
    if by_id and model not in by_id:
        raise UsageError(
            f"the server has no model '{model}'", where=url, hint=did_you_mean(model, by_id)
        )
    told = by_id.get(model, {"id": model})
    meta = told.get("meta")
    kept = {name: told[name] for name in _SAYS if told.get(name) is not None}
    if isinstance(meta, Mapping):
        kept["meta"] = {name: meta[name] for name in _META if meta.get(name) is not None}
    return kept
