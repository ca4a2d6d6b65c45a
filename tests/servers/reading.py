"""What a prompt asks: which query and which documents stand in it, whatever stands around them.

Prompts are files and may be anybody's, so they are not parsed: the texts that may stand in them are
known beforehand and looked for.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

#: Texts are looked up by so many first characters; shorter ones are tried one by one.
HEAD = 24
#: A text of which the beginning is there is meant, and not a shorter one that is there whole, if it
#: reaches so many characters further.
CLEARLY = 8


@dataclass(frozen=True)
class Asked:
    """What a prompt asks.

    Attributes:
        query: its text.
        documents: their texts, in the order of the prompt.
        query_first: whether the query stands before the documents.
    """

    query: str
    documents: tuple[str, ...]
    query_first: bool


class KnownTexts:
    """Finds known texts in prompts; white space is as if it were one space.

    A document that the prompt holds only the beginning of (at least :data:`HEAD` characters) is
    found as well.
    """

    def __init__(self, queries: Iterable[str], documents: Iterable[str]) -> None:
        self._queries = {_plain(text): text for text in queries if text.strip()}
        self._documents = {_plain(text): text for text in documents if text.strip()}
        self._by_head: dict[str, list[str]] = defaultdict(list)
        self._short: dict[str, list[str]] = defaultdict(list)
        for text in sorted({*self._queries, *self._documents}, key=lambda text: -len(text)):
            if len(text) >= HEAD:
                self._by_head[text[:HEAD]].append(text)
            else:
                self._short[text[0]].append(text)

    def read(self, prompt: str) -> Asked | None:
        """What the prompt asks; None if it has no known query or no known document."""
        found = list(self._spans(_plain(prompt)))
        only_queries = [at for at, text in enumerate(found) if text not in self._documents]
        queries = only_queries or [at for at, text in enumerate(found) if text in self._queries]
        if not queries or len(found) < 2:
            return None
        at = queries[0]
        rest = [text for other, text in enumerate(found) if other != at]
        documents = tuple(self._documents[text] for text in rest if text in self._documents)
        if not documents:
            return None
        return Asked(self._queries[found[at]], documents, query_first=at == 0)

    def _spans(self, prompt: str) -> Iterable[str]:
        at = 0
        while at < len(prompt):
            text, length = self._longest(prompt, at)
            if length:
                yield text
            at += length or 1

    def _longest(self, prompt: str, at: int) -> tuple[str, int]:
        """The known text that reaches furthest from a place, and how far; ("", 0) if none."""
        if at and prompt[at - 1].isalnum():
            return "", 0
        best, length, value = "", 0, 0
        for text in self._by_head.get(prompt[at : at + HEAD], ()):
            same = _common(text, prompt, at)
            # What is there whole is meant, unless another one clearly goes on.
            worth = same + (CLEARLY if same == len(text) else 0)
            if worth > value:
                best, length, value = text, same, worth
        for text in self._short.get(prompt[at], ()) if not length else ():
            end = at + len(text)
            if prompt.startswith(text, at) and not prompt[end : end + 1].isalnum():
                return text, len(text)
        return best, length


def known_texts(folder: Path) -> KnownTexts:
    """Of a collection in BEIR's layout; a document is known with and without its title."""
    documents: list[str] = []
    for row in _lines(folder / "corpus.jsonl"):
        documents += {row["text"], f"{row.get('title') or ''} {row['text']}".strip()}
    return KnownTexts((row["text"] for row in _lines(folder / "queries.jsonl")), documents)


def _lines(path: Path) -> Iterable[Mapping[str, str]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _plain(text: str) -> str:
    return " ".join(text.split())


def _common(text: str, prompt: str, at: int) -> int:
    """Of how many characters both are the same."""
    if prompt.startswith(text, at):
        return len(text)
    low, high = HEAD, min(len(text), len(prompt) - at)
    while low < high:
        middle = (low + high + 1) // 2
        if prompt.startswith(text[:middle], at):
            low = middle
        else:
            high = middle - 1
    return low
