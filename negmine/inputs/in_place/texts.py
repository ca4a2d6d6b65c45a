"""Files of lines and of JSON values, with other records in the place of some.

What stands between two records belongs to the first of them: blank lines, and those of a quoted
field. Bytes are UTF-8 here, whatever the file's encoding is; :func:`encoded` gives it back.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from negmine.inputs.dispatch import header
from negmine.inputs.in_place import spelling
from negmine.inputs.in_place.reading import Block, Blocks, Entry, Settings, parsed
from negmine.inputs.json_values import value_blocks
from negmine.inputs.kinds import PAIRS
from negmine.inputs.lines import MARKS, Text, blocks, open_bytes
from negmine.inputs.problems import UnheldSetError
from negmine.table import writers

_BOM = b"\xef\xbb\xbf"
#: Marks that begin a file, by its encoding; of UTF-8 it is no other's.
_MARKS = ((_BOM, "utf-8"), *MARKS)


class LinesFile:
    """JSON lines, CSV or TSV.

    Args:
        settings: what it is read with.
        text: how its characters are had.
    """

    def __init__(self, settings: Settings, text: Text) -> None:
        self.settings, self.text = settings, text

    def blocks(self) -> Iterator[Block]:
        """All records; what stands before the first is the head of the first block."""
        lines = _Lines(self.text)
        held: Entry | None = None
        for entries in parsed(self.settings):
            if not entries:
                continue
            _refuse_places(self.settings, entries)
            head = b"" if held is not None else lines.before(entries[0].place)
            *whole, last = entries if held is None else [held, *entries]
            for entry, following in zip(whole, [*whole, last][1:], strict=True):
                entry.data = lines.before(following.place)
            held = last
            yield Block(whole, head)
        rest = lines.before(None)
        if held is None:
            yield Block(head=rest)
            return
        held.data = rest
        yield Block([held])

    def decoded(self, block: Block, entry: Entry) -> Mapping[str, Any]:
        """All of a record, by column."""
        body, _ = spelling.parted(entry.data)
        if self.text.format == "jsonl":
            return spelling.json_record(body)
        fields = spelling.fields(body, self._delimiter, quoted=self._quoted)
        return dict(zip(self._names, fields, strict=True))

    def save(self, path: Path, found: Blocks) -> None:
        """Write the file with other records in the place of some."""
        save(path, self.text, self._pieces(found))

    def dialect(self) -> dict[str, Any]:
        """What is not as pandas and ``datasets`` expect it of such a file, in their words."""
        told = _encoding(self.text)
        if self.text.format == "jsonl":
            return told
        first = next(self.blocks())
        if self._delimiter != ",":
            told["sep"] = self._delimiter
        if not self._quoted:
            told["quoting"] = int(csv.QUOTE_NONE)
        if not first.head.strip():
            told |= {"header": None, "names": self._names}
        elif self.text.skip:
            told["skiprows"] = self.text.skip
        return told

    def _pieces(self, found: Blocks) -> Iterator[bytes]:
        for block, replacements in found:
            yield block.head
            for entry, records in zip(block.entries, replacements, strict=True):
                yield entry.data if records is None else self._spelled(entry, records)

    def _spelled(self, entry: Entry, records: Sequence[Mapping[str, Any]]) -> bytes:
        """Records in the place of one, each with its line end."""
        body, end = spelling.parted(entry.data)
        if not records:
            return b""
        if self.text.format == "jsonl":
            spelled = spelling.json_like(body, records)
        else:
            rows = [[record[name] for name in self._names] for record in records]
            spelled = spelling.fields_like(body, rows, self._delimiter, quoted=self._quoted)
        first = b"\r\n" if end.startswith(b"\r\n") else self.text.line_end
        return first.join(spelled) + end

    @cached_property
    def _names(self) -> list[str]:
        return header(PAIRS.name, self.settings.found, self.settings.columns)

    @property
    def _delimiter(self) -> str:
        return "\t" if self.text.format == "tsv" else self.text.delimiter

    @property
    def _quoted(self) -> bool:
        """Whether quotes enclose fields, as far as it was read."""
        notes = self.settings.columns.account.notes
        return self.text.format != "tsv" or any("quoted TSV" in note for note in notes)


class ValuesFile:
    """One JSON array of all records, or records over several lines.

    Args:
        settings: what it is read with.
        text: how its characters are had.
    """

    def __init__(self, settings: Settings, text: Text) -> None:
        self.settings, self.text = settings, text

    def blocks(self) -> Iterator[Block]:
        """All records."""
        pieces = (
            (place, piece)
            for places, found in value_blocks(self.text, self.text.format == "array")
            for place, piece in zip(places, found, strict=True)
        )
        for entries in parsed(self.settings):
            good = {entry.place: entry for entry in entries if entry.example is not None}
            bad = {entry.place: entry.problem for entry in entries if entry.example is None}
            whole = []
            while good:
                place, piece = next(pieces, (None, b""))
                if place is None:
                    raise UnheldSetError("the file is one object that holds its records")
                entry = good.pop(place, None) or Entry(place, problem=bad.get(place, "no record"))
                entry.data = piece
                whole.append(entry)
            yield Block(whole)
        yield Block([Entry(place, problem="no record", data=piece) for place, piece in pieces])

    def decoded(self, block: Block, entry: Entry) -> Mapping[str, Any]:
        """All of a record, by column."""
        return spelling.json_record(entry.data)

    def dialect(self) -> dict[str, Any]:
        """See :meth:`LinesFile.dialect`."""
        return _encoding(self.text)

    def save(self, path: Path, found: Blocks) -> None:
        """Write the file with other records in the place of some; what stands between them anew."""
        save(path, self.text, self._pieces(found))

    def _pieces(self, found: Blocks) -> Iterator[bytes]:
        array = self.text.format == "array"
        between, begun = (b",\n" if array else b"\n"), False
        yield b"[\n" if array else b""
        for block, replacements in found:
            for entry, records in zip(block.entries, replacements, strict=True):
                values = (
                    [entry.data] if records is None else spelling.json_like(entry.data, records)
                )
                for value in values:
                    yield (between if begun else b"") + value
                    begun = True
        yield b"\n]\n" if array else b"\n"


def save(path: Path, text: Text, pieces: Iterable[bytes]) -> None:
    """Write bytes of UTF-8 in the encoding and the packing of a file."""
    layers = [(layer.kind, layer.member) for layer in text.layers]
    writers.write_packed(path, encoded(text, pieces), layers)


def encoded(text: Text, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Bytes of UTF-8 in the encoding of a file, with the mark that begins it."""
    mark, plain = _mark(text), text.encoding == "utf-8"
    if mark:
        yield mark
    yield from pieces if plain else (piece.decode().encode(text.encoding) for piece in pieces)


def _encoding(text: Text) -> dict[str, Any]:
    """The encoding in Python's words, where it is not UTF-8 alone."""
    name = text.encoding
    if _mark(text):
        name = "utf-8-sig" if name == "utf-8" else name.removesuffix("-le").removesuffix("-be")
    return {} if name == "utf-8" else {"encoding": name}


def _mark(text: Text) -> bytes:
    """The mark that a file begins with, if any."""
    with open_bytes(replace(text, encoding="utf-8", looked_at=[])) as stream:
        head = next(blocks(stream, text.file), b"")
    return next((m for m, name in _MARKS if name == text.encoding and head.startswith(m)), b"")


class _Lines:
    """The lines of a file with their ends, read once from its beginning."""

    def __init__(self, text: Text) -> None:
        self._lines = _with_ends(replace(text, looked_at=[]))
        self._next: bytes | None = next(self._lines, None)
        self._number = 1

    def before(self, number: Any) -> bytes:
        """All lines before one of this number; before None all that are left."""
        found = []
        while self._next is not None and (number is None or self._number < number):
            found.append(self._next)
            self._next = next(self._lines, None)
            self._number += 1
        return b"".join(found)


def _with_ends(text: Text) -> Iterator[bytes]:
    separator, pending = text.line_end, b""
    with open_bytes(text) as stream:
        for index, block in enumerate(blocks(stream, text.file)):
            *whole, pending = (pending + (block.removeprefix(_BOM) if index == 0 else block)).split(
                separator
            )
            for line in whole:
                yield line + separator
    if pending:
        yield pending


def _refuse_places(settings: Settings, entries: Sequence[Entry]) -> None:
    """Refuse records that are no lines.

    Raises:
        UnheldSetError: the file is one object of columns or of ids.
    """
    if not all(isinstance(entry.place, int) for entry in entries):
        raise UnheldSetError("the file is one object that holds its records")
