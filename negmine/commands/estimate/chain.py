"""The cost of each stage, from the stages' own code on samples.

Every stage is tried on a little of what it would read: of the artifact before it where that is
there, else of one that the trial of the stage before it has made. Work that grows with the rows is
timed twice, and the second time counts for the rest: the first one also pays for loading models
and for Java's compiler.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from negmine.commands.estimate.cost import Cost, told
from negmine.errors import ConflictError
from negmine.table import artifacts
from negmine.table.artifacts.reading import Artifact
from negmine.table.artifacts.replace import Replace
from negmine.table.artifacts.state import State
from negmine.table.candidates import Candidates, open_candidates
from negmine.table.documents import Documents


@dataclass
class Chain:
    """What is known of the run so far.

    Attributes:
        folder: where the trials write.
        replacing: as it would be given to the stages.
        documents: how many the corpus has.
        text_bytes: of all their texts.
        given: what ``write`` reads where it stands alone.
        written: what a trial of ``write`` has written, by the folder that it stands for.
        index: the index, or the trial's.
        table: the last artifact with rows, or the trial's.
        real: whether ``table`` (before retrieval: ``index``) is the user's own.
        queries: how many are mined.
        rows: (query, document) pairs of the table.
        guesses: what the numbers so far rest on.
    """

    folder: Path
    replacing: Replace = Replace.NOTHING
    documents: int = 0
    text_bytes: int = 0
    given: Path | None = None
    written: dict[str, Path] = field(default_factory=dict)
    index: Path | None = None
    table: Path | None = None
    real: bool = False
    queries: int = 0
    rows: int = 0
    guesses: tuple[str, ...] = ()

    def corpus_of(self, table: Candidates) -> Documents:
        """The corpus that a table was made from; counts it where it is the user's own."""
        corpus = table.documents
        if self.documents == 0:
            self.documents = len(corpus)
            self.text_bytes = int(corpus.artifact.counts["text_bytes"])
        return corpus

    def trial(self, name: str) -> Path:
        """A new folder of the trials."""
        return self.folder / name


def open_table(chain: Chain, path: Path, stages: Sequence[str]) -> None:
    """Take the user's own artifact as what the chain has come to."""
    found = open_candidates(path, stages)
    chain.table, chain.real = path, True
    chain.rows = sum(found.rows(name) for name in found.parts)
    chain.queries = int(found.counts["queries"])
    chain.corpus_of(found)


# --- what the stages after the search share ---------------------------------------------------


def known_to_be_made(
    chain: Chain,
    cost: Cost,
    out: Path,
    plan: Callable[[], artifacts.Plan] | None,
    stages: Sequence[str],
    *,
    keep: bool = False,
) -> bool:
    """Find out the state of ``out``; where it is up to date, the chain goes on from there.

    Args:
        chain: what is known.
        cost: gets the state.
        out: where the result would go.
        plan: None where the input is no artifact of the user's, so that there is no plan yet.
        stages: what ``out`` may be.
        keep: whether the stage keeps what had other settings.
    """
    if plan is not None:
        state = artifacts.state_of(out, plan(), replacing=chain.replacing, keep=keep)
        cost.state, out = told(state), state.aside or out
    elif artifacts.is_begun(out) and chain.replacing is Replace.NOTHING:
        cost.state = told(State("refused", reason=would_be_remade(out)))
    if not cost.skipped:
        return False
    open_table(chain, out, stages)
    cost.documents, cost.queries, cost.rows = chain.documents, chain.queries, chain.rows
    return True


def would_be_remade(out: Path) -> str:
    """What is said of an artifact that a run would refuse to replace."""
    error = ConflictError(
        "is there, and what it is made from is not up to date",
        where=str(out),
        hint="Unless that comes out the same, add --force.",
    )
    return str(error)


def twice(
    source: Candidates, work: Callable[[int, list[str]], Artifact]
) -> tuple[Artifact, Callable[[int], float]]:
    """Do ``work`` on the first part, then on up to two others.

    Returns:
        (the last result, seconds for a number of rows).
    """
    names = source.parts
    first = source.rows(names[0])
    started = time.perf_counter()
    made = work(0, names[:1])
    cold = time.perf_counter() - started
    others = names[1:3]
    if not others:
        return made, (lambda rows: cold * max(1.0, rows / max(1, first)))
    started = time.perf_counter()
    made = work(1, others)
    pace = (time.perf_counter() - started) / max(1, sum(source.rows(name) for name in others))
    return made, lambda rows: cold + max(0, rows - first) * pace
