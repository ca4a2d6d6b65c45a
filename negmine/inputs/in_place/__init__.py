"""Training sets as they lie in their files, and with other records in the place of some.

Every record is read as :func:`negmine.inputs.read_examples` reads it, and beside it its own bytes,
or its row: what nobody changes is written as it was. ``reading`` parses, ``texts`` and ``tables``
are the containers, ``spelling`` writes a record as its neighbours are written.
"""

from __future__ import annotations

from collections.abc import Mapping

from negmine.errors import UsageError
from negmine.inputs.columns import Columns
from negmine.inputs.dialects import look as look_at_text
from negmine.inputs.dispatch import files
from negmine.inputs.examples import look
from negmine.inputs.in_place.reading import Block, Entry, SetFile, Settings, parser, size_of
from negmine.inputs.in_place.tables import ArrowFile, ParquetFile
from negmine.inputs.in_place.texts import LinesFile, ValuesFile
from negmine.inputs.kinds import PAIRS
from negmine.inputs.layouts import Found
from negmine.inputs.problems import UnheldSetError
from negmine.inputs.sets.base import Reading
from negmine.inputs.specs import Specs, find_all, shown

#: Formats of lines.
_LINES = ("jsonl", "csv", "tsv")


def only_file(specs: Specs) -> Found:
    """The file that a training set is.

    Raises:
        UsageError: it is no single file.
        NegmineError: it is not there, or no input of negmine's.
    """
    for one in find_all(PAIRS, specs):
        if one.format == "catalogue" or (one.format == "arrow" and one.folder is not None):
            raise UnheldSetError("a saved data set is more than its records", where=one.spec)
    found = list(files(PAIRS, specs))
    if len(found) != 1:
        raise UsageError(
            f"{len(found)} files, and a cleaned training set is written file by file",
            where=shown(specs),
            hint="Name one of them at a time.",
        )
    if found[0].files[0].is_stdin:
        raise UsageError(
            "standard input has no name under which it could be written back",
            hint="Give a file, or --format NAME to write another layout.",
        )
    return found[0]


def open_set(found: Found, columns: Mapping[str, str], reading: Reading, on_error: str) -> SetFile:
    """A training set's file, to be read record by record and written back.

    Args:
        found: the file.
        columns: target to source column.
        reading: how what the layout leaves open is read.
        on_error: whether a bad record stops the run.

    Raises:
        UsageError: what is in the file cannot be written back.
        NegmineError: it is no input of negmine's.
    """
    asked = Columns.of(columns, strict=False)
    (file,) = found.files
    beginning = look(found, asked)
    settings = Settings(found, parser(beginning), asked, reading, on_error)
    if found.format == "parquet":
        return ParquetFile(settings, file)
    if found.format == "arrow":
        return ArrowFile(settings, file)
    text = look_at_text(PAIRS, file, found.compression, found.format, asked)
    if text.format == "parquet":
        return ParquetFile(settings, file)
    if text.format == "arrow":
        return ArrowFile(settings, file)
    if text.format in ("array", "values"):
        return ValuesFile(settings, text)
    if text.format in _LINES:
        return LinesFile(settings, text)
    raise UnheldSetError(f"{text.format} files are read, and not written", where=found.spec)


__all__ = ["Block", "Entry", "SetFile", "Settings", "only_file", "open_set", "size_of"]
