"""How well a judge judges, before anything that it says is believed.

It is asked about pairs of which the answer is known: known positives, and documents drawn from the
corpus by chance. From these follow how often it misses a positive, how often it accepts a document
at random, and how well its scores tell the two apart (the area under the ROC curve). The same pairs
are asked otherwise as well, the document before the query, or one document a call: what that
changes is what hangs on the form of the question.

Positives that nobody labelled are among documents at random about as rarely as among all documents;
those are counted as errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from negmine.errors import InvalidDataError, UsageError
from negmine.scorers.base import Scores

#: What a pair of the sample is.
POSITIVE, RANDOM, FILLER = 1, 0, -1
#: Two-sided 95%.
_Z = 1.959963984540054


@dataclass(frozen=True)
class Sample:
    """Pairs of which the answer is known.

    Attributes:
        queries: texts.
        documents: texts.
        pairs: (query index, document index), those of a query side by side, int [n, 2].
        role: :data:`POSITIVE`, :data:`RANDOM`, or :data:`FILLER` (only there to be in the same
            call), int [n].
    """

    queries: Sequence[str]
    documents: Sequence[str]
    pairs: np.ndarray
    role: np.ndarray

    @property
    def positives(self) -> int:
        """How many known positives it has."""
        return int((self.role == POSITIVE).sum())

    @property
    def randoms(self) -> int:
        """How many documents at random."""
        return int((self.role == RANDOM).sum())


#: What is said of the pairs of a sample.
Ask = Callable[[Sample], Scores]


class Examined(Protocol):
    """A judge that can be asked in more than one way."""

    def ask(self, sample: Sample) -> Scores:
        """What it says, asked as it will be."""

    def otherwise(self) -> Mapping[str, Ask]:
        """Other ways to ask the same, by their names."""


@dataclass(frozen=True)
class Interval:
    """A value with its 95% interval."""

    value: float
    low: float
    high: float

    def record(self) -> list[float]:
        """For manifests."""
        return [round(float(number), 4) for number in (self.value, self.low, self.high)]

    def words(self, percent: bool = False) -> str:
        """For people."""
        if percent:
            return f"{self.value:.0%} ({self.low:.0%} to {self.high:.0%})"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def wilson(hits: int, total: int) -> Interval | None:
    """A share with Wilson's score interval (JASA 22, 1927); None of nothing."""
    if total == 0:
        return None
    share = hits / total
    shrunk = 1 + _Z**2 / total
    centre = (share + _Z**2 / (2 * total)) / shrunk
    half = _Z / shrunk * (share * (1 - share) / total + _Z**2 / (4 * total**2)) ** 0.5
    # Rounding must not leave the value outside.
    return Interval(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def area(positive: np.ndarray, other: np.ndarray) -> Interval | None:
    """The area under the ROC curve with Newcombe's interval; None of nothing.

    It is the chance that a positive scores above a document at random, ties counting half. The
    interval inverts the score test with Hanley and McNeil's variance (Newcombe, Statistics in
    Medicine 25, 2006, method 5), so it stays inside [0, 1] and has a width where the area is 1.

    Args:
        positive: scores of positives, float [m].
        other: scores of the others, float [n].
    """
    m, n = len(positive), len(other)
    if m == 0 or n == 0:
        return None
    ordered = np.sort(other)
    below = np.searchsorted(ordered, positive, side="left")
    upto = np.searchsorted(ordered, positive, side="right")
    value = float((below + upto).sum()) / (2 * m * n)

    def excess(theta: float) -> float:
        """Squared distance from the value beyond what the variance at ``theta`` allows."""
        between = (m + n) / 2 - 1
        spread = (1 - theta) / (2 - theta) + theta / (1 + theta)
        variance = theta * (1 - theta) * (1 + between * spread) / (m * n)
        return (value - theta) ** 2 - _Z**2 * variance

    return Interval(value, _crossing(excess, 0.0, value), _crossing(excess, 1.0, value))


def _crossing(excess: Callable[[float], float], far: float, near: float) -> float:
    """Where ``excess`` turns from positive at ``far`` to negative towards ``near``."""
    if excess(far) <= 0:
        return far
    for _ in range(60):
        middle = (far + near) / 2
        far, near = (middle, near) if excess(middle) > 0 else (far, middle)
    return (far + near) / 2


@dataclass(frozen=True)
class Outcome:
    """How well one way of asking does.

    Attributes:
        area: of its scores, over the pairs that it judged.
        missed: share of known positives that it calls no.
        accepted: share of documents at random that it calls yes.
        unjudged: share of all that got no verdict.
        reasons: of these, how many for which reason.
    """

    area: Interval | None
    missed: Interval | None
    accepted: Interval | None
    unjudged: Interval | None
    reasons: Mapping[str, int]

    def record(self) -> dict[str, Any]:
        """For manifests: value, low and high of each."""
        named = ("missed", "accepted", "unjudged")
        found = {"auc": self.area, **{name: getattr(self, name) for name in named}}
        shown = {name: None if one is None else one.record() for name, one in found.items()}
        return {**shown, "reasons": dict(self.reasons)}


@dataclass(frozen=True)
class Change:
    """What another way of asking changes.

    Attributes:
        outcome: how well it does.
        verdicts: share of pairs whose verdict is another one.
        shift: mean of (score asked otherwise - score), over pairs that both judged.
    """

    outcome: Outcome
    verdicts: Interval | None
    shift: float | None

    def record(self) -> dict[str, Any]:
        """For manifests."""
        return {
            **self.outcome.record(),
            "verdicts_changed": None if self.verdicts is None else self.verdicts.record(),
            "mean_shift": None if self.shift is None else round(self.shift, 4),
        }


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes:
        positives, randoms: how many were asked about.
        outcome: asked as the judge will be.
        otherwise: asked in other ways, by their names.
    """

    positives: int
    randoms: int
    outcome: Outcome
    otherwise: Mapping[str, Change] = field(default_factory=dict)

    @property
    def believed(self) -> bool:
        """Whether the judge is better than chance, beyond what chance would give."""
        return self.outcome.area is not None and self.outcome.area.low > 0.5

    def record(self) -> dict[str, Any]:
        """For manifests."""
        return {
            "positives": self.positives,
            "random": self.randoms,
            "better_than_chance": self.believed,
            **self.outcome.record(),
            "otherwise": {name: change.record() for name, change in self.otherwise.items()},
        }

    def words(self, name: str) -> list[str]:
        """What it says of the judge ``name``, a line for each way of asking."""
        said = [
            f"the judge '{name}' on {self.positives} known positives and {self.randoms} documents "
            f"at random: {_words(self.outcome)}"
        ]
        for how, change in self.otherwise.items():
            moved = "" if change.verdicts is None else change.verdicts.words(percent=True)
            said.append(f"{how}: {moved} of its verdicts change; {_words(change.outcome)}")
        return said


def _words(outcome: Outcome) -> str:
    parts = []
    if outcome.area is not None:
        parts.append(f"AUC {outcome.area.words()}")
    if outcome.missed is not None:
        parts.append(f"calls {outcome.missed.words(percent=True)} of the positives no")
    if outcome.accepted is not None:
        parts.append(f"{outcome.accepted.words(percent=True)} of the others yes")
    if outcome.reasons:
        reasons = ", ".join(f"{reason} {count}" for reason, count in outcome.reasons.items())
        parts.append(f"unjudged: {reasons}")
    return "; ".join(parts)


def examine(judge: Examined, sample: Sample) -> Examination:
    """Ask a judge about the pairs of a sample, as it will be asked and otherwise."""
    said = judge.ask(sample)
    changes = {}
    for name, ask in judge.otherwise().items():
        other = ask(sample)
        changes[name] = Change(_outcome(other, sample), *_changed(said, other, sample))
    return Examination(sample.positives, sample.randoms, _outcome(said, sample), changes)


def _outcome(said: Scores, sample: Sample) -> Outcome:
    known = _known(said)
    score = np.where(known, said.score, np.nan).astype(np.float64)
    verdict = np.array(said.columns["verdict"].to_pylist())
    positive, other = sample.role == POSITIVE, sample.role == RANDOM
    asked = positive | other
    reasons: dict[str, int] = {}
    for reason in np.array(said.columns["reason"].to_pylist(), dtype=object)[asked & ~known]:
        reasons[reason] = reasons.get(reason, 0) + 1
    return Outcome(
        area(score[positive & known], score[other & known]),
        wilson(int((verdict[positive] == "no").sum()), int(positive.sum())),
        wilson(int((verdict[other] == "yes").sum()), int(other.sum())),
        wilson(int((asked & ~known).sum()), int(asked.sum())),
        reasons,
    )


def _changed(said: Scores, other: Scores, sample: Sample) -> tuple[Interval | None, float | None]:
    asked = sample.role != FILLER
    before, after = (np.array(one.columns["verdict"].to_pylist())[asked] for one in (said, other))
    both = asked & _known(said) & _known(other)
    shift = (other.score[both].astype(np.float64) - said.score[both]).mean() if both.any() else None
    changed = wilson(int((before != after).sum()), int(asked.sum()))
    return changed, None if shift is None else float(shift)


def _known(said: Scores) -> np.ndarray:
    return np.ones(len(said.score), dtype=bool) if said.known is None else said.known


def check(name: str, record: Mapping[str, Any] | None, trusted: bool) -> None:
    """See that a judge may be believed.

    Args:
        name: the judge's.
        record: its examination, as a manifest has it; None = there was none.
        trusted: whether it is believed anyway (``--trust-anyway``).

    Raises:
        UsageError: it was not examined.
        InvalidDataError: it is no better than chance.
    """
    if trusted:
        return
    hint = "--trust-anyway takes its word for it."
    if record is None:
        raise UsageError(
            f"the judge '{name}' is believed only after an examination",
            where="--examine 0",
            hint=f"Leave out --examine 0; {hint}",
        )
    if not record["positives"] or not record["random"]:
        raise InvalidDataError(
            f"the judge '{name}' cannot be examined: there are {record['positives']} known "
            f"positives and {record['random']} other documents to draw",
            where="--scorer",
            hint=f"A query with a known positive is needed; {hint}",
        )
    if record["better_than_chance"]:
        return
    found = record["auc"]
    told = (
        "it judged none of them"
        if found is None
        else f"its AUC is {found[0]:.3f}, between {found[1]:.3f} and {found[2]:.3f} (0.5 is chance)"
    )
    raise InvalidDataError(
        f"the judge '{name}' is no better than chance on {record['positives']} known positives and "
        f"{record['random']} documents at random: {told}",
        where="--scorer",
        hint="Take a better model or another prompt (--prompt-file), or a larger --examine; "
        + hint,
    )
