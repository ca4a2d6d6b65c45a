"""The entry point."""

from __future__ import annotations

import copy
import inspect
import os
import signal
import sys
from collections.abc import Sequence

from typer.models import CommandInfo

from negmine import interrupts, log
from negmine.cli.app import app
from negmine.errors import EXIT_INTERRUPTED, MachineError, machine_error


def _interrupt(signum: int, frame: object) -> None:
    # While the command line is read there is nothing to tidy up, and nobody who would tell.
    log.event("interrupted", level=40)
    raise SystemExit(EXIT_INTERRUPTED)


#: Every command, once somebody came in here.
_ALL: list[CommandInfo] = []
#: What shows no options of commands.
_OF_THE_ROOT = {"-h", "--help", "--version"}


def _needed(arguments: Sequence[str], commands: list[CommandInfo]) -> list[CommandInfo]:
    """Of the commands what these arguments need: their options take as long to read as Python.

    Args:
        arguments: the command line without the program's name.
        commands: all commands.

    Returns:
        The one that is named; all, without their options, where the root's help or the version is
        wanted; else all, for what was meant.
    """
    if any(name.endswith("_COMPLETE") for name in os.environ):
        # A shell asks, and its words stand elsewhere.
        return commands
    if set(arguments) <= _OF_THE_ROOT:
        return [_without_options(one) for one in commands]
    return [one for one in commands if _name(one) == arguments[0]] or commands


def _without_options(command: CommandInfo) -> CommandInfo:
    """The command as the list of commands shows it: without options."""

    def bare() -> None:
        raise AssertionError

    found = copy.copy(command)
    found.name = _name(command)
    found.help = command.help or inspect.getdoc(command.callback)
    found.callback = bare
    return found


def _name(command: CommandInfo) -> str:
    return command.name or getattr(command.callback, "__name__", "").replace("_", "-")


def run_words(words: Sequence[str]) -> None:
    """Run a command line, given without the program's name."""
    _ALL.extend([] if _ALL else app.registered_commands)
    before, app.registered_commands = app.registered_commands, _needed(words, _ALL)
    try:
        app(args=list(words))
    finally:
        app.registered_commands = before


def main() -> None:
    """Entry point of the console script."""
    signal.signal(signal.SIGTERM, interrupts.terminated)
    signal.signal(signal.SIGINT, _interrupt)
    try:
        run_words(sys.argv[1:])
    except Exception as error:
        # While the command line was read: too early for guarded(). What used up memory looks like
        # has no common base, and all else is raised again.
        known = machine_error(error)
        if known is None:
            raise
        print(f"error: {known}", file=sys.stderr)
        raise SystemExit(MachineError.exit_code) from None
