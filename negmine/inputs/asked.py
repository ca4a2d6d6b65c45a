"""``--column`` and ``--ignore``: one grammar for every stage that reads users' files.

``[INPUT.]TARGET=SOURCE`` reads a field from a column, ``[INPUT.]COLUMN`` says that a column does
not matter; INPUT is corpus, pairs, queries, qrels, run (every one) or a run's name. Without it a
target belongs to every input of the stage that has such a field (of pairs beside a corpus only
where the corpus has none, of runs only where nothing else has), and a column to every input that
has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from negmine import log
from negmine.errors import UsageError, did_you_mean
from negmine.inputs import Columns, sets
from negmine.inputs.kinds import KINDS, PAIRS

#: Inputs that a column is named for with their prefix alone where one before them has the field.
_LATER = ("pairs", "run")
_RUN = "run "


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

    def of_run(self, name: str) -> Columns:
        """What concerns one run."""
        return self.inputs[_RUN + name]

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

    def settle(self, some: Iterable[str], *, last: bool) -> None:
        """Tell of these inputs, which are read, and check where they are the last.

        Args:
            some: kinds of inputs, or names of runs.
            last: whether every other input is read, too.

        Raises:
            UsageError: see :meth:`check`.
        """
        self.tell(kind if kind in self.inputs else _RUN + kind for kind in some)
        if last:
            self.check()

    def tell(self, kinds: Iterable[str] | None = None) -> None:
        """Say on stderr which columns were read of every input (or of some), and which were not."""
        for kind in self.inputs if kinds is None else kinds:
            for line in self.inputs[kind].account.lines():
                log.event(f"{kind}: {line}")

    def record(self) -> dict[str, Any]:
        """The same for the manifest."""
        records = {kind: columns.account.record() for kind, columns in self.inputs.items()}
        return {kind: record for kind, record in records.items() if record}


def asked(
    column: Iterable[str], ignore: Iterable[str], kinds: Sequence[str], runs: Iterable[str] = ()
) -> Asked:
    """Parse the two options for a stage.

    Args:
        column: entries of ``--column``.
        ignore: entries of ``--ignore``.
        kinds: the inputs that are given, such as ``("corpus", "pairs")``.
        runs: the names of the runs that are given.

    Raises:
        UsageError: an entry that is no ``TARGET=SOURCE``, an unknown input or field, a field given
            twice, or a column that is both named and ignored.
    """
    kinds = [*kinds, *(_RUN + name for name in runs)]
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
        prefix, dot, name = entry.partition(".")
        if dot and (prefix in KINDS or _RUN + prefix in kinds):
            for kind in _given(prefix, kinds, "--ignore"):
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
        owners = _given(prefix, kinds, "--column")
        _fields(owners, field)
        return owners, field
    _fields(kinds, target)
    having = [kind for kind in kinds if target in _names(kind)]
    for later in (None, *_LATER):
        owners = [kind for kind in having if _later(kind) == later]
        if owners:
            return owners, target
    return having, target


def _later(kind: str) -> str | None:
    """Which of the later inputs one is, if any."""
    first = kind.partition(" ")[0]
    return first if first in _LATER else None


def _given(prefix: str, kinds: Sequence[str], option: str) -> list[str]:
    """The inputs that a prefix means."""
    runs = [kind for kind in kinds if kind.startswith(_RUN)]
    if prefix in kinds:
        return [prefix]
    if prefix == _RUN.strip() and runs:
        return runs
    if _RUN + prefix in runs:
        return [_RUN + prefix]
    known = [kind.removeprefix(_RUN) for kind in kinds] + ["run"] * bool(runs)
    raise UsageError(f"{option}: unknown input '{prefix}'", hint=did_you_mean(prefix, known))


def _fields(kinds: Sequence[str], field: str) -> None:
    known = list(dict.fromkeys(name for kind in kinds for name in _names(kind)))
    if field not in known:
        raise UsageError(
            f"--column: unknown field '{field}' of {' and '.join(kinds)}",
            hint=did_you_mean(field, known),
        )


def _names(kind: str) -> list[str]:
    if kind == PAIRS.name:
        return sets.fields()
    return [target.name for target in KINDS[kind.partition(" ")[0]].targets]


def _known(entry: str, name: str, known: list[str]) -> None:
    if name not in known:
        raise UsageError(
            f"--ignore {entry}: no input has this column", hint=did_you_mean(name, known)
        )
