"""``negmine export``: the ledger's choices with their texts, as a training set."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import formats, log, memory
from negmine.errors import EmptyResultError, UsageError
from negmine.formats import card
from negmine.formats.base import Chosen, Examples, Options, tables
from negmine.params import ExportParams, output_affecting
from negmine.stages import batching, export_options, kept, ordering, rank_only, shortfall
from negmine.stages.examples import (
    PIECE_BYTES,
    Choices,
    Piece,
    Side,
    lay_out,
    pieces,
    rows_per_piece,
    stats_of,
    with_texts,
)
from negmine.stages.outcome import Outcome, conserve
from negmine.table import artifact as artifacts
from negmine.table import files
from negmine.table import schema as schemas
from negmine.table.artifact import Artifact, Plan, Writer
from negmine.table.documents import Documents

VERSION = 3

_HELD_OUT = "_heldout"
#: What ``load_dataset`` reads of a folder; the dot hides it from readers of the folder as a table.
_METADATA = ".huggingface.yaml"
#: The card for people; the underscore hides it in the same way.
_CARD = "_README.md"


@dataclass(frozen=True)
class Setup:
    """What a run reads and writes, its parameters checked.

    Attributes:
        layout: the format of the examples.
        suffix: suffix of the file to write; None for a folder.
        source: the ledger.
        by: the score that goes out.
    """

    layout: formats.Format
    suffix: str | None
    source: Artifact
    by: str


def set_up(params: ExportParams, ledger: Path, out: Path) -> Setup:
    """Check the parameters against the ledger and the name of the output.

    Raises:
        UsageError: options that contradict each other, or a suffix that the format has not.
        MissingInputError: there is no ledger.
    """
    layout = formats.load(params.format)
    suffix = _suffix(params, layout, out)
    export_options.check(params, layout, out, suffix)
    source = artifacts.open_artifact(ledger, ["filter"], purpose="the ledger")
    if params.group_by is not None:
        kept.check(params.group_by, Documents(source.ancestor("index.documents")), "--group-by")
    by = schemas.pick_score(
        source.schema(), params.score_by or source.manifest["params"]["by"], "--score-by"
    )
    if layout.scores == "always" or (layout.scores == "asked" and params.scores):
        _refuse_unscored(params, source, by)
    return Setup(layout, suffix, source, by)


def _refuse_unscored(params: ExportParams, source: Artifact, by: str) -> None:
    """Refuse to write a score that no row of the ledger has."""
    empty = rank_only.empty_in(source)
    if not rank_only.unscored(source.schema(), empty, [by]):
        return
    scored = [name for name in schemas.score_names(source.schema()) if not empty(name)]
    others = (
        f"Name one that rows have (--score-by {' or '.join(scored)}), or score "
        if scored
        else "Score "
    )
    asked = "--scores" if params.scores else f"--format {params.format}"
    raise UsageError(
        f"{asked} writes scores, and no row of the ledger has a score_{by}",
        where=str(source.path),
        hint=f"{others}the candidates (negmine rerank --scorer NAME=MODEL) and filter again.",
    )


def plan(params: ExportParams, setup: Setup, side: Side = "all") -> Plan:
    """What a training set, or one side of its split, is made from."""
    whole = Plan(
        "export",
        VERSION,
        {**output_affecting(params), **_plugged(params), "score_by": setup.by},
        artifacts={"ledger": setup.source},
    )
    return whole if side == "all" else replace(whole, params={**whole.params, "side": side})


def held_out_file(out: Path, suffix: str) -> Path:
    """The file beside ``out`` for the queries that a split holds out."""
    return out.with_name(f"{out.name.removesuffix(suffix)}.heldout{suffix}")


def run(params: ExportParams, ledger: Path, out: Path, *, force: bool = False) -> Outcome:
    """Write the training set to ``out``.

    ``out`` is a file with a suffix of the format (``.parquet``, ``.jsonl``, ...), a folder of parts
    (no suffix), or ``-`` for lines on standard output.

    Raises:
        NegmineError: see the exit codes in :mod:`negmine.errors`.
    """
    outcome = make(params, set_up(params, ledger, out), out, force=force)
    if not outcome.up_to_date:
        log.warn(outcome.warnings)
    return outcome


def make(params: ExportParams, setup: Setup, out: Path, *, force: bool = False) -> Outcome:
    """Write what was set up; see :func:`run`."""
    maker = Maker(params, setup)
    if not params.allow_empty:
        maker.refuse_empty("all" if params.split is None else "train")
    return _written(maker, setup, out, force)


def _written(maker: Maker, setup: Setup, out: Path, force: bool) -> Outcome:
    """Write the examples where they go: lines, a folder, a file, or two of a split."""
    params, suffix = maker.params, setup.suffix
    if str(out) == "-":
        write = files.write_fields if suffix in files.FIELD_SUFFIXES else files.write_jsonl
        write(sys.stdout.buffer, maker.tables("all"))
        sys.stdout.flush()
        return Outcome(out, maker.counts("all"), warnings=maker.warnings("all"))
    artifacts.reset_peak_memory()
    if suffix is None:
        return _export_folder(maker, plan(params, setup), out, force)
    if params.split is None:
        return _export_file(maker, plan(params, setup), out, "all", force)
    beside = held_out_file(out, suffix)
    held_out = _export_file(maker, plan(params, setup, "heldout"), beside, "heldout", force)
    outcome = _export_file(maker, plan(params, setup, "train"), out, "train", force)
    return replace(
        outcome,
        counts={**outcome.counts, "heldout": held_out.counts},
        warnings=[*outcome.warnings, *_of_held_out(held_out.warnings)],
        up_to_date=outcome.up_to_date and held_out.up_to_date,
    )


def _plugged(params: ExportParams) -> dict[str, str]:
    """The code of another package's format."""
    plugin = formats.plugged(params.format)
    return {} if plugin is None else {"plugin": plugin.identity}


def _suffix(params: ExportParams, layout: formats.Format, out: Path) -> str | None:
    """The suffix of the file to write; None for a folder."""
    if str(out) == "-":
        fields = layout.suffixes[0] in files.FIELD_SUFFIXES
        return layout.suffixes[0] if fields else ".jsonl"
    suffix = files.suffix_of(out)
    if suffix is None and (out.is_dir() or not out.suffix):
        return None
    if suffix not in layout.suffixes:
        raise UsageError(
            f"cannot write {suffix or out.suffix} files of the format {params.format}",
            where=str(out),
            hint=f"Known: {', '.join(layout.suffixes)}, or no suffix for a folder of parts.",
        )
    return suffix


def _export_folder(maker: Maker, plan: Plan, out: Path, force: bool) -> Outcome:
    writer = artifacts.begin(out, plan, force=force)
    if writer is None:
        found = artifacts.open_artifact(out)
        return Outcome(out, dict(found.counts), True, list(found.manifest["warnings"]))
    sides: list[Side] = ["all"] if maker.params.split is None else ["train", "heldout"]
    with writer:
        for side in sides:
            _write_parts(maker, writer, side)
        counts, warnings = maker.counts(sides[0]), maker.warnings(sides[0])
        if maker.layout.sidecars:
            _write_sidecars(maker, writer)
        if maker.layout.numbered:
            _write_numbered(maker, writer)
        if len(sides) > 1:
            counts["heldout"] = maker.counts("heldout")
            warnings += _of_held_out(maker.warnings("heldout"))
        metadata = card.metadata(
            held_out=f"{_HELD_OUT}/part-*" if len(sides) > 1 else None,
            sidecars=maker.layout.sidecars,
            suffix=maker.suffix,
        )
        # `load_dataset` reads neither arrays nor fields between spaces, whatever it is told.
        loads = not maker.layout.numbered and maker.suffix not in files.FIELD_SUFFIXES
        if loads and not writer.has(_METADATA):
            writer.add_text(_METADATA, metadata)
        if maker.params.card and not writer.has(_CARD):
            writer.add_text(_CARD, card.text(_facts(maker, counts), metadata))
        writer.commit(counts, warnings=warnings, ceiling=maker.ceiling)
    return Outcome(out, counts, warnings=warnings)


def _of_held_out(warnings: Iterable[str]) -> list[str]:
    return [f"held out: {warning}" for warning in warnings]


def _write_parts(maker: Maker, writer: Writer, side: Side) -> None:
    """Write one side's parts, keeping those that an interrupted run finished."""
    prefix = f"{_HELD_OUT}/" if side == "heldout" else ""
    done: dict[str, dict[str, int]] = {}

    def skip(name: str) -> bool:
        if writer.has(prefix + name):
            done[name] = writer.stats(prefix + name)
        return writer.has(prefix + name)

    for piece in maker.pieces(side, skip):
        writer.add_tables(
            prefix + piece.name,
            tables(piece.examples, piece.chosen),
            piece.examples.schema,
            piece.stats,
        )
    for stats in done.values():
        maker.add(side, stats)
    conserve("examples", maker.counts(side)["examples"], rows_written=writer.rows(prefix))


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
    for name, schema in schemas_.items():
        if writer.has(name):
            continue
        slices = maker.queries() if name.startswith("_queries") else maker.documents_in_use()
        writer.add_tables(
            name,
            (pa.table([ids, texts.cast(pa.string())], schema) for ids, texts in slices),
            schema,
        )


def _write_numbered(maker: Maker, writer: Writer) -> None:
    """Write the texts whose lines the examples name, and which id stands on which line."""
    text = pa.schema([("number", pa.int64()), ("text", pa.string())])
    kinds = {
        "queries.tsv": ("_queries/part-00000.parquet", "query_id", maker.queries),
        "collection.tsv": ("_documents/part-00000.parquet", "document_id", maker.documents_in_use),
    }
    for name, (ids_name, id_column, slices) in kinds.items():
        if not writer.has(name):
            writer.add_tables(name, _numbered_lines(slices(), text), text)
        if not writer.has(ids_name):
            schema = pa.schema([("number", pa.int64()), (id_column, pa.string())])
            swapped = ((ids, ids) for ids, _ in slices(texts=False))
            writer.add_tables(ids_name, _numbered_lines(swapped, schema), schema)


def _numbered_lines(
    slices: Iterator[tuple[pa.Array, pa.Array]], schema: pa.Schema
) -> Iterator[pa.Table]:
    """Number and value of each line, 0, 1, 2, ..."""
    start = 0
    for _, values in slices:
        numbers = np.arange(start, start + len(values))
        start += len(values)
        yield pa.table([numbers, values.cast(pa.string())], schema)


def _export_file(maker: Maker, plan: Plan, out: Path, side: Side, force: bool) -> Outcome:
    writer = artifacts.begin_file(out, plan, force=force)
    if writer is None:
        found = artifacts.file_manifest(out)
        return Outcome(out, dict(found["counts"]), True, list(found["warnings"]))
    with writer:
        rows = files.write_tables(
            writer.hidden, maker.suffix, maker.tables(side), maker.no_examples().schema
        )
        counts = maker.counts(side)
        conserve("examples", counts["examples"], rows_written=rows)
        writer.commit(counts, warnings=maker.warnings(side), ceiling=maker.ceiling)
    return Outcome(out, counts, warnings=maker.warnings(side))


def _facts(maker: Maker, counts: dict[str, Any]) -> card.Facts:
    """What the data set card tells."""
    ledger = maker.choices.ledger
    return card.Facts(
        format=maker.params.format,
        counts=counts,
        columns={field.name: str(field.type) for field in maker.no_examples().schema},
        settings={
            "filter": {k: v for k, v in ledger.manifest["params"].items() if v not in (None, [])},
            "export": {
                k: v for k, v in output_affecting(maker.params).items() if v not in (None, [])
            },
        },
        made_with=str(ledger.manifest["negmine"]),
    )


class Maker:
    """Turns the ledger's choices into examples, and counts them."""

    def __init__(self, params: ExportParams, setup: Setup) -> None:
        layout, ledger, by = setup.layout, setup.source, setup.by
        self.params = params
        self.layout = layout
        self._budget = memory.budget(
            params.memory, torch=memory.TORCH if params.batcher is not None else 0
        )
        self.suffix = setup.suffix or layout.suffixes[0]
        self.choices = Choices(
            ledger,
            by,
            ranks=layout.ranks,
            extras=params.extra,
            order_by=None if params.order_by is None else params.order_by.removeprefix("-"),
            promoted=params.promoted == "use",
            limit=params.limit,
            split=params.split,
        )
        self._documents = Documents(ledger.ancestor("index.documents"))
        self._options = Options(
            scores=params.scores,
            # Without texts, ids are all there is to tell the examples by.
            ids=params.ids or not params.texts,
            num_negatives=int(ledger.manifest["params"]["num_negatives"]),
            prompt=params.prompt,
            integer_ids=layout.ranks and self.choices.integer_ids(),
        )
        self._total: dict[Side, Counter[str]] = {}
        self._facts: dict[Side, dict[str, Any]] = {}
        self._told: dict[Side, list[str]] = {}

    @property
    def ceiling(self) -> int:
        """Bytes that the process may take."""
        return self._budget.ceiling

    @property
    def _global(self) -> bool:
        """Whether the examples' order needs all of them at once, as indices."""
        params = self.params
        return bool(
            params.batcher is not None
            or params.shuffle is not None
            or params.order_by is not None
            or params.max_shard_size is not None
            # Its readers take one file.
            or self.layout.numbered
        )

    def add(self, side: Side, stats: dict[str, int]) -> None:
        """Count a finished part."""
        self._total.setdefault(side, Counter()).update(stats)

    def tables(self, side: Side) -> Iterator[pa.Table]:
        """Every example of a side, counted as it goes out."""
        for piece in self.pieces(side, lambda name: False):
            yield from tables(piece.examples, piece.chosen)

    def pieces(self, side: Side, skip: Any) -> Iterator[Piece]:
        """A side's examples with their texts, but for the pieces to skip."""
        found = self._ordered(side, skip) if self._global else self._streamed(side, skip)
        count = None if self._global else len(self.choices.names)
        with log.progress("exporting", count, " parts") as bar:
            for piece in with_texts(found, self._documents, self._budget.texts):
                yield piece
                self.add(side, piece.stats)
                bar.update(1)

    def _streamed(self, side: Side, skip: Any) -> Iterator[Piece]:
        """A piece per part of the ledger, in its order."""
        for part in self.choices.names:
            name = part.removesuffix(".parquet") + self.suffix
            if skip(name):
                continue
            chosen, elsewhere = self.choices.part(part, side)
            examples = lay_out(chosen, self.layout, self._options, self.params.texts)
            yield Piece(name, examples, chosen, self._stats(examples, chosen, elsewhere))

    def _ordered(self, side: Side, skip: Any) -> Iterator[Piece]:
        """All examples, put in order and cut into pieces."""
        chosen, elsewhere = self.choices.whole(side)
        examples = lay_out(chosen, self.layout, self._options, self.params.texts)
        stats = self._stats(examples, chosen, elsewhere)
        if self.params.shuffle is not None:
            order = np.random.default_rng(self.params.shuffle).permutation(examples.count)
            examples = examples.take(order)
        elif self.params.order_by is not None:
            falling = self.params.order_by.startswith("-")
            order, unknown = ordering.by_negatives(examples, chosen, falling=falling)
            examples = examples.take(order)
            stats["examples_without_order"] = unknown
        elif self.params.batcher is not None and side != "heldout":
            examples, facts, told = batching.batched(examples, chosen, self.params, self.choices)
            self._told[side] = told
            if not self.layout.closed:
                examples = batching.numbered(examples, self.params.batch_size)
            self._facts[side] = facts
            stats["examples_not_batched"] = stats["examples"] - examples.count
            if not examples.count and not self.params.allow_empty:
                raise EmptyResultError(
                    "the training set is empty: not one batch is full "
                    f"({stats['examples']} examples, --batch-size {self.params.batch_size})",
                    hint="Lower --batch-size. --allow-empty writes an empty one.",
                )
        elif self.params.batcher is not None and not self.layout.closed:
            examples = batching.numbered(examples, None)
        size = self.params.max_shard_size
        if size is None and self.layout.numbered:
            rows = max(1, examples.count)
        else:
            rows = rows_per_piece(
                examples,
                self._documents,
                PIECE_BYTES if size is None else memory.parse(size, "--max-shard-size"),
            )
        if self.layout.numbered:
            chosen = self._numbered(chosen)
        for name, order, counts in pieces(examples, chosen, stats, rows, self.suffix):
            if not skip(name):
                yield Piece(name, examples.take(order), chosen, counts)

    def _stats(self, examples: Examples, chosen: Chosen, elsewhere: int) -> dict[str, int]:
        # Another package's layout may leave out what it likes; it is counted.
        selective = self.layout.selective or formats.plugged(self.params.format) is not None
        asked = self._options.num_negatives
        return stats_of(examples, chosen, elsewhere, asked, selective=selective)

    def _numbered(self, chosen: Chosen) -> Chosen:
        """The choices with the numbers of their queries and documents in the place of their ids."""
        everything = self.choices.whole("all")[0]

        def numbers(ids: pa.Array, among: pa.Array) -> pa.Array:
            return pc.index_in(ids, value_set=among).cast(pa.string())

        return replace(
            chosen,
            qids=numbers(chosen.qids, everything.qids),
            docids=numbers(chosen.docids, everything.docids),
        )

    def queries(self, texts: bool = True) -> Iterator[tuple[pa.Array, pa.Array]]:
        """Ids and texts of the queries, a part at a time."""
        for name in self.choices.names:
            chosen, _ = self.choices.part(name, "all")
            yield chosen.qids, chosen.query_texts

    def documents_in_use(self, texts: bool = True) -> Iterator[tuple[pa.Array, pa.Array]]:
        """Ids and texts of the positives and chosen negatives, each document once.

        Without ``texts`` the ids stand in their place.
        """
        docids = self.choices.whole("all")[0].docids
        step = self._documents.fitting(self._budget.texts)
        for start in range(0, max(1, len(docids)), step):
            wanted = docids.slice(start, step)
            yield wanted, self._documents.texts(wanted) if texts else wanted

    def no_examples(self) -> Examples:
        """No example, for the schema."""
        examples = lay_out(self.choices.nothing(), self.layout, self._options, self.params.texts)
        if self.params.batcher is not None and not self.layout.closed:
            examples = batching.numbered(examples, None)
        return examples

    def counts(self, side: Side) -> dict[str, Any]:
        """The counts; whether they agree with the ledger's has been checked."""
        total = self._total.get(side, Counter())
        ledger = self.choices.ledger
        if self.params.limit is None and "selected" in ledger.counts:
            conserve(
                "negatives selected in the ledger",
                ledger.counts["selected"],
                read_for_export=total["selected"],
                on_the_other_side=total["selected_other_side"],
            )
        optional = (
            *("selected_other_side", "scores_unknown", "queries_without_positives"),
            "examples_without_order",
            *("queries_without_negatives", "queries_short"),
            *("negatives_of_queries_left_out", "negatives_left_out"),
        )
        counts = {k: v for k, v in shortfall.told(total).items() if v or k not in optional}
        return {**counts, **self._facts.get(side, {})}

    def warnings(self, side: Side) -> list[str]:
        """What the user should know, in words."""
        total = self._total.get(side, Counter())
        asked = self._options.num_negatives
        told = shortfall.warnings(total, self.params.format, self.layout, asked)
        if side == "heldout" and not total["queries"]:
            told.append(f"--split {self.params.split:g} holds out no query")
        if total["scores_unknown"]:
            told.append(
                f"{total['scores_unknown']} of the exported scores are null: the scorer did not "
                "see those rows, and trainers may refuse them"
            )
        if total["examples_not_batched"]:
            told.append(
                f"{total['examples_not_batched']} of "
                f"{total['examples_not_batched'] + total['examples']} examples are in no full "
                "batch and left out; a smaller --batch-size leaves out fewer"
            )
        if total["examples_without_order"]:
            told.append(
                f"{total['examples_without_order']} examples have no {self.params.order_by} to be "
                "ordered by, and come last"
            )
        schema = self.choices.ledger.schema()
        told += export_options.left_behind(self.params, self.layout, schema.names)
        return [*told, *self._told.get(side, [])]

    def refuse_empty(self, side: Side) -> None:
        """See whether a side has any example, before anything is written.

        Raises:
            EmptyResultError: it has none.
        """
        total: Counter[str] = Counter()
        for part in self.choices.names:
            chosen, elsewhere = self.choices.part(part, side)
            examples = lay_out(chosen, self.layout, self._options, self.params.texts)
            if examples.count:
                return
            total.update(self._stats(examples, chosen, elsewhere))
        shortfall.refuse(
            total,
            self.params.format,
            self.layout,
            self._options.num_negatives,
            where=str(self.choices.ledger.path),
            split=side != "all",
        )
