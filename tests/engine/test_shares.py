"""Shares cut the units of an artifact among processes, each to one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from negmine.engine import shares
from negmine.engine.parts import over_parts
from negmine.engine.shares import COLLECTING, LeftToOthers, Shard, Units, parse
from negmine.errors import UsageError

SLURM = "SLURM_ARRAY_TASK_"


def slurm(*, index: int, first: int, last: int, count: int, step: int = 1) -> dict[str, str]:
    told = {"ID": index, "MIN": first, "MAX": last, "COUNT": count, "STEP": step}
    return {f"{SLURM}{name}": str(number) for name, number in told.items()}


@given(
    parts=st.integers(0, 20),
    count=st.integers(1, 5),
    together=st.integers(1, 4),
    done=st.sets(st.integers(0, 19)),
)
def test_each_part_is_made_by_one_shard_and_then_nothing_is_missing(
    parts: int, count: int, together: int, done: set[int]
) -> None:
    names = {f"part-{number}": number for number in range(parts)}
    finished = {name for name, number in names.items() if number in done}
    made: list[str] = []

    def share(one: shares.Share) -> LeftToOthers | None:
        try:
            over_parts(
                names.items(),
                finished=finished.__contains__,
                make=lambda _, name, number: name,
                write=lambda name, _: made.append(name),
                share=one,
                together=together,
            )
        except LeftToOthers as left:
            return left
        return None

    missing = [name for name in names if name not in finished]
    collected = share(COLLECTING)
    assert (collected is None) == (not missing)
    for index in range(count):
        left = share(Shard(index, count))
        # It never speaks of the whole, even if nothing is left.
        assert left is not None
        others = {name for _, name in left.others}
        assert others == {name for name in missing if names[name] // together % count != index}
        assert left.made + len(others) == parts
        units = {unit for unit, _ in left.others}
        assert units == {names[name] // together for name in others}
    assert sorted(made) == sorted(missing)
    finished |= set(made)
    assert share(COLLECTING) is None
    assert share(Units(frozenset({0}))) is not None


def test_a_shard_is_named_by_number_or_by_the_array() -> None:
    assert parse("0/8", {}) == Shard(0, 8)
    assert parse("auto", slurm(index=3, first=0, last=7, count=8)) == Shard(3, 8)
    assert parse("auto", slurm(index=6, first=0, last=14, count=8, step=2)) == Shard(3, 8)
    # Some tasks of an array run again: of how many shards they are has to be said.
    assert parse("auto/8", slurm(index=3, first=3, last=3, count=1)) == Shard(3, 8)
    assert parse("auto/8", {"JOB_COMPLETION_INDEX": "7"}) == Shard(7, 8)


@pytest.mark.parametrize(
    ("text", "environ", "said"),
    [
        ("8/8", {}, "counted from 0"),
        ("0/0", {}, "no shard 0 of 0"),
        ("-1/8", {}, "neither I/N nor auto"),
        ("1", {}, "neither I/N nor auto"),
        ("auto/x", {}, "neither I/N nor auto"),
        ("auto", {}, "no task of a job array"),
        ("auto", {"JOB_COMPLETION_INDEX": "0"}, "auto/8"),
        ("auto/8", {"JOB_COMPLETION_INDEX": "8"}, "no shard 8 of 8"),
        # Counted from 1, with gaps, or a part of an array: not to be guessed.
        ("auto", slurm(index=1, first=1, last=8, count=8), "Count the tasks from 0"),
        ("auto", slurm(index=3, first=3, last=3, count=1), "auto/8"),
        ("auto", slurm(index=5, first=0, last=9, count=3), "auto/8"),
        ("auto", {f"{SLURM}ID": "3"}, "auto/8"),
    ],
)
def test_what_names_no_shard_is_refused(text: str, environ: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(text, environ)
    assert said in str(error.value)
