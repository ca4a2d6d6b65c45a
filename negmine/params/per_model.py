"""Options of models: a value for all of them, and others for those that are named.

``--pooling cls`` is for every model, ``--pooling e5=mean`` for one. A field of a parameter class
that may be given so has the type ``Each[T]`` and is declared with ``per_model=True``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, Generic, TypeAlias, TypeVar, Union, get_args, get_origin

from negmine.errors import UsageError, did_you_mean

T = TypeVar("T", covariant=True)
P = TypeVar("P")

#: What stands for all models that are not named, in a recipe's table and in a manifest.
EVERY = "*"


@dataclass(frozen=True)
class PerModel(Generic[T]):
    """A value for every model, and others for some.

    Attributes:
        every: for those that are not named.
        named: (model's name, its value).
    """

    every: T
    named: tuple[tuple[str, T], ...]

    def of(self, name: str) -> T:
        """The value for a model."""
        return dict(self.named).get(name, self.every)


#: An option of models: one value, or some by name.
Each: TypeAlias = Union[T, PerModel[T]]  # noqa: UP007 (a generic alias)


def of_model(value: Each[T], name: str) -> T:
    """What an option is for the model ``name``."""
    return value.of(name) if isinstance(value, PerModel) else value


def for_model(params: P, name: str) -> P:
    """The parameters with each option's value for the model ``name``."""
    every: Any = params
    found = {field.name: getattr(every, field.name) for field in fields(every)}
    changed = {key: one.of(name) for key, one in found.items() if isinstance(one, PerModel)}
    alone: P = replace(every, **changed) if changed else params
    return alone


def plain(value: Any) -> Any:
    """An option's value as JSON: one value where all models have the same."""
    if not isinstance(value, PerModel):
        return value
    others = {name: one for name, one in value.named if one != value.every}
    return {EVERY: value.every, **others} if others else value.every


def recorded(value: Any, name: str) -> Any:
    """The value for the model ``name`` of what :func:`plain` gave."""
    return value.get(name, value[EVERY]) if isinstance(value, dict) else value


def element(hint: Any) -> Any:
    """``T`` of the type ``Each[T]``; None of any other type."""
    for option in get_args(hint):
        if get_origin(option) is PerModel:
            return get_args(option)[0]
    return None


def options_of_models(params: Any) -> list[str]:
    """The fields of a parameter class that may be given for one model; prompts are among them."""
    return [
        field.name
        for field in fields(params)
        if field.metadata["per_model"] or (field.metadata["metavar"] or "").startswith("[NAME=]")
    ]


def names_in(value: Any) -> list[str]:
    """The models that an option's value, or the entries of a prompt, name."""
    if isinstance(value, PerModel):
        return [name for name, _ in value.named]
    if isinstance(value, tuple):
        from negmine.table.names import is_name

        parts = [entry.partition("=") for entry in value]
        return [name for name, equals, _ in parts if equals and is_name(name)]
    return []


def check_names(params: Any, options: Iterable[str], known: Iterable[str], what: str) -> None:
    """See that options name only models that there are.

    Args:
        params: what holds the options.
        options: their fields' names.
        known: the models' names.
        what: what these are called.

    Raises:
        UsageError: an option names another one.
    """
    known = list(known)
    for option in options:
        value = getattr(params, option)
        for name in names_in(value):
            if name in known:
                continue
            hint = did_you_mean(name, known)
            if isinstance(value, tuple):
                hint += f" A prompt that begins with '{name}=' itself is written NAME={name}=..."
            flag = option.replace("_", "-")
            raise UsageError(f"--{flag}: there is no {what} '{name}'", hint=hint)
