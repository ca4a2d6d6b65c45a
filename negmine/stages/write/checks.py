"""What written texts must pass: they are new, the writer is asked about them, scorers agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from negmine.scorers import Scorer
from negmine.stages.write.asked import calls_in_words
from negmine.stages.write.by_model import BEYOND, UNASKED, UNCONFIRMED, first_each
from negmine.stages.write.cases import Case
from negmine.stages.write.distinct import REASONS
from negmine.stages.write.drafts import Draft
from negmine.stages.write.setup import Setup
from negmine.stages.write.verifying import verified

#: Why a text that a scorer was asked about is left out.
REFUSED = "refused"
#: Why one is that a scorer gave no score.
UNJUDGED = "unjudged"
#: What the count of a reason begins with.
LEFT_OUT = "left_out."
_WHY = (*REASONS, UNASKED, UNCONFIRMED, BEYOND, UNJUDGED, REFUSED)


class Compares(Protocol):
    """Says which texts are new."""

    def reasons(self, drafts: Sequence[Draft], cases: Sequence[Case]) -> list[str | None]:
        """Of each text why it is left out; None where it stays."""


@dataclass(frozen=True)
class Checks:
    """What a text must pass.

    Attributes:
        setup: who wrote, and what is asked of scorers.
        distinct: says which texts are new.
        scorers: those of the condition, by name.
    """

    setup: Setup
    distinct: Compares
    scorers: Mapping[str, Scorer]

    def kept(
        self, drafts: list[Draft], cases: Sequence[Case]
    ) -> tuple[list[Draft], dict[str, np.ndarray], Counter[str]]:
        """The texts that stay, their scores, and how many were left out for which reason."""
        reasons = self.distinct.reasons(drafts, cases)
        lost = Counter(f"{LEFT_OUT}{reason}" for reason in reasons if reason is not None)
        stays = [one for one, reason in zip(drafts, reasons, strict=True) if reason is None]
        stays = self._confirmed(stays, lost)
        condition = self.setup.verifying.condition
        if condition is None:
            return stays, {}, lost
        held, scores = verified(stays, cases, condition, self.scorers)
        missing = np.zeros(len(stays), dtype=bool)
        for score in scores.values():
            missing |= np.isnan(score)
        lost[f"{LEFT_OUT}{UNJUDGED}"] += int((~held & missing).sum())
        lost[f"{LEFT_OUT}{REFUSED}"] += int((~held & ~missing).sum())
        stays = [one for one, holds in zip(stays, held.tolist(), strict=True) if holds]
        return stays, {name: score[held] for name, score in scores.items()}, lost

    def _confirmed(self, drafts: list[Draft], lost: Counter[str]) -> list[Draft]:
        """The texts about which the writer's two questions agree, so many as are asked for."""
        writing = self.setup.writing
        if writing is None:
            return drafts
        asked_for = list(first_each(drafts, writing.params.variants))
        lost[f"{LEFT_OUT}{UNASKED}"] += len(drafts) - sum(asked_for)
        drafts = [one for one, first in zip(drafts, asked_for, strict=True) if first]
        sure = writing.confirmed(drafts)
        stays = [one for one, holds in zip(drafts, sure, strict=True) if holds]
        first = list(first_each(stays, writing.asking.each))
        lost[f"{LEFT_OUT}{UNCONFIRMED}"] += len(drafts) - len(stays)
        lost[f"{LEFT_OUT}{BEYOND}"] += len(stays) - sum(first)
        return [one for one, holds in zip(stays, first, strict=True) if holds]


def lost_in(total: Mapping[str, int]) -> dict[str, int]:
    """How many texts were left out, by reason, of all counts."""
    reasons = {one: total.get(f"{LEFT_OUT}{one}", 0) for one in _WHY}
    return {reason: count for reason, count in reasons.items() if count}


def why_nothing(counts: Mapping[str, Any]) -> str:
    """Why no text is left, in words."""
    lost = ", ".join(f"{count} {reason}" for reason, count in counts["left_out"].items() if count)
    why = f"of {counts['drafts']} texts were left out: {lost}" if lost else "no text could be made"
    return "; ".join([why, *calls_in_words(counts)])
