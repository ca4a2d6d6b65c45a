"""Recipes: a TOML file with one table per stage; flag > file > default, unknown keys fail.

Paths in a recipe are relative to the folder of its file, wherever it is run from. Those of the
recipes that come with negmine, and of one from standard input, are relative to the current folder.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from negmine.addresses import is_address
from negmine.errors import InvalidDataError, MissingInputError, UsageError, did_you_mean
from negmine.params import Params
from negmine.params.judge import ON_THIS_MACHINE, PROMPT_FILE
from negmine.params.retrieve import KINDS_WITH_PLACES, SOURCE
from negmine.params.values import build, parted
from negmine.stages.stage import STAGES


@dataclass(frozen=True)
class Recipe:
    """A parsed recipe file.

    Attributes:
        path: the file (- is standard input), or None for the empty recipe.
        work: the folder its artifacts go to, relative to the current folder.
        output: name of the exported file or folder inside ``work``.
        tag: what tells its ledger and its export from those of other settings in ``work``.
        tables: per stage, the keys the file sets; their paths are relative to the current folder.
        elsewhere: inputs that are not where the recipe says, but are there seen from the current
            folder: what the recipe writes, by the path that it stands for.
    """

    path: Path | None = None
    work: str | None = None
    output: str = "train.parquet"
    tag: str | None = None
    tables: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    elsewhere: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def check_places(self, params: Params) -> None:
        """See that no input or model is looked for beside the recipe that is in the current folder.

        Raises:
            MissingInputError: one is. Before, paths were relative to the current folder.
        """
        for field in dataclasses.fields(params):
            for _, path, _ in _places(getattr(params, field.name), field.metadata):
                if path not in self.elsewhere:
                    continue
                written, folder = self.elsewhere[path], _folder(self.path) or "."
                raise MissingInputError(
                    f"no '{written}' beside the recipe, but there is one in the current folder",
                    where=f"{self.path}: {field.name}",
                    hint="Paths in a recipe are relative to its file. "
                    f'Write "{os.path.relpath(written, folder)}" in it.',
                )


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
    data = _read(path)
    _check(data, path)
    tables: dict[str, Mapping[str, Any]] = {name: data.get(name, {}) for name in STAGES}
    work = data.get("work")
    elsewhere: dict[str, str] = {}
    folder = _folder(path)
    if folder is not None:
        tables = {name: _anchored(name, table, folder, elsewhere) for name, table in tables.items()}
        work = None if work is None else _work(folder, work, elsewhere)
    output, tag = data.get("output", "train.parquet"), data.get("tag")
    return Recipe(path, work, output, tag, tables, elsewhere)


def _work(folder: str, written: str, elsewhere: dict[str, str]) -> str:
    if is_address(written):
        return written
    work = os.path.join(folder, written)
    if not os.path.exists(work) and os.path.exists(written):
        elsewhere[work] = written
    return work


def _read(path: Path) -> dict[str, Any]:
    """A recipe's TOML.

    Raises:
        MissingInputError: there is no such file.
        InvalidDataError: it is not TOML.
    """
    try:
        return tomllib.loads(_text(path))
    except (FileNotFoundError, IsADirectoryError) as error:
        hint = _no_recipe(path)
        if hint is None and path.name == str(path):
            hint = f"Not a file, and no recipe of negmine's. {did_you_mean(path.stem, shipped())}"
        raise MissingInputError("no such recipe", where=str(path), hint=hint) from error
    except UnicodeDecodeError as error:
        raise InvalidDataError("not UTF-8 text", where=str(path), hint=_no_recipe(path)) from error
    except tomllib.TOMLDecodeError as error:
        hint = _no_recipe(path)
        what = "not a recipe" if hint else f"not a TOML file: {error}"
        raise InvalidDataError(what, where=str(path), hint=hint) from error


def _no_recipe(path: Path) -> str | None:
    """What to do with data in the place of a recipe; None where it does not look like data."""
    # The readers are forty modules, which a command without a recipe does not need.
    from negmine.inputs import layouts
    from negmine.inputs.columns import shell_word

    if not path.is_dir() and not layouts.is_data(path.name):
        return None
    return (
        "A recipe is a TOML file that names the data. "
        f"Did you mean: negmine init {shell_word(str(path))}"
    )


def _check(data: Mapping[str, Any], path: Path) -> None:
    """See that every key is known and its value of the right type.

    Raises:
        UsageError: one is not.
    """
    known = ["work", "output", "tag", *STAGES]
    for key, value in data.items():
        if key not in known:
            raise UsageError(f"unknown key '{key}'", where=str(path), hint=did_you_mean(key, known))
        if key in STAGES and not isinstance(value, dict):
            raise UsageError(f"'{key}' must be a table: [{key}]", where=str(path))
        if key in ("work", "output", "tag") and not isinstance(value, str):
            raise UsageError(f"'{key}' must be a string", where=str(path))
    for name, stage in STAGES.items():
        build(stage.params, data.get(name, {}), {}, where=f"{path} [{name}]")


def _folder(path: Path | None) -> str | None:
    """The folder that a recipe's paths are relative to; None where that is the current one."""
    if path is None or str(path) == "-":
        return None
    folder = os.path.dirname(path)
    if not folder or os.path.abspath(path) in {os.path.abspath(one) for one in shipped().values()}:
        return None
    return folder


def _anchored(
    stage: str, table: Mapping[str, Any], folder: str, elsewhere: dict[str, str]
) -> dict[str, Any]:
    """A stage's keys with their paths relative to the current folder.

    Args:
        stage: its name.
        table: the keys as the recipe has them.
        folder: the recipe's.
        elsewhere: takes up what is not there, but is in the current folder.
    """
    from negmine.inputs import beside

    kinds = {field.name: field.metadata for field in dataclasses.fields(STAGES[stage].params)}

    def anchored(entry: str, is_path: bool) -> str:
        if entry.startswith(ON_THIS_MACHINE):
            # A model of another kind, which may lie beside the recipe just as well.
            return ON_THIS_MACHINE + anchored(entry.removeprefix(ON_THIS_MACHINE), is_path)
        path = beside.joined(folder, entry)
        if not beside.is_there(path) and path != entry:
            if beside.is_there(entry):
                elsewhere[path] = entry
            elif not is_path:
                # No folder, no file: a model of the hub, a prompt that is shipped.
                return entry
        return path

    def anchored_entry(entry: str, metadata: Mapping[str, Any]) -> str:
        found = _place_in(entry, metadata)
        return entry if found is None else found[0] + anchored(*found[1:])

    found = dict(table)
    for key, value in table.items():
        metadata = kinds[key.replace("-", "_")]
        if metadata["written"]:
            found[key] = value if is_address(value) else os.path.join(folder, value)
        elif isinstance(value, dict) and _is_place(metadata):
            found[key] = {name: anchored(one, metadata["path"]) for name, one in value.items()}
        elif isinstance(value, list):
            found[key] = [anchored_entry(one, metadata) for one in value]
        elif isinstance(value, str):
            found[key] = anchored_entry(value, metadata)
    return found


def _places(value: Any, metadata: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """The places that a parameter's value names, as :func:`_place_in` tells them."""
    every = [value] if isinstance(value, str) else value if isinstance(value, tuple) else ()
    for entry in every:
        if isinstance(entry, str) and (found := _place_in(entry, metadata)) is not None:
            yield found


def _place_in(entry: str, metadata: Mapping[str, Any]) -> tuple[str, str, bool] | None:
    """(what stands before it, the place, whether it is a path) where an entry names one."""
    if metadata["metavar"] == SOURCE:
        name, equals, spec = entry.partition("=")
        kind, colon, place = spec.partition(":")
        if not place or kind not in KINDS_WITH_PLACES:
            return None
        return f"{name}{equals}{kind}{colon}", place, KINDS_WITH_PLACES[kind]
    return (*parted(entry, metadata), metadata["path"]) if _is_place(metadata) else None


def _is_place(metadata: Mapping[str, Any]) -> bool:
    """Whether a parameter's values may lie on this machine: inputs, models, prompts."""
    return bool(metadata["path"]) or metadata["metavar"] in ("NAME=MODEL", PROMPT_FILE)


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
