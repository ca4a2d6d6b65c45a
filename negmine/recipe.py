"""Recipes: a TOML file with one table per stage; flag > file > default, unknown keys fail."""

from __future__ import annotations

import dataclasses
import sys
import tomllib
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from negmine import bounds
from negmine.errors import InvalidDataError, MissingInputError, UsageError, did_you_mean
from negmine.params import STAGES, Params

P = TypeVar("P", bound=Params)


@dataclass(frozen=True)
class Recipe:
    """A parsed recipe file.

    Attributes:
        path: the file (- is standard input), or None for the empty recipe.
        work: the folder its artifacts go to, relative to the current directory.
        output: name of the exported file or folder inside ``work``.
        tables: per stage, the keys the file sets.
    """

    path: Path | None = None
    work: str | None = None
    output: str = "train.parquet"
    tables: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


def load(path: str | Path | None) -> Recipe:
    """Read and check a recipe.

    Raises:
        MissingInputError: there is no such file.
        InvalidDataError: it is not TOML.
        UsageError: a key is unknown or its value has the wrong type.
    """
    if path is None:
        return Recipe()
    path = find(path)
    try:
        text = _text(path)
    except (FileNotFoundError, IsADirectoryError) as error:
        hint = None
        if path.name == str(path):
            hint = f"Not a file, and no recipe of negmine's. {did_you_mean(path.stem, shipped())}"
        raise MissingInputError("no such recipe", where=str(path), hint=hint) from error
    except UnicodeDecodeError as error:
        raise InvalidDataError("not UTF-8 text", where=str(path)) from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidDataError(f"not a TOML file: {error}", where=str(path)) from error
    known = ["work", "output", *STAGES]
    for key, value in data.items():
        if key not in known:
            raise UsageError(f"unknown key '{key}'", where=str(path), hint=did_you_mean(key, known))
        if key in STAGES and not isinstance(value, dict):
            raise UsageError(f"'{key}' must be a table: [{key}]", where=str(path))
        if key in ("work", "output") and not isinstance(value, str):
            raise UsageError(f"'{key}' must be a string", where=str(path))
    for stage, params_class in STAGES.items():
        build(params_class, data.get(stage, {}), {}, where=f"{path} [{stage}]")
    return Recipe(
        path=path,
        work=data.get("work"),
        output=data.get("output", "train.parquet"),
        tables={stage: data.get(stage, {}) for stage in STAGES},
    )


def shipped() -> dict[str, Path]:
    """The recipes that come with negmine, by name."""
    here = Path(__file__).resolve().parent
    # A wheel holds them in the package; a checkout beside it.
    folders = [here / "configs", here.parent / "configs"]
    folder = next((folder for folder in folders if folder.is_dir()), None)
    return {} if folder is None else {path.stem: path for path in sorted(folder.glob("*.toml"))}


def find(path: str | Path) -> Path:
    """The recipe's file: ``path`` itself, or else the recipe of negmine's that it names."""
    path = Path(path)
    if not path.exists() and path.name == str(path) and not path.suffix:
        return shipped().get(path.name, path)
    return path


def _text(path: Path) -> str:
    if str(path) == "-":
        return sys.stdin.buffer.read().decode("utf-8")
    return path.read_text(encoding="utf-8")


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
        values[name] = _convert(value, hints[name], key, where)
        _check_entries(values[name], fields[name], key, where)
    for name, value in flags.items():
        if value is not None:
            option = f"--{name.replace('_', '-')}"
            values[name] = _convert(value, hints[name], option, None)
            _check_entries(values[name], fields[name], option, None)
    for name, value in values.items():
        plain = name.replace("_", "-")
        flag = flags.get(name) is not None
        bounds.check(
            fields[name], value, f"--{plain}" if flag else f"'{plain}'", None if flag else where
        )
    return params_class(**values)


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
