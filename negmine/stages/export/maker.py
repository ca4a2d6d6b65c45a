"""Examples of a format, a piece at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import formats, log, memory
from negmine.errors import EmptyResultError
from negmine.formats.base import Chosen, Examples, Options, tables
from negmine.params.export import ExportParams
from negmine.stages.export import batching, ordering, positives, shortfall
from negmine.stages.export import options as export_options
from negmine.stages.export.choices import NEGATIVES, Choices, Piece, Side
from negmine.stages.export.examples import (
    PIECE_BYTES,
    PROMOTED,
    lay_out,
    pieces,
    rows_per_piece,
    stats_of,
    with_texts,
)
from negmine.stages.export.setup import Setup
from negmine.table.conservation import conserve

#: Lays out the examples of one part.
Ask = Callable[[], Piece]


def _taken(
    name: str, examples: Examples, order: np.ndarray, chosen: Chosen, counts: dict[str, int]
) -> Piece:
    """Some of all examples, as a part."""
    return Piece(name, examples.take(order), chosen, counts)


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
            promoted=params.promoted,
            negatives=params.negatives,
            limit=params.limit,
            split=params.split,
        )
        self._documents = ledger.documents
        self._servers = setup.servers
        self._options = Options(
            scores=params.scores,
            # Without texts, ids are all there is to tell the examples by.
            ids=params.ids or not params.texts,
            num_negatives=int(ledger.params["num_negatives"]),
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
    def of_run(self) -> dict[str, Any] | None:
        """What servers were asked for the batches, and what that took; None where none was."""
        return {"spent": self._servers.spent} if self._servers.spent else None

    @property
    def _global(self) -> bool:
        """Whether the examples' order needs all of them at once, as indices."""
        params = self.params
        return bool(
            export_options.batches(params)
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
        with self.progress() as bar:
            for _, piece in self.with_texts(self.parts(side)):
                yield from tables(piece.examples, piece.chosen)
                self.add(side, piece.stats)
                bar.update(1)

    def parts(self, side: Side) -> Iterator[tuple[str, Ask]]:
        """Name of each part of a side, in order, and a function that lays its examples out."""
        return self._ordered(side) if self._global else self._streamed(side)

    def with_texts(self, parts: Iterable[tuple[str, Ask]]) -> Iterator[tuple[str, Piece]]:
        """Parts with their examples and their texts, as many fetched at a time as fit."""
        found = (ask() for _, ask in parts)
        for piece in with_texts(found, self._documents, self._budget.texts):
            yield piece.name, piece

    def progress(self) -> AbstractContextManager[log.Progress]:
        """A bar over the parts, as many as there are known to be."""
        return log.progress(
            "exporting", None if self._global else len(self.choices.names), " parts"
        )

    def _streamed(self, side: Side) -> Iterator[tuple[str, Ask]]:
        """A piece per part of the ledger, in its order."""
        for part in self.choices.names:
            name = part.removesuffix(".parquet") + self.suffix
            yield name, partial(self._laid_out, name, part, side)

    def _laid_out(self, name: str, part: str, side: Side) -> Piece:
        chosen, elsewhere = self.choices.part(part, side)
        examples, stats = self._examples(chosen, elsewhere)
        return Piece(name, examples, chosen, stats)

    def _ordered(self, side: Side) -> Iterator[tuple[str, Ask]]:
        """All examples, put in order and cut into pieces."""
        chosen, elsewhere = self.choices.whole(side)
        examples, stats = self._examples(chosen, elsewhere)
        batches = export_options.batches(self.params)
        if self.params.shuffle is not None:
            order = np.random.default_rng(self.params.shuffle).permutation(examples.count)
            examples = examples.take(order)
        elif self.params.order_by is not None:
            falling = self.params.order_by.startswith("-")
            order, unknown = ordering.by_negatives(examples, chosen, falling=falling)
            examples = examples.take(order)
            stats["examples_without_order"] = unknown
        elif batches and side != "heldout":
            examples, facts, told = batching.batched(
                examples, chosen, self.params, self.choices, self._servers
            )
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
        elif batches and not self.layout.closed:
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
            yield name, partial(_taken, name, examples, order, chosen, counts)

    def _examples(self, chosen: Chosen, elsewhere: int) -> tuple[Examples, dict[str, int]]:
        """The examples of some choices, and what is counted of them."""
        params, more = self.params, dict[str, int]()
        if params.max_positives is not None:
            chosen, more = positives.capped(
                chosen, params.max_positives, params.max_positives_by, params.seed
            )
        examples = lay_out(chosen, self.layout, self._options, params.texts)
        return examples, self._stats(examples, chosen, elsewhere) | more

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
        if export_options.batches(self.params) and not self.layout.closed:
            examples = batching.numbered(examples, None)
        return examples

    def counts(self, side: Side) -> dict[str, Any]:
        """The counts; whether they agree with the ledger's has been checked."""
        total = self._total.get(side, Counter())
        ledger, negatives = self.choices.ledger, NEGATIVES[self.params.negatives]
        if self.params.limit is None and negatives in ledger.counts:
            conserve(
                f"negatives {negatives} in the ledger",
                ledger.counts[negatives],
                read_for_export=total["selected"],
                on_the_other_side=total["selected_other_side"],
            )
        optional = (
            *("selected_other_side", "scores_unknown", "queries_without_positives"),
            "examples_without_order",
            *("queries_without_negatives", "queries_short"),
            *("negatives_of_queries_left_out", "negatives_left_out"),
            *(positives.LEFT_OUT, positives.UNSCORED, PROMOTED),
        )
        counts = {k: v for k, v in shortfall.told(total).items() if v or k not in optional}
        # What they are is counted by its name.
        names = {"selected": negatives, "selected_other_side": f"{negatives}_other_side"}
        counts = {names.get(name, name): number for name, number in counts.items()}
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
        told += positives.warnings(total, self.params.max_positives)
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
            examples, stats = self._examples(*self.choices.part(part, side))
            if examples.count:
                return
            total.update(stats)
        shortfall.refuse(
            total,
            self.params.format,
            self.layout,
            self._options.num_negatives,
            where=str(self.choices.ledger.path),
            split=side != "all",
        )
