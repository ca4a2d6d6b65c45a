"""``negmine filter``: the ledger. Every candidate is kept, with the rule that dropped it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from negmine import log, rules, samplers
from negmine.errors import UsageError, did_you_mean
from negmine.params import FilterParams, output_affecting
from negmine.stages.outcome import Outcome, conserve
from negmine.table import artifact as artifacts
from negmine.table import schema as schemas
from negmine.table.artifact import Plan
from negmine.table.names import rank_column, score_column

VERSION = 1


def run(params: FilterParams, scored: Path, out: Path, *, force: bool = False) -> Outcome:
    """Filter and sample the scored (or just retrieved) table at ``scored`` into ``out``.

    Raises:
        NegmineError: see the exit codes in :mod:`negmine.errors`.
    """
    source = artifacts.open_artifact(
        scored, ["retrieve", "rerank"], purpose="the scored candidates"
    )
    schema = source.schema()
    by = schemas.pick_score(schema, params.by, "--by")
    sample_by = schemas.pick_score(schema, params.sample_by or by, "--sample-by")
    rank_by = None
    if params.rank_by is not None:
        rank_by = params.rank_by.removeprefix(rank_column(""))
        known = schemas.source_names(schema)
        if rank_by not in known:
            raise UsageError(f"--rank-by: no source '{rank_by}'", hint=did_you_mean(rank_by, known))
    if (
        params.range_min is not None
        and params.range_max is not None
        and params.range_min > params.range_max
    ):
        raise UsageError("--range-min is greater than --range-max: nothing would be left")
    settings = {**output_affecting(params), "by": by, "sample_by": sample_by, "rank_by": rank_by}
    plan = Plan(
        "filter",
        VERSION,
        {**settings, "rules": rules.VERSION},
        artifacts={"scored": source},
    )
    writer = artifacts.begin(out, plan, force=force)
    if writer is None:
        found = artifacts.open_artifact(out)
        return Outcome(out, dict(found.counts), True, list(found.manifest["warnings"]))
    artifacts.reset_peak_memory()
    ledger_schema = schemas.with_ledger(schema)
    total: Counter[str] = Counter()
    rows = sum(source.rows(name) for name in source.parts)
    with writer, log.progress("filtering", rows, " rows") as bar:
        for name in source.parts:
            if not writer.has(name):
                table, stats = judge(source.read(name), params, by, sample_by, rank_by)
                writer.add_table(name, table, ledger_schema, stats)
            total.update(writer.stats(name))
            bar.update(source.rows(name))
        counts = _counts(total)
        dropped: dict[str, int] = counts["dropped"]
        conserve("candidate rows", rows, read=counts["candidates"])
        conserve(
            "candidates",
            counts["candidates"],
            survivors=counts["survivors"],
            **{f"dropped_by_{name}": count for name, count in dropped.items()},
        )
        warnings = _warnings(counts, params, by)
        writer.commit(counts, warnings=warnings)
    for warning in warnings:
        log.event(warning, level=30)
    return Outcome(out, counts, warnings=warnings)


def judge(
    table: pa.Table, params: FilterParams, by: str, sample_by: str, rank_by: str | None
) -> tuple[pa.Table, dict[str, int]]:
    """Add ``dropped_by`` and ``selected`` to one part; a pure function of its arguments."""
    view = rules.view(table, by, rank_by, params.against)
    reason, names = rules.apply(view, params)
    survivors = reason < 0
    order_by = table.column(score_column(sample_by)).to_numpy().astype(np.float64)
    if params.sampler == "random":
        draw = samplers.draws(table.column("qid"), table.column("docid"), params.seed)
        selected = samplers.random(
            view.query, order_by, view.docid, survivors, params.num_negatives, draw
        )
    else:
        selected = samplers.top(view.query, order_by, view.docid, survivors, params.num_negatives)
    dropped_by = pa.DictionaryArray.from_arrays(
        pa.array(reason, mask=survivors), pa.array(names, pa.string())
    ).cast(pa.string())
    table = table.append_column("dropped_by", dropped_by)
    table = table.append_column("selected", pa.array(selected, mask=selected == 0))

    chosen_per_query = (
        np.add.reduceat((selected > 0).astype(np.int64), view.starts)
        if len(view.starts)
        else np.empty(0, dtype=np.int64)
    )
    unknown = np.isnan(view.positive_score[view.starts])
    stats = {
        "candidates": table.num_rows,
        "survivors": int(survivors.sum()),
        "selected": int((selected > 0).sum()),
        "queries": len(view.starts),
        "queries_without_positive_score": int(unknown.sum()),
        "queries_short": int((chosen_per_query < params.num_negatives).sum()),
        "queries_with_none": int((chosen_per_query == 0).sum()),
    }
    for number, name in enumerate(names):
        stats[f"dropped.{name}"] = int((reason == number).sum())
    return table, stats


def _counts(total: Counter[str]) -> dict[str, Any]:
    counts: dict[str, Any] = {k: v for k, v in total.items() if not k.startswith("dropped.")}
    counts["dropped"] = {
        name.removeprefix("dropped."): count
        for name, count in total.items()
        if name.startswith("dropped.")
    }
    return counts


def _warnings(counts: dict[str, Any], params: FilterParams, by: str) -> list[str]:
    told = []
    if counts["queries_short"]:
        told.append(
            f"{counts['queries_short']} of {counts['queries']} queries have fewer than "
            f"{params.num_negatives} negatives ({counts['queries_with_none']} have none)"
        )
    if counts["queries_without_positive_score"]:
        told.append(
            f"{counts['queries_without_positive_score']} queries have no positive with a score_{by}"
        )
    return told
