"""Bytes and lines of a file or of stdin: unpacked, as UTF-8, in blocks of bounded size."""

from __future__ import annotations

import bz2
import codecs
import lzma
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import IO, Any

import pyarrow as pa

from negmine.errors import InvalidDataError
from negmine.inputs import limits
from negmine.inputs.places import Place, file_errors

_BOM = b"\xef\xbb\xbf"
#: The byte order marks of encodings that are read besides UTF-8, the longer ones first.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True)
class Layer:
    """What bytes are packed in.

    Attributes:
        kind: gzip, zstd, bz2, xz or zip.
        member: the file in a zip archive.
    """

    kind: str
    member: str | None = None


@dataclass(frozen=True)
class Text:
    """A file of text, and how its characters are had.

    Attributes:
        file: where it lies.
        layers: what it is packed in, the outermost first.
        encoding: what it is decoded from.
        line_end: what ends a line: a newline (with or without a carriage return before it), or the
            carriage return alone of old Macs.
        format: how it is read: jsonl, array, values, csv, tsv, topics, ...
        delimiter: what stands between the fields of a CSV file.
        skip: lines before the header.
    """

    file: Place
    layers: tuple[Layer, ...] = ()
    encoding: str = "utf-8"
    line_end: bytes = b"\n"
    format: str = "jsonl"
    delimiter: str = ","
    skip: int = 0
    #: A stream of a remote file that was only looked at, so that it is not asked for again.
    looked_at: list[Any] = field(default_factory=list, compare=False, repr=False)

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.file.name


@contextmanager
def open_bytes(text: Text) -> Iterator[IO[bytes]]:
    """The unpacked bytes of a file or of stdin, as UTF-8."""
    file, layers = text.file, text.layers
    with ExitStack() as stack:
        if file.fs is None and not file.is_stdin:
            # By its name: Arrow reads a local file without Python in between.
            first = layers[0] if layers else None
            stream: Any = stack.enter_context(_unpacked(file.path, file, first))
            layers = layers[1:]
        else:
            stream = stack.enter_context(_remote(text))
        for layer in layers:
            stream = stack.enter_context(_unpacked(stream, file, layer))
        yield _Decoded(stream, text) if text.encoding != "utf-8" else stream  # type: ignore[misc]


@contextmanager
def _remote(text: Text) -> Iterator[Any]:
    """A remote file from its beginning; standard input from where it is."""
    if not text.looked_at:
        with text.file.open() as stream:
            yield stream
        return
    stream = text.looked_at.pop()
    with stream, file_errors(text.file):
        yield stream


def beginning(text: Text, size: int) -> bytes:
    """The first unpacked bytes of a file; a remote one stays open for who reads it next."""
    file = text.file
    if file.fs is None:
        with open_bytes(text) as found:
            return _first(found, size, file)
    with file_errors(file):
        stream = text.looked_at.pop() if text.looked_at else file.fs.open(file.path, "rb")
    with open_bytes(replace(text, looked_at=[_Lent(stream)])) as found:
        head = _first(found, size, file)
    try:
        stream.seek(0)
    except (OSError, ValueError):
        # It can be read only once, so the next one opens another.
        stream.close()
    else:
        text.looked_at.append(stream)
    return head


def _first(stream: IO[bytes], size: int, file: Place) -> bytes:
    head = b""
    for block in blocks(stream, file):
        head += block
        if len(head) >= size:
            break
    return head[:size]


class _Lent:
    """A stream that its borrower does not close."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> _Lent:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def close(self) -> None:
        """Leave it open."""


def _unpacked(source: Any, file: Place, layer: Layer | None) -> Any:
    kind = None if layer is None else layer.kind
    opener = {"bz2": bz2.BZ2File, "xz": lzma.LZMAFile}.get(kind or "")
    with file_errors(file):
        if layer is not None and layer.member is not None:
            return zipfile.ZipFile(source).open(layer.member)
        # Arrow reads gzip faster than Python does, and Python 3.11 has no zstd.
        return opener(source) if opener else pa.input_stream(source, compression=kind)


class _Decoded:
    """A stream in another encoding, as UTF-8."""

    def __init__(self, stream: Any, text: Text) -> None:
        self._stream, self._text = stream, text
        self._decoder = codecs.getincrementaldecoder(text.encoding)()
        self._read = 0

    def read(self, size: int) -> bytes:
        """At most some of the next bytes; none at the end."""
        while True:
            data = self._stream.read(size)
            try:
                decoded = self._decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                at = self._read + len(data) - len(error.object) + error.start + 1
                raise InvalidDataError(
                    f"not valid {self._text.encoding.upper()}: {error.reason} at byte {at:,}",
                    where=self._text.name,
                    hint="Save the file as UTF-8.",
                ) from None
            if self._read == 0:
                decoded = decoded.removeprefix("\ufeff")
            self._read += len(data)
            if decoded or not data:
                return decoded.encode()


def line_blocks(text: Text) -> Iterator[tuple[int, list[bytes]]]:
    """Blocks of whole lines without their newlines, and the number of each block's first line.

    A block has at most ``MAX_BATCH_ROWS`` lines and about ``BLOCK_BYTES`` bytes (see
    :mod:`.limits`), or one longer line. Only ``text.line_end`` ends a line: the other separators
    that Unicode knows are text.
    """
    number = 1
    pending: list[bytes] = []
    separator = text.line_end
    with open_bytes(text) as stream:
        for index, chunk in enumerate(blocks(stream, text.file)):
            if index == 0:
                chunk = chunk.removeprefix(_BOM)
            end = chunk.rfind(separator)
            if end < 0:
                pending.append(chunk)
                if sum(map(len, pending)) > limits.MAX_LINE_BYTES:
                    raise InvalidDataError(
                        f"a line is longer than {limits.MAX_LINE_BYTES:,} bytes",
                        where=f"{text.name}:{number}",
                        hint="Each line must hold one record.",
                    )
                continue
            lines = b"".join((*pending, chunk[:end])).split(separator)
            pending = [chunk[end + 1 :]]
            for start in range(0, len(lines), limits.MAX_BATCH_ROWS):
                yield number + start, lines[start : start + limits.MAX_BATCH_ROWS]
            number += len(lines)
    if last := b"".join(pending):
        yield number, [last]


def blocks(stream: IO[bytes], file: Place) -> Iterator[bytes]:
    """The bytes of ``stream`` in blocks; only the reading, not the use, may find it damaged."""
    while True:
        with file_errors(file):
            block = stream.read(limits.BLOCK_BYTES)
        if not block:
            return
        yield block


def line_text(line: bytes) -> str:
    """A line as text. Bytes that are no UTF-8 become surrogates, which the checks find again."""
    return line.removesuffix(b"\r").decode("utf-8", "surrogateescape")
