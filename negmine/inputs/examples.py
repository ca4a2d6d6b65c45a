"""Training sets in any layout as rows: a query with one of its passages, and what is known of it.

What a file's columns and first records are decides its layout (:mod:`negmine.inputs.sets`).
Plain pairs of texts stay whole columns; what holds more is read record by record.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from negmine.errors import InvalidDataError, UsageError
from negmine.inputs import limits
from negmine.inputs.chunks import MISSING, Chunk
from negmine.inputs.columns import Columns, shell_word
from negmine.inputs.dispatch import Sample, files, header, read_chunks, read_file
from negmine.inputs.kinds import EXAMPLES_SCHEMA, PAIRS, Input, Target, keeping
from negmine.inputs.layouts import Found
from negmine.inputs.problems import Problems, UnclearSetError
from negmine.inputs.sets import Beginning, Layout, names_known, recognised
from negmine.inputs.sets.base import Example, Passage, Reading, Record
from negmine.inputs.sets.labelled import UnclearLabelError
from negmine.inputs.specs import Specs
from negmine.inputs.values import BadValueError, bounded, kept_value
from negmine.table.names import meta_column

#: Names of columns that hold ids.
_NAMES_IDS = re.compile(r"(^|[^a-z])(doc|p|passage|corpus)?_?ids?$", re.IGNORECASE)
#: Formats that hold texts alone.
_TABLES = ("csv", "tsv")
#: A list or an object as Python or JSON writes it, of texts.
_WRITTEN = re.compile(r"\s*(\[\s*[\"'{].*\]|\{\s*[\"'].*\}|\[\])\s*", re.DOTALL)
#: Records that a layout is recognised by.
_LOOKED_AT = 100


def read_examples(
    specs: Specs,
    columns: Mapping[str, str],
    problems: Problems,
    reading: Reading | None = None,
    keep: Sequence[str] = (),
) -> Iterator[pa.RecordBatch]:
    """The rows of training sets, as :data:`EXAMPLES_SCHEMA` has them; each file in its own layout.

    A positive has a grade of at least 1; what was judged not to be one has the grade 0; a negative
    that somebody mined has none. ``given`` is the place of a negative, judged or not, among those
    of its record, from 1. A record without any passage is one row of nulls beside its query.

    Args:
        specs: a file, ``-``, a URL or a saved data set; or several.
        columns: target to source column, for files that use other names.
        problems: told of every bad record.
        reading: how what a layout leaves open is read.
        keep: further columns to read, each into ``meta_COLUMN`` of every row of its record.

    Raises:
        UnclearSetError: a label that says nothing, whatever ``problems`` does with bad records.
    """
    asked = Columns.of(columns)
    for found in files(PAIRS, specs):
        yield from _of_file(found, asked, problems, reading or Reading(), keep)


def _of_file(
    found: Found, columns: Columns, problems: Problems, reading: Reading, keep: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    beginning = look(found, columns)
    layout = recognised(beginning)
    _refuse_unread(columns, layout, beginning, found)
    _refuse_ids(columns, beginning, found)
    if found.format in _TABLES:
        _refuse_written(_targets(layout, beginning), beginning, found)
    if layout is None:
        yield from map(_of_pairs, read_file(keeping(PAIRS, keep), found, columns, problems))
        return
    opened = layout.open(beginning)
    kind = keeping(Input(PAIRS.name, EXAMPLES_SCHEMA, opened.targets), keep)
    columns = without_unread(columns, layout, beginning, keep)
    for name, chunk in read_chunks(kind, found, columns, problems):
        whole = _whole_columns(chunk, opened.flat)
        if whole is not None:
            yield from bounded(whole)
            continue
        yield from _rows(name, chunk, opened.read, problems, reading, keep)


def _targets(layout: Layout | None, beginning: Beginning) -> tuple[Target, ...]:
    return PAIRS.targets if layout is None else layout.open(beginning).targets


def _refuse_ids(columns: Columns, beginning: Beginning, found: Found) -> None:
    """Refuse ids that the user names as texts, told by the column's name and the values' form.

    Raises:
        UsageError: the option that reads ids.
    """
    for field in ("positive", "negative"):
        name = columns.get(field)
        if name is None or not _NAMES_IDS.search(name):
            continue
        values = [record.get(name) for record in beginning.records]
        told = [
            item for value in values for item in (value if isinstance(value, list) else [value])
        ]
        if not any(isinstance(item, str) and " " in item.strip() for item in told):
            asked = shell_word(f"{field}_id={name}")
            raise UsageError(
                f"--column {field}={name}: the column holds ids and no texts",
                where=found.spec,
                hint=f"Say --column {asked}, and give the documents with index --corpus.",
            )


def _refuse_written(targets: Iterable[Target], beginning: Beginning, found: Found) -> None:
    """Refuse a table whose texts are lists or objects that a program wrote as text.

    Raises:
        InvalidDataError: the column, and what holds lists.
    """
    for target in targets:
        values = [value for value in beginning.values(target) if value != ""]
        if values and all(isinstance(v, str) and _WRITTEN.fullmatch(v) for v in values):
            raise InvalidDataError(
                f"column '{beginning.source(target)}' holds lists or objects written as text",
                where=found.spec,
                hint="A table has no lists, and pandas writes them so. Write JSON lines, "
                "df.to_json('pairs.jsonl', orient='records', lines=True), or Parquet.",
            )


def _refuse_unread(
    columns: Columns, layout: Layout | None, beginning: Beginning, found: Found
) -> None:
    """Refuse a column that the user names for a field which these pairs do not have.

    Raises:
        UsageError: the field, and those that there are.
    """
    fields = [target.name for target in _targets(layout, beginning)]
    inner = frozenset() if layout is None else layout.inner
    unread = next((name for name in columns if name not in {*fields, *inner}), None)
    if unread is None:
        return
    kind = "pairs of texts" if layout is None else layout.name
    raise UsageError(
        f"--column {unread}={columns[unread]}: read as {kind}, they have no field '{unread}'",
        where=found.spec,
        hint=f"Their fields: {', '.join(fields)}. --ignore {shell_word(columns[unread])} says that "
        "the column does not matter.",
    )


def sample_examples(spec: str, columns: Mapping[str, str]) -> tuple[Sample, bool] | None:
    """The first good rows of a training set that is more than pairs of texts.

    Returns:
        The rows, as :func:`read_examples` has them, and whether they tell ids alone; None for what
        is no such set.

    Raises:
        NegmineError: it is not there, or no input of negmine's.
    """
    asked = Columns.of(columns, strict=False)
    # Labels are not judged by what their scale may mean: that is for retrieve to ask about.
    reading = Reading(passages_only=True)
    for found in files(PAIRS, spec):
        beginning = look(found, asked)
        layout = recognised(beginning)
        if layout is None:
            return None
        opened = layout.open(beginning)
        kind = Input(PAIRS.name, EXAMPLES_SCHEMA, opened.targets)
        for name, chunk in read_chunks(
            kind, found, without_unread(asked, layout, beginning), Problems("skip")
        ):
            rows = list(_rows(name, chunk, opened.read, Problems("skip"), reading))
            table = pa.Table.from_batches(rows, EXAMPLES_SCHEMA)
            ids = table.column("query").null_count == table.num_rows
            return Sample(dict(chunk.sources), len(chunk.lines), table, asked.account), ids
    return None


def without_unread(
    columns: Columns, layout: Layout, beginning: Beginning, keep: Sequence[str] = ()
) -> Columns:
    """The same, without what belongs to the layout and is not read."""
    named = {*columns.values(), *keep}
    unread = {
        name: told
        for name, told in layout.unread.items()
        if name in beginning.columns and name not in named
    }
    for name, told in unread.items():
        columns.account.note(f"'{name}' is not read: {told}")
    return replace(columns, ignored=columns.ignored | unread.keys())


def look(found: Found, columns: Columns) -> Beginning:
    """The columns and first records of a training set's file.

    Raises:
        NegmineError: it is not there, or no input of negmine's.
    """
    names = list(dict.fromkeys(header(PAIRS.name, found, columns)))
    # A field that only later records have may decide, too.
    wanted = dict.fromkeys([*names, *names_known()])
    kind = Input(
        PAIRS.name, EXAMPLES_SCHEMA, tuple(Target(name, "raw", (name,)) for name in wanted)
    )
    # Fields that the user asks for by number are found only where they are asked for here, too.
    every = Columns({name: name for name in names} if columns else {}, strict=False)
    records: list[dict[str, Any]] = []
    for _, chunk in read_chunks(kind, found, every, Problems("skip")):
        # A file may begin with record batches or row groups of a row each.
        records += _records(chunk, _LOOKED_AT - len(records))
        if len(records) >= _LOOKED_AT:
            break
    has = [name for record in records for name, value in record.items() if value is not None]
    return Beginning(tuple(dict.fromkeys([*names, *has])), columns, records)


def _records(chunk: Chunk, most: int) -> list[dict[str, Any]]:
    """The first records of a chunk; None where a record lacks the field."""
    count = min(most, len(chunk.lines))
    values = {name: list(column[:count]) for name, column in chunk.columns.items()}
    return [
        {name: None if column[at] is MISSING else column[at] for name, column in values.items()}
        for at in range(count)
    ]


def _of_pairs(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Pairs of texts as rows."""
    count = batch.num_rows
    columns = {
        "query": batch.column("query"),
        "title": pa.repeat(pa.scalar(""), count),
        "text": batch.column("positive"),
        "grade": pa.repeat(pa.scalar(1, pa.int32()), count),
    }
    kept = [name for name in batch.schema.names if name not in PAIRS.schema.names]
    return _batch(columns | {name: batch.column(name) for name in kept}, count)


def _whole_columns(chunk: Chunk, flat: tuple[str, ...]) -> pa.RecordBatch | None:
    """The rows of records that are a query and some texts each, without looking at every one.

    None where there is more, or a value is no text.
    """
    documents = [name for name in flat if name in chunk.columns]
    if not flat or chunk.columns.keys() != {"query", *documents} or flat[0] not in documents:
        return None
    try:
        query, *texts = (
            pa.array(chunk.columns[name], pa.string()) for name in ("query", *documents)
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
        return None
    if query.null_count or any(column.null_count for column in texts):
        return None
    count, width = len(query), len(texts)
    # Record after record, each one's positive first.
    place = (np.arange(width)[None, :] * count + np.arange(count)[:, None]).ravel()
    within = np.tile(np.arange(width), count)
    columns = {
        "query": query.take(pa.array(np.repeat(np.arange(count), width))),
        "title": pa.repeat(pa.scalar(""), count * width),
        "text": pa.concat_arrays(texts).take(pa.array(place)),
        "grade": pa.array(np.ones(count * width, dtype=np.int32), mask=within > 0),
        "given": pa.array(within.astype(np.int32), mask=within == 0),
    }
    return _batch(columns, count * width)


def _batch(columns: Mapping[str, pa.Array], count: int) -> pa.RecordBatch:
    """A batch of rows; what is not there is null, and what else is kept comes after."""
    schema = _schema([name for name in columns if name not in EXAMPLES_SCHEMA.names])
    arrays = [
        columns[field.name] if field.name in columns else pa.nulls(count, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _schema(kept: Iterable[str]) -> pa.Schema:
    """The columns of rows, with further ones of strings."""
    return pa.schema([*EXAMPLES_SCHEMA, *(pa.field(name, pa.string()) for name in kept)])


def _rows(
    path: str,
    chunk: Chunk,
    meaning: Callable[[Record, Reading], Example],
    problems: Problems,
    reading: Reading,
    keep: Sequence[str] = (),
) -> Iterator[pa.RecordBatch]:
    """What the records of a chunk say, as rows."""
    rows = _Rows(keep)
    columns = list(chunk.columns.values())
    for at, values in enumerate(zip(*columns, strict=True)):
        record = Record(dict(zip(chunk.columns, values, strict=True)), chunk.sources)
        try:
            kept = {
                meta_column(name): kept_value(record.get(meta_column(name)), name, lists=True)
                for name in keep
            }
            rows.add(meaning(record, reading), kept)
        except UnclearLabelError as error:
            raise UnclearSetError(str(error), where=chunk.where(path, at)) from None
        except BadValueError as error:
            where = chunk.where(path, at)
            problems.report(where, str(error), error.hint, unclear=error.unclear)
        if rows.full():
            yield rows.batch()
            rows = _Rows(keep)
    if rows.count:
        yield rows.batch()


class _Rows:
    """Rows as they gather, a list per column; ``keep`` are further columns."""

    def __init__(self, keep: Sequence[str] = ()) -> None:
        self._schema = _schema(map(meta_column, keep))
        self._columns: dict[str, list[Any]] = {name: [] for name in self._schema.names}
        self._size = 0

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._columns["query"])

    def full(self) -> bool:
        """Whether there are enough for a batch."""
        return self.count >= limits.MAX_BATCH_ROWS or self._size >= limits.MAX_BATCH_BYTES

    def add(self, example: Example, kept: Mapping[str, str | None]) -> None:
        """The rows of one record: positives, negatives, what was judged; one at the least.

        Args:
            example: what it says.
            kept: its values of the further columns.
        """
        negatives = [*example.negatives, *example.judged]
        positives = list(example.positives)
        grades: list[int | None] = [1] * len(positives)
        if not positives and not negatives:
            positives, grades = [Passage(None, "", None)], [None]
        found = positives + negatives
        columns = self._columns
        columns["qid"] += [example.qid] * len(found)
        columns["query"] += [example.query] * len(found)
        columns["docid"] += [passage.docid for passage in found]
        columns["title"] += [passage.title for passage in found]
        columns["text"] += [passage.text for passage in found]
        columns["grade"] += [
            *grades,
            *[None] * len(example.negatives),
            *[0] * len(example.judged),
        ]
        columns["given"] += [*[None] * len(positives), *range(1, len(negatives) + 1)]
        columns["score"] += [passage.score for passage in found]
        for name, value in kept.items():
            columns[name] += [value] * len(found)
        self._size += sum(len(passage.text or "") for passage in found)
        self._size += len(example.query or "") * len(found)

    def batch(self) -> pa.RecordBatch:
        """All rows."""
        arrays = [pa.array(self._columns[field.name], field.type) for field in self._schema]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)
