"""What those who score parts tell those who collect them: which models they have loaded.

What a manifest says of a model is known where it is loaded, and may be another thing elsewhere: it
runs on a GPU there. So who collects loads none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from negmine.scorers import Scorer
from negmine.scorers.base import columns_of
from negmine.table.artifacts.writing import Writer

#: No name of a scorer has a dot.
_CHOSEN = "scorers.told"


@dataclass(frozen=True)
class Told:
    """A scorer that somebody else has loaded.

    Attributes:
        said: what its manifest says of it.
        columns: its further columns.
    """

    said: Mapping[str, Any]
    columns: Mapping[str, pa.DataType]

    def describe(self) -> dict[str, Any]:
        """As it was said."""
        return dict(self.said)

    def score(self, *_: object) -> np.ndarray:
        """Nothing is left to score."""
        raise AssertionError


def tell(
    scorers: Mapping[str, Scorer], examined: Mapping[str, Mapping[str, Any]], writer: Writer
) -> None:
    """Say which scorers score here, and how they did in their examinations."""
    said = {
        name: {
            "described": one.describe(),
            "columns": {column: str(kind) for column, kind in columns_of(one, name).items()},
            "examined": examined.get(name),
        }
        for name, one in scorers.items()
    }
    writer.choose(_CHOSEN, said)


def collected(
    writer: Writer,
) -> tuple[list[dict[str, Scorer]], dict[str, dict[str, Any]]]:
    """(the scorers, their examinations) as the first one told; nothing where nobody has."""
    said = writer.chosen(_CHOSEN)
    if said is None:
        return [], {}
    scorers: dict[str, Scorer] = {}
    for name, one in said.items():
        columns = {column: pa.type_for_alias(kind) for column, kind in one["columns"].items()}
        scorers[name] = Told(one["described"], columns)
    examined = {name: one["examined"] for name, one in said.items() if one["examined"]}
    return [scorers], examined
