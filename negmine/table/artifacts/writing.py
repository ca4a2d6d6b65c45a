"""Writing artifacts: folders of parts with a manifest, and how an interrupted run goes on.

A run in progress keeps ``_journal.jsonl`` in the folder: its first line says what is being made
(the fingerprint), each further line records one finished part with its digest and its counts. The
file is locked while a process writes, so a second writer is told who holds it. ``_manifest.json``
is written last, by rename, and is the completion marker; the journal is removed after it.

A part is written under a hidden temporary name, flushed to disk, recorded in the journal and only
then renamed, so that whatever moment a process dies at, every file with a final name is complete
and a rerun continues behind the last one. Parts that come quickly are flushed, recorded and renamed
together, once a second: a disk takes as long for one flush as for many at once, and a killed run
loses a second of work at most.

Where several processes make one artifact each publishes its parts beside the others' instead, see
:mod:`negmine.table.artifacts.shards`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from itertools import chain
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import pyarrow as pa

from negmine import interrupts
from negmine.engine.shares import COLLECTING, WHOLE, LeftToOthers, Share
from negmine.errors import ConflictError, InvalidDataError
from negmine.log import event
from negmine.table import schemas, writers
from negmine.table.artifacts import disk, shards
from negmine.table.artifacts.aside import exchange
from negmine.table.artifacts.checkpoint import Checkpoint
from negmine.table.artifacts.disk import (
    JOURNAL,
    MANIFEST,
    digest,
    flush_to_disk,
    hidden_name,
    load_json,
    name_place,
    remove_hidden,
)
from negmine.table.artifacts.facts import RunFacts
from negmine.table.artifacts.journal import (
    CHOSEN,
    LOST,
    append_entry,
    chosen_before,
    finished_files,
    journal_entry,
    journal_lines,
    lock_in_new,
    lock_journal,
    process,
    recorded,
    refuse_written,
)
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.reading import Artifact
from negmine.table.artifacts.replace import Replace
from negmine.table.artifacts.state import continues, is_made, recorded_lines, refuse_foreign

#: Finished parts wait at most so long, and so many bytes of them, to be flushed together.
_SETTLE_SECONDS = 1.0
_SETTLE_BYTES = 64 << 20


class Book(Protocol):
    """Where finished files are recorded, and how they get their names."""

    def hidden(self, name: str) -> Path:
        """Where a file is written before it is finished."""

    def checkpoint(self, name: str, of: str) -> Path:
        """Where the rows of an unfinished file are kept."""

    def publish(self, files: Mapping[str, Mapping[str, Any]]) -> None:
        """Flush what is written of these files, record it and give it its name."""

    def choose(self, name: str, what: Mapping[str, Any]) -> Mapping[str, Any]:
        """Record how all parts are made; what holds."""

    def tell(self, name: str, what: Mapping[str, Any]) -> Mapping[str, Any]:
        """Tell other processes what they need not find out again; what holds."""

    def place(self, name: str) -> Path:
        """Where a finished file lies now."""

    def check(self) -> None:
        """See that what is written here is still wanted.

        Raises:
            ConflictError: it is not.
        """

    def gather(self) -> None:
        """All files get their names, if they have them not: the manifest follows."""

    def leave(self) -> None:
        """The process leaves what is unfinished."""


class Journal:
    """The book of a process that makes all of an artifact."""

    def __init__(self, path: Path, journal: IO[str]) -> None:
        self._path, self._journal = path, journal

    def hidden(self, name: str) -> Path:
        """Beside its place."""
        return hidden_name(self._path / name)

    def checkpoint(self, name: str, of: str) -> Path:
        """Beside its place."""
        return disk.checkpoint_of(self._path / name, of)

    def publish(self, files: Mapping[str, Mapping[str, Any]]) -> None:
        """Recorded first: what has its name is whole and known."""
        targets = [self._path / name for name in files]
        for target in targets:
            flush_to_disk(hidden_name(target))
        self.record(files)
        for target in targets:
            disk.publish(target)
        for folder in {target.parent for target in targets}:
            flush_to_disk(folder)

    def record(self, files: Mapping[str, Mapping[str, Any]]) -> None:
        """Add finished files to the journal."""
        append_entry(self._journal, *({"name": name, **record} for name, record in files.items()))

    def choose(self, name: str, what: Mapping[str, Any]) -> Mapping[str, Any]:
        """A line of the journal."""
        append_entry(self._journal, {CHOSEN: {name: dict(what)}})
        return what

    def tell(self, name: str, what: Mapping[str, Any]) -> Mapping[str, Any]:
        """Nobody else is there."""
        return what

    def place(self, name: str) -> Path:
        """Under its name."""
        return self._path / name

    def check(self) -> None:
        """Nobody else may remove it."""

    def gather(self) -> None:
        """They have their names."""

    def leave(self) -> None:
        """Give up the lock."""
        self._journal.close()


class Writer:
    """Writes one artifact; made by :func:`begin`, used as a context manager.

    Leaving the context without :meth:`commit` keeps the finished parts for the next run.
    """

    def __init__(
        self,
        path: Path,
        plan: Plan,
        book: Book,
        done: MutableMapping[str, Any],
        created: Iterable[Path] = (),
        chosen: Mapping[str, Mapping[str, Any]] | None = None,
        share: Share = WHOLE,
    ) -> None:
        self.path = path
        self.share = share
        self._chosen = dict(chosen or {})
        self._created = list(created)
        self._subfolders: list[Path] = []
        self.plan = plan
        self.resumed = len(done)
        self._book = book
        self._files = done
        self._waiting: dict[str, int] = {}
        self._checkpoints: dict[str, list[Checkpoint]] = {}
        self._settled = time.monotonic()
        self._run = RunFacts()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, _: object = None, error: BaseException | None = None, *__: object) -> None:
        name_place(error, self.path)
        with contextlib.suppress(OSError, MemoryError):
            for checkpoint in chain.from_iterable(self._checkpoints.values()):
                checkpoint.flush()
        if error is None or isinstance(error, LeftToOthers):
            self.settle()
        else:
            # What could not be flushed, or what others have made meanwhile, is not this run's.
            with contextlib.suppress(OSError, MemoryError, ConflictError):
                self.settle()
            for name in self._waiting:
                del self._files[name]
        if self.share.whole and not self._files and not disk.exists(self.path / MANIFEST):
            self._leave_nothing()
        # What a full disk did not take is still in the buffer, and refused again.
        with contextlib.suppress(OSError) if error is not None else contextlib.nullcontext():
            self._book.leave()
        if isinstance(error, FileNotFoundError):
            # The folder of shards may have gone below what was written: it is no machine's fault.
            self._book.check()

    def _leave_nothing(self) -> None:
        """Remove the traces of a run that made nothing: a mistake costs no --force."""
        remove_hidden(self.path)
        for folder in self._subfolders:
            disk.remove_empty(folder)
        # Where something else lies, the journal tells the next run that the folder is negmine's.
        if disk.names_in(self.path) != [JOURNAL]:
            return
        disk.remove_file(self.path / JOURNAL)
        for folder in self._created:
            if not disk.remove_empty(folder):
                break

    def has(self, name: str) -> bool:
        """Whether an interrupted run has finished this file already."""
        return name in self._files

    def rows(self, folder: str = "") -> int:
        """Rows of the finished parts together, those of a subfolder where one (``x/``) is given."""
        return sum(
            record["rows"]
            for name, record in self._files.items()
            if name.startswith(f"{folder}part-")
        )

    def rows_of(self, name: str) -> int:
        """Rows of a finished file."""
        return int(self._files[name]["rows"])

    def stats(self, name: str) -> dict[str, Any]:
        """The counts recorded with a finished file."""
        stats: dict[str, Any] = self._files[name]["stats"]
        return stats

    def file(self, name: str) -> Path:
        """A finished file, to be read before the artifact is."""
        place = self._book.place(name)
        disk.hold(place)
        disk.fetch(place)
        return place

    def chosen(self, name: str) -> Mapping[str, Any] | None:
        """What :meth:`choose` recorded, in this run or in the one that it continues."""
        return self._chosen.get(name)

    def choose(self, name: str, what: Mapping[str, Any]) -> Mapping[str, Any]:
        """Record how all parts are made, where that is no part of the plan: it holds from now on.

        It is kept with what is finished, and told among the facts of the run.

        Args:
            name: of what it is said.
            what: plain JSON values.

        Returns:
            What holds: of several processes that choose at once, what the first one said.
        """
        if name not in self._chosen:
            self._chosen[name] = dict(self._book.choose(name, what))
        return self._chosen[name]

    def told(self, name: str) -> Mapping[str, Any] | None:
        """What another process that makes parts of this artifact found out about all of it."""
        return shards.told(self.path, self.plan, name)

    def all_told(self, names: Iterable[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """What other processes have told under some of these names: one look for all of them."""
        return shards.all_told(self.path, self.plan, names)

    def tell(self, name: str, what: Mapping[str, Any]) -> Mapping[str, Any]:
        """Tell other processes what they need not find out again.

        Args:
            name: of what it is said.
            what: plain JSON values; in no manifest.

        Returns:
            What holds: of several processes that tell it at once, what the first one said.
        """
        return self._book.tell(name, what)

    def checkpoint(self, name: str, made_of: Mapping[str, Any], of: str = "") -> Checkpoint:
        """Where a model keeps the rows that it has made of a file that is not finished.

        Args:
            name: the file.
            made_of: what else decides the rows: they are nobody else's.
            of: the column, where a file has several.
        """
        path = self._book.checkpoint(name, of)
        found = Checkpoint(path, {"plan": self.plan.fingerprint, "name": name, **made_of})
        self._checkpoints.setdefault(name, []).append(found)
        return found

    def add_table(
        self, name: str, table: pa.Table, schema: pa.Schema, stats: Mapping[str, Any] | None = None
    ) -> None:
        """Write a Parquet part of exactly ``schema`` in one row group."""
        schemas.check(table, schema, str(self.path / name))
        self.add_tables(name, [table.cast(schema)], schema, stats)

    def add_tables(
        self,
        name: str,
        tables: Iterable[pa.Table],
        schema: pa.Schema,
        stats: Mapping[str, Any] | None = None,
        *,
        header: bool = False,
    ) -> None:
        """Write a part in the format of its suffix, holding one table at a time.

        In Parquet a table is one row group. A ``header`` is for lines of fields.
        """
        metadata = {"negmine.stage": self.plan.stage, "negmine.fingerprint": self.plan.fingerprint}
        suffix = writers.suffix_of(Path(name)) or ".parquet"
        self._add(
            name,
            lambda path: writers.write_tables(path, suffix, tables, schema, metadata, header),
            stats,
        )

    def add_array(
        self, name: str, array: np.ndarray, stats: Mapping[str, Any] | None = None
    ) -> None:
        """Write a NumPy ``.npy`` file (no pickle)."""

        def write(path: Path) -> int:
            disk.write_array(path, array)
            return len(array)

        self._add(name, write, stats)

    def add_text(self, name: str, text: str) -> None:
        """Write a UTF-8 text file: a report, a picture."""

        def write(path: Path) -> int:
            disk.write_text(path, text)
            return text.count("\n")

        self._add(name, write, None)

    def add_folder(
        self,
        name: str,
        make: Callable[[Path], Mapping[str, Any]],
    ) -> None:
        """Let ``make`` fill a folder and record its files; its return value is the stats."""
        target, hidden = self.path / name, self._book.hidden(name)
        self.settle()
        for path in (target, hidden):
            disk.remove(path)
        disk.make_folder(hidden)
        stats = make(hidden)
        interrupts.check()
        inner = {}
        for file in disk.names_in(hidden):
            flush_to_disk(hidden / file)
            inner[file] = {"bytes": disk.size_of(hidden / file), "digest": digest(hidden / file)}
        self._files[name] = {"files": inner, "stats": dict(stats)}
        self._book.publish({name: self._files[name]})

    def _add(
        self, name: str, write: Callable[[Path], int], stats: Mapping[str, Any] | None
    ) -> None:
        interrupts.check()
        hidden = self._book.hidden(name)
        self._subfolders += disk.make_folder(hidden.parent)
        rows = write(hidden)
        size = disk.size_of(hidden)
        self._files[name] = {
            "rows": rows,
            "bytes": size,
            "digest": digest(hidden),
            "stats": dict(stats or {}),
        }
        self._waiting[name] = size
        late = time.monotonic() - self._settled >= _SETTLE_SECONDS
        if late or sum(self._waiting.values()) >= _SETTLE_BYTES:
            self.settle()

    def settle(self) -> None:
        """Flush the finished files that wait, record them and give them their names."""
        self._book.publish({name: self._files[name] for name in self._waiting})
        for name in self._waiting:
            for checkpoint in self._checkpoints.pop(name, ()):
                checkpoint.remove()
        self._waiting.clear()
        self._settled = time.monotonic()

    def commit(
        self,
        counts: Mapping[str, Any],
        *,
        warnings: Iterable[str] = (),
        ceiling: int | None = None,
        of_run: Mapping[str, Any] | None = None,
        **extra: Any,
    ) -> Artifact:
        """Write the manifest, which makes the artifact finished.

        Args:
            counts: rows, queries and losses.
            warnings: what the user was told.
            ceiling: bytes that the process was to take at most.
            of_run: what is told of this run besides; another one of the same plan may differ.
            extra: further top-level entries.
        """
        interrupts.check()
        self.settle()
        self.plan.check_files()
        manifest = self.plan.identity(self.path)
        manifest["counts"] = dict(counts)
        facts, exceeded = self._run.facts(ceiling)
        manifest["warnings"] = [*warnings, *exceeded]
        manifest.update(extra)
        manifest["files"] = dict(sorted(self._files.items()))
        manifest["run"] = {**facts, "resumed_files": self.resumed, **(of_run or {})}
        if self._chosen:
            manifest["run"][CHOSEN] = self._chosen
        self._book.gather()
        disk.finish(self.path / MANIFEST, manifest, self.path)
        # Those of no single file, too: what they still hold would be written when all is done.
        for checkpoint in chain.from_iterable(self._checkpoints.values()):
            checkpoint.remove()
        self._checkpoints.clear()
        disk.remove_checkpoints(self.path)
        shards.remove(self.path)
        disk.remove_file(self.path / JOURNAL)
        flush_to_disk(self.path)
        return Artifact(self.path, manifest)


def tidy(path: Path) -> None:
    """Remove what a run has left that was cut short when the artifact was whole already."""
    if not (disk.exists(path / JOURNAL) or shards.are_left(path)):
        return
    if not disk.exists(path / MANIFEST):
        return
    try:
        # Who replaces what is there writes in its journal, and in its folder of shards.
        lock = lock_journal(path / JOURNAL, path)
    except (ConflictError, FileNotFoundError):
        return
    with lock:
        if disk.exists(path / MANIFEST):
            shards.remove(path)
            disk.remove_file(path / JOURNAL)


def begin(
    path: str | Path,
    plan: Plan,
    *,
    replacing: Replace = Replace.NOTHING,
    keep: bool = False,
    share: Share = WHOLE,
) -> Writer | None:
    """Start or resume an artifact. One that is up to date gets a new time, so that make sees it.

    Args:
        path: its folder.
        plan: what it is made from.
        replacing: which artifact, or unfinished run, may go for it.
        keep: an artifact of other settings, or the finished parts of one, is moved aside and not
            removed, but for ``Replace.ALL``; of a damaged one the parts that are whole stay.
        share: what this process makes of it; where others make the rest nothing is replaced.

    Returns:
        A writer, or None when the artifact is up to date.

    Raises:
        ConflictError: the folder holds something else, or another process is writing it.
    """
    path = Path(path)
    if disk.exists(path) and not disk.is_folder(path):
        raise ConflictError("exists and is not a folder", where=str(path))
    if not share.whole:
        return _begin_share(path, plan, share)
    if disk.is_far(path):
        return _begin_afar(path, plan, replacing, keep, share)
    if keep:
        exchange(path, plan, replacing)
    if is_made(path, plan, replacing, keep):
        tidy(path)
        disk.touch(path / MANIFEST)
        return None
    refuse_foreign(path)
    created, journal = lock_in_new(path, path / JOURNAL, path)
    try:
        if share is COLLECTING:
            # Before all else: shards that begin at this moment need not wait.
            append_entry(journal, process(share))
        # Another process may have finished between the first look and the lock.
        if is_made(path, plan, replacing, keep):
            disk.remove_file(path / JOURNAL)
            journal.close()
            disk.touch(path / MANIFEST)
            return None
        done, said, new = _begun(path, plan, journal, replacing, keep, share)
        return Writer(path, plan, Journal(path, journal), done, created if new else (), said, share)
    except BaseException:
        journal.close()
        raise


def _begun(
    path: Path, plan: Plan, journal: IO[str], replacing: Replace, keep: bool, share: Share
) -> tuple[dict[str, Any], dict[str, Any], bool]:
    """Clear the folder for a plan, or go on with what is there of it.

    Returns:
        (records of what is finished, what was chosen for all parts, whether it begins anew).
    """
    manifest = load_json(path / MANIFEST)
    if keep and manifest is not None and replacing is Replace.DAMAGED:
        _reopen(path, plan, manifest, journal, share)
        manifest = None
    lines, whole = journal_lines(path / JOURNAL)
    journal.truncate(whole)
    if shards.refuse_other(path, plan, replacing):
        shards.remove(path)
    stale = [name for line in lines for name in line.get("stale", ())]
    finished = recorded(lines)
    new = manifest is not None or not continues(path, lines, plan, replacing, keep)
    if new:
        _tell(path, plan, manifest, lines, replacing)
        if manifest is not None:
            stale += manifest.get("files", {})
            # Were the removal cut short, the next run would find here what is to be removed.
            append_entry(journal, {"stale": stale})
        _clear(path, [*stale, *(line["name"] for line in lines if "name" in line)])
        journal.truncate(0)
        append_entry(journal, journal_entry(plan, path, share))
        flush_to_disk(path)
        done, lines = {}, []
    else:
        # The records stay as they are: rewriting them could lose them.
        append_entry(journal, process(share))
        done = finished_files(path, finished)
        if lost := [line["name"] for line in finished if line["name"] not in done]:
            # Shards believe the rest: they read nothing of what is finished.
            append_entry(journal, {LOST: lost})
        remove_hidden(path)
    said = {**chosen_before(lines), **shards.chosen(path, plan)}
    done |= shards.adopt(path, plan, journal)
    if done:
        event(f"resuming {path}: {len(done)} files are finished", resumed=len(done))
    return done, said, new


def _begin_share(path: Path, plan: Plan, share: Share) -> Writer | None:
    """Begin, or go on with, what this process makes of an artifact; None: all of it is made.

    Raises:
        ConflictError: the folder holds something else, or something of other settings, or one
            process makes all of it just now.
    """
    try:
        if is_made(path, plan, Replace.NOTHING):
            return None
        refuse_foreign(path)
        refuse_written(path, share)
        continues(path, journal_lines(path / JOURNAL)[0], plan, Replace.NOTHING)
    except (ConflictError, InvalidDataError) as error:
        if "--force" not in (error.hint or ""):
            raise
        hint = "Choose another -o, or remove what is there before the shards start: they replace "
        hint += "nothing."
        raise type(error)(error.what, where=error.where, hint=hint) from None
    disk.make_folder(path)
    shelf = shards.Shelf(path, plan, share)
    try:
        # Who collects may have finished between the first look and the plan of this one.
        if is_made(path, plan, Replace.NOTHING):
            shards.remove(path)
            return None
        # In this order: who collects records what it takes over, and removes the marker then.
        done = shards.Records(path, plan)
        lines, _ = journal_lines(path / JOURNAL)
        if continues(path, lines, plan, Replace.NOTHING):
            # Who collects reads it all, and records what is damaged.
            done.update(finished_files(path, recorded(lines), by_size=True))
    except BaseException:
        shelf.leave()
        raise
    said = {**chosen_before(lines), **shards.chosen(path, plan)}
    return Writer(path, plan, shelf, done, chosen=said, share=share)


def _begin_afar(
    path: Path, plan: Plan, replacing: Replace, keep: bool, share: Share
) -> Writer | None:
    """Begin, or go on with, all of an artifact in an object store; None: it is made.

    Raises:
        ConflictError: the folder holds something else, or another process of this machine writes.
    """
    if keep:
        exchange(path, plan, replacing)
    if is_made(path, plan, replacing, keep):
        tidy(path)
        return None
    refuse_foreign(path)
    # Processes of one machine need not work for nothing until one of them loses a marker. Who
    # collects does not work, and shards begin meanwhile.
    lock = None if share is COLLECTING else lock_journal(path / JOURNAL, path)
    try:
        before = load_json(path / MANIFEST)
        stale, whole, said = _room_afar(path, plan, before, replacing, keep)
        # First: were the rest cut short, the next run would find here what is to be removed.
        shelf = shards.Shelf(path, plan, share, stale=stale, lock=lock)
        # Another machine may have finished between the first look and the plan of this one.
        if is_made(path, plan, replacing, keep):
            shards.remove(path)
            if lock is not None:
                lock.close()
            return None
        shelf.keep(whole)
        if before is not None and load_json(path / MANIFEST, now=True) == before:
            # One that is there since then is another machine's, which has finished.
            disk.remove_file(path / MANIFEST)
        done = shelf.found()
        if done:
            event(f"resuming {path}: {len(done)} files are finished", resumed=len(done))
        return Writer(
            path, plan, shelf, done, chosen={**said, **shards.chosen(path, plan)}, share=share
        )
    except BaseException:
        if lock is not None:
            lock.close()
        raise


def _room_afar(
    path: Path, plan: Plan, manifest: Mapping[str, Any] | None, replacing: Replace, keep: bool
) -> tuple[list[str], dict[str, Any], dict[str, Any]]:
    """Remove parts of other settings; what else is there that a plan takes the place of.

    Returns:
        (names of all that is stale, records of the files that stay, what was chosen for them).
    """
    stale: list[str] = []
    if shards.refuse_other(path, plan, replacing):
        stale = [*(shards.header(path) or {}).get("stale", ()), *shards.marked(path)]
        shards.remove(path)
    if manifest is None:
        return stale, {}, {}
    stale += manifest.get("files", {})
    if not (keep and replacing is Replace.DAMAGED):
        _tell(path, plan, manifest, [], replacing)
        return stale, {}, {}
    event(f"{path} is damaged: what is whole of it stays", damaged=str(path))
    whole = finished_files(path, recorded_lines(manifest))
    return stale, whole, manifest.get("run", {}).get(CHOSEN, {})


def _reopen(
    path: Path, plan: Plan, manifest: Mapping[str, Any], journal: IO[str], share: Share
) -> None:
    """Make a damaged artifact an unfinished one, whose whole files stay."""
    event(f"{path} is damaged: what is whole of it stays", damaged=str(path))
    journal.truncate(0)
    chosen = {CHOSEN: manifest.get("run", {}).get(CHOSEN, {})}
    append_entry(journal, journal_entry(plan, path, share), chosen, *recorded_lines(manifest))
    disk.remove_file(path / MANIFEST)
    flush_to_disk(path)


def _tell(
    path: Path,
    plan: Plan,
    manifest: Mapping[str, Any] | None,
    lines: list[dict[str, Any]],
    replacing: Replace,
) -> None:
    """Say what is replaced, and why."""
    unfinished = lines[0] if any("name" in line for line in lines) else None
    found = manifest or unfinished
    if found is None or "fingerprint" not in found:
        return
    same = found["fingerprint"] == plan.fingerprint
    if same and replacing is Replace.ALL:
        return
    why = "it is damaged" if same else plan.differences(found, path)
    event(f"replacing {path} ({why})", replaced=str(path), why=why)


def _clear(path: Path, names: Iterable[str]) -> None:
    """Remove what an earlier run wrote, the completion marker first, and nothing else."""
    disk.remove_file(path / MANIFEST)
    flush_to_disk(path)
    for name in names:
        disk.remove(path / name)
    disk.remove_checkpoints(path)
    remove_hidden(path)
