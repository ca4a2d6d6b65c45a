"""What may be spent: calls, tokens, money; counted once for each call.

What a call may take at worst is held back before it is sent, so that calls under way cannot take
more than is left together. Where not even one worst case fits, calls go one at a time until the
limit is reached: the last one may go beyond it, and none follows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from negmine.endpoints.request import Request, Usage
from negmine.errors import PausedError, UsageError

#: Tokens that a server may put around what it is sent: a template, a system prompt of its own.
_AROUND = 256
_MILLION = 1_000_000


@dataclass(frozen=True)
class Limits:
    """Most that one run of a command may take; None = no limit."""

    calls: int | None = None
    tokens: int | None = None
    cost: float | None = None


@dataclass(frozen=True)
class Prices:
    """What a million tokens cost, read and written."""

    prompt: float
    completion: float

    def of(self, prompt: float, completion: float) -> float:
        """What so many tokens cost."""
        return (prompt * self.prompt + completion * self.completion) / _MILLION


def prices_of(text: str) -> Prices:
    """``IN,OUT`` as prices.

    Raises:
        UsageError: it is not two numbers, 0 or more.
    """
    try:
        prompt, completion = (float(part) for part in text.split(","))
    except ValueError:
        prompt = completion = math.nan
    if not (0 <= prompt < math.inf and 0 <= completion < math.inf):
        raise UsageError(
            f"--price '{text}' is not two numbers",
            hint="Write what a million tokens cost, read and written: --price 0.15,0.6.",
        )
    return Prices(prompt, completion)


@dataclass(frozen=True)
class Worst:
    """The most that a call may take: tokens it reads, and writes (None = not bounded)."""

    prompt: int
    completion: int | None


@dataclass(frozen=True)
class _Held:
    """The most that all calls under way may take together.

    Attributes:
        calls: how many there are.
        prompt: tokens that they read.
        completion: tokens that they write, of those that are bounded.
        unbounded: calls that are not.
    """

    calls: int = 0
    prompt: int = 0
    completion: int = 0
    unbounded: int = 0

    def with_one(self, worst: Worst, sign: int = 1) -> _Held:
        """One more, or with ``sign`` -1 one less."""
        return _Held(
            self.calls + sign,
            self.prompt + sign * worst.prompt,
            self.completion + sign * (worst.completion or 0),
            self.unbounded + sign * (worst.completion is None),
        )


def worst_of(request: Request) -> Worst:
    """The most that a request may take: no tokenizer makes more tokens of a text than its bytes."""
    return Worst(len(request.content) + _AROUND, request.most)


@dataclass
class Spent:
    """What was taken.

    Attributes:
        calls: calls that were answered, or given up.
        prompt: tokens that were read.
        completion: tokens that were written.
        cost: what is known of the cost.
        untold: calls whose cost is not known.
    """

    calls: int = 0
    prompt: int = 0
    completion: int = 0
    cost: float = 0.0
    untold: int = 0

    @property
    def tokens(self) -> int:
        """Tokens in all."""
        return self.prompt + self.completion

    def record(self) -> dict[str, Any]:
        """For manifests; the cost is ``unknown`` where that of one call is not known."""
        return {
            "calls": self.calls,
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "cost": "unknown" if self.untold else round(self.cost, 9),
        }

    def words(self) -> str:
        """For people."""
        cost = f"{self.cost:.6g}" if not self.untold else "unknown"
        return f"{self.calls:,} calls, {self.tokens:,} tokens, cost {cost}"


@dataclass
class Budget:
    """What one run of a command may spend and has spent, of all its endpoints together."""

    limits: Limits = Limits()
    prices: Prices | None = None
    spent: Spent = field(default_factory=Spent)
    _held: _Held = field(default_factory=lambda: _Held())
    _rate: float = math.inf

    def asks(self, worst: Worst) -> Literal["go", "wait", "stop"]:
        """Whether a call may be sent: now, after one that is under way, or not any more."""
        if self.reached() is not None:
            return "stop"
        if not self._held.calls:
            return "go"
        return "go" if self._fits(self._held.with_one(worst)) else "wait"

    def hold(self, worst: Worst) -> None:
        """Hold back what a call may take, before it is sent."""
        self._held = self._held.with_one(worst)

    def drop(self, worst: Worst) -> None:
        """Hold nothing back any more for a call that is not made."""
        self._held = self._held.with_one(worst, -1)

    def release(self, worst: Worst) -> None:
        """Count a call that was given up: what it took, nobody tells."""
        self.drop(worst)
        self.spent.calls += 1

    def settle(self, worst: Worst, usage: Usage) -> None:
        """Count an answered call, in the place of what was held back for it.

        Raises:
            UsageError: the server does not tell what a limit needs. The call is counted.
        """
        self.drop(worst)
        self.count(usage)
        if self.limits.tokens is not None and usage.tokens is None:
            raise UsageError(
                "the server does not tell how many tokens a call took: --max-tokens cannot be kept",
                hint="Give --max-calls instead; the answer is stored.",
            )
        if self.limits.cost is not None and self.cost_of(usage) is None:
            raise UsageError(
                "the server does not tell what a call cost: --max-cost cannot be kept",
                hint="Give --price IN,OUT, what a million tokens cost, read and written; the "
                "answer is stored.",
            )

    def count(self, usage: Usage) -> None:
        """Count an answered call."""
        cost = self.cost_of(usage)
        spent = self.spent
        spent.calls += 1
        spent.prompt += usage.prompt or 0
        spent.completion += usage.completion or 0
        spent.cost += cost or 0.0
        spent.untold += cost is None
        if cost is not None and usage.tokens:
            rate = cost / usage.tokens
            self._rate = rate if math.isinf(self._rate) else max(self._rate, rate)

    def cost_of(self, usage: Usage) -> float | None:
        """What a call cost: as the server tells, else by the prices; None = not known."""
        if usage.cost is not None:
            return usage.cost
        if self.prices is None or usage.prompt is None:
            return None
        return self.prices.of(usage.prompt, usage.completion or 0)

    def reached(self) -> str | None:
        """The option whose limit is reached, with the limit."""
        limits, spent = self.limits, self.spent
        if limits.calls is not None and spent.calls >= limits.calls:
            return f"--max-calls {limits.calls}"
        if limits.tokens is not None and spent.tokens >= limits.tokens:
            return f"--max-tokens {limits.tokens}"
        if limits.cost is not None and spent.cost >= limits.cost:
            return f"--max-cost {limits.cost:g}"
        return None

    def paused(self, left: int) -> PausedError:
        """That the limit is reached, for people.

        Args:
            left: requests that are not answered.
        """
        return PausedError(
            f"stopped at {self.reached() or 'the limit'}: {self.spent.words()}; "
            f"{left:,} requests are left for now",
            hint="All answers are stored: the same command goes on where this one stopped, with "
            "as much again.",
        )

    def _fits(self, held: _Held) -> bool:
        limits, spent = self.limits, self.spent
        if limits.calls is not None and spent.calls + held.calls > limits.calls:
            return False
        tokens = math.inf if held.unbounded else held.prompt + held.completion
        if limits.tokens is not None and spent.tokens + tokens > limits.tokens:
            return False
        if limits.cost is None:
            return True
        if held.unbounded:
            return False
        # Without prices, what a token cost at most; until the first answer nobody knows.
        prices = self.prices
        cost = (
            prices.of(held.prompt, held.completion) if prices is not None else tokens * self._rate
        )
        return spent.cost + cost <= limits.cost
