"""Token rows of (query, document) pairs, from queries and documents tokenised once each.

A pair's row is ``prefix query middle document suffix``: the fixed parts are learned from one
pair that the tokenizer made itself, and the result is compared with the tokenizer's own output
on probe pairs before it is trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from negmine.models.token_cache import Tokens, cache_of, key_of, tokenizer_name
from negmine.models.tokens import Ints, Ragged, concatenate, from_lists

_CHUNK = 2048


class PairRows(Protocol):
    """The rows of all pairs of one call."""

    @property
    def lengths(self) -> Ints:
        """Tokens of each pair."""

    def batch(self, rows: Ints, pad_id: int, left: bool = False) -> tuple[Ints, Ints]:
        """Token ids and token types of some pairs, padded to the longest."""


@dataclass(frozen=True)
class Template:
    """What a tokenizer puts around and between two texts.

    Attributes:
        prefix, middle, suffix: ids before, between and after.
        prefix_types, middle_types, suffix_types: their token types.
        query_type, document_type: the token types of the texts themselves.
    """

    prefix: Ints
    middle: Ints
    suffix: Ints
    prefix_types: Ints
    middle_types: Ints
    suffix_types: Ints
    query_type: int
    document_type: int

    @property
    def added(self) -> int:
        """Special tokens of a pair."""
        return len(self.prefix) + len(self.middle) + len(self.suffix)


@dataclass(frozen=True)
class TemplateRows:
    """Rows assembled when they are asked for; nothing is held per pair but four numbers."""

    template: Template
    queries: Ragged
    documents: Ragged
    pairs: Ints
    query_kept: Ints
    document_kept: Ints

    @property
    def lengths(self) -> Ints:
        """Tokens of each pair."""
        return self.query_kept + self.document_kept + self.template.added

    def batch(self, rows: Ints, pad_id: int, left: bool = False) -> tuple[Ints, Ints]:
        """Token ids and token types of some pairs, padded to the longest."""
        t = self.template
        lengths = self.query_kept[rows] + self.document_kept[rows] + t.added
        width = int(lengths.max(initial=0))
        query = _column(len(t.prefix) + np.zeros_like(lengths))
        query_end = query + _column(self.query_kept[rows])
        document = query_end + len(t.middle)
        document_end = document + _column(self.document_kept[rows])
        place = np.arange(width) - (_column(width - lengths) if left else 0)
        ids = np.full((len(rows), width), pad_id, dtype=np.int64)
        types = np.zeros_like(ids)
        for ragged, texts, start, end, kind in (
            (self.queries, self.pairs[rows, 0], query, query_end, t.query_type),
            (self.documents, self.pairs[rows, 1], document, document_end, t.document_type),
        ):
            inside = (place >= start) & (place < end)
            source = place - start + _column(ragged.offsets[texts])
            ids[inside] = ragged.values[source[inside]]
            types[inside] = kind
        for fixed, fixed_types, start in (
            (t.prefix, t.prefix_types, query - len(t.prefix)),
            (t.middle, t.middle_types, query_end),
            (t.suffix, t.suffix_types, document_end),
        ):
            for i, (token, kind) in enumerate(zip(fixed, fixed_types, strict=True)):
                here = place == start + i
                ids[here] = token
                types[here] = kind
        return ids, types


@dataclass(frozen=True)
class ReadyRows:
    """Rows made beforehand by the tokenizer's own post-processor."""

    ids: Ragged
    types: Ragged

    @property
    def lengths(self) -> Ints:
        """Tokens of each pair."""
        return self.ids.lengths

    def batch(self, rows: Ints, pad_id: int, left: bool = False) -> tuple[Ints, Ints]:
        """Token ids and token types of some pairs, padded to the longest."""
        return self.ids.pad(rows, pad_id, left), self.types.pad(rows, 0, left)


@dataclass(frozen=True)
class PairTokenizer:
    """Makes the rows of pairs.

    Attributes:
        tokenizer: a ``tokenizers.Tokenizer`` that truncates pairs to ``max_length``, longest
            first, and is used by nobody else.
        max_length: most tokens of a pair.
        template: ``None`` where the tokenizer's pairs are not a template's.
    """

    tokenizer: Any
    max_length: int
    template: Template | None

    def rows(
        self, queries: Sequence[str], documents: Sequence[str], pairs: npt.NDArray[np.integer]
    ) -> PairRows:
        """The rows of ``pairs``; each text they name is tokenised once, however often."""
        used_queries, query_index = np.unique(pairs[:, 0], return_inverse=True)
        used_documents, document_index = np.unique(pairs[:, 1], return_inverse=True)
        index = np.stack([query_index, document_index], axis=1).astype(np.int64)
        query_texts = [queries[i] for i in used_queries]
        document_texts = [documents[i] for i in used_documents]
        if self.template is None:
            return self._post_processed(query_texts, document_texts, index)
        room = self.max_length - self.template.added
        query_tokens, query_lengths = self._tokens(query_texts, room)
        document_tokens, document_lengths = self._tokens(document_texts, room)
        query_kept, document_kept = longest_first(
            query_lengths[query_index], document_lengths[document_index], room
        )
        return TemplateRows(
            self.template, query_tokens, document_tokens, index, query_kept, document_kept
        )

    def _encode(self, texts: Sequence[str]) -> list[Any]:
        self.tokenizer.no_truncation()
        encodings: list[Any] = []
        for start in range(0, len(texts), _CHUNK):
            chunk = list(texts[start : start + _CHUNK])
            encodings += self.tokenizer.encode_batch(chunk, add_special_tokens=False)
        self.tokenizer.enable_truncation(self.max_length)
        return encodings

    def _tokens(self, texts: Sequence[str], room: int) -> tuple[Ragged, Ints]:
        """The texts' ids, no more of each than a pair can hold, and their full lengths."""
        tokenise = partial(self._tokenised, room)
        name = self._name
        made = tokenise(texts) if name is None else cache_of(key_of(name, room)).of(texts, tokenise)
        return made.columns["ids"], made.columns["length"].values.astype(np.int64)

    def _tokenised(self, room: int, texts: Sequence[str]) -> Tokens:
        self.tokenizer.no_truncation()
        parts = [from_lists([])]
        lengths = [np.zeros(0, dtype=np.int32)]
        for start in range(0, len(texts), _CHUNK):
            encodings = self.tokenizer.encode_batch_fast(
                list(texts[start : start + _CHUNK]), add_special_tokens=False
            )
            ids = [encoding.ids for encoding in encodings]
            lengths.append(np.fromiter((len(row) for row in ids), np.int32, count=len(ids)))
            parts.append(from_lists([row[:room] for row in ids]))
        length = Ragged(np.concatenate(lengths), np.arange(len(texts) + 1))
        return Tokens({"ids": concatenate(parts), "length": length})

    @cached_property
    def _name(self) -> str | None:
        return tokenizer_name(self.tokenizer)

    def _post_processed(
        self, queries: Sequence[str], documents: Sequence[str], index: Ints
    ) -> ReadyRows:
        query_encodings, document_encodings = self._encode(queries), self._encode(documents)
        made = [
            self.tokenizer.post_process(query_encodings[q], document_encodings[d])
            for q, d in index.tolist()
        ]
        return ReadyRows(
            from_lists([encoding.ids for encoding in made]),
            from_lists([encoding.type_ids for encoding in made]),
        )


def longest_first(first: Ints, second: Ints, room: int) -> tuple[Ints, Ints]:
    """How much of each text is kept where both must share ``room`` tokens.

    The rule of the ``tokenizers`` library: cut the longer one; where both are longer than half,
    each keeps half, the odd token going to the longer.
    """
    swapped = first > second
    short, long = np.minimum(first, second), np.maximum(first, second)
    kept_long = np.minimum(long, np.maximum(short, room - short))
    kept_short = short.copy()
    both = (first + second > room) & (kept_short + np.maximum(short, room - short) > room)
    kept_short[both] = room // 2
    kept_long[both] = room // 2 + room % 2
    return np.where(swapped, kept_long, kept_short), np.where(swapped, kept_short, kept_long)


def pair_tokenizer(tokenizer: Any, max_length: int) -> PairTokenizer:
    """Learn how ``tokenizer`` (a ``tokenizers.Tokenizer``, ours alone) joins two texts."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    ready = PairTokenizer(tokenizer, max_length, None)
    template = _learn(tokenizer)
    if template is None or template.added > max_length:
        return ready
    assembled = PairTokenizer(tokenizer, max_length, template)
    queries, documents, pairs = probes(max_length)
    rows = assembled.rows(queries, documents, pairs)
    for row, (q, d) in enumerate(pairs.tolist()):
        ids, types = rows.batch(np.array([row]), pad_id=0)
        # `_tokens` left the truncation off.
        tokenizer.enable_truncation(max_length)
        own = tokenizer.encode(queries[q], documents[d])
        if ids[0].tolist() != own.ids or types[0].tolist() != own.type_ids:
            return ready
    return assembled


def probes(max_length: int) -> tuple[list[str], list[str], Ints]:
    """Pairs that show how texts are joined and cut: short, empty, and one or both too long."""
    cut = min(max_length, 8192)
    queries = ["what is a query", "", "long query " * cut]
    documents = ["A document, of course.", "", "a document longer than that " * cut]
    return queries, documents, np.array([(q, d) for q in range(3) for d in range(3)])


def _learn(tokenizer: Any) -> Template | None:
    made = tokenizer.encode("a b", "c d")
    owner = np.array([-1 if i is None else i for i in made.sequence_ids])
    first, second = np.flatnonzero(owner == 0), np.flatnonzero(owner == 1)
    if not len(first) or not len(second) or first[-1] > second[0]:
        return None
    if len(first) != first[-1] - first[0] + 1 or len(second) != second[-1] - second[0] + 1:
        return None
    ids, types = np.array(made.ids), np.array(made.type_ids)
    before, between = slice(0, first[0]), slice(first[-1] + 1, second[0])
    after = slice(second[-1] + 1, None)
    return Template(
        prefix=ids[before],
        middle=ids[between],
        suffix=ids[after],
        prefix_types=types[before],
        middle_types=types[between],
        suffix_types=types[after],
        query_type=int(types[first[0]]),
        document_type=int(types[second[0]]),
    )


def _column(values: Ints) -> Ints:
    return values[:, None]
