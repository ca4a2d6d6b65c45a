"""The commands that look at what stages made."""

from __future__ import annotations

from typing import Annotated, Any, Optional

import typer

from negmine import log
from negmine.addresses import located
from negmine.cli.app import app, command_of, guarded
from negmine.cli.building import flags_of, positional, register
from negmine.cli.options import COMMON, QuietOption, optional_out, replacing
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
            metavar="[NAME=]MODEL",
            help="Encoder of the recipe; default: one that is on this machine.",
        ),
    ] = None,
    scorer: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="[NAME=]MODEL",
            help="Cross-encoder of the recipe; default: one that is on this machine.",
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
        lambda: starter.run(
            inputs or [], out, encoder=encoder, scorer=scorer, force=force, column=column or []
        )
    )


@command_of(epilog="Example: negmine inspect work/ledger")
def inspect_(
    artifact: Annotated[
        str, typer.Argument(metavar="ARTIFACT", help="An artifact, or a work folder of them.")
    ],
    rows: Annotated[
        int,
        typer.Option(
            min=0,
            help="Queries of a table, or rows of a file, to show; with -v and --json rows.",
        ),
    ] = 3,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Check every file; exit 5 if one is broken."),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Manifest, schema, lineage and settings, too.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Show an artifact: what was chosen, what was dropped and why, or what lies in it."""
    log.setup(quiet=quiet)
    from negmine.commands import inspect as inspection

    guarded(
        lambda: inspection.show(
            located(artifact), rows=rows, verify=verify, verbose=verbose, as_json=json_
        )
    )


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


def _audit(given: dict[str, Any]) -> None:
    from negmine import pipeline

    asked = {
        "filter_flags": flags_of(FilterParams, given),
        "audit_flags": flags_of(AuditParams, given),
        "scored": located(given["scored"]),
        "config": given["config"],
        "as_json": given["json_"],
    }
    if given["dry_run"]:
        guarded(lambda: pipeline.estimate_audit(**asked))
        return
    out = located(given["out"]) if given["out"] is not None else None
    guarded(lambda: pipeline.run_audit(**asked, out=out, replacing=replacing(given)))


_AUDIT_DRY_RUN = typer.Option(
    "--dry-run",
    help="Ask nobody: with --judge NAME=MODEL tell how many calls the sample would take.",
)
_AUDIT_JSON = typer.Option("--json", help="Print the report as JSON in place of its path.")

register(
    "audit",
    _audit,
    arguments=[
        positional(
            "scored",
            "SCORED",
            "The scored (or just retrieved) artifact; with --judge or --sheet a ledger, too.",
        )
    ],
    classes=[AuditParams, FilterParams],
    shared=[
        optional_out("judge"),
        *(declared for declared in COMMON if declared[0] != "out"),
        ("dry_run", Annotated[bool, _AUDIT_DRY_RUN], False),
        ("json_", Annotated[bool, _AUDIT_JSON], False),
    ],
    help_text="Measure a filter's false negatives: hide known positives, filter, count; or have "
    "a judge and people read what was chosen.",
    example="negmine audit work/scored --relative-margin 0.05 --sweep auto -o work/audit",
)


def _report(given: dict[str, Any]) -> None:
    from negmine import pipeline

    guarded(
        lambda: pipeline.run_report(
            flags_of(ReportParams, given),
            ledger=located(given["ledger"]),
            other=located(given["other"]) if given["other"] is not None else None,
            out=located(given["out"]),
            replacing=replacing(given),
        )
    )


register(
    "report",
    _report,
    arguments=[
        positional("ledger", "LEDGER", "The ledger artifact."),
        positional("other", "OTHER", "A second ledger, to compare with.", Optional[str]),  # noqa: UP045
    ],
    classes=[ReportParams],
    shared=[declared for declared in COMMON if declared[0] != "config"],
    help_text="Show a ledger as one page to look at, or two ledgers side by side.",
    example="negmine report work/ledger -o work/report.html",
)


@command_of(epilog='Example: negmine explain work/ledger "how do plants"')
def explain(
    ledger: Annotated[str, typer.Argument(metavar="LEDGER", help="The ledger artifact.")],
    query: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(
            metavar="QUERY",
            help="The query's id (of a 32-digit one its beginning), or words of its text.",
            show_default=False,
        ),
    ] = None,
    random: Annotated[bool, typer.Option("--random", help="Take a query by chance.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Which one --random takes.")] = 42,
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

    guarded(
        lambda: explaining.show(
            located(ledger), query, seed=seed if random else None, rows=rows, as_json=json_
        )
    )
