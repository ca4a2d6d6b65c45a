"""A Ray cluster of three machines on this one, whose workers and machines can be killed."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

from tests.conftest import ROOT
from tests.small_workers import begun

MACHINES = 3
#: Where a stand-in for S3 listens in the cluster's network, if one does: Ray takes no such port.
STORE = 4566
#: A network of its own, where all addresses are this machine's: Ray takes no loopback elsewhere.
ALONE = ["unshare", "-n", "bash", "-c", 'ip link set lo up; exec "$@"', "bash"]


@dataclass
class Cluster:
    """Three machines on this one.

    Attributes:
        process: in which they are begun and ended.
        address: of the first one, which stays.
        others: numbers of the others.
    """

    process: subprocess.Popen[str]
    address: str
    others: list[int] = field(default_factory=lambda: list(range(MACHINES - 1)))

    def kill(self, machine: int) -> None:
        """End a machine with all that runs there."""
        self._ask(str(machine), "gone")
        self.others.remove(machine)

    def add(self) -> None:
        """Begin another machine."""
        self.others.append(int(self._ask("more", "there")))

    def _ask(self, what: str, answer: str) -> str:
        """Have the process do something; what it says after its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        said = self.process.stdout.readline().strip()
        assert said.startswith(answer), said
        return said.removeprefix(answer)

    def workers(self) -> list[int]:
        """Processes of actors: those in the cluster's network that call themselves so."""
        within = os.readlink(f"/proc/{self.process.pid}/ns/net")
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                words = (place / "cmdline").read_bytes()
                is_worker = words.startswith(b"ray::Worker") and (
                    os.readlink(place / "ns" / "net") == within
                )
            except OSError:
                # It has ended.
                continue
            if is_worker:
                found.append(int(place.name))
        return found

    @property
    def within(self) -> tuple[str, ...]:
        """The command that runs others in the cluster's network."""
        return "nsenter", "-t", str(self.process.pid), "-n"

    @contextmanager
    def network(self) -> Iterator[None]:
        """This thread, and what it begins, in the cluster's network."""
        libc = ctypes.CDLL(None, use_errno=True)
        with (
            Path("/proc/thread-self/ns/net").open() as here,
            Path(f"/proc/{self.process.pid}/ns/net").open() as there,
        ):

            def enter(place: IO[str]) -> None:
                if libc.setns(place.fileno(), 0):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), place.name)

            enter(there)
            try:
                yield
            finally:
                enter(here)

    def run(
        self, folder: Path, *words: str, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """``negmine run`` by three actors, in the cluster's network."""
        asked = ("--engine", "ray", "--workers", str(MACHINES), "--address", self.address)
        return begun(folder, *asked, *words, env=env, within=self.within)

    def job(self, folder: Path, words: Sequence[str]) -> subprocess.Popen[str]:
        """``negmine run`` as a job of the cluster, which tells it where that is."""
        return begun(folder, *words, env={"RAY_ADDRESS": self.address}, within=self.within)


@contextmanager
def machines(path: str, slow: str, env: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """Three of them, or the test is skipped.

    Args:
        path: where Python looks for modules there.
        slow: seconds that a worker sleeps before each part.
        env: further variables there.
    """
    if importlib.util.find_spec("ray") is None:
        pytest.skip("needs the package ray")
    if not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        pytest.skip("needs unshare, nsenter and ip")
    if subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("may not make a network of its own")
    # Names of sockets are short.
    with tempfile.TemporaryDirectory(prefix="nr", dir="/tmp") as folder:
        script = [sys.executable, str(ROOT / "tests" / "ray_cluster.py"), folder, str(MACHINES)]
        there = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "SLOW_PARTS": slow, **(env or {})}
        process = subprocess.Popen(
            [*ALONE, *script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **there},
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], 600)
            address = process.stdout.readline().strip() if ready else ""
            if not address:
                pytest.skip("Ray does not start here")
            yield Cluster(process, address)
            assert process.stdin is not None
            process.stdin.close()
            process.wait(120)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
