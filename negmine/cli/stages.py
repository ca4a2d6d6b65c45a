"""The commands of the stages, made from their rows, and ``run``."""

from __future__ import annotations

from typing import Annotated, Any, Optional

import typer

from negmine import log
from negmine.addresses import located
from negmine.cli import completion
from negmine.cli.app import command_of, guarded
from negmine.cli.building import flags_of, positional, register
from negmine.cli.engines import (
    AddressOption,
    EngineOption,
    GpusOption,
    WorkersOption,
    engine_of,
)
from negmine.cli.given_once import called_with
from negmine.cli.options import (
    COMMON,
    TRIAL,
    DryRunOption,
    JsonOption,
    LogFormatOption,
    QuietOption,
    VerboseOption,
    optional_out,
    place_of_result,
    refuse_json,
    replacing,
)
from negmine.cli.sharing import share_of, shown_words
from negmine.stages.stage import STAGES, Stage


def _register(stage: Stage[Any]) -> None:
    """Register ``negmine STAGE`` with the options of its parameter class."""

    def call(given: dict[str, Any]) -> None:
        from negmine import pipeline

        flags = flags_of(stage.params, given)
        where: dict[str, Any] = {
            "source": located(given["artifact"]) if stage.reads else None,
            "config": given["config"],
            "replacing": replacing(given),
        }
        if given["json_"] and not given["dry_run"]:
            guarded(refuse_json)

        def run() -> None:
            out = place_of_result(given, stage.alone)
            share = share_of(given["shard"])
            if given["dry_run"]:
                as_json = given["json_"] or given["log_format"] == "json"
                pipeline.estimate_stage(
                    stage.name, flags, **where, out=out, as_json=as_json, share=share
                )
            else:
                pipeline.run_stage(stage.name, flags, **where, out=out, share=share)

        guarded(run)

    reads = stage.reads
    common = [] if stage.alone is None else [optional_out(stage.alone)]
    register(
        stage.name,
        call,
        arguments=[positional("artifact", reads.metavar, reads.help)] if reads else [],
        classes=[stage.params],
        shared=(*common, *COMMON[len(common) :], *TRIAL),
        help_text=stage.help,
        example=stage.example,
    )


for _stage in STAGES.values():
    _register(_stage)


@command_of(
    help="Run all five stages of a recipe: only those whose settings or inputs changed.",
    epilog="Example: negmine run default --corpus corpus.jsonl --queries queries.jsonl "
    "--qrels qrels.tsv",
)
def run(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="The recipe: a TOML file, the name of one of negmine's, or - for stdin.",
            autocompletion=completion.recipes,
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
    train: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="PATH",
            help="Clean this finished training set instead of mining: its negatives are judged "
            "by the recipe, and it is written back as it was, with what differs beside it. One "
            "file: several are cleaned by a command each, with its own -o.",
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
    encoder: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            metavar="NAME=MODEL",
            help="Another model or checkpoint for an encoder of the recipe (repeatable).",
        ),
    ] = None,
    round_: Annotated[
        int,
        typer.Option(
            "--round",
            min=1,
            metavar="N",
            help="Which round of a model in training this is: from the second on its artifacts go "
            "to round-N of the work folder, and what the checkpoint does not change is the round "
            "before's.",
        ),
    ] = 1,
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
    tag: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="NAME",
            help="Write ledger-NAME and train-NAME beside those of other settings, instead of the "
            "recipe's tag; all before them is shared.",
        ),
    ] = None,
    engine: EngineOption = None,
    workers: WorkersOption = None,
    gpus_per_worker: GpusOption = None,
    address: AddressOption = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Replace also what is damaged, was changed by hand or is not negmine's. (What has "
            "other settings is replaced anyway, and what is up to date stays.)",
        ),
    ] = False,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="Make everything anew; without it old scores of rerank are kept aside.",
        ),
    ] = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    log_format: LogFormatOption = "text",
    dry_run: DryRunOption = False,
    json_: JsonOption = False,
) -> None:
    """Register ``negmine run``. Long because every option stands in the signature."""
    log.setup(quiet=quiet, verbose=verbose, log_format=log_format)
    from negmine import pipeline

    given: dict[str, Any] = {
        "out": out,
        "inputs": {
            **{"corpus": corpus, "queries": queries, "qrels": qrels, "pairs": pairs},
            "train": None if train is None else [train],
        },
        "changes": set_ or [],
        "memory": memory,
        "tag": tag,
        "replacing": replacing({"force": force, "rebuild": rebuild}, in_work_folder=True),
        "allow_empty": allow_empty,
        "number": round_,
        "encoders": encoder or [],
    }
    if json_ and not dry_run:
        guarded(refuse_json)

    def call() -> None:
        asked = engine_of(engine, workers, gpus_per_worker, address)
        if dry_run:
            as_json = json_ or log_format == "json"
            pipeline.estimate_recipe(recipe, **given, engine=asked, as_json=as_json)
        else:
            words = () if asked is None else shown_words(called_with)
            pipeline.run_recipe(recipe, **given, engine=asked, command=words)

    guarded(call)
