"""From a path and a kind of input to the format's reader and the checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from negmine.errors import UsageError, did_you_mean
from negmine.inputs import catalogues
from negmine.inputs.arrow_files import arrow_chunks
from negmine.inputs.chunks import Chunk, NoColumnError
from negmine.inputs.columns import Account, Columns
from negmine.inputs.delimited import csv_chunks, tsv_chunks
from negmine.inputs.dialects import look
from negmine.inputs.grades import Grades
from negmine.inputs.jsonl import json_chunks
from negmine.inputs.kinds import KINDS, QRELS, Input, Target
from negmine.inputs.layouts import Found
from negmine.inputs.lines import Text
from negmine.inputs.parquet import parquet_chunks
from negmine.inputs.places import Place
from negmine.inputs.problems import Problems
from negmine.inputs.specs import Specs, find_all
from negmine.inputs.topics import topic_chunks, topic_or_line_chunks
from negmine.inputs.values import batches

_Reader = Callable[[Input, Text, Columns, Problems], Iterator[Chunk]]

#: Formats of lines, and their readers.
_TEXT: dict[str, _Reader] = {
    "jsonl": json_chunks,
    "array": json_chunks,
    "values": json_chunks,
    "csv": csv_chunks,
    "tsv": tsv_chunks,
    "topics": topic_chunks,
    "topics or lines": topic_or_line_chunks,
}
#: Formats of columns.
_BINARY = {"parquet": parquet_chunks, "arrow": arrow_chunks}


def read(
    kind: Input,
    specs: Specs,
    columns: Mapping[str, str],
    problems: Problems,
    grades: Grades | None = None,
) -> Iterator[pa.RecordBatch]:
    """Check what can be checked without reading, at the call and not at the first batch."""
    names = [target.name for target in kind.targets]
    for target in columns:
        if target not in names:
            raise UsageError(
                f"unknown column '{target}' for {kind.name}",
                where=f"--column {target}={columns[target]}",
                hint=did_you_mean(target, names),
            )
    found = find_all(kind, specs)
    for one in found:
        if one.format == "catalogue":
            catalogues.check(kind, one.spec)
    parts = _parts(kind, found, Columns.of(columns), problems)
    return _checked(kind, parts, problems, grades or Grades())


def sample(role: str, specs: Specs, columns: Mapping[str, str], rows: int = 200) -> Sample:
    """The first good records of an input, and the columns that they come from.

    Args:
        role: what it is read as: corpus, queries, qrels, run or pairs.
        specs: what a user would name.
        columns: target to source column.
        rows: how many records, at most.

    Raises:
        NoColumnError: it has other columns.
        NegmineError: it is not there, or no input of negmine's.
    """
    kind = KINDS[role]
    asked = Columns.of(columns, strict=False)
    parts = _parts(kind, find_all(kind, specs), asked, Problems("skip"))
    # What words mean is for the run to ask about.
    any_word = Grades(every=1.0)
    for name, chunks in parts:
        for chunk in _graded(kind, chunks, any_word):
            found = batches(kind, iter([chunk]), name, Problems("skip"))
            table = pa.Table.from_batches(list(found), kind.schema).slice(0, rows)
            return Sample(dict(chunk.sources), len(chunk.lines), table, asked.account)
    return Sample({}, 0, kind.schema.empty_table(), asked.account)


def files(kind: Input, specs: Specs) -> Iterator[Found]:
    """Each file of an input on its own.

    Raises:
        NegmineError: it is not there, or no input of negmine's.
    """
    for one in find_all(kind, specs):
        if one.format == "catalogue":
            catalogues.check(kind, one.spec)
        yield from [replace(one, files=(file,)) for file in one.files] or [one]


def read_file(
    kind: Input, found: Found, columns: Mapping[str, str], problems: Problems
) -> Iterator[pa.RecordBatch]:
    """The records of one of :func:`files`."""
    return _checked(kind, _parts(kind, [found], Columns.of(columns), problems), problems, Grades())


def read_chunks(
    kind: Input, found: Found, columns: Columns, problems: Problems
) -> Iterator[tuple[str, Chunk]]:
    """The same, as its reader gives them, unchecked; with the file's name."""
    for name, chunks in _parts(kind, [found], columns, problems):
        for chunk in chunks:
            yield name, chunk


def header(role: str, specs: Specs | Found, columns: Columns | None = None) -> list[str]:
    """The columns of an input, or the fields of its first line.

    Args:
        role: what it is read as.
        specs: what a user would name, or one of :func:`files`.
        columns: what the user said; fields asked for by their number are named so.

    Raises:
        NegmineError: it is not there, or no input of negmine's.
    """
    kind = KINDS[role]
    # Nothing has a column of this name, and who says so says which there are.
    asked = replace(kind, targets=(Target("any", "id", ("\0",)),))
    every = Columns() if columns is None else columns
    every = replace(every, strict=False, account=Account())
    found = [specs] if isinstance(specs, Found) else find_all(kind, specs)
    for _, chunks in _parts(asked, found, every, Problems("skip")):
        try:
            return list(next(chunks, Chunk({}, {}, [])).sources.values())
        except NoColumnError as error:
            return error.header
    return []


@dataclass(frozen=True)
class Sample:
    """The beginning of an input.

    Attributes:
        sources: the column that each target is read from.
        seen: records looked at.
        table: the good ones among them, as they are read.
        account: what became of every column.
    """

    sources: dict[str, str]
    seen: int
    table: pa.Table
    account: Account


def _parts(
    kind: Input, found: Sequence[Found], columns: Columns, problems: Problems
) -> Iterator[tuple[str, Iterator[Chunk]]]:
    """The name of each file of an input, and what its reader gives."""
    for one in found:
        for note in one.notes:
            columns.account.note(note)
        if one.format == "catalogue":
            yield one.spec, catalogues.catalogue_chunks(kind, one.spec, columns)
        for file in one.files:
            yield file.name, _chunks(kind, one, file, columns, problems)


def _chunks(
    kind: Input, found: Found, file: Place, columns: Columns, problems: Problems
) -> Iterator[Chunk]:
    """What the reader of a file gives, as what it really is."""
    if found.format in _BINARY:
        yield from _BINARY[found.format](kind, file, columns)
        return
    text = look(kind, file, found.compression, found.format, columns)
    if text.format in _BINARY:
        yield from _BINARY[text.format](kind, file, columns)
    else:
        yield from _TEXT[text.format](kind, text, columns, problems)


def _checked(
    kind: Input, parts: Iterator[tuple[str, Iterator[Chunk]]], problems: Problems, grades: Grades
) -> Iterator[pa.RecordBatch]:
    for name, chunks in parts:
        yield from batches(kind, _graded(kind, chunks, grades), name, problems)


def _graded(kind: Input, chunks: Iterator[Chunk], grades: Grades) -> Iterator[Chunk]:
    """The same with the grades of judgements as the user says, without what is left out."""
    return map(grades.apply, chunks) if grades and kind.name == QRELS.name else chunks
