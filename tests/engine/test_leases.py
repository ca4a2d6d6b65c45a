"""Units are handed out once each, whatever happens to workers; what ends them is found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from negmine.engine.leases import TRIES, Leases, setups


@given(
    st.sets(st.integers(0, 400)),
    st.integers(1, 8),
    st.lists(st.integers(0, 5), max_size=60),
)
def test_every_unit_is_made_whatever_workers_do(
    units: set[int], workers: int, ends: list[int]
) -> None:
    leases = Leases(units, workers)
    made: list[int] = []
    fates = iter(ends)
    named = None
    while named is None and (lease := leases.take()) is not None:
        kept = next(fates, len(lease))
        # The worker makes so many of them, and ends, unless they are all.
        made += lease[:kept]
        if kept < len(lease):
            named = leases.lost(lease, lease[kept:])
    assert len(made) == len(set(made))
    assert set(made) <= units
    if named is None:
        assert set(made) == units
        assert len(leases) == 0
    else:
        assert leases.ended(named) >= TRIES


@given(st.sets(st.integers(0, 1000), min_size=1), st.integers(1, 8), st.data())
def test_a_unit_that_ends_every_worker_is_found(
    units: set[int], workers: int, data: st.DataObject
) -> None:
    bad = data.draw(st.sampled_from(sorted(units)))
    leases = Leases(units, workers)
    made: set[int] = set()
    ends, named = 0, None
    while (lease := leases.take()) is not None and named is None:
        if bad not in lease:
            made |= set(lease)
            continue
        ends += 1
        named = leases.lost(lease, tuple(unit for unit in lease if unit not in made))
    assert named == bad
    # It is halved out, and all others are made by then: what was given back comes last.
    assert ends <= 2 + len(units).bit_length() + 1


@pytest.mark.parametrize("workers", [1, 2, 8, 50])
@pytest.mark.parametrize("units", [1, 7, 1000, 30_000])
def test_a_stage_is_set_up_a_few_times_whatever_the_parts(workers: int, units: int) -> None:
    assert setups(workers, units) <= 12


def test_leases_get_smaller_towards_the_end() -> None:
    leases = Leases(range(100), 2)
    sizes = []
    while (lease := leases.take()) is not None:
        sizes.append(len(lease))
    assert sizes[0] == 25
    assert sizes == sorted(sizes, reverse=True)
    # Nobody waits long for the last one.
    assert sizes[-1] <= 100 // 16
