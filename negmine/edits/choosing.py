"""Which edits of a passage are taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice, zip_longest

from negmine.edits.base import Edit, Passage
from negmine.edits.names import Names

#: (passage, sentence, names) -> edits.
Finder = Callable[[Passage, slice, Names], list[Edit]]


def variants(
    passage: Passage, finders: Mapping[str, Finder], types: Sequence[str], names: Names, each: int
) -> list[Edit]:
    """At most ``each`` edits, one of every type before a second of any.

    Of each type the sentence that shares most words with the query comes first: what it says is
    what the query is likely to ask for.
    """

    def of_type(finder: Finder) -> Iterator[Edit]:
        for sentence in passage.sentences:
            yield from finder(passage, sentence, names)

    rounds = zip_longest(*(islice(of_type(finders[one]), each) for one in types))
    taken: dict[str, Edit] = {}
    for edit in chain.from_iterable(rounds):
        if edit is not None:
            taken.setdefault(edit.of(passage.text), edit)
        if len(taken) == each:
            break
    return list(taken.values())
