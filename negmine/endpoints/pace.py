"""How many calls are under way at a time, when the next may be sent, and when to give up.

Additive increase, multiplicative decrease, as TCP's congestion control has it: the window doubles a
round until the server first complains, then grows by one a round, and is halved where the server
says "too many" or takes much longer than it did. Pure: the time is an argument.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

#: Seconds to wait after the first complaint, and at most.
_FIRST, _MOST = 1.0, 60.0
#: So many times the best typical latency is much.
_SLOW = 3.0
#: Share of the newest latency in the typical one, and the growth of the best one an answer: what
#: was fast once need not be for ever.
_NEW, _FORGETS = 0.15, 1.002
#: Answers until a latency is typical.
_TYPICAL = 8


def backoff(key: str, tries: int) -> float:
    """Seconds to wait before try ``tries`` + 1: doubled each time, spread by a hash of the key.

    The spread keeps calls that failed together apart, and is the same in every run.
    """
    digest = hashlib.blake2b(f"{key} {tries}".encode(), digest_size=8).digest()
    spread = 0.5 + int.from_bytes(digest, "big") / 2**65
    return min(_MOST, _FIRST * 2.0 ** (tries - 1)) * spread


@dataclass
class Pace:
    """The window of one server.

    Attributes:
        most: calls at a time that are never exceeded.
        window: calls at a time that are allowed now; a fraction counts towards the next.
        complaints: rounds in a row that ended in a complaint, without an answer between them.
        until: when the next call may be sent.
    """

    most: int
    window: float = 4.0
    complaints: int = 0
    until: float = 0.0
    _growing: bool = True
    _since: float = float("-inf")
    _typical: float = 0.0
    _best: float = float("inf")
    _answers: int = 0

    def __post_init__(self) -> None:
        self.window = min(self.window, float(self.most))

    def allowed(self, now: float) -> int:
        """How many calls may be under way at this moment."""
        return int(self.window) if now >= self.until else 0

    def answered(self, sent: float, now: float) -> None:
        """Take note of an answer to a call that was sent at ``sent``."""
        self.complaints = 0
        if self._too_slow(now - sent) and sent >= self._since:
            self._halve(now)
            return
        self.window += 1.0 if self._growing else 1.0 / self.window
        self.window = min(self.window, float(self.most))

    def complained(self, sent: float, now: float, key: str, after: float | None = None) -> None:
        """Take note of a complaint about the whole: too many calls, loading, no connection.

        Calls that were under way together make one complaint.

        Args:
            sent: when the call was sent.
            now: when the complaint came.
            key: of the request; spreads the wait.
            after: seconds that the server asks to wait.
        """
        if after is not None:
            self.until = max(self.until, now + after)
        if sent < self._since:
            return
        self.complaints += 1
        self._halve(now)
        if after is None:
            self.until = max(self.until, now + backoff(key, self.complaints))

    def _halve(self, now: float) -> None:
        self.window = max(1.0, self.window / 2)
        self._growing = False
        # What was sent with the larger window says nothing of the smaller one.
        self._since = now

    def _too_slow(self, seconds: float) -> bool:
        self._answers += 1
        share = max(_NEW, 1 / self._answers)
        self._typical += share * (seconds - self._typical)
        if self._answers < _TYPICAL:
            return False
        self._best = min(self._best * _FORGETS, self._typical)
        if self._typical <= _SLOW * self._best or self.window <= 1:
            return False
        self._answers = 0
        return True
