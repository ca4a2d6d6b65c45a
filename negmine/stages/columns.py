"""``--column`` and ``--ignore``: one grammar for every stage that reads users' files.

``[INPUT.]TARGET=SOURCE`` reads a field from a column, ``[INPUT.]COLUMN`` says that a column does
not matter; INPUT is corpus, pairs, queries, qrels, ... Without it a target belongs to every input
of the stage that has such a field (of pairs beside a corpus only where the corpus has none), and a
column to every input that has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from negmine import log
from negmine.errors import UsageError, did_you_mean
from negmine.table.readers import Columns, sets
from negmine.table.readers.kinds import KINDS, PAIRS

#: Inputs that a column is named for with their prefix alone where another input has the field.
_SECOND = ("pairs",)


@dataclass(frozen=True)
class Asked:
    """What a user said about the columns of a stage's inputs.

    Attributes:
        inputs: the columns of each input by its kind, each with its account.
        anywhere: columns ignored wherever they are.
    """

    inputs: Mapping[str, Columns]
    anywhere: frozenset[str]

    def of(self, kind: str) -> Columns:
        """What concerns one input."""
        return self.inputs[kind]

    def check(self) -> None:
        """Once all inputs are read: refuse a column to ignore that none of them has.

        Raises:
            UsageError: the name, and the nearest that there is.
        """
        seen = {kind: columns.account.columns() for kind, columns in self.inputs.items()}
        everywhere = sorted(set().union(*seen.values()))
        for name in sorted(self.anywhere):
            _known(name, name, everywhere)
        for kind, columns in self.inputs.items():
            for name in sorted(columns.ignored - self.anywhere):
                _known(f"{kind}.{name}", name, sorted(seen[kind]))

    def tell(self) -> None:
        """Say on stderr which columns were read of every input, and which were not."""
        for kind, columns in self.inputs.items():
            for line in columns.account.lines():
                log.event(f"{kind}: {line}")

    def record(self) -> dict[str, Any]:
        """The same for the manifest."""
        records = {kind: columns.account.record() for kind, columns in self.inputs.items()}
        return {kind: record for kind, record in records.items() if record}


def asked(column: Iterable[str], ignore: Iterable[str], kinds: Sequence[str]) -> Asked:
    """Parse the two options for a stage.

    Args:
        column: entries of ``--column``.
        ignore: entries of ``--ignore``.
        kinds: the inputs that are given, such as ``("corpus", "pairs")``.

    Raises:
        UsageError: an entry that is no ``TARGET=SOURCE``, an unknown input or field, a field given
            twice, or a column that is both named and ignored.
    """
    named: dict[str, dict[str, str]] = {kind: {} for kind in kinds}
    for entry in column:
        target, separator, source = entry.partition("=")
        if not separator or not target or not source:
            raise UsageError(
                f"--column {entry!r} is not TARGET=SOURCE", hint="For example: --column text=body"
            )
        owners, field = _owners(target, kinds)
        for kind in owners:
            if field in named[kind]:
                raise UsageError(f"--column names the target '{target}' twice")
            named[kind][field] = source
    ignored: dict[str, set[str]] = {kind: set() for kind in kinds}
    anywhere = set()
    for entry in ignore:
        kind, dot, name = entry.partition(".")
        if dot and kind in KINDS:
            _given(kind, kinds, "--ignore")
            ignored[kind].add(name)
        else:
            anywhere.add(entry)
    for kind, columns in named.items():
        both = sorted((ignored[kind] | anywhere) & set(columns.values()))
        if both:
            raise UsageError(f"column '{both[0]}' of {kind} is both named and ignored")
    inputs = {kind: Columns(named[kind], frozenset(ignored[kind] | anywhere)) for kind in kinds}
    return Asked(inputs, frozenset(anywhere))


def _owners(target: str, kinds: Sequence[str]) -> tuple[list[str], str]:
    """The inputs that a target belongs to, and its name without a prefix."""
    prefix, dot, field = target.partition(".")
    if dot:
        _given(prefix, kinds, "--column")
        _fields([prefix], field)
        return [prefix], field
    having = [kind for kind in kinds if target in _names(kind)]
    first = [kind for kind in having if kind not in _SECOND]
    _fields(kinds, target)
    return first or having, target


def _given(kind: str, kinds: Sequence[str], option: str) -> None:
    if kind not in kinds:
        raise UsageError(f"{option}: unknown input '{kind}'", hint=did_you_mean(kind, kinds))


def _fields(kinds: Sequence[str], field: str) -> None:
    known = list(dict.fromkeys(name for kind in kinds for name in _names(kind)))
    if field not in known:
        raise UsageError(
            f"--column: unknown field '{field}' of {' and '.join(kinds)}",
            hint=did_you_mean(field, known),
        )


def _names(kind: str) -> list[str]:
    return sets.fields() if kind == PAIRS.name else [t.name for t in KINDS[kind].targets]


def _known(entry: str, name: str, known: list[str]) -> None:
    if name not in known:
        raise UsageError(
            f"--ignore {entry}: no input has this column", hint=did_you_mean(name, known)
        )
