"""What a recipe or a caller gives, as parameters: types, and values that are named."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from negmine.errors import UsageError, did_you_mean
from negmine.params import Params, bounds
from negmine.params.per_model import EVERY, PerModel, element

P = TypeVar("P", bound=Params)


def parsed(text: str) -> Any:
    """A value that an option has in words: TOML's, or a bare string."""
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def build(
    params_class: type[P],
    table: Mapping[str, Any],
    flags: Mapping[str, Any],
    *,
    where: str | None = None,
) -> P:
    """Merge a recipe's table and the given flags (None = not given) into typed parameters.

    Raises:
        UsageError: an unknown key, a wrong type, or a value out of range.
    """
    fields = {field.name: field for field in dataclasses.fields(params_class)}
    hints = get_type_hints(params_class)
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in fields:
            names = [known.replace("_", "-") for known in fields]
            raise UsageError(f"unknown key '{key}'", where=where, hint=did_you_mean(key, names))
        if name in values:
            raise UsageError(
                f"'{name.replace('_', '-')}' is set twice, with '-' and with '_'", where=where
            )
        if isinstance(value, dict) and not _takes_table(fields[name]):
            raise UsageError(
                f"'{key}' must be a string or a list of strings, not a table", where=where
            )
        values[name] = _read(value, fields[name], hints[name], key, where)
        _check_entries(values[name], fields[name], key, where)
    for name, value in flags.items():
        if value is not None:
            option = f"--{name.replace('_', '-')}"
            values[name] = _read(value, fields[name], hints[name], option, None)
            _check_entries(values[name], fields[name], option, None)
    for name, value in values.items():
        plain = name.replace("_", "-")
        flag = flags.get(name) is not None
        bounds.check(
            fields[name], value, f"--{plain}" if flag else f"'{plain}'", None if flag else where
        )
    return params_class(**values)


def _read(value: Any, field: dataclasses.Field[Any], hint: Any, key: str, where: str | None) -> Any:
    """``value`` as the field's type; of an option of models by name, where it names some."""
    if not field.metadata["per_model"]:
        return _convert(value, hint, key, where)
    kind = element(hint)
    every: list[Any] = []
    named: dict[str, Any] = {}
    for name, given in _of_models(value):
        one = _convert(_from_words(given, kind), kind, key, where)
        if name in named or (name is None and every):
            whom = "without a name" if name is None else f"for '{name}'"
            raise UsageError(
                f"{key} is given twice {whom}",
                where=where,
                hint="Give it once for all models, and once for each NAME=VALUE.",
            )
        if name is None:
            every.append(one)
        else:
            named[name] = one
    default = every[0] if every else field.default
    return PerModel(default, tuple(named.items())) if named else default


def _of_models(value: Any) -> list[tuple[str | None, Any]]:
    """(model's name, value) of each entry; the name is None where it is for all models."""
    if isinstance(value, dict):
        return [(None if name == EVERY else name, one) for name, one in value.items()]
    found: list[tuple[str | None, Any]] = []
    for entry in value if isinstance(value, list | tuple) else [value]:
        name, equals, rest = entry.partition("=") if isinstance(entry, str) else ("", "", "")
        found.append((name, rest) if equals else (None, entry))
    return found


def by_model(value: Any) -> dict[str, Any]:
    """What a recipe says of an option of models, as a table of it would."""
    return {EVERY if name is None else name: one for name, one in _of_models(value)}


#: What a switch is called in words.
_SWITCH = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}


def _from_words(value: Any, kind: Any) -> Any:
    """A number or switch that is given as a string, where it is one."""
    kinds = get_args(kind) or (kind,)
    if not isinstance(value, str):
        return value
    if bool in kinds:
        return _SWITCH.get(value.lower(), value)
    if int in kinds:
        with suppress(ValueError):
            return int(value)
    return value


def _takes_table(field: dataclasses.Field[Any]) -> bool:
    """Whether an entry may be ``NAME=VALUE``, and so a recipe may write a table of them."""
    return not field.metadata["path"] or "=" in (field.metadata["metavar"] or "")


def _check_entries(
    value: Any, field: dataclasses.Field[Any], option: str, where: str | None
) -> None:
    """Refuse what a repeatable parameter is given twice; of a ``NAME=VALUE`` the name counts."""
    if not isinstance(value, tuple):
        return
    metavar = field.metadata["metavar"] or ""
    is_named = metavar.startswith(("NAME=", "TARGET="))
    seen: set[str] = set()
    for entry in value:
        name = entry.partition("=")[0] if is_named else entry
        if name in seen:
            raise UsageError(f"{option} names '{name}' twice", where=where, hint="Name it once.")
        seen.add(name)


def _convert(value: Any, hint: Any, key: str, where: str | None) -> Any:
    """``value`` as the field's type; a recipe may write NAME=MODEL lists as a TOML table."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for option in options:
        if get_origin(option) is Literal:
            if value in get_args(option):
                return value
            choices = ", ".join(map(str, get_args(option)))
            raise UsageError(f"'{key}' must be one of {choices}, not {value!r}", where=where)
        if get_origin(option) is tuple:
            if isinstance(value, dict) and all(isinstance(v, str) for v in value.values()):
                return tuple(f"{name}={item}" for name, item in value.items())
            if isinstance(value, str):
                return (value,)
            if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
                return tuple(value)
        elif option is float and isinstance(value, int | float) and not isinstance(value, bool):
            if value != value or value in (float("inf"), float("-inf")):
                raise UsageError(f"'{key}' must be a finite number, not {value}", where=where)
            return float(value)
        elif option is int and isinstance(value, bool):
            continue
        elif isinstance(option, type) and isinstance(value, option):
            return value
    expected = " or ".join(_type_name(option) for option in options)
    raise UsageError(f"'{key}' must be {expected}, not {value!r}", where=where)


def _type_name(option: Any) -> str:
    if get_origin(option) is tuple:
        return "a string or a list of strings"
    names = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}
    return names.get(option, "unset")


def entries(params: Params, field: dataclasses.Field[Any]) -> list[tuple[str, str]]:
    """(``NAME=`` or nothing, the rest) of every value of a parameter that takes strings."""
    value = getattr(params, field.name)
    return [
        parted(entry, field.metadata)
        for entry in ([value] if isinstance(value, str) else value or ())
    ]


def parted(entry: str, metadata: Mapping[str, Any]) -> tuple[str, str]:
    """(``NAME=`` or nothing, the rest) of a value of the parameter with this metadata."""
    if not (metadata["metavar"] or "").startswith("NAME="):
        return "", entry
    name, equals, rest = entry.partition("=")
    return name + equals, rest


def named(entries: tuple[str, ...], option: str) -> dict[str, str]:
    """``("ce=model",)`` as ``{"ce": "model"}``, names checked.

    Raises:
        UsageError: an entry without a name, an illegal name, or a name given twice.
    """
    from negmine.table.names import check_name

    result: dict[str, str] = {}
    for entry in entries:
        name, separator, value = entry.partition("=")
        if not separator or not value or not name:
            raise UsageError(
                f"{option} {entry!r} has no name",
                hint=f"Write {option} NAME=MODEL, for example {option} minilm={entry}.",
            )
        check_name(name, option)
        if name in result:
            raise UsageError(f"{option} names '{name}' twice", hint="Give each its own name.")
        result[name] = value
    return result


def per_name(entries: tuple[str, ...], names: Mapping[str, str], option: str) -> dict[str, str]:
    """A ``[NAME=]VALUE`` option as a value per name; the bare form covers all other names.

    Raises:
        UsageError: two bare values, or two for one name.
    """
    default: str | None = None
    result: dict[str, str] = {}
    for entry in entries:
        name, separator, value = entry.partition("=")
        if separator and name in names:
            if name in result:
                raise UsageError(f"{option} is given twice for '{name}'")
            result[name] = value
        elif default is not None:
            raise UsageError(
                f"{option} is given twice without a name",
                hint=f"Write {option} NAME=PROMPT, with one of: {', '.join(names)}.",
            )
        else:
            default = entry
    if default is not None:
        result = {name: result.get(name, default) for name in names}
    return result
