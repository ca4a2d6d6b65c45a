"""What a file really is, whatever it is called: its packing, encoding and line ends.

A file's first bytes tell its packing and its encoding without doubt; what the name says otherwise
is told to the user. Files of 8-bit encodings look all alike, so these are never guessed: the first
byte that is no UTF-8 is an error (:func:`mend_encoding` says how to mend it).
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import replace

from negmine.errors import InvalidDataError, NegmineError
from negmine.inputs.columns import shell_word
from negmine.inputs.lines import MARKS, Layer, Text, beginning, open_bytes
from negmine.inputs.places import Place, file_errors

#: How much of a file is looked at to tell what it is.
HEAD_BYTES = 1 << 16
#: Layers of packing that are taken off: an archive of a compressed file has two.
_MOST_LAYERS = 3
_PACKED = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
)
#: What people take for their data: how it begins, what it is, and how to mend it.
_OTHERS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file", "Fetch it: git lfs pull."),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook (.xls)", "Save it as CSV UTF-8."),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "Unpack it: 7z x FILE."),
    (b"Rar!", "a RAR archive", "Unpack it: unrar x FILE."),
    (b"%PDF-", "a PDF document", "Give its text as JSON lines."),
    (b"SQLite format 3\0", "an SQLite database", "Write its table as CSV: sqlite3 -csv -header."),
    (b"\x93NUMPY", "a NumPy array", "Write the records as JSON lines."),
    (b"\x89HDF", "an HDF5 file", "Write the records as Parquet or JSON lines."),
    (b"\x80\x02", "a Python pickle, which is never loaded", "Write the records as JSON lines."),
    (b"\x80\x03", "a Python pickle, which is never loaded", "Write the records as JSON lines."),
    (b"\x80\x04", "a Python pickle, which is never loaded", "Write the records as JSON lines."),
    (b"\x80\x05", "a Python pickle, which is never loaded", "Write the records as JSON lines."),
    (b"Obj\x01", "an Avro file", "Write the records as Parquet or JSON lines."),
    (b"ORC", "an ORC file", "Write the records as Parquet or JSON lines."),
)
_PAGE = re.compile(rb"\s*(<!doctype html|<html[\s>])", re.IGNORECASE)
#: The formats that hold columns, by their first bytes; they pack their contents themselves.
BINARY = ((b"PAR1", "parquet"), (b"ARROW1", "arrow"))


def unwrapped(file: Place, named: str | None, format_: str) -> tuple[Text, bytes, list[str]]:
    """How the characters of a file are had, its beginning, and what its name does not say of it.

    Args:
        file: the file.
        named: the packing that its name tells.
        format_: the format that its name tells.

    Raises:
        InvalidDataError: it is packed in what is not read, or is no data at all.
    """
    text = Text(file, format=format_)
    if file.is_stdin:
        # It can be read only once; negmine's own commands spool it to a file before.
        return text, b"", []
    text, head = _unpacked(text, named)
    _refuse_others(head, text)
    encoding = _encoding(head)
    told = _told_layers(text.layers, named)
    if encoding != "utf-8":
        text = replace(text, encoding=encoding)
        head = _head(text)
        told.append(encoding.upper())
    head = head.removeprefix(b"\xef\xbb\xbf")
    if _ends_with_cr(head, format_):
        text = replace(text, line_end=b"\r")
        told.append("lines that end with CR")
    return text, head, told


def _unpacked(text: Text, named: str | None) -> tuple[Text, bytes]:
    head = _head(text)
    if named is not None and _packing(head) is None and (not head or not _is_text(head)):
        # Damaged or cut short, as the reader will say.
        kind = named if named != "zip" else "gzip"
        return replace(text, layers=(Layer(kind),)), b""
    while (kind_ := _packing(head)) is not None and len(text.layers) < _MOST_LAYERS:
        member = None
        if kind_ == "zip":
            member = _member(text)
            inner = _inner_format(member)
            text = text if inner is None else replace(text, format=inner)
        text = replace(text, layers=(*text.layers, Layer(kind_, member)))
        try:
            head = _head(text)
        except NegmineError:
            # The reader says the same where it reads.
            return text, b""
    return text, head


def _packing(head: bytes) -> str | None:
    return next((kind for begin, kind in _PACKED if head.startswith(begin)), None)


def _head(text: Text) -> bytes:
    return beginning(text, HEAD_BYTES)


def _member(text: Text) -> str:
    """The one file of a zip archive."""
    with open_bytes(text) as stream, file_errors(text.file):
        try:
            with zipfile.ZipFile(stream) as archive:
                infos = archive.infolist()
        except zipfile.BadZipFile as error:
            raise InvalidDataError(
                f"the archive is damaged or cut short: {error}", where=text.name
            ) from None
    names = [info.filename for info in infos]
    if "[Content_Types].xml" in names:
        raise InvalidDataError(
            "this is an Excel workbook", where=text.name, hint="Save it as CSV UTF-8."
        )
    files = [
        info
        for info in infos
        if not info.is_dir()
        and not info.filename.startswith("__MACOSX/")
        and not info.filename.rsplit("/", 1)[-1].startswith(".")
    ]
    if len(files) != 1:
        raise InvalidDataError(
            f"the archive holds {len(files)} files: {_some([f.filename for f in files])}",
            where=text.name,
            hint="Unpack it and name the file that is meant: unzip FILE.",
        )
    if files[0].flag_bits & 1:
        raise InvalidDataError(
            "the archive needs a password", where=text.name, hint="Unpack it: unzip FILE."
        )
    return files[0].filename


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return (", ".join(names[:8]) or "none") + more


def _inner_format(member: str) -> str | None:
    """The format that the name of an archive's member tells."""
    from negmine.inputs.layouts import COMPRESSIONS, FORMATS

    name = member.lower()
    for suffix in COMPRESSIONS:
        name = name.removesuffix(suffix)
    return next((format_ for suffix, format_ in FORMATS.items() if name.endswith(suffix)), None)


def _refuse_others(head: bytes, text: Text) -> None:
    for begin, what, mend in _OTHERS:
        if head.startswith(begin):
            raise InvalidDataError(f"this is {what}", where=text.name, hint=mend)
    if head[257:262] == b"ustar":
        raise InvalidDataError(
            "this is a tar archive",
            where=text.name,
            hint="Unpack it and name the file that is meant: tar xf FILE.",
        )
    if _PAGE.match(head):
        raise InvalidDataError(
            "this is a web page, not the data",
            where=text.name,
            hint="Download the file itself: the address may need a login, or end with /raw.",
        )
    if text.layers and (found := next((f for b, f in BINARY if head.startswith(b)), None)):
        raise InvalidDataError(
            f"this is {found.capitalize()}, packed once more ({text.layers[0].kind})",
            where=text.name,
            hint="Unpack it: such files are read from their end.",
        )


def _told_layers(layers: Sequence[Layer], named: str | None) -> list[str]:
    """What of the packing the name does not tell."""
    kinds = [layer.kind for layer in layers]
    members = [f"'{layer.member}' in a zip archive" for layer in layers if layer.member is not None]
    if named is not None and named not in kinds:
        return [f"not compressed with {named}", *kinds]
    return members + [kind for kind in kinds if kind not in (named, "zip")]


def _encoding(head: bytes) -> str:
    for mark, name in MARKS:
        if head.startswith(mark):
            return name
    some = head[: 1 << 12]
    even, odd = some[::2].count(0), some[1::2].count(0)
    # Of letters that ASCII has, every other byte is zero; there is no such text in UTF-8.
    if len(some) >= 16 and max(even, odd) > len(some) // 5 and min(even, odd) <= len(some) // 200:
        return "utf-16-be" if even > odd else "utf-16-le"
    return "utf-8"


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return any(head.startswith(mark) for mark, _ in MARKS)
    try:
        head[:-4].decode()
    except UnicodeDecodeError:
        return False
    return True


def _ends_with_cr(head: bytes, format_: str) -> bool:
    """Whether lines end with a carriage return alone."""
    if format_ == "csv":
        head = re.sub(rb'"[^"]*+"', b"", head)
    return b"\r" in head[:-1] and b"\n" not in head


def mend_encoding(byte: int, name: str) -> str:
    """What to do about a byte that is no UTF-8."""
    try:
        shown = f" (0x{byte:02x} is '{bytes([byte]).decode('cp1252')}' there)"
    except UnicodeDecodeError:
        shown = ""
    return (
        f"Save the file as UTF-8. If all of it is in Windows-1252, as Excel's CSV is{shown}: "
        f"iconv -f WINDOWS-1252 -t UTF-8 {shell_word(name)} > NEW"
    )
