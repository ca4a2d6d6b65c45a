"""Feed the readers anything: what comes out is checked records or one exact message.

    python scripts/fuzz_readers.py --cases 100000 --seed 1        # some minutes
    python scripts/fuzz_readers.py --only csv --cases 2000
    python scripts/fuzz_readers.py --cases 100000 --seconds 300 --report fuzz.json    # a round

Each case makes a small file of one format (JSONL, an array of JSON, CSV, TSV, Parquet, Arrow, TREC
qrels and topics, MS MARCO without a header line) and one kind of input out of good and bad records,
often damages its bytes as well, and reads it with ``--on-error fail`` and ``skip``. Checked:

* nothing but a :class:`negmine.errors.NegmineError` is raised, and it names the file (for a bad
  record also its line or row);
* what comes out is of the reader's schema, without nulls, valid UTF-8, its ids not empty;
* the two modes agree: ``fail`` stops where ``skip`` counts, and gives the same records otherwise;
* nothing vanishes: where the file is not damaged, records in = records out + reported problems;
* no memory is kept: the process does not grow.

With ``--report`` the counts are kept in a file, and the same command goes on behind the last case
that stands there.
"""

from __future__ import annotations

import argparse
import bz2
import csv
import ctypes
import gzip
import io
import json
import lzma
import math
import os
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq

from negmine import inputs as readers
from negmine.errors import NegmineError
from negmine.inputs import Problems, limits

KINDS: dict[str, tuple[Callable[..., Iterator[pa.RecordBatch]], pa.Schema, tuple[str, ...]]] = {
    "corpus": (readers.read_corpus, readers.CORPUS_SCHEMA, ("_id", "title", "text")),
    "queries": (readers.read_queries, readers.QUERIES_SCHEMA, ("_id", "text")),
    "qrels": (readers.read_qrels, readers.QRELS_SCHEMA, ("query-id", "corpus-id", "score")),
    "pairs": (readers.read_pairs, readers.PAIRS_SCHEMA, ("query", "positive")),
}
FORMATS = ("jsonl", "csv", "tsv", "parquet", "trec", "arrow", "topics", "xml", "msmarco", "array")
COMPRESSIONS = ("", "", "", ".gz", ".zst", ".bz2", ".xz")

STRINGS = (
    *("", " ", "a", "d1", "7", "007", "3.0", "1e3", "-0", "nan", "null", "true", "é", "e\u0301"),
    *("a b", "a\tb", 'a"b', "a'b", "a/b", "../../etc/passwd", "a\\b", "a,b", "a\nb", "a\r\nb"),
    *("a\rb", "\ufeffa", "\0", "a\0b", "\x1b[31mred", "\u2028", "\x85", "\u202eabc", "😀"),
    *("\x0b", "\x1c", "=1+1", '"', '""', '"a', "{", "[]", "word " * 50, "x" * 3000, "\x7f"),
)
BAD_BYTES = (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\0", b"\xef\xbb\xbf", b'"')
NUMBERS = (0, 1, -1, 7, 2**31, 2**53, 2**63, 10**25, 0.0, 1.0, 1.5, 3.0, 1e300, -0.0)
OTHERS: tuple[Any, ...] = (None, True, False, [], ["a"], ["a", "b"], [1], [None], {}, {"a": 1})

#: More than this is a leak: a case is a few kilobytes.
MOST_GROWTH_MB = 200


@dataclass
class Case:
    """A file to read."""

    kind: str
    path: Path
    records: int | None
    """How many records it holds; None where it was damaged."""


def main() -> int:
    """Run the cases; 0 when every one ended as it may."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=FORMATS)
    parser.add_argument("--keep", type=Path, help="keep the files of failed cases here")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no case after")
    parser.add_argument("--report", type=Path, help="JSON; go on behind what it counts already")
    given = parser.parse_args()
    _give_blocks_back()
    report: dict[str, Any] = {}
    if given.report is not None and given.report.is_file():
        report = json.loads(given.report.read_text())
        if (report["seed"], report["only"]) != (given.seed, given.only):
            parser.error(f"{given.report} is of seed {report['seed']} and --only {report['only']}")
    first = report.get("cases", 0)
    more = run(
        given.cases - first, given.seed, given.only, given.keep, first=first, seconds=given.seconds
    )
    report = _added(report, more)
    if given.report is not None:
        given.report.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))
    return 1 if report["failures"] or report["grown_mb"] > MOST_GROWTH_MB else 0


def _give_blocks_back() -> None:
    """Let a reader's blocks be mapped, so that they go back to the system when they are free.

    A reader asks for blocks of megabytes and a small file fills little of them. After the first
    ones glibc takes such blocks from its heap, where what lives longer breaks up the holes that
    they leave: hundred thousand files in one process took gigabytes, of which none was in use.
    """
    try:
        # The first is M_MMAP_THRESHOLD of malloc.h; set at all, it is not adapted any more.
        ctypes.CDLL(None).mallopt(-3, 1 << 20)
    except AttributeError:
        return


def _added(report: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """The sums of two reports."""
    if not report:
        return more
    return {
        **more,
        "cases": report["cases"] + more["cases"],
        "seconds": round(report["seconds"] + more["seconds"], 1),
        "grown_mb": max(report["grown_mb"], more["grown_mb"]),
        "outcomes": dict(Counter(report["outcomes"]) + Counter(more["outcomes"])),
        "failures": report["failures"] + more["failures"],
        "first_failures": (report["first_failures"] + more["first_failures"])[:20],
    }


def run(
    cases: int,
    seed: int,
    only: str | None = None,
    keep: Path | None = None,
    *,
    first: int = 0,
    seconds: float = math.inf,
) -> dict[str, Any]:
    """Run ``cases`` cases from number ``first`` on, or as many as the time allows.

    Returns:
        Counts of what they came to.
    """
    outcomes: Counter[str] = Counter()
    failures: list[str] = []
    started = time.monotonic()
    done, warm, grown = 0, 0, 0
    # Several blocks and batches per file need small ones.
    sizes = limits.BLOCK_BYTES, limits.MAX_BATCH_ROWS, limits.MAX_BATCH_BYTES
    try:
        with tempfile.TemporaryDirectory() as folder:
            for number in range(first, first + cases):
                if time.monotonic() - started > seconds:
                    break
                rng = random.Random(f"{seed}/{number}")
                limits.BLOCK_BYTES = rng.choice((sizes[0], 64, 4096))
                limits.MAX_BATCH_ROWS = rng.choice((sizes[1], 3))
                limits.MAX_BATCH_BYTES = rng.choice((sizes[2], 200))
                case = make(rng, Path(folder), only)
                try:
                    outcome = check(case)
                    outcomes[outcome] += 1
                    outcomes[f"{case.path.name.split('.', 1)[1]}"] += 1
                except Exception:
                    failures.append(f"case {seed}/{number} {case.path.name}: {_short_trace()}")
                    if keep is not None:
                        keep.mkdir(parents=True, exist_ok=True)
                        (keep / f"{number}-{case.path.name}").write_bytes(case.path.read_bytes())
                case.path.unlink()
                done += 1
                if done % 500 == 0:
                    # What is loaded and cached once is there by now.
                    warm = warm or resident_mb()
                    grown = max(grown, resident_mb() - warm)
    finally:
        limits.BLOCK_BYTES, limits.MAX_BATCH_ROWS, limits.MAX_BATCH_BYTES = sizes
    return {
        "seed": seed,
        "only": only,
        "cases": done,
        "seconds": round(time.monotonic() - started, 1),
        "grown_mb": grown,
        "outcomes": dict(sorted(outcomes.items())),
        "failures": len(failures),
        "first_failures": failures[:20],
    }


def resident_mb() -> int:
    """Resident memory of this process in MiB, 0 where it cannot be told."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def _short_trace() -> str:
    return " | ".join(traceback.format_exc().strip().splitlines()[-5:])


# --- making files -------------------------------------------------------------------------------


def make(rng: random.Random, folder: Path, only: str | None = None) -> Case:
    """A file of some kind and format."""
    format_ = only or rng.choice(FORMATS)
    kinds = {
        "trec": ("qrels",),
        "topics": ("queries",),
        "xml": ("queries",),
        "msmarco": ("corpus", "queries"),
    }
    kind = rng.choice(kinds.get(format_, tuple(KINDS)))
    names = list(KINDS[kind][2])
    if rng.random() < 0.1:
        names.append(rng.choice(("extra", "id", "title", "text", "score", names[0])))
    if rng.random() < 0.05:
        names.pop(rng.randrange(len(names)))
    # Mostly good records, or no case would get past its first one.
    badness = rng.choice((0.0, 0.0, 0.05, 0.5))
    rows = [_record(rng, names, badness) for _ in range(rng.choice((0, 1, 3, 8, 20)))]
    if format_ in ("parquet", "arrow"):
        return _columns(rng, folder, kind, names, rows, format_)
    writers = {"jsonl": _jsonl, "csv": _csv, "tsv": _tsv, "trec": _trec}
    writer = (writers | {"topics": _topics, "xml": _xml, "msmarco": _msmarco, "array": _array})[
        format_
    ]
    data, records = writer(rng, names, rows)
    if rng.random() < 0.1:
        data = b"\xef\xbb\xbf" + data
    if rng.random() < 0.4:
        data, records = _damaged(rng, data), None
    suffix = rng.choice(COMPRESSIONS)
    data = _compressed(data, suffix)
    if suffix and rng.random() < 0.2:
        data, records = _damaged(rng, data), None
    extensions = {
        "trec": ("txt", "trec", "tsv"),
        "topics": ("topics", "txt", "trec"),
        "msmarco": ("tsv",),
        "array": ("json", "jsonl"),
    }
    extension = rng.choice(extensions.get(format_, (format_,)))
    path = folder / f"{kind}.{extension}{suffix}"
    path.write_bytes(data)
    return Case(kind, path, records)


def _record(rng: random.Random, names: list[str], badness: float) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name in names:
        if rng.random() < badness:
            if rng.random() < 0.3:
                continue
            row[name] = rng.choice((*STRINGS, *NUMBERS, *OTHERS))
        elif name == "score":
            row[name] = rng.choice((0, 1, 2))
        elif name.endswith("id"):
            row[name] = rng.choice((f"d{rng.randrange(5)}", rng.randrange(5), "a b", "a/b"))
        else:
            row[name] = rng.choice(("some text", "é", "", "word " * 30))
    return row


def _jsonl(
    rng: random.Random, names: list[str], rows: list[dict[str, Any]]
) -> tuple[bytes, int | None]:
    end = rng.choice((b"\n", b"\r\n"))
    lines = []
    for row in rows:
        if rng.random() < 0.05:
            lines.append(rng.choice((b"", b" ", b"\t")))
        text = json.dumps(row, ensure_ascii=rng.random() < 0.5)
        lines.append(text.encode("utf-8"))
    records: int | None = len(rows)
    if rng.random() < 0.1:
        lines.insert(
            rng.randrange(len(lines) + 1),
            rng.choice((b'{"_id": "\\ud800", "text": "x"}', b"[1]", b"{", b'{"a": NaN}', b"12")),
        )
        records = len(rows) + 1
    return end.join(lines) + (end if rng.random() < 0.8 else b""), records


def _array(
    rng: random.Random, names: list[str], rows: list[dict[str, Any]]
) -> tuple[bytes, int | None]:
    """One array of all records, in one line or indented, perhaps with one that is none."""
    items: list[Any] = list(rows)
    # Numbers between records are no JSON of records at all, so these are not among them.
    if rng.random() < 0.1 and items:
        items.insert(rng.randrange(1, len(items) + 1), rng.choice((["a"], "x", {"a": math.nan})))
    text = json.dumps(items, indent=rng.choice((None, 0, 2)), ensure_ascii=rng.random() < 0.5)
    return text.encode(), len(items)


def _fields(names: list[str], row: dict[str, Any]) -> list[str]:
    return [
        value if isinstance(value, str) else json.dumps(value)
        for value in (row.get(name, "") for name in names)
    ]


def _csv(
    rng: random.Random, names: list[str], rows: list[dict[str, Any]]
) -> tuple[bytes, int | None]:
    text = io.StringIO()
    # Python's writer leaves a lone CR unquoted where it ends lines with LF: no valid CSV.
    every = any("\r" in field for row in rows for field in _fields(names, row))
    writer = csv.writer(
        text,
        lineterminator=rng.choice(("\n", "\r\n")),
        quoting=csv.QUOTE_ALL if every or rng.random() < 0.2 else csv.QUOTE_MINIMAL,
    )
    writer.writerow(names)
    for row in rows:
        fields = _fields(names, row)
        if rng.random() < 0.03:
            fields.append("too many")
        writer.writerow(fields)
    return text.getvalue().encode("utf-8", "surrogatepass"), len(rows)


def _tsv(
    rng: random.Random, names: list[str], rows: list[dict[str, Any]]
) -> tuple[bytes, int | None]:
    lines = ["\t".join(names)]
    for row in rows:
        # TSV has no quoting: what would break a line is another record, honestly written.
        fields = [field.replace("\n", " ").replace("\r", " ") for field in _fields(names, row)]
        lines.append("\t".join(fields))
    records = sum(1 for line in lines[1:] if line)
    end = rng.choice(("\n", "\r\n"))
    return (end.join(lines) + end).encode("utf-8", "surrogatepass"), records


def _trec(
    rng: random.Random, names: list[str], rows: list[dict[str, Any]]
) -> tuple[bytes, int | None]:
    blank = rng.choice(("\t", " "))
    lines = []
    for row in rows:
        grade = row.get("score", 1)
        ids = [str(row.get(name, "x")) for name in ("query-id", "corpus-id")]
        query, document = ("".join(c for c in i if c not in "\n\r") for i in ids)
        lines.append(blank.join((query, "0", document, str(grade).replace("\n", ""))))
    # Whether the first line is one of TREC's decides how all are read, so nothing is promised.
    return "\n".join(lines).encode("utf-8", "surrogatepass"), None


def _topics(
    rng: random.Random, names: list[str], rows: list[dict[str, Any]]
) -> tuple[bytes, int | None]:
    closed = rng.random() < 0.3
    blocks = []
    for row in rows:
        fields = dict(zip(names, _fields(names, row), strict=True))
        lines = [
            f"<{tag}> {label}{fields[name]}{f'</{tag}>' if closed else ''}"
            for tag, label, name in (("num", "Number: ", "_id"), ("title", "", "text"))
            if name in fields and (name in row or rng.random() < 0.5)
        ]
        blocks.append("\n".join(("<top>", *lines, "</top>")))
    # A tag in a text may begin a field or end the topic.
    plain = not any("<" in field for row in rows for field in _fields(names, row))
    end = rng.choice(("\n", "\n\n", "\r\n"))
    return end.join(blocks).encode("utf-8", "surrogatepass"), len(rows) if plain else None


def _xml(
    rng: random.Random, names: list[str], rows: list[dict[str, Any]]
) -> tuple[bytes, int | None]:
    topics = []
    for row in rows:
        fields = dict(zip(names, _fields(names, row), strict=True))
        number, text = (
            escape(fields.get("_id", ""), {'"': "&quot;"}),
            escape(fields.get("text", "")),
        )
        inner = rng.choice(("<title>{}</title>", "<query>{}</query>", "{}", "<title>{}</title>"))
        topics.append(f'<topic number="{number}">{inner.format(text)}</topic>')
    data = f"<topics>{rng.choice(('', chr(10))).join(topics)}</topics>"
    return data.encode(rng.choice(("utf-8", "utf-8", "utf-16")), "surrogatepass"), len(rows)


def _msmarco(
    rng: random.Random, names: list[str], rows: list[dict[str, Any]]
) -> tuple[bytes, int | None]:
    lines = []
    for row in rows:
        text = str(row.get("text", "")).replace("\n", " ").replace("\r", " ")
        lines.append(f"{rng.choice((rng.randrange(9), row.get('_id', 7)))}\t{text}".encode())
    # Whether the first line is a record or a header decides how all are read.
    return b"\n".join(lines), None


def _columns(
    rng: random.Random,
    folder: Path,
    kind: str,
    names: list[str],
    rows: list[dict[str, Any]],
    format_: str,
) -> Case:
    path = folder / f"{kind}.{format_}"
    arrays, given = [], []
    for name in dict.fromkeys(names):
        values = [row.get(name) for row in rows]
        arrays.append(_column(rng, values))
        given.append(name)
    if rng.random() < 0.05 and arrays:
        arrays.append(arrays[0])
        given.append(given[0])
    table = pa.Table.from_arrays(arrays, names=given)
    if format_ == "parquet":
        pq.write_table(
            table,
            path,
            row_group_size=rng.choice((1, 4, 1000)),
            compression=rng.choice(("none", "snappy", "zstd")),
            use_dictionary=rng.random() < 0.5,
        )
    else:
        make = rng.choice((pa.ipc.new_stream, pa.ipc.new_stream, pa.ipc.new_file))
        options = pa.ipc.IpcWriteOptions(
            compression=rng.choice((None, None, "zstd", "lz4")), emit_dictionary_deltas=True
        )
        with make(path, table.schema, options=options) as sink:
            sink.write_table(table, max_chunksize=rng.choice((1, 4, 1000)))
    records: int | None = table.num_rows
    if kind == "pairs" and any(isinstance(row.get("positive"), list) for row in rows):
        records = None
    if rng.random() < 0.25:
        path.write_bytes(_damaged(rng, path.read_bytes()))
        records = None
    return Case(kind, path, records)


def _column(rng: random.Random, values: list[Any]) -> pa.Array:
    """The values in some Arrow type that takes them."""
    types: list[pa.DataType] = [
        *(pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.string_view()),
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint64(), pa.float32(), pa.float64()),
        *(pa.list_(pa.string()), pa.large_list(pa.string()), pa.bool_(), pa.null()),
        *(pa.dictionary(pa.int32(), pa.string()), pa.struct([("a", pa.string())])),
        *(pa.decimal128(10, 2), pa.timestamp("us"), pa.float16(), pa.list_(pa.int64(), 2)),
    ]
    if rng.random() < 0.15:
        kind = rng.choice(types)
        try:
            return pa.array(values, kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            return pa.nulls(len(values), kind)
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        kind = rng.choice((pa.int64(), pa.int32(), pa.int16(), pa.uint64(), pa.float64()))
        if rng.random() < 0.5:
            try:
                return pa.array(values, kind)
            except (pa.ArrowException, OverflowError, ValueError):
                pass
    texts = [value if isinstance(value, str) or value is None else str(value) for value in values]
    encoded = [None if text is None else text.encode() for text in texts]
    if rng.random() < 0.1 and encoded:
        # Bytes that claim to be UTF-8.
        encoded[rng.randrange(len(encoded))] = rng.choice(BAD_BYTES)
    array = pa.array(encoded, pa.binary())
    if rng.random() < 0.3:
        return array
    claimed = array.view(pa.string())
    return claimed.dictionary_encode() if rng.random() < 0.2 else claimed


def _damaged(rng: random.Random, data: bytes) -> bytes:
    """A few bytes changed, inserted, removed; or the end cut off."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        place = rng.randrange(len(damaged) + 1)
        choice = rng.randrange(5)
        if choice == 0:
            damaged[place:place] = rng.choice(BAD_BYTES)
        elif choice == 1 and place < len(damaged):
            damaged[place] = rng.randrange(256)
        elif choice == 2:
            del damaged[place : place + rng.choice((1, 2, 10))]
        elif choice == 3:
            del damaged[place:]
        else:
            damaged[place:place] = rng.choice((b"\n", b"\r", b"\t", b",", b'"', b"{", b"\x00" * 9))
    return bytes(damaged)


def _compressed(data: bytes, suffix: str) -> bytes:
    if suffix == ".zst":
        sink = io.BytesIO()
        with pa.output_stream(sink, compression="zstd") as stream:
            stream.write(data)
        return sink.getvalue() if not sink.closed else _zstd(data)
    plain: dict[str, Callable[[bytes], bytes]] = {
        "": bytes,
        ".gz": gzip.compress,
        ".bz2": bz2.compress,
        ".xz": lzma.compress,
    }
    return plain[suffix](data)


def _zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue().to_pybytes())


# --- checking -----------------------------------------------------------------------------------


def check(case: Case) -> str:
    """Read the file in both modes; the outcome in a word.

    Raises:
        AssertionError: the outcome is none that may be.
        Exception: whatever a reader raised that is no :class:`NegmineError`.
    """
    strict, first, _ = _read(case, "fail")
    lenient, fatal, problems = _read(case, "skip")
    if fatal is not None:
        # The file as a whole is bad, so both modes say so (or an earlier record stopped one).
        assert first is not None, f"only skip fails: {fatal}"
        _names(fatal, case)
        return "refused"
    if first is not None:
        assert problems.count > 0, f"only fail fails: {first}"
        _names(first, case)
        assert problems.examples[0].startswith(str(first.where)), (problems.examples[0], first)
        assert first.where is not None
        assert first.where != str(case.path), f"no line: {first}"
    else:
        assert problems.count == 0, problems.examples
        assert strict == lenient, "the two modes read different records"
    if case.records is not None and case.kind != "pairs":
        total = len(lenient) + problems.count
        assert total == case.records, f"{case.records} in, {total} out or reported"
    return "bad records reported" if problems.count else "read"


def _names(error: NegmineError, case: Case) -> None:
    assert error.where is not None, f"no place: {error}"
    assert error.where.startswith(str(case.path)), f"another place: {error}"


def _read(case: Case, mode: Any) -> tuple[list[tuple[Any, ...]], NegmineError | None, Problems]:
    read, schema, _ = KINDS[case.kind]
    problems = Problems(mode)
    rows: list[tuple[Any, ...]] = []
    try:
        for batch in read(str(case.path), {}, problems):
            assert batch.schema == schema, batch.schema
            batch.validate(full=True)
            assert batch.num_rows > 0, "an empty batch"
            columns = [column.to_pylist() for column in batch.columns]
            for name, column in zip(schema.names, columns, strict=True):
                assert None not in column, f"a null in {name}"
                if name in ("docid", "qid"):
                    assert "" not in column, f"an empty {name}"
                    assert not any("\0" in value for value in column), f"a NUL in {name}"
            rows += zip(*columns, strict=True)
    except NegmineError as error:
        return rows, error, problems
    return rows, None, problems


if __name__ == "__main__":
    sys.exit(main())
