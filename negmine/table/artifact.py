"""Artifacts: folders of parts with a manifest. The only module that writes results.

A run in progress keeps ``_journal.jsonl`` in the folder: its first line says what is being made
(the fingerprint), each further line records one finished part with its digest and its counts. The
file is locked while a process writes, so a second writer is told who holds it. ``_manifest.json``
is written last, by rename, and is the completion marker; the journal is removed after it.

A part is written under a hidden temporary name, flushed to disk, recorded in the journal and only
then renamed, so that whatever moment a process dies at, every file with a final name is complete
and a rerun continues behind the last one. Parts that come quickly are flushed, recorded and renamed
together, once a second: a disk takes as long for one flush as for many at once, and a killed run
loses a second of work at most.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from negmine import __version__, interrupts
from negmine.errors import ConflictError, InvalidDataError, MissingInputError, UsageError
from negmine.log import event, progress, warn
from negmine.memory import exceeded
from negmine.table import files
from negmine.table import schema as schemas

MANIFEST = "_manifest.json"
JOURNAL = "_journal.jsonl"
_HASHED_BLOCK = 1 << 22
#: Finished parts wait at most so long, and so many bytes of them, to be flushed together.
_SETTLE_SECONDS = 1.0
_SETTLE_BYTES = 64 << 20

#: Stages and what a user types to make their artifact, for messages.
_MADE_BY = {
    "index": "negmine index",
    "retrieve": "negmine retrieve",
    "rerank": "negmine rerank",
    "filter": "negmine filter",
    "export": "negmine export",
}


# --- fingerprints -----------------------------------------------------------------------------


def fingerprint(
    stage: str, version: int, params: Mapping[str, Any], inputs: Mapping[str, str]
) -> str:
    """Hash of all that decides an artifact's content.

    Args:
        stage: which stage makes it.
        version: the stage's own version, raised when its code changes what comes out.
        params: output-affecting parameters.
        inputs: fingerprint or content digest of each input.
    """
    identity = {
        "stage": stage,
        "schema": schemas.SCHEMA_VERSION,
        "version": version,
        "params": params,
        "inputs": inputs,
    }
    canonical = json.dumps(identity, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(_bytes(canonical), digest_size=16).hexdigest()


def digest(path: Path) -> str:
    """Hex BLAKE2b-128 of a file's bytes."""
    hasher = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(_HASHED_BLOCK):
            hasher.update(block)
    return hasher.hexdigest()


def external_input(path: Path, known: Mapping[str, Any] | None) -> dict[str, Any]:
    """Record of a user's file: path, size, time, content digest.

    The digest of an earlier record is reused when inode, size and modification time are the
    same, so that asking "is this up to date" of a large corpus does not read it.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise MissingInputError(
            f"cannot read: {error.strerror}", where=str(path), hint="Check the path."
        ) from error
    record: dict[str, Any] = {
        "path": os.path.abspath(path),
        "bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "inode": status.st_ino,
    }
    if known is not None and all(known.get(key) == value for key, value in record.items()):
        record["digest"] = known["digest"]
        return record
    try:
        record["digest"] = digest(path)
    except OSError as error:
        raise MissingInputError(
            f"cannot read: {error.strerror}", where=str(path), hint="Check its permissions."
        ) from error
    return record


# --- plans ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """What an artifact will be made from: enough to know whether it is there already.

    Attributes:
        stage: ``index.documents``, ``retrieve``, ...
        version: version of the stage's code.
        params: output-affecting parameters, as plain JSON values.
        artifacts: input artifacts by role.
        files: records of user files by role, from :func:`external_input`.
        models: revision of each model by role.
        again: by role, what takes the digest anew of an input that is no single local file.
    """

    stage: str
    version: int
    params: Mapping[str, Any]
    artifacts: Mapping[str, Artifact] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    again: Mapping[str, Callable[[], str]] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Hash of stage, version, parameters and inputs."""
        inputs = {role: artifact.fingerprint for role, artifact in self.artifacts.items()}
        inputs |= {role: record["digest"] for role, record in self.files.items()}
        return fingerprint(self.stage, self.version, {**self.params, "models": self.models}, inputs)

    def check_files(self) -> None:
        """See whether the users' files are still those that the fingerprint stands for.

        Raises:
            MissingInputError: one is gone.
            InvalidDataError: one has another content.
        """
        for role, record in self.files.items():
            path = record["path"]
            again = self.again.get(role)
            digest = again() if again else external_input(Path(path), record)["digest"]
            if digest != record["digest"]:
                raise InvalidDataError(
                    "changed while it was read",
                    where=path,
                    hint="Run the command again, with --force, when the file is complete.",
                )

    def identity(self, folder: Path) -> dict[str, Any]:
        """The plan as JSON, paths of artifacts relative to ``folder``."""
        inputs: dict[str, Any] = {
            role: {
                "path": os.path.relpath(artifact.path.resolve(), folder.resolve()),
                "stage": artifact.stage,
                "fingerprint": artifact.fingerprint,
            }
            for role, artifact in self.artifacts.items()
        }
        inputs |= {role: dict(record) for role, record in self.files.items()}
        return {
            "negmine": __version__,
            "stage": self.stage,
            "schema": schemas.SCHEMA_VERSION,
            "version": self.version,
            "fingerprint": self.fingerprint,
            "params": dict(self.params),
            "models": {role: dict(model) for role, model in self.models.items()},
            "inputs": inputs,
        }


def recorded_file(folder: Path, role: str) -> Mapping[str, Any] | None:
    """What an earlier run into ``folder`` recorded of a user's file, for :func:`external_input`."""
    recorded = _load_json(folder / MANIFEST) or _journal_header(folder / JOURNAL)
    if recorded is None:
        return None
    known = recorded.get("inputs", {}).get(role)
    return known if isinstance(known, dict) and "digest" in known else None


# --- reading ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Artifact:
    """A finished artifact, opened for reading.

    Attributes:
        path: its folder.
        manifest: the parsed ``_manifest.json``.
    """

    path: Path
    manifest: Mapping[str, Any]

    @property
    def stage(self) -> str:
        """The stage that made it."""
        return str(self.manifest["stage"])

    @property
    def fingerprint(self) -> str:
        """Hash of all that decided its content."""
        return str(self.manifest["fingerprint"])

    @property
    def counts(self) -> Mapping[str, Any]:
        """Row and loss counts."""
        counts: Mapping[str, Any] = self.manifest["counts"]
        return counts

    @property
    def parts(self) -> list[str]:
        """Names of the Parquet parts, in order."""
        return [
            name
            for name in self.manifest["files"]
            if name.startswith("part-") and name.endswith(".parquet")
        ]

    def rows(self, name: str) -> int:
        """Rows of a part."""
        return int(self.manifest["files"][name]["rows"])

    def schema(self) -> pa.Schema:
        """Schema of the parts."""
        return pq.read_schema(self.file(self.parts[0])).remove_metadata()

    def file(self, name: str) -> Path:
        """Path of a file of this artifact, its content checked against the manifest.

        A recorded folder is checked whole, or by ``folder/file`` one file of it.

        Raises:
            InvalidDataError: it is missing, or its bytes changed after it was written.
        """
        path = self.path / name
        files = self.manifest["files"]
        if name not in files:
            folder, _, inner = name.partition("/")
            _verify(path, files[folder]["files"][inner], self)
            return path
        record = files[name]
        if "files" in record:
            for inner, inner_record in record["files"].items():
                _verify(path / inner, inner_record, self)
        else:
            _verify(path, record, self)
        return path

    def read(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """One part as a table; ``columns`` projects."""
        path = self.file(name)
        try:
            # Not read_table(): that imports pyarrow.dataset, and with it pandas. A part is small:
            # sharing its columns out to threads costs as much as decoding them.
            with pa.memory_map(str(path)) as mapped:
                table = pq.ParquetFile(mapped).read(columns=columns, use_threads=False)
        except (pa.ArrowInvalid, OSError) as error:
            # The machine's doing, not the file's; Arrow tells it in words alone.
            for number in (errno.ENOMEM, errno.EMFILE, errno.ENFILE):
                if os.strerror(number) in str(error):
                    raise OSError(number, os.strerror(number), str(path)) from error
            raise InvalidDataError(
                f"not a readable Parquet file: {error}", where=str(path)
            ) from error
        return table.replace_schema_metadata(None)

    def tables(self, what: str, columns: list[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
        """(name, part) in order, with a progress bar that says ``what`` is done."""
        with progress(what, sum(map(self.rows, self.parts)), " rows") as bar:
            for number, name in enumerate(self.parts, 1):
                bar.part(number, len(self.parts))
                table = self.read(name, columns)
                yield name, table
                bar.update(table.num_rows)

    def input(self, role: str) -> Artifact:
        """The artifact this one was made from.

        Raises:
            MissingInputError: it is no longer where it was.
            ConflictError: another one is there now.
        """
        record = self.manifest["inputs"][role]
        found = open_artifact((self.path / record["path"]), purpose=f"the {role} of {self.path}")
        if found.fingerprint != record["fingerprint"]:
            raise ConflictError(
                f"{found.path} was remade with other settings after {self.path} was made from it",
                hint=f"Run the stages after '{record['stage']}' again.",
            )
        return found

    def ancestor(self, stage: str) -> Artifact:
        """The nearest artifact of ``stage`` that this one descends from, or itself."""
        artifact = self
        while artifact.stage != stage:
            roles = [r for r, record in artifact.manifest["inputs"].items() if "stage" in record]
            if not roles:
                raise InvalidDataError(
                    f"does not descend from a {stage} artifact", where=str(self.path)
                )
            artifact = artifact.input(roles[0])
        return artifact

    def verify(self) -> int:
        """Check every file's digest; returns how many files were read.

        Raises:
            InvalidDataError: a file is missing or changed, or there is a part too many.
        """
        for name in self.manifest["files"]:
            self.file(name)
        if (self.path / MANIFEST).is_file():
            for path in sorted(self.path.glob("part-*")):
                # Whoever reads the folder as a table would read it too.
                if path.name not in self.manifest["files"]:
                    raise InvalidDataError(
                        "is not a part of this artifact",
                        where=str(path),
                        hint="Remove it, unless it is yours.",
                    )
        return len(self.manifest["files"])


_verified: set[tuple[str, int, int, str]] = set()


def _verify(path: Path, record: Mapping[str, Any], artifact: Artifact) -> None:
    """Compare a file with its record; once per process as long as size and time stay the same."""
    hint = f"Make it again: {_MADE_BY.get(artifact.stage.split('.')[0], 'negmine')} ... --force"
    try:
        status = path.stat()
    except OSError as error:
        raise InvalidDataError("a part is missing", where=str(path), hint=hint) from error
    key = (str(path), status.st_size, status.st_mtime_ns, record["digest"])
    if key in _verified:
        return
    if status.st_size != record["bytes"] or digest(path) != record["digest"]:
        raise InvalidDataError(
            "changed since it was written (wrong checksum)", where=str(path), hint=hint
        )
    _verified.add(key)


def open_artifact(
    path: str | Path, stages: Iterable[str] | None = None, *, purpose: str = "the input"
) -> Artifact:
    """Open a finished artifact.

    Args:
        path: its folder.
        stages: the stages whose artifacts are acceptable; any when None.
        purpose: what it is wanted for, for messages.

    Raises:
        MissingInputError: nothing is there, or the run that makes it has not finished.
        InvalidDataError: its manifest is unreadable or of another schema version.
        UsageError: it is an artifact of another stage.
    """
    path = Path(path)
    expected = " or ".join(_MADE_BY.get(stage, stage) for stage in stages or ())
    if not (path / MANIFEST).is_file():
        if not path.is_dir():
            what = "no such folder"
        elif (path / JOURNAL).exists():
            what = "unfinished: the run that makes it was interrupted or still goes on"
        else:
            what = f"not a negmine artifact (no {MANIFEST})"
        hint = f"Make {purpose} with: {expected}" if expected else f"It should be {purpose}."
        raise MissingInputError(what, where=str(path), hint=hint)
    manifest = _load_json(path / MANIFEST)
    if manifest is None or not {"stage", "fingerprint", "files", "inputs"} <= manifest.keys():
        raise InvalidDataError("not a negmine manifest", where=str(path / MANIFEST))
    if manifest.get("schema") != schemas.SCHEMA_VERSION:
        raise InvalidDataError(
            f"schema version {manifest.get('schema')}, this negmine ({__version__}) reads "
            f"{schemas.SCHEMA_VERSION}",
            where=str(path),
            hint="Make it again with this version, or use the version that made it.",
        )
    if stages is not None and manifest["stage"] not in stages:
        raise UsageError(
            f"made by '{manifest['stage']}', expected an artifact of {' or '.join(stages)}",
            where=str(path),
            hint=f"Make {purpose} with: {expected}",
        )
    return Artifact(path, manifest)


def _load_json(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


# --- writing ----------------------------------------------------------------------------------


class Writer:
    """Writes one artifact; made by :func:`begin`, used as a context manager.

    Leaving the context without :meth:`commit` keeps the finished parts for the next run.
    """

    def __init__(
        self,
        path: Path,
        plan: Plan,
        journal: IO[str],
        done: dict[str, Any],
        created: Iterable[Path] = (),
    ) -> None:
        self.path = path
        self._created = list(created)
        self._subfolders: list[Path] = []
        self.plan = plan
        self.resumed = len(done)
        self._journal = journal
        self._files = done
        self._waiting: dict[str, int] = {}
        self._settled = time.monotonic()
        self._run = _Run()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, _: object = None, error: BaseException | None = None, *__: object) -> None:
        _name_place(error, self.path)
        if error is None:
            self.settle()
        else:
            # What could not be flushed is made again.
            with contextlib.suppress(OSError, MemoryError):
                self.settle()
            for name in self._waiting:
                del self._files[name]
        if not self._files and not (self.path / MANIFEST).exists():
            self._leave_nothing()
        # What a full disk did not take is still in the buffer, and refused again.
        with contextlib.suppress(OSError) if error is not None else contextlib.nullcontext():
            self._journal.close()

    def _leave_nothing(self) -> None:
        """Remove the traces of a run that made nothing: a mistake costs no --force."""
        _remove_hidden(self.path)
        for folder in self._subfolders:
            if not any(folder.iterdir()):
                folder.rmdir()
        # Where something else lies, the journal tells the next run that the folder is negmine's.
        if [path.name for path in self.path.iterdir()] != [JOURNAL]:
            return
        (self.path / JOURNAL).unlink()
        for folder in self._created:
            if any(folder.iterdir()):
                break
            folder.rmdir()

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

    def stats(self, name: str) -> dict[str, Any]:
        """The counts recorded with a finished file."""
        stats: dict[str, Any] = self._files[name]["stats"]
        return stats

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
    ) -> None:
        """Write a part in the format of its suffix, holding one table at a time.

        In Parquet a table is one row group.
        """
        metadata = {"negmine.stage": self.plan.stage, "negmine.fingerprint": self.plan.fingerprint}
        suffix = files.suffix_of(Path(name)) or ".parquet"
        self._add(
            name,
            lambda path: files.write_tables(path, suffix, tables, schema, metadata),
            stats,
        )

    def add_array(
        self, name: str, array: np.ndarray, stats: Mapping[str, Any] | None = None
    ) -> None:
        """Write a NumPy ``.npy`` file (no pickle)."""

        def write(path: Path) -> int:
            with path.open("wb") as file:
                np.save(file, array, allow_pickle=False)
            return len(array)

        self._add(name, write, stats)

    def add_text(self, name: str, text: str) -> None:
        """Write a UTF-8 text file: a report, a picture."""

        def write(path: Path) -> int:
            path.write_text(text, encoding="utf-8")
            return text.count("\n")

        self._add(name, write, None)

    def add_folder(
        self,
        name: str,
        make: Callable[[Path], Mapping[str, Any]],
    ) -> None:
        """Let ``make`` fill a folder and record its files; its return value is the stats."""
        target, hidden = self.path / name, self.path / f".{name}.tmp"
        self.settle()
        for path in (target, hidden):
            shutil.rmtree(path, ignore_errors=True)
        hidden.mkdir()
        stats = make(hidden)
        interrupts.check()
        inner = {}
        for path in sorted(hidden.iterdir()):
            _flush(path)
            inner[path.name] = {"bytes": path.stat().st_size, "digest": digest(path)}
        _flush(hidden)
        self._files[name] = {"files": inner, "stats": dict(stats)}
        self._record([name])
        os.rename(hidden, target)
        _flush(self.path)

    def _add(
        self, name: str, write: Callable[[Path], int], stats: Mapping[str, Any] | None
    ) -> None:
        interrupts.check()
        target = self.path / name
        if not target.parent.exists():
            target.parent.mkdir()
            self._subfolders.append(target.parent)
        hidden = _hidden(target)
        rows = write(hidden)
        size = hidden.stat().st_size
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
        targets = {name: self.path / name for name in self._waiting}
        for target in targets.values():
            _flush(_hidden(target))
        self._record(targets)
        for target in targets.values():
            os.rename(_hidden(target), target)
        for folder in {target.parent for target in targets.values()}:
            _flush(folder)
        self._waiting.clear()
        self._settled = time.monotonic()

    def _record(self, names: Iterable[str]) -> None:
        """Add finished files to the journal."""
        _append(self._journal, *({"name": name, **self._files[name]} for name in names))

    def commit(
        self,
        counts: Mapping[str, Any],
        *,
        warnings: Iterable[str] = (),
        ceiling: int | None = None,
        **extra: Any,
    ) -> Artifact:
        """Write the manifest, which makes the artifact finished.

        Args:
            counts: rows, queries and losses.
            warnings: what the user was told.
            ceiling: bytes that the process was to take at most.
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
        manifest["run"] = {**facts, "resumed_files": self.resumed}
        _write_json(self.path / MANIFEST, manifest)
        (self.path / JOURNAL).unlink()
        _flush(self.path)
        return Artifact(self.path, manifest)


def begin(path: str | Path, plan: Plan, *, force: bool = False) -> Writer | None:
    """Start or resume an artifact.

    Args:
        path: its folder.
        plan: what it is made from.
        force: replace an artifact, or an unfinished run, of other settings.

    Returns:
        A writer, or None when the artifact is up to date.

    Raises:
        ConflictError: the folder holds something else, or another process is writing it.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise ConflictError("exists and is not a folder", where=str(path))
    if _is_made(path, plan, force):
        if not _lock_is_held(path):
            (path / JOURNAL).unlink(missing_ok=True)
        return None
    _refuse_foreign(path)
    created = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    journal = _lock(path / JOURNAL, path)
    try:
        # Another process may have finished between the first look and the lock.
        if _is_made(path, plan, force):
            (path / JOURNAL).unlink()
            journal.close()
            return None
        manifest = _load_json(path / MANIFEST)
        lines, whole = _journal_lines(path / JOURNAL)
        journal.truncate(whole)
        stale = [name for line in lines for name in line.get("stale", ())]
        finished = [line for line in lines if "name" in line]
        if manifest is not None or not _continues(path, lines, plan, force):
            if manifest is not None:
                stale += manifest.get("files", {})
                # Were the removal cut short, the next run would find here what is to be removed.
                _append(journal, {"stale": stale})
            _clear(path, [*stale, *(line["name"] for line in finished)])
            journal.truncate(0)
            _append(journal, _header(plan, path))
            _flush(path)
            return Writer(path, plan, journal, {}, created)
        # The records stay as they are: rewriting them could lose them.
        _append(journal, _process())
        done = _finished_files(path, finished)
        _remove_hidden(path)
        if done:
            event(f"resuming {path}: {len(done)} files are finished", resumed=len(done))
        return Writer(path, plan, journal, done)
    except BaseException:
        journal.close()
        raise


@dataclass(frozen=True)
class State:
    """What :func:`begin` would do.

    Attributes:
        kind: ``made`` (up to date), ``resume``, ``start`` or ``refused``.
        done: names of the files that an interrupted run has finished.
        reason: why it would be refused, and how to mend it.
    """

    kind: Literal["made", "resume", "start", "refused"]
    done: tuple[str, ...] = ()
    reason: str = ""


def state_of(path: Path, plan: Plan, *, force: bool = False) -> State:
    """Tell what :func:`begin` would do, and change nothing.

    The files of an interrupted run are counted as their journal records them; ``begin`` checks
    their digests too.
    """
    try:
        if path.exists() and not path.is_dir():
            raise ConflictError("exists and is not a folder", where=str(path))
        if _is_made(path, plan, force):
            return State("made")
        _refuse_foreign(path)
        if _lock_is_held(path):
            # Raises: the lock is held.
            _lock(path / JOURNAL, path).close()
        if not (path / JOURNAL).exists():
            return State("start")
        lines, _ = _journal_lines(path / JOURNAL)
        replaced = _load_json(path / MANIFEST) is not None
        if replaced or not _continues(path, lines, plan, force):
            return State("start")
        done = [line["name"] for line in lines if "name" in line and (path / line["name"]).exists()]
        return State("resume" if done else "start", tuple(done))
    except (ConflictError, InvalidDataError) as error:
        return State("refused", reason=str(error))


def state_of_file(path: Path, plan: Plan, *, force: bool = False) -> State:
    """Tell what :func:`begin_file` would do, and change nothing."""
    try:
        if path.is_dir():
            raise ConflictError("is a folder", where=str(path), hint="Choose another -o.")
        return State("made" if _is_exported(path, plan, force) else "start")
    except (ConflictError, InvalidDataError) as error:
        return State("refused", reason=str(error))


def is_begun(path: Path) -> bool:
    """Whether something lies at ``path`` that a plan would have to be compared with."""
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def _refuse_foreign(path: Path) -> None:
    """Refuse a folder that holds something else than an artifact, finished or not.

    Raises:
        ConflictError: it does.
    """
    # In this order: a run that finishes meanwhile writes its manifest, then removes its journal.
    if (
        path.is_dir()
        and not (path / JOURNAL).exists()
        and any(path.iterdir())
        and _load_json(path / MANIFEST) is None
    ):
        raise ConflictError(
            "exists and is not a negmine artifact",
            where=str(path),
            hint="Choose another -o; negmine deletes only what it wrote.",
        )


def _continues(path: Path, lines: list[dict[str, Any]], plan: Plan, force: bool) -> bool:
    """Whether a journal's run is of this plan, so that its files can stay.

    Raises:
        ConflictError: it is of another plan, and may not be replaced.
    """
    header = lines[0] if lines and "fingerprint" in lines[0] else None
    stale = any(line.get("stale") for line in lines)
    same = header is not None and header["fingerprint"] == plan.fingerprint and not stale
    finished = any("name" in line for line in lines)
    if header is not None and not same and not stale and finished and not force:
        raise ConflictError(
            f"holds an unfinished run with other settings ({_differences(header, plan, path)})",
            where=str(path),
            hint="Repeat that command to finish it, or add --force to start anew.",
        )
    return same


def _is_made(path: Path, plan: Plan, force: bool) -> bool:
    """Whether the folder holds this very artifact, finished.

    Raises:
        ConflictError: it holds one of other settings, which may not be replaced.
        InvalidDataError: a part is missing or has another size.
    """
    manifest = _load_json(path / MANIFEST)
    if manifest is None or force:
        return False
    if manifest.get("fingerprint") != plan.fingerprint:
        raise ConflictError(
            f"holds an artifact made with other settings ({_differences(manifest, plan, path)})",
            where=str(path),
            hint="Choose another -o, or add --force to replace it.",
        )
    _check_complete(path, manifest)
    return True


class FileWriter:
    """Writes one file (an export) with its manifest beside it; made by :func:`begin_file`."""

    def __init__(self, path: Path, plan: Plan, lock: IO[str]) -> None:
        self.path = path
        self.hidden = _hidden(path)
        self.plan = plan
        self._lock = lock
        self._committed = False
        self._run = _Run()

    def __enter__(self) -> FileWriter:
        return self

    def __exit__(self, _: object = None, error: BaseException | None = None, *__: object) -> None:
        _name_place(error, self.path)
        if not self._committed:
            self.hidden.unlink(missing_ok=True)
        self._lock.close()

    def add_text(self, text: str) -> None:
        """Fill the hidden file with UTF-8 text."""
        self.hidden.write_text(text, encoding="utf-8")

    def commit(
        self,
        counts: Mapping[str, Any],
        *,
        warnings: Iterable[str] = (),
        ceiling: int | None = None,
    ) -> None:
        """Write the manifest, then give the hidden file its name, which makes it finished."""
        _flush(self.hidden)
        record = {"bytes": self.hidden.stat().st_size, "digest": digest(self.hidden)}
        manifest = self.plan.identity(self.path.parent)
        manifest["counts"] = dict(counts)
        facts, exceeded = self._run.facts(ceiling)
        manifest["warnings"] = [*warnings, *exceeded]
        manifest["files"] = {self.path.name: record}
        manifest["run"] = facts
        # A file of other settings goes first, so that no manifest ever stands beside another file.
        self.path.unlink(missing_ok=True)
        _write_json(_manifest_of(self.path), manifest)
        os.rename(self.hidden, self.path)
        self._committed = True
        _flush(self.path.parent)


def begin_file(path: Path, plan: Plan, *, force: bool = False) -> FileWriter | None:
    """Start an exported file; None when it is up to date.

    Raises:
        ConflictError: the file is there with other settings, or another process is writing it.
    """
    if path.is_dir():
        raise ConflictError("is a folder", where=str(path), hint="Choose another -o.")
    if _is_exported(path, plan, force):
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _lock(_hidden(path), path)
    try:
        # Another process may have finished between the first look and the lock.
        if _is_exported(path, plan, force):
            _hidden(path).unlink()
            lock.close()
            return None
        return FileWriter(path, plan, lock)
    except BaseException:
        lock.close()
        raise


def _is_exported(path: Path, plan: Plan, force: bool) -> bool:
    """Whether the file is there, made with this plan.

    Raises:
        ConflictError: it is of other settings or of someone else, and may not be replaced.
        InvalidDataError: its size is another one.
    """
    if not path.exists() or force:
        return False
    manifest = _load_json(_manifest_of(path))
    if manifest is None:
        raise ConflictError(
            "exists and was not made by negmine",
            where=str(path),
            hint="Choose another -o, or add --force to replace it.",
        )
    if manifest.get("fingerprint") != plan.fingerprint:
        raise ConflictError(
            f"was exported with other settings ({_differences(manifest, plan, path.parent)})",
            where=str(path),
            hint="Choose another -o, or add --force to replace it.",
        )
    if path.stat().st_size != manifest["files"][path.name]["bytes"]:
        raise InvalidDataError(
            "changed since it was written",
            where=str(path),
            hint="Add --force to export it again.",
        )
    return True


def file_manifest(path: Path) -> dict[str, Any]:
    """The manifest beside an exported file.

    Raises:
        MissingInputError: there is none.
    """
    manifest = _load_json(_manifest_of(path))
    if manifest is None:
        raise MissingInputError("has no negmine manifest beside it", where=str(path))
    return manifest


def has_file_manifest(path: Path) -> bool:
    """Whether ``path`` is an exported file."""
    return _manifest_of(path).is_file()


def _name_place(error: BaseException | None, path: Path) -> None:
    """Say where there was no space: Arrow's errors do not name the file that it was writing."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
    if isinstance(error, OSError) and error.filename is None and error.errno in full:
        error.filename = str(path)


def _hidden(path: Path) -> Path:
    return path.parent / f".{path.name}.tmp"


def _manifest_of(path: Path) -> Path:
    # The leading underscore hides it from Parquet readers that are given the folder.
    return path.parent / f"_{path.name}.manifest.json"


class _Run:
    """When a run began, and what it took."""

    def __init__(self) -> None:
        self._clock = time.monotonic()
        self._started = time.time()

    def facts(self, ceiling: int | None) -> tuple[dict[str, Any], list[str]]:
        """Seconds, peak memory, machine and versions; and a warning if memory was exceeded."""
        peak = peak_memory()
        told = exceeded(peak, ceiling)
        warn([told] if told else [])
        facts = {
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._started)),
            "seconds": round(time.monotonic() - self._clock, 3),
            "peak_rss_bytes": peak,
            "memory_ceiling_bytes": ceiling,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "versions": library_versions(),
        }
        return facts, [told] if told else []


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write a manifest that describes other artifacts (the index's own, an export file's)."""
    _write_json(path, manifest)


def _header(plan: Plan, path: Path) -> dict[str, Any]:
    return {**plan.identity(path), **_process()}


def _process() -> dict[str, Any]:
    """Who writes, for those who find the artifact locked."""
    return {"pid": os.getpid(), "host": socket.gethostname()}


def _append(journal: IO[str], *lines: Mapping[str, Any]) -> None:
    """Add lines to the journal; they are on the disk when this returns."""
    if not lines:
        return
    journal.write("".join(json.dumps(line) + "\n" for line in lines))
    journal.flush()
    os.fsync(journal.fileno())


def _lock(file: Path, target: Path) -> IO[str]:
    """Open ``file`` and lock it for writing ``target``; the lock dies with the process."""
    while True:
        opened = file.open("a+", encoding="utf-8")
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(file, os.fstat(opened.fileno()).st_ino)
            opened.close()
            raise ConflictError(
                f"another process is writing it ({holder})",
                where=str(target),
                hint="Wait for it, or choose another -o.",
            ) from error
        try:
            if os.fstat(opened.fileno()).st_ino == file.stat().st_ino:
                return opened
        except FileNotFoundError:
            pass
        # The holder finished and moved the file between our open and our lock.
        opened.close()


def _holder(file: Path, inode: int) -> str:
    """Who holds the lock of ``file``: as its journal says, else as the kernel does."""
    if file.name == JOURNAL:
        told = [line for line in _journal_lines(file)[0] if "pid" in line]
        if told:
            return f"pid {told[-1]['pid']} on {told[-1]['host']}"
    try:
        for line in Path("/proc/locks").read_text().splitlines():
            # 1: FLOCK  ADVISORY  WRITE 4711 fd:00:786436 0 EOF
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
                return f"pid {fields[4]}"
    except (OSError, IndexError):
        pass
    return "pid unknown"


def _lock_is_held(path: Path) -> bool:
    try:
        with (path / JOURNAL).open("r") as journal:
            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _journal_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The journal's whole lines and their bytes; a torn last one (a crash in mid-write) is not."""
    lines, whole = [], 0
    for line in path.read_bytes().split(b"\n")[:-1]:
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
        whole += len(line) + 1
    return lines, whole


def _journal_header(path: Path) -> dict[str, Any] | None:
    try:
        lines, _ = _journal_lines(path)
    except OSError:
        return None
    return lines[0] if lines else None


def _finished_files(path: Path, lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Files that the journal records and that are there, byte for byte."""
    done = {}
    for line in lines:
        record = dict(line)
        name = record.pop("name")
        inner = record.get("files")
        checks = {name: record} if inner is None else {f"{name}/{k}": v for k, v in inner.items()}
        if all(
            (path / file).is_file()
            and (path / file).stat().st_size == expected["bytes"]
            and digest(path / file) == expected["digest"]
            for file, expected in checks.items()
        ):
            done[name] = record
    return done


def _check_complete(path: Path, manifest: Mapping[str, Any]) -> None:
    for name, record in manifest["files"].items():
        file = path / name
        if not file.exists() or ("bytes" in record and file.stat().st_size != record["bytes"]):
            raise InvalidDataError(
                "a part is missing or was changed",
                where=str(file),
                hint="Add --force to make the artifact again.",
            )


def _clear(path: Path, names: Iterable[str]) -> None:
    """Remove what an earlier run wrote, the completion marker first, and nothing else."""
    (path / MANIFEST).unlink(missing_ok=True)
    _flush(path)
    for name in names:
        target = path / name
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
    _remove_hidden(path)


def _remove_hidden(path: Path) -> None:
    for leftover in [*path.glob(".*.tmp"), *path.glob("*/.*.tmp")]:
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def _differences(recorded: Mapping[str, Any], plan: Plan, path: Path) -> str:
    """Which parameters and inputs differ, for a message."""
    planned = plan.identity(path)
    found = []
    if recorded.get("stage") != planned["stage"]:
        return f"stage: {recorded.get('stage')} -> {planned['stage']}"
    for key in sorted({*recorded.get("params", {}), *planned["params"]}):
        old, new = recorded.get("params", {}).get(key), planned["params"].get(key)
        if old != new:
            found.append(f"{key.replace('_', '-')}: {_plain(old)} -> {_plain(new)}")
    for group, mark in (("inputs", ("digest", "fingerprint")), ("models", ("revision",))):
        old_group, new_group = recorded.get(group, {}), planned[group]
        for key in sorted({*old_group, *new_group}):
            old_mark = [old_group.get(key, {}).get(m) for m in mark]
            if old_mark != [new_group.get(key, {}).get(m) for m in mark]:
                found.append(f"{key} changed")
    if recorded.get("version") != planned["version"]:
        found.append(f"code version: {recorded.get('version')} -> {planned['version']}")
    return "; ".join(found[:6]) or "its fingerprint differs"


def _plain(value: Any) -> Any:
    """A number as people write it: 1, not 1.0."""
    return f"{value:g}" if isinstance(value, float) else value


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    hidden = _hidden(path)
    hidden.write_bytes(_bytes(json.dumps(data, indent=2, ensure_ascii=False) + "\n"))
    _flush(hidden)
    os.rename(hidden, path)
    _flush(path.parent)


def _bytes(text: str) -> bytes:
    """JSON text as UTF-8. A file name may hold any bytes: those that are no UTF-8 are escaped."""
    return text.encode("utf-8", "backslashreplace")


def _flush(path: Path) -> None:
    """fsync a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- facts about the run ----------------------------------------------------------------------


def reset_peak_memory() -> None:
    """Start counting this process's peak memory anew (Linux; elsewhere it counts from start)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory() -> int | None:
    """Peak resident bytes of this process since :func:`reset_peak_memory`."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None


def library_versions() -> dict[str, str]:
    """Versions of the libraries that can change what comes out."""
    versions = {"negmine": __version__}
    for package in (
        "pyserini",
        "torch",
        "sentence-transformers",
        "transformers",
        "onnxruntime",
        "tokenizers",
        "faiss-cpu",
        "pyarrow",
        "numpy",
    ):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
