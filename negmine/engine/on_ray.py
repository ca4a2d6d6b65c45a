"""Workers that are actors of a Ray cluster.

An actor is never begun anew by Ray: with a machine gone, its own restarts wait for ever. It is the
crew that sees an actor end, gives its units to others, and begins another where there is room.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from negmine.engine.engines import Call, Reply
from negmine.errors import EndpointError, MachineError, MissingDependencyError

#: The cluster that a machine is part of, as Ray finds it.
_AUTO = "auto"
#: Seconds in which it may begin to answer.
_PATIENCE = 20.0
_START = (
    "Start one (ray start --head, and ray start --address=HOST:6379 on the other machines), or "
    "work on this machine alone: --engine local --workers 2."
)


class Worker:
    """What an actor is: it makes calls, and keeps what these have loaded."""

    def make(self, call: Call) -> Any:
        """Make a call."""
        return call.made()


class RayEngine:
    """Actors, each with an equal share of a machine.

    Args:
        address: of the cluster; None = the one that this machine is part of.
        workers: how many actors; None = one for each so many GPUs, or for each machine.
        gpus: GPUs of each actor; None = none.
        tell: what is said while it waits for the cluster goes there.

    Raises:
        MissingDependencyError: Ray is not installed.
        EndpointError: there is no cluster.
        MachineError: it has no room for one actor.
    """

    def __init__(
        self,
        address: str | None,
        workers: int | None,
        gpus: int | None,
        tell: Callable[[str], None],
    ) -> None:
        self._ray = _connected(address, tell)
        nodes = [dict(node["Resources"]) for node in self._ray.nodes() if node["Alive"]]
        self.count, cpus, self.beside = shared_out(nodes, workers, gpus)
        self.words = f"{self.count} actors on {len(nodes)} machines of a Ray cluster"
        self._actor = self._ray.remote(Worker).options(
            num_cpus=cpus, num_gpus=gpus or 0, max_restarts=0, max_task_retries=0
        )
        self._actors: dict[int, Any] = {}
        self._calls: dict[Any, int] = {}
        self._begun = 0

    def start(self) -> int:
        """Ask for an actor; it waits until there is room for it."""
        number, self._begun = self._begun, self._begun + 1
        self._actors[number] = self._actor.remote()
        return number

    def give(self, worker: int, call: Call) -> None:
        """Queue it at the actor."""
        self._calls[self._actors[worker].make.remote(call)] = worker

    def replies(self, seconds: float) -> Sequence[Reply]:
        """What is there of the calls' results."""
        waiting = list(self._calls)
        if not waiting:
            return []
        first, _ = self._ray.wait(waiting, num_returns=1, timeout=seconds)
        if not first:
            return []
        ready, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
        return [self._said(one) for one in ready]

    def _said(self, call: Any) -> Reply:
        number = self._calls.pop(call)
        try:
            return Reply(number, value=self._ray.get(call))
        except self._ray.exceptions.RayTaskError as error:
            # The call itself raised this: another actor would, too.
            return Reply(number, bug=str(error))
        except self._ray.exceptions.RayError as error:
            with suppress(Exception):  # it may be half alive
                self._ray.kill(self._actors[number])
            del self._actors[number]
            return Reply(number, lost=_first_line(error))

    def stop(self) -> None:
        """End the actors, and leave the cluster."""
        for actor in self._actors.values():
            with suppress(Exception):  # it may be gone
                self._ray.kill(actor)
        self._actors.clear()
        self._calls.clear()
        self._ray.shutdown()


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))


def shared_out(
    nodes: Sequence[Mapping[str, float]], workers: int | None, gpus: int | None
) -> tuple[int, int, int]:
    """(how many actors, CPUs of each, how many one machine has at the most).

    Args:
        nodes: what each machine has, as Ray tells it.
        workers: how many actors; None = one for each so many GPUs, or for each machine.
        gpus: GPUs of each actor.

    Raises:
        MachineError: there is no room for one.
    """
    room = [
        (int(node.get("CPU", 0)), int(node.get("GPU", 0)) // gpus if gpus else None)
        for node in nodes
    ]

    def fitting(cpus: int) -> list[int]:
        """How many actors of so many CPUs each machine has room for."""
        return [min(own // cpus, own if most is None else most) for own, most in room]

    count = workers or (sum(fitting(1)) if gpus else sum(own > 0 for own, _ in room))
    largest = max((own for own, _ in room), default=0)
    if not count or not largest or sum(fitting(1)) == 0:
        raise MachineError(
            f"the cluster has no room for a worker: {len(nodes)} machines, "
            f"{sum(own for own, _ in room)} CPUs"
            + (f", {sum(int(node.get('GPU', 0)) for node in nodes)} GPUs" if gpus else ""),
            hint="Fewer --gpus-per-worker, or machines with more.",
        )
    count = min(count, sum(fitting(1)))
    cpus = next(size for size in range(largest, 0, -1) if sum(fitting(size)) >= count)
    return count, cpus, min(count, max(fitting(cpus)))


def _connected(address: str | None, tell: Callable[[str], None]) -> Any:
    """Ray, connected to the cluster.

    Raises:
        MissingDependencyError: it is not installed.
        EndpointError: there is no cluster.
    """
    # It would tell its makers about every cluster that is used.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Else it warns of what it will do one day.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise MissingDependencyError(
            "--engine ray needs the package ray", hint="pip install 'negmine[ray]'"
        ) from None
    asked = address or os.environ.get("RAY_ADDRESS") or _AUTO
    _await(ray, asked, tell)
    with _own_signals():
        try:
            ray.init(address=asked, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            raise EndpointError(
                f"no Ray cluster is there: {_first_line(error)}",
                where=f"--address {asked}",
                hint=_START,
            ) from error
    return ray


def _await(ray: Any, asked: str, tell: Callable[[str], None]) -> None:
    """Wait until somebody answers at an address, not long: Ray would, minutes, without a word.

    Raises:
        EndpointError: nobody does.
    """
    host, _, port = asked.rpartition(":")
    if "://" in asked or not host or not port.isdigit():
        return
    hosts = [host.strip("[]")]
    if hosts[0] in ("localhost", "127.0.0.1", "::1"):
        # As Ray reads it, too.
        hosts.append(ray.util.get_node_ip_address())
    until, waits = time.monotonic() + _PATIENCE, False
    while True:
        for one in hosts:
            try:
                socket.create_connection((one, int(port)), timeout=_PATIENCE / 4).close()
            except (OSError, OverflowError, UnicodeError) as error:
                why = error
            else:
                return
        if time.monotonic() > until:
            raise EndpointError(
                f"no Ray cluster is there: {why}", where=f"--address {asked}", hint=_START
            )
        if not waits:
            tell(f"waits {_PATIENCE:g} s at most for a Ray cluster to answer at {asked}: {why}")
        waits = True
        time.sleep(1)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Signals mean afterwards what they meant before."""
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
