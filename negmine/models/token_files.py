"""Tokens of a corpus that several encoders of one run read alike: kept in files meanwhile.

Encoders come one after the other, each through all documents, so that what the next one takes from
the one before does not fit in memory. The files are named by the texts and by the way they are
read; whoever reads the same texts in the same way finds them, in another process, too. They are no
artifact: a run that has ended has none, one that was killed finds its own again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from negmine import log
from negmine.models.base import Side
from negmine.models.resolve import ModelRef, local_folder, read_json
from negmine.models.token_cache import Tokenise, Tokens, cache_of, digest
from negmine.models.tokens import Ragged
from negmine.table.artifacts import disk

FOLDER = ".tokens.tmp"
"""Inside the index. The name of what is half-written: it stays on this machine."""
_CONSTANTS, _VALUES, _OFFSETS = "constants", " values", " offsets"
_ROOM = 64
"""A part's tokens are kept where the disk has room for so many parts like it."""


@dataclass(frozen=True)
class Turn:
    """An encoder that will read the documents, and what is known of how before it is loaded.

    Attributes:
        ref: the model.
        max_length: the tokens that were asked for; None = the model's own.
        prompt: what was asked to be put before a document; None = the model's own.
    """

    ref: ModelRef
    max_length: int | None = None
    prompt: str | None = None

    def alike(self) -> str | None:
        """The same for encoders that will read alike, as far as their files tell; None = unknown.

        Nothing is taken for the same because of it: it says who has use for whose files.
        """
        if self.ref.backend == "http":
            return None
        folder = local_folder(self.ref)
        if not (folder / "tokenizer.json").is_file():
            return None
        saved = json.loads((folder / "tokenizer.json").read_bytes())
        tokenizer = {**saved, "padding": None, "truncation": None}
        length = self.max_length or read_json(folder / "sentence_bert_config.json").get(
            "max_seq_length", read_json(folder / "tokenizer_config.json").get("model_max_length")
        )
        own = read_json(folder / "config_sentence_transformers.json")
        prompts = {name: text for name, text in (own.get("prompts") or {}).items() if text}
        prompt = (prompts, own.get("default_prompt_name")) if self.prompt is None else self.prompt
        return digest(json.dumps([tokenizer, length, prompt, self.ref.backend])).hex()


class TokenFiles:
    """The files of one run.

    Args:
        folder: where they lie.
        turns: the encoders that read the same documents, in their order.
    """

    def __init__(self, folder: Path, turns: Sequence[Turn]) -> None:
        self._folder, self._turns = folder, turns
        self._full = False

    @cached_property
    def _alike(self) -> list[str | None]:
        return [turn.alike() for turn in self._turns] if len(self._turns) > 1 else []

    def _wanted(self, ref: ModelRef) -> bool:
        """Whether an encoder after the first turn of this model reads as it does."""
        for place, name in enumerate(self._alike):
            if self._turns[place].ref == ref:
                return name is not None and name in self._alike[place + 1 :]
        return False

    def of(self, ref: ModelRef, key: str, texts: Sequence[str], tokenise: Tokenise) -> Tokens:
        """The tokens of all texts, from a file where there is one, else made; kept if of use.

        Args:
            ref: the model that reads them.
            key: of the way they are read (:func:`negmine.models.token_cache.key_of`).
            texts: those of a part.
            tokenise: makes the tokens of texts.
        """
        wanted = self._wanted(ref)
        if not (wanted or self._folder.is_dir()):
            return tokenise(texts)
        path = self._folder / f"{key}-{digest(*texts).hex()}.npz"
        found = _read(path)
        if found is None:
            found = tokenise(texts)
            if wanted and not self._full:
                self._write(path, found)
        return found

    def _write(self, path: Path, tokens: Tokens) -> None:
        """Keep tokens, in as few bytes as their numbers take, where there is room."""
        arrays = {_CONSTANTS: np.array(json.dumps(dict(tokens.constants)))}
        for name, column in tokens.columns.items():
            arrays[name + _VALUES] = _small(column.values)
            arrays[name + _OFFSETS] = _small(column.offsets)
        hidden = None
        try:
            self._folder.mkdir(exist_ok=True)
            size = sum(array.nbytes for array in arrays.values())
            if shutil.disk_usage(self._folder).free < _ROOM * size:
                raise OSError(f"less than {_ROOM * size:,} bytes are free")
            # A name of its own: another process may make the same.
            with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
                hidden = file.name
                np.savez(file, allow_pickle=False, **arrays)
            os.replace(hidden, path)
        except OSError as error:
            self._full = True
            if hidden is not None:
                Path(hidden).unlink(missing_ok=True)
            log.event(f"the next encoder tokenises anew, for tokens are not kept: {error}")

    def remove(self) -> None:
        """Remove the files; another process that writes here at this moment is no error."""
        with contextlib.suppress(OSError):
            disk.remove(self._folder)


_files: TokenFiles | None = None


@contextlib.contextmanager
def between_encoders(index: Path, turns: Sequence[Turn]) -> Iterator[None]:
    """Within it the encoders of an index take from each other what they read alike.

    The files go at its end. Where it ends by an exception they stay, for those who make the rest or
    for the run that goes on, unless it was the disk.

    Args:
        index: the folder in which they lie meanwhile.
        turns: the encoders, in their order.
    """
    global _files
    before = _files
    # Other machines that make an artifact in a store have files of their own, and who ends last
    # removes only these.
    files = _files = None if disk.is_far(index) else TokenFiles(index / FOLDER, turns)
    try:
        yield
        if files is not None:
            files.remove()
    except OSError:
        if files is not None:
            files.remove()
        raise
    finally:
        _files = before


def tokens_of(
    ref: ModelRef, side: Side, key: str | None, texts: Sequence[str], tokenise: Tokenise
) -> Tokens:
    """The tokens of all texts; those that were made before, here or for another model, are taken.

    Args:
        ref: the model that reads them.
        side: whose texts they are.
        key: of the way they are read; None = it cannot be told, so all are made.
        texts: all that are encoded together.
        tokenise: makes the tokens of texts.
    """
    if key is None:
        return tokenise(texts)
    made = partial(cache_of(key).of, tokenise=tokenise)
    if side == "document" and _files is not None:
        return _files.of(ref, key, texts, made)
    return made(texts)


def _read(path: Path) -> Tokens | None:
    """What a file holds; None where there is none, or a machine's end has damaged it."""
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays: dict[str, Any] = {name: held[name] for name in held.files}
        constants = json.loads(str(arrays.pop(_CONSTANTS)))
        names = [name.removesuffix(_VALUES) for name in arrays if name.endswith(_VALUES)]
        columns = {
            name: Ragged(
                arrays[name + _VALUES].astype(np.int32), arrays[name + _OFFSETS].astype(np.int64)
            )
            for name in names
        }
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        return None
    return Tokens(columns, constants)


def _small(numbers: np.ndarray) -> np.ndarray:
    if numbers.min(initial=0) < 0:
        return numbers
    return numbers.astype(np.min_scalar_type(int(numbers.max(initial=0))))
