"""Calls under way: how many at a time, which are made again, and when a server is given up.

One thread decides; others wait for the server.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from negmine import interrupts, log
from negmine.endpoints.budget import Worst, worst_of
from negmine.endpoints.connection import LATER, LOOK, PATIENCE, Connection
from negmine.endpoints.pace import backoff
from negmine.endpoints.request import Answer, Failure, Problem, Request, answer_of
from negmine.endpoints.transport import NOT_THERE, Reply, Trouble
from negmine.errors import EndpointError, NegmineError

#: Calls given up one after another, without an answer between them, until the server is.
_GIVEN_UP = 5
#: Seconds that calls under way have when the command is interrupted.
_GRACE = 5.0
#: Tries of a call that took all of its time: each costs that time again.
_TIMED_OUT = 2


@dataclass
class _Call:
    """A request under way.

    Attributes:
        request: what is asked.
        worst: what the budget holds back for it.
        tries: failed ones that may be its own fault.
        sent: when it was sent last.
        held: whether the budget holds something back for it.
    """

    request: Request
    worst: Worst
    tries: int = 0
    sent: float = 0.0
    held: bool = False


@dataclass
class Run:
    """The calls that are made for some requests.

    Attributes:
        client: whose calls they are.
        problem: what is wrong with an answer.
        progress: told of requests that are done.
        proved: whether this server is known to answer such requests.
        arrived: takes each answer and keeps it; None = the store does.
        found: what is done.
        stop: why no further call is sent.
    """

    client: Connection
    problem: Problem | None
    progress: Callable[[int], None]
    proved: bool
    arrived: Callable[[Request, Answer], None] | None = None
    found: dict[str, Answer | Failure] = field(default_factory=dict)
    stop: NegmineError | None = None
    _todo: deque[_Call] = field(default_factory=deque)
    _later: list[tuple[float, int, _Call]] = field(default_factory=list)
    _open: dict[str, _Call] = field(default_factory=dict)
    _failed_in_a_row: int = 0
    _number: int = 0

    def asked(self, requests: Iterable[Request]) -> dict[str, Answer | Failure]:
        """Every request's answer or failure, by key."""
        self._todo.extend(_Call(request, worst_of(request)) for request in requests)
        workers = self.client.workers
        try:
            while self._todo or self._later or workers.flying:
                interrupts.check()
                self._send()
                if self.stop is not None and not workers.flying:
                    raise self.stop
                self._take(self._wait())
        except BaseException as error:
            self._finish(error)
            raise
        finally:
            for call in self._open.values():
                self.client.budget.drop(call.worst)
        if self.stop is not None:
            raise self.stop
        return self.found

    def _send(self) -> None:
        """Send what may be sent now: what waited long enough first."""
        client, now = self.client, time.monotonic()
        budget = client.budget
        while self.stop is None and client.workers.flying < client.pace.allowed(now):
            again = bool(self._later) and self._later[0][0] <= now
            if not again and not self._todo:
                return
            call = self._later[0][2] if again else self._todo[0]
            if not call.held:
                verdict = budget.asks(call.worst)
                if verdict == "stop":
                    left = len(self._todo) + len(self._later) + client.workers.flying
                    self.stop = budget.paused(left)
                if verdict != "go":
                    return
                budget.hold(call.worst)
                call.held = True
                self._open[call.request.key] = call
            if again:
                heapq.heappop(self._later)
            else:
                self._todo.popleft()
            call.sent = now
            client.workers.give(call.request)

    def _wait(self) -> float:
        """Seconds until something may be sent though nothing arrived."""
        now = time.monotonic()
        due = [self.client.pace.until] if self._todo else []
        due += [max(self._later[0][0], self.client.pace.until)] if self._later else []
        ahead = [at - now for at in due if at > now]
        return min([LOOK, *ahead])

    def _take(self, timeout: float) -> None:
        """Take note of what arrived; answers are stored before anything else is done."""
        arrived = self.client.workers.take(timeout)
        answers: list[tuple[_Call, Answer, float]] = []
        troubles: list[tuple[_Call, Trouble, float]] = []
        raised: BaseException | None = None
        for request, outcome, at in arrived:
            call = self._open[request.key]
            if isinstance(outcome, BaseException):
                raised = raised or outcome
                continue
            if isinstance(outcome, Trouble):
                troubles.append((call, outcome, at))
                continue
            problem = request.problem or self.problem
            wrong = problem(outcome.body) if problem is not None else None
            if wrong is None:
                answers.append((call, answer_of(outcome.body, request), at))
            else:
                troubles.append((call, Trouble("garbled", wrong), at))
        if answers and self.arrived is None:
            client = self.client
            client.store.put(
                [(call.request, answer) for call, answer, _ in answers], client.identity
            )
        for call, answer, at in answers:
            self._answered(call, answer, at)
        for call, trouble, at in troubles:
            self._troubled(call, trouble, at)
        if raised is not None:
            raise raised

    def _answered(self, call: _Call, answer: Answer, at: float) -> None:
        client = self.client
        if self.arrived is not None:
            self.arrived(call.request, answer)
            answer = replace(answer, body={})
        self.found[call.request.key] = answer
        self.proved, self._failed_in_a_row = True, 0
        client.answered += 1
        client.told([answer.model])
        client.pace.answered(call.sent, at)
        self.progress(1)
        del self._open[call.request.key]
        try:
            client.budget.settle(call.worst, answer.usage)
        except NegmineError as error:
            self.stop = self.stop or error

    def _troubled(self, call: _Call, trouble: Trouble, at: float) -> None:
        client = self.client
        log.logger.debug("%s: %s", call.request.key, trouble.message)
        if trouble.after is not None and trouble.after > PATIENCE:
            self.stop = self.stop or self._too_long(trouble.after)
        if trouble.blame == "access":
            self.stop = self.stop or client.stopped(trouble)
        elif trouble.blame == "request":
            self._give_up(call, trouble)
            return
        elif trouble.blame == "server":
            client.pace.complained(call.sent, at, call.request.key, trouble.after)
            if client.pace.complaints > client.settings.retries:
                self.stop = self.stop or client.stopped(trouble)
        else:
            call.tries += 1
            most = client.settings.retries
            if call.tries > (min(most, _TIMED_OUT) if trouble.kind == "timeout" else most):
                self._give_up(call, trouble)
                return
        wait = 0.0 if trouble.blame == "server" else backoff(call.request.key, max(1, call.tries))
        self._number += 1
        heapq.heappush(self._later, (at + max(wait, trouble.after or 0.0), self._number, call))

    def _give_up(self, call: _Call, trouble: Trouble) -> None:
        """A request that fails for good; where all do, it is the server."""
        client = self.client
        del self._open[call.request.key]
        client.budget.release(call.worst)
        self._failed_in_a_row += 1
        # A server that refuses what it has not answered once is asked the wrong thing; one that
        # fails on many, one after another, is ill.
        at_all = self.proved and trouble.blame == "request"
        alone = self._failed_in_a_row < _GIVEN_UP
        if not (at_all or (alone and (self.proved or self._alive()))):
            self.stop = self.stop or client.stopped(trouble)
            return
        self.found[call.request.key] = Failure(trouble.kind, trouble.message)
        self.progress(1)

    def _alive(self) -> bool:
        """Whether the server says anything, be it that it lists no models."""
        got = self.client.transport.get(self.client.settings.listings[0].path)
        return isinstance(got, Reply) or got.message.startswith(NOT_THERE)

    def _too_long(self, seconds: float) -> EndpointError:
        return EndpointError(
            f"the server of '{self.client.settings.name}' asks to wait {log.duration(seconds)}",
            where=self.client.settings.url,
            hint=f"{LATER} Run it after that time.",
        )

    def _finish(self, error: BaseException) -> None:
        """Store what arrives soon, when the command ends early; then nothing is held back."""
        workers = self.client.workers
        self.stop = self.stop or EndpointError("interrupted")
        until = time.monotonic() + (0.0 if isinstance(error, NegmineError) else _GRACE)
        while workers.flying and (left := until - time.monotonic()) > 0:
            self._take(left)
        # What comes later is nobody's.
        self.client.forsake()
