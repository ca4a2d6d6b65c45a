"""``--engine``: who makes the parts of a chain, and how many they are."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal, Optional

import typer

from negmine.engine.engines import Asked
from negmine.errors import UsageError

_option = partial(typer.Option, rich_help_panel="Several processes", show_default=False)
EngineOption = Annotated[
    Optional[Literal["local", "ray"]],  # noqa: UP045
    _option(
        help="Have the parts made by workers: processes of this machine, or actors of a Ray "
        "cluster. What comes out is the same. Default: by this process.",
    ),
]
WorkersOption = Annotated[
    Optional[int],  # noqa: UP045
    _option(
        min=1,
        metavar="N",
        help="How many workers; each loads the models. Default: one for each so many GPUs, or for "
        "each machine of a cluster.",
    ),
]
GpusOption = Annotated[
    Optional[int],  # noqa: UP045
    _option(
        "--gpus-per-worker",
        min=1,
        metavar="N",
        help="GPUs of each worker, which no other one has.",
    ),
]
AddressOption = Annotated[
    Optional[str],  # noqa: UP045
    _option(
        metavar="HOST:PORT",
        help="The Ray cluster. Default: RAY_ADDRESS, or the one that this machine is part of.",
    ),
]


def engine_of(
    engine: str | None, workers: int | None, gpus: int | None, address: str | None
) -> Asked | None:
    """The engine that the options ask for; None = this process.

    Raises:
        UsageError: an option has no effect, or it is not said how many workers there are to be.
    """
    if engine is None:
        given = {"--workers": workers, "--gpus-per-worker": gpus, "--address": address}
        for name, value in given.items():
            if value is not None:
                raise UsageError(
                    f"{name} belongs to --engine", hint="Add --engine local or --engine ray."
                )
        return None
    if engine == "local" and address is not None:
        raise UsageError("--address belongs to --engine ray")
    if engine == "local" and workers is None and gpus is None:
        raise UsageError(
            "--engine local: how many workers?",
            hint="--workers 2, where two have the memory to load the models; or one for each GPU: "
            "--gpus-per-worker 1.",
        )
    return Asked(engine, address, workers, gpus)
