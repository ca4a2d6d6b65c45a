"""Parts of one artifact that several processes make: each is published by itself.

Beside where the parts will lie is a folder of shards. A part's data are written there under a name
of the process's own; when they are on the disk their *marker*, which names them and holds the
counts, is created under the part's name. Creation is exclusive: of two processes that made the same
part one has the marker, and the other is told. There is no lock, no database and no clock: what has
no marker is not there. Who makes the whole of it takes the marked parts over (:func:`adopt`).

In an object store every artifact is made so, also by a process that makes all of it: nobody else
has its journal, so that a run that was killed goes on by the markers, on whatever machine
(:meth:`Shelf.found`), and the parts get their names right before the manifest
(:meth:`Shelf.gather`).
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from negmine.engine.shares import Share
from negmine.errors import ConflictError, InvalidDataError, OvertakenError
from negmine.log import event
from negmine.table.artifacts import disk
from negmine.table.artifacts.disk import JOURNAL, SHARDS, flush_to_disk, load_json
from negmine.table.artifacts.journal import append_entry, finished_files, journal_lines, recorded
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.replace import Replace

_PLAN = "_plan.json"
#: What holds for all parts: that stands in the manifest, and that is of use to processes alone.
_CHOSEN, _TOLD = "_chosen.", "_told."
_MARKER = ".json"
#: What is told under so many names is read beside each other.
_READ_AT_ONCE = 64
#: How often a process looks whether what it makes is said, before it gives up.
_LOOKS = 5
#: What of the plan says where the artifact lay when it was begun.
_PLACE = "place"
#: What of a marker says where the data are and who made them, and is no record of the part.
_OF_MARKER = ("name", "file", "fingerprint", "shard", "pid", "host")


def header(path: Path) -> dict[str, Any] | None:
    """What the shards of the artifact at ``path`` make; None where there are none."""
    found = load_json(path / SHARDS / _PLAN)
    return found if found is not None and "fingerprint" in found else None


def marked(path: Path) -> list[str]:
    """Names of the parts that shards have finished, in order."""
    folder = path / SHARDS
    found = disk.files_in(folder, f"*{_MARKER}") if disk.is_folder(folder) else []
    parts = (one for one in found if one != _PLAN and not one.startswith((_CHOSEN, _TOLD)))
    return [one.removesuffix(_MARKER) for one in parts]


def marked_of(path: Path, names: Iterable[str]) -> set[str]:
    """Which of these parts shards have finished, named from ``path`` on: ``x/part-00000.npy``."""
    folders: dict[str, set[str]] = {}
    found = set()
    for name in names:
        folder, _, part = name.rpartition("/")
        if folder not in folders:
            # Names alone: there may be many more files of what shards tell each other.
            place = path / folder / SHARDS
            folders[folder] = set(disk.names_in(place)) if disk.is_folder(place) else set()
        if f"{part}{_MARKER}" in folders[folder]:
            found.add(name)
    return found


def are_left(path: Path) -> bool:
    """Whether shards, or who removed what they have left, have left anything."""
    return disk.exists(path / SHARDS) or bool(disk.beginning_with(path, f".{SHARDS}."))


def chosen(path: Path, plan: Plan) -> dict[str, Any]:
    """What shards of these settings chose for all parts, by name."""
    folder, prefix = path / SHARDS, _of_all(_CHOSEN, plan, "")
    found = disk.files_in(folder, f"{prefix}*{_MARKER}") if disk.is_folder(folder) else []
    told = {one: load_json(folder / one) for one in found}
    return {
        one.removeprefix(prefix).removesuffix(_MARKER): what
        for one, what in told.items()
        if what is not None
    }


def told(path: Path, plan: Plan, name: str) -> dict[str, Any] | None:
    """What a shard of these settings told the others under a name, if any."""
    return load_json(path / SHARDS / f"{_of_all(_TOLD, plan, name)}{_MARKER}")


def all_told(path: Path, plan: Plan, names: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What shards of these settings told the others under some of these names, one by one.

    One look for all of them, however long it takes to read them; few are held at a time.
    """
    folder = path / SHARDS
    there = set(disk.names_in(folder)) if disk.is_folder(folder) else set()
    files = ((name, f"{_of_all(_TOLD, plan, name)}{_MARKER}") for name in names)
    told = [(name, file) for name, file in files if file in there]
    for start in range(0, len(told), _READ_AT_ONCE):
        some = told[start : start + _READ_AT_ONCE]
        found = disk.load_all([folder / file for _, file in some], now=True)
        for (name, _), what in zip(some, found, strict=True):
            if what is not None:
                yield name, what


def _of_all(prefix: str, plan: Plan, name: str) -> str:
    """The name, without its ending, of a file about all parts; those of other settings differ."""
    return f"{prefix}{plan.fingerprint[:12]}.{name}"


def refuse_other(path: Path, plan: Plan, replacing: Replace) -> bool:
    """Whether shards of other settings, or of these that are not wanted, lie there and may go.

    Raises:
        ConflictError: they may not.
    """
    found = header(path)
    if found is None:
        # Without a plan, and without a part, it is of a process that begins there just now, or was
        # killed then: what that will say is of the plan that it says first. Parts are of one that
        # was killed while it removed them; the plan goes first.
        left = replacing is Replace.ALL or bool(marked(path))
        return left and disk.exists(path / SHARDS) and header(path) is None
    if found["fingerprint"] == plan.fingerprint:
        return replacing is Replace.ALL
    if replacing is Replace.NOTHING and marked(path):
        raise ConflictError(
            f"holds parts of shards with other settings ({plan.differences(found, path)})",
            where=str(path),
            hint="Run those shards to their end, choose another -o, or remove "
            f"{path / SHARDS} if they are not wanted.",
        )
    return True


def adopt(path: Path, plan: Plan, journal: IO[str]) -> dict[str, Any]:
    """Take over what shards have finished: recorded in the journal, under its final name.

    Whenever this is cut short, a part is recorded and has its name, or its marker is still there.

    Args:
        path: the artifact's folder, locked by this process.
        plan: what is made.
        journal: its journal.

    Returns:
        The records of the parts, by name.

    Raises:
        ConflictError: a marker is of other settings.
    """
    folder = path / SHARDS
    found: dict[str, Any] = {}
    data: dict[str, Path] = {}
    for name in marked(path):
        marker = _read(path, name, plan)
        record = record_of(marker)
        data[name] = folder / marker["file"]
        if _is_whole(data[name], record):
            found[name] = record
        elif not _is_whole(path / name, record):
            _tell_damaged(data[name])
            disk.remove_file(folder / f"{name}{_MARKER}")
    append_entry(journal, *({"name": name, **record} for name, record in found.items()))
    for name in found:
        disk.make_folder((path / name).parent)
        disk.rename(data[name], path / name)
    for place in {(path / name).parent for name in found}:
        flush_to_disk(place)
    for name in found:
        disk.remove_file(folder / f"{name}{_MARKER}")
    return found


def _is_whole(file: Path, record: Mapping[str, Any]) -> bool:
    return disk.has_size(file, record["bytes"]) and disk.digest(file) == record["digest"]


def _read(path: Path, name: str, plan: Plan | None = None) -> dict[str, Any]:
    """What the marker of a part says, of whatever settings where no plan is given.

    Raises:
        InvalidDataError: it is none.
        ConflictError: it is of other settings, or gone with all that was here.
    """
    marker = path / SHARDS / f"{name}{_MARKER}"
    return _checked(path, load_json(marker), marker, plan)


def _checked(
    path: Path, found: dict[str, Any] | None, marker: Path, plan: Plan | None
) -> dict[str, Any]:
    """What a marker says.

    Args:
        path: the artifact's folder.
        found: what is in it.
        marker: where it is.
        plan: what it has to be of.

    Raises:
        InvalidDataError: it is none.
        ConflictError: it is of other settings, or gone with all that was here.
    """
    if found is None and header(path) is None:
        # Somebody finished between a look at what there is and a look into it: the plan goes first.
        raise _gone(path)
    of_data = found is not None and ("files" in found or {"digest", "bytes"} <= found.keys())
    if found is None or not of_data or not {"name", "file", "fingerprint"} <= found.keys():
        raise InvalidDataError(
            "is no marker of a shard's part",
            where=str(marker),
            hint="Remove it, and run that shard again.",
        )
    if plan is not None and found["fingerprint"] != plan.fingerprint:
        raise ConflictError(
            "was made by a shard with other settings",
            where=str(marker),
            hint="Remove it; negmine collect tells which shard makes it again.",
        )
    return found


def _gone(path: Path) -> ConflictError:
    return ConflictError(
        "was collected, removed or begun anew with other settings meanwhile",
        where=str(path),
        hint="Run the same command again: it tells what there is left to do.",
    )


def record_of(marker: Mapping[str, Any]) -> dict[str, Any]:
    """What of a marker is the record of its part."""
    return {key: value for key, value in marker.items() if key not in _OF_MARKER}


def _text(what: Mapping[str, Any], indent: int | None = 1) -> str:
    return json.dumps(what, indent=indent) + "\n"


def _tell_damaged(data: Path) -> None:
    event(f"{data} is missing or was changed: that part is made again", level=30, damaged=str(data))


def remove(path: Path) -> None:
    """Remove all that shards have left at ``path``."""
    folder = path / SHARDS
    for leftover in disk.beginning_with(path, f".{SHARDS}."):
        disk.remove(leftover)
    if disk.is_far(path):
        # There are no folders: who has not heard of it loses its marker's data, or the manifest.
        disk.remove_file(folder / _PLAN)
        disk.remove(folder)
    elif disk.exists(folder):
        # First, so that none of them goes on believing that it is still wanted; then all at once,
        # so that who has not heard of it finds no folder to write into.
        disk.remove_file(folder / _PLAN)
        hidden = disk.hidden_name(path / f"{SHARDS}.{secrets.token_hex(4)}")
        with suppress(FileNotFoundError):
            # Another process removes the same.
            disk.rename(folder, hidden)
        disk.remove(hidden)


class Records(MutableMapping[str, Any]):
    """The records of finished parts by name; a marker is read when its part is asked about."""

    def __init__(self, path: Path, plan: Plan) -> None:
        self._path, self._plan = path, plan
        self._known: dict[str, Any] = dict.fromkeys(marked(path))
        self._journal: dict[str, dict[str, Any]] = {}

    def __getitem__(self, name: str) -> Any:
        if self._known[name] is None:
            self._known[name] = self._record(name)
        return self._known[name]

    def _record(self, name: str) -> dict[str, Any]:
        """What a marker says; nothing where it was damaged, and is not there.

        Raises:
            ConflictError: it is of other settings, or gone with all that was here.
        """
        marker = self._path / SHARDS / f"{name}{_MARKER}"
        found = load_json(marker)
        if found is None and not disk.exists(marker) and header(self._path) is not None:
            # Taken over by who collects, between a look at what is marked and this one.
            if name not in self._journal:
                lines = recorded(journal_lines(self._path / JOURNAL)[0])
                self._journal = {line["name"]: line for line in lines}
            own = [self._journal[name]] if name in self._journal else []
            return dict(finished_files(self._path, own, by_size=True).get(name, {}))
        return record_of(_checked(self._path, found, marker, self._plan))

    def __setitem__(self, name: str, record: Any) -> None:
        self._known[name] = record

    def __delitem__(self, name: str) -> None:
        del self._known[name]

    def __contains__(self, name: object) -> bool:
        # Read, so that a marker of other settings is no part that can be left out.
        return name in self._known and bool(self[str(name)])

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


class Shelf:
    """Where a process that makes a share of an artifact puts its parts."""

    def __init__(
        self,
        path: Path,
        plan: Plan,
        share: Share,
        *,
        stale: Iterable[str] = (),
        lock: IO[str] | None = None,
    ) -> None:
        """Say what is made, or see that it is what others make there.

        Args:
            path: the artifact's folder.
            plan: what is made.
            share: what of it this process makes.
            stale: names of what goes when all is made (:meth:`gather`).
            lock: held until the process leaves.

        Raises:
            ConflictError: it is not.
        """
        self.path, self._plan, self._share = path, plan, share
        self._folder = path / SHARDS
        self._token = secrets.token_hex(4)
        self._marked: dict[str, str] = {}
        self._lock = lock
        told = {**plan.identity(path), **share.told(), _PLACE: disk.absolute(path)}
        told |= {"stale": sorted(stale)}
        self._begin(told)

    def _begin(self, told: Mapping[str, Any]) -> None:
        """Say what is made here, unless somebody has.

        Raises:
            ConflictError: it is another thing, of which something is finished.
        """
        file = self._folder / _PLAN
        # Between a look and the creation somebody else may have been there, or have removed the
        # folder, in which nothing was said yet.
        for _ in range(_LOOKS):
            disk.make_folder(self._folder)
            found = load_json(file, now=True)
            # In an object store: what was listed a moment ago has no folder of shards in it.
            disk.look_anew(file)
            if found is None:
                with suppress(FileNotFoundError):
                    disk.create(file, _text(told), self._token)
            elif found.get("fingerprint") == self._plan.fingerprint:
                return
            elif refuse_other(self.path, self._plan, Replace.NOTHING) and "fingerprint" in found:
                # Nobody has finished anything of it. What was not there at this look stays: it is
                # of another process that begins the same.
                disk.remove_file(file)
        raise _gone(self.path)

    def check(self) -> None:
        """See that what others make here is still the same.

        Raises:
            ConflictError: it is not; or all has been collected, or removed, meanwhile.
        """
        if not self._is_wanted():
            raise _gone(self.path)

    def _is_wanted(self) -> bool:
        """Whether what is made here at this moment is what this process makes."""
        found = load_json(self._folder / _PLAN, now=True)
        return found is not None and found.get("fingerprint") == self._plan.fingerprint

    def hidden(self, name: str) -> Path:
        """Where a part's data are written.

        Raises:
            ConflictError: the folder of the shards is gone: none is begun without a plan.
        """
        if not disk.is_folder(self._folder):
            raise _gone(self.path)
        return disk.draft_of(self._data(name))

    def _data(self, name: str) -> Path:
        return self._folder / f"{name}.{self._token}"

    def place(self, name: str) -> Path:
        """Where a finished part's data lie."""
        return disk.plain(self._folder / str(_read(self.path, name)["file"]))

    def checkpoint(self, name: str, of: str) -> Path:
        """Where the rows of an unfinished part are kept: those of an earlier process go on."""
        # Those of other settings may lie beside them.
        stem = f"{disk.checkpoint_of(self._folder / name, of).name}.{self._plan.fingerprint[:12]}"
        mine = (self._folder / name).with_name(f"{stem}.{self._token}")
        if not disk.exists(mine):
            # Its process may live and write: it keeps its own; or end meanwhile, and remove it.
            sized = []
            for other in disk.beginning_with(mine.parent, f"{stem}."):
                with suppress(FileNotFoundError):
                    sized.append((disk.size_of(other), other))
            for _, other in sorted(sized, reverse=True):
                with suppress(FileNotFoundError):
                    disk.copy(other, mine)
                    break
        return mine

    def publish(self, files: Mapping[str, Mapping[str, Any]]) -> None:
        """Mark parts whose data are written.

        All that nobody else has marked, also where somebody has marked one of them.

        Raises:
            OvertakenError: another process has marked one of them.
            ConflictError: all is gone.
        """
        if not files:
            return
        self.check()
        lost = [name for name, record in files.items() if not self._mark(name, record)]
        # Somebody may have finished, and removed all markers, since: then these are nobody's.
        self.check()
        for name in lost[:1]:
            raise self._lost(name)

    def _mark(self, name: str, record: Mapping[str, Any]) -> bool:
        """Mark a part whose data are written; False: another process has, and these go."""
        data = self._data(name)
        if disk.relative(data, self._folder) not in self._marked:
            try:
                disk.lay(data)
            except FileNotFoundError:
                if disk.is_file(self._folder / f"{name}{_MARKER}"):
                    # Removed below, when this was tried before.
                    return False
                raise _gone(self.path) from None
            if not self._claimed(name, record, data):
                disk.remove(data)
                return False
        for leftover in disk.beginning_with(data.parent, f".{Path(name).name}."):
            if ".checkpoint." in leftover.name:
                disk.remove_file(leftover)
        return True

    def _claimed(self, name: str, record: Mapping[str, Any], data: Path) -> bool:
        """Create the marker of a part whose data lie there; False: another process has."""
        file, marker = disk.relative(data, self._folder), self._folder / f"{name}{_MARKER}"
        told = {
            **{"name": name, **record, "file": file},
            **{"fingerprint": self._plan.fingerprint, "shard": str(self._share)},
            **{"pid": os.getpid(), "host": socket.gethostname()},
        }
        # What a network file system answers may be of a call that it has heard twice.
        if not self._create(marker, told) and self._marker(name).get("file") != file:
            return False
        self._marked[file] = name
        return True

    def _marker(self, name: str) -> dict[str, Any]:
        """What the marker of a part says; nothing where who collects has taken it over."""
        file = self._folder / f"{name}{_MARKER}"
        found = load_json(file, now=True)
        there = found is not None or disk.exists(file)
        return _checked(self.path, found, file, None) if there else {}

    def keep(self, files: Mapping[str, Mapping[str, Any]]) -> None:
        """Mark files that have their names already and are whole."""
        for name, record in files.items():
            if not self._claimed(name, record, self.path / name):
                raise self._lost(name)

    def _lost(self, name: str) -> OvertakenError:
        """That another process has a part."""
        marker = self._marker(name)
        told = {"shard": "?", "pid": "?", "host": "?", **marker}
        who = "{shard}, pid {pid} on {host}".format_map(told) if marker else "it is collected"
        return OvertakenError(
            f"another process finished {name} first ({who})",
            where=str(self.path),
            hint="Nothing is mixed, and what this one has finished stays. If two run the same "
            "shard, one is enough.",
        )

    def found(self) -> dict[str, Any]:
        """The records of what is marked, and is there, in an object store; other markers go.

        Raises:
            ConflictError: a marker is of other settings.
        """
        done = {}
        for name, marker in self._markers().items():
            if self._is_there(marker):
                done[name] = record_of(marker)
            else:
                _tell_damaged(disk.plain(self._folder / str(marker["file"])))
                disk.remove_file(self._folder / f"{name}{_MARKER}")
        return done

    def _markers(self) -> dict[str, dict[str, Any]]:
        """What is marked, by name."""
        files = [self._folder / f"{name}{_MARKER}" for name in marked(self.path)]
        markers = dict(zip(files, disk.load_all(files), strict=True))
        checked = [_checked(self.path, found, file, self._plan) for file, found in markers.items()]
        return {str(marker["name"]): marker for marker in checked}

    def _is_there(self, marker: Mapping[str, Any]) -> bool:
        """Whether an object has its size: the store answers for the rest, until it is read."""
        data = disk.plain(self._folder / str(marker["file"]))
        inner = marker.get("files")
        files = {data: marker} if inner is None else {data / one: of for one, of in inner.items()}
        return all(
            disk.is_file(file) and disk.size_of(file) == record["bytes"]
            for file, record in files.items()
        )

    def gather(self) -> None:
        """Give all that is marked its name, and remove what is stale; the markers stay.

        Of several processes that do so each makes the same copies.

        Raises:
            ConflictError: another process has finished, or removed it.
        """
        self.check()
        markers = self._markers()
        pairs = [
            (disk.plain(self._folder / str(marker["file"])), self.path / name)
            for name, marker in markers.items()
        ]
        disk.copy_far((data, file) for data, file in pairs if data != file)
        for name in (header(self.path) or {}).get("stale", ()):
            if name not in markers:
                disk.remove(self.path / name)

    def choose(self, name: str, what: Mapping[str, Any]) -> Mapping[str, Any]:
        """Say how all parts are made; what another process said before holds."""
        return self._first(_CHOSEN, name, what, indent=1)

    def tell(self, name: str, what: Mapping[str, Any]) -> Mapping[str, Any]:
        """Say what others need not find out again; what another process said before holds."""
        # For no eyes, and much of it: with indents json's encoder in Python would write it.
        return self._first(_TOLD, name, what, indent=None)

    def _first(
        self, prefix: str, name: str, what: Mapping[str, Any], indent: int | None
    ) -> Mapping[str, Any]:
        """What the first process that said something says."""
        file = self._folder / f"{_of_all(prefix, self._plan, name)}{_MARKER}"
        if self._create(file, what, indent):
            return what
        if (holds := load_json(file, now=True)) is None:
            raise _gone(self.path)
        return holds

    def _create(self, file: Path, what: Mapping[str, Any], indent: int | None = 1) -> bool:
        """Create a file that holds this, whole, unless one of its name is there."""
        try:
            return disk.create(file, _text(what, indent), self._token)
        except FileNotFoundError:
            raise _gone(self.path) from None

    def leave(self) -> None:
        """Remove what was written and not marked: a later run makes it again.

        What is marked, too, where nobody wants it any more.
        """
        if self._lock is not None:
            self._lock.close()
        if not disk.is_folder(self._folder):
            return
        # What cannot be read just now is still there: a disk that fails must not cost more.
        gone = not disk.exists(self._folder / _PLAN)
        found = load_json(self._folder / _PLAN, now=True)
        if gone or (found and found.get("fingerprint") != self._plan.fingerprint):
            self._unmark()
        for file in disk.files_in(self._folder, f"*.{self._token}"):
            # Rows of other settings are of use when these come again.
            if file not in self._marked and (gone or ".checkpoint." not in file):
                disk.remove_file(self._folder / file)
        if header(self.path) is None and not disk.is_far(self.path):
            # All was removed, and what this process wrote then made these anew.
            for name in disk.names_in(self._folder):
                if disk.is_folder(self._folder / name):
                    disk.remove_empty(self._folder / name)
            disk.remove_empty(self._folder)

    def _unmark(self) -> None:
        """Remove the markers of this process' own data."""
        for file, name in self._marked.items():
            marker = self._folder / f"{name}{_MARKER}"
            if (load_json(marker, now=True) or {}).get("file") == file:
                disk.remove_file(marker)
        self._marked.clear()
