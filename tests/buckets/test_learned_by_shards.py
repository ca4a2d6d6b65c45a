"""What shards of ``filter`` learn together lies in the bucket: few looks, and the local bytes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from negmine import log
from negmine.buckets import mirror
from negmine.table.artifacts import open_artifact
from negmine.table.artifacts.shards import Shelf
from tests.buckets.conftest import Bucket, forget
from tests.chains import call, small_parts
from tests.conftest import Invoke
from tests.crash.sharded import COUNT, contents, copied
from tests.crash.test_learned_by_shards import LEDGER, SETTINGS, TABLE, data

__all__ = ["data"]


def test_shards_at_once_in_a_bucket_one_of_which_is_killed_before_its_last_word(
    data: Path,
    bucket: Bucket,
    cache: Path,
    tmp_path: Path,
    invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = copied(data, tmp_path / "data")
    monkeypatch.chdir(folder)
    words = ("filter", str(TABLE), "--num-negatives", "3", *SETTINGS["all"])
    place = f"{bucket.work}/ledger"
    looks: Counter[str] = Counter()
    told: dict[str, list[str]] = {}
    listing, tell = mirror.transport.listing, Shelf.tell

    def looking(at: Any) -> Any:
        looks[at.key.rpartition("/")[2]] += 1
        return listing(at)

    def telling(shelf: Shelf, name: str, what: Any) -> Any:
        mine = told.setdefault(str(shelf._share), [])
        if str(shelf._share) == f"0/{COUNT}" and len(mine) == 3 and f"1/{COUNT}" not in told:
            # All that the next one learns happens in between, but for its last word.
            assert shard(1) == 130
        last = name.endswith(".learned")
        if str(shelf._share) == f"1/{COUNT}" and last and name not in mine:
            mine.append(name)
            raise KeyboardInterrupt
        mine.append(name)
        return tell(shelf, name, what)

    def shard(index: int) -> int:
        handlers = list(log.logger.handlers)
        code, said = call(*words, "-o", place, "--shard", f"{index}/{COUNT}")
        log.logger.handlers[:] = handlers
        assert code in (0, 130), said
        return code

    monkeypatch.setattr(mirror.transport, "listing", looking)
    monkeypatch.setattr(Shelf, "tell", telling)
    with small_parts():
        assert shard(0) == 0
        # Who comes behind reads what was learned; who finds only summaries looks a few times.
        forget()
        assert shard(2) == 0
        assert f"2/{COUNT}" not in told
        for key in bucket.objects("work/ledger/_shards/"):
            if key.endswith((".learned.json", ".limits.json", ".scores.json", ".queries.json")):
                bucket.client.delete_object(Bucket=bucket.name, Key=f"work/ledger/_shards/{key}")
        forget()
        looks.clear()
        assert shard(1) == 0
        assert not [name for name in told[f"1/{COUNT}"][-4:] if ".part-" in name]
        parts = len(open_artifact(folder / TABLE).parts)
        assert len(bucket.objects("work/ledger/_shards/_told.")) > 4 * parts
        assert looks["_shards"] < parts
        ended = invoke("collect", place)
        assert ended.exit_code == 0, ended.stderr
        assert invoke(*words, "-o", LEDGER).exit_code == 0
    alone = contents(folder / LEDGER)
    stored = bucket.objects("work/ledger/")
    assert {name: stored[name] for name in stored if name.startswith("part-")} == {
        name: content for name, content in alone.items() if name.startswith("part-")
    }
    assert stored.keys() == alone.keys()
