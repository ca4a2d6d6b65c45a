"""How many calls may be under way: pure, the time is given."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from negmine.endpoints.pace import Pace, backoff


def test_the_window_grows_to_its_most_and_halves_once_a_complaint() -> None:
    pace = Pace(32)
    for _ in range(100):
        pace.answered(0.0, 0.1)
    assert pace.allowed(0.1) == 32
    # Eight calls were under way together: one complaint.
    for _ in range(8):
        pace.complained(0.2, 0.3, "key", 1.0)
    assert pace.window == 16
    assert pace.complaints == 1
    assert pace.allowed(1.2) == 0
    assert pace.allowed(1.3) == 16
    for _ in range(16):
        pace.answered(1.3, 1.4)
    assert pace.complaints == 0
    assert 16.5 < pace.window < 17.1, "slowly, after a complaint"


def test_a_server_that_becomes_slow_is_asked_less() -> None:
    pace, now = Pace(32), 0.0
    for _ in range(50):
        pace.answered(now, now + 0.1)
        now += 0.1
    for _ in range(40):
        pace.answered(now, now + 2.0)
        now += 2.0
    assert pace.window < 32
    # What became normal is normal: it does not go down for ever.
    for _ in range(3000):
        pace.answered(now, now + 2.0)
        now += 2.0
    assert pace.window > 4


@given(
    st.integers(1, 64),
    st.lists(st.tuples(st.sampled_from("acr"), st.floats(0.01, 50)), max_size=200),
)
def test_the_window_stays_between_one_and_most(most: int, events: list[tuple[str, float]]) -> None:
    pace, now = Pace(most), 0.0
    for kind, seconds in events:
        sent, now = now, now + seconds
        if kind == "a":
            pace.answered(sent, now)
        else:
            pace.complained(sent, now, "key", seconds if kind == "r" else None)
        assert 1 <= pace.window <= most
        assert pace.allowed(max(now, pace.until)) >= 1


def test_waits_double_are_spread_and_come_again() -> None:
    waits = [backoff("key", tries) for tries in range(1, 12)]
    assert waits == [backoff("key", tries) for tries in range(1, 12)]
    assert len({backoff(f"key {n}", 1) for n in range(50)}) == 50
    for tries in range(1, 12):
        full = backoff("key", tries) / waits[0]
        assert full > 0
    assert waits[2] > waits[0]
