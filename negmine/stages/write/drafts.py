"""A text that was written, before it is known whether it stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from negmine.stages.write.cases import Case
from negmine.table.documents import joined
from negmine.table.ids import content_ids

#: What the id of a written text begins with; its content id follows.
PREFIX = "synthetic-"


@dataclass(frozen=True)
class Draft:
    """A written document, query or instruction.

    Attributes:
        case: the query that it is written for, and the positive that it was made from, if any.
        type: how it was made.
        title: its title.
        text: its text without the title.
        before: what stood in the positive where it differs; empty where it is no edit.
        after: what stands there.
        writer: who wrote it; empty where that was a rule.
    """

    case: Case
    type: str
    title: str
    text: str
    before: str = ""
    after: str = ""
    writer: str = ""

    @property
    def full(self) -> str:
        """What models read of it."""
        return joined(self.title, self.text)


def ids_of(texts: Sequence[str]) -> pa.Array:
    """Ids of written texts, string [n]: the same text has the same id everywhere."""
    found = content_ids(pa.array(texts, pa.string())).to_pylist()
    return pa.array([f"{PREFIX}{one}" for one in found], pa.string())
