"""Every part that is not finished is made once and written in order, whoever makes it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from negmine.engine.parts import groups, over_parts


@given(
    count=st.integers(0, 12),
    done=st.sets(st.integers(0, 12)),
    devices=st.integers(1, 4),
    overlap=st.booleans(),
    together=st.integers(1, 4),
)
def test_all_that_is_left_is_made_in_order(
    count: int, done: set[int], devices: int, overlap: bool, together: int
) -> None:
    names = [f"part-{number}" for number in range(count)]
    finished = {name for number, name in enumerate(names) if number in done}
    written: list[tuple[str, str]] = []
    told: list[str] = []
    begun: list[str] = []

    def prepare(parts: Iterator[tuple[str, int]]) -> Iterator[tuple[str, int]]:
        for group in groups(parts, lambda _: 1, together):
            assert len(group) <= together
            yield from group

    over_parts(
        ((name, number) for number, name in enumerate(names)),
        finished=finished.__contains__,
        make=lambda device, name, number: f"{name} of {number}",
        write=lambda name, made: written.append((name, made)),
        models=[f"device {number}" for number in range(devices)],
        prepare=prepare,
        skipped=lambda name, _: told.append(name),
        started=begun.append,
        overlap=overlap,
    )
    left = [name for name in names if name not in finished]
    assert written == [(name, f"{name} of {name.removeprefix('part-')}") for name in left]
    assert sorted(begun) == sorted(left)
    assert told == [name for name in names if name in finished]


def test_several_devices_work_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=10)
    written: list[str] = []
    over_parts(
        [("a", None), ("b", None)],
        finished=lambda name: False,
        make=lambda device, name, _: (both.wait(), device)[1],
        write=lambda name, device: written.append(name),
        models=["first", "second"],
    )
    assert written == ["a", "b"]


def test_what_comes_next_is_read_while_a_part_is_made() -> None:
    read, seen = [], []

    def prepare(parts: Iterator[tuple[str, None]]) -> Iterator[tuple[str, None]]:
        for name, _ in parts:
            read.append(name)
            yield name, None

    def make(_: None, name: str, __: None) -> None:
        until = time.monotonic() + 10
        while name == "a" and "b" not in read and time.monotonic() < until:
            time.sleep(0.001)
        seen.append((name, list(read)))

    over_parts(
        [("a", None), ("b", None)],
        finished=lambda name: False,
        make=make,
        write=lambda name, made: None,
        prepare=prepare,
        overlap=True,
    )
    assert "b" in seen[0][1]


@pytest.mark.parametrize("overlap", [False, True])
def test_what_breaks_is_raised_and_what_was_made_before_is_written(overlap: bool) -> None:
    written: list[str] = []

    def make(_: None, name: str, __: None) -> str:
        if name == "c":
            raise OSError("full")
        return name

    with pytest.raises(OSError, match="full"):
        over_parts(
            [(name, None) for name in "abcd"],
            finished=lambda name: False,
            make=make,
            write=lambda name, made: written.append(name),
            overlap=overlap,
        )
    assert written == ["a", "b"]


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("full", ["a", "c", "d"])
def test_what_cannot_be_written_is_raised_and_not_taken_for_written(
    full: str, overlap: bool
) -> None:
    written: list[str] = []

    def write(name: str, made: str) -> None:
        if name == full:
            raise OSError("full")
        written.append(name)

    with pytest.raises(OSError, match="full"):
        over_parts(
            [(name, None) for name in "abcd"],
            finished=lambda name: False,
            make=lambda _, name, __: name,
            write=write,
            overlap=overlap,
        )
    assert written[: "abcd".index(full)] == list("abcd"[: "abcd".index(full)])
    assert full not in written


@given(st.lists(st.integers(0, 9)), st.integers(1, 12))
def test_groups_keep_all_in_order_and_hold_what_fits(sizes: list[int], most: int) -> None:
    found = list(groups(sizes, int, most))
    assert [size for group in found for size in group] == sizes
    assert all(len(group) == 1 or sum(group) <= most for group in found)
    # None could have taken the next one in.
    assert all(sum(group) + following[0] > most for group, following in pairwise(found))
