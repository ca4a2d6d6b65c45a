"""A number of a passage changed, wherever in it the number stands."""

from __future__ import annotations

import re

from negmine.edits.base import Edit, Passage, places_of
from negmine.edits.names import Names

#: A number of its own: no part of a name (IL-2), a version or a citation in brackets.
_NUMBER = re.compile(r"(?<![\w.,\-\[/])(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(?![\w\-\]/]|[.,]\d)")
#: One is left out: it is a pronoun as often as not.
_NUMERALS = (
    *("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("fifteen", "twenty", "thirty", "forty", "fifty", "hundred", "thousand", "million"),
)
_NUMERAL = re.compile(rf"\b(?:{'|'.join(_NUMERALS)})\b")
_YEARS = range(1000, 2100)
#: By so many years a year is moved, and by such a factor another number changes.
_MOVED = (-40, -25, -12, -7, -3, 3, 7, 12, 25, 40)
_FACTORS = (0.25, 0.5, 0.6, 1.5, 2, 3, 4)


def edits(passage: Passage, sentence: slice, names: Names) -> list[Edit]:
    """Each number of a sentence changed, those first that the query names."""
    text = passage.text[sentence]
    found = [match.group() for match in _NUMBER.finditer(text)]
    found += [match.group() for match in _NUMERAL.finditer(text)]
    named = re.findall(r"[\d.,]+\d|\d|[a-z]+", passage.query.lower())
    distinct = sorted(dict.fromkeys(found), key=lambda one: one not in named)
    made = []
    for number in distinct:
        percent = re.search(rf"(?<![\d.,]){re.escape(number)}\s?(?:%|per ?cent)", text) is not None
        after = changed(passage, number, percent)
        if after != number:
            made.append(Edit("number", places_of(passage.text, number), number, after))
    return [edit for edit in made if edit.places]


def changed(passage: Passage, number: str, percent: bool = False) -> str:
    """Another number in the same spelling: of as many decimals, a numeral for a numeral.

    Args:
        passage: where it stands: it decides what is drawn, and no number of it is taken.
        number: what stands there.
        percent: whether it is a share: at most 100 then, if it is.
    """
    if number in _NUMERALS:
        near = [one for one in _NUMERALS[:11] if number in _NUMERALS[:11]] or _NUMERALS[11:]
        every = list(near)
    else:
        every = list(_spelled(number, percent))
    others = [one for one in every if one != number and not places_of(passage.text, one)]
    return others[passage.draw(number, len(others))] if others else number


def _spelled(number: str, percent: bool) -> list[str]:
    """Other numbers in the spelling of one."""
    value = float(number.replace(",", ""))
    decimals = len(number.partition(".")[2])
    if not decimals and "," not in number and len(number) == 4 and int(value) in _YEARS:
        return [str(int(value) + years) for years in _MOVED]
    values = [value * factor for factor in _FACTORS]
    if value < 10 and not decimals:
        values = [value + more for more in (1, 2, 3, 4)]
    if percent and value <= 100:
        values = [one for one in values if one <= 100] or [value / 2]
    grouped = "," if "," in number else ""
    return list(dict.fromkeys(f"{one:{grouped}.{decimals}f}" for one in values))
