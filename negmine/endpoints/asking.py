"""Ask a server many things: what is stored is not asked, and every answer is stored on arrival."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from negmine.endpoints.batch import Batch
from negmine.endpoints.budget import Budget
from negmine.endpoints.connection import Connection
from negmine.endpoints.request import Answer, Failure, Problem, Request
from negmine.endpoints.running import Run
from negmine.endpoints.settings import Settings
from negmine.endpoints.store import Store


class Client(Connection):
    """One model that is asked, over HTTP or by files.

    Attributes:
        confirm: called before anything is asked, where the identity is remembered, not told.
    """

    def __init__(self, settings: Settings, store: Store, budget: Budget | None = None) -> None:
        super().__init__(settings, store, budget)
        self.confirm: Callable[[], None] | None = None
        self._batch: Batch | None = None

    def close(self) -> None:
        """Close the batch's last file, the connections and the store."""
        if self._batch is not None:
            self._batch.close()
            self._batch = None
        super().close()

    def ask(
        self,
        requests: Iterable[Request],
        *,
        problem: Problem | None = None,
        progress: Callable[[int], None] | None = None,
        arrived: Callable[[Request, Answer], None] | None = None,
    ) -> dict[str, Answer | Failure]:
        """The answer to every request, by its key.

        Args:
            requests: what is asked; one that is there twice is asked once.
            problem: says what is wrong with an answer: such a one is not stored, and asked again.
            progress: told of requests that are answered, or failed for good.
            arrived: takes each answer over HTTP when it comes, and keeps it in the place of the
                store; what is returned has no bodies then.

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
            run = Run(self, problem, progress or (lambda _: None), proved, arrived)
            found.update(run.asked(todo))
        self.failed += sum(isinstance(one, Failure) for one in found.values())
        return found

    def again(self, request: Request) -> Answer | Failure:
        """What is answered to a request now, whatever is stored; what is stored stays.

        Raises:
            NegmineError: see :meth:`ask`.
        """
        return Run(self, None, lambda _: None, self.answered > 0).asked([request])[request.key]

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
