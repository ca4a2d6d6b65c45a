"""Texts as the identity guard compares them: what tells two apart stays, what a copy changes goes.

Letters, digits, combining marks (vowel signs, tones) and symbols stay; case, spacing, quotes,
full stops and other punctuation go. A copy may also be composed otherwise, of full-width or of
presentation forms: NFKC (UAX 15), but a superscript is told from a digit. Of the punctuation that
is an operator as often as not:

* ``* / % & # @ \\`` and primes stay everywhere, as do ``!=``, ``:=``, a ``!`` before a word, and a
  sign before a digit;
* ``-`` and brackets stay in code and formulas: where symbols and brackets (and, if there are any,
  hyphens that join no words) are at least a tenth of the letters and digits.

Symbols stand apart from words (``a+b`` is ``a + b``) and together (``) *`` is ``)*``). Next to a
letter of a script that is written without spaces there is none.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

#: How a text is taken apart: at its spaces, or by characters: of a script whose characters are
#: syllables or words, of an alphabet without spaces, of code and formulas.
WORDS, WIDE, NARROW, CODE = range(4)

#: What a character is. Up to _WORD it is no more than a space, from _SYMBOL on it is something.
_BLANK, _GONE, _QUOTE, _HYPHEN, _BANG, _COLON, _BRACKET, _SYMBOL, _LETTER, _WIDE, _NARROW, _END = (
    range(12)
)
_SYMBOLS = "*/%&#@\\‰′″‴"
_QUOTES = "'\"`‘’‚‛“”„‟«»‹›ʼ׳״"
_HYPHENS = "-‐‑–"
_BRACKETS = "()[]{}"
_MINUS, _FINAL_SIGMA = "−", "ς"
#: Characters that only say how their neighbours are drawn or joined: besides those of category Cf
#: the selectors of variants, the grapheme joiner and the Arabic tatweel.
_DRAWN = (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0), 0x034F, 0x0640)
#: Scripts without spaces between words. Han, kana, bopomofo, Yi: a character is a syllable or more.
_WIDE_RANGES = (
    *((0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x3029), (0x3031, 0x3035), (0x3040, 0x312F)),
    *((0x31A0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xA4CF), (0xF900, 0xFAFF)),
    *((0x1AFF0, 0x1B16F), (0x20000, 0x31FFF)),
)
#: Thai, Lao, Burmese, Khmer, the Tai scripts, Balinese, Javanese: letters.
_NARROW_RANGES = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x1950, 0x19DF), (0x1A20, 0x1AAF)),
    *((0x1B00, 0x1B7F), (0xA980, 0xA9FF), (0xAA60, 0xAADF)),
)
_LAST = 0x110000
#: Where characters are assigned: beyond are further Han, nothing, and private use.
_ASSIGNED = (range(0x32000), range(0xE0000, 0xE0200))
#: Text normalised at a time, about: what is made of it stays in the caches.
_BYTES_AT_ONCE = 512 << 10
#: Symbols and brackets for every letter or digit, from which a text is code or a formula.
_CODE_SHARE = 1 / 10
#: Letters of scripts without spaces for every letter, from which a text is compared by characters.
_UNSPACED_SHARE = 1 / 5
_SUPERSCRIPTS = "([²³¹⁰ⁱ⁴-⁻ⁿ]+)"


@dataclass(frozen=True)
class Normal:
    """Normalised texts.

    Attributes:
        texts: each of them; empty where nothing is left.
        kind: how each is taken apart, uint8 [n].
    """

    texts: pa.Array
    kind: np.ndarray


def normalise(texts: pa.Array) -> Normal:
    """The normal form of texts without nulls, and how each is taken apart.

    Texts of ASCII alone are not composed anew, which is most of the work.
    """
    size = pc.sum(pc.binary_length(texts)).as_py() or 0
    step = max(1, _BYTES_AT_ONCE * len(texts) // max(1, size))
    found = [_normalise(texts.slice(at, step)) for at in range(0, len(texts), step)]
    if len(found) == 1:
        return found[0]
    kinds = [np.empty(0, dtype=np.uint8), *(one.kind for one in found)]
    chunks = [one.texts for one in found]
    return Normal(
        pa.chunked_array(chunks, pa.large_string()).combine_chunks(), np.concatenate(kinds)
    )


def _normalise(texts: pa.Array) -> Normal:
    texts = texts.cast(pa.large_string())
    plain = pc.string_is_ascii(texts).to_numpy(zero_copy_only=False)
    if plain.all():
        return _ascii(texts)
    if not plain.any():
        return _unicode(texts)
    first = _ascii(texts.filter(pa.array(plain)))
    second = _unicode(texts.filter(pa.array(~plain)))
    order = np.argsort(np.concatenate([np.flatnonzero(plain), np.flatnonzero(~plain)]))
    joined = pa.concat_arrays([first.texts, second.texts])
    return Normal(joined.take(pa.array(order)), np.concatenate([first.kind, second.kind])[order])


def _ascii(texts: pa.Array) -> Normal:
    joined = _ended(texts)
    lower, meant = _ascii_tables()
    data = np.frombuffer(bytearray(joined.translate(lower)), dtype=np.uint8)
    what = np.frombuffer(bytearray(joined.translate(meant)), dtype=np.uint8)
    ends = np.cumsum(pc.binary_length(texts).to_numpy() + 1) - 1
    return _reduced(data, what, ends)


def _unicode(texts: pa.Array) -> Normal:
    # An acute accent on its own is a quote in all but name; NFKC would hang it on a space.
    plain = pc.replace_substring(texts, "´", "'")
    plain = pc.replace_substring_regex(plain, _SUPERSCRIPTS, r"^\1")
    lower = pc.utf8_lower(pc.utf8_normalize(plain, form="NFKC"))
    joined = _ended(lower)
    data = np.frombuffer(bytearray(joined), dtype=np.uint8)
    what = np.frombuffer(bytearray(joined.translate(_ascii_tables()[1])), dtype=np.uint8)
    _classify(data, what)
    ends = np.cumsum(pc.binary_length(lower).to_numpy() + 1) - 1
    gone = np.flatnonzero(what == _GONE)
    if len(gone):
        data, what = np.delete(data, gone), np.delete(what, gone)
        ends -= np.searchsorted(gone, ends)
    return _reduced(data, what, ends)


def _classify(data: np.ndarray, what: np.ndarray) -> None:
    """Set what the bytes of longer characters are, each byte what its character is; fold some."""
    lead = np.flatnonzero(data >= 0xC0)
    first = data[lead].astype(np.uint32)
    tail = [data[lead + 1].astype(np.uint32) & 0x3F]
    tail += [
        data[np.minimum(lead + ahead, len(data) - 1)].astype(np.uint32) & 0x3F for ahead in (2, 3)
    ]
    two = ((first & 0x1F) << 6) | tail[0]
    three = ((first & 0x0F) << 12) | (tail[0] << 6) | tail[1]
    four = ((first & 0x07) << 18) | (tail[0] << 12) | (tail[1] << 6) | tail[2]
    character = np.where(first < 0xE0, two, np.where(first < 0xF0, three, four))
    meaning = _classes(character)
    what[lead] = what[lead + 1] = meaning
    for ahead, least in ((2, 0xE0), (3, 0xF0)):
        longer = first >= least
        what[lead[longer] + ahead] = meaning[longer]
    for same, rows in (
        ("'", meaning == _QUOTE),
        ("-", (meaning == _HYPHEN) | (character == ord(_MINUS))),
    ):
        folded = lead[rows]
        data[folded] = ord(same)
        what[folded + 1] = _GONE
        what[folded[first[rows] >= 0xE0] + 2] = _GONE
    data[lead[character == ord(_FINAL_SIGMA)] + 1] += 1


def _ended(texts: pa.Array) -> bytes:
    """All texts in one, an end after each."""
    nothing, end = (pa.scalar(text, pa.large_string()) for text in ("", "\n"))
    ended = pc.binary_join_element_wise(texts, nothing, end)
    return ended.buffers()[2].to_pybytes()[: pc.sum(pc.binary_length(ended)).as_py()]


@functools.cache
def _ascii_tables() -> tuple[bytes, bytes]:
    """(lower case, what it is) of every byte; none is a character of its own above 127."""
    return bytes(range(256)).lower(), _meanings(range(128)).tobytes() + bytes(128)


#: What each character is, uint8 [0x110000], where its block of 256 was looked up already.
_CLASSES = np.full(_LAST, _SYMBOL, dtype=np.uint8)
_LOOKED_UP = np.zeros(_LAST >> 8, dtype=bool)


def _classes(characters: np.ndarray) -> np.ndarray:
    """What each of some characters is, uint8 [n].

    All that there are would take as long as some hundred texts; most texts are of a few blocks.
    """
    present = np.zeros(_LAST >> 8, dtype=bool)
    present[characters >> 8] = True
    for block in np.flatnonzero(present & ~_LOOKED_UP).tolist():
        first = block << 8
        if any(first in some for some in _ASSIGNED):
            _CLASSES[first : first + 256] = _meanings(range(first, first + 256))
        # Only now: another thread may ask for the same block.
        _LOOKED_UP[block] = True
    return _CLASSES[characters]


def _meanings(characters: range) -> np.ndarray:
    """What each of some successive characters is."""
    meant = {"L": _LETTER, "M": _LETTER, "N": _LETTER, "S": _SYMBOL, "P": _BLANK, "Z": _BLANK}
    # What is not assigned, or privately, tells texts apart as symbols do.
    meant |= {"Cc": _BLANK, "Cf": _GONE, "Cs": _BLANK, "Co": _SYMBOL, "Cn": _SYMBOL}
    categories = map(unicodedata.category, map(chr, characters))
    found = np.array(
        [meant.get(name) or meant.get(name[0], _BLANK) for name in categories], np.uint8
    )

    def name(numbers: Iterable[int], meaning: int, only: int | None = None) -> None:
        rows = np.array([number - characters.start for number in numbers if number in characters])
        rows = rows.astype(np.int64)
        found[rows if only is None else rows[found[rows] == only]] = meaning

    for ranges, unspaced in ((_WIDE_RANGES, _WIDE), (_NARROW_RANGES, _NARROW)):
        for first, last in ranges:
            within = range(max(first, characters.start), min(last + 1, characters.stop))
            name(within, unspaced, only=_LETTER)
    named = ((_SYMBOLS, _SYMBOL), (_QUOTES, _QUOTE), (_HYPHENS, _HYPHEN), (_BRACKETS, _BRACKET))
    for signs, meaning in (*named, ("!", _BANG), (":", _COLON)):
        name(map(ord, signs), meaning)
    name(_DRAWN, _GONE)
    return found


def _reduced(data: np.ndarray, what: np.ndarray, ends: np.ndarray) -> Normal:
    """What is left of joined texts, with one space where there is one.

    Args:
        data: their bytes; changed.
        what: what each byte's character is; changed.
        ends: where each text ends, a byte that is none of its own.
    """
    what[ends] = _END
    other = np.flatnonzero(what < _LETTER)
    kind, code = _kinds(data, what, ends, other)
    gone = _resolve(data, what, ends, code, other)
    blanks = other[what[other] == _BLANK]
    apart = np.diff(blanks) > 1
    heads = blanks[np.concatenate(([True], apart))] if len(blanks) else blanks
    tails = blanks[np.concatenate((apart, [True]))] if len(blanks) else blanks
    spaces = heads[_parts(what[heads - 1], what[tails + 1])]
    kept = what != _BLANK
    kept[spaces] = True
    kept[gone] = False
    kept[ends] = False
    symbols = other[what[other] == _SYMBOL]
    # Where a space is put in: before these.
    inserted = np.concatenate(
        [symbols[what[symbols - 1] == _LETTER], symbols[what[symbols + 1] == _LETTER] + 1]
    )
    inserted.sort()
    removed = np.flatnonzero(~kept)
    data[spaces] = ord(" ")
    data = data[kept]
    new_ends = ends - np.searchsorted(removed, ends)
    if len(inserted):
        places = inserted - np.searchsorted(removed, inserted)
        data = np.insert(data, places, np.array(ord(" "), dtype=data.dtype))
        new_ends += np.searchsorted(inserted, ends)
    offsets = np.concatenate(([0], new_ends)).astype(np.int64)
    buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(data.tobytes())]
    return Normal(pa.Array.from_buffers(pa.large_string(), len(ends), buffers), kind)


def _parts(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Where blanks are a space: not at ends, between symbols, or in a script without spaces."""
    bare = (before == _END) | (after == _END) | ((before == _SYMBOL) & (after == _SYMBOL))
    for unspaced in (_WIDE, _NARROW):
        bare |= (before == unspaced) | (after == unspaced)
    return ~bare


def _kinds(
    data: np.ndarray, what: np.ndarray, ends: np.ndarray, other: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(how each text is taken apart, uint8 [n]; True for code and formulas).

    ``other`` are the bytes that are of no letter.
    """

    def among(rows: np.ndarray) -> np.ndarray:
        return np.diff(np.searchsorted(rows, ends), prepend=0)

    # A character is counted by its first byte.
    rest = np.flatnonzero((data & 0xC0) == 0x80)
    letters = np.diff(ends, prepend=-1) - 1 - among(other) - among(rest[what[rest] >= _LETTER])
    meaning = what[other]
    signs = other[(meaning == _SYMBOL) | (meaning == _BRACKET)]
    signs = among(signs[(data[signs] & 0xC0) != 0x80])
    # A hyphen that joins no words is a minus where there are other signs, and else a dash.
    hyphens = other[meaning == _HYPHEN]
    joining = _is_word(what[hyphens - 1]) & _is_word(what[hyphens + 1])
    signs += np.where(signs > 0, among(hyphens[~joining]), 0)
    code = (signs > 0) & (signs >= _CODE_SHARE * letters)
    kind = np.where(code, CODE, WORDS).astype(np.uint8)
    if len(rest) == 0:
        return kind, code
    first = (data & 0xC0) != 0x80
    narrow, wide = (
        among(np.flatnonzero(first & (what == unspaced))) for unspaced in (_NARROW, _WIDE)
    )
    by_characters = (wide + narrow > 0) & (wide + narrow >= _UNSPACED_SHARE * letters)
    kind[by_characters] = np.where(narrow > wide, NARROW, WIDE)[by_characters]
    return kind, code


def _is_word(what: np.ndarray) -> np.ndarray:
    return (what >= _LETTER) & (what < _END)


def _resolve(
    data: np.ndarray, what: np.ndarray, ends: np.ndarray, code: np.ndarray, other: np.ndarray
) -> np.ndarray:
    """Settle in ``what`` what each doubtful character is in its place.

    Returns:
        Rows of those that are nothing at all: quotes within a word.
    """
    doubtful = other[(what[other] >= _QUOTE) & (what[other] <= _BRACKET)]
    mine = what[doubtful]
    # A text's first character follows the end of the one before it, the very first the very last.
    before, after, then = what[doubtful - 1], what[doubtful + 1], data[doubtful + 1]
    in_code = code[np.searchsorted(ends, doubtful)]
    word_before, word_after = _is_word(before), _is_word(after)
    digit = (then >= ord("0")) & (then <= ord("9"))
    symbol = (mine == _HYPHEN) & (in_code | (~word_before & digit))
    symbol |= (mine == _BANG) & ((then == ord("=")) | (~word_before & word_after))
    symbol |= (mine == _COLON) & (then == ord("="))
    symbol |= (mine == _BRACKET) & in_code
    what[doubtful] = np.where(symbol, _SYMBOL, _BLANK).astype(np.uint8)
    gone = doubtful[(mine == _QUOTE) & word_before & word_after]
    what[gone] = _GONE
    return gone
