"""What lies at an address, and the copy of it on this machine.

What is there is asked of the store: a listing holds for a second, and for what this process changes
not at all. What is read is fetched into the mirror, whole or not at all, and stays there; whether
the copy is the right one is for those to say who know its digest.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from negmine.addresses import Address, address_of
from negmine.buckets import copies, transport
from negmine.buckets.transport import Entry
from negmine.errors import MissingInputError
from negmine.log import waiting

#: Seconds that a listing holds.
_FRESH = 1.0
#: Bytes that take a while.
_LARGE = 64 << 20
#: How often an object is fetched whose folder of copies goes meanwhile.
_TRIES = 4
#: So many objects are copied at once.
_AT_ONCE = 8


class _Known:
    """What this process knows of the stores: listings, small objects, and what it has fetched."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.listings: dict[Address, tuple[float, Mapping[str, Entry]]] = {}
        #: Rises with each change: what was asked for before one is not kept.
        self.changes = 0
        self.contents: dict[Address, tuple[str, bytes]] = {}
        #: What was here as it lies there, by its mark; an empty one of what this process sent.
        self.fetched: dict[Address, str] = {}

    def entries(self, folder: Address) -> Mapping[str, Entry]:
        """What lies in a folder."""
        with self.lock:
            since, found = self.listings.get(folder, (0.0, {}))
            changes = self.changes
        if not since or time.monotonic() - since > _FRESH:
            found = transport.listing(folder)
            with self.lock:
                if changes == self.changes:
                    self.listings[folder] = time.monotonic(), found
        return found

    def changed(self, address: Address) -> None:
        """Forget what was known of an object, and of the folders that it lies in."""
        with self.lock:
            self.changes += 1
            self.contents.pop(address, None)
            folder = address
            while folder.key:
                folder = folder.parent
                self.listings.pop(folder, None)

    def removed(self, folder: Address) -> None:
        """Forget what was known of all below a folder."""
        with self.lock:
            self.changes += 1
            for known in [one for one in self.listings if one.path.startswith(folder.path)]:
                del self.listings[known]
        self.changed(folder)


_known = _Known()


@dataclass(frozen=True)
class Mirrored:
    """A path in a mirror, and the address that it stands for."""

    path: Path
    address: Address

    def entry(self) -> Entry | None:
        """What the store says of it; None where nothing is there."""
        if not self.address.key:
            # Raises where there is no such bucket.
            _known.entries(self.address)
            return Entry(0, "", True)
        name = self.address.key.rpartition("/")[2]
        return _known.entries(self.address.parent).get(name)

    def is_file(self) -> bool:
        """Whether it is an object."""
        entry = self.entry()
        return entry is not None and not entry.is_folder

    def is_folder(self) -> bool:
        """Whether objects lie below it."""
        entry = self.entry()
        return entry is not None and entry.is_folder

    def names(self) -> list[str]:
        """Names of what lies in it, in order."""
        return sorted(_known.entries(self.address))

    def files(self, pattern: str) -> list[str]:
        """Names of the objects in it and in folders right in it that match a pattern, in order."""
        found = []
        for name, entry in _known.entries(self.address).items():
            if not entry.is_folder:
                found.append(name)
                continue
            inner = _known.entries(self.address.child(name))
            found += [f"{name}/{one}" for one, of in inner.items() if not of.is_folder]
        return sorted(one for one in found if fnmatchcase(one.rpartition("/")[2], pattern))

    def size(self) -> int:
        """Bytes of the object.

        Raises:
            FileNotFoundError: there is none.
        """
        entry = self.entry()
        if entry is None:
            raise FileNotFoundError(str(self.address))
        return entry.size

    def content(self) -> bytes | None:
        """The bytes of a small object, as they are now; None where there is none."""
        entry = self.entry()
        if entry is None or entry.is_folder:
            return None
        known = _known.contents.get(self.address)
        if known is None or known[0] != entry.mark or not entry.mark:
            found = transport.read(self.address)
            if found is None:
                return None
            known = entry.mark, found
            _known.contents[self.address] = known
        return known[1]

    def now(self) -> bytes | None:
        """The bytes of a small object, asked of no listing; None where there is none."""
        return transport.read(self.address)

    def fetch(self, *, anew: bool = False) -> bool:
        """Have a copy of the object here; whether it was fetched for it.

        Args:
            anew: in the place of a copy that was here before this process.

        Raises:
            FileNotFoundError: there is no such object, and no copy.
        """
        with copies.held(self.path):
            if self._is_here(anew):
                copies.used(self.path)
                return False
            self._fetch()
            return True

    def _is_here(self, anew: bool) -> bool:
        """Whether there is a copy; if one that was here before may not do, whether another is."""
        if not self.path.is_file():
            return False
        if not anew:
            return True
        entry, mark = self.entry(), _known.fetched.get(self.address)
        return mark is not None and entry is not None and mark in ("", entry.mark)

    def _fetch(self) -> None:
        entry = self.entry()
        if entry is None or entry.is_folder:
            raise FileNotFoundError(str(self.address))
        copies.make_room(entry.size)
        for left in reversed(range(_TRIES)):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._fetch_into(entry.size)
                break
            except (FileNotFoundError, MissingInputError):
                # Another process may have removed the folder with all copies in it meanwhile, and
                # yet another have made it again.
                if not left:
                    raise
        _known.fetched[self.address] = entry.mark

    def _fetch_into(self, size: int) -> None:
        """Put a copy of the object into the folder of this machine, whole or not at all."""
        # Several processes may fetch it at once.
        hidden = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.tmp")
        try:
            large = size >= _LARGE
            with waiting(f"fetching {self.address}") if large else nullcontext():
                transport.fetch(self.address, hidden)
            os.replace(hidden, self.path)
        finally:
            hidden.unlink(missing_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have a copy, once it is here, stay while the block runs."""
        with copies.held(self.path):
            yield

    def hold(self) -> None:
        """Have a copy, once it is here, stay until this process ends."""
        copies.hold(self.path)

    def look_anew(self) -> None:
        """Ask its store again what lies in any folder."""
        with _known.lock:
            _known.changes += 1
            _known.listings.clear()

    def forget(self) -> None:
        """Take the copies of it, and of all below it, for ones that may be old."""
        prefix = self.address.path
        for known in [one for one in _known.fetched if one.path.startswith(prefix)]:
            del _known.fetched[known]

    def publish(self, draft: Path) -> None:
        """Give a file or folder that was made here its name, and put it into the store."""
        with self.held():
            if draft.is_dir():
                copies.use(self.path / draft.name)
            os.rename(draft, self.path)
            self.send()

    def send(self) -> None:
        """Put the copy that is here, all of a folder, in the place of what is there."""
        if self.path.is_dir():
            for file in sorted(self.path.iterdir()):
                Mirrored(file, self.address.child(file.name)).send()
            return
        transport.send(self.path, self.address)
        copies.made(self.path.stat().st_size)
        # What is there now is this copy.
        _known.fetched[self.address] = ""
        _known.changed(self.address)

    def write(self, content: bytes) -> None:
        """Put a small object into the store, in the place of what is there."""
        transport.write(self.address, content)
        _known.changed(self.address)

    def create(self, content: bytes) -> bool:
        """Put a small object into the store, unless one is there; whether this call did."""
        made = transport.create(self.address, content)
        _known.changed(self.address)
        return made

    def move(self, target: Mirrored, last: str = "") -> None:
        """Give an object, or all below a folder, and the copies here another address.

        What has the name ``last`` is there when all else is, and goes before all else.
        """
        named, others = _parted(transport.below(self.address), last)
        for one in [*others, *named]:
            transport.copy(one, one.moved(self.address, target.address))
        transport.remove(named)
        transport.remove_all(self.address, others)
        if self.path.exists():
            target.path.parent.mkdir(parents=True, exist_ok=True)
            copies.rename(self.path, target.path)
        for end in (self, target):
            end.forget()
            _known.removed(end.address)

    def remove(self, first: str = "") -> None:
        """Remove an object, or all below a folder, and the copies here.

        Args:
            first: the name of what has to go before all else.
        """
        named, others = _parted(transport.below(self.address), first)
        transport.remove(named)
        transport.remove_all(self.address, others)
        if self.path.is_dir():
            copies.remove_folder(self.path)
        else:
            self.path.unlink(missing_ok=True)
        self.forget()
        _known.removed(self.address)


def _parted(objects: Sequence[Address], name: str) -> tuple[list[Address], list[Address]]:
    """The objects of a name, and the others."""
    found: tuple[list[Address], list[Address]] = [], []
    for one in objects:
        found[not one.key.endswith(f"/{name}")].append(one)
    return found


def copy_all(pairs: Sequence[tuple[Mirrored, Mirrored]]) -> None:
    """Copy objects, and all in folders of them, inside their store; copies here are renamed."""

    def copied(ends: tuple[Mirrored, Mirrored]) -> None:
        source, target = ends
        for one in transport.below(source.address):
            transport.copy(one, one.moved(source.address, target.address))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(copied, pairs))
    for source, target in pairs:
        if source.path.exists():
            target.path.parent.mkdir(parents=True, exist_ok=True)
            if target.path.is_dir():
                copies.remove_folder(target.path)
            copies.rename(source.path, target.path)
        source.forget()
        target.forget()
        _known.removed(target.address)


def mirrored(path: Path) -> Mirrored | None:
    """A path with its address; None where it is no mirror's."""
    address = address_of(path)
    return None if address is None else Mirrored(path, address)
