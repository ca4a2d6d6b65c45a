"""A text that was written, before it is known whether it stays."""

from __future__ import annotations

from dataclasses import dataclass

from negmine.stages.write.cases import Case
from negmine.table.documents import joined


@dataclass(frozen=True)
class Draft:
    """A written document.

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
