"""Which query of a table is meant: by its id, the beginning of one, words, or chance."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.commands.shortened import CONTENT_ID, one_line, short_id
from negmine.errors import EmptyResultError, MissingInputError, UsageError
from negmine.table.candidates import Candidates

#: A mistyped id is looked for among at most this many ids of about its length.
_SUGGESTED_FROM = 50_000
#: So many digits of an id say that an id is meant, as with git.
_PREFIX = re.compile(r"[0-9a-f]{4,31}")
_LISTED = 10
_TEXT_WIDTH = 90


def find(table: Candidates, words: str) -> str:
    """The id of the query that ``words`` mean.

    An id counts first; then the beginning of an id that is a digest; then a query whose text is,
    then one whose text holds, these words in this order; then one that holds them all.

    Raises:
        UsageError: several queries are meant; it lists them.
        MissingInputError: none is.
    """
    if any(pc.any(pc.equal(part.column("qid"), words)).as_py() for part in _queries(table)):
        return words
    if _PREFIX.fullmatch(words.lower()):
        begun = _beginning(table, words.lower())
        if begun:
            return _only(begun, words)
    found = _by_text(table, words)
    if found:
        return _only(found, words)
    raise _missing(table, words)


def at_random(table: Candidates, seed: int) -> tuple[str, int, int]:
    """A query by chance; returns (qid, its number from 1, how many there are).

    Raises:
        EmptyResultError: the table has no query.
    """
    counts = [part.num_rows for part in _queries(table, ["qid"])]
    total = sum(counts)
    if not total:
        raise EmptyResultError("no query to take one of", where=str(table.path))
    at = number = int(np.random.default_rng(seed).integers(total))
    for part in _queries(table, ["qid"]):
        if at < part.num_rows:
            return str(part.column("qid")[at].as_py()), number + 1, total
        at -= part.num_rows
    raise AssertionError("the parts hold fewer queries than were counted")


def _queries(table: Candidates, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Ids and texts of the queries that have rows, by part."""
    for name in table.parts:
        queries = table.queries(name)
        asked = table.read(name, ["qid"]).column("qid").unique()
        if len(asked) < queries.num_rows:
            queries = queries.filter(pc.is_in(queries.column("qid"), value_set=asked))
        yield queries if columns is None else queries.select(columns)


def _beginning(table: Candidates, digits: str) -> dict[str, str]:
    """Text by id of the queries whose id is a digest that begins so."""
    found: dict[str, str] = {}
    for part in _queries(table):
        hits = part.filter(pc.starts_with(part.column("qid"), digits))
        found.update(zip(hits["qid"].to_pylist(), hits["text"].to_pylist(), strict=True))
    return {qid: text for qid, text in found.items() if CONTENT_ID.fullmatch(qid)}


def _by_text(table: Candidates, words: str) -> dict[str, str]:
    """The queries whose text is these words, else holds them as they stand, else holds them all."""
    wanted = words.casefold().split()
    same: dict[str, str] = {}
    phrase: dict[str, str] = {}
    every: dict[str, str] = {}
    for part in _queries(table) if wanted else ():
        for qid, text in zip(part["qid"].to_pylist(), part["text"].to_pylist(), strict=True):
            folded = " ".join(text.casefold().split())
            if not all(word in folded for word in wanted):
                continue
            every[qid] = text
            if " ".join(wanted) in folded:
                phrase[qid] = text
            if " ".join(wanted) == folded:
                same[qid] = text
    return same or phrase or every


def _only(found: dict[str, str], words: str) -> str:
    if len(found) == 1:
        return next(iter(found))
    lines = [
        f"  {_distinct_id(qid, found)}  {one_line(text, _TEXT_WIDTH)}"
        for qid, text in list(found.items())[:_LISTED]
    ]
    if len(found) > _LISTED:
        lines.append(f"  ... and {len(found) - _LISTED:,} more")
    raise UsageError(
        "\n".join([f"{len(found):,} queries are meant by {words!r}:", *lines]),
        hint="Give one's id, or more of its words.",
    )


def _distinct_id(qid: str, among: dict[str, str]) -> str:
    """The id as it is shown, or whole where another one is shown alike."""
    shown = short_id(qid)
    return qid if sum(short_id(other) == shown for other in among) > 1 else shown


def _missing(table: Candidates, words: str) -> MissingInputError:
    near: list[str] = []
    for part in _queries(table, ["qid"]):
        qids = part.column("qid")
        close = pc.less_equal(pc.abs(pc.subtract(pc.utf8_length(qids), len(words))), 2)
        near += qids.filter(close).to_pylist()
        if len(near) >= _SUGGESTED_FROM:
            break
    matches = difflib.get_close_matches(words, near[:_SUGGESTED_FROM], n=3, cutoff=0.5)
    suggestion = " or ".join(repr(match) for match in matches)
    return MissingInputError(
        f"no query {words!r} in the ledger: neither an id nor the text of one",
        where=str(table.path),
        hint=f"Did you mean {suggestion}?"
        if suggestion
        else "See one with: negmine explain LEDGER --random",
    )
