"""Rounds: a model in training mines anew, in a folder beside what the round before has made.

Round 1 is the work folder itself, round N the folder ``round-N`` in it. What another checkpoint
does not change (documents, BM25, signatures, the vectors of other encoders) the index of a round
names where the round before has it (``index --base``), and what the round before has chosen may be
a source (``previous``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from negmine.addresses import shown
from negmine.errors import MissingInputError, UsageError, did_you_mean
from negmine.inputs.columns import shell_word
from negmine.params import Params
from negmine.params.index import IndexParams
from negmine.params.retrieve import RetrieveParams
from negmine.params.values import named
from negmine.sources.previous import SCHEME
from negmine.stages.stage import STAGES, Step, apart, with_tag
from negmine.table.artifacts import is_finished

_EMPTY = f"{SCHEME}:"


@dataclass(frozen=True)
class Round:
    """One round of a recipe.

    Attributes:
        number: 1, 2, ...
        work: the work folder of all of them.
        command: how round 1 is made, for messages.
        tag: of the ledger and of what is exported.
    """

    number: int
    work: Path
    command: str
    tag: str | None = None

    @property
    def folder(self) -> Path:
        """Where its artifacts go."""
        return self.work if self.number == 1 else self.work / f"round-{self.number}"

    @property
    def before(self) -> Round:
        """The round before it."""
        return replace(self, number=self.number - 1)

    @property
    def told(self) -> str:
        """The command that makes it."""
        later = f" --round {self.number} --encoder NAME=CHECKPOINT" if self.number > 1 else ""
        return f"{self.command}{later}"

    def following(self, steps: Sequence[Step]) -> list[str]:
        """What comes after it, where the recipe goes on or a round was asked for."""
        by_stage = {step.stage: step for step in steps}
        lines = []
        if self.number > 1:
            ledger = by_stage["filter"].out
            page = ledger.parent / f"{ledger.name.replace('ledger', 'rounds')}.html"
            before, after, out = map(_word, (self.before.place("filter"), ledger, page))
            lines.append(f"negmine report {before} {after} -o {out}  # what the round changed")
        source = getattr(by_stage["retrieve"].params, "source", ())
        if self.number > 1 or any(entry.partition("=")[2].startswith(_EMPTY) for entry in source):
            again = replace(self, number=self.number + 1).told
            lines.append(f"{again}  # once the model has trained on it")
        return [f"next: {line}" for line in lines]

    def place(self, stage: str) -> Path:
        """Where a stage's artifact lies: of several ledgers the tag's, else the one without."""
        plain = self.folder / (STAGES[stage].folder or "")
        if self.tag is None or not STAGES[stage].tagged:
            return plain
        tagged = with_tag(plain, self.tag)
        return tagged if is_finished(tagged) else plain


def of_round(params: Mapping[str, Params], this: Round) -> dict[str, Params]:
    """The parameters of every stage in a round.

    Raises:
        MissingInputError: the round before is not there, or not finished.
    """
    found = dict(params)
    ledger = ""
    if this.number > 1:
        ledger = shown(str(_finished(this, "filter")))
        base = shown(str(_finished(this, "index")))
        # What stages write beside their results: an earlier round's stays.
        found = {name: apart(one, f"round-{this.number}") for name, one in found.items()}
        index = found["index"]
        assert isinstance(index, IndexParams)
        found["index"] = replace(index, base=base)
    retrieve, index = found["retrieve"], found["index"]
    assert isinstance(retrieve, RetrieveParams)
    assert isinstance(index, IndexParams)
    encoders = named(index.encoder, "--encoder")
    source = tuple(_source(entry, ledger, encoders) for entry in retrieve.source)
    if source != retrieve.source:
        found["retrieve"] = replace(retrieve, source=source)
    return found


def _finished(this: Round, stage: str) -> Path:
    """What a stage made in the round before.

    Raises:
        MissingInputError: nothing is there, or it is not finished.
    """
    path = this.before.place(stage)
    if not is_finished(path):
        raise MissingInputError(
            f"round {this.number} goes on from round {this.number - 1}, whose {path.name} is not "
            "there or not finished",
            where=str(path),
            hint=f"Make it with: {this.before.told}",
        )
    return path


def _source(entry: str, ledger: str, encoders: Mapping[str, str]) -> str:
    """An entry of ``--source`` with the ledger of the round before, where it means that."""
    if entry == SCHEME and SCHEME not in encoders:
        return f"{SCHEME}={_EMPTY}{ledger}"
    return f"{entry}{ledger}" if entry.partition("=")[2] == _EMPTY else entry


def with_encoders(params: IndexParams, given: Sequence[str], changes: Sequence[str]) -> IndexParams:
    """The index with other models for some of its encoders.

    Args:
        params: the options of ``index``.
        given: ``NAME=MODEL``, of ``run --encoder``.
        changes: what ``run --set`` says.

    Raises:
        UsageError: the recipe has no such encoder, or it is given twice.
    """
    models = dict(named(params.encoder, "--encoder"))
    for name, model in named(tuple(given), "--encoder").items():
        if name not in models:
            adds = f"--set index.encoder.{name}=MODEL adds one."
            raise UsageError(
                f"--encoder: the recipe has no encoder '{name}'",
                hint=f"{did_you_mean(name, models)} {adds}" if models else adds,
            )
        for change in changes:
            if change.partition("=")[0] in ("index.encoder", f"index.encoder.{name}"):
                raise UsageError(
                    f"--set {change!r} and --encoder {name} set the same key: give one of them"
                )
        models[name] = model
    entries: dict[str, Any] = {"encoder": tuple(f"{n}={model}" for n, model in models.items())}
    return replace(params, **entries) if given else params


def command_of(path: str, out: str | None, options: Mapping[str, Sequence[str]]) -> str:
    """How a recipe is run.

    Args:
        path: the recipe.
        out: the work folder, where it is given.
        options: the other options by name, each with its values.
    """
    words = [word for name, values in options.items() for one in values for word in (name, one)]
    words += [] if out is None else ["-o", out]
    return " ".join(["negmine", "run", *map(shell_word, [path, *words])])


def _word(path: Path) -> str:
    return shell_word(str(path))
