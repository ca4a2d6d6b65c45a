"""Tokens of a corpus that several encoders of one run read with one tokenizer: kept in files.

Encoders come one after the other, each through all documents, so that what the next one takes from
the one before does not fit in memory. The files are named by the texts and by the way they are
read; whoever reads the same texts in the same way finds them, in another process, too. They are no
artifact: a run that has ended has none, one that was killed finds its own again.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from negmine import log
from negmine.models.base import Side
from negmine.models.resolve import ModelRef, local_folder
from negmine.models.tokenised import Tokenise, Tokens, digest, recent
from negmine.models.tokens import Ragged
from negmine.table.artifacts import disk

FOLDER = ".tokens.tmp"
"""Inside the index. The name of what is half-written: it stays on this machine."""
_CONSTANTS, _VALUES, _OFFSETS = "constants", " values", " offsets"


class TokenFiles:
    """The files of one run.

    Args:
        folder: where they lie.
        readers: the models that read the same texts, one for each turn.
    """

    def __init__(self, folder: Path, readers: Sequence[ModelRef]) -> None:
        self._folder, self._readers = folder, readers

    def shared(self, ref: ModelRef) -> bool:
        """Whether another turn's model has its tokenizer, or a run cut short has left files."""
        mine = self._tokenizers.get(ref.spec)
        return (mine is not None and self._turns[mine] > 1) or self._folder.is_dir()

    @cached_property
    def _tokenizers(self) -> dict[str, str | None]:
        """By the spec of a model a digest of its tokenizer."""
        alone = len(self._readers) < 2
        return {} if alone else {ref.spec: _tokenizer_of(ref) for ref in self._readers}

    @cached_property
    def _turns(self) -> Counter[str | None]:
        """How many turns there are with each tokenizer."""
        return Counter(self._tokenizers[ref.spec] for ref in self._readers)

    def of(self, how: str, texts: Sequence[str], tokenise: Tokenise) -> Tokens:
        """The tokens of all texts, from a file where there is one, else made and kept.

        Args:
            how: all that decides what is made of a text.
            texts: those of a part.
            tokenise: makes the tokens of texts.
        """
        path = self._folder / f"{how}-{digest(*texts).hex()}.npz"
        found = _read(path)
        if found is None:
            found = tokenise(texts)
            _write(path, found)
        return found

    def remove(self) -> None:
        """Remove the files."""
        disk.remove(self._folder)


_files: TokenFiles | None = None


@contextmanager
def between_encoders(index: Path, readers: Sequence[ModelRef]) -> Iterator[None]:
    """Within it the encoders of an index take from each other what they read alike.

    The files go at its end; they stay where it ends by an exception: for those who make the rest,
    or for the run that goes on.

    Args:
        index: the folder in which they lie meanwhile.
        readers: the encoders' models, one for each turn.
    """
    global _files
    before = _files
    # Other machines that make an artifact in a store have files of their own, and who ends last
    # removes only these.
    _files = None if disk.is_far(index) else TokenFiles(index / FOLDER, readers)
    try:
        yield
        if _files is not None:
            _files.remove()
    finally:
        _files = before


def once(ref: ModelRef, side: Side, how: str, texts: Sequence[str], tokenise: Tokenise) -> Tokens:
    """The tokens of all texts; those that were made before, here or for another model, are taken.

    Args:
        ref: the model that reads them.
        side: whose texts they are.
        how: all that decides what is made of a text (:func:`negmine.models.tokenised.way`).
        texts: all that are encoded together.
        tokenise: makes the tokens of texts.
    """
    made = partial(recent(how).of, tokenise=tokenise)
    if side == "document" and _files is not None and _files.shared(ref):
        return _files.of(how, texts, made)
    return made(texts)


def _tokenizer_of(ref: ModelRef) -> str | None:
    """The same for models with one tokenizer, whatever length they were saved with.

    None of a model that has no file of it, or is not on this machine.
    """
    if ref.backend == "http":
        return None
    path = local_folder(ref) / "tokenizer.json"
    if not path.is_file():
        return None
    saved = json.loads(path.read_bytes())
    return digest(json.dumps({**saved, "padding": None, "truncation": None})).hex()


def _read(path: Path) -> Tokens | None:
    """What a file holds; None where there is none, or a machine's end has damaged it."""
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile):
        return None
    constants = json.loads(str(arrays.pop(_CONSTANTS)))
    columns = {
        name.removesuffix(_VALUES): Ragged(
            arrays[name].astype(np.int32),
            arrays[name.removesuffix(_VALUES) + _OFFSETS].astype(np.int64),
        )
        for name in arrays
        if name.endswith(_VALUES)
    }
    return Tokens(columns, constants)


def _write(path: Path, tokens: Tokens) -> None:
    """Keep tokens, in as few bytes as their numbers take; where there is no room they are not."""
    arrays = {_CONSTANTS: np.array(json.dumps(dict(tokens.constants)))}
    for name, column in tokens.columns.items():
        arrays[name + _VALUES] = _small(column.values)
        arrays[name + _OFFSETS] = _small(column.offsets)
    hidden = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: another process may make the same.
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            hidden = file.name
            np.savez(file, allow_pickle=False, **arrays)
        os.replace(hidden, path)
    except OSError as error:
        if hidden is not None:
            Path(hidden).unlink(missing_ok=True)
        log.event(f"the next encoder tokenises anew, for its tokens cannot be kept: {error}")


def _small(numbers: np.ndarray) -> np.ndarray:
    return numbers.astype(np.min_scalar_type(int(numbers.max(initial=0))))
