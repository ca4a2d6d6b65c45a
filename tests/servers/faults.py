"""What can go wrong with an answer, and when it is to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from tests.servers.judges import drawn

Kind = Literal[
    # An answer that is none.
    "busy",  # 429; `retry_after`: seconds, "date" or None
    "error",  # `status`: 500, 502, 503, 408, 401, 404 ...
    "too_long",  # 400, as llama.cpp says that a prompt does not fit
    "hang",  # nothing for `seconds`, then the connection ends
    "reset",  # the connection breaks
    "cut",  # it ends in the middle of what was announced
    # An answer of status 200 that is broken.
    "truncated",  # half of the JSON
    "html",  # a page, as a proxy says it
    "wrong_schema",  # JSON of another shape
    "no_choices",
    # A whole answer that cannot be taken as it is.
    "no_logprobs",
    "empty_logprobs",
    "nan",  # a log-probability that is no number
    "null_logprob",
    "nan_of_yes",  # yes has none that is a number, and the others have
    "refusal",  # the field of OpenAI's
    "refusal_text",
    "cannot_tell",
    "unsure",
    "chatter",  # neither yes nor no
    "length",  # finish_reason length, and a text that is cut
    "content_filter",
    "empty",
    "bad_json",  # a text that should be JSON and is none; without a schema: "{"
    "few_items",  # one answer is missing of those to several documents
    "many_items",  # one answer is there twice
    # Of a reranker or an encoder.
    "null_score",
    "wrong_order",  # numbered as they come, the best first
    "same_index",  # one index is there twice
    "beyond_index",  # one is beyond the last document
    "no_index",
    "wrong_width",  # a vector has a number less than the others
    # A good answer of another kind.
    "wrong_model",
    "two_choices",
    "twice",  # the whole response a second time on the same connection
    "no_usage",
    "slow",  # after `seconds`
]
#: Of status 200, and yet nothing that could be kept. All further below are answers.
BROKEN: frozenset[str | None] = frozenset({"truncated", "html", "wrong_schema", "no_choices"})


@dataclass(frozen=True)
class Fault:
    """One that is sent, to all requests that every condition holds for.

    Attributes:
        kind: which.
        numbers: only these requests, counted from 1 as they arrive; None = any.
        share: only so many of the requests: drawn by ``seed``, key and attempt, not by arrival.
        attempts: only the first so many of the same request; None = each time.
        holding: only prompts that hold this text; None = any.
        seed: of the draw.
        status: of ``error``.
        retry_after: of ``busy`` and ``error``: seconds, "date" (in 1 s) or None for no header.
        seconds: of ``hang`` and ``slow``.
    """

    kind: Kind
    numbers: Collection[int] | None = None
    share: float = 1.0
    attempts: int | None = None
    holding: str | None = None
    seed: int = 0
    status: int = 500
    retry_after: float | Literal["date"] | None = None
    seconds: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"no such fault: {self.kind}")

    def hits(self, number: int, key: str, attempt: int, prompt: str) -> bool:
        """Whether a request gets it."""
        return (
            (self.numbers is None or number in self.numbers)
            and (self.attempts is None or attempt < self.attempts)
            and (self.holding is None or self.holding in prompt)
            and (self.share >= 1 or drawn(self.kind, self.seed, key, attempt) < self.share)
        )


def first(
    faults: Sequence[Fault], number: int, key: str, attempt: int, prompt: str
) -> Fault | None:
    """The first that hits a request."""
    return next((fault for fault in faults if fault.hits(number, key, attempt, prompt)), None)


def misnumbered(rows: list[dict[str, Any]], kind: str | None) -> list[dict[str, Any]]:
    """Results that say by ``index`` what each is about, with a fault of that."""
    match kind:
        case "wrong_order":
            return [{**row, "index": at} for at, row in enumerate(rows)]
        case "same_index":
            rows[-1]["index"] = rows[0]["index"]
        case "beyond_index":
            rows[-1]["index"] = len(rows)
        case "few_items":
            del rows[-1]
        case "no_index":
            del rows[-1]["index"]
    return rows


def from_json(rows: Sequence[dict[str, Any]]) -> tuple[Fault, ...]:
    """Faults as a command line gives them."""
    known = {field.name for field in fields(Fault)}
    for row in rows:
        if odd := set(row) - known:
            raise ValueError(f"a fault has no {sorted(odd)}; it has {sorted(known)}")
    return tuple(Fault(**row) for row in rows)
