"""What texts hold: answers as DPR finds them, and numbers. Pure functions over Arrow arrays."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

#: DPR's ``SimpleTokenizer``: runs of letters, digits and marks; else every visible character.
_TOKEN = r"([\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}\p{L}\p{N}\p{M}])"
_BETWEEN = r"[\p{Z}\p{C}]+"
_DIGIT = r"\p{Nd}"
#: English questions after a quantity.
_QUANTITY = (
    r"(?i)\bhow (many|much|long|old|far|tall|high|large|big|deep|wide|heavy|fast|often)\b"
    r"|\b(what|which) (year|date|age|price|cost)\b"
    r"|\b(number|amount|percent|percentage|proportion|ratio|rate|total|sum|average|mean|median"
    r"|difference|increase|decrease|growth) (of|in|between|change|from)\b|\bpercent(age)?\b"
)


def words(texts: pa.Array) -> pa.Array:
    """Texts as their tokens, each between two spaces, in lower case and decomposed (NFD).

    One such text lies in another one exactly where its tokens follow each other there, which is
    how DPR (arXiv 2004.04906; ``has_answer`` with ``SimpleTokenizer``, uncased) looks for answers.
    """
    lowered = pc.utf8_lower(pc.utf8_normalize(texts, form="NFD"))
    spaced = pc.replace_substring_regex(lowered, _TOKEN, r" \1 ")
    return pc.replace_substring_regex(spaced, _BETWEEN, " ")


def answers(value: str | None) -> list[str]:
    """The answers that a kept column holds: a list in JSON or as Python writes it, or one text."""
    if value is None:
        return []
    text = value.strip()
    if text.startswith("[") and text.endswith("]"):
        for read in (json.loads, ast.literal_eval):
            try:
                found = read(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            if isinstance(found, list | tuple):
                return [str(one) for one in found if one is not None]
    return [value]


def holding(
    query: np.ndarray, row: np.ndarray, texts: Sequence[str], wanted: Sequence[Sequence[str]]
) -> np.ndarray:
    """Rows whose document holds an answer of their query, bool [rows].

    Args:
        query: query number of each row.
        row: its document, a place in ``texts``.
        texts: :func:`words` of the documents.
        wanted: :func:`words` of each query's answers.
    """
    found = np.zeros(len(query), dtype=bool)
    some = [[answer for answer in of if answer.strip()] for of in wanted]
    for at, (asked, document) in enumerate(zip(query.tolist(), row.tolist(), strict=True)):
        found[at] = any(answer in texts[document] for answer in some[asked])
    return found


def has_number(texts: pa.Array) -> np.ndarray:
    """Texts with a digit, of any script, bool [texts]."""
    return _matching(texts, _DIGIT)


def asks_for_number(queries: pa.Array) -> np.ndarray:
    """Queries that hold a digit, or words of an English question after a quantity."""
    return _matching(queries, f"{_DIGIT}|{_QUANTITY}")


def _matching(texts: pa.Array, pattern: str) -> np.ndarray:
    found = pc.match_substring_regex(texts, pattern)
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=bool)
