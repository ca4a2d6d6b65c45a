"""One server for as long as a command runs: its connections, its pace, what it told and took."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Self

from negmine import interrupts, log
from negmine.endpoints.budget import Budget
from negmine.endpoints.pace import Pace, backoff
from negmine.endpoints.request import Request
from negmine.endpoints.settings import Settings
from negmine.endpoints.store import Store
from negmine.endpoints.transport import NOT_THERE, Reply, Transport, Trouble
from negmine.endpoints.workers import Workers
from negmine.errors import EndpointError

#: Seconds that a server may ask to wait; who asks for more is asked again by the next command.
PATIENCE = 900.0
#: Seconds until signals are looked for.
LOOK = 0.5

#: What is said where a command stops in the middle.
LATER = "All answers are stored: the same command goes on where this one stopped."


class Connection:
    """One endpoint, its pace and its budget.

    Attributes:
        settings: which server, and how.
        store: where answers are kept.
        budget: what may be spent; several connections of one command share it.
        identity: what the model turned out to be, see :func:`negmine.endpoints.identity.identify`;
            answers are stored under it.
        answered: calls that it answered.
        from_store: answers that were there.
        failed: requests that failed for good.
        models: who answered, in the server's words.
        pace: how many calls are allowed.
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
        self.pace = Pace(settings.concurrency)
        self._transport: Transport | None = None
        self._workers: Workers[Request, Reply | Trouble] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and the store."""
        self.forsake()
        if self._transport is not None:
            self._transport.close()
            self._transport = None
        self.store.close()

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
            _sleep(backoff(path, tries) if got.after is None else min(got.after, PATIENCE))

    def stopped(self, trouble: Trouble) -> EndpointError:
        """That the server is given up, for people."""
        settings = self.settings
        if trouble.kind == "garbled":
            return EndpointError(
                f"the server of '{settings.name}' answers with something else than is asked for: "
                f"{trouble.message}",
                where=settings.url,
                hint=f"{LATER} A server of another kind may be meant.",
            )
        if trouble.message.startswith(NOT_THERE):
            return EndpointError(
                f"the server of '{settings.name}' refuses: {trouble.message}",
                where=settings.url,
                hint="It has no such path, or no such model: a server of another kind may be "
                "meant, or another path in its URL (http://HOST:PORT/. is the root).",
            )
        if trouble.blame != "access":
            return EndpointError(
                f"the server of '{settings.name}' does not answer: {trouble.message}",
                where=settings.url,
                hint=f"{LATER} --retries and --timeout say how long it is waited for.",
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
    def workers(self) -> Workers[Request, Reply | Trouble]:
        """The threads that wait for answers."""
        if self._workers is None:
            self._workers = Workers(self.transport.post)
        return self._workers


def _sleep(seconds: float) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        interrupts.check()
        time.sleep(min(left, LOOK))
