"""Copies of objects on this machine: who uses them, and how much room they take.

The mirrors together may take so many bytes. Before one more object is fetched, and after one was
made, the copies that were used longest ago go until it is so. Those in a folder that another living
process uses stay, for it may open any file of it at any moment; of its own folders a process
removes what nobody holds (:func:`held`). A process says which folders it uses in a file of its own
that it keeps locked, so that it counts for nothing when the process is gone, however it went.
Nobody begins to use a folder while somebody removes copies: there is a gate for that.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import json
import logging
import os
import re
import secrets
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from negmine import memory
from negmine.addresses import cache_folder, mirrors
from negmine.log import event

#: Says how many bytes the copies may take.
SIZE = "NEGMINE_CACHE_SIZE"
_USERS, _GATE = "in-use", ".gate"
#: Where the copies are too many they go until this share of the room is taken, so that the next
#: few find some.
_LEAVES = 0.9
#: What is half-written goes when nobody has touched it for so long: unfinished rows are dear.
_ABANDONED = 7 * 24 * 3600.0
#: Of what is no copy: a lock, which takes no room, and names of what is half-written.
LOCK = "_journal.jsonl"
HALF_WRITTEN = re.compile(r"\..*\.(tmp|checkpoint(\..*)?)")
#: A time of use within so many nanoseconds is good enough.
_RECENT = 60 * 10**9


@dataclass(frozen=True)
class _Copy:
    """A file below the mirrors.

    Attributes:
        path: its own.
        place: itself; of what is half-written the file or folder that has the hidden name.
        size: its bytes.
        used: when it was used last, in nanoseconds.
        half: whether it is half-written.
    """

    path: Path
    place: Path
    size: int
    used: int
    half: bool


class _Process:
    """What this process uses of which cache, and what it knows of the room there."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.lock = threading.RLock()
        self.folders: set[Path] = set()
        self.held: Counter[Path] = Counter()
        self.mine: IO[str] | None = None
        #: Bytes that have come since somebody looked; at how many it is time to look again.
        self.come, self.look_at = 0, 0
        self.told = self.warned = False

    # --- what is used -------------------------------------------------------------------------

    def use(self, folder: Path) -> None:
        """Tell others that a folder is used here, from now on."""
        with self.lock:
            if folder in self.folders:
                return
            with self._gate(fcntl.LOCK_SH):
                if self.mine is None:
                    name = f"{os.getpid()}.{secrets.token_hex(4)}"
                    self.mine = (self.cache / _USERS / name).open("a", encoding="utf-8")
                    fcntl.flock(self.mine, fcntl.LOCK_EX)
                    atexit.register(Path(self.mine.name).unlink, missing_ok=True)
                self.mine.write(json.dumps(os.path.relpath(folder, self.cache)) + "\n")
                self.mine.flush()
            self.folders.add(folder)

    def is_held(self, path: Path) -> bool:
        """Whether something here holds a path, or a folder that it is in."""
        return any(one in self.held for one in (path, *path.parents))

    def _others(self) -> set[Path]:
        """Folders that other living processes use; the gate is closed."""
        found: set[Path] = set()
        for user in (self.cache / _USERS).iterdir():
            if user.name == _GATE or (self.mine is not None and user.name == _name(self.mine)):
                continue
            with suppress(FileNotFoundError), user.open(encoding="utf-8") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    lines = [line for line in file if line.endswith("\n")]
                    found |= {self.cache / json.loads(line) for line in lines}
                else:
                    user.unlink(missing_ok=True)
        return found

    @contextmanager
    def _gate(self, how: int) -> Iterator[None]:
        folder = self.cache / _USERS
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _GATE).open("a") as gate:
            fcntl.flock(gate, how)
            yield

    # --- room ---------------------------------------------------------------------------------

    def come_to(self, size: int, *, is_there: bool) -> None:
        """Look whether all copies and so many bytes more are too much; then the oldest go."""
        with self.lock:
            self.come += size
            if self.come >= self.look_at:
                with self._gate(fcntl.LOCK_EX):
                    self._look(0 if is_there else size)

    def _look(self, size: int) -> None:
        copies = list(_copies(mirrors()))
        taken = sum(one.size for one in copies)
        most = limit(taken)
        others = self._others()
        gone = [one for one in copies if self._is_abandoned(one, others) and _removed(one.path)]
        left = taken - sum(one.size for one in gone)
        if left + size > most:
            whole = sorted((one for one in copies if not one.half), key=lambda one: one.used)
            for one in whole:
                if left + size <= most * _LEAVES:
                    break
                if one.place.parent in others or self.is_held(one.path):
                    continue
                if _removed(one.path):
                    gone.append(one)
                    left -= one.size
        self._tell(gone, left + size, most)
        self.come, self.look_at = 0, max((most - left - size) // 4, most // 100)

    def _is_abandoned(self, one: _Copy, others: set[Path]) -> bool:
        """Whether it is what a process has left half-written that is gone."""
        folder = one.place.parent
        age = time.time() - one.used / 1e9
        return one.half and age > _ABANDONED and not (folder in others or folder in self.folders)

    def _tell(self, gone: list[_Copy], taken: int, most: int) -> None:
        size = memory.shown(sum(one.size for one in gone))
        if gone:
            event(
                f"{len(gone):,} copies ({size}) that were used longest ago are removed from the "
                f"cache, which may hold {memory.shown(most)} ({SIZE})",
                # Where there is little room it goes on and on.
                level=logging.DEBUG if self.told else logging.INFO,
                removed=len(gone),
            )
            self.told = True
        if taken > most and not self.warned:
            self.warned = True
            event(
                f"the cache comes to {memory.shown(taken)}, and may hold {memory.shown(most)} "
                f"({SIZE}): what commands read and write at this moment stays",
                level=logging.WARNING,
                cache_bytes=taken,
            )


_processes: dict[Path, _Process] = {}
_first = threading.Lock()


def _process() -> _Process:
    cache = cache_folder()
    with _first:
        return _processes.setdefault(cache, _Process(cache))


def use(path: Path) -> None:
    """Have other processes leave alone what lies right in a file's folder, until this one ends."""
    _process().use(_plain(path).parent)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Have everybody leave a file, or all below a folder, alone while the block runs."""
    process, path = _process(), _plain(path)
    process.use(path.parent)
    with process.lock:
        process.held[path] += 1
    try:
        yield
    finally:
        with process.lock:
            process.held[path] -= 1
            if not process.held[path]:
                del process.held[path]


def hold(path: Path) -> None:
    """Have everybody leave a file, or all below a folder, alone until this process ends."""
    process, path = _process(), _plain(path)
    process.use(path.parent)
    with process.lock:
        process.held[path] += 1


def make_room(size: int) -> None:
    """Remove copies that were used longest ago where there is no room for so many bytes more."""
    _process().come_to(size, is_there=False)


def made(size: int) -> None:
    """So many bytes were made here: where copies take too much room, the oldest go."""
    _process().come_to(size, is_there=True)


def used(path: Path) -> None:
    """Say that a copy is used now. Its time of change stays: by that it is known."""
    with suppress(OSError):
        status, now = path.stat(), time.time_ns()
        if now - status.st_atime_ns > _RECENT:
            os.utime(path, ns=(now, status.st_mtime_ns))


def limit(taken: int) -> int:
    """Bytes that all copies together may take.

    Where nobody says: half of what the disk would have free without them.

    Args:
        taken: what they take now.

    Raises:
        UsageError: what the environment says is no size.
    """
    said = os.environ.get(SIZE)
    if said:
        return memory.parse(said, SIZE)
    folder = next(one for one in (cache_folder(), *cache_folder().parents) if one.is_dir())
    return max(1, (shutil.disk_usage(folder).free + taken) // 2)


def taken() -> int:
    """Bytes that all copies together take."""
    return sum(one.size for one in _copies(mirrors()))


def _copies(folder: Path, place: Path | None = None) -> Iterator[_Copy]:
    """Every file below a folder; locks are none."""
    entries: Iterable[os.DirEntry[str]] = ()
    with suppress(FileNotFoundError):
        entries = list(os.scandir(folder))
    for entry in entries:
        path = Path(entry.path)
        hidden = path if place is None and HALF_WRITTEN.fullmatch(entry.name) else place
        if entry.is_dir(follow_symlinks=False):
            yield from _copies(path, hidden)
        elif entry.name != LOCK:
            with suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                half = hidden is not None
                # What is written is not read.
                last = status.st_mtime_ns if half else max(status.st_atime_ns, status.st_mtime_ns)
                yield _Copy(path, hidden or path, status.st_size, last, half)


def remove_folder(folder: Path) -> None:
    """Remove the copies in a folder, but for what other processes fetch into it meanwhile."""

    def goes_on(call: object, path: str, raised: tuple[Any, BaseException, Any]) -> None:
        error = raised[1]
        if not isinstance(error, FileNotFoundError) and not _is_full(error):
            raise error

    shutil.rmtree(folder, onerror=goes_on)


def rename(path: Path, target: Path) -> None:
    """Give a copy, or a folder of copies, another name, unless it went or others have put some."""
    try:
        os.replace(path, target)
    except FileNotFoundError:
        return
    except OSError as error:
        if not _is_full(error):
            raise


def _is_full(error: BaseException) -> bool:
    """Whether a folder was to go in which another process has put something meanwhile."""
    return isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST)


def _removed(path: Path) -> bool:
    with suppress(FileNotFoundError):
        path.unlink()
        return True
    return False


def _plain(path: Path) -> Path:
    """Without the ``..`` by which one artifact leads to another."""
    return Path(os.path.normpath(path))


def _name(file: IO[str]) -> str:
    return Path(file.name).name
