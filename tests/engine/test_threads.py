from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from negmine.engine.threads import ahead, behind


def test_calls_are_made_in_order_by_one_other_thread_and_all_at_the_end() -> None:
    made: list[tuple[int, int]] = []
    with behind(lambda number: made.append((number, threading.get_ident()))) as call:
        for number in range(50):
            call(number)
    assert [number for number, _ in made] == list(range(50))
    assert {thread for _, thread in made} != {threading.get_ident()}
    assert len({thread for _, thread in made}) == 1


def test_no_more_than_two_calls_wait_while_one_is_made() -> None:
    begun, go, given = threading.Event(), threading.Event(), []

    def slow(number: int) -> None:
        begun.set()
        go.wait(10)

    def give() -> None:
        with behind(slow) as call:
            for number in range(4):
                call(number)
                given.append(number)

    giver = threading.Thread(target=give)
    giver.start()
    assert begun.wait(10)
    giver.join(0.3)
    held = list(given)
    go.set()
    giver.join(10)
    assert held == [0, 1]
    assert given == [0, 1, 2, 3]


def test_what_a_call_raises_reaches_the_caller() -> None:
    def fail(number: int) -> None:
        if number == 1:
            raise OSError("disk full")

    def give(*numbers: int) -> None:
        with behind(fail) as call:
            for number in numbers:
                call(number)

    with pytest.raises(OSError, match="disk full"):
        give(*range(9))
    with pytest.raises(OSError, match="disk full"):
        give(1)


def test_the_block_s_own_error_wins_and_the_calls_are_made() -> None:
    made: list[int] = []

    def give() -> None:
        with behind(made.append) as call:
            call(1)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        give()
    assert made == [1]


def test_items_are_made_in_order_by_one_other_thread() -> None:
    makers: set[int] = set()

    def make() -> Iterator[int]:
        for number in range(50):
            makers.add(threading.get_ident())
            yield number

    with ahead(make()) as items:
        assert list(items) == list(range(50))
    assert len(makers) == 1
    assert makers != {threading.get_ident()}
    with ahead([]) as nothing:
        assert list(nothing) == []


def test_what_making_an_item_raises_comes_in_its_place() -> None:
    def make() -> Iterator[int]:
        yield from range(3)
        raise OSError("unreadable")

    seen: list[int] = []

    def read() -> None:
        with ahead(make()) as items:
            for item in items:
                seen.append(item)

    with pytest.raises(OSError, match="unreadable"):
        read()
    assert seen == [0, 1, 2]


def test_a_block_that_ends_early_leaves_no_thread_and_makes_no_more_than_two_ahead() -> None:
    made: list[int] = []

    def make() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    def read() -> None:
        with ahead(make()) as items:
            for item in items:
                if item == 5:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read()
    assert len(made) <= 5 + 1 + 2
    assert not [t for t in threading.enumerate() if t.name.startswith("negmine-ahead")]
