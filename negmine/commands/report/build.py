"""``negmine report``: from ledgers to a page, with the audits and exports that lie beside them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from negmine.addresses import located
from negmine.commands.audit.printing import stored
from negmine.commands.report import by_query, collect, compare, examples, page, slices
from negmine.errors import NegmineError, UsageError
from negmine.params import output_affecting
from negmine.params.commands import ReportParams
from negmine.stages.outcome import Outcome
from negmine.table import artifacts
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.reading import Artifact
from negmine.table.artifacts.replace import Replace
from negmine.table.candidates import Candidates
from negmine.table.conservation import conserve
from negmine.table.names import WRITTEN

#: Raised when the page of the same ledger changes.
VERSION = 8


@dataclass(frozen=True)
class Audit:
    """An audit's report, and the options in which its settings differ from the ledger's.

    One by a sample (:mod:`negmine.commands.audit.sampled`) is of exactly this ledger.
    """

    name: str
    report: dict[str, Any]
    differs: list[str]
    fingerprint: str

    @property
    def sampled(self) -> bool:
        """Whether it is one by a sample."""
        return _by_sample(self.report)


def _by_sample(report: Mapping[str, Any]) -> bool:
    return report.get("kind") == "sample"


def run(
    params: ReportParams,
    ledger: Path,
    other: Path | None,
    out: Path,
    *,
    replacing: Replace = Replace.NOTHING,
) -> Outcome:
    """Write the page of one ledger, or of two side by side, to ``out`` (``-``: stdout).

    Raises:
        NegmineError: see the exit codes in :mod:`negmine.errors`.
    """
    to_stdout = str(out) == "-"
    if not to_stdout and out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(
            "the report is a web page", where=str(out), hint="Name it *.html, or - for stdout."
        )
    first = artifacts.open_artifact(ledger, ["filter"], purpose="the ledger")
    inputs = {"ledger": first}
    audits: list[Audit] = []
    exports: list[Artifact] = []
    if other is None:
        audits = _audits(params, first)
        exports = list(_exports(first))
    else:
        if params.audit is not None:
            raise UsageError("--audit belongs to the report of one ledger")
        inputs["other"] = artifacts.open_artifact(other, ["filter"], purpose="the other ledger")
    plan = Plan(
        "report",
        VERSION,
        {
            **output_affecting(params),
            "audits": [audit.fingerprint for audit in audits],
            "exports": [export.fingerprint for export in exports],
        },
        artifacts=inputs,
    )
    writer = None if to_stdout else artifacts.begin_file(out, plan, replacing=replacing)
    if writer is None and not to_stdout:
        return Outcome(out, {}, up_to_date=True)
    if writer is None:
        text, counts = _page(params, inputs, audits, exports)
        sys.stdout.write(text)
        sys.stdout.flush()
        return Outcome(out, counts)
    with writer:
        text, counts = _page(params, inputs, audits, exports)
        writer.add_text(text)
        writer.commit(counts)
    return Outcome(out, counts)


def _page(
    params: ReportParams,
    inputs: dict[str, Artifact],
    audits: list[Audit],
    exports: list[Artifact],
) -> tuple[str, dict[str, Any]]:
    draw = by_query.Draw(params.queries if len(inputs) == 1 else 0, params.seed)
    facts = [_facts(ledger, params, draw) for ledger in inputs.values()]
    counts = collect.counts_of(facts[0])
    if len(facts) == 1:
        chosen = examples.collect(facts[0], params.examples)
        told = [(one.name, one.report, one.differs) for one in audits if not one.sampled]
        samples = [(one.name, one.report) for one in audits if one.sampled]
        lookup = _lookup(params, facts[0], draw, chosen)
        texts = params.examples > 0
        text = page.one(facts[0], chosen, told, samples, exports, lookup, texts=texts)
        return text, counts
    found = compare.compare(facts[0], facts[1])
    counts["other"] = collect.counts_of(facts[1])
    return page.two(found, texts=params.examples > 0), counts


def _lookup(
    params: ReportParams,
    facts: collect.Facts,
    draw: by_query.Draw,
    groups: list[examples.Group],
) -> by_query.Lookup:
    first = [*by_query.of_examples(groups), *((one.part, one.qid) for one in facts.short)]
    return by_query.collect(
        facts.reader, draw.queries(), first, params.queries, texts=params.examples > 0
    )


def _facts(ledger: Artifact, params: ReportParams, draw: by_query.Draw) -> collect.Facts:
    facts = collect.collect(slices.open_reader(Candidates(ledger), params.seed), draw)
    rows = sum(ledger.rows(name) for name in ledger.parts)
    conserve("rows of the ledger", rows, **dict(zip(slices.FATES, facts.fates, strict=True)))
    return facts


# --- what lies beside the ledger --------------------------------------------------------------


def _beside(ledger: Artifact) -> Iterator[tuple[Path, Artifact]]:
    """Finished artifacts and exported files in the ledger's folder."""
    folder = ledger.path.resolve().parent
    for child in (folder / name for name in artifacts.names_in(folder)):
        try:
            if artifacts.is_finished(child):
                yield child, artifacts.open_artifact(child)
            elif artifacts.is_file(child) and artifacts.has_file_manifest(child):
                yield child, Artifact(folder, artifacts.file_manifest(child))
        except (NegmineError, OSError):
            # Of another version, damaged, or not ours: nothing that this report was asked for.
            continue


def _exports(ledger: Artifact) -> Iterator[Artifact]:
    for path, found in _beside(ledger):
        # What is written for a table beside a corpus is a folder of documents, and no training set.
        role = {"export": "ledger", WRITTEN: "table" if artifacts.is_file(path) else ""}.get(
            found.stage, ""
        )
        if found.inputs.get(role, {}).get("fingerprint") == ledger.fingerprint:
            yield Artifact(path, found.manifest)


def _audits(params: ReportParams, ledger: Artifact) -> list[Audit]:
    scored = ledger.inputs["scored"]["fingerprint"]
    if params.audit is not None:
        path = located(params.audit)
        found, report = stored(path)
        if _by_sample(report):
            if report["fingerprint"] != ledger.fingerprint:
                raise UsageError(
                    "audited another ledger, or other settings",
                    where=str(path),
                    hint=f"Audit {ledger.path}.",
                )
        elif found.inputs["scored"]["fingerprint"] != scored:
            raise UsageError(
                "audited another table than the ledger was filtered from",
                where=str(path),
                hint=f"Audit {ledger.inputs['scored']['path']} of the ledger.",
            )
        return [_audit(path, found, report, ledger)]
    return list(_audits_beside(ledger, scored))


def _audits_beside(ledger: Artifact, scored: str) -> Iterator[Audit]:
    """Audits of the same scores by hiding, and of this very ledger by a sample."""
    for path, found in _beside(ledger):
        made_from = {found.inputs.get(role, {}).get("fingerprint") for role in ("scored", "ledger")}
        if found.stage != "audit" or not made_from & {scored, ledger.fingerprint}:
            continue
        audit = _audit(path, *stored(path), ledger)
        if not audit.sampled or audit.report["fingerprint"] == ledger.fingerprint:
            yield audit


def _audit(path: Path, found: Artifact, report: dict[str, Any], ledger: Artifact) -> Audit:
    audited, mine = found.params["filter"], ledger.params
    # What the filter itself chose, the audit's manifest leaves open.
    differs = [
        option.replace("_", "-")
        for option, value in audited.items()
        if value != mine.get(option) and not (option in ("by", "sample_by") and value is None)
    ]
    return Audit(path.name, report, differs, found.fingerprint)
