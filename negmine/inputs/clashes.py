"""One id with two texts: refused with both places, or skipped, counted and listed."""

from __future__ import annotations

from collections.abc import Sequence

from negmine.errors import InvalidDataError
from negmine.inputs import Columns, Problems, Specs
from negmine.inputs.problems import MAX_EXAMPLES
from negmine.inputs.repeats import places
from negmine.inputs.specs import shown

_WORDS = {"corpus": "document", "pairs": "document", "queries": "query"}


class Clashes:
    """Records of an input whose id an earlier one has with another text.

    Args:
        role: the input: corpus or queries, or pairs that bring the documents' ids along.
        specs: what the user named.
        columns: what the user said of its columns.
        problems: what becomes of bad records.
    """

    def __init__(self, role: str, specs: Specs, columns: Columns, problems: Problems) -> None:
        self._role, self._specs, self._columns = role, specs, columns
        self._problems = problems
        self._ids: list[str] = []
        #: How many there are.
        self.count = 0

    def found(self, ids: Sequence[str]) -> None:
        """Note such records, or refuse the first of them.

        Raises:
            InvalidDataError: bad records are not skipped.
        """
        if self._problems.mode == "fail":
            where = self._where(ids[:1])[ids[0]]
            raise InvalidDataError(
                self._what(ids[0]),
                where=where,
                hint="Ids must be unique: rename one, drop one of the two, or keep the first with "
                "--on-error skip.",
            )
        self.count += len(ids)
        room = MAX_EXAMPLES - len(self._ids)
        self._ids += list(dict.fromkeys(ids[: 4 * MAX_EXAMPLES]))[:room]

    def report(self) -> None:
        """Once the input is read: count them as bad records, and list some with their places."""
        if not self.count:
            return
        where = self._where(self._ids)
        for one in self._ids:
            self._problems.report(where[one], f"{self._what(one)}: only the first is kept")
        self._problems.count += self.count - len(self._ids)

    def _what(self, one: str) -> str:
        return f"{_WORDS[self._role]} id {one!r} appears twice with different texts"

    def _where(self, ids: Sequence[str]) -> dict[str, str]:
        if self._role == "pairs":
            return dict.fromkeys(ids, shown(self._specs))
        found = places(self._role, self._specs, self._columns, ids)
        return {one: " and ".join(at) or shown(self._specs) for one, at in found.items()}
