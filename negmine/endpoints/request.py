"""What a server is asked, and what comes of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

#: Says what is wrong with an answer; None = nothing.
Problem = Callable[[Mapping[str, Any]], str | None]


@dataclass(frozen=True)
class Request:
    """A POST with a JSON body.

    Attributes:
        path: below the endpoint's URL, such as ``/chat/completions``.
        body: what is sent; the model's name is in it.
        most: most tokens that an answer may have; None = not bounded. It is what a budget holds
            back for the call, and no part of the key.
        problem: says what is wrong with an answer to this request.
        kept: what of an answer is kept: not texts that are said again.
    """

    path: str
    body: Mapping[str, Any]
    most: int | None = field(default=None, compare=False)
    problem: Problem | None = field(default=None, compare=False, repr=False)
    kept: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = field(
        default=None, compare=False, repr=False
    )

    @cached_property
    def content(self) -> bytes:
        """The body as it is sent: JSON in UTF-8, keys in order."""
        return canonical(self.body)

    @cached_property
    def key(self) -> str:
        """Hex BLAKE2b-160 of path and body: the same request has the same key everywhere."""
        asked = self.path.encode() + b"\n" + self.content
        return hashlib.blake2b(asked, digest_size=20).hexdigest()


def canonical(value: Any) -> bytes:
    """``value`` as JSON: keys in order, no spaces, characters as they are."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode("utf-8", "backslashreplace")


def parsed(content: str | bytes) -> Any:
    """What somebody else's JSON says.

    Raises:
        ValueError: it is none, or is nested more deeply than anything that is meant.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def writable(text: str) -> str:
    """``text`` with "?" for what no file can hold: JSON may name half of a character."""
    return text.encode("utf-8", "replace").decode("utf-8")


@dataclass(frozen=True)
class Usage:
    """What one answered call took, as far as the server tells.

    Attributes:
        prompt: tokens that were read.
        completion: tokens that were written.
        cost: in whatever currency the server bills.
    """

    prompt: int | None = None
    completion: int | None = None
    cost: float | None = None

    @property
    def tokens(self) -> int | None:
        """Tokens in all; None where the server does not tell."""
        return None if self.prompt is None else self.prompt + (self.completion or 0)


@dataclass(frozen=True)
class Answer:
    """What a server said.

    Attributes:
        body: the JSON object of its answer.
        usage: what the call took.
        model: the model that it says answered; empty where it does not say.
    """

    body: Mapping[str, Any]
    usage: Usage = Usage()
    model: str = ""


@dataclass(frozen=True)
class Failure:
    """A request that got no answer, for good.

    Attributes:
        kind: ``refused``, ``too-long``, ``server``, ``timeout``, ``broken`` or ``garbled``.
        message: what the server said, in words.
    """

    kind: str
    message: str


def answer_of(body: Mapping[str, Any], request: Request | None = None) -> Answer:
    """The answer in a server's JSON object, of which a request may keep something else."""
    model = body.get("model")
    kept = body if request is None or request.kept is None else request.kept(body)
    return Answer(kept, usage_of(body), writable(model) if isinstance(model, str) else "")


def usage_of(body: Mapping[str, Any]) -> Usage:
    """The usage that an answer tells, under the names that are in use; what is no number is None.

    Source: OpenAI's ``usage`` (chat, embeddings) and OpenRouter's ``usage.cost``.
    """
    usage = body.get("usage")
    if not isinstance(usage, Mapping):
        return Usage()
    prompt = _count(usage, "prompt_tokens", "input_tokens")
    completion = _count(usage, "completion_tokens", "output_tokens")
    if prompt is None:
        prompt, completion = _count(usage, "total_tokens"), None
    cost = usage.get("cost")
    known = isinstance(cost, int | float) and not isinstance(cost, bool) and 0 <= cost < 1e12
    return Usage(prompt, completion, float(cost) if known and cost is not None else None)


def _count(usage: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = usage.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53:
            return value
    return None
