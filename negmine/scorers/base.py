"""What every scorer gives: a score for each pair, and further columns where it says more."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from negmine.errors import InvalidDataError
from negmine.models.checkpoint import Checkpoint
from negmine.models.devices import Placement


@dataclass(frozen=True)
class Scores:
    """What a scorer says of n pairs.

    Attributes:
        score: float32 [n].
        columns: each further column that the scorer declares, of its type [n]; null is "not known".
        known: True where the scorer gives a score, bool [n]; None = everywhere. What it saw and
            gave none has no score in the table either, and no rule takes it for a low one.
    """

    score: np.ndarray
    columns: Mapping[str, pa.Array] = field(default_factory=dict)
    known: np.ndarray | None = None

    def column(self) -> pa.Array:
        """The scores as a column, null where there is none."""
        missing = None if self.known is None else ~self.known
        return pa.array(self.score.astype(np.float32, copy=False), mask=missing)


class Scorer(Protocol):
    """One scoring model.

    It may be able to do more: give further columns (:class:`HasColumns`), go on where it was
    interrupted (:class:`GoesOn`), tell where it runs (:class:`HasPlacement`), or what its model
    reads (:class:`negmine.scorers.rows.HasRows`).
    """

    def score(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: np.ndarray,
        progress: Callable[[int], None] | None = None,
    ) -> np.ndarray | Scores:
        """Score of each (query index, document index) pair: float32 [n] for int [n, 2]."""

    def describe(self) -> dict[str, Any]:
        """What was loaded and where it runs, for the manifest."""


@runtime_checkable
class HasColumns(Protocol):
    """A scorer with more to say than a score; its :meth:`Scorer.score` gives :class:`Scores`."""

    @property
    def columns(self) -> Mapping[str, pa.DataType]:
        """The further columns, and their types: of a scorer NAME they become ``COLUMN_NAME``."""


@runtime_checkable
class HasSpent(Protocol):
    """A scorer or source that may spend something, which hangs on what was there before."""

    def spent(self) -> dict[str, Any]:
        """What this run spent, for its facts in the manifest; nothing where nobody was asked."""


def spent_by(those: Mapping[str, object]) -> dict[str, dict[str, Any]]:
    """What this run spent, by those of the scorers or sources that spend something."""
    every = {name: one.spent() for name, one in those.items() if isinstance(one, HasSpent)}
    return {name: spent for name, spent in every.items() if spent}


@runtime_checkable
class HasPlacement(Protocol):
    """A scorer that tells where it runs; other packages' need not."""

    @property
    def placement(self) -> Placement:
        """Its device and number format."""


@runtime_checkable
class GoesOn(Protocol):
    """A scorer that goes on where an interrupted run stopped; other packages' need not."""

    def score_on(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: np.ndarray,
        progress: Callable[[int], None] | None,
        checkpoint: Checkpoint,
    ) -> np.ndarray | Scores:
        """As :meth:`Scorer.score`, without making again what ``checkpoint`` has."""


@dataclass(frozen=True)
class Prompts:
    """Texts put before queries and documents; None leaves the choice to the model."""

    query: str | None = None
    document: str | None = None


_COLUMN = re.compile(r"[a-z][a-z0-9_]{0,31}")
#: What columns of the table begin with already, and mean.
_TAKEN = frozenset({"score", "rank", "meta", "like", "dropped"})
#: What a table can hold of a pair.
_HELD = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_string)


def columns_of(scorer: Scorer, name: str) -> dict[str, pa.DataType]:
    """The further columns that the scorer ``name`` declares.

    Raises:
        InvalidDataError: one has a name or a type that no table can hold.
    """
    declared = dict(scorer.columns) if isinstance(scorer, HasColumns) else {}
    for column, kind in declared.items():
        if not _COLUMN.fullmatch(column) or column.split("_")[0] in _TAKEN:
            raise InvalidDataError(
                f"the scorer '{name}' declares a column '{column}'",
                hint="Its name must be small letters, digits and underscores, and not begin with "
                f"{', '.join(sorted(_TAKEN))}.",
            )
        if not any(is_held(kind) for is_held in _HELD):
            raise InvalidDataError(
                f"the scorer '{name}' declares '{column}' as {kind}",
                hint="A column holds booleans, whole numbers, floating-point numbers or strings.",
            )
    return declared


def checked(found: np.ndarray | Scores, name: str, columns: Mapping[str, pa.DataType]) -> Scores:
    """What a scorer gave, if it is what it declares.

    Raises:
        InvalidDataError: there is another column, one is missing, or of another type or length.
    """
    scores = found if isinstance(found, Scores) else Scores(found)
    if scores.known is not None and scores.known.shape != scores.score.shape:
        raise InvalidDataError(
            f"the scorer '{name}' tells of {len(scores.known)} pairs whether they have a score, "
            f"and scores {len(scores.score)}"
        )
    given = {column: values.type for column, values in scores.columns.items()}
    if given != dict(columns):
        raise InvalidDataError(
            f"the scorer '{name}' gives the columns {_told(given)}, and declares {_told(columns)}"
        )
    for column, values in scores.columns.items():
        if len(values) != len(scores.score):
            raise InvalidDataError(
                f"the scorer '{name}' gives {len(values)} values of '{column}' for "
                f"{len(scores.score)} pairs"
            )
    return scores


def _told(columns: Mapping[str, pa.DataType]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in columns.items()) or "none"
