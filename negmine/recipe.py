"""Recipes: a TOML file with one table per stage; flag > file > default, unknown keys fail."""

from __future__ import annotations

import dataclasses
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from negmine.errors import InvalidDataError, MissingInputError, UsageError, did_you_mean
from negmine.params.values import build
from negmine.stages.stage import STAGES


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
    for name, stage in STAGES.items():
        build(stage.params, data.get(name, {}), {}, where=f"{path} [{name}]")
    return Recipe(
        path=path,
        work=data.get("work"),
        output=data.get("output", "train.parquet"),
        tables={name: data.get(name, {}) for name in STAGES},
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
