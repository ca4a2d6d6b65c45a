"""Options that several commands have, and a parameter out of a field of :mod:`negmine.params`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, Optional, get_args, get_origin

import typer

from negmine.addresses import located
from negmine.cli import completion
from negmine.cli.given_once import SWITCH
from negmine.errors import UsageError
from negmine.params import bounds
from negmine.params.per_model import element

if TYPE_CHECKING:
    from negmine.table.artifacts.replace import Replace

LogFormat = Literal["text", "json"]
_Config = Annotated[
    Optional[str],  # noqa: UP045 (typer reads the annotation at run time)
    typer.Option(
        "-c",
        "--config",
        metavar="RECIPE",
        help="Recipe whose table for this stage sets defaults.",
        autocompletion=completion.recipes,
    ),
]
_Out = Annotated[str, typer.Option("-o", "--out", metavar="PATH", help="Where the result goes.")]
ForceOption = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Replace a result that differs: of other settings, damaged, or not negmine's. One "
        "that is up to date stays.",
    ),
]
RebuildOption = Annotated[
    bool, typer.Option("--rebuild", help="Make it anew, even if it is up to date.")
]
QuietOption = Annotated[bool, typer.Option("-q", "--quiet", help="Only warnings and errors.")]
VerboseOption = Annotated[bool, typer.Option("-v", "--verbose", help="More detail.")]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Write nothing: tell what would be read, written, held and how long it would take, "
        "from a few seconds of trials on samples.",
    ),
]
_Shard = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        metavar="I/N",
        help="Make every N-th part, beginning with number I, counted from 0, beside other "
        "processes that make the rest; auto or auto/N: I as the job array tells. Then: negmine "
        "collect.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="With --dry-run: print JSON.")]
LogFormatOption = Annotated[LogFormat, typer.Option("--log-format", help="Log lines on stderr.")]

#: A parameter of a command: its name, annotation and default.
Declared = tuple[str, Any, Any]

#: Options that every command with a result has.
COMMON: tuple[Declared, ...] = (
    ("out", _Out, inspect.Parameter.empty),
    ("config", _Config, None),
    ("force", ForceOption, False),
    ("rebuild", RebuildOption, False),
    ("quiet", QuietOption, False),
    ("verbose", VerboseOption, False),
    ("log_format", LogFormatOption, "text"),
)

#: Options that the stages have besides.
TRIAL: tuple[Declared, ...] = (
    ("shard", _Shard, None),
    ("dry_run", DryRunOption, False),
    ("json_", JsonOption, False),
)


def optional_out(alone: str) -> Declared:
    """``-o`` of a command that may write the folder of the option ``alone`` and nothing else."""
    option = typer.Option(
        "-o",
        "--out",
        metavar="PATH",
        help=f"Where the result goes; may be left out where --{alone} is given.",
        show_default=False,
    )
    return "out", Annotated[Optional[str], option], None  # noqa: UP045


def place_of_result(given: Mapping[str, Any], alone: str | None) -> Path:
    """Where the result goes: ``-o``, or in its place the folder of the option ``alone``.

    Raises:
        UsageError: neither is given.
    """
    place = given["out"] or (given[alone] if alone is not None else None)
    if place is None:
        raise UsageError("-o is missing", hint=f"Say where the result goes, or give --{alone}.")
    return located(place)


def field_parameter(field: Any, hint: Any, heading: str | None = None) -> inspect.Parameter:
    """A stage parameter as a Typer option; None means "not given"."""
    metadata = field.metadata
    flags = metadata["flags"] or (f"--{field.name.replace('_', '-')}",)
    one = element(hint) if metadata["per_model"] else None
    parts = [part for part in get_args(hint) if part is not type(None)] or [hint]
    kind = list[str] if get_origin(parts[0]) is tuple else parts[0]
    if get_origin(hint) is tuple:
        kind = list[str]
    elif get_origin(hint) is Literal:
        kind = hint
    metavar, completed = metadata["metavar"], completion.of_option(field.name)
    if one is not None:
        kind, metavar = list[str], f"[NAME=]{_value_of(one)}"
        # Both ways to write a switch are names of one option that takes a value.
        flags = tuple(flag for both in flags for flag in both.split("/"))
        completed = completion.of_values(get_args(one)) if get_origin(one) is Literal else completed
    help_text = metadata["help"]
    if field.default not in (None, ()):
        default = str(field.default)
        if one is bool:
            default = "on" if field.default else "off"
        elif isinstance(field.default, bool):
            default = flags[0].split("/")[0 if field.default else 1].removeprefix("--")
        help_text = f"{help_text} [default: {default}]"
    if metadata["maximum"] is not None or metadata["below"] is not None:
        help_text = f"{help_text} [{bounds.told(metadata)}]"
    option = typer.Option(
        *flags,
        help=help_text,
        metavar=metavar,
        autocompletion=completed,
        show_default=False,
        rich_help_panel=heading,
    )
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[Optional[kind], option],  # noqa: UP045
    )


def _value_of(kind: Any) -> str:
    """What a value of an option of models is called in the help."""
    if get_origin(kind) is Literal:
        return "|".join(get_args(kind))
    return SWITCH if kind is bool else "N"


def replacing(given: Mapping[str, Any], *, in_work_folder: bool = False) -> Replace:
    """What ``--force`` and ``--rebuild`` ask for.

    Args:
        given: values of the command line.
        in_work_folder: results of other settings go without being asked for.
    """
    from negmine.table.artifacts.replace import Replace

    default = Replace.OTHER if in_work_folder else Replace.NOTHING
    return Replace.asked(force=given["force"], rebuild=given["rebuild"], default=default)


def refuse_json() -> NoReturn:
    """Refuse ``--json`` without ``--dry-run``."""
    raise UsageError(
        "--json belongs to --dry-run", hint="Add --dry-run; logs are JSON with --log-format json."
    )
