"""Finished artifacts: their manifest, parts and ancestors."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from negmine import __version__
from negmine.addresses import located
from negmine.errors import ConflictError, InvalidDataError, MissingInputError, UsageError
from negmine.log import progress, waiting
from negmine.table import schemas
from negmine.table.artifacts import disk
from negmine.table.artifacts.disk import (
    JOURNAL,
    MANIFEST,
    SHARDS,
    digest,
    load_json,
    manifest_of,
)

#: Stages and what a user types to make their artifact, for messages.
_MADE_BY = {
    "index": "negmine index",
    "write": "negmine write",
    "retrieve": "negmine retrieve",
    "rerank": "negmine rerank",
    "filter": "negmine filter",
    "export": "negmine export",
}

#: By stage, the role of the artifact whose rows or documents it works on: the line that lineage
#: follows. What else a stage reads (vectors, a round before this one) lies beside that line.
#: What is made from one artifact alone, as the children of an index are, needs no entry.
_MADE_FROM = {
    "export": "ledger",
    "report": "ledger",
    "filter": "scored",
    "audit": "scored",
    "rerank": "candidates",
    "retrieve": "documents",
    "write": "documents",
    "index": "documents",
}

#: Bytes of a file whose digest takes a while.
_LARGE = 256 << 20
_verified: set[tuple[str, int, int, str]] = set()


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
    def params(self) -> Mapping[str, Any]:
        """The settings that decided its content; one at its default may be missing."""
        params: Mapping[str, Any] = self.manifest["params"]
        return params

    @property
    def version(self) -> int:
        """The version of the stage that made it: what it writes for the same settings."""
        return int(self.manifest["version"])

    @property
    def made_with(self) -> str:
        """The version of negmine that made it."""
        return str(self.manifest["negmine"])

    @property
    def versions(self) -> Mapping[str, str]:
        """The versions of the libraries that made it."""
        versions: Mapping[str, str] = self.manifest["run"]["versions"]
        return versions

    @property
    def warnings(self) -> list[str]:
        """What the run that made it warned of."""
        return list(self.manifest["warnings"])

    @property
    def files(self) -> Mapping[str, Mapping[str, Any]]:
        """By name, what is recorded of each file: rows, bytes, digest."""
        files: Mapping[str, Mapping[str, Any]] = self.manifest["files"]
        return files

    @property
    def models(self) -> Mapping[str, Mapping[str, Any]]:
        """By role, the name and revision of each model that it was made with."""
        models: Mapping[str, Mapping[str, Any]] = self.manifest.get("models", {})
        return models

    @property
    def inputs(self) -> Mapping[str, Mapping[str, Any]]:
        """By role, what it was made from: artifacts (with ``stage``) and the user's files."""
        inputs: Mapping[str, Mapping[str, Any]] = self.manifest["inputs"]
        return inputs

    def roles(self, stage: str | None = None) -> list[str]:
        """Roles of the artifacts that it was made from: all, or those of one stage."""
        return [
            role
            for role, record in self.inputs.items()
            if "stage" in record and stage in (None, record["stage"])
        ]

    @property
    def parts(self) -> list[str]:
        """Names of the Parquet parts, in order."""
        return [
            name for name in self.files if name.startswith("part-") and name.endswith(".parquet")
        ]

    def rows(self, name: str) -> int:
        """Rows of a part."""
        return int(self.files[name]["rows"])

    def schema(self) -> pa.Schema:
        """Schema of the parts."""
        return pq.read_schema(self.file(self.parts[0])).remove_metadata()

    def file(self, name: str) -> Path:
        """Path of a file of this artifact, its content checked against the manifest.

        A recorded folder is checked whole, or by ``folder/file`` one file of it. The copy of an
        object stays on this machine until the process ends: of many files :meth:`held` is better.

        Raises:
            InvalidDataError: it is missing, or its bytes changed after it was written.
        """
        disk.hold(self.path / name)
        return self._checked(name)

    @contextmanager
    def held(self, name: str) -> Iterator[Path]:
        """A file as :meth:`file` gives it, to be opened in the block; it may be read after it."""
        with disk.held(self.path / name):
            yield self._checked(name)

    def _checked(self, name: str, *, anew: bool = False) -> Path:
        path = self.path / name
        files = self.files
        if name not in files:
            folder, _, inner = name.partition("/")
            _verify(path, files[folder]["files"][inner], self, anew)
            return path
        record = files[name]
        if "files" in record:
            disk.drop_copies(path, record["files"])
            for inner, inner_record in record["files"].items():
                _verify(path / inner, inner_record, self, anew)
        else:
            _verify(path, record, self, anew)
        return path

    def read(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """One part as a table; ``columns`` projects."""
        with self.held(name) as path:
            try:
                # Not read_table(): that imports pyarrow.dataset, and with it pandas. A part is
                # small: sharing its columns out to threads costs as much as decoding them.
                with disk.mapped(path) as file:
                    table = pq.ParquetFile(file).read(columns=columns, use_threads=False)
            except (pa.ArrowInvalid, OSError) as error:
                # The machine's doing, not the file's; Arrow tells it in words alone.
                for number in (errno.ENOMEM, errno.EMFILE, errno.ENFILE):
                    if os.strerror(number) in str(error):
                        raise OSError(number, os.strerror(number), str(path)) from error
                raise InvalidDataError(
                    f"not a readable Parquet file: {error}", where=str(path)
                ) from error
        return table.replace_schema_metadata(None)

    def tables(
        self, what: str, columns: list[str] | None = None, names: Sequence[str] | None = None
    ) -> Iterator[tuple[str, pa.Table]]:
        """(name, part) in order, with a progress bar that says ``what`` is done.

        Args:
            what: the words.
            columns: projects.
            names: which parts; None = all.
        """
        names = self.parts if names is None else names
        with progress(what, sum(map(self.rows, names)), " rows") as bar:
            for number, name in enumerate(names, 1):
                bar.part(number, len(names))
                table = self.read(name, columns)
                yield name, table
                bar.update(table.num_rows)

    def input(self, role: str) -> Artifact:
        """The artifact this one was made from.

        Raises:
            MissingInputError: it is no longer where it was.
            ConflictError: another one is there now.
        """
        record = self.inputs[role]
        place = disk.reached(self.path, record["path"])
        found = open_artifact(place, purpose=f"the {role} of {self.path}")
        if found.fingerprint != record["fingerprint"]:
            raise ConflictError(
                f"{found.path} was remade with other settings after {self.path} was made from it",
                hint=f"Run the stages after '{record['stage']}' again.",
            )
        return found

    def ancestor(self, stage: str) -> Artifact:
        """The artifact of ``stage`` that this one descends from, or itself.

        Of each artifact on the way the one that its rows come from is followed, by its role: what
        else it read does not count, in whatever order the inputs stand.

        Raises:
            InvalidDataError: it does not descend from such an artifact.
            MissingInputError: an artifact on the way is no longer where it was.
            ConflictError: another one is there now.
        """
        artifact = self
        while artifact.stage != stage:
            roles = artifact.roles()
            role = _MADE_FROM.get(artifact.stage)
            if role not in roles:
                # A round before this one lies beside the line, also where nothing else was read.
                role = roles[0] if len(roles) == 1 and roles[0] != "previous" else None
            if role is None:
                raise InvalidDataError(
                    f"does not descend from a {stage} artifact", where=str(self.path)
                )
            artifact = artifact.input(role)
        return artifact

    def verify(self) -> int:
        """Check every file's digest; returns how many files were read.

        Raises:
            InvalidDataError: a file is missing or changed, or there is a part too many.
        """
        for name in self.files:
            self._checked(name, anew=True)
        if disk.is_file(self.path / MANIFEST):
            for name in disk.names_in(self.path):
                # Whoever reads the folder as a table would read it too.
                if name.startswith("part-") and name not in self.files:
                    raise InvalidDataError(
                        "is not a part of this artifact",
                        where=str(self.path / name),
                        hint="Remove it, unless it is yours.",
                    )
        return len(self.files)


def _verify(path: Path, record: Mapping[str, Any], artifact: Artifact, anew: bool) -> None:
    """Compare a file with its record; once per process as long as size and time stay the same.

    Of an object its copy here is compared, which is fetched again where it is another one.

    Args:
        path: the file.
        record: what the manifest says of it.
        artifact: whose it is.
        anew: whether a copy that was here before this process is fetched again in any case.
    """
    hint = f"Make it again: {_MADE_BY.get(artifact.stage.split('.')[0], 'negmine')} ... --force"
    with disk.held(path):
        try:
            disk.fetch(path, anew=anew)
            status = disk.status_of(path)
        except OSError as error:
            raise InvalidDataError("a part is missing", where=str(path), hint=hint) from error
        key = (str(path), status.st_size, status.st_mtime_ns, record["digest"])
        if key in _verified:
            return
        # Of an object the copy here may be an old one.
        if not (_is(path, record) or (disk.fetch(path, anew=True) and _is(path, record))):
            raise InvalidDataError(
                "changed since it was written (wrong checksum)", where=str(path), hint=hint
            )
        _verified.add(key)


def _is(path: Path, record: Mapping[str, Any]) -> bool:
    """Whether a file is what its record says; one that takes a while to read is told."""
    size = disk.status_of(path).st_size
    if size != record["bytes"]:
        return False
    with waiting(f"verifying {path}") if size >= _LARGE else nullcontext():
        return digest(path) == str(record["digest"])


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
    path = located(path)
    expected = " or ".join(_MADE_BY.get(stage, stage) for stage in stages or ())
    manifest = load_json(path / MANIFEST)
    if manifest is None:
        # Who replaces it removes it first, at any moment, and it may be there again by now.
        disk.look_anew(path)
        manifest = load_json(path / MANIFEST)
    if manifest is None and not disk.is_file(path / MANIFEST):
        if not disk.is_folder(path):
            what = "no such folder"
        elif "shards" in (load_json(path / SHARDS / "_plan.json") or {}):
            raise MissingInputError(
                "its shards are not collected yet",
                where=str(path),
                hint=f"Run: negmine collect {path}  (it names the shards that are missing).",
            )
        elif disk.exists(path / JOURNAL) or disk.exists(path / SHARDS):
            what = "unfinished: the run that makes it was interrupted or still goes on"
        else:
            what = f"not a negmine artifact (no {MANIFEST})"
        hint = f"Make {purpose} with: {expected}" if expected else f"It should be {purpose}."
        raise MissingInputError(what, where=str(path), hint=hint)
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
        fitting = _made_from(path, manifest, list(stages))
        raise UsageError(
            f"made by '{manifest['stage']}', expected an artifact of {' or '.join(stages)}",
            where=str(path),
            hint=f"It was made from {fitting}: give that."
            if fitting
            else f"Make {purpose} with: {expected}",
        )
    return Artifact(path, manifest)


def is_finished(path: Path) -> bool:
    """Whether a finished artifact lies there, as far as a look tells."""
    return disk.is_file(path / MANIFEST)


def _made_from(path: Path, manifest: Mapping[str, Any], stages: Sequence[str]) -> str | None:
    """The input of an artifact that is of one of these stages, where it still lies."""
    for one in manifest["inputs"].values():
        if isinstance(one, Mapping) and one.get("stage") in stages and "path" in one:
            found = disk.plain(disk.reached(path, str(one["path"])))
            if disk.is_file(found / MANIFEST):
                return str(found)
    return None


def file_manifest(path: Path) -> dict[str, Any]:
    """The manifest beside an exported file.

    Raises:
        MissingInputError: there is none.
    """
    manifest = load_json(manifest_of(path))
    if manifest is None:
        raise MissingInputError("has no negmine manifest beside it", where=str(path))
    return manifest


def has_file_manifest(path: Path) -> bool:
    """Whether ``path`` is an exported file."""
    return disk.is_file(manifest_of(path))
