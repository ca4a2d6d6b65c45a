"""``negmine export``: the ledger's choices with their texts, as a training set."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import formats, log
from negmine.errors import UsageError
from negmine.formats.base import Chosen, Examples, Options, tables
from negmine.params import ExportParams, output_affecting
from negmine.stages.outcome import Outcome, conserve
from negmine.table import artifact as artifacts
from negmine.table import files
from negmine.table import schema as schemas
from negmine.table.artifact import Artifact, Plan
from negmine.table.documents import Documents
from negmine.table.names import score_column

VERSION = 1

#: Document text held at once: the corpus is read once per this much wanted text.
GROUP_BYTES = 256 << 20


def run(params: ExportParams, ledger: Path, out: Path, *, force: bool = False) -> Outcome:
    """Write the training set to ``out``.

    ``out`` is a file (``.parquet``, ``.jsonl``, ``.jsonl.gz``, ``.jsonl.zst``), a folder of
    Parquet parts (no suffix), or ``-`` for JSON lines on standard output.

    Raises:
        NegmineError: see the exit codes in :mod:`negmine.errors`.
    """
    source = artifacts.open_artifact(ledger, ["filter"], purpose="the ledger")
    by = schemas.pick_score(
        source.schema(), params.score_by or source.manifest["params"]["by"], "--score-by"
    )
    options = Options(
        scores=params.scores,
        ids=params.ids,
        num_negatives=int(source.manifest["params"]["num_negatives"]),
    )
    plan = Plan(
        "export",
        VERSION,
        {**output_affecting(params), "score_by": by},
        artifacts={"ledger": source},
    )
    maker = _Maker(params, source, by, options)
    if str(out) == "-":
        files.write_jsonl(sys.stdout.buffer, maker.all_tables())
        sys.stdout.flush()
        return Outcome(out, maker.finish(), warnings=maker.warnings())
    suffix = files.suffix_of(out)
    if suffix is None and out.suffix and not out.is_dir():
        raise UsageError(
            f"cannot write {out.suffix} files",
            where=str(out),
            hint=f"Known: {', '.join(files.SUFFIXES)}, or no suffix for a folder of parts.",
        )
    artifacts.reset_peak_memory()
    if suffix is None:
        return _export_folder(maker, plan, out, force)
    return _export_file(maker, plan, out, suffix, force)


def _export_folder(maker: _Maker, plan: Plan, out: Path, force: bool) -> Outcome:
    writer = artifacts.begin(out, plan, force=force)
    if writer is None:
        found = artifacts.open_artifact(out)
        return Outcome(out, dict(found.counts), True, list(found.manifest["warnings"]))
    with writer:
        for name in maker.names:
            if writer.has(name):
                maker.add(writer.stats(name))
        pending = [name for name in maker.names if not writer.has(name)]
        for name, examples, chosen, stats in maker.parts(pending):
            writer.add_tables(name, tables(examples, chosen), examples.schema, stats)
            maker.add(stats)
        counts = maker.finish()
        writer.commit(counts, warnings=maker.warnings())
    return Outcome(out, counts, warnings=maker.warnings())


def _export_file(maker: _Maker, plan: Plan, out: Path, suffix: str, force: bool) -> Outcome:
    writer = artifacts.begin_file(out, plan, force=force)
    if writer is None:
        found = artifacts.file_manifest(out)
        return Outcome(out, dict(found["counts"]), True, list(found["warnings"]))
    with writer:
        rows = files.write_tables(
            writer.hidden, suffix, maker.all_tables(), maker.empty_examples().schema
        )
        counts = maker.finish()
        conserve("examples", counts["examples"], rows_written=rows)
        writer.commit(counts, warnings=maker.warnings())
    return Outcome(out, counts, warnings=maker.warnings())


class _Maker:
    """Turns the ledger's parts into examples, and counts them."""

    def __init__(self, params: ExportParams, ledger: Artifact, by: str, options: Options) -> None:
        self._ledger = ledger
        self._options = options
        self._by = score_column(by)
        self._layout = formats.load(params.format)
        self._format = params.format
        self._limit = params.limit
        self._total: Counter[str] = Counter()
        self.names = list(ledger.parts)
        if params.limit is not None:
            left, kept = params.limit, []
            for name in self.names:
                if left <= 0:
                    break
                kept.append(name)
                left -= len(pc.unique(ledger.read(name, ["qid"]).column("qid")))
            self.names = kept

    def add(self, stats: dict[str, int]) -> None:
        """Count a finished part."""
        self._total.update(stats)

    def all_tables(self) -> Iterator[pa.Table]:
        """Every example, counted as it goes out."""
        for _, examples, chosen, stats in self.parts(self.names):
            yield from tables(examples, chosen)
            self.add(stats)

    def parts(self, names: list[str]) -> Iterator[tuple[str, Examples, Chosen, dict[str, int]]]:
        """Each named part's examples; texts are fetched for several parts at a time."""
        documents = Documents(self._ledger.ancestor("index.documents"))
        queries = self._ledger.ancestor("retrieve")
        mean_bytes = max(1, documents.artifact.counts["text_bytes"] // max(1, len(documents)))
        left = self._limit
        with log.progress("exporting", len(names), " parts") as bar:
            for group in self._groups(names, GROUP_BYTES // mean_bytes):
                wanted = pa.chunked_array(
                    [table.column("docid").combine_chunks() for _, table in group], pa.string()
                ).unique()
                texts = documents.texts(wanted)
                for name, table in group:
                    if left is not None:
                        qids = table.column("qid").combine_chunks().unique()
                        table = table.filter(
                            pc.is_in(table.column("qid"), value_set=qids.slice(0, left))
                        )
                        left -= min(left, len(qids))
                    query_table = queries.read(f"_queries/{name}")
                    chosen = _chosen(table, query_table, wanted, texts, self._by)
                    examples = self._layout(chosen, self._options)
                    yield name, examples, chosen, _stats(examples, chosen)
                    bar.update(1)

    def _groups(
        self, names: list[str], documents_at_once: int
    ) -> Iterator[list[tuple[str, pa.Table]]]:
        """Parts whose wanted documents fit in memory together."""
        group: list[tuple[str, pa.Table]] = []
        rows = 0
        columns = ["qid", "docid", "label", self._by, "selected"]
        for name in names:
            table = self._ledger.read(name, columns)
            used = pc.or_(pc.equal(table.column("label"), 1), pc.is_valid(table.column("selected")))
            # A query without a chosen row still counts as a query, so its first row is kept.
            qid = table.column("qid")
            first = np.zeros(table.num_rows, dtype=bool)
            first[schemas.group_starts(schemas.string_codes(qid)[0])] = True
            table = table.filter(pc.or_(used, pa.chunked_array([pa.array(first)])))
            if group and rows + table.num_rows > documents_at_once:
                yield group
                group, rows = [], 0
            group.append((name, table))
            rows += table.num_rows
        if group:
            yield group

    def empty_examples(self) -> Examples:
        """No example, for the schema."""
        none = np.empty(0, dtype=np.int64)
        nothing = pa.array([], pa.string())
        return self._layout(
            Chosen(
                nothing, nothing, nothing, nothing, none, none, none * 1.0, none, none, none * 1.0
            ),
            self._options,
        )

    def finish(self) -> dict[str, Any]:
        """The counts; whether they agree with the ledger's has been checked."""
        if self._limit is None:
            conserve(
                "negatives selected in the ledger",
                self._ledger.counts["selected"],
                read_for_export=self._total["selected"],
            )
        return dict(self._total)

    def warnings(self) -> list[str]:
        """Queries that gave no example, in words."""
        left_out = self._total["queries_left_out"]
        if not left_out:
            return []
        need = (
            f"all {self._options.num_negatives} negatives"
            if self._format == "n-tuple"
            else "a positive and a negative"
        )
        return [
            f"{left_out} of {self._total['queries']} queries gave no example "
            f"({self._format} needs {need})"
        ]


def _chosen(
    table: pa.Table, queries: pa.Table, docids: pa.Array, texts: pa.Array, by: str
) -> Chosen:
    """The positives and the selected rows of one part, as indices."""
    qids = table.column("qid").combine_chunks().unique()
    query = pc.index_in(table.column("qid"), value_set=qids).to_numpy().astype(np.int64)
    doc = pc.index_in(table.column("docid"), value_set=docids).to_numpy().astype(np.int64)
    score = table.column(by).to_numpy().astype(np.float64)
    positive = np.flatnonzero(table.column("label").to_numpy() == 1)
    position = pc.fill_null(table.column("selected"), 0).to_numpy()
    negative = np.flatnonzero(position > 0)
    negative = negative[np.lexsort((position[negative], query[negative]))]
    at = pc.index_in(qids, value_set=queries.column("qid").combine_chunks())
    return Chosen(
        qids=qids,
        query_texts=queries.column("text").combine_chunks().take(at),
        docids=docids,
        doc_texts=texts,
        positive_query=query[positive],
        positive_doc=doc[positive],
        positive_score=score[positive],
        negative_query=query[negative],
        negative_doc=doc[negative],
        negative_score=score[negative],
    )


def _stats(examples: Examples, chosen: Chosen) -> dict[str, int]:
    return {
        "examples": examples.count,
        "queries": len(chosen.qids),
        "queries_left_out": examples.queries_left_out,
        "positives": len(chosen.positive_query),
        "selected": len(chosen.negative_query),
    }
