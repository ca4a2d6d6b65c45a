"""One request to an object store, by fsspec, and what goes wrong there as a user meets it.

An object appears whole or not at all, which is the store's own promise. Two writers are told apart
by conditional puts: an object is created only where there is none of its name.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from negmine.addresses import Address
from negmine.errors import (
    InvalidDataError,
    MachineError,
    MissingDependencyError,
    MissingInputError,
    NegmineError,
    UsageError,
)

_PACKAGES = {"s3": "negmine[s3]", "gs": "negmine[gcs]"}
#: What may stand in the environment and in no message.
_SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
#: A file is sent, and fetched, in pieces of so many bytes, so many at a time: they are held.
_PIECE, _AT_ONCE = 8 << 20, 4
#: Pieces that a store takes of one object.
_MOST_PIECES = 9000
#: Two puts of one name at the same time: AWS asks one of them to come again.
_CONFLICT, _TRIES = "ConditionalRequestConflict", 5
_EXISTS = ("PreconditionFailed", "412")
#: With one of these in it fsspec takes a name for a pattern, which others may match.
_OF_PATTERNS = frozenset("*?[")
#: So few objects go as soon one by one as together.
_FEW = 2


#: Buckets that have refused to create what was there.
_conditional: set[tuple[str, str]] = set()


@dataclass(frozen=True)
class Entry:
    """What a listing says of an object, or of a folder of objects.

    Attributes:
        size: its bytes; 0 of a folder.
        mark: changes with its content; empty of a folder.
        is_folder: whether it is one.
    """

    size: int
    mark: str
    is_folder: bool


def listing(folder: Address) -> dict[str, Entry]:
    """What lies in a folder, by name; nothing where there is no such folder.

    Raises:
        NegmineError: there is no such bucket, or it cannot be read.
    """
    fs = _store(folder)
    with _in_words(folder):
        try:
            found = fs.ls(folder.path, detail=True)
        except FileNotFoundError:
            _require_bucket(fs, folder)
            return {}
    entries = {}
    for one in found:
        path = str(one["name"]).rstrip("/")
        # An object of the folder's own name, and what marks an empty folder, are not in it.
        if path != folder.path and (name := path.rpartition("/")[2]):
            entries[name] = _entry(one)
    return entries


def _entry(told: dict[str, Any]) -> Entry:
    if told["type"] == "directory":
        return Entry(0, "", True)
    mark = told.get("ETag") or told.get("etag") or told.get("generation") or ""
    return Entry(int(told["size"]), str(mark), False)


def read(file: Address) -> bytes | None:
    """The bytes of a small object; None where there is none."""
    with _in_words(file):
        try:
            return bytes(_store(file).cat_file(file.path))
        except FileNotFoundError:
            return None


def fetch(file: Address, target: Path) -> None:
    """Fetch an object into a local file.

    Raises:
        MissingInputError: there is none.
    """
    pieces = {"chunksize": _PIECE, "max_concurrency": _AT_ONCE} if file.scheme == "s3" else {}
    with _in_words(file):
        _store(file).get_file(file.path, str(target), **pieces)


def write(file: Address, content: bytes) -> None:
    """Write a small object, in the place of one that is there."""
    with _in_words(file):
        _store(file).pipe_file(file.path, content)


def create(file: Address, content: bytes) -> bool:
    """Create a small object, unless one of its name is there: whether this call did."""
    for number in range(_TRIES):
        with _in_words(file):
            try:
                if _created(file, content):
                    _require_conditions(file)
                    return True
                # A first try may have come through whose answer got lost: the content tells.
                return read(file) == content
            except OSError as error:
                if _code(error) != _CONFLICT or number == _TRIES - 1:
                    raise
        time.sleep(0.1 * 2**number)
    raise AssertionError


def _created(file: Address, content: bytes) -> bool:
    """Whether an object was created; False where one of its name is there."""
    try:
        _store(file).pipe_file(file.path, content, mode="create")
    except FileExistsError:
        return False
    except OSError as error:
        # As older releases of s3fs say it.
        if _code(error) not in _EXISTS:
            raise
        return False
    return True


def send(source: Path, file: Address) -> None:
    """Send a local file, in the place of an object that is there."""
    size = source.stat().st_size
    pieces: dict[str, Any] = {"chunksize": max(_PIECE, size // _MOST_PIECES)}
    if file.scheme == "s3":
        pieces["max_concurrency"] = _AT_ONCE
    else:
        # Google's takes multiples of 256 KiB.
        pieces["chunksize"] = -(-pieces["chunksize"] // (256 << 10)) * (256 << 10)
    with _in_words(file):
        _store(file).put_file(str(source), file.path, **pieces)


def copy(source: Address, target: Address) -> None:
    """Copy an object inside the store, in the place of one that is there."""
    with _in_words(source):
        _store(source).cp_file(source.path, target.path)


def remove(files: Sequence[Address]) -> None:
    """Remove objects, one after the other; what is not there is no error."""
    for file in files:
        with _in_words(file):
            try:
                _store(file).rm_file(file.path)
            except FileNotFoundError:
                continue


def remove_all(folder: Address, files: Sequence[Address]) -> None:
    """Remove objects below a folder, many with one request, in no order.

    What is not there is no error.
    """
    together = [file.path for file in files if not _OF_PATTERNS.intersection(file.path)]
    if len(together) > _FEW:
        # A store may know no such request, or keep some of the objects, which s3fs does not tell:
        # these go one by one, and that tells.
        with suppress(NegmineError), _in_words(folder):
            _store(folder).rm(together)
        left = set(below(folder))
        files = [file for file in files if file in left]
    remove(files)


def below(folder: Address) -> list[Address]:
    """Every object below a folder, and the one of its own name."""
    with _in_words(folder):
        try:
            found = _store(folder).find(folder.path)
        except FileNotFoundError:
            return []
    names = [str(path).removeprefix(f"{folder.bucket}/") for path in found]
    return [Address(folder.scheme, folder.bucket, name) for name in names]


# --- where requests go ------------------------------------------------------------------------


def _store(address: Address) -> Any:
    """The store that has the object.

    Raises:
        UsageError: the address held a user or a key.
        MissingDependencyError: the package that speaks with it is not installed.
    """
    if "@" in address.bucket:
        raise UsageError(
            "an address takes no user and no key",
            where=str(address),
            hint="Credentials come from the environment or the provider's own files "
            "(docs/object-stores.md).",
        )
    return _file_system(address.scheme)


@cache
def _file_system(scheme: str) -> Any:
    """The store behind a scheme; its settings and credentials are the environment's."""
    import fsspec

    try:
        # What is cached of listings is the mirror's to say. Amazon's library sends a checksum with
        # each object; Google's is told to compare one.
        more = {} if scheme == "s3" else {"consistency": "md5"}
        return fsspec.filesystem(scheme, use_listings_cache=False, skip_instance_cache=True, **more)
    except ImportError:
        raise MissingDependencyError(
            f"{scheme}:// needs a package that is not installed",
            hint=f"pip install '{_PACKAGES[scheme]}'",
        ) from None


def _require_bucket(fs: Any, address: Address) -> None:
    """See that there is such a bucket.

    Raises:
        MissingInputError: there is none.
    """
    if not _is_there(fs, address.bucket):
        raise _no_bucket(address)


def _require_conditions(file: Address) -> None:
    """See that a store keeps the condition of a put, by the first object that was created there.

    Raises:
        UsageError: it does not: of two writers the last would win, in silence.
    """
    bucket = file.scheme, file.bucket
    if bucket in _conditional:
        return
    if not _created(file, _store(file).cat_file(file.path)):
        _conditional.add(bucket)
        return
    raise UsageError(
        "this store writes over an object that was to be created only where there is none "
        "(If-None-Match is ignored): two writers would not be told apart",
        where=str(file),
        hint="Write to a local folder and copy that, or use a store that keeps conditions.",
    )


@cache
def _is_there(fs: Any, bucket: str) -> bool:
    return bool(fs.exists(bucket))


def _no_bucket(address: Address) -> MissingInputError:
    return MissingInputError(
        f"no such bucket: {address.bucket}",
        where=str(address),
        hint="Make it first, or check its name and the endpoint (AWS_ENDPOINT_URL for others than "
        "Amazon's)."
        if address.scheme == "s3"
        else "Make it first, or check its name.",
    )


# --- what goes wrong --------------------------------------------------------------------------


@contextmanager
def _in_words(address: Address) -> Iterator[None]:
    """What a store or its library raises, as a user meets it."""
    try:
        yield
    except (NegmineError, FileExistsError):
        raise
    except Exception as error:
        # Not from it: what libraries say may hold a key.
        raise _told(error, address) from None


def _told(error: Exception, address: Address) -> NegmineError:
    said, name = _cleaned(str(error)), type(error).__name__
    if isinstance(error, FileNotFoundError):
        if _code(error) == "NoSuchBucket" or not _is_there(_store(address), address.bucket):
            return _no_bucket(address)
        return MissingInputError("no such object", where=str(address), hint="Check the address.")
    if "Credentials" in name or "RefreshError" in name:
        return MachineError(
            f"no credentials for {address.scheme}:// are found ({said})",
            where=str(address),
            hint="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give this "
            "machine a role."
            if address.scheme == "s3"
            else "Run gcloud auth application-default login, or set "
            "GOOGLE_APPLICATION_CREDENTIALS.",
        )
    if isinstance(error, PermissionError):
        return MachineError(
            f"access is denied ({said})",
            where=str(address),
            hint="Check the credentials, and that they may list, read, write and delete there.",
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return MachineError(
            f"the disk is full ({said})",
            where=str(address),
            hint="Free some space, or have the copies lie elsewhere: NEGMINE_CACHE=FOLDER.",
        )
    if _code(error) in ("BadDigest", "InvalidDigest"):
        return InvalidDataError(f"arrived damaged ({said})", where=str(address), hint="Try again.")
    return MachineError(
        f"the store does not answer, or not as expected: {name}: {said}",
        where=str(address),
        hint="Check the network and the endpoint, then run the same command again: it continues.",
    )


def _code(error: BaseException) -> str:
    """What the store calls an error; empty where it does not say."""
    response = getattr(error.__cause__, "response", None) or getattr(error, "response", None)
    return str(response["Error"].get("Code", "")) if isinstance(response, dict) else ""


def _cleaned(message: str) -> str:
    """A message without keys."""
    for name in _SECRETS:
        secret = os.environ.get(name)
        if secret:
            message = message.replace(secret, "***")
    return message
