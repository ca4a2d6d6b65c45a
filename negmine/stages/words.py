"""What a stage counts, in words for people; JSON logs and manifests keep the counts' own names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

#: Counts of what a stage made: their zeros are told. Other counts are losses.
_RESULTS = frozenset(
    (
        *("documents", "queries_read", "judgements_read", "queries", "positives", "candidates"),
        *("scored", "survivors", "selected", "examples", "negatives_exported", "batches"),
    )
)
#: Names that do not say in words what they count.
_WORDS = {
    "positives": "known positives",
    "positives_promoted": "of them promoted",
    "bm25": "BM25",
    "signatures": "described texts",
    "dropped": "dropped by rule",
    "heldout": "held out",
}
#: What the advice on short queries tells at length.
_TOLD_ELSEWHERE = frozenset(("short_by", "short_lost", "short_candidates"))
#: What is counted, where that is said first.
_NOUNS = re.compile(
    r"((?:known )?(?:positive|candidate|survivor|example|document|judgement|negative|passage|case|"
    r"draft|call))s\b"
    r"|(?P<query>queries\b)"
)
_HITS, _FOUND, _AGAIN = "hits_", "positives_found_", "found_again_"


def told(counts: Mapping[str, Any]) -> str:
    """The counts of a stage; losses that did not happen are left out, other zeros are told.

    Known positives that a filter set aside are no loss: they are called known.
    """
    counts = {key: value for key, value in counts.items() if key not in _TOLD_ELSEWHERE}
    plain = {
        key: value
        for key, value in counts.items()
        if not isinstance(value, dict) and not key.startswith((_HITS, _FOUND, _AGAIN))
    }
    groups = [", ".join(_scalars(plain)), *_sources(counts)]
    for key, value in counts.items():
        if isinstance(value, dict):
            groups += _table(key, value)
    return "; ".join(filter(None, groups))


def _scalars(counts: Mapping[str, Any]) -> Iterator[str]:
    for key, value in counts.items():
        words = _WORDS.get(key, key.replace("_", " "))
        if key == "positives" and counts.get("positives_promoted"):
            words = "positives"
        if isinstance(value, bool):
            if value:
                yield words
        elif isinstance(value, list | tuple):
            if value:
                yield f"{words} {', '.join(map(str, value))}"
        elif isinstance(value, int):
            if value or key in _RESULTS:
                yield _counted(value, words)
        elif value is not None:
            yield f"{words} {value}"


def _sources(counts: Mapping[str, Any]) -> Iterator[str]:
    """What each source found, in one group."""
    for key, hits in counts.items():
        if key.startswith(_HITS):
            name = key.removeprefix(_HITS)
            known = counts.get(f"{_FOUND}{name}", 0)
            yield f"{name} found {hits:,}, {known:,} of them known"


def _table(key: str, counts: Mapping[str, Any]) -> Iterator[str]:
    """A table of counts: of a filter what was dropped, of an export what was held out."""
    words = _WORDS.get(key, key.replace("_", " "))
    if key == "heldout":
        yield f"{words}: {told(counts)}"
        return
    rows = dict(counts)
    if key == "dropped":
        yield f"{rows.pop('positive', 0):,} known"
        for word in ("promoted", "demoted"):
            if number := rows.pop(word, 0):
                yield f"{number:,} {word}"
    shown = [f"{name} {value:,}" for name, value in rows.items() if value]
    if shown:
        yield f"{words}: {', '.join(shown)}"


def _counted(number: int, words: str) -> str:
    noun = _NOUNS.match(words) if number == 1 else None
    if noun is not None:
        words = ("query" if noun["query"] else noun[1]) + words[noun.end() :]
    return f"{number:,} {words}"
