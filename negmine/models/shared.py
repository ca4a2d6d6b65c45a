"""Models that stages of one run share: loaded and compiled once, let go where none ahead asks.

Loading and compiling an encoder takes longer than encoding a thousand short texts, and ``index``
and ``retrieve`` want the same one. Whoever runs a chain of stages says before each what those after
it name (:meth:`Kept.turn`); only such models are kept, and only on CPUs: a GPU's memory is the next
model's, and nothing is compiled there. Without a chain nothing is kept. A worker that makes one
stage a few parts at a time keeps what that names, wherever it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

from negmine.models.base import Settings
from negmine.models.resolve import ModelRef
from negmine.models.torch_models import TorchModel

S = TypeVar("S", bound=Settings)
M = TypeVar("M")


@dataclass
class Kept:
    """What is kept of the stages before for those to come.

    Attributes:
        models: what loaded a model, and the model.
        ahead: what later stages say, in which the specs of their models are.
        gpus: whether what is on a GPU is kept, too.
    """

    models: list[tuple[Callable[..., Any], TorchModel]] = field(default_factory=list)
    ahead: tuple[str, ...] = ()
    gpus: bool = False

    def turn(self, now: object, ahead: Sequence[object]) -> None:
        """Begin a stage: let go of what neither it nor a later one names.

        Args:
            now: its parameters, and whatever else names its models.
            ahead: those of the stages after it.
        """
        self.ahead = tuple(_texts(ahead))
        named = (*_texts(now), *self.ahead)
        self.models = [one for one in self.models if _names(named, one[1].ref)]

    def take(self, load: Callable[..., Any], ref: ModelRef, settings: Settings) -> Any | None:
        """The kept model that ``load`` would give, if there is one."""
        for place, (by, model) in enumerate(self.models):
            again = model.again(settings) if by is load and model.ref == ref else None
            if again is not None:
                if not _names(self.ahead, ref):
                    del self.models[place]
                return again
        return None

    def put(self, load: Callable[..., Any], model: object) -> None:
        """Keep a model that was loaded just now, if a later stage names it."""
        if (
            isinstance(model, TorchModel)
            and (self.gpus or model.placement.device == "cpu")
            and _names(self.ahead, model.ref)
        ):
            self.models.append((load, model))


_kept: Kept | None = None


@contextmanager
def between_stages(*, gpus: bool = False) -> Iterator[Kept]:
    """Within it models are kept as :meth:`Kept.turn` says; at its end all are let go.

    Args:
        gpus: keep those on GPUs, too: whoever comes back to one stage again and again.
    """
    global _kept
    before, _kept = _kept, Kept(gpus=gpus)
    try:
        yield _kept
    finally:
        _kept = before


def loaded(load: Callable[[ModelRef, S], M], ref: ModelRef, settings: S) -> M:
    """The model that ``load`` gives, which a stage before this one may have loaded.

    Args:
        load: loads it; what is kept is told apart by it, the model and the settings.
        ref: which model.
        settings: how it is run.
    """
    if _kept is None:
        return load(ref, settings)
    found: M | None = _kept.take(load, ref, settings)
    if found is None:
        found = load(ref, settings)
        _kept.put(load, found)
    return found


def _names(texts: Sequence[str], ref: ModelRef) -> bool:
    """Whether one of the texts has the spec of a model in it."""
    return any(ref.spec in text for text in texts)


def _texts(value: object) -> Iterator[str]:
    """Every text among some parameters."""
    if isinstance(value, str):
        yield value
    elif is_dataclass(value):
        for one in fields(value):
            yield from _texts(getattr(value, one.name))
    elif isinstance(value, dict):
        yield from _texts([*value, *value.values()])
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _texts(entry)
