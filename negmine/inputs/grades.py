"""What a user says that labels and grades mean: ``--grade VALUE=GRADE``.

A word (``E``, ``neutral``) or a number (``0`` where it is the positive) stands for a grade, or for
none: what is labelled so is left out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from negmine.errors import UsageError
from negmine.inputs.chunks import Chunk
from negmine.inputs.columns import shell_word, short
from negmine.inputs.label_words import folded

#: What is read in place of a label whose documents are left out.
LEFT_OUT: Any = object()
_NONE = "none"
#: The field of a judgement.
_GRADE = "grade"


@dataclass(frozen=True, eq=False)
class Grades:
    """What labels mean, as a user says.

    Attributes:
        meant: the grade of each label as :func:`_folded` writes it; None leaves it out.
        written: each label as the user wrote it.
        every: of any other word, in place of refusing it; None refuses.
        seen: how often each label was met.
    """

    meant: Mapping[str, float | None] = field(default_factory=dict)
    written: Mapping[str, str] = field(default_factory=dict)
    every: float | None = None
    seen: Counter[str] = field(default_factory=Counter)

    def __bool__(self) -> bool:
        return bool(self.meant) or self.every is not None

    def of(self, value: Any) -> Any:
        """The grade of a label, :data:`LEFT_OUT`, or the label itself where nothing is said."""
        told = _folded(value)
        if told in self.meant:
            self.seen[told] += 1
            grade = self.meant[told]
            return LEFT_OUT if grade is None else grade
        word = self.every is not None and any(map(str.isalpha, told))
        return self.every if word else value

    def apply(self, chunk: Chunk) -> Chunk:
        """Records with a grade each, without those that are left out."""
        if _GRADE not in chunk.columns:
            return chunk
        grades = chunk.columns[_GRADE]
        grades = grades.to_pylist() if isinstance(grades, pa.Array) else grades
        read = [self.of(value) for value in grades]
        kept = [at for at, value in enumerate(read) if value is not LEFT_OUT]
        columns = {
            name: values.take(pa.array(kept, pa.int64()))
            if isinstance(values, pa.Array)
            else [values[at] for at in kept]
            for name, values in {**chunk.columns, _GRADE: read}.items()
        }
        return replace(chunk, columns=columns, lines=[chunk.lines[at] for at in kept])

    def lines(self) -> list[str]:
        """What was read as what, for people; once everything is read.

        Raises:
            UsageError: none of the labels was met.
        """
        if self.meant and not self.seen:
            named = ", ".join(f"'{short(label)}'" for label in self.written.values())
            raise UsageError(
                f"--grade: no label or grade of the input is {named}",
                hint="It is for labels and grades of --pairs and --qrels, which --column label=... "
                "(of pairs) or grade=... (of qrels) names where they are not found.",
            )
        return [self._line(told, written) for told, written in self.written.items()]

    def _line(self, told: str, written: str) -> str:
        count, grade = self.seen[told], self.meant[told]
        read = "left out" if grade is None else f"read as {grade:g}"
        met = f"{count:,} labels" if count else "no label (check how it is written)"
        return f"--grade: '{short(written)}' is {read}: {met}"


def parse(entries: Iterable[str]) -> Grades:
    """``("E=1", "neutral=none")`` as what these labels mean.

    Raises:
        UsageError: an entry of another form, or a label given twice.
    """
    meant: dict[str, float | None] = {}
    written: dict[str, str] = {}
    for entry in entries:
        label, equals, grade = entry.rpartition("=")
        number = _number(grade)
        if not (equals and label.strip()) or (number is None and grade.strip().lower() != _NONE):
            raise UsageError(
                f"--grade {entry!r} is not VALUE=GRADE",
                hint="For example: --grade E=1 --grade I=0 --grade C=none",
            )
        told = _folded(label)
        if told in meant:
            raise UsageError(f"--grade names '{label}' twice", hint="Name it once.")
        meant[told], written[told] = number, label
    return Grades(meant, written)


def hint(word: str) -> str:
    """How a label that is a word which nobody told is mended."""
    one, zero, none = (shell_word(f"{word.strip()}={grade}") for grade in ("1", "0", _NONE))
    return (
        f"Say what it means: --grade {one} (a positive), --grade {zero} (judged not relevant) or "
        f"--grade {none} (left out); so of every such word. Known without it are true, yes, "
        "relevant, positive, duplicate, equivalent, entailment (1) and false, no, irrelevant, "
        "negative, not_duplicate, contradiction and the like (0)."
    )


def _folded(value: Any) -> str:
    """A label without what does not tell it from others: case, ``_`` and ``-``, ``1`` and 1.0."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, int | float | str):
        return ""
    number = _number(value)
    if number is not None:
        return f"{number}"
    if not isinstance(value, str):
        return ""
    return folded(value)


def _number(value: float | str) -> float | None:
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
