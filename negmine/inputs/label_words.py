"""Labels that are words: what they say, and the words behind the numbers of a ``ClassLabel``.

Only words that say nothing but relevant or not are read; steps of a scale (``partially relevant``,
``E`` of ESCI) and ``neutral`` are neither, and left to the user, as are numbers that do not mean
what they usually do (:mod:`.grades`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson
import pyarrow as pa

_RELEVANT = frozenset(
    (
        *("true", "t", "yes", "y", "relevant", "positive", "pos"),
        *("duplicate", "equivalent", "entailment"),
    )
)
_NOT = frozenset(("false", "f", "no", "n", "irrelevant", "negative", "neg", "contradiction"))
_DENIED = ("not ", "non ", "non")
#: Fields of ours that hold labels.
FIELDS = frozenset(("label", "grade"))


def folded(word: str) -> str:
    """A label without what does not tell it from others: case, ``_`` and ``-``, blanks."""
    return " ".join(word.casefold().replace("_", " ").replace("-", " ").split())


def label_number(word: str) -> float | None:
    """1 for a word that says relevant, 0 for one that says not; None for any other.

    >>> label_number("Not_Relevant"), label_number("YES"), label_number("neutral")
    (0.0, 1.0, None)
    """
    told = folded(word)
    if told in _RELEVANT:
        return 1.0
    denied = any(told.removeprefix(no) in _RELEVANT for no in _DENIED if told.startswith(no))
    return 0.0 if denied or told in _NOT else None


def class_names(schema: pa.Schema) -> Mapping[str, Sequence[str]]:
    """The names behind the numbers of columns, as ``datasets`` notes them in a file's schema."""
    return _class_names((schema.metadata or {}).get(b"huggingface", b""))


@lru_cache(maxsize=64)
def _class_names(note: bytes) -> Mapping[str, Sequence[str]]:
    try:
        info = orjson.loads(note)["info"]["features"].items()
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return {}
    return {column: names for column, feature in info if (names := _names(feature)) is not None}


def _names(feature: Any) -> list[str] | None:
    """The names of a feature that is a ``ClassLabel``, or a list of these."""
    if isinstance(feature, list) and len(feature) == 1:
        return _names(feature[0])
    if not isinstance(feature, dict):
        return None
    if feature.get("_type") in ("List", "LargeList", "Sequence"):
        return _names(feature.get("feature"))
    names = feature.get("names") if feature.get("_type") == "ClassLabel" else None
    texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if texts else None


def named(values: Sequence[Any], names: Sequence[str]) -> list[Any]:
    """The names of numbers, also in lists; what has none stays (-1: not labelled)."""
    return [_named(value, names) for value in values]


def _named(value: Any, names: Sequence[str]) -> Any:
    if isinstance(value, list):
        return named(value, names)
    inside = isinstance(value, int) and 0 <= value < len(names)
    return names[value] if inside else value
