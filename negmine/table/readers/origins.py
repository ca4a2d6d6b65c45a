"""What a user's input was when it was read: the record in the manifest, and its digest.

A local file is told by its content. A remote file is told by its size and the mark that its store
gives it (a checksum, an ETag or a version where there is one, else the time of its last change), so
that asking whether a result is up to date downloads nothing; where the store gives no mark, the
content is streamed through the hash. A collection of ``ir_datasets`` is told by its id and the
version of the package, which checks the checksums of what it downloads. Addresses are recorded
without user names, passwords and queries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from negmine.table import artifact as artifacts
from negmine.table.readers import catalogues, limits
from negmine.table.readers.kinds import KINDS
from negmine.table.readers.layouts import Found, find
from negmine.table.readers.places import Place, file_errors

#: What tells a remote file's content, by file system (the Hub's, Google's, ...), best first.
_CHECKSUMS = ("sha256", "md5Hash", "xet_hash", "blob_id")
#: What tells that a remote file at one address is another one now.
_MARKS = ("ETag", "etag", "VersionId", "generation")
_TIMES = (
    *("LastModified", "Last-Modified", "last_modified"),
    *("updated", "mtime", "modified", "created"),
)


@dataclass(frozen=True)
class Origin:
    """An input's record.

    Attributes:
        record: for the manifest; ``digest`` is what the fingerprint takes.
        again: its digest taken anew.
    """

    record: Mapping[str, Any]
    again: Callable[[], str]


def origin(spec: str, role: str, known: Mapping[str, Any] | None = None) -> Origin:
    """Take the record of the input ``spec``, read as ``role`` (corpus, queries, ...).

    Args:
        spec: what the user named: a path, a URL or an id.
        role: the kind of input.
        known: the record of an earlier run, so that unchanged local files are not hashed again.

    Raises:
        MissingInputError: it is not there, or cannot be reached.
        UsageError: its format is not known, or several files could be meant.
    """
    found = find(KINDS[role], spec)
    record = _record(found, spec, role, known)
    return Origin(record, lambda: str(_record(found, spec, role, record)["digest"]))


def _record(found: Found, spec: str, role: str, known: Mapping[str, Any] | None) -> dict[str, Any]:
    if found.format == "catalogue":
        catalogues.check(KINDS[role], spec)
        version = catalogues.version()
        return {"path": spec, "version": version, "digest": _hash(spec, version)}
    if found.folder is None:
        return _of_file(found.files[0], known)
    before: Mapping[str, Any] = (known or {}).get("files", {})
    records = {
        file.name.rsplit("/", 1)[-1]: _of_file(file, before.get(file.name.rsplit("/", 1)[-1]))
        for file in found.files
    }
    return {
        "path": str(Path(found.folder.path).absolute())
        if found.folder.fs is None
        else found.folder.name,
        "bytes": sum(record["bytes"] for record in records.values()),
        "files": records,
        "digest": _hash(*(record["digest"] for record in records.values())),
    }


def _of_file(file: Place, known: Mapping[str, Any] | None) -> dict[str, Any]:
    if file.fs is None:
        return artifacts.external_input(Path(file.path), known)
    info = file.info()
    lfs = info.get("lfs")
    told = {**dict(lfs if isinstance(lfs, Mapping) else getattr(lfs, "__dict__", {})), **info}
    record: dict[str, Any] = {"path": file.name, "bytes": int(told.get("size") or 0)}
    for names, by_address in ((_CHECKSUMS, False), (_MARKS, True), (_TIMES, True)):
        name = next((name for name in names if told.get(name)), None)
        if name is not None:
            mark = str(told[name])
            address = (file.name,) if by_address else ()
            return {
                **record,
                "mark": {name: mark},
                "digest": _hash(name, mark, str(record["bytes"]), *address),
            }
    return {**record, "digest": _content(file)}


def _content(file: Place) -> str:
    hasher = hashlib.blake2b(digest_size=16)
    with file.open() as stream:
        while True:
            with file_errors(file):
                block = stream.read(limits.BLOCK_BYTES)
            if not block:
                return hasher.hexdigest()
            hasher.update(block)


def _hash(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
