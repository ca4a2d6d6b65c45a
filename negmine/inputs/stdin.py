"""Standard input as a file that can be read twice."""

from __future__ import annotations

import atexit
import re
import shutil
import sys
import tempfile
from pathlib import Path

from negmine.inputs.places import Place
from negmine.inputs.wrappings import unwrapped


def _suffix(head: bytes, option: str) -> str:
    """The suffix of the format that standard input begins like."""
    if head.startswith(b"PAR1"):
        return ".parquet"
    if option == "exclude":
        return ".txt"
    first = re.split(rb"[\r\n]", head.removeprefix(b"\xef\xbb\xbf").lstrip(), maxsplit=1)[0]
    if not first or first[:1] in b"{[":
        return ".jsonl"
    if first[:1] == b"<":
        return ".topics"
    if first.lower().startswith((b"sep=", b'"sep=')):
        return ".csv"
    tables = option in ("corpus", "queries", "pairs")
    if tables and b"\t" not in first and (b"," in first or b";" in first):
        return ".csv"
    return ".tsv"


def copy_of_stdin(option: str) -> Path:
    """Standard input as a temporary file, so that it can be digested and read twice.

    Its beginning, unpacked, tells what it is: JSON, Parquet, topics, CSV, or else fields between
    tabs (TREC's between blanks); for ``exclude`` it may be a plain list. The copy is removed when
    the process ends.
    """
    with tempfile.NamedTemporaryFile(prefix="negmine-stdin-", delete=False) as spooled:
        unnamed = Path(spooled.name)
        atexit.register(unnamed.unlink, missing_ok=True)
        shutil.copyfileobj(sys.stdin.buffer, spooled)
    # Packed or in another encoding, it is told by what is in it.
    text, head, _ = unwrapped(Place("stdin", str(unnamed)), None, "")
    suffix = f".{text.format}" if text.format else _suffix(head, option)
    copy = unnamed.with_name(unnamed.name + suffix)
    atexit.register(copy.unlink, missing_ok=True)
    return unnamed.rename(copy)
