"""What was learned from a table, or from a part of it, as JSON: for other processes to read."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from negmine.learning.calibration import Bound, Positives
from negmine.learning.fit import Fit
from negmine.learning.passes import Seen
from negmine.learning.prior import Among, Prior, Weights
from negmine.learning.relevance import Linear, Relevance
from negmine.learning.selection import Pool
from negmine.sampling.samplers import ReuseCut

#: Raised when anything here, or in a class that is told, changes: what another version told is
#: nothing to this one.
FORMAT = 2
_FITS = (Fit, Bound, Relevance, Linear, Prior, Weights, Among, ReuseCut)
_SUMMARIES = (Seen, Positives, Pool)
_KINDS: dict[str, Any] = {kind.__name__: kind for kind in (*_FITS, *_SUMMARIES)}
_KIND, _ARRAY, _STRINGS, _TUPLE = "kind", "array", "strings", "tuple"


def told(value: Any) -> Any:
    """A :class:`~negmine.learning.fit.Fit`, or a part's summary, as JSON that loses nothing.

    Args:
        value: one of these, or what is in them: numbers, texts, mappings of names, lists, tuples,
            arrays, Arrow's of strings.
    """
    if is_dataclass(value) and not isinstance(value, type):
        held = {field.name: told(getattr(value, field.name)) for field in fields(value)}
        return {_KIND: type(value).__name__, "of": held}
    if isinstance(value, np.ndarray):
        file = io.BytesIO()
        np.save(file, value, allow_pickle=False)
        return {_KIND: _ARRAY, "of": base64.b64encode(file.getvalue()).decode("ascii")}
    if isinstance(value, pa.Array):
        return {_KIND: _STRINGS, "of": value.to_pylist()}
    if isinstance(value, tuple):
        return {_KIND: _TUPLE, "of": [told(one) for one in value]}
    if isinstance(value, Mapping):
        return {_KIND: "", "of": {name: told(one) for name, one in value.items()}}
    if isinstance(value, list):
        return [told(one) for one in value]
    return value.item() if isinstance(value, np.generic) else value


def read(value: Any) -> Any:
    """What :func:`told` was given."""
    if isinstance(value, list):
        return [read(one) for one in value]
    if not isinstance(value, dict):
        return value
    kind, held = value[_KIND], value["of"]
    if kind == _ARRAY:
        return np.load(io.BytesIO(base64.b64decode(held)), allow_pickle=False)
    if kind == _STRINGS:
        return pa.array(held, pa.string())
    if kind == _TUPLE:
        return tuple(read(one) for one in held)
    found = {name: read(one) for name, one in held.items()}
    return _KINDS[kind](**found) if kind else found
