"""The commands that look at what stages made."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Optional, get_type_hints

import typer

from negmine import log
from negmine.cli.app import app, command_of, guarded
from negmine.cli.options import COMMON, QuietOption, field_parameter
from negmine.cli.stages import INPUTS
from negmine.params.commands import AuditParams, ReportParams
from negmine.params.filter import FilterParams


@command_of(epilog="Example: negmine init pairs.jsonl && negmine run recipe.toml")
def init(
    inputs: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(
            metavar="[FILES]...",
            help="Pairs; or corpus, queries and qrels; or a folder with them. Default: what lies "
            "in the current folder.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        str, typer.Option("-o", "--out", metavar="PATH", help="The recipe; - for stdout.")
    ] = "recipe.toml",
    encoder: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="[NAME=]MODEL", help="Encoder of the recipe; default: one that is installed."
        ),
    ] = None,
    column: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            metavar="TARGET=SOURCE",
            help="Of pairs whose names do not tell it: query=COLUMN and positive=COLUMN "
            "(repeatable).",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing recipe.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Look at your files, say what they seem to be, and write a recipe for them."""
    log.setup(quiet=quiet)
    from negmine.commands import init as starter

    guarded(
        lambda: starter.run(inputs or [], out, encoder=encoder, force=force, column=column or [])
    )


@command_of(epilog="Example: negmine inspect work/ledger --rows 5")
def inspect_(
    artifact: Annotated[
        str, typer.Argument(metavar="ARTIFACT", help="An artifact, or a work folder of them.")
    ],
    rows: Annotated[int, typer.Option(min=0, help="Joined rows to show.")] = 3,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the checksum of every file.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Show an artifact: schema, lineage, counts and a few rows with their texts."""
    log.setup(quiet=quiet)
    from negmine.commands import inspect as inspection

    guarded(lambda: inspection.show(Path(artifact), rows=rows, verify=verify, as_json=json_))


inspect_.__name__ = "inspect"
app.registered_commands[-1].name = "inspect"


@command_of(epilog="Example: negmine doctor")
def doctor(
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell what is installed, which device and arithmetic would be used, and what is missing."""
    log.setup()
    from negmine.commands import doctor as checks

    raise typer.Exit(checks.report(as_json=json_))


def _audit_command() -> None:
    """Register ``negmine audit``: all options of ``filter``, and its own."""
    classes = (FilterParams, AuditParams)

    def command(**given: Any) -> None:
        log.setup(quiet=given["quiet"], verbose=given["verbose"], log_format=given["log_format"])
        from negmine import pipeline

        flags = {name: value for name, value in given.items() if value not in (None, [])}
        guarded(
            lambda: pipeline.run_audit(
                {field.name: flags.get(field.name) for field in fields(FilterParams)},
                {field.name: flags.get(field.name) for field in fields(AuditParams)},
                scored=Path(given["scored"]),
                out=Path(given["out"]),
                config=given["config"],
                force=given["force"],
            )
        )

    argument = typer.Argument(metavar="SCORED", help=INPUTS["filter"][1], show_default=False)
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("scored", keyword, annotation=Annotated[str, argument])]
    for params_class in classes:
        hints = get_type_hints(params_class)
        parameters += [field_parameter(field, hints[field.name]) for field in fields(params_class)]
    parameters += [
        inspect.Parameter(name, keyword, default=default, annotation=annotation)
        for name, annotation, default in COMMON
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command_of(
        "audit",
        help="Measure a filter's false negatives: hide known positives, filter, count.",
        epilog="Example: negmine audit work/scored --relative-margin 0.05 --sweep auto -o "
        "work/audit",
    )(command)


_audit_command()


def _report_command() -> None:
    """Register ``negmine report`` with the options of its parameter class."""

    def command(**given: Any) -> None:
        log.setup(quiet=given["quiet"], verbose=given["verbose"], log_format=given["log_format"])
        from negmine import pipeline

        names = [field.name for field in fields(ReportParams)]
        guarded(
            lambda: pipeline.run_report(
                {name: given[name] for name in names if given[name] is not None},
                ledger=Path(given["ledger"]),
                other=Path(given["other"]) if given["other"] is not None else None,
                out=Path(given["out"]),
                force=given["force"],
            )
        )

    keyword = inspect.Parameter.KEYWORD_ONLY
    ledger = typer.Argument(metavar="LEDGER", help="The ledger artifact.", show_default=False)
    other = typer.Argument(
        metavar="OTHER", help="A second ledger, to compare with.", show_default=False
    )
    parameters = [
        inspect.Parameter("ledger", keyword, annotation=Annotated[str, ledger]),
        inspect.Parameter(
            "other",
            keyword,
            default=None,
            annotation=Annotated[Optional[str], other],  # noqa: UP045
        ),
    ]
    hints = get_type_hints(ReportParams)
    parameters += [field_parameter(field, hints[field.name]) for field in fields(ReportParams)]
    parameters += [
        inspect.Parameter(name, keyword, default=default, annotation=annotation)
        for name, annotation, default in COMMON
        if name != "config"
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command_of(
        "report",
        help="Show a ledger as one page to look at, or two ledgers side by side.",
        epilog="Example: negmine report work/ledger -o work/report.html",
    )(command)


_report_command()


@command_of(epilog="Example: negmine explain work/ledger 42")
def explain(
    ledger: Annotated[str, typer.Argument(metavar="LEDGER", help="The ledger artifact.")],
    qid: Annotated[str, typer.Argument(metavar="QID", help="The query's id.")],
    rows: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, metavar="N", help="Show only the first N candidates."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Show every candidate of a query, its scores, and the rule that dropped it."""
    log.setup(quiet=quiet)
    from negmine.commands import explain as explaining

    guarded(lambda: explaining.show(Path(ledger), qid, rows=rows, as_json=json_))
