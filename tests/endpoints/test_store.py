"""Answers on the disk: whose they are, and what happens to the file."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from negmine.endpoints.request import Answer, Failure, Usage
from negmine.endpoints.store import FILE, Store
from negmine.errors import InvalidDataError, MachineError
from tests.endpoints.asked import questions


def answer(text: str) -> Answer:
    return Answer({"said": text}, Usage(3, 1, 0.5), "m-1")


def test_an_answer_belongs_to_who_gave_it(tmp_path: Path) -> None:
    first, second, third = questions(3)
    keys = [first.key, second.key, third.key]
    with Store(tmp_path / "a") as store:
        assert store.get(keys) == {}
        assert store.known(keys) == 0
        assert not (tmp_path / "a").exists(), "to look leaves nothing"
        store.put([(first, answer("of one")), (second, answer("of one"))], "one")
        store.put([(first, answer("of two"))], "two")
        store.put([(third.key, answer("of a batch"))], via="batch")
    with Store(tmp_path / "a") as store:
        assert store.get(keys, "two") == {
            first.key: answer("of two"),
            third.key: answer("of a batch"),
        }
        assert store.known(keys, "two") == 2
        assert store.get(keys)[first.key] == answer("of one"), "the first that came"
        # What is there stays.
        store.put([(first, answer("again"))], "two")
        assert store.get([first.key], "two")[first.key] == answer("of two")


def test_many_are_found_whatever_sqlite_takes_at_once(tmp_path: Path) -> None:
    asked = questions(1300)
    with Store(tmp_path) as store:
        store.put((request, answer(str(n))) for n, request in enumerate(asked))
        found = store.get(request.key for request in asked)
        assert [found[one.key].body["said"] for one in asked] == [str(n) for n in range(1300)]


def test_failures_and_identities_are_kept(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.put_failures({"a": Failure("refused", "no")})
        store.remember("http://x", "m", "m 1", {"id": "m"})
        store.remember("http://x", "m", "m 2", {"id": "m", "size": 2})
    with Store(tmp_path) as store:
        assert store.failures(["a", "b"]) == {"a": Failure("refused", "no")}
        assert store.remembered("http://x", "m") == ("m 2", {"id": "m", "size": 2})
        assert store.remembered("http://y", "m") is None


def test_several_threads_and_connections_write(tmp_path: Path) -> None:
    asked = questions(80)
    shared = Store(tmp_path)

    def write(number: int) -> None:
        store = shared if number % 2 else Store(tmp_path)
        for request in asked[number * 20 : (number + 1) * 20]:
            store.put([(request, answer("x"))])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shared.known(request.key for request in asked) == 80
    shared.close()


def test_many_begin_with_a_file_at_the_same_moment(tmp_path: Path) -> None:
    """As shards of a judge do. SQLite itself does not wait where the mode of a file changes."""
    asked, told = questions(6), []
    for trial in range(60):
        begin = threading.Barrier(6)

        def write(number: int, trial: int = trial, begin: threading.Barrier = begin) -> None:
            with Store(tmp_path / str(trial)) as store:
                begin.wait()
                try:
                    store.put([(asked[number], answer("x"))])
                except MachineError as error:
                    told.append(str(error))

        threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with Store(tmp_path / str(trial)) as store:
            assert (store.known(one.key for one in asked), told) == (6, [])


def test_who_holds_a_file_is_waited_for_and_no_longer_than_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("negmine.endpoints.store._PATIENCE", 0.2)
    with Store(tmp_path) as store:
        store.put([(questions(1)[0], answer("x"))])
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(MachineError, match=r"(?s)database is locked.*Another program has held it"):
        Store(tmp_path).put([(questions(1)[0], answer("x"))])
    other.close()
    assert Store(tmp_path).known([questions(1)[0].key]) == 1


def test_a_damaged_file_and_a_place_that_is_none_are_told(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"this is no database at all" * 100)
    with pytest.raises(InvalidDataError, match=r"damaged.*\n.*Move the file away"):
        Store(tmp_path).get(["a"])
    (tmp_path / "b" / FILE).mkdir(parents=True)
    with pytest.raises(MachineError, match="cannot be read or written"):
        Store(tmp_path / "b").put([(questions(1)[0], answer("x"))])
