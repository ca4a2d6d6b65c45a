"""A name of a passage swapped for another one of its kind in the corpus.

Names are told by their capitals in the middle of a sentence, and their kind by how they are
written and by the words before them: an abbreviation (TNF, IL-6), a person (after a title), a place
(after a preposition of place), a month, a day, or any other. Where English writes no capital there
is no name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from negmine.edits.base import Edit, Passage, places_of

MONTHS = (
    *("January", "February", "March", "April", "June", "July", "August", "September"),
    *("October", "November", "December"),
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_TITLES = "Mr|Mrs|Ms|Dr|Prof|Professor|President|King|Queen|Sir|Lord|Lady|Saint|St|Captain"
_PLACES = "in|at|near|across|throughout|toward|towards"
_CAPITAL = r"[A-Z][a-zà-öø-ÿ]+"
_NAME = re.compile(
    rf"(?P<lead>\b(?:{_TITLES})\.?\s+|\b(?:{_PLACES})\s+(?:the\s+)?)?"
    rf"(?P<name>\b(?:[A-Z][A-Z0-9]+(?:-[A-Z0-9]+)*\b|{_CAPITAL}(?:\s+{_CAPITAL})*))(?![\w’'-])"
)
_SENTENCE_START = re.compile(r"(?:^|[.!?:;\"“(\[\])]\s*)$")
_ACRONYM = re.compile(r"[A-Z][A-Z0-9]+(?:-[A-Z0-9]+)*")
#: What is written so and names nothing.
_NONE = frozenset(
    {"I", "II", "III", "IV", "VI", "VII", "VIII", "IX", "CI", "OR", "HR", "RR", "SD", "SE"}
)
#: A name that so few texts have may be a slip; it is taken where there are no others.
_AT_LEAST = 2
#: Names of about the same frequency that one is drawn from.
_NEAR = 20


@dataclass(frozen=True)
class Found:
    """A name in a text: where, and of which kind."""

    name: str
    kind: str
    start: int


def found(text: str) -> Iterator[Found]:
    """The names in a text that do not begin a sentence."""
    for match in _NAME.finditer(text):
        name, start = match["name"], match.start("name")
        if name not in _NONE and (match["lead"] or not _SENTENCE_START.search(text, 0, start)):
            yield Found(name, _kind(name, (match["lead"] or "").split()), start)


def _kind(name: str, lead: list[str]) -> str:
    if name in MONTHS:
        return "month"
    if name in DAYS:
        return "day"
    if _ACRONYM.fullmatch(name):
        return "abbreviation"
    if lead and lead[0][0].isupper():
        return "person"
    return "place" if lead else "name"


@dataclass
class NameCounts:
    """Names of a corpus, counted text by text; what is held is the distinct ones.

    Attributes:
        kinds: how often each (name, kind) stands.
        plain: how often each of their words stands in small letters.
    """

    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    plain: Counter[str] = field(default_factory=Counter)

    def add(self, texts: Iterable[str]) -> None:
        """Count the names of some texts."""
        for text in texts:
            names = {(one.name, one.kind) for one in found(text)}
            self.kinds.update(names)
            self.plain.update(set(re.findall(r"\b[a-z]+\b", text)))

    def _names_something(self, name: str, count: int) -> bool:
        """Whether a name is one: a heading in capitals is a word of small letters elsewhere."""
        often = 4 if _ACRONYM.fullmatch(name) else 1
        return often * self.plain[name.lower()] <= count

    def names(self) -> Names:
        """The names by their kind, the most frequent first."""
        total: Counter[str] = Counter()
        most: dict[str, tuple[int, str]] = {}
        for (name, kind), count in self.kinds.items():
            total[name] += count
            most[name] = max(most.get(name, (0, "")), (count, kind))
        kept = [name for name in total if self._names_something(name, total[name])]
        by_kind: dict[str, list[str]] = {}
        for name in sorted(kept, key=lambda name: (-total[name], name)):
            by_kind.setdefault(most[name][1], []).append(name)
        several = {
            kind: [name for name in every if total[name] >= _AT_LEAST] or every
            for kind, every in by_kind.items()
        }
        several |= {"month": list(MONTHS), "day": list(DAYS)}
        return Names(several, {name: most[name][1] for name in kept})


@dataclass(frozen=True)
class Names:
    """Names of a corpus.

    Attributes:
        by_kind: the names of each kind, the most frequent first.
        kind: of each name, the kind that it mostly is.
    """

    by_kind: Mapping[str, list[str]] = field(default_factory=dict)
    kind: Mapping[str, str] = field(default_factory=dict)

    def another(self, passage: Passage, name: str) -> str | None:
        """Another name of the same kind, about as frequent, that neither passage nor query has."""
        kind = "month" if name in MONTHS else "day" if name in DAYS else self.kind.get(name)
        if kind is None:
            return None
        every = self.by_kind.get(kind, [])
        near = every
        if name in every and len(every) > 2 * _NEAR:
            place = max(0, min(every.index(name) - _NEAR, len(every) - 2 * _NEAR))
            near = every[place : place + 2 * _NEAR]
        text = f"{passage.text}\n{passage.query}".lower()
        others = [one for one in near if one.lower() not in text and name not in one.split()]
        return others[passage.draw(name, len(others))] if others else None


def edits(passage: Passage, sentence: slice, names: Names) -> list[Edit]:
    """Each name of a sentence swapped, those first that the query names."""
    text = passage.text
    inside = [one.name for one in found(text[: sentence.stop]) if one.start >= sentence.start]
    query = passage.query.lower()
    distinct = sorted(dict.fromkeys(inside), key=lambda name: name.lower() not in query)
    made = []
    for name in distinct:
        after = names.another(passage, name)
        places = places_of(text, name)
        if after is not None and places:
            made.append(Edit("entity", places, name, after))
    return made
