"""``negmine.open``: a ledger as an object that can be asked again, for notebooks and scripts."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import log
from negmine.commands import audit as auditing
from negmine.commands import explain as explaining
from negmine.commands.audit import sampled
from negmine.errors import MissingDependencyError, UsageError, did_you_mean
from negmine.params.commands import AuditParams
from negmine.params.export import ExportParams
from negmine.params.filter import FilterParams
from negmine.params.values import build
from negmine.rules import labels
from negmine.stages import filter as filtering
from negmine.stages.export.maker import Maker
from negmine.stages.export.setup import set_up
from negmine.stages.filter.recorded import given_params
from negmine.table.artifacts.replace import Replace
from negmine.table.candidates import Candidates, open_candidates

if TYPE_CHECKING:
    import pandas

_TEXTS = ("query", "document")


@dataclass(frozen=True)
class Counts:
    """What became of the rows of a ledger.

    Attributes:
        queries: queries.
        rows: (query, document) pairs, known positives among them.
        dropped: rows by the rule that dropped them; known positives are under ``positive``.
        promoted: candidates that the filter made positives; they are under ``dropped``, too.
        demoted: known positives that it took away, likewise.
        survivors: rows that no rule dropped.
        selected: survivors that the sampler took.
        short: queries with fewer negatives than were asked for.
        none: queries without a negative.
    """

    queries: int
    rows: int
    dropped: Mapping[str, int]
    promoted: int
    demoted: int
    survivors: int
    selected: int
    short: int
    none: int


class Ledger:
    """A filtered table: every candidate with its scores, the rule that dropped it, its place.

    Made by :func:`negmine.open` and :meth:`refilter`. It reads from its folder when it is asked and
    holds nothing of it.

    >>> import negmine
    >>> ledger = negmine.open("work/ledger")
    >>> ledger.counts.queries
    2
    """

    def __init__(
        self, candidates: Candidates, folder: tempfile.TemporaryDirectory[str] | None = None
    ) -> None:
        self._candidates = candidates
        # A temporary folder lives as long as whoever can still read it.
        self._folder = folder

    def __repr__(self) -> str:
        counts = self.counts
        return (
            f"Ledger({str(self.path)!r}: {counts.queries} queries, {counts.rows} rows, "
            f"{counts.selected} selected)"
        )

    def __len__(self) -> int:
        return self.counts.rows

    # --- what it is -------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """Its folder; the command line takes it."""
        return self._candidates.path

    @property
    def fingerprint(self) -> str:
        """Hash of all that decided its content: two ledgers of one fingerprint are the same."""
        return self._candidates.fingerprint

    @property
    def sources(self) -> list[str]:
        """Who found the candidates: columns ``rank_NAME``."""
        return self._candidates.sources

    @property
    def scores(self) -> list[str]:
        """Scores of sources and scorers: columns ``score_NAME``."""
        return self._candidates.scores

    @property
    def columns(self) -> list[str]:
        """Columns of the table."""
        return list(self._candidates.schema().names)

    @property
    def params(self) -> FilterParams:
        """The options that it was filtered with, those that were not given at their defaults."""
        return given_params(self._candidates)

    @property
    def warnings(self) -> list[str]:
        """What the filter warned of."""
        return self._candidates.artifact.warnings

    # --- questions --------------------------------------------------------------------------------

    @property
    def counts(self) -> Counts:
        """What became of the rows.

        >>> ledger.counts.dropped["relative_margin"]
        1
        """
        counted = self._candidates.counts
        return Counts(
            queries=counted["queries"],
            rows=counted["candidates"],
            dropped={name: count for name, count in counted["dropped"].items() if count},
            promoted=sum(counted["dropped"].get(word, 0) for word in labels.PROMOTED),
            demoted=sum(counted["dropped"].get(word, 0) for word in labels.NO_MORE),
            survivors=counted["survivors"],
            selected=counted["selected"],
            short=counted["queries_short"],
            none=counted["queries_with_none"],
        )

    def qids(self) -> list[str]:
        """Ids of all queries, in table order."""
        parts = (self._candidates.part(name, ["qid"]) for name in self._candidates.parts)
        return [qid for part in parts for qid in part.qids.to_pylist()]

    def short_queries(self) -> list[str]:
        """Ids of the queries with fewer negatives than were asked for.

        >>> ledger.short_queries()
        ['q2']
        """
        wanted = int(self._candidates.params["num_negatives"])
        found: list[str] = []
        for name in self._candidates.parts:
            part = self._candidates.part(name, ["qid", "selected"])
            chosen = np.bincount(part.query[part.valid("selected")], minlength=part.queries)
            found += part.qids.filter(pa.array(chosen < wanted)).to_pylist()
        return found

    def explain(self, qid: str) -> dict[str, Any]:
        """All that is known of a query: its text, positives, limits, and every candidate's fate.

        The same as ``negmine explain LEDGER QID --json``.

        >>> explained = ledger.explain("q1")
        >>> [(row["docid"], row["fate"]) for row in explained["candidates"]][1]
        ('d2', 'dropped: relative_margin')

        Raises:
            MissingInputError: it has no such query.
        """
        return explaining.explain(self._candidates, qid)

    def audit(self, **options: Any) -> dict[str, Any]:
        """How many known positives these settings would have taken for negatives.

        Positives are hidden and the table is filtered again: see ``negmine audit``. It takes as
        long as some runs of the filter. With ``judge``, ``sheet`` or ``gold`` the chosen negatives
        of this ledger are read instead.

        Args:
            options: those of ``negmine audit`` that are not the filter's: ``sweep``, ``seeds``, ...

        Returns:
            The report, as ``negmine audit -o REPORT.json`` writes it.

        Raises:
            UsageError: an unknown option, or nothing that can be measured.
        """
        params = build(AuditParams, options, {})
        if sampled.is_sampled(options):
            return sampled.run(self.params, params, self.path, None)[1]
        with tempfile.TemporaryDirectory(prefix="negmine-") as folder:
            out = Path(folder) / "audit.json"
            auditing.run(self.params, params, self._scored(), out)
            report: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return report

    # --- another filter ---------------------------------------------------------------------------

    def refilter(
        self, out: str | Path | None = None, *, force: bool = False, **options: Any
    ) -> Ledger:
        """The same scored table with some options changed, as another ledger; no model is needed.

        >>> wider = ledger.refilter(relative_margin=0.2)
        >>> wider.counts.dropped["relative_margin"], ledger.counts.dropped["relative_margin"]
        (2, 1)

        Args:
            out: folder of the new ledger; default: a temporary one that goes with the object.
            force: replace a ledger of other settings at ``out``.
            options: options of ``negmine filter``, named as in a recipe, with ``_`` for ``-``;
                None takes a default back. All others stay as they are.

        Raises:
            UsageError: an unknown option, or options that contradict each other.
            ConflictError: ``out`` holds a ledger of other settings.
        """
        given = build(FilterParams, options, {})
        changed = {name.replace("-", "_") for name in options}
        params = replace(self.params, **{name: getattr(given, name) for name in changed})
        folder = None
        if out is None:
            folder = tempfile.TemporaryDirectory(prefix="negmine-")
            out = Path(folder.name) / "ledger"
        replacing = Replace.DAMAGED if force else Replace.NOTHING
        filtering.run(params, self._scored(), Path(out), replacing=replacing)
        return Ledger(open_candidates(out, ["filter"], purpose="the ledger"), folder)

    def _scored(self) -> Path:
        """The table that it was filtered from."""
        return self._candidates.artifact.input("scored").path

    # --- as tables --------------------------------------------------------------------------------

    def to_arrow(
        self,
        columns: Sequence[str] | None = None,
        *,
        qids: Iterable[str] | None = None,
        texts: bool = False,
    ) -> pa.Table:
        """The rows as an Arrow table, held in memory.

        >>> ledger.to_arrow(["docid", "selected"], qids=["q2"], texts=True).column_names
        ['docid', 'selected', 'query', 'document']

        Args:
            columns: which; default: all.
            qids: rows of these queries only; default: of all.
            texts: add the texts as ``query`` and ``document``; every row has its own copy.

        Raises:
            UsageError: there is no such column.
        """
        known = self.columns
        for name in columns or ():
            if name not in known:
                raise UsageError(
                    f"the ledger has no column '{name}'", hint=did_you_mean(name, known)
                )
        shown = list(known if columns is None else columns)
        read = list(dict.fromkeys([*shown, "qid", "docid"]))
        wanted = None if qids is None else pa.array(list(qids), pa.string())
        tables = []
        for name in self._candidates.parts:
            table = self._candidates.read(name, read)
            if wanted is not None:
                table = table.filter(pc.is_in(table.column("qid"), value_set=wanted))
            if texts:
                table = table.append_column("query", self._query_texts(name, table))
            tables.append(table)
        table = pa.concat_tables(tables)
        if texts:
            docids = table.column("docid").combine_chunks().unique()
            found = self._candidates.documents.texts(docids)
            place = pc.index_in(table.column("docid"), value_set=docids)
            table = table.append_column("document", found.take(place.combine_chunks()))
        return table.select([*shown, *(_TEXTS if texts else ())])

    def _query_texts(self, name: str, table: pa.Table) -> pa.Array:
        asked = self._candidates.queries(name)
        known = asked.column("qid").combine_chunks()
        place = pc.index_in(table.column("qid").combine_chunks(), value_set=known)
        return asked.column("text").combine_chunks().take(place)

    def to_pandas(
        self,
        columns: Sequence[str] | None = None,
        *,
        qids: Iterable[str] | None = None,
        texts: bool = False,
    ) -> pandas.DataFrame:
        """Likewise, as a data frame; ranks and places are whole numbers that may be missing.

        >>> frame = ledger.to_pandas(texts=True)
        >>> frame[frame.selected.notna()].docid.tolist()
        ['d3', 'd4', 'd6']

        Raises:
            UsageError: there is no such column.
            MissingDependencyError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingDependencyError(
                "data frames need pandas", hint="pip install pandas, or take to_arrow()."
            ) from error
        nullable = {pa.int8(): pandas.Int8Dtype(), pa.int32(): pandas.Int32Dtype()}
        table = self.to_arrow(columns, qids=qids, texts=texts)
        return table.to_pandas(types_mapper=nullable.get)

    def examples(self, format: str = "triplet", **options: Any) -> pa.Table:
        """The training examples in a format, held in memory.

        >>> ledger.examples("triplet").column_names
        ['anchor', 'positive', 'negative']

        Args:
            format: any name that ``negmine export --format`` takes.
            options: the other options of ``negmine export``, named as in a recipe, with ``_`` for
                ``-``.

        Raises:
            EmptyResultError: there is no example; with ``allow_empty=True`` a table without rows.
            UsageError: an unknown option, or one that belongs to files and folders.
        """
        params = build(ExportParams, options, {"format": format})
        maker = Maker(params, set_up(params, self.path, Path("-")))
        if not params.allow_empty:
            maker.refuse_empty("all")
        schema = maker.no_examples().schema
        tables = [schema.empty_table(), *maker.tables("all")]
        log.warn(maker.warnings("all"))
        return pa.concat_tables(tables)


def open_ledger(path: str | Path) -> Ledger:
    """Open a ledger, the folder that ``negmine filter`` made.

    >>> import negmine
    >>> ledger = negmine.open("work/ledger")
    >>> ledger.refilter(relative_margin=0.2).counts.selected
    2

    Args:
        path: its folder; :func:`negmine.mine` with ``work_dir`` leaves one at ``WORK/ledger``.

    Raises:
        MissingInputError: there is none, or the run that makes it has not finished.
        UsageError: another stage made it.
    """
    return Ledger(open_candidates(path, ["filter"], purpose="the ledger"))
