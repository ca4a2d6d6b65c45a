"""Work that several devices share: the order, who has what, and how it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from negmine.engine.threads import in_turn


@pytest.mark.parametrize("models", [["a"], ["a", "b"], ["a", "b", "c", "d"]])
def test_results_come_in_order_whoever_made_them(models: list[str]) -> None:
    busy: set[str] = set()

    def work(model: str, item: int) -> int:
        assert model not in busy, "a model has one item at a time"
        busy.add(model)
        time.sleep(0.002 * (item % 3))
        busy.remove(model)
        return item * item

    with in_turn(models, range(40), work) as results:
        assert list(results) == [item * item for item in range(40)]


def test_all_models_work_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=10)
    with in_turn("abc", range(9), lambda model, item: together.wait()) as results:
        assert len(list(results)) == 9


def test_one_model_works_when_asked_in_the_caller_s_thread() -> None:
    seen: list[tuple[int, threading.Thread]] = []

    def work(model: str, item: int) -> None:
        seen.append((item, threading.current_thread()))

    with in_turn(["a"], range(3), work) as results:
        assert not seen
        next(results)
    assert seen == [(0, threading.main_thread())]


def test_no_more_is_begun_than_is_read() -> None:
    begun: list[int] = []
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    with in_turn("ab", items(), lambda model, item: begun.append(item)) as results:
        next(results)
        next(results)
    assert len(taken) == 6
    assert len(begun) <= 6


@pytest.mark.parametrize("models", ["a", "ab"])
def test_what_an_item_raises_comes_in_its_place(models: str) -> None:
    def work(model: str, item: int) -> int:
        if item == 2:
            raise ValueError("this one")
        return item

    with in_turn(models, range(9), work) as results:
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(ValueError, match="this one"):
            next(results)


def test_nothing_is_to_be_done() -> None:
    with in_turn("ab", [], lambda model, item: item) as results:
        assert list(results) == []
