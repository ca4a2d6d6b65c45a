"""What a model says, and how a server of OpenAI's protocol packs it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.servers.faults import Kind
from tests.servers.judges import Bend, Judge, drawn, probability
from tests.servers.reading import KnownTexts

Body = Mapping[str, Any]


@dataclass(frozen=True)
class Said:
    """What a model says.

    Attributes:
        text: the message.
        first: probabilities of its first token; what is left of 1 belongs to tokens not named.
        finish: ``finish_reason``.
        refusal: in OpenAI's own field.
    """

    text: str
    first: Mapping[str, float]
    finish: str = "stop"
    refusal: str | None = None


class Unanswerable(Exception):
    """The server cannot know what to say: a test that asks something else than it meant."""


#: What a server says to a request.
Answerer = Callable[[Body], Said]


@dataclass(frozen=True)
class Words:
    """How a judge says it.

    Attributes:
        yes: the word; some of its probability is that of the word in small letters.
        no: likewise.
        mass: how much of all probability both have together.
    """

    yes: str = "Yes"
    no: str = "No"
    mass: float = 0.98

    def distribution(self, p: float) -> dict[str, float]:
        """Of the first token, where yes has the share ``p`` of both."""
        found: dict[str, float] = {}
        for word, share in ((self.yes, p), (self.no, 1 - p)):
            found[word] = self.mass * share * 0.9
            found[word.lower()] = found.get(word.lower(), 0.0) + self.mass * share * 0.1
        return {**found, "The": (1 - self.mass) / 2, "I": (1 - self.mass) / 4}


def judging(
    judge: Judge, texts: KnownTexts, bend: Bend | None = None, words: Words | None = None
) -> Answerer:
    """Answers whether documents are relevant: a word, or what the request's JSON schema wants."""
    bent, how = bend or Bend(), words or Words()

    def answer(body: Body) -> Said:
        asked = texts.read(prompt_of(body))
        if asked is None:
            raise Unanswerable("there is no known query with a known document in the prompt")
        many = len(asked.documents)
        found = [
            probability(bent.logit(judge, asked.query, text, at, many, asked.query_first))
            for at, text in enumerate(asked.documents)
        ]
        said = [how.yes if p > 0.5 else how.no for p in found]
        schema = schema_of(body)
        if schema is not None:
            text = json.dumps(filled(schema, found, how))
        elif many == 1:
            text = said[0]
        else:
            text = "\n".join(f"{at}: {word}" for at, word in enumerate(said, 1))
        return Said(text, how.distribution(found[0]))

    return answer


#: What a text says that the writer itself owns to be an answer.
OWNED = "This passage answers it."


def writing(body: Body) -> Said:
    """Writes a dozen texts for a query; every third it then owns to be an answer."""
    prompt = prompt_of(body)
    if schema_of(body) is None:
        return Said("Yes." if OWNED in prompt else "No.", {"No": 1.0})
    found = re.search(r"Query: (.+)", prompt)
    if found is None:
        raise Unanswerable("there is no query in the prompt")
    texts = [
        f"Page {drawn(found[1], n):.6f} is about {found[1]}. {'' if n % 3 else OWNED}".strip()
        for n in range(12)
    ]
    return Said(json.dumps({"texts": texts}), {"{": 1.0})


def prompt_of(body: Body) -> str:
    """All messages that are not the model's own."""
    parts: list[str] = []
    for message in body["messages"]:
        content = message["content"]
        parts += [content] if isinstance(content, str) else [part["text"] for part in content]
    return "\n".join(parts)


def schema_of(body: Body) -> Mapping[str, Any] | None:
    """The JSON schema that the answer must have."""
    wanted = body.get("response_format") or {}
    return wanted["json_schema"]["schema"] if wanted.get("type") == "json_schema" else None


#: What a schema calls the number of a document.
_NUMBERS = ("document", "number", "index", "item", "id")


def filled(
    schema: Mapping[str, Any], found: Sequence[float], words: Words, at: int = 0, name: str = ""
) -> Any:
    """Something that a schema allows and that says how probable "yes" is.

    A list gets an item for each document. A number between bounds, or one of some, is a grade; one
    that is called so is the document's, from 1. A choice of words is that of yes or no, or the
    first (yes) and the last (no) one.
    """
    p = found[at]
    if "anyOf" in schema:
        return filled(schema["anyOf"][0], found, words, at, name)
    kinds = schema.get("type")
    kind = next((k for k in kinds if k != "null"), None) if isinstance(kinds, list) else kinds
    if name in _NUMBERS:
        return at + 1
    if "enum" in schema:
        return _chosen(schema["enum"], p, words)
    if kind == "object":
        return {
            key: filled(inner, found, words, at, key)
            for key, inner in schema.get("properties", {}).items()
        }
    if kind == "array":
        return [filled(schema["items"], found, words, item) for item in range(len(found))]
    if kind in ("integer", "number"):
        low, high = schema.get("minimum", 0), schema.get("maximum", 1)
        grade = low + p * (high - low)
        return round(grade) if kind == "integer" else grade
    return p > 0.5 if kind == "boolean" else "as the texts say"


def _chosen(choices: Sequence[Any], p: float, words: Words) -> Any:
    grades = sorted(one for one in choices if isinstance(one, int | float))
    if grades:
        return grades[round(p * (len(grades) - 1))]
    meant = (words.yes if p > 0.5 else words.no).lower()
    named = [choice for choice in choices if str(choice).lower() == meant]
    return (named or [choices[0 if p > 0.5 else -1]])[0]


def with_fault(said: Said, kind: Kind) -> Said:
    """What is said instead, where the fault is in what is said."""
    match kind:
        case "refusal":
            return replace(said, text="", refusal="I can't help with that.", first={"I": 0.9})
        case "refusal_text":
            return replace(said, text="I'm sorry, but I can't help with that.", first={"I": 0.98})
        case "cannot_tell":
            return replace(said, text="Cannot tell", first={"Cannot": 0.97, "Yes": 0.01})
        case "unsure":
            return replace(said, text="Unsure", first={"Unsure": 0.97, "Yes": 0.01})
        case "chatter":
            return replace(said, text="The document is about it.", first={"The": 0.99})
        case "length":
            return replace(said, text=said.text[: len(said.text) // 2], finish="length")
        case "content_filter":
            return replace(said, text="", finish="content_filter")
        case "empty":
            return replace(said, text="", first={"<|end|>": 0.99})
        case "bad_json":
            return replace(said, text=(said.text[:-1] if len(said.text) > 8 else "{"))
        case "few_items" | "many_items":
            return replace(said, text=_other_items(said.text, kind))
        case _:
            return said


def _other_items(text: str, kind: Kind) -> str:
    """A list without its last item, or with its first one twice."""

    def other(items: list[Any]) -> list[Any]:
        return items[:-1] if kind == "few_items" else [items[0], *items]

    try:
        told = json.loads(text)
    except ValueError:
        return "\n".join(other(text.splitlines()))
    if isinstance(told, list):
        return json.dumps(other(told))
    return json.dumps(
        {name: other(found) if isinstance(found, list) else found for name, found in told.items()}
    )


def packed(said: Said, body: Body, model: str, number: int, fault: Kind | None) -> dict[str, Any]:
    """A response of /v1/chat/completions."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": said.text or None, "refusal": said.refusal},
        "finish_reason": said.finish,
        "logprobs": _logprobs(said, body, fault),
    }
    asked, told = len(prompt_of(body).split()), len(said.text.split())
    response = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 0,
        "model": "another-model" if fault == "wrong_model" else model,
        "choices": [choice, choice] if fault == "two_choices" else [choice],
        "usage": {
            "prompt_tokens": asked,
            "completion_tokens": told,
            "total_tokens": asked + told,
        },
    }
    if fault == "no_choices":
        response["choices"] = []
    if fault == "no_usage":
        del response["usage"]
    return response


def _logprobs(said: Said, body: Body, fault: Kind | None) -> dict[str, Any] | None:
    """As asked for: the first token's alternatives as the model has them, grammar or not."""
    if not body.get("logprobs") or fault == "no_logprobs":
        return None
    if fault == "empty_logprobs":
        return {"content": []}
    most = int(body.get("top_logprobs") or 0)
    ranked = sorted(said.first.items(), key=lambda item: -item[1])
    tokens = [_token(token, math.log(max(share, 1e-30))) for token, share in ranked]
    if fault in ("nan", "null_logprob"):
        odd = math.nan if fault == "nan" else None
        tokens = [{**token, "logprob": odd} for token in tokens]
    if fault == "nan_of_yes":
        tokens = [{**one, "logprob": math.nan} if one["token"] == "Yes" else one for one in tokens]
    words = said.text.split()
    taken = next((token for token in tokens if words and token["token"] == words[0]), None)
    chosen = taken or (_token(words[0], math.log(1e-3)) if words else tokens[0])
    rest = [{**_token(word, -0.01), "top_logprobs": []} for word in words[1:]]
    return {"content": [{**chosen, "top_logprobs": tokens[:most]}, *rest]}


def _token(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}
