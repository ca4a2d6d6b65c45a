"""Limits: reached by at most one call, continued by the same command, refused where unknown."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negmine.endpoints.budget import Budget, Limits, Prices, Worst, prices_of
from negmine.endpoints.request import Usage
from negmine.errors import PausedError, UsageError
from tests.endpoints.asked import ask, assert_right, client, questions, serving
from tests.servers.faults import Fault

PRICE = 0.001


@pytest.mark.parametrize(
    ("limits", "prices"),
    [
        (Limits(calls=13), None),
        (Limits(tokens=100), None),
        (Limits(cost=0.03), None),
        (Limits(cost=0.02), Prices(500, 1500)),
    ],
)
def test_a_limit_is_kept_and_the_same_command_goes_on(
    limits: Limits, prices: Prices | None, tmp_path: Path
) -> None:
    price = None if prices is not None else PRICE
    with serving(price=price, latency=0.005) as server:
        for _ in range(40):
            before = server.journal.count("answered")
            budget = Budget(limits, prices)
            with client(server, tmp_path, budget) as one:
                try:
                    assert_right(ask(one, questions(60)), 60)
                    break
                except PausedError as error:
                    paused = error
            assert paused.exit_code == 9
            assert "--max-" in str(paused)
            made = server.journal.count("answered") - before
            spent = budget.spent
            assert spent.calls == made > 0
            for limit, total in (
                (limits.calls, spent.calls),
                (limits.tokens, spent.tokens),
                (limits.cost, spent.cost),
            ):
                if limit is not None:
                    most = total / made * 1.5
                    assert limit <= total + 1e-9 <= limit + most
        assert server.journal.count("asked") == 60


@pytest.mark.parametrize(
    ("limits", "faults", "option"),
    [
        (Limits(cost=1), [], "--price"),
        (Limits(tokens=10_000), [Fault("no_usage")], "--max-calls"),
        (Limits(cost=1), [Fault("no_usage")], "--price"),
    ],
)
def test_what_the_server_does_not_tell_is_refused_at_the_first_answer(
    limits: Limits, faults: list[Fault], option: str, tmp_path: Path
) -> None:
    with serving(*faults) as server:
        with client(server, tmp_path, Budget(limits)) as one:
            with pytest.raises(UsageError, match=option):
                ask(one, questions(20))
            assert one.store.known(request.key for request in questions(20)) >= 1
        if limits.cost is not None:
            assert server.journal.count("asked") == 1


def test_a_cost_is_told_by_the_server_or_the_prices_or_not_at_all(tmp_path: Path) -> None:
    with serving(price=PRICE) as server, client(server, tmp_path / "a") as one:
        ask(one, questions(3))
        spent = one.budget.spent
        assert spent.cost == pytest.approx(PRICE * spent.tokens)
        assert f"cost {spent.cost:.6g}" in spent.words()
    with serving() as server:
        with client(server, tmp_path / "b", Budget(prices=Prices(1, 1))) as one:
            ask(one, questions(3))
            assert one.describe()["cost"] == pytest.approx(one.budget.spent.tokens / 1e6)
        with client(server, tmp_path / "c") as one:
            ask(one, questions(3))
            assert one.describe()["cost"] == "unknown"


def test_prices_are_two_numbers() -> None:
    assert prices_of("0.15, 0.6") == Prices(0.15, 0.6)
    for wrong in ("1", "1,2,3", "a,b", "-1,2", "nan,1", "1,inf"):
        with pytest.raises(UsageError, match="two numbers"):
            prices_of(wrong)


CALL = st.tuples(st.integers(1, 400), st.integers(0, 300), st.floats(0, 1), st.booleans())


@settings(max_examples=200, deadline=None)
@given(st.lists(CALL, max_size=40), st.integers(1, 4000), st.integers(1, 8))
def test_calls_under_way_never_take_more_than_is_left_but_for_one_alone(
    calls: list[tuple[int, int, float, bool]], limit: int, at_once: int
) -> None:
    """Whatever the calls take of their worst case, and in whatever order they end."""
    budget = Budget(Limits(tokens=limit))
    flying: list[tuple[Worst, Usage]] = []
    todo = list(calls)
    turns = [first for *_, first in calls]
    largest = 0

    while todo or flying:
        if todo and len(flying) < at_once:
            prompt, completion, share, _ = todo[0]
            worst = Worst(prompt, completion)
            if budget.asks(worst) == "go":
                todo.pop(0)
                budget.hold(worst)
                usage = Usage(int(prompt * share), int(completion * share))
                largest = max(largest, usage.tokens or 0)
                flying.append((worst, usage))
                continue
        if not flying:
            break
        worst, usage = flying.pop(0 if turns.pop() else -1)
        budget.settle(worst, usage)
    assert budget.spent.tokens <= limit + largest
    assert not todo or budget.reached()
