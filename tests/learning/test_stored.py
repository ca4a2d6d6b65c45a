"""What is learned is told as JSON and read again, bit for bit."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from negmine.learning import stored
from negmine.learning.calibration import Bound, Positives
from negmine.learning.fit import Fit
from negmine.learning.passes import Seen
from negmine.learning.prior import Among, Prior, Weights
from negmine.learning.relevance import Linear, Relevance
from negmine.learning.selection import Pool
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

BY_NAME = st.dictionaries(st.text(), ARRAYS, max_size=2)
SEEN = st.builds(
    Seen,
    st.integers(),
    low=NUMBERS,
    high=NUMBERS,
    known=ARRAYS,
    positives=st.none() | st.builds(Positives, *[ARRAYS] * 6, depth=BY_NAME),
    above=BY_NAME,
    pool=st.none() | st.builds(Pool, *[ARRAYS] * 6),
    groups=NAMES,
)
#: What else summaries hold: of ``p_relevant``, ``p_prior``, queries and survivors.
HELD = st.tuples(st.none() | BY_NAME, st.tuples(NUMBERS, st.integers()))
TEXTS = st.lists(st.text(), max_size=3).map(lambda texts: pa.array(texts, pa.string()))


def same(one: Any, other: Any) -> bool:
    """Of one type, and bit for bit the same."""
    if type(one) is not type(other):
        return False
    if is_dataclass(one):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    if isinstance(one, pa.Array):
        return bool(one.equals(other))
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other or (one != one and other != other))


@given(st.one_of(FITS, SEEN, HELD, TEXTS, BY_NAME))
def test_a_fit_or_a_summary_is_read_as_it_was_told(found: Any) -> None:
    assert same(stored.read(json.loads(json.dumps(stored.told(found)))), found)
