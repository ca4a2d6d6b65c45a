"""Arrays in files, as an artifact holds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from negmine.errors import InvalidDataError

#: What Python writes in a header and JSON otherwise; in this order.
_AS_JSON = {
    "'": '"', "(": "[", ")": "]", ", }": "}", ",]": "]", "True": "true", "False": "false",
}  # fmt: skip


def mapped(path: Path) -> np.ndarray:
    """The array in a ``.npy`` file, a memory map.

    Any thread may ask. NumPy's own reader compiles the header with ``ast``, for whose depth Python
    3.11 keeps one count for all threads: of two at it at once, be the other one an import, one
    ends in a SystemError (python/cpython, issue 106905).

    Raises:
        InvalidDataError: the file holds no array, or one of Python's objects.
    """
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            size = int.from_bytes(file.read(2 if version == (1, 0) else 4), "little")
            header = file.read(size).decode("latin1")
            for python, plain in _AS_JSON.items():
                header = header.replace(python, plain)
            found = json.loads(header)
            kind, shape = np.dtype(_described(found["descr"])), tuple(found["shape"])
            if kind.hasobject:
                raise ValueError("it holds objects of Python")
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidDataError(f"this is no array: {error}", where=str(path)) from None
        start = file.tell()
    if 0 in shape:
        return np.empty(shape, kind)
    order = "F" if found["fortran_order"] else "C"
    return np.memmap(path, kind, "r", start, shape, order)  # type: ignore[call-overload]


def _described(kind: Any) -> Any:
    """A type as NumPy describes it: its fields are tuples."""
    if isinstance(kind, str):
        return kind
    return [(name, _described(of), *map(tuple, shape)) for name, of, *shape in kind]
