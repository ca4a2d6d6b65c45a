"""An edit of a text, and the text that is edited."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

#: A sentence ends before what looks like the beginning of another one. No abbreviations are known:
#: a sentence cut too short is edited all the same.
_SENTENCE = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+(?=[\"'“‘(\[]?[A-Z0-9])")
_WORD = re.compile(r"\w{3,}")


@dataclass(frozen=True)
class Edit:
    """Places of a text, and what stands in each of them afterwards.

    Attributes:
        type: ``negation``, ``number`` or ``entity``.
        places: where, as (first letter, letter after the last), ascending and apart.
        before: what stands there.
        after: what will.
    """

    type: str
    places: tuple[tuple[int, int], ...]
    before: str
    after: str

    def of(self, text: str) -> str:
        """The edited text."""
        pieces, end = [], 0
        for first, last in self.places:
            pieces += [text[end:first], self.after]
            end = last
        return "".join([*pieces, text[end:]])


@dataclass(frozen=True)
class Passage:
    """A passage that is edited for a query.

    Attributes:
        text: the passage without its title.
        query: the query that it answers.
        seed: of what is drawn.
    """

    text: str
    query: str
    seed: int = 0

    @cached_property
    def sentences(self) -> list[slice]:
        """Its sentences, those first that share most words with the query."""
        ends = [found.end() for found in _SENTENCE.finditer(self.text)]
        bounds = [0, *ends, len(self.text)]
        every = [slice(low, high) for low, high in pairwise(bounds)]
        shared = [len(self.asked & words(self.text[one])) for one in every]
        order = sorted(range(len(every)), key=lambda place: (-shared[place], place))
        return [every[place] for place in order if every[place].start < every[place].stop]

    @cached_property
    def asked(self) -> frozenset[str]:
        """The query's words."""
        return words(self.query)

    def draw(self, of: str, count: int) -> int:
        """A number below ``count``, by the text, the seed and what it is drawn of."""
        digest = hashlib.blake2b(f"{self.seed}\0{of}\0{self.text}".encode(), digest_size=8)
        return int.from_bytes(digest.digest(), "little") % count


def words(text: str) -> frozenset[str]:
    """Words of three letters or more, in lower case."""
    return frozenset(_WORD.findall(text.lower()))


def places_of(text: str, what: str) -> tuple[tuple[int, int], ...]:
    """Where a number or a name stands in a text as a whole."""
    pattern = rf"(?<![\w.,-]){re.escape(what)}(?![\w-]|[.,]\d)"
    return tuple(found.span() for found in re.finditer(pattern, text))
