"""Parts whose answers are awaited: all others are asked about before the run stops for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from negmine.errors import AwaitedError

Arguments = ParamSpec("Arguments")
Made = TypeVar("Made")


class Awaiting:
    """Takes note of parts that wait for a batch.

    A batch holds what the whole table asks, not what its first part does: so a part without its
    answers is left out for now, and the run stops behind the last one.
    """

    def __init__(self) -> None:
        self._stop: AwaitedError | None = None

    def making(self, make: Callable[Arguments, Made]) -> Callable[Arguments, Made | None]:
        """``make``, which gives None of a part that waits."""

        def made(*given: Arguments.args, **named: Arguments.kwargs) -> Made | None:
            try:
                return make(*given, **named)
            except AwaitedError as error:
                # The newest one knows of all that is awaited.
                self._stop = error
                return None

        return made

    def check(self) -> None:
        """Stop if a part waits.

        Raises:
            AwaitedError: one does.
        """
        if self._stop is not None:
            raise self._stop
