"""The app: its root options, and how errors become messages and exit codes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NoReturn

import typer

from negmine import __version__, interrupts, log
from negmine.cli.given_once import GivenOnceCommand
from negmine.errors import EXIT_INTERRUPTED, NegmineError, machine_error

app = typer.Typer(
    name="negmine",
    help="Offline hard-negative mining: from (query, positive) pairs to denoised training "
    "triplets, in five stages over Parquet files.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

command_of = partial(app.command, cls=GivenOnceCommand)

_EXIT_BROKEN_PIPE = 141


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


def guarded(call: Callable[[], Any]) -> None:
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
    except Exception as error:  # the libraries' errors have no common base
        known = machine_error(error)
        if known is None:
            raise
        log.logger.debug("raised here", exc_info=True)
        _fail(known)


def _fail(error: NegmineError) -> NoReturn:
    log.event(f"error: {error}", level=40, error=type(error).__name__)
    raise typer.Exit(error.exit_code) from None
