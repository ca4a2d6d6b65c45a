"""Commands whose options are the fields of parameter classes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Annotated, Any, get_type_hints

import typer

from negmine import log
from negmine.cli.app import command_of
from negmine.cli.options import Declared, field_parameter
from negmine.params.option import headings_of


def positional(name: str, metavar: str, help_text: str, kind: Any = str) -> Declared:
    """An argument; one whose ``kind`` is optional may be left out."""
    argument = typer.Argument(metavar=metavar, help=help_text, show_default=False)
    return name, Annotated[kind, argument], inspect.Parameter.empty if kind is str else None


def register(
    name: str,
    call: Callable[[dict[str, Any]], None],
    *,
    arguments: Iterable[Declared],
    classes: Iterable[Any],
    shared: Iterable[Declared],
    help_text: str,
    example: str,
) -> None:
    """Make ``negmine NAME`` of arguments, the fields of parameter classes and shared options.

    Args:
        name: of the command.
        call: what it does, given every parameter by its name.
        arguments: what stands before the options.
        classes: parameter classes; an option that nobody gives is None.
        shared: options that other commands have too; with quiet, verbose and log_format.
        help_text: what it does, in a line.
        example: a command line.
    """

    def command(**given: Any) -> None:
        log.setup(quiet=given["quiet"], verbose=given["verbose"], log_format=given["log_format"])
        call(given)

    parameters = [_parameter(*declared) for declared in arguments]
    for params_class in classes:
        parameters += _of_fields(params_class)
    parameters += [_parameter(*declared) for declared in shared]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command_of(name, help=help_text, epilog=f"Example: {example}")(command)


@functools.cache
def _of_fields(params_class: Any) -> tuple[inspect.Parameter, ...]:
    """The fields of a class as parameters: two commands take those of ``filter``."""
    hints, headings = get_type_hints(params_class), headings_of(params_class)
    return tuple(
        field_parameter(field, hints[field.name], headings[field.name])
        for field in fields(params_class)
    )


def flags_of(params_class: Any, given: dict[str, Any]) -> dict[str, Any]:
    """The options of a class that were given."""
    names = [field.name for field in fields(params_class)]
    return {name: given[name] for name in names if given[name] not in (None, [])}


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, keyword, default=default, annotation=annotation)
