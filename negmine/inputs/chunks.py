"""What a format hands to the checks: some records with their places, and which column is which."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from negmine.errors import InvalidDataError, did_you_mean
from negmine.inputs.columns import Columns, shell_word, short, words_of
from negmine.inputs.kinds import RUN, Input, Target, asked_for

MISSING: Any = object()
#: Words of a name that say that a column tells records apart.
_ID_WORDS = frozenset(
    (
        *("id", "ids", "idx", "index", "key", "no", "nr", "number", "num", "uuid", "guid", "hash"),
        *("docno", "docid", "pid", "url", "uri", "link", "doi", "pmid", "code", "ref", "unnamed"),
    )
)


@dataclass(frozen=True)
class Chunk:
    """Some records: for each target its values, as Python objects or as a checked Arrow array."""

    columns: dict[str, Any]
    #: The source column of each target; the absent optional ones are left out.
    sources: dict[str, str]
    #: Where each record begins: a line number, or a row number in a Parquet file.
    lines: Sequence[int | str]
    place: str = "{path}:{line}"

    def where(self, path: str, index: int) -> str:
        """The place of one of the records, for messages."""
        return self.place.format(path=path, line=self.lines[index])


class NoColumnError(InvalidDataError):
    """A file lacks a column.

    Attributes:
        header: the columns that it has.
    """

    def __init__(self, what: str, *, where: str, hint: str, header: Sequence[str]) -> None:
        super().__init__(what, where=where, hint=hint)
        self.header = list(header)


def resolve(
    kind: Input, path: str, header: Sequence[str], columns: Columns, hint: str = ""
) -> dict[str, str]:
    """The source column of each target; a required or asked-for one that is absent is an error."""
    sources: dict[str, str] = {}
    shown = [short(name) for name in header]
    # What is named for one field, or not wanted, is no other's.
    free = [n for n in header if n not in columns.ignored and n not in columns.named.values()]
    for target in kind.targets:
        wanted = columns.get(target.name)
        if wanted is not None and wanted not in header:
            raise NoColumnError(
                f"no column '{wanted}' (asked for as '{target.name}')",
                where=path,
                hint=did_you_mean(wanted, shown) + hint,
                header=header,
            )
        found = wanted or find_column(target, free)
        if found is None:
            if target.optional:
                continue
            if target.made and not any(map(_may_be_id, free)) and _has_texts(kind, free, columns):
                columns.account.note(f"{path}: no column of ids, so ids are made from the contents")
                continue
            if target.kind == "kept":
                raise NoColumnError(
                    f"no column '{target.aliases[0]}' to keep",
                    where=path,
                    hint=f"Columns of the file: {', '.join(shown) or '(none)'}.{hint}",
                    header=header,
                )
            raise NoColumnError(
                f"no column for '{target.name}': none of {', '.join(target.aliases)}",
                where=path,
                hint=f"Columns of the file: {', '.join(shown) or '(none)'}. "
                f"Name the right one with --column {_near(kind, target, header)}"
                f"{_otherwise(kind, target, free)}.{hint}",
                header=header,
            )
        if list(header).count(found) > 1:
            raise InvalidDataError(f"column '{found}' occurs more than once", where=path)
        sources[target.name] = found
    if kind is RUN and not {"score", "rank"} & set(sources):
        raise NoColumnError(
            "no column orders a query's documents: no 'score' and no 'rank'",
            where=path,
            hint=f"Columns of the file: {', '.join(shown) or '(none)'}. Name one with --column "
            "run.score=COLUMN (higher is better; add --distance NAME where lower is) or --column "
            f"run.rank=COLUMN.{hint}",
            header=header,
        )
    return sources


def _may_be_id(name: str) -> bool:
    """Whether a column may tell records apart, by its name; also one that has no real name."""
    words = words_of(name)
    return not any(map(str.isalpha, words)) or bool(words & _ID_WORDS)


def _has_texts(kind: Input, free: Sequence[str], columns: Columns) -> bool:
    """Whether all columns are there that a record's contents are made of."""
    needed = [target for target in kind.targets if not target.made and not target.optional]
    return all(target.name in columns or find_column(target, free) for target in needed)


def _otherwise(kind: Input, target: Target, free: Sequence[str]) -> str:
    """What to do where no column is one of ids."""
    ids = [name for name in free if _may_be_id(name)]
    if not target.made or not ids:
        return ""
    ignored = " ".join(f"--ignore {kind.name}.{short(name)}" for name in ids)
    return f", or have ids made from the contents with {ignored}"


def find_column(target: Target, header: Sequence[str]) -> str | None:
    """The column under one of a target's names: as it is written, or but for case and hyphens."""
    for name in target.aliases:
        if name in header:
            return name
    folded: dict[str, list[str]] = {}
    for name in header:
        folded.setdefault(_folded(name), []).append(name)
    if target.kind == "kept":
        return None
    near = [name for alias in target.aliases for name in folded.get(_folded(alias), ())]
    return near[0] if near else None


def _folded(name: str) -> str:
    return name.strip().casefold().replace("-", "_").replace(" ", "_")


def _near(kind: Input, target: Target, header: Sequence[str]) -> str:
    """``TARGET=COLUMN`` with the column that looks like one of the names a target is known by."""
    known = (*target.aliases, "context") if target.name == "positive" else target.aliases
    field = asked_for(kind, target.name)
    # What belongs to another field is not this one, however near its name.
    others = {_folded(name) for other in kind.targets if other != target for name in other.aliases}
    header = [name for name in header if _folded(name) not in others - set(target.aliases)]
    # Short answers stand beside the passages that hold them.
    for name in sorted(header, key=lambda name: "answer" in name.lower()):
        if difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.75):
            return shell_word(f"{field}={short(name)}")
    return f"{field}=COLUMN"
