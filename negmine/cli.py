"""The command line: parse, call a stage, report. No logic lives here.

Each stage's options are made from the fields of its parameter class, so they are declared once,
in :mod:`negmine.params`. Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Optional, get_args, get_origin, get_type_hints

import typer

from negmine import __version__, bounds, interrupts, log
from negmine.errors import (
    EXIT_INTERRUPTED,
    MachineError,
    NegmineError,
    UsageError,
    machine_error,
)
from negmine.given_once import GivenOnceCommand
from negmine.params import STAGES, AuditParams, FilterParams, ReportParams

app = typer.Typer(
    name="negmine",
    help="Offline hard-negative mining: from (query, positive) pairs to denoised training "
    "triplets, in five stages over Parquet files.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_command = partial(app.command, cls=GivenOnceCommand)

_EPILOG = {
    "index": "Example: negmine index --corpus corpus.jsonl --encoder "
    "minilm=sentence-transformers/all-MiniLM-L6-v2 -o work/index",
    "retrieve": "Example: negmine retrieve work/index --queries queries.jsonl --qrels qrels.tsv "
    "--source bm25 --source minilm -k 100 -o work/candidates",
    "rerank": "Example: negmine rerank work/candidates --scorer "
    "ce=cross-encoder/ms-marco-MiniLM-L12-v2 -o work/scored",
    "filter": "Example: negmine filter work/scored --by ce --relative-margin 0.05 "
    "--num-negatives 8 -o work/ledger",
    "export": "Example: negmine export work/ledger --format triplet -o work/train.parquet",
}

_HELP = {
    "index": "Store a corpus: documents, a Lucene BM25 index, and vectors per encoder.",
    "retrieve": "Find candidates for every query with every source; positives are scored too.",
    "rerank": "Score the candidates with cross-encoders or bi-encoders, a column each.",
    "filter": "Drop false negatives by rule and choose negatives; every row is kept in the ledger.",
    "export": "Write the training set: .parquet, .jsonl(.gz|.zst), a folder, or - for stdout.",
}

#: The positional input of each stage but the first: (name, help).
_INPUT = {
    "retrieve": ("index", "The index artifact."),
    "rerank": ("candidates", "The candidates artifact, or a scored one to add scores to."),
    "filter": ("scored", "The scored (or just retrieved) artifact."),
    "export": ("ledger", "The ledger artifact."),
}

_EXIT_BROKEN_PIPE = 141

LogFormat = Literal["text", "json"]
_Config = Annotated[
    Optional[str],  # noqa: UP045 (typer reads the annotation at run time)
    typer.Option(
        "-c", "--config", metavar="RECIPE", help="Recipe whose table for this stage sets defaults."
    ),
]
_Out = Annotated[str, typer.Option("-o", "--out", metavar="PATH", help="Where the result goes.")]
_Force = Annotated[
    bool, typer.Option("--force", help="Replace a result that was made with other settings.")
]
_Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Only warnings and errors.")]
_Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="More detail.")]
_DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Write nothing: tell what would be read, written, held and how long it would take, "
        "from a few seconds of trials on samples.",
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="With --dry-run: print JSON.")]
_LogFormat = Annotated[LogFormat, typer.Option("--log-format", help="Log lines on stderr.")]

#: Options that every command with a result has: (name, annotation, default).
_COMMON: tuple[tuple[str, Any, Any], ...] = (
    ("out", _Out, inspect.Parameter.empty),
    ("config", _Config, None),
    ("force", _Force, False),
    ("quiet", _Quiet, False),
    ("verbose", _Verbose, False),
    ("log_format", _LogFormat, "text"),
)

#: Options that the stages have besides.
_TRIAL: tuple[tuple[str, Any, Any], ...] = (("dry_run", _DryRun, False), ("json_", _Json, False))


def _field_parameter(field: Any, hint: Any) -> inspect.Parameter:
    """A stage parameter as a Typer option; None means "not given"."""
    metadata = field.metadata
    flags = metadata["flags"] or (f"--{field.name.replace('_', '-')}",)
    parts = [part for part in get_args(hint) if part is not type(None)] or [hint]
    kind = list[str] if get_origin(parts[0]) is tuple else parts[0]
    if get_origin(hint) is tuple:
        kind = list[str]
    elif get_origin(hint) is Literal:
        kind = hint
    help_text = metadata["help"]
    if field.default not in (None, ()):
        default = str(field.default)
        if isinstance(field.default, bool):
            default = flags[0].split("/")[0 if field.default else 1].removeprefix("--")
        help_text = f"{help_text} [default: {default}]"
    if metadata["maximum"] is not None or metadata["below"] is not None:
        help_text = f"{help_text} [{bounds.told(metadata)}]"
    option = typer.Option(*flags, help=help_text, metavar=metadata["metavar"], show_default=False)
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[Optional[kind], option],  # noqa: UP045
    )


def _refuse_json() -> NoReturn:
    raise UsageError(
        "--json belongs to --dry-run", hint="Add --dry-run; logs are JSON with --log-format json."
    )


def _stage_command(stage: str) -> None:
    """Register ``negmine STAGE`` with the options of its parameter class."""
    params_class = STAGES[stage]
    hints = get_type_hints(params_class)
    names = [field.name for field in fields(params_class)]

    def command(**given: Any) -> None:
        log.setup(quiet=given["quiet"], verbose=given["verbose"], log_format=given["log_format"])
        from negmine import pipeline

        flags = {name: given[name] for name in names if given[name] not in (None, [])}
        where: dict[str, Any] = {
            "source": Path(given["artifact"]) if stage in _INPUT else None,
            "out": Path(given["out"]),
            "config": given["config"],
            "force": given["force"],
        }
        if given["json_"] and not given["dry_run"]:
            _guarded(_refuse_json)
        if given["dry_run"]:
            as_json = given["json_"] or given["log_format"] == "json"
            _guarded(lambda: pipeline.estimate_stage(stage, flags, **where, as_json=as_json))
        else:
            _guarded(lambda: pipeline.run_stage(stage, flags, **where))

    parameters = []
    if stage in _INPUT:
        metavar, help_text = _INPUT[stage]
        argument = typer.Argument(metavar=metavar.upper(), help=help_text, show_default=False)
        parameters.append(
            inspect.Parameter(
                "artifact", inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[str, argument]
            )
        )
    parameters += [_field_parameter(field, hints[field.name]) for field in fields(params_class)]
    for name, annotation, default in (*_COMMON, *_TRIAL):
        parameters.append(
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
            )
        )
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    _command(stage, help=_HELP[stage], epilog=_EPILOG[stage])(command)


for _stage in STAGES:
    _stage_command(_stage)


@_command(epilog="Example: negmine init pairs.jsonl && negmine run recipe.toml")
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
    quiet: _Quiet = False,
) -> None:
    """Look at your files, say what they seem to be, and write a recipe for them."""
    log.setup(quiet=quiet)
    from negmine import starter

    _guarded(
        lambda: starter.run(inputs or [], out, encoder=encoder, force=force, column=column or [])
    )


@_command(
    epilog="Example: negmine run default --corpus corpus.jsonl --queries queries.jsonl "
    "--qrels qrels.tsv"
)
def run(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="The recipe: a TOML file, the name of one of negmine's, or - for stdin.",
        ),
    ],
    out: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("-o", "--out", metavar="DIR", help="Work folder; default: the recipe's."),
    ] = None,
    corpus: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="PATH", help="Corpus, instead of the recipe's (repeatable)."),
    ] = None,
    queries: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="PATH", help="Queries, instead of the recipe's (repeatable)."),
    ] = None,
    qrels: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="PATH", help="Qrels, instead of the recipe's (repeatable)."),
    ] = None,
    pairs: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            metavar="PATH", help="(query, positive) pairs, instead of all three (repeatable)."
        ),
    ] = None,
    set_: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--set",
            metavar="STAGE.KEY=VALUE",
            help="Change one key of the recipe, e.g. filter.num-negatives=4, or one entry, "
            "e.g. index.encoder.minilm=MODEL (repeatable).",
        ),
    ] = None,
    memory: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="SIZE", help="Most memory of the process in every stage, e.g. 2GB."),
    ] = None,
    allow_empty: Annotated[
        bool,
        typer.Option(
            "--allow-empty", help="Write a training set without examples too, instead of exit 8."
        ),
    ] = False,
    force: _Force = False,
    quiet: _Quiet = False,
    verbose: _Verbose = False,
    log_format: _LogFormat = "text",
    dry_run: _DryRun = False,
    json_: _Json = False,
) -> None:
    """Run all five stages of a recipe, skipping what is up to date."""
    log.setup(quiet=quiet, verbose=verbose, log_format=log_format)
    from negmine import pipeline

    given: dict[str, Any] = {
        "out": out,
        "inputs": {"corpus": corpus, "queries": queries, "qrels": qrels, "pairs": pairs},
        "changes": set_ or [],
        "memory": memory,
        "force": force,
        "allow_empty": allow_empty,
    }
    if json_ and not dry_run:
        _guarded(_refuse_json)
    if dry_run:
        as_json = json_ or log_format == "json"
        _guarded(lambda: pipeline.estimate_recipe(recipe, **given, as_json=as_json))
    else:
        _guarded(lambda: pipeline.run_recipe(recipe, **given))


@_command(epilog="Example: negmine inspect work/ledger --rows 5")
def inspect_(
    artifact: Annotated[
        str, typer.Argument(metavar="ARTIFACT", help="An artifact, or a work folder of them.")
    ],
    rows: Annotated[int, typer.Option(min=0, help="Joined rows to show.")] = 3,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the checksum of every file.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: _Quiet = False,
) -> None:
    """Show an artifact: schema, lineage, counts and a few rows with their texts."""
    log.setup(quiet=quiet)
    from negmine import inspection

    _guarded(lambda: inspection.show(Path(artifact), rows=rows, verify=verify, as_json=json_))


inspect_.__name__ = "inspect"
app.registered_commands[-1].name = "inspect"


@_command(epilog="Example: negmine doctor")
def doctor(
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell what is installed, which device and arithmetic would be used, and what is missing."""
    log.setup()
    from negmine import doctor as checks

    raise typer.Exit(checks.report(as_json=json_))


def _audit_command() -> None:
    """Register ``negmine audit``: all options of ``filter``, and its own."""
    classes = (FilterParams, AuditParams)

    def command(**given: Any) -> None:
        log.setup(quiet=given["quiet"], verbose=given["verbose"], log_format=given["log_format"])
        from negmine import pipeline

        flags = {name: value for name, value in given.items() if value not in (None, [])}
        _guarded(
            lambda: pipeline.run_audit(
                {field.name: flags.get(field.name) for field in fields(FilterParams)},
                {field.name: flags.get(field.name) for field in fields(AuditParams)},
                scored=Path(given["scored"]),
                out=Path(given["out"]),
                config=given["config"],
                force=given["force"],
            )
        )

    argument = typer.Argument(metavar="SCORED", help=_INPUT["filter"][1], show_default=False)
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("scored", keyword, annotation=Annotated[str, argument])]
    for params_class in classes:
        hints = get_type_hints(params_class)
        parameters += [_field_parameter(field, hints[field.name]) for field in fields(params_class)]
    parameters += [
        inspect.Parameter(name, keyword, default=default, annotation=annotation)
        for name, annotation, default in _COMMON
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    _command(
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
        _guarded(
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
    parameters += [_field_parameter(field, hints[field.name]) for field in fields(ReportParams)]
    parameters += [
        inspect.Parameter(name, keyword, default=default, annotation=annotation)
        for name, annotation, default in _COMMON
        if name != "config"
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    _command(
        "report",
        help="Show a ledger as one page to look at, or two ledgers side by side.",
        epilog="Example: negmine report work/ledger -o work/report.html",
    )(command)


_report_command()


@_command(epilog="Example: negmine explain work/ledger 42")
def explain(
    ledger: Annotated[str, typer.Argument(metavar="LEDGER", help="The ledger artifact.")],
    qid: Annotated[str, typer.Argument(metavar="QID", help="The query's id.")],
    rows: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, metavar="N", help="Show only the first N candidates."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: _Quiet = False,
) -> None:
    """Show every candidate of a query, its scores, and the rule that dropped it."""
    log.setup(quiet=quiet)
    from negmine import explain as explaining

    _guarded(lambda: explaining.show(Path(ledger), qid, rows=rows, as_json=json_))


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"negmine {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Take options that belong to no command."""


def _guarded(call: Callable[[], Any]) -> None:
    """Run a command; a user's mistake becomes one message and its exit code."""
    # From here on whatever goes on may tidy up.
    signal.signal(signal.SIGINT, interrupts.interrupted)
    interrupts.forget()
    try:
        call()
        interrupts.check()
    except NegmineError as error:
        _fail(error)
    except KeyboardInterrupt:
        log.event("interrupted: run the same command again to continue", level=40)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        # The reader of our pipe went away (`| head`): nothing is left to say, or to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(_EXIT_BROKEN_PIPE) from None
    except (OSError, MemoryError, ImportError, RuntimeError) as error:
        known = machine_error(error)
        if known is None:
            raise
        log.logger.debug("raised here", exc_info=True)
        _fail(known)


def _fail(error: NegmineError) -> NoReturn:
    log.event(f"error: {error}", level=40, error=type(error).__name__)
    raise typer.Exit(error.exit_code) from None


def _interrupt(signum: int, frame: object) -> None:
    # While the command line is read there is nothing to tidy up, and nobody who would tell.
    log.event("interrupted", level=40)
    raise SystemExit(EXIT_INTERRUPTED)


def main() -> None:
    """Entry point of the console script."""
    signal.signal(signal.SIGTERM, interrupts.terminated)
    signal.signal(signal.SIGINT, _interrupt)
    try:
        app()
    except (MemoryError, ImportError) as error:
        # While the command line was read: too early for _guarded.
        known = machine_error(error)
        if known is None:
            raise
        print(f"error: {known}", file=sys.stderr)
        raise SystemExit(MachineError.exit_code) from None
