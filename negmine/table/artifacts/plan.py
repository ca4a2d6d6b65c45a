"""What an artifact is made from, and the fingerprint that follows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from negmine import __version__
from negmine.errors import InvalidDataError, MissingInputError
from negmine.table import schemas
from negmine.table.artifacts import disk
from negmine.table.artifacts.disk import as_bytes, digest
from negmine.table.artifacts.reading import Artifact


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
    return hashlib.blake2b(as_bytes(canonical), digest_size=16).hexdigest()


def external_input(path: Path, known: Mapping[str, Any] | None) -> dict[str, Any]:
    """Record of a user's file: path, size, time, content digest.

    The digest of an earlier record is reused when inode, size and modification time are the
    same, so that asking "is this up to date" of a large corpus does not read it.
    """
    try:
        status = disk.status_of(path)
    except OSError as error:
        raise MissingInputError(
            f"cannot read: {error.strerror}", where=str(path), hint="Check the path."
        ) from error
    record: dict[str, Any] = {
        "path": disk.absolute(path),
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

    @cached_property
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
                "path": disk.relative(artifact.path, folder),
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

    def differences(self, recorded: Mapping[str, Any], path: Path) -> str:
        """Which parameters and inputs differ from a recorded identity, for a message."""
        planned = self.identity(path)
        found = []
        if recorded.get("stage") != planned["stage"]:
            return f"stage: {recorded.get('stage')} -> {planned['stage']}"
        for key in sorted({*recorded.get("params", {}), *planned["params"]}):
            old, new = recorded.get("params", {}).get(key), planned["params"].get(key)
            if old == new:
                continue
            name = key.replace("_", "-")
            told = f"{name}: {plain(old)} -> {plain(new)}"
            # An option that is not used, and that the version before did not have.
            older = old is None and plain(new) == plain(None)
            found.append(f"made before there was --{name}" if older else told)
        for group, mark in (("inputs", ("digest", "fingerprint")), ("models", ("revision",))):
            old_group, new_group = recorded.get(group, {}), planned[group]
            for key in sorted({*old_group, *new_group}):
                old_mark = [old_group.get(key, {}).get(m) for m in mark]
                if old_mark != [new_group.get(key, {}).get(m) for m in mark]:
                    found.append(f"{key} changed")
        if recorded.get("version") != planned["version"]:
            found.append(f"code version: {recorded.get('version')} -> {planned['version']}")
        return "; ".join(found[:6]) or "its fingerprint differs"


def plain(value: Any) -> Any:
    """A value as people write it: 1 and not 1.0, on and not True, nothing in quotes or brackets."""
    if value is None or value in ([], {}):
        return "not set"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple):
        return ", ".join(str(plain(one)) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}={plain(one)}" for key, one in value.items())
    return f"{value:g}" if isinstance(value, float) else value
