"""The options of models behind HTTP, which several commands share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from negmine.params.option import opt


# A group of fields: the parameters of a command make the methods.
@dataclass(frozen=True, init=False, repr=False, eq=False)
class CallOptions:
    """What may be spent, and how fast it is asked."""

    headings: ClassVar[Mapping[str, str]] = {"max_calls": "Models behind HTTP"}

    max_calls: int | None = opt(
        None,
        "Stop cleanly after so many calls (exit code 9): the same command goes on with as many "
        "again. What is stored is no call.",
        metavar="N",
        minimum=1,
        later=True,
        affects_output=False,
    )
    max_tokens: int | None = opt(
        None,
        "Stop cleanly after so many tokens, read and written.",
        metavar="N",
        minimum=1,
        later=True,
        affects_output=False,
    )
    max_cost: float | None = opt(
        None,
        "Stop cleanly after this cost: as the server tells it, else by --price.",
        metavar="COST",
        above=0,
        later=True,
        affects_output=False,
    )
    price: str | None = opt(
        None,
        "What a million tokens cost, read and written, where the server does not tell.",
        metavar="IN,OUT",
        later=True,
        affects_output=False,
    )
    concurrency: int = opt(
        16,
        "Most calls at a time; fewer where the server complains or slows down.",
        minimum=1,
        maximum=1024,
        later=True,
        affects_output=False,
    )
    timeout: float = opt(
        120.0,
        "Seconds until a call without a whole answer has failed.",
        metavar="S",
        above=0,
        later=True,
        affects_output=False,
    )
    retries: int = opt(
        6,
        "How often a failed call is made again, and how often in a row the server may fail as a "
        "whole.",
        minimum=0,
        later=True,
        affects_output=False,
    )


@dataclass(frozen=True, init=False, repr=False, eq=False)
class EndpointOptions(CallOptions):
    """Likewise, and by what way."""

    headings: ClassVar[Mapping[str, str]] = {"via": "Models behind HTTP"}

    via: Literal["http", "batch"] = opt(
        "http",
        "Ask the server, or write what is to be asked as OpenAI batch files and read the answers "
        "from files (docs/language-models.md).",
        later=True,
        affects_output=False,
    )
    batch_folder: str | None = opt(
        None,
        "Where the files of --via batch are; default: batch, beside the result.",
        metavar="FOLDER",
        later=True,
        written=True,
    )


def idle(params: CallOptions, *more: str) -> list[str]:
    """A sentence per option that was given and changes nothing where no server is asked.

    Args:
        params: of a command whose models are all on this machine, or that has none.
        more: its other options that servers alone read.
    """
    names = {*more, *(one.name for one in fields(EndpointOptions))}
    return [
        f"--{one.name.replace('_', '-')} has no effect without a model behind HTTP"
        for one in fields(params)
        if one.name in names and getattr(params, one.name) != one.default
    ]
