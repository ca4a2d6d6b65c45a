"""Tokens of texts that were read before: by this model, or by another one that reads them alike.

What a tokenizer makes of a text hangs on nothing else: not on the batch, the part or the turn. So
it is made once of texts that are equal, and of those that come again soon: documents of several
parts, and what one scorer of a cascade has read before the next one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np

from negmine import memory
from negmine.models.tokens import Ints, Ragged, concatenate

KEYS = 2
"""Ways to read texts of which tokens are kept: a model's documents and its queries."""
CACHE_BYTES = memory.TOKENS // KEYS
"""What is kept of texts that are read in one way, about."""
_ENTRY_BYTES = 450
"""What Python takes for a text that is kept, beside its tokens."""


@dataclass(frozen=True)
class Tokens:
    """What a tokenizer made of some texts.

    Attributes:
        columns: token ids, types and the like, a row for each text.
        constants: what it says of all texts.
    """

    columns: Mapping[str, Ragged]
    constants: Mapping[str, Any] = field(default_factory=dict)

    def take(self, rows: Ints) -> Tokens:
        """Those of the texts of these numbers."""
        columns = {name: column.take(rows) for name, column in self.columns.items()}
        return Tokens(columns, self.constants)


#: Tokenises texts.
Tokenise = Callable[[Sequence[str]], Tokens]
_Row = tuple[np.ndarray, ...]


class TokenCache:
    """Tokens of texts that were read last, by one way to read them; for several threads.

    Args:
        size: bytes that are remembered, about.
    """

    def __init__(self, size: int = CACHE_BYTES) -> None:
        # Of two halves the older one goes: who is asked for again moves to the younger one.
        self._half, self._held = size // 2, 0
        self._young: dict[bytes, _Row] = {}
        self._old: dict[bytes, _Row] = {}
        self._alike = Tokens({})
        self._lock = Lock()

    def of(self, texts: Sequence[str], tokenise: Tokenise) -> Tokens:
        """The tokens of all texts; those that are not remembered are made, each once.

        Args:
            texts: in any order, some of them equal.
            tokenise: makes the tokens of texts.
        """
        if not texts:
            return tokenise(texts)
        keys = [digest(text) for text in texts]
        if len(set(keys)) == len(keys) and not any(map(self._holds, keys)):
            # As of a corpus: nothing is put together.
            made = tokenise(texts)
            with self._lock:
                self._remember(keys, made)
            return made
        with self._lock:
            known = {key: row for key in keys if (row := self._known(key)) is not None}
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        parts = []
        if new:
            made = tokenise(list(new.values()))
            parts.append(made)
            with self._lock:
                self._remember(list(new), made)
        if known:
            parts.append(self._joined(list(known.values())))
        place = {key: row for row, key in enumerate((*new, *known))}
        rows = np.fromiter((place[key] for key in keys), dtype=np.int64, count=len(keys))
        return _one_after_the_other(parts).take(rows)

    def _holds(self, key: bytes) -> bool:
        return key in self._young or key in self._old

    def _known(self, key: bytes) -> _Row | None:
        found = self._young.get(key)
        if found is None and (found := self._old.pop(key, None)) is not None:
            self._put(key, found)
        return found

    def _remember(self, keys: Sequence[bytes], made: Tokens) -> None:
        names = list(made.columns)
        self._alike = Tokens(dict.fromkeys(names, concatenate([])), made.constants)
        for row, key in enumerate(keys):
            # Copies: a view would keep all that was made with it.
            self._put(key, tuple(made.columns[name].row(row).copy() for name in names))

    def _put(self, key: bytes, row: _Row) -> None:
        self._young[key] = row
        self._held += _ENTRY_BYTES + sum(values.nbytes for values in row)
        if self._held > self._half:
            self._old, self._young, self._held = self._young, {}, 0

    def _joined(self, rows: Sequence[_Row]) -> Tokens:
        columns = {
            name: Ragged.of([row[place] for row in rows])
            for place, name in enumerate(self._alike.columns)
        }
        return Tokens(columns, self._alike.constants)


def _one_after_the_other(parts: Sequence[Tokens]) -> Tokens:
    first = parts[0]
    columns = {name: concatenate([part.columns[name] for part in parts]) for name in first.columns}
    return Tokens(columns, first.constants)


@lru_cache(maxsize=KEYS)
def cache_of(key: str) -> TokenCache:
    """What is kept of texts that are read in one way (:func:`key_of`)."""
    return TokenCache()


def digest(*texts: str) -> bytes:
    """A digest of texts in their order."""
    made = hashlib.blake2b(digest_size=16)
    for text in texts:
        held = text.encode(errors="surrogatepass")
        # With its length: texts that are cut elsewhere are others.
        made.update(len(held).to_bytes(8, "little"))
        made.update(held)
    return made.digest()


def tokenizer_name(tokenizer: Any) -> str | None:
    """The same for tokenizers that make the same of a text, however they pad and truncate now.

    Args:
        tokenizer: a ``tokenizers.Tokenizer``.

    Returns:
        None of one with parts in Python, of which nothing can be told.
    """
    padding, truncation = tokenizer.padding, tokenizer.truncation
    tokenizer.no_padding()
    tokenizer.no_truncation()
    try:
        held = tokenizer.to_str()
    except Exception:
        # The library raises nothing more special: "Custom PreTokenizer cannot be serialized".
        return None
    finally:
        if padding is not None:
            tokenizer.enable_padding(**padding)
        if truncation is not None:
            tokenizer.enable_truncation(**truncation)
    # Whether special tokens in a text are read as such is no part of what is saved.
    return digest(held, str(tokenizer.encode_special_tokens)).hex()


def key_of(*how: object) -> str:
    """A key of a way to read texts: the name of a tokenizer, and all else that decides."""
    return digest(*map(repr, how)).hex()
