"""``negmine collect``: the command that made the shards, once more, to make a whole of them."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from negmine import log
from negmine.addresses import located
from negmine.cli.app import command_of, guarded
from negmine.cli.main import run_words
from negmine.cli.options import LogFormatOption, QuietOption, VerboseOption
from negmine.engine import shares


@command_of(epilog="Example: negmine collect work/candidates")
def collect(
    artifact: Annotated[
        str, typer.Argument(metavar="ARTIFACT", help="What the shards have made parts of.")
    ],
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    log_format: LogFormatOption = "text",
) -> None:
    """Make an artifact of the parts of its shards; what is missing is named, with its command."""
    log.setup(quiet=quiet, verbose=verbose, log_format=log_format)
    from negmine.commands import collect as collecting

    found: list[collecting.Command] = []
    guarded(lambda: found.extend(collecting.commands_of(located(artifact))))
    given = [*(["--quiet"] if quiet else []), *(["--verbose"] if verbose else [])]
    for command in found:
        os.chdir(command.folder)
        name, *words = command.words
        said = any(word.startswith("--log-format") for word in words)
        form = [] if said or log_format == "text" else ["--log-format", log_format]
        try:
            run_words([name, *given, *form, "--shard", shares.COLLECT, *words])
        except SystemExit as ended:
            if ended.code:
                raise
    if not found:
        print(artifact, file=sys.stdout, flush=True)
