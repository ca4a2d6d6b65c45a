"""From what a model said to a verdict: nothing that it did not say becomes one.

A score is in [0, 1]. By log-probabilities it is e_yes / (e_yes + e_no) of the first token of the
answer (UniME-V2, arXiv 2510.13515); by a grade, the grade over the highest one; by a word, 1 or 0.
Whatever cannot be read is unjudged: it has no score, and a reason.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from negmine.endpoints.chat import ChatAnswer
from negmine.endpoints.request import parsed
from negmine.scorers.judging.prompts import Prompt

Verdict = Literal["yes", "no", "unsure", "unjudged"]
VERDICTS: tuple[Verdict, ...] = ("yes", "no", "unsure", "unjudged")

#: Why there is no verdict, and what that is in words.
REASONS: Mapping[str, str] = {
    "truncated": "the answer was cut off",
    "refused": "the model, or a filter before it, refuses to answer",
    "cannot_tell": "the model says that it cannot tell",
    "unparsable": "the answer is neither of the words, or no JSON",
    "wrong_schema": "the answer is JSON of another form",
    "not_finite": "a grade, or a log-probability of yes or no, is no finite number",
    "no_logprobs": "the answer has no log-probabilities",
    "low_mass": "yes and no together are improbable as the first token",
    "missing_item": "one call, several documents: the answer leaves this one out",
    "repeated_item": "one call, several documents: the answer grades this one twice, differently",
    "too_long": "the texts are longer than the model reads",
    "failed": "the server refuses this request, or failed on it each time",
}

#: At or above it is yes, at or below one less it is no; between them the judge is unsure.
SURE = 2 / 3
#: Least probability of yes and no together: below it the first token is about something else.
LEAST_MASS = 0.05
HIGHEST_GRADE = 4

_GRADE = {"type": ["integer", "null"], "minimum": 0, "maximum": HIGHEST_GRADE}
#: What an answer about one document must look like.
GRADE_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"grade": _GRADE},
    "required": ["grade"],
    "additionalProperties": False,
}


#: What an answer about several must look like.
GRADES_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "grades": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"document": {"type": "integer"}, "grade": _GRADE},
                "required": ["document", "grade"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["grades"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Judgement:
    """What a judge says of one document.

    Attributes:
        score: in [0, 1]; None = unjudged.
        reason: of :data:`REASONS`, where it is unjudged.
        mass: probability of yes and no together, where probabilities are known.
    """

    score: float | None
    reason: str | None = None
    mass: float | None = None

    @property
    def verdict(self) -> Verdict:
        """The score in a word."""
        if self.score is None:
            return "unjudged"
        if self.score >= SURE:
            return "yes"
        return "no" if self.score <= 1 - SURE else "unsure"


def unjudged(reason: str, mass: float | None = None) -> Judgement:
    """That there is no verdict, and why."""
    assert reason in REASONS, reason
    return Judgement(None, reason, mass)


@dataclass(frozen=True)
class Words:
    """The words of a prompt, as the beginnings of answers are compared with them.

    Attributes:
        classes: each word, without case, and what it says.
        beginnings: likewise what words begin with that say the same, and no others.
    """

    classes: Mapping[str, str]
    beginnings: Mapping[str, str]

    def of_token(self, token: str) -> str | None:
        """What an answer that begins with a token says; None where that is not settled.

        Tokenizers put spaces before words and cut long words, so a token counts for a word
        whatever its case and what surrounds it, and as its beginning where that of no other word of
        another meaning is the same.
        """
        plain = _plain(token)
        if not plain:
            return None
        if plain in self.classes:
            return self.classes[plain]
        return self.beginnings.get(plain)

    def of_text(self, text: str) -> str | None:
        """What a whole answer says, by its first word or by the one word of ours that it has."""
        words = [plain for plain in map(_plain, re.findall(r"\w+", text)) if plain]
        if words and words[0] in self.classes:
            return self.classes[words[0]]
        said = {self.classes[word] for word in words if word in self.classes}
        return said.pop() if len(said) == 1 and len(words) <= _SHORT else None


#: An answer of no more words than this may say yes or no elsewhere than at its beginning.
_SHORT = 6
#: What tokenizers write for a space, and what stands around words.
_AROUND = " \t\r\n\u0120\u2581\u00a0.,:;!?*_`'\"()[]{}\u201c\u201d\u3002"


def _plain(text: str) -> str:
    return text.strip(_AROUND).casefold()


def words_of(prompt: Prompt) -> Words:
    """The words of a prompt."""
    pairs: Iterable[tuple[str, Sequence[str]]] = (
        ("yes", prompt.yes),
        ("no", prompt.no),
        ("unsure", prompt.unsure),
    )
    classes = {_plain(word): says for says, words in pairs for word in words}
    begun: dict[str, set[str]] = {}
    for word, says in classes.items():
        # One character begins too much else.
        for length in range(2, len(word)):
            begun.setdefault(word[:length], set()).add(says)
    return Words(classes, {start: next(iter(of)) for start, of in begun.items() if len(of) == 1})


def by_mass(yes: float, no: float, unsure: float = 0.0) -> Judgement:
    """The verdict of the probabilities of three answers.

    Args:
        yes, no, unsure: probability of each as the first token, all its spellings together.
    """
    mass = yes + no
    if not math.isfinite(mass + unsure):
        return unjudged("not_finite")
    if unsure > mass:
        return unjudged("cannot_tell", mass)
    if mass < LEAST_MASS:
        return unjudged("low_mass", mass)
    return Judgement(yes / mass, None, mass)


def by_logprobs(answer: ChatAnswer, words: Words) -> Judgement:
    """By the log-probabilities of the first token.

    Under a grammar servers tell those that the model gave before it, which is what is wanted. A
    spelling that is not among the most probable ones counts as 0; where the server tells something
    else of one than a probability, the others say nothing either.
    """
    if _refuses(answer):
        return unjudged("refused")
    if any(map(words.of_token, answer.not_finite)) or (answer.first is None and answer.not_finite):
        return unjudged("not_finite")
    if answer.first is None:
        return unjudged("no_logprobs")
    mass = {"yes": 0.0, "no": 0.0, "unsure": 0.0}
    for token, logprob in answer.first:
        says = words.of_token(token)
        if says is not None:
            mass[says] += math.exp(logprob)
    return by_mass(mass["yes"], mass["no"], mass["unsure"])


def by_text(answer: ChatAnswer, words: Words) -> Judgement:
    """By the words of the answer."""
    if _refuses(answer):
        return unjudged("refused")
    if answer.finish == "length":
        return unjudged("truncated")
    says = words.of_text(_thought_out(answer.text))
    if says is None:
        return unjudged("unparsable")
    return unjudged("cannot_tell") if says == "unsure" else Judgement(float(says == "yes"))


def by_grade(answer: ChatAnswer) -> Judgement:
    """By the grade of one document."""
    found = _json(answer)
    if isinstance(found, Judgement):
        return found
    return _graded(found.get("grade", _ABSENT))


def by_grades(answer: ChatAnswer, count: int) -> tuple[list[Judgement], int]:
    """By the grades of ``count`` documents.

    Returns:
        (what it says of each, how many further entries there are that are about none of them).
    """
    found = _json(answer)
    if isinstance(found, Judgement):
        return [found] * count, 0
    entries = found.get("grades")
    if not isinstance(entries, list):
        return [unjudged("wrong_schema")] * count, 0
    said: dict[int, Judgement] = {}
    extra = 0
    for entry in entries:
        number = entry.get("document") if isinstance(entry, dict) else None
        known = isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= count
        if not known or number is None:
            extra += 1
            continue
        judgement = _graded(entry.get("grade", _ABSENT))
        if said.setdefault(number, judgement) != judgement:
            said[number] = unjudged("repeated_item")
    missing = unjudged("missing_item")
    return [said.get(number, missing) for number in range(1, count + 1)], extra


_ABSENT = object()


def _graded(grade: Any) -> Judgement:
    if grade is None:
        return unjudged("cannot_tell")
    if isinstance(grade, float) and not math.isfinite(grade):
        return unjudged("not_finite")
    is_number = isinstance(grade, int | float) and not isinstance(grade, bool)
    if not is_number or grade != int(grade) or not 0 <= grade <= HIGHEST_GRADE:
        return unjudged("wrong_schema")
    return Judgement(grade / HIGHEST_GRADE)


def _json(answer: ChatAnswer) -> dict[str, Any] | Judgement:
    """The JSON object of an answer, or why there is none."""
    if _refuses(answer):
        return unjudged("refused")
    if answer.finish == "length":
        return unjudged("truncated")
    text = _thought_out(answer.text).strip()
    fenced = re.fullmatch(r"```(?:json)?\s*(.*?)\s*```", text, re.DOTALL)
    try:
        found = parsed(fenced[1] if fenced else text)
    except ValueError:
        return unjudged("unparsable")
    return found if isinstance(found, dict) else unjudged("wrong_schema")


def _thought_out(text: str) -> str:
    """An answer without what the model thought aloud before it."""
    return re.sub(r"^\s*<think>.*?</think>", "", text, flags=re.DOTALL)


def _refuses(answer: ChatAnswer) -> bool:
    return answer.refusal is not None or answer.finish == "content_filter"
