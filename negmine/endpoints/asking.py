"""Ask a server many things: what is stored is not asked, and every answer is stored on arrival."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from negmine import interrupts, log
from negmine.endpoints.batch import Batch, Problem
from negmine.endpoints.budget import Budget, Worst, worst_of
from negmine.endpoints.pace import Pace, backoff
from negmine.endpoints.request import Answer, Failure, Request, answer_of
from negmine.endpoints.settings import Settings
from negmine.endpoints.store import Store
from negmine.endpoints.transport import Reply, Transport, Trouble
from negmine.endpoints.workers import Workers
from negmine.errors import EndpointError, NegmineError

#: Seconds that a server may ask to wait; who asks for more is asked again by the next command.
_PATIENCE = 900.0
#: Calls given up one after another, without an answer between them, until the server is.
_GIVEN_UP = 5
#: Seconds that calls under way have when the command is interrupted.
_GRACE = 5.0
#: Seconds until signals are looked for.
_LOOK = 0.5
#: Tries of a call that took all of its time: each costs that time again.
_TIMED_OUT = 2

_LATER = "All answers are stored: the same command goes on where this one stopped."


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


class Client:
    """One endpoint, its pace and its budget, for as long as a command runs.

    Attributes:
        settings: which server, and how.
        store: where answers are kept.
        budget: what may be spent; several clients of one command share it.
        identity: what the model turned out to be, see :func:`negmine.endpoints.chat.identify`;
            answers are stored under it.
        confirm: called before anything is asked, where the identity is remembered, not told.
        answered: calls that this one had answered.
        from_store: answers that were there.
        failed: requests that failed for good.
        models: who answered, in the server's words.
    """

    def __init__(self, settings: Settings, store: Store, budget: Budget | None = None) -> None:
        self.settings = settings
        self.store = store
        self.budget = budget if budget is not None else Budget()
        self.identity = ""
        self.answered = 0
        self.from_store = 0
        self.failed = 0
        self.models: set[str] = set()
        self.confirm: Callable[[], None] | None = None
        self._pace = Pace(settings.concurrency)
        self._transport: Transport | None = None
        self._workers: Workers[_Call, Reply | Trouble] | None = None
        self._batch: Batch | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, the batch's last file and the store."""
        if self._batch is not None:
            self._batch.close()
            self._batch = None
        self.forsake()
        if self._transport is not None:
            self._transport.close()
            self._transport = None
        self.store.close()

    def ask(
        self,
        requests: Iterable[Request],
        *,
        problem: Problem | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> dict[str, Answer | Failure]:
        """The answer to every request, by its key.

        Args:
            requests: what is asked; one that is there twice is asked once.
            problem: says what is wrong with an answer: such a one is not stored, and asked again.
            progress: told of requests that are answered, or failed for good.

        Raises:
            PausedError: the budget is spent, and answers are stored; or those of a batch are
                awaited (:class:`negmine.errors.AwaitedError`).
            EndpointError: the server does not answer, or lets nobody in.
            UsageError: the server does not tell what the budget needs.
        """
        asked = {request.key: request for request in requests}
        found: dict[str, Answer | Failure] = dict(self.store.get(asked, self.identity))
        self.from_store += len(found)
        self.told(one.model for one in found.values() if isinstance(one, Answer))
        if progress is not None and found:
            progress(len(found))
        todo = [request for key, request in asked.items() if key not in found]
        if todo and self.settings.via == "batch":
            found.update(self._from_batch(todo, problem, progress))
        elif todo:
            if self.confirm is not None:
                self.confirm()
            proved = self.answered + self.from_store > 0
            run = _Run(self, problem, progress or (lambda _: None), proved)
            found.update(run.asked(todo))
        self.failed += sum(isinstance(one, Failure) for one in found.values())
        return found

    def collect(self, requests: Iterable[Request], problem: Problem | None = None) -> None:
        """Foresee what will be asked: a batch holds all of it, not what the first part asks alone.

        Over HTTP this does nothing.
        """
        if self.settings.via != "batch":
            return
        batch = self._read_batch(problem)
        asked = {request.key: request for request in requests}
        there = self.store.get(asked, self.identity).keys() | self.store.failures(asked).keys()
        batch.add(request for key, request in asked.items() if key not in there)

    def _from_batch(
        self,
        requests: Iterable[Request],
        problem: Problem | None,
        progress: Callable[[int], None] | None,
    ) -> dict[str, Answer | Failure]:
        """What files say of requests whose answers are not stored.

        Raises:
            AwaitedError: they do not say it of all; what is missing is written, the last file of
                it when the client is closed.
        """
        batch = self._read_batch(problem)
        asked = {request.key: request for request in requests}
        found: dict[str, Answer | Failure] = dict(self.store.failures(asked))
        found.update(self.store.get(asked, self.identity))
        missing = [request for key, request in asked.items() if key not in found]
        if missing:
            batch.add(missing)
            raise batch.awaited()
        if progress is not None:
            progress(len(found))
        return found

    def _read_batch(self, problem: Problem | None) -> Batch:
        """The files, new ones of which were read."""
        if self._batch is None:
            settings = self.settings
            folder = settings.batch_folder or self.store.folder.parent / "batch"
            self._batch = Batch(
                settings.name, folder / settings.name, self.store, self.budget, self.identity
            )
            self._batch.read(problem)
        return self._batch

    def get(self, path: str, *, patient: bool = True) -> Mapping[str, Any] | Trouble:
        """What the server has at a path; waits while it loads.

        Args:
            path: below the endpoint's URL.
            patient: False: a server that is not there at all is not waited for.

        Raises:
            EndpointError: it does not answer.
        """
        tries = 0
        while True:
            got = self.transport.get(path)
            if isinstance(got, Reply):
                return got.body
            if got.blame not in ("server", "call"):
                return got
            tries += 1 if patient or got.kind != "connection" else self.settings.retries + 1
            if tries > self.settings.retries:
                raise self.stopped(got)
            _sleep(backoff(path, tries) if got.after is None else min(got.after, _PATIENCE))

    def stopped(self, trouble: Trouble) -> EndpointError:
        """That the server is given up, for people."""
        settings = self.settings
        if trouble.blame != "access":
            return EndpointError(
                f"the server of '{settings.name}' does not answer: {trouble.message}",
                where=settings.url,
                hint=f"{_LATER} --retries and --timeout say how long it is waited for.",
            )
        key = settings.key.variable if settings.key is not None else None
        return EndpointError(
            f"the server of '{settings.name}' refuses: {trouble.message}",
            where=settings.url,
            hint=f"The key came from {key}." if key else f"No key is set: {settings.variable}.",
        )

    def told(self, models: Iterable[str]) -> None:
        """Take note of who says that it answered, and say so where it is another."""
        for model in sorted({one for one in models if one} - self.models):
            self.models.add(model)
            of = f"'{self.settings.name}', asked for as '{self.settings.model}'"
            if len(self.models) > 1:
                known = ", ".join(sorted(self.models))
                log.warn([f"several models answer for {of}: {known}"])
            elif model != self.settings.model:
                log.event(f"'{model}' answers for {of}")

    def describe(self) -> dict[str, Any]:
        """Who was asked and what it took: no key is in it."""
        return {**self.who(), **self.spent()}

    def who(self) -> dict[str, Any]:
        """Who answers, for manifests: the same wherever and however often it is asked."""
        return {"model": self.settings.model, "identity": self.identity}

    def spent(self) -> dict[str, Any]:
        """What this run asked and what it took, for the facts of a run in manifests."""
        return {
            "url": self.settings.url,
            "answered": self.answered,
            "answered_by": sorted(self.models),
            "from_store": self.from_store,
            "failed": self.failed,
            **self.budget.spent.record(),
        }

    def forsake(self) -> None:
        """Wait no longer for what is under way."""
        if self._workers is not None:
            self._workers.end()
            self._workers = None

    @property
    def transport(self) -> Transport:
        """The connections, opened when they are needed."""
        if self._transport is None:
            self._transport = Transport(self.settings)
        return self._transport

    @property
    def workers(self) -> Workers[_Call, Reply | Trouble]:
        """The threads that wait for answers."""
        if self._workers is None:
            post = self.transport.post
            self._workers = Workers(lambda call: post(call.request))
        return self._workers

    @property
    def pace(self) -> Pace:
        """How many calls are allowed."""
        return self._pace


def _sleep(seconds: float) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        interrupts.check()
        time.sleep(min(left, _LOOK))


@dataclass
class _Run:
    """The calls of one :meth:`Client.ask`; one thread decides, others wait for the server.

    Attributes:
        client: whose calls they are.
        problem: what is wrong with an answer.
        progress: told of requests that are done.
        proved: whether this server is known to answer such requests.
        found: what is done.
        stop: why no further call is sent.
    """

    client: Client
    problem: Problem | None
    progress: Callable[[int], None]
    proved: bool
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
            client.workers.give(call)

    def _wait(self) -> float:
        """Seconds until something may be sent though nothing arrived."""
        now = time.monotonic()
        due = [self.client.pace.until] if self._todo else []
        due += [max(self._later[0][0], self.client.pace.until)] if self._later else []
        ahead = [at - now for at in due if at > now]
        return min([_LOOK, *ahead])

    def _take(self, timeout: float) -> None:
        """Take note of what arrived; answers are stored before anything else is done."""
        arrived = self.client.workers.take(timeout)
        answers: list[tuple[_Call, Answer, float]] = []
        troubles: list[tuple[_Call, Trouble, float]] = []
        raised: BaseException | None = None
        for call, outcome, at in arrived:
            if isinstance(outcome, BaseException):
                raised = raised or outcome
                continue
            if isinstance(outcome, Trouble):
                troubles.append((call, outcome, at))
                continue
            wrong = self.problem(outcome.body) if self.problem is not None else None
            if wrong is None:
                answers.append((call, answer_of(outcome.body), at))
            else:
                troubles.append((call, Trouble("garbled", wrong), at))
        if answers:
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
        if trouble.after is not None and trouble.after > _PATIENCE:
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
        return isinstance(self.client.transport.get("/models"), Reply)

    def _too_long(self, seconds: float) -> EndpointError:
        return EndpointError(
            f"the server of '{self.client.settings.name}' asks to wait {log.duration(seconds)}",
            where=self.client.settings.url,
            hint=f"{_LATER} Run it after that time.",
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
