"""The command line in this process, for the tests of shards; a bucket for those of a cluster."""

from __future__ import annotations

import pytest

from tests.buckets.conftest import bucket, credentials, endpoint  # noqa: F401 (fixtures)
from tests.conftest import Invoke
from tests.crash.sharded import Here


@pytest.fixture
def here(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> Here:
    return Here(invoke, monkeypatch)
