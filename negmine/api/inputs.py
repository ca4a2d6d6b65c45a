"""What a notebook has in memory, as the files that the stages read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from negmine.errors import UsageError, did_you_mean
from negmine.inputs import PAIRS_SCHEMA, Columns, Problems, read_pairs
from negmine.inputs.sets import Beginning, recognised
from negmine.inputs.sets.base import QUERY
from negmine.inputs.sets.lists import POSITIVE
from negmine.table import writers
from negmine.table.documents import PART_DOCUMENTS
from negmine.table.ids import content_ids


@dataclass(frozen=True)
class Pairs:
    """A training set on disk.

    Attributes:
        anchor: what the column of the queries was called.
        positive: what the column of the positives was called.
        files: where it lies.
        most_positives: positives of the anchor that has the most, as often as they are told; None
            where only the stages read the files.
    """

    anchor: str
    positive: str
    files: list[str]
    most_positives: int | None = None


def pairs_of(pairs: Any, anchor: str | None, positive: str | None, work: Path) -> Pairs:
    """The pairs as files, and the names of their two columns.

    Raises:
        UsageError: there are no two columns, or none of the name asked for.
    """
    files_named = _files_named(pairs, (str, Path))
    if files_named is not None:
        if anchor is None and positive is None:
            return Pairs("query", "positive", files_named)
        wanted = {"query": anchor, "positive": positive}
        columns = {target: name for target, name in wanted.items() if name is not None}
        # Who names both columns wants no other.
        named = Columns(columns, strict=len(columns) < len(wanted))
        batches = read_pairs(files_named, named, Problems("fail"))
        table = pa.Table.from_batches(batches, PAIRS_SCHEMA)
        file = str(_written(work / "pairs.parquet", table))
        return Pairs(anchor or "query", positive or "positive", [file], _most_positives(table))
    if hasattr(pairs, "with_format"):
        table = pairs.with_format("arrow")[:]
    else:
        rows = list(pairs)
        if rows and isinstance(rows[0], Mapping):
            table = pa.Table.from_pylist([dict(row) for row in rows])
        else:
            left, right = zip(*rows, strict=True) if rows else ((), ())
            table = pa.table(
                {"anchor": pa.array(left, pa.string()), "positive": pa.array(right, pa.string())}
            )
    known = table.column_names
    for name in (anchor, positive):
        if name is not None and name not in known:
            raise UsageError(f"pairs: no column '{name}'", hint=did_you_mean(name, known))
    if len(known) < 2:
        raise UsageError(f"pairs need two columns, found {', '.join(known) or 'none'}")
    if len(known) > 2 and anchor is None and positive is None:
        # More than pairs: what each column is for, the readers tell by their names, or ask.
        told = Beginning(tuple(known))
        if recognised(told) is None and not (told.has(QUERY) and told.has(POSITIVE)):
            raise UsageError(
                f"pairs: which columns are the queries and the positives? {', '.join(known)}",
                hint="Give anchor_column_name and positive_column_name.",
            )
        names = told.source(QUERY) or "query", told.source(POSITIVE) or "positive"
        return Pairs(*names, [str(_written(work / "pairs.parquet", table))])
    names = anchor or known[0], positive or known[1]
    renamed = table.select(list(names)).rename_columns(PAIRS_SCHEMA.names)
    file = str(_written(work / "pairs.parquet", renamed))
    return Pairs(*names, [file], _most_positives(renamed))


def _files_named(given: Any, types: tuple[type, ...]) -> list[str] | None:
    """The files that an argument names, if it is a file or a list of nothing but files.

    Args:
        given: the argument.
        types: what a file in a list may be; alone it may always be a string or a path.
    """
    if isinstance(given, str | Path):
        return [str(given)]
    if isinstance(given, list | tuple) and given and all(isinstance(one, types) for one in given):
        return [str(one) for one in given]
    return None


def corpus_of(corpus: Any, work: Path) -> list[str] | None:
    """The corpus as files; None where there is none."""
    if corpus is None:
        return None
    files_named = _files_named(corpus, (Path,))
    if files_named is not None:
        return files_named
    texts = pa.array(list(dict.fromkeys(corpus)), pa.string())
    table = pa.table({"docid": content_ids(texts), "text": texts})
    return [str(_written(work / "corpus.parquet", table))]


def _written(path: Path, table: pa.Table) -> Path:
    """A table as an input file of the stages."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = table.replace_schema_metadata(None)
    starts = range(0, max(1, table.num_rows), PART_DOCUMENTS)
    writers.write_parquet(path, (table.slice(s, PART_DOCUMENTS) for s in starts), table.schema)
    return path


def model_of(model: Any, folder: Path) -> str | None:
    """A model's name; a loaded model is saved first, so that its weights have a revision."""
    if model is None or isinstance(model, str):
        return model
    if isinstance(model, Path):
        return str(model)
    if not hasattr(model, "save_pretrained"):
        raise UsageError(
            f"a model is a name, a folder or a loaded model, not {type(model).__name__}"
        )
    model.save_pretrained(str(folder))
    return str(folder)


def _most_positives(pairs: pa.Table) -> int:
    """How many positives the anchor has that has the most."""
    anchor, positive = pairs.columns
    lists = pa.types.is_list(positive.type) or pa.types.is_large_list(positive.type)
    told = pc.list_value_length(positive) if lists else positive.is_valid().cast(pa.int32())
    table = pa.table({"anchor": anchor, "told": told})
    summed = table.group_by("anchor").aggregate([("told", "sum")])
    return int(pc.max(summed.column("told_sum")).as_py() or 0)
