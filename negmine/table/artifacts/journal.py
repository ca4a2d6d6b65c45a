"""The journal of a run that goes on, and its lock."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from negmine.errors import ConflictError
from negmine.table.artifacts.disk import JOURNAL, digest
from negmine.table.artifacts.plan import Plan


def journal_entry(plan: Plan, path: Path) -> dict[str, Any]:
    """A journal's first line: what is made, and who makes it."""
    return {**plan.identity(path), **process()}


def process() -> dict[str, Any]:
    """Who writes, for those who find the artifact locked."""
    return {"pid": os.getpid(), "host": socket.gethostname()}


def append_entry(journal: IO[str], *lines: Mapping[str, Any]) -> None:
    """Add lines to the journal; they are on the disk when this returns."""
    if not lines:
        return
    journal.write("".join(json.dumps(line) + "\n" for line in lines))
    journal.flush()
    os.fsync(journal.fileno())


def lock_journal(file: Path, target: Path) -> IO[str]:
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
        told = [line for line in journal_lines(file)[0] if "pid" in line]
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


def lock_is_held(path: Path) -> bool:
    """Whether a living process writes this artifact."""
    try:
        with (path / JOURNAL).open("r") as journal:
            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def journal_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The journal's whole lines and their bytes; a torn last one (a crash in mid-write) is not."""
    lines, whole = [], 0
    for line in path.read_bytes().split(b"\n")[:-1]:
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
        whole += len(line) + 1
    return lines, whole


def journal_header(path: Path) -> dict[str, Any] | None:
    """A journal's first line; None where there is none."""
    try:
        lines, _ = journal_lines(path)
    except OSError:
        return None
    return lines[0] if lines else None


def finished_files(path: Path, lines: list[dict[str, Any]]) -> dict[str, Any]:
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
