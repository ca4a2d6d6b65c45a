"""Summaries of parts: who makes which, in what order, and what holds of what several have told."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from negmine.engine.shares import COLLECTING, WHOLE, Shard, Share, Units
from negmine.errors import InvalidDataError
from negmine.learning import stored
from negmine.learning.summaries import Summaries

PARTS = [f"part-{number}" for number in range(9)]


class Wall:
    """What all processes see, each with a book of its own."""

    def __init__(self) -> None:
        self.said: dict[str, str] = {}
        self._lock = threading.Lock()

    def create(self, name: str, what: Mapping[str, Any]) -> bool:
        with self._lock:
            return self.said.setdefault(name, text := json.dumps(what)) is text


class Book:
    """A process's book: in the place of a writer's."""

    def __init__(self, wall: Wall, share: Share, looking: Callable[[], object] = bool) -> None:
        self.share, self._wall, self._looking = share, wall, looking
        self.looks = 0

    def told(self, name: str) -> Mapping[str, Any] | None:
        said = self._wall.said.get(name)
        return None if said is None else json.loads(said)

    def all_told(self, names: Iterable[str]) -> list[tuple[str, Mapping[str, Any]]]:
        self.looks += 1
        if self.looks > 1:
            self._looking()
        found = {name: self.told(name) for name in names}
        if self.looks == 1:
            self._looking()
        return [(name, what) for name, what in found.items() if what is not None]

    def tell(self, name: str, what: Mapping[str, Any]) -> Mapping[str, Any]:
        assert not self.share.whole
        return what if self._wall.create(name, what) else json.loads(self._wall.said[name])


class Process:
    """A process that goes over the parts and says which it has read."""

    def __init__(self, book: Book | None) -> None:
        self.summaries = Summaries(PARTS, book)
        self.read: list[str] = []
        #: What is done between two summaries, by the part before which it is.
        self.before: dict[str, Callable[[], object]] = {}

    def over(self, word: str = "") -> list[str]:
        def read(names: Sequence[str]) -> Iterable[tuple[str, str]]:
            assert names
            for name in names:
                self.before.pop(name, bool)()
                self.read.append(name)
                yield name, name + word

        return self.summaries.over("round", read, str.upper)

    def found(self, word: str = "") -> str:
        return self.summaries.agreed("all", lambda: "".join(self.over(word)))


ALL = "".join(PARTS).upper()


def chained(some: Iterable[list[str]]) -> list[str]:
    return list(chain.from_iterable(some))


@pytest.mark.parametrize("share", [None, WHOLE, COLLECTING])
def test_one_process_reads_every_part_once_in_order_and_tells_nothing(share: Share | None) -> None:
    wall = Wall()
    alone = Process(None if share is None else Book(wall, share))
    assert alone.found() == ALL
    assert alone.read == PARTS
    assert not wall.said


def test_the_first_shard_makes_all_and_its_own_first_and_later_ones_read_nothing() -> None:
    wall = Wall()
    first, later = (Process(Book(wall, Shard(index, 3))) for index in (1, 0))
    assert first.found() == ALL
    assert first.read[:3] == PARTS[1::3]
    assert sorted(first.read) == PARTS
    assert later.found() == ALL
    assert later.read == []


def test_shards_that_are_as_fast_as_each_other_make_their_own_and_nothing_else() -> None:
    wall, together = Wall(), threading.Barrier(3, timeout=60)
    books = [Book(wall, Shard(index, 3), together.wait) for index in range(3)]
    processes = [Process(book) for book in books]
    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(Process.found, processes)) == {ALL}
    assert [one.read for one in processes] == [PARTS[index::3] for index in range(3)]
    # One look at the beginning, and one behind one's own.
    assert {book.looks for book in books} == {2}


def test_what_is_missing_is_begun_by_each_elsewhere_and_a_little_at_a_time() -> None:
    """Nobody waits: two shards of 30 parts find that the other 28 never began."""
    parts = [f"p{number}" for number in range(30)]
    asked: dict[int, list[list[str]]] = {}
    for index in (0, 1):
        asked[index] = []
        # Each with a wall of its own: neither has heard of the other's yet.
        summaries = Summaries(parts, Book(Wall(), Shard(index, 30)))

        def read(names: Sequence[str], mine: int = index) -> Iterable[tuple[str, str]]:
            asked[mine].append(list(names))
            return ((name, name) for name in names)

        assert summaries.over("round", read, str) == parts
        assert sorted(chained(asked[index])) == sorted(parts)
        assert [len(some) for some in asked[index]][:5] == [1, 1, 2, 4, 3]
    one, other = (chained(asked[index])[1:8] for index in (0, 1))
    assert len({*one} & {*other}) < 4


@pytest.mark.parametrize("share", [Shard(0, 3), Units(frozenset({0, 3, 6}))])
def test_what_others_tell_meanwhile_is_not_made(share: Share) -> None:
    wall = Wall()
    late, other = Process(Book(wall, share)), Process(Book(wall, Shard(1, 3)))
    # Before the last of its own another one goes over all of the table.
    late.before[PARTS[6]] = other.found
    assert late.found() == ALL
    assert late.read == [PARTS[0], PARTS[3], PARTS[6]]
    assert sorted(other.read) == sorted({*PARTS} - {PARTS[0], PARTS[3]})


def test_what_was_told_first_holds() -> None:
    """Each finds another last digit."""
    wall = Wall()
    late, other = Process(Book(wall, Shard(0, 3))), Process(Book(wall, Shard(1, 3)))
    late.before[PARTS[6]] = lambda: other.over("b")
    found = late.found("a")
    made = {PARTS[0]: "A", PARTS[3]: "A"}
    assert found == "".join(part.upper() + made.get(part, "B") for part in PARTS)
    assert other.found("c") == found
    # One process goes on with it.
    whole = Process(Book(wall, WHOLE))
    assert whole.found() == found
    assert whole.read == []


def test_who_was_killed_finds_what_it_told() -> None:
    wall = Wall()
    killed = Process(Book(wall, Shard(2, 3)))

    def kill() -> None:
        raise KeyboardInterrupt

    killed.before[PARTS[8]] = kill
    with pytest.raises(KeyboardInterrupt):
        killed.found()
    again = Process(Book(wall, Shard(2, 3)))
    assert again.found() == ALL
    assert again.read[0] == PARTS[8]
    assert Counter(killed.read + again.read) == Counter(PARTS)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 4)).filter(lambda one: one[0] < one[1]),
        min_size=1,
        max_size=6,
    )
)
def test_whoever_goes_over_it_in_whatever_order_all_find_the_same(
    shards: list[tuple[int, int]],
) -> None:
    wall = Wall()
    processes = [Process(Book(wall, Shard(*one))) for one in shards]
    assert {one.found() for one in processes} == {ALL}
    assert sorted(chained(one.read for one in processes)) == PARTS


def test_what_another_version_has_told_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    wall = Wall()
    monkeypatch.setattr(stored, "FORMAT", 1)
    assert Process(Book(wall, Shard(0, 2))).found("x") == "".join(
        f"{one}x".upper() for one in PARTS
    )
    monkeypatch.setattr(stored, "FORMAT", 2)
    later = Process(Book(wall, Shard(1, 2)))
    assert later.found("y").startswith("PART-0YPART-1Y")
    assert sorted(later.read) == PARTS


@pytest.mark.parametrize("name", ["all", f"round.{PARTS[4]}"])
def test_what_is_damaged_is_named(name: str) -> None:
    wall = Wall()
    Process(Book(wall, Shard(0, 2))).found()
    (file,) = (said for said in wall.said if said.endswith(name))
    wall.said[file] = wall.said[file].replace("PART-4", "PART-5")
    del wall.said[next(said for said in wall.said if said.endswith(PARTS[0]))]
    if name != "all":
        del wall.said[next(said for said in wall.said if said.endswith("all"))]
    with pytest.raises(InvalidDataError, match=f"told of '{name}' is damaged") as told:
        Process(Book(wall, Shard(1, 2))).found()
    assert f"{file}.json" in (told.value.hint or "")
