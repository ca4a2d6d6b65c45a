"""Arrays in files: the same as NumPy reads, from any thread."""

from __future__ import annotations

import ast
import gc
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.extra import numpy as arrays_of

from negmine.dedup.signatures import ROW
from negmine.errors import InvalidDataError
from negmine.table import arrays


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(arrays_of.arrays(arrays_of.scalar_dtypes(), arrays_of.array_shapes(min_dims=0, min_side=0)))
def test_it_is_what_numpy_reads(tmp_path: Path, array: np.ndarray) -> None:
    for given_array in (array, np.asfortranarray(array)):
        np.save(tmp_path / "a.npy", given_array)
        plain = np.load(tmp_path / "a.npy")
        found = arrays.mapped(tmp_path / "a.npy")
        assert (found.dtype, found.shape) == (plain.dtype, plain.shape)
        assert found.tobytes() == plain.tobytes()


def test_rows_with_fields(tmp_path: Path) -> None:
    rows = np.zeros(3, ROW)
    rows["signature"] += np.arange(3, dtype=np.uint16)[:, None]
    np.save(tmp_path / "a.npy", rows)
    found = arrays.mapped(tmp_path / "a.npy")
    assert found.dtype == ROW
    np.testing.assert_array_equal(found, rows)


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00\x04\x00{'a}"])
def test_what_is_no_array_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InvalidDataError, match="no array") as refused:
        arrays.mapped(tmp_path / "a.npy")
    assert "a.npy" in str(refused.value.where)


def test_objects_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}, None], dtype=object))
    with pytest.raises(InvalidDataError, match="objects"):
        arrays.mapped(tmp_path / "a.npy")


def test_a_thread_that_reads_disturbs_none_that_compiles(tmp_path: Path) -> None:
    """Threads change in the midst of a compilation where the collection of garbage calls Python."""
    np.save(tmp_path / "a.npy", np.zeros((40, 10), np.float32))
    done = threading.Event()
    failed: list[BaseException] = []

    def read() -> None:
        try:
            while not done.is_set():
                arrays.mapped(tmp_path / "a.npy")
        except BaseException as error:
            failed.append(error)

    def changes(phase: str, info: dict[str, int]) -> None:
        time.sleep(0)

    thread = threading.Thread(target=read)
    thread.start()
    before = gc.get_threshold()
    gc.set_threshold(50)
    gc.callbacks.append(changes)
    source = "\n".join(f"x{i} = [{i}, ({i}, {{'a': {i}}})]" for i in range(400))
    try:
        for _ in range(40):
            ast.parse(source)
    finally:
        gc.callbacks.remove(changes)
        gc.set_threshold(*before)
        done.set()
        thread.join()
    assert not failed
