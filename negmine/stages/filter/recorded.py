"""What a ledger's rules knew: its settings, and what was learned from its whole table.

For who looks at a ledger afterwards (``explain``, ``report``): with it a part's rules can be asked
again, and draw the lines that they drew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import rules
from negmine.learning import fit_sample, passes
from negmine.learning.calibration import Bound
from negmine.learning.fit import Fit
from negmine.params.filter import FilterParams
from negmine.rules import labels
from negmine.rules.base import View
from negmine.stages.filter import relabelling
from negmine.table import schemas
from negmine.table.candidates import Candidates
from negmine.table.documents import Documents
from negmine.table.names import meta_column, score_column
from negmine.table.part import known_scores


@dataclass(frozen=True)
class Recorded:
    """How a ledger was filtered, as far as its rules need it.

    Attributes:
        params: the settings.
        by: the score that the rules read.
        fit: what they knew of the whole table.
        unscored: whether no row has that score.
        corpus: the documents, where a column kept of them tells groups; else None.
    """

    params: FilterParams
    by: str
    fit: Fit
    unscored: bool
    corpus: Documents | None

    def view(self, table: pa.Table) -> View:
        """What the rules saw of rows of the ledger, grouped by query."""
        params, bound = self.params, self.fit.bound
        told = table
        if self.corpus is not None and params.calibrate_by is not None:
            column = params.calibrate_by.removeprefix(meta_column(""))
            values = self.corpus.values(column, table.column("docid").combine_chunks())
            told = table.append_column(params.calibrate_by, values)
        return rules.view(
            table,
            params,
            self.by,
            params.rank_by,
            changed=labels.changed_in(table),
            group=passes.group_of(told, params, ("",) if bound is None else bound.groups),
            fit=self.fit,
            unscored=self.unscored,
        )


def recorded(ledger: Candidates) -> Recorded:
    """What the manifest says of a ledger; one pass over it where a rule needs quantiles."""
    params = filter_params(ledger.params)
    by = schemas.pick_score(ledger.schema(), params.by, "--by")
    known = np.empty(0)
    if params.percentile is not None:
        columns = ["qid", "label", "dropped_by", score_column(by)]
        tables = (labels.as_it_came(ledger.read(name, columns)) for name in ledger.parts)
        if params.fit_sample is not None:
            qids = (ledger.read(name, ["qid"]) for name in ledger.parts)
            sample = fit_sample.drawn(qids, params.fit_sample, params.seed)
            tables = (sample.of_table(table) for table in tables)
        known = known_scores(tables, by, params.transform)
    of_corpus = params.calibrate_by is not None and params.calibrate_by.startswith(meta_column(""))
    return Recorded(
        params,
        by,
        Fit(positive_scores=known, bound=_bound(ledger.artifact.manifest)),
        by in ledger.params.get("unscored", ()),
        ledger.documents if of_corpus else None,
    )


def crossed(
    table: pa.Table, view: View, params: FilterParams
) -> Iterator[tuple[rules.Border, np.ndarray]]:
    """The lines of the rules that compare numbers, each with the rows that it dropped."""
    reasons = table.column("dropped_by")
    for rule, border in rules.borders(view, params).items():
        yield border, np.flatnonzero(pc.equal(reasons, rule).fill_null(False).to_numpy())


def limits_of(ledger: Candidates) -> Callable[[pa.Table], tuple[np.ndarray, np.ndarray]]:
    """What tells of the rows of a part what a rule or a condition compared, and with what.

    Returns:
        A function of the rows of a part: (values, limits), float64 [rows]; NaN where no number
        decided. Of a condition of several comparisons it is the first with a number.
    """
    seen = recorded(ledger)

    def compared(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        values, limits = (np.full(table.num_rows, np.nan) for _ in range(2))
        for border, rows in crossed(table, seen.view(table), seen.params):
            values[rows], limits[rows] = border.told_value[rows], border.told_limit[rows]
        for row, every in relabelling.compared(table, seen.params).items():
            numbers = [one for one in every if isinstance(one.limit, float)]
            if numbers and isinstance(numbers[0].value, float):
                values[row], limits[row] = numbers[0].value, numbers[0].limit
        return values, limits

    return compared


def filter_params(settings: Mapping[str, Any]) -> FilterParams:
    """The settings that a ledger's manifest records."""
    known = {field.name for field in fields(FilterParams)}
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in settings.items()
        if name in known
    }
    return FilterParams(**given)


def given_params(ledger: Candidates) -> FilterParams:
    """The settings as they would be given to filter the same table into the same ledger.

    A manifest records a file as an input, and the score that the sampler ordered by also where that
    followed the score of the rules.
    """
    params = filter_params(ledger.params)
    inputs = ledger.artifact.inputs
    files = {
        field.name: inputs[field.name]["path"]
        for field in fields(FilterParams)
        if field.metadata["path"] and field.name in inputs
    }
    sample_by = None if params.sample_by == params.by else params.sample_by
    return replace(params, sample_by=sample_by, **files)


def _bound(manifest: Mapping[str, Any]) -> Bound | None:
    facts = manifest.get("calibration")
    if facts is None:
        return None
    groups = facts.get("groups", {"": facts})
    thresholds = np.array([group["threshold"] for group in groups.values()], dtype=np.float64)
    return Bound(facts["form"], thresholds, tuple(groups), facts)
