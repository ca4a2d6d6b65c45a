"""The calls that touch files: nothing else in this wing does.

A file or folder appears whole: it is made under its hidden name (:func:`hidden_name`), flushed and
renamed (:func:`publish`).

A path may be the mirror of an address in an object store (:mod:`negmine.addresses`). Whatever is
said of it then is said of what lies there, and what is read of it is fetched; hidden files,
checkpoints and the journal, which is but a lock there, lie on this machine alone.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from negmine import addresses
from negmine.addresses import address_of, is_address, located
from negmine.buckets.copies import HALF_WRITTEN, LOCK
from negmine.errors import ConflictError

if TYPE_CHECKING:
    from negmine.buckets.mirror import Mirrored

MANIFEST = "_manifest.json"
JOURNAL = LOCK
#: The folder of what several processes make of one artifact.
SHARDS = "_shards"
_HASHED_BLOCK = 1 << 22
#: What a file system answers that knows no locks, or has lost their keeper.
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
#: So many small objects are fetched at once.
_AT_ONCE = 16


# --- object stores ----------------------------------------------------------------------------


def _far(path: Path) -> Mirrored | None:
    """What a path stands for in an object store; None of what lies on this machine."""
    if address_of(path) is None or _stays_here(path):
        return None
    # Nothing of it is imported where no store is named.
    from negmine.buckets.mirror import mirrored

    return mirrored(path)


def _stays_here(path: Path) -> bool:
    """Whether it is what no store is given: a lock, or what is half-written."""
    return path.name == JOURNAL or any(map(HALF_WRITTEN.fullmatch, path.parts[-2:]))


def is_half_written(name: str) -> bool:
    """Whether it is a name under which something is written before it has its own."""
    return HALF_WRITTEN.fullmatch(name) is not None


def is_far(path: Path) -> bool:
    """Whether a path stands for something in an object store."""
    return address_of(path) is not None


def look_anew(path: Path) -> None:
    """See what others have written by now: of an object store a listing holds for a second."""
    if (far := _far(path)) is not None:
        far.look_anew()


def fetch(path: Path, *, anew: bool = False) -> bool:
    """Have a copy of an object on this machine; whether it was fetched for that.

    Args:
        path: a file; what is no object is there or is not.
        anew: in the place of a copy that was here before this process, and may be an old one.

    Raises:
        FileNotFoundError: there is no such object.
    """
    far = _far(path)
    return far is not None and far.fetch(anew=anew)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Have the copy of an object, or those of a folder, stay on this machine in the block."""
    far = _far(path)
    with nullcontext() if far is None else far.held():
        yield


def hold(path: Path) -> None:
    """Have the copy of an object, or those of a folder, stay here until this process ends."""
    if (far := _far(path)) is not None:
        far.hold()


def drop_copies(folder: Path, names: Iterable[str]) -> None:
    """Remove the copies in a folder of an object store that are of none of these names.

    They are of what lay there before: whoever opens the folder as a whole would take them for its
    own.
    """
    if is_far(folder) and folder.is_dir():
        for name in {path.name for path in folder.iterdir()} - set(names):
            if not HALF_WRITTEN.fullmatch(name):
                (folder / name).unlink(missing_ok=True)


# --- looking ----------------------------------------------------------------------------------


def exists(path: Path) -> bool:
    """Whether anything is there."""
    far = _far(path)
    if far is None:
        return path.exists() and not (path.name == JOURNAL and is_far(path))
    return far.entry() is not None


def is_file(path: Path) -> bool:
    """Whether a file is there."""
    far = _far(path)
    return path.is_file() if far is None else far.is_file()


def is_folder(path: Path) -> bool:
    """Whether a folder is there."""
    far = _far(path)
    return path.is_dir() if far is None else far.is_folder()


def names_in(folder: Path) -> list[str]:
    """Names of what lies in a folder, in order; none where there is no folder.

    Another process may remove it at any moment, also behind a look whether it is there.
    """
    far = _far(folder)
    return sorted(_entries(folder)) if far is None else far.names()


def files_in(folder: Path, pattern: str) -> list[str]:
    """Names of the files in a folder and in those right in it that match a pattern, in order."""
    if (far := _far(folder)) is not None:
        return far.files(pattern)
    found = []
    for name, is_folder in _entries(folder).items():
        if is_folder:
            inner = _entries(folder / name)
            found += [f"{name}/{one}" for one, another in inner.items() if not another]
        else:
            found.append(name)
    return sorted(one for one in found if fnmatchcase(one.rpartition("/")[2], pattern))


def _entries(folder: Path) -> dict[str, bool]:
    """What lies in a folder of this machine, if there is one: names, and which are folders."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.is_dir() for entry in entries}
    except FileNotFoundError:
        return {}


def beginning_with(folder: Path, prefix: str) -> list[Path]:
    """What in a folder of this machine, which need not be there, has a name that begins so."""
    return [folder / name for name in sorted(_entries(folder)) if name.startswith(prefix)]


def size_of(path: Path) -> int:
    """Bytes of a file."""
    far = _far(path)
    return path.stat().st_size if far is None else far.size()


def has_size(path: Path, size: int) -> bool:
    """Whether a file of so many bytes is there."""
    try:
        return is_file(path) and size_of(path) == size
    except FileNotFoundError:
        # Another process has removed it between the two looks.
        return False


def status_of(path: Path) -> os.stat_result:
    """Size, time and inode of a file; of an object those of its copy here."""
    with held(path):
        fetch(path)
        return path.stat()


def absolute(path: str | Path) -> str:
    """A path that does not depend on the current folder."""
    return addresses.shown(os.path.abspath(path))


def relative(path: Path, folder: Path) -> str:
    """``path`` as it is reached from ``folder``, links followed.

    From another store, or from this machine, by its address; from a store what lies on this machine
    by its whole path.
    """
    there, here = address_of(path), address_of(folder)
    if (there and (there.scheme, there.bucket)) != (here and (here.scheme, here.bucket)):
        return str(there or path.resolve())
    return os.path.relpath(path.resolve(), folder.resolve())


def reached(folder: Path, path: str) -> Path:
    """The path that :func:`relative` gave, seen from ``folder``."""
    return located(path) if is_address(path) else folder / path


def plain(path: Path) -> Path:
    """The path without the ``..`` that it can do without."""
    return Path(os.path.normpath(path))


# --- reading ----------------------------------------------------------------------------------


def digest(path: Path) -> str:
    """Hex BLAKE2b-128 of a file's bytes; of an object those of its copy here."""
    hasher = hashlib.blake2b(digest_size=16)
    with opened(path, there=True) as file:
        while block := file.read(_HASHED_BLOCK):
            hasher.update(block)
    return hasher.hexdigest()


def load_all(paths: Sequence[Path], *, now: bool = False) -> list[dict[str, Any] | None]:
    """The JSON objects in some files; those of an object store are fetched beside each other.

    Args:
        paths: the files.
        now: see :func:`load_json`.
    """
    load = partial(load_json, now=now)
    if paths and is_far(paths[0]):
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(load, paths))
    return [load(path) for path in paths]


def load_json(path: Path, *, now: bool = False) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is none.

    Args:
        path: the file.
        now: in an object store, as it is at this moment: a listing holds for a second.
    """
    far = _far(path)
    try:
        if far is None:
            content: bytes | None = path.read_bytes()
        else:
            content = far.now() if now else far.content()
        data = None if content is None else json.loads(content.decode("utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def opened(path: Path, *, there: bool = False) -> IO[bytes]:
    """A file's bytes, to be read piece by piece; none where there is no file.

    Args:
        path: the file.
        there: whether it is, so that it is an error if it is not.
    """
    if not there and not is_file(path):
        return io.BytesIO()
    # A copy that goes while it is open can be read all the same.
    with held(path):
        fetch(path)
        return path.open("rb")


def whole_lines(path: Path) -> list[bytes]:
    """The lines of a file, if there is one, without a last one that no line end closes."""
    if path.name == JOURNAL and is_far(path):
        # Another machine's is not here, and this one's may be of long ago.
        return []
    try:
        return path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        # A journal goes when its run has ended, at any moment.
        return []


@contextmanager
def mapped(path: Path) -> Iterator[pa.MemoryMappedFile]:
    """A file's bytes, mapped while the block runs."""
    with held(path):
        fetch(path)
        with pa.memory_map(str(path)) as opened:
            yield opened


# --- writing ----------------------------------------------------------------------------------


def name_place(error: BaseException | None, path: Path) -> None:
    """Say where there was no space: Arrow's errors do not name the file that it was writing."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
    if isinstance(error, OSError) and error.filename is None and error.errno in full:
        error.filename = str(path)


def hidden_name(path: Path) -> Path:
    """Where something is written before it is renamed to ``path``."""
    return path.parent / f".{path.name}.tmp"


def manifest_of(path: Path) -> Path:
    """The manifest beside an exported file."""
    # The leading underscore hides it from Parquet readers that are given the folder.
    return path.parent / f"_{path.name}.manifest.json"


def publish(path: Path) -> None:
    """Give what was made under the hidden name its own."""
    if (far := _far(path)) is not None:
        far.publish(hidden_name(path))
        return
    os.rename(hidden_name(path), path)


def draft_of(path: Path) -> Path:
    """Where a file or folder is written that :func:`lay` gives its name.

    Of one that nobody knows of before it is marked, that is its name itself; in an object store
    nothing is there before it is whole.
    """
    return path if _far(path) is None else hidden_name(path)


def lay(path: Path) -> None:
    """Make what was written as a draft last under its own name."""
    if (far := _far(path)) is not None:
        far.publish(hidden_name(path))
        return
    flush_to_disk(path)
    flush_to_disk(path.parent)


def copy_far(pairs: Iterable[tuple[Path, Path]]) -> None:
    """Copy objects, and all in folders of them, inside their store; copies here are renamed."""
    from negmine.buckets.mirror import copy_all, mirrored

    ends = ((mirrored(source), mirrored(target)) for source, target in pairs)
    copy_all([(source, target) for source, target in ends if source and target])


def make_folder(path: Path) -> list[Path]:
    """Make a folder and those above it; returns the new ones, the innermost first."""
    if path.is_dir():
        return []
    created = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    return created


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file."""
    path.write_text(text, encoding="utf-8")


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a NumPy ``.npy`` file (no pickle)."""
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    content = _as_json(data)
    if (far := _far(path)) is not None:
        far.write(content)
        return
    write_whole(path, [content])


def finish(
    path: Path, manifest: Mapping[str, Any], of: Path, *, before: Mapping[str, Any] | None = None
) -> None:
    """Write the manifest that makes something finished.

    Of several processes that do so in an object store one succeeds; on this machine there is but
    one, which holds the lock.

    Args:
        path: where.
        manifest: plain JSON values.
        of: what is finished.
        before: what was there when the process began, and may go.

    Raises:
        ConflictError: another process has finished it.
    """
    far = _far(path)
    if far is None:
        write_json(path, manifest)
        return
    if before is not None and load_json(path) == before:
        far.remove()
    if not far.create(_as_json(manifest)):
        raise ConflictError(
            "another process finished it first",
            where=str(of),
            hint="Nothing is mixed: what is there is that process's.",
        )


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write a manifest that describes other artifacts (the index's own, an export file's)."""
    # None of them need lie in its folder.
    make_folder(path.parent)
    if is_far(path):
        write_json(path, manifest)
        return
    # No journal is locked for it: two processes may write it at once, each under a name of its own.
    own = path.parent / f".{secrets.token_hex(6)}.tmp"
    try:
        write_whole(path, [_as_json(manifest)], own)
    finally:
        remove_file(own)


def _as_json(data: Mapping[str, Any]) -> bytes:
    # Where a mirror lies is this machine's own.
    return as_bytes(addresses.shown(json.dumps(data, indent=2, ensure_ascii=False)) + "\n")


def as_bytes(text: str) -> bytes:
    """JSON text as UTF-8. A file name may hold any bytes: those that are no UTF-8 are escaped."""
    return text.encode("utf-8", "backslashreplace")


def flush_to_disk(path: Path) -> None:
    """fsync a file or a folder; what stands for an object has yet to be sent, or was."""
    if is_far(path):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, pieces: Iterable[bytes], hidden: Path | None = None) -> None:
    """Write a file of this machine whole or not at all.

    Args:
        path: its name.
        pieces: what it holds.
        hidden: where it is written first; by default under its hidden name.
    """
    hidden = hidden or hidden_name(path)
    with hidden.open("wb") as file:
        file.writelines(pieces)
    flush_to_disk(hidden)
    os.rename(hidden, path)
    flush_to_disk(path.parent)


def create(path: Path, text: str, token: str) -> bool:
    """Create a file that holds this text, whole, unless one of its name is there: whether it was.

    Of several processes that do so one succeeds, on network file systems, too.

    Args:
        path: its name.
        text: UTF-8.
        token: this process's own, for the name under which it is written first.
    """
    if (far := _far(path)) is not None:
        return far.create(as_bytes(addresses.shown(text)))
    hidden = path.parent / f".{path.name}.{token}.tmp"
    hidden.write_bytes(as_bytes(text))
    flush_to_disk(hidden)
    try:
        os.link(hidden, path)
    except FileExistsError:
        return False
    finally:
        remove_file(hidden)
    flush_to_disk(path.parent)
    return True


def copy(path: Path, target: Path) -> None:
    """Copy a file's bytes."""
    shutil.copyfile(path, target)


def append_bytes(path: Path, pieces: Iterable[bytes]) -> None:
    """Add bytes to a file, which may be new; they are on the disk when this returns."""
    with path.open("ab") as file:
        file.writelines(pieces)
        file.flush()
        os.fsync(file.fileno())


def cut(path: Path, size: int) -> None:
    """Leave so many bytes of a file."""
    os.truncate(path, size)


def rename(path: Path, target: Path) -> None:
    """Give a file or folder another name."""
    far, there = _far(path), _far(target)
    if far is None or there is None:
        os.rename(path, target)
    else:
        far.move(there, last=MANIFEST)


def touch(path: Path) -> None:
    """Set a file's time to now; its bytes stay. Where that is not allowed, so does its time.

    An object's stays: nobody compares it.
    """
    if is_far(path):
        return
    with suppress(OSError):
        os.utime(path)


# --- removing ---------------------------------------------------------------------------------


def remove_file(path: Path) -> None:
    """Remove a file; what is not there is no error, and a folder stays."""
    if (far := _far(path)) is not None and far.is_file():
        far.remove()
    path.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Remove a file, or a folder and all in it; what is not there is no error.

    Of a link to a folder the link goes: what it leads to is somebody's own.
    """
    if (far := _far(path)) is not None:
        far.remove(first=MANIFEST)
        return
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, onerror=_unless_gone)
    else:
        remove_file(path)


def _unless_gone(call: object, path: str, raised: tuple[Any, BaseException, Any]) -> None:
    """What was to be removed and is gone is no error: another process removes the same."""
    if not isinstance(raised[1], FileNotFoundError):
        raise raised[1]


def remove_empty(folder: Path) -> bool:
    """Remove a folder if nothing is in it; whether that was so, or none was there."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def remove_hidden(path: Path) -> None:
    """Remove what an interrupted run left half-written."""
    for folder in [path, *(path / name for name, inner in _entries(path).items() if inner)]:
        # Other processes may be writing in the folder of shards.
        if folder == path or not (folder.name == SHARDS or folder.is_symlink()):
            for leftover in beginning_with(folder, "."):
                if leftover.suffix == ".tmp":
                    remove(leftover)


def checkpoint_of(path: Path, of: str = "") -> Path:
    """Where the unfinished rows of a part (or of one column of it) are kept."""
    return path.parent / f".{path.name}{'.' if of else ''}{of}.checkpoint"


def checkpoints_in(path: Path) -> list[Path]:
    """The unfinished rows of all parts in a folder."""
    return [one for one in beginning_with(path, ".") if one.suffix == ".checkpoint"]


def remove_checkpoints(path: Path) -> None:
    """Remove the unfinished rows of all parts in a folder."""
    for leftover in checkpoints_in(path):
        remove_file(leftover)


# --- journal and lock -------------------------------------------------------------------------


def append(file: IO[str], text: str) -> None:
    """Add text to an open file; it is on the disk when this returns."""
    file.write(text)
    file.flush()
    os.fsync(file.fileno())


class LockedError(OSError):
    """Another process holds the lock of the file with this inode."""

    def __init__(self, inode: int) -> None:
        super().__init__(f"inode {inode} is locked")
        self.inode = inode


def open_locked(file: Path, *, waits: bool = False) -> IO[str]:
    """Open a file to append to it, and lock it; the lock dies with the process.

    Args:
        file: which; it is made where there is none, its folder is not.
        waits: for another process to give up the lock.

    Raises:
        LockedError: another process holds the lock.
        FileNotFoundError: there is no such folder: it may have gone a moment ago.
    """
    if is_far(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    while True:
        opened = file.open("a+", encoding="utf-8")
        try:
            if _taken(opened, waits) and os.fstat(opened.fileno()).st_ino == file.stat().st_ino:
                return opened
        except FileNotFoundError:
            pass
        except BaseException:
            opened.close()
            raise
        # Others looked at it, or the holder finished and moved the file between our open and our
        # lock.
        opened.close()


def _taken(opened: IO[str], waits: bool) -> bool:
    """Lock an open file; False where others look at it for a moment.

    Raises:
        LockedError: another process holds the lock.
    """
    if waits:
        fcntl.flock(opened, fcntl.LOCK_EX)
        return True
    if _locked(opened, fcntl.LOCK_EX):
        return True
    if _locked(opened, fcntl.LOCK_SH):
        return False
    raise LockedError(os.fstat(opened.fileno()).st_ino)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Have no other process of this machine be in such a block for a folder meanwhile."""
    gate, opened = hidden_name(folder / "gate"), None
    try:
        opened = open_locked(gate, waits=True)
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise
    try:
        yield
    finally:
        with nullcontext() if opened is None else opened:
            # Before the lock goes: another one's would be removed otherwise.
            remove_file(gate)


def is_locked(file: Path) -> bool:
    """Whether a living process holds the lock of a file."""
    try:
        with file.open("r") as opened:
            # Shared: two that look at once do not take each other for a writer.
            return not _locked(opened, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False
    except OSError as error:
        # Who has no locks keeps nobody out: none is to be waited for.
        return error.errno not in _WITHOUT_LOCKS


def _locked(opened: IO[str], how: int) -> bool:
    """Lock an open file, unless another process holds it; whether it is locked now."""
    try:
        fcntl.flock(opened, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_holder(inode: int) -> str | None:
    """The process that holds a file's lock, as the kernel says; None where it does not."""
    try:
        for line in Path("/proc/locks").read_text().splitlines():
            # 1: FLOCK  ADVISORY  WRITE 4711 fd:00:786436 0 EOF
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
                return fields[4]
    except (OSError, IndexError):
        pass
    return None
