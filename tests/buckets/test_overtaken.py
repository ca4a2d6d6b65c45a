"""Somebody else finishes in a bucket between two calls of this process: it leaves nothing there."""

from __future__ import annotations

import pyarrow as pa
import pytest

from negmine.addresses import located
from negmine.engine.shares import Shard
from negmine.errors import ConflictError
from negmine.table import artifacts
from negmine.table.artifacts import shards
from negmine.table.artifacts.plan import Plan
from tests.buckets.conftest import Bucket

SCHEMA = pa.schema([("qid", pa.string())])
PART = pa.table({"qid": ["q"]}, SCHEMA)
PLAN = Plan("retrieve", 1, {"k": 10})


@pytest.mark.parametrize("call", ["lay", "create"])
def test_what_nobody_collects_any_more_goes(
    call: str, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two parts the second is laid, or marked, right after another process removed all."""
    path = located(f"{bucket.work}/candidates")
    writer = artifacts.begin(path, PLAN, share=Shard(0, 2))
    assert writer is not None
    before = getattr(shards.disk, call)

    def removed_first(*given: object, **named: object) -> object:
        monkeypatch.setattr(shards.disk, call, before)
        for key in bucket.objects("work/candidates"):
            bucket.client.delete_object(Bucket=bucket.name, Key=f"work/candidates{key}")
        return before(*given, **named)

    def two_parts() -> None:
        with writer:
            writer.add_table("part-00000.parquet", PART, SCHEMA)
            writer.settle()
            assert len(bucket.objects("work/candidates/_shards/")) == 3
            writer.add_table("part-00002.parquet", PART, SCHEMA)
            monkeypatch.setattr(shards.disk, call, removed_first)
            writer.settle()

    with pytest.raises(ConflictError, match="meanwhile"):
        two_parts()
    assert bucket.objects("work/candidates") == {}
