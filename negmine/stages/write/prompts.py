"""What a model is asked that writes: prompts as TOML files, of which some are shipped.

A prompt says what is to be written, and asks two questions about every text, which must both be
answered as the kind of text wants it (DocReRank, arXiv 2505.22584: with no). Its content decides
what is written; what its file is called does not.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from negmine.endpoints.request import canonical
from negmine.errors import InvalidDataError, MissingInputError, UsageError, did_you_mean

Message = dict[str, str]
_PLACE = re.compile(r"\{(query|passage|negative|instruction|count)\}")
#: What a question of a kind has to have a place for.
_PLACES = {"instruction": ("query", "passage", "instruction")}
#: Questions of a kind where one is asked of two passages.
_QUESTIONS = {"instruction": 1}
_LISTS = ("checks", "yes", "no")
_NEEDED = ("ask", "yes", "no")


@dataclass(frozen=True)
class WritingPrompt:
    """How a model is asked to write, and about what was written.

    Attributes:
        ask: what is to be written; ``{count}`` texts for ``{query}``, and what else the kind
            tells: ``{passage}`` (a positive), ``{negative}``, ``{instruction}``.
        checks: questions about a ``{query}`` and a ``{passage}``, one of which was written, or
            an ``{instruction}`` that was.
        yes, no: words that say so, whatever their case.
        system: the system message; empty = none.
        language: of the prompt, for people.
        parameters: further fields of the request, for models that need some.
    """

    ask: str
    yes: tuple[str, ...]
    no: tuple[str, ...]
    checks: tuple[str, ...] = ()
    system: str = ""
    language: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """What stands for its content in a fingerprint."""
        return hashlib.blake2b(canonical(asdict(self)), digest_size=16).hexdigest()

    def asking(self, told: Mapping[str, str], count: int) -> list[Message]:
        """The messages that ask for texts, with what is told in its places."""
        return self._messages(_filled(self.ask, {**told, "count": str(count)}))

    def checking(self, told: Mapping[str, str]) -> list[list[Message]]:
        """The messages of each question, with what is told in its places."""
        return [self._messages(_filled(one, told)) for one in self.checks]

    def says(self, answer: str, yes: bool) -> bool:
        """Whether an answer says yes, or no; what says neither says nothing."""
        found = re.search(r"[^\W\d_]+", answer)
        words = self.yes if yes else self.no
        return found is not None and found.group().casefold() in {w.casefold() for w in words}

    def _messages(self, content: str) -> list[Message]:
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": content}]


def _filled(template: str, values: Mapping[str, str]) -> str:
    """A template with its places filled in; what stands in braces in a text stays as it is."""
    return _PLACE.sub(lambda found: values.get(found[1], found[0]), template)


def load(kind: str, named: str | None) -> WritingPrompt:
    """The prompt in a file, or the one that is shipped for a kind.

    Raises:
        MissingInputError: there is no such file.
        InvalidDataError: it is no prompt.
    """
    path = Path(__file__).resolve().parent / "prompts" / f"{kind}.toml"
    path = path if named is None else Path(named).expanduser()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingInputError(
            f"no such prompt: {error.strerror or error}", where=f"--prompt-file {named}"
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidDataError(f"not a TOML file: {error}", where=str(path)) from error
    return _read(content, str(path), _PLACES.get(kind, ("query", "passage")))


def _read(content: Mapping[str, Any], where: str, places: Sequence[str]) -> WritingPrompt:
    known = [one.name for one in fields(WritingPrompt)]
    values: dict[str, Any] = {}
    for name, value in content.items():
        if name not in known:
            hint = did_you_mean(name, known)
            raise InvalidDataError(f"a prompt has no key '{name}'", where=where, hint=hint)
        kind: type = list if name in _LISTS else dict if name == "parameters" else str
        if not isinstance(value, kind):
            raise InvalidDataError(f"'{name}' must be a {kind.__name__}", where=where)
        if isinstance(value, list):
            values[name] = tuple(str(one).strip() for one in value)
        else:
            values[name] = value.strip() if isinstance(value, str) else value
    missing = [name for name in _NEEDED if not values.get(name)]
    if missing:
        raise InvalidDataError(f"the prompt has no '{missing[0]}'", where=where)
    for one in values.get("checks", ()):
        for place in places:
            if f"{{{place}}}" not in one:
                raise InvalidDataError(f"a check has no place for the {place}", where=where)
    return WritingPrompt(**values)


def refuse_unchecked(prompt: WritingPrompt, kind: str, where: str) -> None:
    """See that two questions or more are asked about a text of this kind.

    Raises:
        UsageError: the prompt has fewer.
    """
    if kind in _QUESTIONS and not prompt.checks:
        raise UsageError(
            "the prompt asks nothing about what was written",
            where=where,
            hint="One of 'checks' is asked of both passages; --no-check asks none.",
        )
    if len(prompt.checks) < _QUESTIONS.get(kind, 2):
        raise UsageError(
            "the prompt asks fewer than two questions about what was written",
            where=where,
            hint="Two 'checks' must agree; --no-check asks none.",
        )
