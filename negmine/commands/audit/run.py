"""``negmine audit``: the error rate of a filter, measured with positives that it may not see.

Of queries with several known positives all but ``keep`` are hidden: their labels are turned to 0
and the very same filter is run. A hidden positive stands for a positive that nobody labelled, so
one that is chosen as a negative is a false negative that we can count. Which labels are missing
matters (D-MERIT, arXiv 2406.16048), and in real data it is not chance, so they are hidden once at
random, once per source the worst-ranked ones, and once those that no source ranks within a depth,
which judges of a pool never saw.

A hidden positive that no source retrieved is taken out of the table: it stood there only because
it was labelled.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from negmine import log, rules
from negmine.addresses import shown
from negmine.commands.audit import intervals as estimates
from negmine.commands.audit import relabelled
from negmine.commands.audit.counting import Tally, try_setting
from negmine.commands.audit.hiding import HELD_OUT, POOLED, RANDOM, Scheme, hide, mask, queries_of
from negmine.commands.audit.printing import as_json, files_of, row_of, stored, table
from negmine.commands.audit.settings import VERSION, Setting, settings_of
from negmine.commands.audit.summary import summary
from negmine.commands.audit.writing import begin
from negmine.engine.parts import over_parts
from negmine.errors import NegmineError, UsageError, did_you_mean
from negmine.params import output_affecting
from negmine.params.commands import AuditParams
from negmine.params.filter import FilterParams
from negmine.stages import filter as filtering
from negmine.stages.filter import enough
from negmine.stages.outcome import Outcome
from negmine.table import artifacts, schemas
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.reading import Artifact
from negmine.table.artifacts.replace import Replace
from negmine.table.part import Part

#: Fewest queries of which a pool hides something for it to be tried unasked.
_FEWEST_POOLED = 10


def run(
    params: FilterParams,
    audit: AuditParams,
    scored: Path,
    out: Path,
    *,
    replacing: Replace = Replace.NOTHING,
) -> Outcome:
    """Audit the filter ``params`` on the table at ``scored``; the report goes to ``out``.

    Args:
        params: the filter under audit.
        audit: what is hidden and which settings are tried.
        scored: a scored (or just retrieved) artifact.
        out: a folder (report as JSON, table and pictures), or a file ``*.json``.
        replacing: what may be replaced at ``out``.

    Raises:
        UsageError: an unknown source, score or rule, or nothing that can be measured.
        NegmineError: see the exit codes in :mod:`negmine.errors`.
    """
    source = artifacts.open_artifact(
        scored, ["retrieve", "rerank"], purpose="the scored candidates"
    )
    teacher = _checked_teacher(source, audit)
    settings = settings_of(params, audit.sweep, source)
    plan = _plan(params, audit, source, settings)
    writer = begin(out, plan, replacing=replacing)
    if writer is None:
        # What was told when it was made counts as much now.
        found, report = stored(out)
        _tell(out, report, found.files, found.warnings)
        return Outcome(out, dict(found.counts), up_to_date=True, warnings=found.warnings)
    with writer:
        report, warnings = measure(source, settings, audit, teacher)
        counts = {"settings": len(settings), **report["queries"]}
        if isinstance(writer, artifacts.FileWriter):
            texts = {out.name: as_json(report)}
            writer.add_text(texts[out.name])
        else:
            texts = files_of(report)
            over_parts(
                texts.items(),
                finished=writer.has,
                make=lambda _, name, text: text,
                write=writer.add_text,
            )
        writer.commit(counts, warnings=warnings)
    _tell(out, report, texts, warnings)
    return Outcome(out, counts, warnings=warnings)


def _plan(
    params: FilterParams, audit: AuditParams, source: Artifact, settings: Sequence[Setting]
) -> Plan:
    fitted = {
        identity
        for one in settings
        for identity in filtering.fitted_beforehand(one.params).values()
    }
    return Plan(
        "audit",
        VERSION,
        {
            "filter": output_affecting(params),
            "audit": output_affecting(audit),
            "code": [rules.VERSION, filtering.VERSION, *rules.identities(params), *sorted(fitted)],
        },
        artifacts={"scored": source},
        files=filtering.files_of(params),
    )


def _tell(
    out: Path, report: Mapping[str, Any], files: Iterable[str], warnings: Sequence[str]
) -> None:
    """The audit in ten lines, or all of it where nothing was swept, and what to be aware of."""
    where = [str(out if name == out.name else out / name) for name in sorted(files)]
    log.event(summary(report, where) or table(report), report=report["rows"])
    log.warn(warnings)


def _checked_teacher(source: Artifact, audit: AuditParams) -> str:
    """The score in which hardness is told; the sources of ``--bias`` are looked at, too."""
    schema = source.schema()
    teacher = schemas.pick_score(schema, audit.teacher, "--teacher")
    known = schemas.source_names(schema)
    for name in audit.bias:
        if name not in known and name != POOLED:
            raise UsageError(f"--bias: no source '{name}'", hint=did_you_mean(name, known))
    return teacher


def measure(
    source: Artifact, settings: Sequence[Setting], audit: AuditParams, teacher: str
) -> tuple[dict[str, Any], list[str]]:
    """Hide, filter and count, for every scheme and setting; returns (report, warnings)."""
    sources = schemas.searched_names(source.schema())
    queries = queries_of(source)
    positives = queries[1]
    schemes, warnings = _schemes(source, positives, audit, sources)
    tallies = _tallies(source, queries, settings, schemes, audit.keep, teacher)
    rows = []
    for number, setting in enumerate(settings):
        for scheme in schemes:
            tally = tallies[number, scheme.name]
            row = row_of(setting, scheme)
            if isinstance(tally, NegmineError):
                warnings.append(f"{setting.label} ({scheme.name}) cannot be measured: {tally.what}")
                rows.append({**row, "error": str(tally)})
            else:
                found = tally.result()
                rows.append({**row, **found})
                warnings += relabelled.of_hiding(setting.params, found, scheme.name)
    warnings += [*_not_found(rows), *_stopped(source)]
    several = int((positives > audit.keep).sum())
    report = {
        "scored": shown(str(source.path)),
        "fingerprint": source.fingerprint,
        "teacher": teacher,
        "sources": sources,
        "confidence": estimates.CONFIDENCE,
        "keep": audit.keep,
        "held_out": not several,
        "queries": {
            "queries": len(positives),
            "queries_audited": several or int((positives > 0).sum()),
            "positives": int(positives.sum()),
        },
        "warnings": warnings,
        "rows": rows,
    }
    return report, warnings


def _not_found(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The warning on ways of hiding under which there was nothing to be taken by mistake."""
    pools: dict[str, int] = {}
    for row in rows:
        if "pool" in row:
            pools[row["hidden"]] = pools.get(row["hidden"], 0) + row["pool"]
    names = [name for name, pool in pools.items() if not pool]
    if not names:
        return []
    return [
        f"no source found a hidden positive ({', '.join(names)}), so none could be chosen: a "
        "contamination of 0% says nothing there. Check that the judgements belong to these "
        "candidates, or retrieve deeper (-k)"
    ]


def _stopped(source: Artifact) -> list[str]:
    """The warning on a table of which ``rerank --enough`` has left rows unscored."""
    if (most := enough.stopped_at(source)) is None or not source.counts["unscored"]:
        return []
    return [
        f"the scores stopped where {most} of a query survived the settings of rerank --enough: "
        "under others, or with some positives hidden, queries may be short for want of scores; "
        "audit a table that is scored whole"
    ]


def _schemes(
    source: Artifact, positives: np.ndarray, audit: AuditParams, sources: Sequence[str]
) -> tuple[list[Scheme], list[str]]:
    """Which positives are hidden, by how many each query has; and what the user should know."""
    if (positives > audit.keep).any():
        return [Scheme(RANDOM, runs=audit.seeds), *_biased(source, audit, sources)], []
    warnings = []
    if audit.bias:
        warnings.append(
            f"--bias has no effect: no query has more than --keep {audit.keep} known positives "
            "to hide some of"
        )
    if audit.keep > 1 or not (positives > 0).any():
        raise UsageError(
            f"no query has more than --keep {audit.keep} known positives: nothing to hide",
            where=str(source.path),
            hint="Lower --keep, or retrieve with judgements that name several positives.",
        )
    warnings.append(
        "no query has two known positives: half of the queries lose their only one and it is "
        "treated as a candidate. Survival is measured so, for rules that ask nothing of the "
        "query's own positive; contamination, yield and hardness are those of a query without "
        "any label"
    )
    return [Scheme(HELD_OUT, runs=max(2, audit.seeds))], warnings


def _biased(source: Artifact, audit: AuditParams, sources: Sequence[str]) -> list[Scheme]:
    """The ways to hide that are not chance."""
    found = [Scheme(f"biased:{name}", name) for name in audit.bias or sources if name != POOLED]
    pooled = Scheme(f"{POOLED}:{audit.pool_depth}", depth=audit.pool_depth)
    if POOLED in audit.bias:
        if not _queries_hidden(source, pooled, audit.keep):
            raise UsageError(
                f"--bias {POOLED}: no positive that a source retrieved lies deeper than "
                f"--pool-depth {audit.pool_depth} in all of them",
                hint="Lower --pool-depth.",
            )
        return [*found, pooled]
    # The pool of one source would be its own bias once more; a few queries tell nothing.
    if not audit.bias and len(sources) > 1:
        if _queries_hidden(source, pooled, audit.keep) >= _FEWEST_POOLED:
            return [*found, pooled]
        log.event(
            f"hiding by pools is left out: fewer than {_FEWEST_POOLED} queries have a positive "
            f"deeper than --pool-depth {audit.pool_depth} in every source",
        )
    return found


def _queries_hidden(source: Artifact, scheme: Scheme, keep: int) -> int:
    """Queries of which a scheme hides a positive that some source retrieved."""
    count = 0
    for name in source.parts:
        table = source.read(name)
        part = Part(table)
        count += len(np.unique(part.query[hide(table, scheme, keep, 0)[1] & part.found]))
    return count


def _tallies(
    source: Artifact,
    queries: tuple[pa.Array, np.ndarray],
    settings: Sequence[Setting],
    schemes: Sequence[Scheme],
    keep: int,
    teacher: str,
) -> dict[tuple[int, str], Tally | NegmineError]:
    """What every setting does under every scheme, by (number of the setting, scheme)."""
    schema = source.schema()
    sources, found_by = schemas.searched_names(schema), schemas.source_names(schema)
    qids, positives = queries
    tallies: dict[tuple[int, str], Tally | NegmineError] = {}
    work = sum(scheme.runs for scheme in schemes) * len(settings)
    with (
        log.progress("auditing", work, " runs") as bar,
        log.silenced(),
        tempfile.TemporaryDirectory(prefix="negmine-audit-") as folder,
    ):
        for scheme, seed in [(s, seed) for s in schemes for seed in range(s.runs)]:
            path = Path(folder) / "scored"
            hidden = mask(source, path, scheme, keep, seed)
            for number, setting in enumerate(settings):
                key = (number, scheme.name)
                tally = tallies.setdefault(key, Tally(len(positives), sources, found_by))
                try:
                    if not isinstance(tally, NegmineError):
                        try_setting(setting.params, path, hidden, qids, tally, teacher, seed)
                except NegmineError as error:
                    # One value of a sweep may be impossible; the others are still wanted.
                    if setting.sweep is None:
                        raise
                    tallies[key] = error
                bar.update(1)
    return tallies
