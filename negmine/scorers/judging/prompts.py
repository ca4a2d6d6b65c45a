"""What a judge is asked: prompts as TOML files, of which some are shipped.

A prompt says how a query and a document are put before the model, what it is asked, and by which
words it says yes and no. Its content is part of what decides a score; what its file is called is
not.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from negmine.endpoints.request import canonical
from negmine.errors import InvalidDataError, MissingInputError, UsageError, did_you_mean

#: The prompt where none is named.
DEFAULT = "en"
Message = dict[str, str]

_PLACE = re.compile(r"\{(query|document|documents|number|count)\}")
#: What each template must hold, so that no text is left out.
_HOLDS = {
    "texts": ("query", "document"),
    "swapped": ("query", "document"),
    "several": ("query", "documents"),
    "several_swapped": ("query", "documents"),
    "item": ("number", "document"),
}
_WORDS = ("yes", "no", "unsure")
_NEEDED = ("texts", "yes", "no")


@dataclass(frozen=True)
class Prompt:
    """How a judge is asked.

    Attributes:
        texts: how a query and a document are shown.
        yes, no: words that say so, whatever their case.
        ask: what is asked of them, to be answered by a word; empty where the texts say it.
        unsure: words that say that it cannot be told.
        system: the system message; empty = none.
        swapped: as ``texts``, the document first; only the examination of a judge uses it.
        grade: what is asked of them, to be answered by a grade.
        several: how a query and several documents are shown.
        several_swapped: likewise, the documents first.
        item: how one of several is shown.
        grades: what is asked of several, to be answered by a grade each.
        language: of the prompt, for people.
        parameters: further fields of the request, for models that need some.
    """

    texts: str
    yes: tuple[str, ...]
    no: tuple[str, ...]
    ask: str = ""
    unsure: tuple[str, ...] = ()
    system: str = ""
    swapped: str = ""
    grade: str = ""
    several: str = ""
    several_swapped: str = ""
    item: str = ""
    grades: str = ""
    language: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """What stands for its content in a fingerprint."""
        return hashlib.blake2b(canonical(asdict(self)), digest_size=16).hexdigest()

    def asking(self, query: str, document: str, *, graded: bool, swapped: bool) -> list[Message]:
        """The messages that ask about one document.

        Args:
            query, document: the texts.
            graded: whether a grade is asked for, and not a word.
            swapped: whether the document comes first.
        """
        shown = _filled(self._order("texts", swapped), query=query, document=document)
        return self._messages(shown, self._template("grade") if graded else self.ask)

    def asking_several(
        self, query: str, documents: Sequence[str], *, swapped: bool
    ) -> list[Message]:
        """The messages that ask for a grade of each of several documents."""
        item = self._template("item")
        items = [
            _filled(item, number=str(number), document=document)
            for number, document in enumerate(documents, 1)
        ]
        shown = _filled(self._order("several", swapped), query=query, documents="\n\n".join(items))
        count = str(len(documents))
        return self._messages(shown, _filled(self._template("grades"), count=count))

    def can_grade(self, *, several: bool) -> bool:
        """Whether it can ask for grades."""
        return not self._lacks(several=several)

    def check_grades(self, *, several: bool) -> None:
        """See that it can ask for grades.

        Raises:
            UsageError: it has nothing to ask so.
        """
        if lacking := self._lacks(several=several):
            self._template(lacking[0])

    def _lacks(self, *, several: bool) -> list[str]:
        needed = ("several", "item", "grades") if several else ("grade",)
        return [name for name in needed if not getattr(self, name)]

    def can_swap(self, *, several: bool) -> bool:
        """Whether it can show documents before the query."""
        return bool(self.several_swapped if several else self.swapped)

    def _order(self, name: str, swapped: bool) -> str:
        if not swapped:
            return self._template(name)
        return self._template("swapped" if name == "texts" else f"{name}_swapped")

    def _template(self, name: str) -> str:
        found: str = getattr(self, name)
        if not found:
            raise UsageError(
                f"the prompt has no '{name}', which is needed to ask so",
                where="--prompt-file",
                hint="docs/language-models.md tells the keys of a prompt.",
            )
        return found

    def _messages(self, shown: str, asked: str) -> list[Message]:
        system = [{"role": "system", "content": self.system}] if self.system else []
        whole = f"{shown}\n\n{asked}" if asked else shown
        return [*system, {"role": "user", "content": whole}]


def _filled(template: str, **values: str) -> str:
    """A template with its places filled in; what stands in braces in a text stays as it is."""
    return _PLACE.sub(lambda found: values.get(found[1], found[0]), template)


def shipped() -> dict[str, Path]:
    """The prompts that come with negmine, by name."""
    folder = Path(__file__).resolve().parent / "prompts"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load(named: str | None) -> Prompt:
    """The prompt in a file, or one that is shipped.

    Args:
        named: a file's path, or the name of a shipped one; None = :data:`DEFAULT`.

    Raises:
        MissingInputError: there is neither.
        InvalidDataError: it is no prompt.
    """
    named = named or DEFAULT
    known = shipped()
    path = known.get(named, Path(named).expanduser())
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingInputError(
            f"no such prompt: {error.strerror or error}",
            where=f"--prompt-file {named}",
            hint=f"A TOML file, or one that is shipped. {did_you_mean(named, known)}",
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidDataError(f"not a TOML file: {error}", where=str(path)) from error
    return _read(content, str(path))


def _read(content: Mapping[str, Any], where: str) -> Prompt:
    """A prompt of a file's keys.

    Raises:
        InvalidDataError: a key is unknown, missing, or of another type, or a text has no place.
    """
    known = [one.name for one in fields(Prompt)]
    values: dict[str, Any] = {}
    for name, value in content.items():
        if name not in known:
            raise InvalidDataError(
                f"a prompt has no key '{name}'", where=where, hint=did_you_mean(name, known)
            )
        values[name] = _value(name, value, where)
    missing = [name for name in _NEEDED if not values.get(name)]
    if missing:
        raise InvalidDataError(
            f"the prompt has no '{missing[0]}'",
            where=where,
            hint=f"It needs {', '.join(_NEEDED)}; negmine/scorers/judging/prompts has some.",
        )
    _check_words(values, where)
    for name, places in _HOLDS.items():
        absent = [
            place for place in places if values.get(name) and f"{{{place}}}" not in values[name]
        ]
        if absent:
            raise InvalidDataError(
                f"'{name}' has no place for the {absent[0]}",
                where=where,
                hint=f"Write {{{absent[0]}}} where it should stand.",
            )
    return Prompt(**values)


def _value(name: str, value: Any, where: str) -> Any:
    if name in _WORDS:
        listed = isinstance(value, list) and all(isinstance(one, str) and one for one in value)
        if not listed:
            raise InvalidDataError(f"'{name}' must be a list of words", where=where)
        return tuple(value)
    kind = dict if name == "parameters" else str
    if not isinstance(value, kind):
        words = "a table" if kind is dict else "a string"
        raise InvalidDataError(f"'{name}' must be {words}", where=where)
    return value.strip() if isinstance(value, str) else value


def _check_words(values: Mapping[str, Any], where: str) -> None:
    """See that no word says two things."""
    seen: dict[str, str] = {}
    for name in _WORDS:
        for word in values.get(name, ()):
            plain = word.strip().casefold()
            if seen.setdefault(plain, name) != name:
                raise InvalidDataError(
                    f"'{word}' is among the words of '{seen[plain]}' and of '{name}'", where=where
                )
