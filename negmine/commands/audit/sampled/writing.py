"""What an audit by sample is made from, and how its report and its sheet are written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from negmine import log
from negmine.commands.audit.printing import REPORT, as_json, stored
from negmine.commands.audit.sampled import sheets, telling
from negmine.commands.audit.sampled.asking import Asking
from negmine.commands.audit.sampled.sheets import Sheet
from negmine.commands.audit.writing import Writer
from negmine.errors import ConflictError
from negmine.params import output_affecting
from negmine.params.commands import AuditParams
from negmine.params.filter import FilterParams
from negmine.stages import filter as filtering
from negmine.stages.outcome import Outcome
from negmine.table import artifacts, writers
from negmine.table.artifacts import disk
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.reading import Artifact
from negmine.table.artifacts.replace import Replace

#: Raised when the same ledger, sample and answers give another report.
VERSION = 1


def plan_of(
    params: FilterParams, audit: AuditParams, source: Artifact, asked: Asking | None
) -> Plan:
    """What the report is made from: a ledger, or all that the filter makes one from.

    Args:
        params: the filter.
        audit: the options.
        source: a ledger, or a table that is filtered.
        asked: a judge that is asked about the sample.
    """
    files: dict[str, Mapping[str, Any]] = {
        f"gold-{number}": artifacts.external_input(Path(path), None)
        for number, path in enumerate(audit.gold)
    }
    made_by: Mapping[str, Any] = source.params
    role, version = "ledger", filtering.VERSION
    if source.stage != "filter":
        made = filtering.plan(filtering.set_up(params, source.path), source.path)
        role, made_by, version = "scored", made.params, made.version
        files.update(made.files)
    settings = {"filter": dict(made_by), "audit": output_affecting(audit)}
    if asked is not None:
        settings["audit"]["judge"] = asked.named
    return Plan(
        "audit",
        VERSION,
        {"kind": "sample", **settings, "code": [version]},
        artifacts={role: source},
        files=files,
        models={} if asked is None else {asked.name: asked.record()},
    )


def write(
    writer: Writer, report: dict[str, Any], counts: Mapping[str, Any], spent: Mapping[str, Any]
) -> None:
    """Write and commit the report, as JSON and in a folder in words, too.

    ``spent`` is told of the run.
    """
    if isinstance(writer, artifacts.FileWriter):
        writer.add_text(as_json(report))
    else:
        writer.add_text(REPORT, as_json(report))
        writer.add_text("audit.txt", log.printable(telling.table(report)) + "\n")
    of_run = {"spent": dict(spent)} if spent else None
    writer.commit(counts, warnings=report["warnings"], of_run=of_run)


def written(out: Path) -> tuple[Outcome, dict[str, Any]]:
    """What was written before: what was told then counts as much now."""
    found, report = stored(out)
    log.event(telling.table(report), report=report)
    log.warn(found.warnings)
    return Outcome(out, dict(found.counts), up_to_date=True, warnings=found.warnings), report


def write_sheet(path: str, told: tuple[Sheet, dict[str, str]], replacing: Replace) -> None:
    """Write the sheet; one that is there and may be half filled in stays.

    Raises:
        ConflictError: there is another file of this name.
    """
    sheet, answers = told
    text = sheets.text_of(sheet, answers, as_json=sheets.is_json(path))
    place = Path(path)
    if disk.is_file(place):
        with disk.opened(place) as file:
            if file.read() == text.encode():
                return
        if replacing is Replace.NOTHING:
            raise ConflictError(
                "--sheet: is there already, and may hold answers",
                where=path,
                hint="Give it as --gold, choose another name, or replace it with --force.",
            )
    disk.make_folder(place.parent)
    writers.write_new_text(place, text, replace=True)
    log.event(
        f"sheet: {len(sheet.rows)} rows in {path}; answer {sheets.RELEVANT}, "
        f"{sheets.NOT_RELEVANT} or {sheets.CANNOT_TELL} as '{sheets.ANSWER}', from the first row "
        "on, then audit with --gold"
    )
