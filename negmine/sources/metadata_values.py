"""Kept columns as numbers: what their texts say, read part by part."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from negmine.table.documents import Documents
from negmine.table.names import meta_column

Floats = npt.NDArray[np.float64]
#: What the texts of a column are taken for.
Meaning = Literal["number", "date"]
_NUMBER = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$"
_YEAR_OR_MONTH = re.compile(r"([0-9]{4})(?:[-/](0[1-9]|1[0-2]))?")
_SLASHES = re.compile(r"([0-9]{4})/([0-9]{2})/([0-9]{2})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Of a row that has no value, and of one whose value is none of those that are asked about.
NO_VALUE, OTHER = -2, -1


def numbers(texts: pa.Array) -> Floats:
    """Each text as a number, float64 [n]; NaN where it is none, or not there."""
    trimmed = pc.utf8_trim_whitespace(texts)
    plain = pc.match_substring_regex(trimmed, _NUMBER)
    found = pc.if_else(plain, trimmed, None).cast(pa.float64())
    values: Floats = found.to_numpy(zero_copy_only=False).astype(np.float64)
    values[~np.isfinite(values)] = np.nan
    return values


def dates(texts: pa.Array) -> Floats:
    """Each text as the seconds since 1970 began, float64 [n]; NaN where it is no date.

    ISO 8601 as Python reads it (days, or moments with or without a zone; without one they are in
    UTC), with slashes in the place of hyphens, too, and years and months, which stand for their
    first day.
    """
    encoded = texts.dictionary_encode()
    known = np.array([_seconds(text) for text in encoded.dictionary.to_pylist()] + [math.nan])
    codes = pc.fill_null(encoded.indices, len(known) - 1).to_numpy()
    return known[codes]


def _seconds(text: str) -> float:
    text = text.strip()
    if (short := _YEAR_OR_MONTH.fullmatch(text)) is not None:
        text = f"{short[1]}-{short[2] or '01'}-01"
    try:
        moment = datetime.fromisoformat(_SLASHES.sub(r"\1-\2-\3", text, count=1))
    except ValueError:
        return math.nan
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH).total_seconds()


READ: dict[Meaning, Callable[[pa.Array], Floats]] = {"number": numbers, "date": dates}


class KeptColumns:
    """The kept columns of a corpus as arrays, a value per document.

    Columns of numbers are held once they were read, 8 bytes a document.

    Args:
        documents: the corpus.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._floats: dict[tuple[str, Meaning], Floats] = {}

    def __len__(self) -> int:
        """How many documents there are."""
        return len(self._documents)

    def floats(self, column: str, meaning: Meaning) -> Floats:
        """The values as numbers, float64 [documents]; NaN where there is none."""
        if (column, meaning) not in self._floats:
            found = np.full(len(self), np.nan)
            for first, texts in self._parts(column):
                found[first : first + len(texts)] = READ[meaning](texts)
            self._floats[column, meaning] = found
        return self._floats[column, meaning]

    def codes(self, column: str, wanted: pa.Array) -> npt.NDArray[np.int32]:
        """The place of each document's value among some distinct ones, int32 [documents].

        :data:`OTHER` for any other value, :data:`NO_VALUE` where there is none.
        """
        found = np.full(len(self), NO_VALUE, dtype=np.int32)
        for first, texts in self._parts(column):
            codes = pc.fill_null(pc.index_in(texts, value_set=wanted), OTHER).to_numpy()
            some = found[first : first + len(texts)]
            there = texts.is_valid().to_numpy(zero_copy_only=False)
            some[there] = codes[there]
        return found

    def texts(self, column: str, rows: npt.NDArray[np.int64]) -> pa.Array:
        """The values of some rows; null for a row that is negative, as for one without a value."""
        known = rows >= 0
        values = self._documents.values_at(column, rows[known])
        return values.take(pa.array(np.cumsum(known) - 1, mask=~known))

    def count(self, column: str) -> int:
        """How many documents have a value."""
        return sum(len(texts) - texts.null_count for _, texts in self._parts(column))

    def unread(self, column: str, meaning: Meaning) -> tuple[int, int, str]:
        """(documents with a value, how many of these values mean nothing, one of these)."""
        there = unread = 0
        example = ""
        values = self.floats(column, meaning)
        for first, texts in self._parts(column):
            valid = texts.is_valid().to_numpy(zero_copy_only=False)
            bad = np.flatnonzero(valid & np.isnan(values[first : first + len(texts)]))
            if len(bad) and not unread:
                example = texts[int(bad[0])].as_py()
            there += int(valid.sum())
            unread += len(bad)
        return there, unread, example

    def meaning(self, column: str) -> Meaning:
        """What most values of a column are, numbers or dates; numbers where as many are both."""
        as_numbers = as_dates = 0
        for _, texts in self._parts(column):
            as_numbers += int(np.isfinite(numbers(texts)).sum())
            as_dates += int(np.isfinite(dates(texts)).sum())
        return "date" if as_dates > as_numbers else "number"

    def _parts(self, column: str) -> Iterator[tuple[int, pa.Array]]:
        """(first row, values) of the corpus, part by part."""
        name = meta_column(column)
        for first, part in self._documents.parts([name]):
            yield first, part.column(name).combine_chunks()
