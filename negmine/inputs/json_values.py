"""JSON that is not a record per line: arrays of records, and records over several lines.

The stream is cut into its values without parsing them, so that memory holds a block and each value
is checked, and named by its line, as a line of JSON is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

from negmine.errors import InvalidDataError
from negmine.inputs import limits
from negmine.inputs.lines import Text, blocks, open_bytes

_BOM = b"\xef\xbb\xbf"
#: A whole string, a bracket, or the quote of a string that does not end here.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]]|"', re.DOTALL)
_OPENING = b"{["


def json_form(head: bytes) -> str | None:
    """How the values of a file of JSON stand in it, by its beginning.

    Returns:
        ``jsonl`` (one in a line), ``array`` (one array of all), ``values`` (one after another, over
        several lines); None where it does not begin as JSON.
    """
    head = head.lstrip()
    if head[:1] not in (b"{", b"[") or not head:
        return None
    line, _, rest = head.partition(b"\n")
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return _open_form(head, line, rest)
    if isinstance(value, list) and not rest.strip():
        # A record that is an array itself (ColBERT's) begins with its query's number or text.
        records = any(isinstance(item, dict | list) for item in value)
        return (
            "array" if not value or (records and not isinstance(value[0], int | str)) else "jsonl"
        )
    return "jsonl"


def _open_form(head: bytes, line: bytes, rest: bytes) -> str:
    if head.startswith(b"["):
        return "array" if head[1:].lstrip()[:1] in (b"{", b"[", b"]", b"") else "jsonl"
    depth = 0
    for token in _TOKEN.finditer(line):
        if token[0] == b'"':
            # A record that is cut within a text.
            return "jsonl"
        depth += 1 if token[0] in (b"{", b"[") else -1 if token[0] in (b"}", b"]") else 0
    following = rest.lstrip()[:1]
    goes_on = following in (b'"', b"}", b"]") or line.rstrip()[-1:] in (b"[", b":")
    return "values" if depth > 0 and goes_on else "jsonl"


def value_blocks(text: Text, array: bool) -> Iterator[tuple[list[Any], list[bytes]]]:
    """The values of an array, or of a stream of values, some at a time; and the place of each.

    A place is the number of the line on which a value begins; where several begin there, also the
    value's number.

    Raises:
        InvalidDataError: what stands between the values is no JSON, or the end is missing.
    """
    splitter = _Splitter(text, array)
    with open_bytes(text) as stream:
        data = b""
        for index, block in enumerate(blocks(stream, text.file)):
            data += block.removeprefix(_BOM) if index == 0 else block
            if index and len(data) < 2 * splitter.kept:
                # A value longer than a block is not looked through for each of them.
                continue
            used = yield from splitter.feed(data)
            data = data[used:]
            splitter.kept = len(data)
            if splitter.kept > limits.MAX_LINE_BYTES:
                raise InvalidDataError(
                    f"a value is longer than {limits.MAX_LINE_BYTES:,} bytes",
                    where=f"{text.name}:{splitter.line}",
                )
        used = yield from splitter.feed(data)
        splitter.finish(data[used:])


class _Splitter:
    """Cuts values out of a stream."""

    def __init__(self, text: Text, array: bool) -> None:
        self.text, self.array = text, array
        self.opened = self.closed = False
        #: The line of the first byte that is not used, values so far, bytes left of a block.
        self.line, self.count, self.kept = 1, 0, 0
        self._last_line = 0

    def feed(self, data: bytes) -> Any:
        """Yield the whole values in ``data``; returns how many of its bytes are done with."""
        places: list[Any] = []
        values: list[bytes] = []
        done = depth = begin = 0
        for token in _TOKEN.finditer(data):
            sign = token[0]
            if sign == b'"':
                break
            if depth == 0 and self._bracket(data, done, token):
                done = token.end()
                continue
            if depth == 0:
                begin = token.start()
            if len(sign) == 1:
                depth += 1 if sign in _OPENING else -1
            if depth == 0:
                self._between(data[done:begin])
                self.line += data.count(b"\n", done, begin)
                values.append(data[begin : token.end()])
                places.append(self._place())
                self.line += values[-1].count(b"\n")
                done = token.end()
                if len(values) >= limits.MAX_BATCH_ROWS:
                    yield places, values
                    places, values = [], []
        if values:
            yield places, values
        return done

    def _bracket(self, data: bytes, done: int, token: re.Match[bytes]) -> bool:
        """Whether a bracket opens or closes the array of all values."""
        if not self.array:
            return False
        if self.closed:
            self._wrong("text after the end of the array")
        if not self.opened:
            self.opened = True
        elif token[0] == b"]":
            self._between(data[done : token.start()], last=True)
            self.closed = True
        else:
            return False
        self.line += data.count(b"\n", done, token.end())
        return True

    def _between(self, gap: bytes, last: bool = False) -> None:
        """What stands between two values: a comma in an array, else nothing."""
        expected = b"," if self.array and self.count and not last else b""
        if gap.strip() != expected:
            odd = gap.lstrip(b", \t\r\n")
            self.line += gap.count(b"\n", 0, len(gap) - len(odd))
            shown = gap.strip()[:20].decode("utf-8", "replace")
            told = f"'{shown}' between two values" if shown else "no comma between two values"
            self._wrong(f"not valid JSON: {told}")

    def _place(self) -> Any:
        self.count += 1
        first = self.line != self._last_line
        self._last_line = self.line
        return self.line if first else f"{self.line} (record {self.count})"

    def _wrong(self, what: str) -> None:
        raise InvalidDataError(
            what,
            where=f"{self.text.name}:{self.line}",
            hint="Records stand in one array, or each in its own line.",
        )

    def finish(self, rest: bytes) -> None:
        """Refuse what is left at the end."""
        if self.array and not self.closed:
            self._wrong("the array does not end: the file is cut short")
        if rest.strip():
            self._wrong("the last value does not end: the file is cut short")
