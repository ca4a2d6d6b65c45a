"""What is learned is told as JSON and read again, bit for bit."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from negmine.learning import stored
from negmine.learning.calibration import Bound
from negmine.learning.fit import Fit
from negmine.learning.prior import Among, Prior, Weights
from negmine.learning.relevance import Linear, Relevance
from negmine.sampling.samplers import ReuseCut

NUMBERS = st.floats(width=64)
ARRAYS = arrays.arrays(
    st.sampled_from([np.float32, np.float64, np.uint64, np.int32]), st.integers(0, 5)
)
LINEAR = st.builds(Linear, ARRAYS, ARRAYS, ARRAYS, NUMBERS)
FACTS = st.dictionaries(st.text(), st.one_of(NUMBERS, st.integers(), st.text(), st.none()))
NAMES = st.lists(st.text(), max_size=2).map(tuple)
MODELS = st.lists(LINEAR, max_size=2).map(tuple)
WEIGHTS = st.builds(
    Weights,
    st.dictionaries(st.text(), ARRAYS, max_size=2),
    st.dictionaries(st.text(), NUMBERS, max_size=2),
    NUMBERS,
    st.text(),
    st.lists(st.text(), max_size=2).map(tuple),
)
FITS = st.builds(
    Fit,
    positive_scores=ARRAYS,
    margins=ARRAYS,
    bound=st.none() | st.builds(Bound, st.sampled_from(["score", "margin"]), ARRAYS, NAMES, FACTS),
    reuse=st.none() | st.builds(ReuseCut, ARRAYS, ARRAYS),
    relevance=st.none() | st.builds(Relevance, st.integers(), MODELS, st.none() | MODELS),
    prior=st.none()
    | st.builds(Prior, WEIGHTS, NUMBERS, FACTS, st.builds(Among, st.none() | st.integers())),
)


def same(one: Any, other: Any) -> bool:
    """Of one type, and bit for bit the same."""
    if type(one) is not type(other):
        return False
    if is_dataclass(one):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other or (one != one and other != other))


@given(FITS)
def test_a_fit_is_read_as_it_was_told(fit: Fit) -> None:
    assert same(stored.read(json.loads(json.dumps(stored.told(fit)))), fit)
