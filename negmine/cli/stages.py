"""The commands of the stages, made from :mod:`negmine.params`, and ``run``."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Optional, get_type_hints

import typer

from negmine import log
from negmine.cli.app import command_of, guarded
from negmine.cli.options import (
    COMMON,
    TRIAL,
    DryRunOption,
    ForceOption,
    JsonOption,
    LogFormatOption,
    QuietOption,
    VerboseOption,
    field_parameter,
    refuse_json,
)
from negmine.params import STAGES

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
INPUTS = {
    "retrieve": ("index", "The index artifact."),
    "rerank": ("candidates", "The candidates artifact, or a scored one to add scores to."),
    "filter": ("scored", "The scored (or just retrieved) artifact."),
    "export": ("ledger", "The ledger artifact."),
}


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
            "source": Path(given["artifact"]) if stage in INPUTS else None,
            "out": Path(given["out"]),
            "config": given["config"],
            "force": given["force"],
        }
        if given["json_"] and not given["dry_run"]:
            guarded(refuse_json)
        if given["dry_run"]:
            as_json = given["json_"] or given["log_format"] == "json"
            guarded(lambda: pipeline.estimate_stage(stage, flags, **where, as_json=as_json))
        else:
            guarded(lambda: pipeline.run_stage(stage, flags, **where))

    parameters = []
    if stage in INPUTS:
        metavar, help_text = INPUTS[stage]
        argument = typer.Argument(metavar=metavar.upper(), help=help_text, show_default=False)
        parameters.append(
            inspect.Parameter(
                "artifact", inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[str, argument]
            )
        )
    parameters += [field_parameter(field, hints[field.name]) for field in fields(params_class)]
    for name, annotation, default in (*COMMON, *TRIAL):
        parameters.append(
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
            )
        )
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command_of(stage, help=_HELP[stage], epilog=_EPILOG[stage])(command)


for _stage in STAGES:
    _stage_command(_stage)


@command_of(
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
    force: ForceOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    log_format: LogFormatOption = "text",
    dry_run: DryRunOption = False,
    json_: JsonOption = False,
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
        guarded(refuse_json)
    if dry_run:
        as_json = json_ or log_format == "json"
        guarded(lambda: pipeline.estimate_recipe(recipe, **given, as_json=as_json))
    else:
        guarded(lambda: pipeline.run_recipe(recipe, **given))
