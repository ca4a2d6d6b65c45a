"""Whom a run asks, whatever it writes: examined first, foreseen in a batch, told afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from negmine.errors import AwaitedError
from negmine.scorers import Scorer
from negmine.scorers.base import spent_by
from negmine.stages import examination
from negmine.stages.write import verifying
from negmine.stages.write.cases import Group
from negmine.stages.write.setup import Setup
from negmine.table.artifacts.state import State


def examined(setup: Setup, state: State) -> tuple[dict[str, Scorer], dict[str, Any]]:
    """The scorers, and what was found out about the judges among them before anything is written.

    Args:
        setup: what is asked.
        state: of the result: where nothing will be written, nobody is asked.

    Raises:
        NegmineError: a judge is no better than chance.
    """
    verifier = setup.verifying
    scorers = {} if state.kind in ("made", "refused") else verifier.load()
    found = examination.examine(
        scorers,
        lambda _: verifying.sample(setup.groups(), setup.documents, setup.params.examine),
        verifier.params,
    )
    return scorers, dict(found)


def who(
    setup: Setup, scorers: Mapping[str, Scorer], examined: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Who wrote and who verified: the same however often a run was interrupted."""
    writing = setup.writing
    told = {} if writing is None else {"writer": writing.client.who()}
    return {**told, **({"scorers": examination.described(scorers, examined)} if scorers else {})}


def spent(setup: Setup, scorers: Mapping[str, Scorer]) -> dict[str, Any]:
    """What asking servers took in this run, by model."""
    writing = setup.writing
    found = {} if writing is None else {writing.name: writing.client.spent()}
    found |= spent_by(scorers)
    return {"spent": found} if found else {}


def foresee(setup: Setup, make: Callable[[Group], object]) -> None:
    """Have a batch hold what all groups ask, not what the first one does.

    Raises:
        AwaitedError: answers are missing.
    """
    awaited: AwaitedError | None = None
    for group in setup.groups():
        try:
            make(group)
        except AwaitedError as error:
            awaited = error
    if awaited is not None:
        raise awaited


def calls_in_words(counts: Mapping[str, Any]) -> list[str]:
    """The warnings about calls that brought no text, or not all of it, if there are any."""
    told = []
    if failed := counts.get("calls_without_text"):
        told.append(
            f"{failed} calls brought no text: cut off (--answer-tokens), a refusal, or no JSON"
        )
    if cut := counts.get("calls_cut_off"):
        told.append(f"{cut} calls were cut off (--answer-tokens): the texts before that are taken")
    return told
