"""A training set as a folder: shards, the held-out side, its card and facts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from negmine.engine.parts import over_parts
from negmine.engine.shares import WHOLE, LeftToOthers, Share
from negmine.formats import card
from negmine.formats.base import tables
from negmine.params import output_affecting
from negmine.stages.export.choices import Piece, Side
from negmine.stages.export.maker import Maker
from negmine.stages.outcome import Outcome
from negmine.table import artifacts, writers
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.replace import Replace
from negmine.table.artifacts.writing import Writer
from negmine.table.conservation import conserve

_HELD_OUT = "_heldout"
#: What ``load_dataset`` reads of a folder; the dot hides it from readers of the folder as a table.
_METADATA = ".huggingface.yaml"
#: The card for people; the underscore hides it in the same way.
_CARD = "_README.md"


def export_folder(
    maker: Maker, plan: Plan, out: Path, replacing: Replace, share: Share = WHOLE
) -> Outcome:
    """Write a training set as a folder: parts, side files, card; or a share of the parts.

    Raises:
        LeftToOthers: this process's share of it is made.
    """
    writer = artifacts.begin(out, plan, replacing=replacing, share=share)
    if writer is None:
        found = artifacts.open_artifact(out)
        return Outcome(out, dict(found.counts), True, found.warnings)
    sides: list[Side] = ["all"] if maker.params.split is None else ["train", "heldout"]
    with writer:
        _write_sides(maker, writer, sides)
        counts, warnings = maker.counts(sides[0]), maker.warnings(sides[0])
        if maker.layout.sidecars:
            _write_sidecars(maker, writer)
        if maker.layout.numbered:
            _write_numbered(maker, writer)
        if len(sides) > 1:
            counts["heldout"] = maker.counts("heldout")
            warnings += of_held_out(maker.warnings("heldout"))
        metadata = card.metadata(
            held_out=f"{_HELD_OUT}/part-*" if len(sides) > 1 else None,
            sidecars=maker.layout.sidecars,
            suffix=maker.suffix,
        )
        # `load_dataset` reads neither arrays nor fields between spaces, whatever it is told.
        loads = not maker.layout.numbered and maker.suffix not in writers.FIELD_SUFFIXES
        if loads and not writer.has(_METADATA):
            writer.add_text(_METADATA, metadata)
        if maker.params.card and not writer.has(_CARD):
            writer.add_text(_CARD, card.text(_facts(maker, counts), metadata))
        writer.commit(counts, warnings=warnings, ceiling=maker.ceiling, of_run=maker.of_run)
    return Outcome(out, counts, warnings=warnings)


def of_held_out(warnings: Iterable[str]) -> list[str]:
    """Warnings, said to be of the held-out side."""
    return [f"held out: {warning}" for warning in warnings]


def _write_sides(maker: Maker, writer: Writer, sides: Sequence[Side]) -> None:
    """Write the parts of all sides, or a share of each.

    Raises:
        LeftToOthers: of any of them something is not this process's to write.
    """
    written, others, waits = 0, [], False
    for side in sides:
        try:
            written += _write_parts(maker, writer, side)
        except LeftToOthers as left:
            prefix, waits = _prefix(side), True
            written += left.made
            others += [(unit, prefix + name) for unit, name in left.others]
    if waits:
        raise LeftToOthers(written, others)


def _prefix(side: Side) -> str:
    """What the names of a side's parts begin with."""
    return f"{_HELD_OUT}/" if side == "heldout" else ""


def _write_parts(maker: Maker, writer: Writer, side: Side) -> int:
    """Write one side's parts, keeping those that are finished; how many there are."""
    parts = 0
    prefix = _prefix(side)
    with maker.progress() as bar:

        def counted(stats: dict[str, int]) -> None:
            nonlocal parts
            parts += 1
            maker.add(side, stats)
            bar.update(1)

        def write(name: str, piece: Piece) -> None:
            writer.add_tables(
                prefix + name,
                tables(piece.examples, piece.chosen),
                piece.examples.schema,
                piece.stats,
            )
            counted(piece.stats)

        over_parts(
            maker.parts(side),
            finished=lambda name: writer.has(prefix + name),
            make=lambda _, name, piece: piece,
            write=write,
            prepare=maker.with_texts,
            skipped=lambda name, _: counted(writer.stats(prefix + name)),
            share=writer.share,
        )
    conserve("examples", maker.counts(side)["examples"], rows_written=writer.rows(prefix))
    return parts


def _write_sidecars(maker: Maker, writer: Writer) -> None:
    """Write the texts of the queries and documents in use, by id."""
    schemas_ = {
        "_queries/part-00000.parquet": pa.schema(
            [("query_id", pa.string()), ("text", pa.string())]
        ),
        "_documents/part-00000.parquet": pa.schema(
            [("document_id", pa.string()), ("text", pa.string())]
        ),
    }

    def made(_: None, name: str, schema: pa.Schema) -> Iterator[pa.Table]:
        slices = maker.queries() if name.startswith("_queries") else maker.documents_in_use()
        return (pa.table([ids, texts.cast(pa.string())], schema) for ids, texts in slices)

    over_parts(
        schemas_.items(),
        finished=writer.has,
        make=made,
        write=lambda name, slices: writer.add_tables(name, slices, schemas_[name]),
    )


def _write_numbered(maker: Maker, writer: Writer) -> None:
    """Write the texts whose lines the examples name, and which id stands on which line."""
    text = pa.schema([("number", pa.int64()), ("text", pa.string())])
    kinds = {
        "queries.tsv": ("_queries/part-00000.parquet", "query_id", maker.queries),
        "collection.tsv": ("_documents/part-00000.parquet", "document_id", maker.documents_in_use),
    }
    schemas_: dict[str, pa.Schema] = {}
    lines: dict[str, Callable[[], Iterator[tuple[pa.Array, pa.Array]]]] = {}
    for name, (ids_name, id_column, slices) in kinds.items():
        schemas_[name], lines[name] = text, slices
        schemas_[ids_name] = pa.schema([("number", pa.int64()), (id_column, pa.string())])
        lines[ids_name] = partial(_twice, slices)
    over_parts(
        lines.items(),
        finished=writer.has,
        make=lambda _, name, slices: _numbered_lines(slices(), schemas_[name]),
        write=lambda name, tables: writer.add_tables(name, tables, schemas_[name]),
    )


def _twice(slices: Callable[..., Iterator[tuple[pa.Array, pa.Array]]]) -> Iterator[Any]:
    """Ids in the place of their texts."""
    return ((ids, ids) for ids, _ in slices(texts=False))


def _numbered_lines(
    slices: Iterator[tuple[pa.Array, pa.Array]], schema: pa.Schema
) -> Iterator[pa.Table]:
    """Number and value of each line, 0, 1, 2, ..."""
    start = 0
    for _, values in slices:
        numbers = np.arange(start, start + len(values))
        start += len(values)
        yield pa.table([numbers, values.cast(pa.string())], schema)


def hub_card(maker: Maker, counts: Mapping[str, Any]) -> str:
    """The card as it stands on the hub: with the columns' types, and without the manifest."""
    schema = maker.no_examples().schema
    metadata = card.metadata(
        held_out=f"{_HELD_OUT}/part-*" if maker.params.split is not None else None,
        sidecars=maker.layout.sidecars,
        suffix=maker.suffix,
        features=card.features_of(schema, widened=maker.suffix != ".parquet"),
    )
    return card.text(_facts(maker, counts), metadata, lineage=False)


def _facts(maker: Maker, counts: Mapping[str, Any]) -> card.Facts:
    """What the data set card tells."""
    ledger = maker.choices.ledger
    return card.Facts(
        format=maker.params.format,
        counts=counts,
        columns={field.name: str(field.type) for field in maker.no_examples().schema},
        settings={
            "filter": {k: v for k, v in ledger.params.items() if v not in (None, [])},
            "export": {
                k: v for k, v in output_affecting(maker.params).items() if v not in (None, [])
            },
        },
        made_with=str(ledger.made_with),
    )
