"""What ``metadata:...`` says: every way of writing it, and back."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from negmine.errors import UsageError
from negmine.sources.matching import around
from negmine.sources.metadata_spec import LENGTHS, TIMES, Condition, Spec, parse
from negmine.sources.metadata_values import dates, numbers

patient = settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])
_COLUMN = st.text(st.characters(exclude_characters='"', exclude_categories=("Cs",)), min_size=1)
_SIGN = st.sampled_from(["", "=", "!=", "<", "<=", ">", ">="])
_NUMBER = st.floats(0, 1e6).map(lambda x: f"{x:.4f}")


def written(column: str) -> str:
    return f'"{column}"' if set(column) & set('&/~<>=!,"') else column


@st.composite
def conditions(draw: st.DrawFn) -> tuple[str, Condition]:
    column = draw(_COLUMN)
    kind = draw(st.sampled_from(["sign", "near", "place"]))
    if kind == "sign":
        sign = draw(_SIGN)
        return written(column) + sign, Condition((column,), sign)  # type: ignore[arg-type]
    radius = draw(_NUMBER)
    if kind == "near":
        unit = draw(st.sampled_from(["", *TIMES]))
        far = float(radius) * ({"": 1.0} | TIMES)[unit]
        made = Condition((column,), "~", far, "time" if unit else "")
        return f"{written(column)}~{radius}{unit}", made
    second = draw(_COLUMN)
    unit = draw(st.sampled_from([*LENGTHS]))
    made = Condition((column, second), "~", float(radius) * LENGTHS[unit], "length")
    return f"{written(column)},{written(second)}~{radius}{unit}", made


@patient
@given(
    st.lists(conditions(), min_size=1, max_size=4),
    st.none() | st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,6}", fullmatch=True),
    st.booleans(),
)
def test_what_is_written_is_what_is_read(
    some: list[tuple[str, Condition]], by: str | None, above: bool
) -> None:
    above = above and by is not None
    text = "&".join(written for written, _ in some)
    text += "" if by is None else f"/{by}" + ">" * above
    wanted = Spec(tuple(condition for _, condition in some), by, above)
    assert parse("x=metadata:" + text, text) == wanted


@patient
@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        spec = parse("x=metadata:" + text, text)
    except UsageError:
        return
    assert spec.conditions
    assert all(condition.columns for condition in spec.conditions)


def test_numbers() -> None:
    texts = ["7", " -1.5 ", "1e3", ".5", "1,000", "1e999", "nan", "inf", "", "7 km", None, "٣"]
    found = numbers(pa.array(texts, pa.string())).tolist()
    assert found[:4] == [7, -1.5, 1000, 0.5]
    assert all(math.isnan(value) for value in found[4:])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970", 0),
        ("1970-02", 31 * 86400),
        ("1970-01-02", 86400),
        ("19700102", 86400),
        ("1970/01/02", 86400),
        ("1970-01-01T00:00:01.5Z", 1.5),
        ("1970-01-01 01:00:00+01:00", 0),
        ("1970-01-02 00:00:00.000000000", 86400),
        ("1969-12-31T23:59:59", -1),
        ("0800-12-25", int(np.datetime64("0800-12-25", "s").astype(np.int64))),
    ],
)
def test_dates(text: str, seconds: float) -> None:
    assert dates(pa.array([text, None, text])).tolist()[0] == seconds
    assert dates(pa.array([None, text], pa.string())).tolist()[1] == seconds


@pytest.mark.parametrize("text", ["soon", "2024-13", "2024-02-30", "02/29/2024", "", "7"])
def test_what_is_no_date(text: str) -> None:
    assert math.isnan(dates(pa.array([text]))[0])


@patient
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(-20, 20)), max_size=12),
    st.integers(0, 6),
)
def test_intervals_are_apart_and_hold_what_is_near(
    pairs: list[tuple[int, int]], radius: int
) -> None:
    pairs.sort(key=lambda pair: pair[0])
    query = np.array([q for q, _ in pairs], dtype=np.int32)
    value = np.array([v for _, v in pairs], dtype=np.float64)
    rows, low, high = around(query, value, radius, 4)
    for number in range(4):
        mine = slice(rows.starts[number], rows.starts[number + 1])
        spans = list(zip(low[mine], high[mine], strict=True))
        assert all(b < c for (_, b), (c, _) in pairwise(spans))
        for x in range(-30, 31):
            near = any(q == number and abs(x - v) <= radius for q, v in pairs)
            assert near == any(a <= x <= b for a, b in spans)
