"""What a user's input was when it was read: the record in the manifest, and its digest.

A local file is told by its content. A remote file is told by its size and the mark that its store
gives it (a checksum, an ETag or a version where there is one, else the time of its last change), so
that asking whether a result is up to date downloads nothing; where the store gives no mark, the
content is streamed through the hash. A collection of ``ir_datasets`` is told by its id and the
version of the package, which checks the checksums of what it downloads. Several inputs of one kind
are told by each one's record, in their order. Addresses are recorded without user names, passwords
and queries.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from negmine import log
from negmine.inputs import catalogues, limits
from negmine.inputs.kinds import KINDS
from negmine.inputs.layouts import Found
from negmine.inputs.places import Place, file_errors
from negmine.inputs.specs import Specs, find_all
from negmine.table import artifacts

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


def origin(specs: Specs, role: str, known: Mapping[str, Any] | None = None) -> Origin:
    """Take the record of the input ``specs``, read as ``role`` (corpus, queries, ...).

    Args:
        specs: what the user named: a path, a URL or an id, or several.
        role: the kind of input.
        known: the record of an earlier run, so that unchanged local files are not hashed again.

    Raises:
        MissingInputError: it is not there, or cannot be reached.
        UsageError: its format is not known, or several files could be meant.
    """
    found = find_all(KINDS[role], specs)
    with log.waiting(f"verifying the {role}"):
        record = _record_of_all(found, role, known)
    return Origin(record, lambda: str(_record_of_all(found, role, record)["digest"]))


def _record_of_all(
    found: Sequence[Found], role: str, known: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The record of one input, or of several: each one's, and the digest of their digests."""
    if len(found) == 1:
        return _record(found[0], role, known)
    before: Mapping[str, Any] = (known or {}).get("files", {})
    records = {}
    for one in found:
        path = _path(one)
        # Two splits may lie in one folder.
        path = one.spec if path in records else path
        records[path] = _record(one, role, before.get(path))
    first = next(iter(records))
    return {
        "path": f"{first} and {len(records) - 1} more",
        "bytes": sum(record.get("bytes", 0) for record in records.values()),
        "files": records,
        "digest": _hash(*(record["digest"] for record in records.values())),
    }


def _path(found: Found) -> str:
    """What an input is called in the manifest."""
    if not found.files:
        return found.spec
    place = found.folder or found.files[0]
    return os.path.abspath(place.path) if place.fs is None else place.name


def _record(found: Found, role: str, known: Mapping[str, Any] | None) -> dict[str, Any]:
    if found.format == "catalogue":
        catalogues.check(KINDS[role], found.spec)
        version = catalogues.version()
        return {"path": found.spec, "version": version, "digest": _hash(found.spec, version)}
    if found.folder is None:
        return _of_file(found.files[0], known)
    before: Mapping[str, Any] = (known or {}).get("files", {})
    records = {
        file.name.rsplit("/", 1)[-1]: _of_file(file, before.get(file.name.rsplit("/", 1)[-1]))
        for file in found.files
    }
    return {
        "path": _path(found),
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
