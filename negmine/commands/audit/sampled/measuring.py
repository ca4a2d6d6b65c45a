"""From what a judge and people said to the contamination of a ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from negmine.commands.audit import intervals
from negmine.commands.audit.sampled import estimators
from negmine.commands.audit.sampled.estimators import Bounds, Rate, Stratum
from negmine.commands.audit.sampled.population import Population, Told
from negmine.commands.audit.sampled.sheets import CANNOT_TELL, RELEVANT
from negmine.commands.audit.sampled.verdicts import YES, Judge
from negmine.errors import UsageError

#: Strata of the estimate: the judge says no, yes, neither.
STRATA = ("no", "yes", "neither")
#: Fewest known positives that say something of a judge.
_FEWEST = 20


@dataclass(frozen=True)
class Measured:
    """What was found.

    Attributes:
        how: ``gold`` (by what people said), ``controls`` (by known positives and random documents),
            or ``nothing``.
        contamination: the share of the negatives that are relevant; None where nothing tells it.
        facts: what it rests on, for the report.
        assumptions: what must be true for it to be right.
        warnings: what speaks against that.
    """

    how: str
    contamination: Bounds | None
    facts: Mapping[str, Any]
    assumptions: Sequence[str]
    warnings: Sequence[str]


def sizes_of(population: Population) -> np.ndarray:
    """Negatives of each stratum of the estimate, int64 [strata]."""
    size = population.size
    return np.array([*size[: YES + 1], size[YES + 1 :].sum()], dtype=np.int64)


def uncorrected(population: Population) -> Bounds | None:
    """What the judge alone says, bounds where it says nothing; None where it never does."""
    told = population.chosen
    found = intervals.share(told.yes, told.told)
    if np.isnan(found.value):
        return None
    alone = Bounds(found.value, found.value, found.low, found.high)
    return estimators.with_unknown(alone, _untold(population))


def _untold(population: Population) -> float:
    """Share of the negatives on which the judge said neither yes nor no."""
    sizes = sizes_of(population)
    return float(sizes[-1] / sizes.sum())


# --- by what people said ----------------------------------------------------------------------


def by_gold(
    population: Population, rows: pa.Table, said: Sequence[str | None], differing: int
) -> Measured:
    """The judge's bias corrected by a sample that people read.

    Args:
        population: the negatives.
        rows: the drawn ones in the order of the sheet.
        said: what people said of each; None = nothing.
        differing: rows of which people said different things.
    """
    answered = [number for number, answer in enumerate(said) if answer is not None]
    read = answered[-1] + 1
    skipped = read - len(answered)
    stratum = np.minimum(rows.column("verdict").to_numpy()[:read], YES + 1)
    answers = np.array([answer or CANNOT_TELL for answer in said[:read]], dtype=object)
    strata = []
    for number, size in enumerate(sizes_of(population)):
        mine = answers[stratum == number]
        relevant, unsure = int((mine == RELEVANT).sum()), int((mine == CANNOT_TELL).sum())
        strata.append(Stratum(int(size), len(mine), relevant, unsure))
    facts = {
        "answered": len(answered),
        "skipped": skipped,
        "not_read": len(said) - read,
        "differing": differing,
        "strata": {STRATA[number]: vars(one) for number, one in enumerate(strata) if one.size},
    }
    warnings = []
    if skipped:
        warnings.append(
            f"{skipped} rows before the last one that was answered have no answer: each counts as "
            "one of which nobody can tell; answer a sheet in its order, and stop where you like"
        )
    unread = [STRATA[n] for n, one in enumerate(strata) if one.size and not one.read]
    if unread:
        warnings.append(
            f"of the negatives of which the judge says {' or '.join(unread)} nobody read one, so "
            "any share of them may be relevant: answer more of the sheet, or ask for a larger "
            "--sample"
        )
    assumptions = [
        "what people answered is the truth; where nobody could tell there is a lower and an upper "
        "estimate. Nothing is assumed of the judge"
    ]
    return Measured("gold", estimators.stratified(strata), facts, assumptions, warnings)


# --- by known positives and random documents --------------------------------------------------


def by_controls(population: Population, judge: Judge, decided: Sequence[str]) -> Measured:
    """The judge's bias corrected by known positives and random documents.

    Args:
        population: the negatives, and what the judge says of known positives and random documents.
        judge: who is believed.
        decided: options by which the judge's score decided what was chosen.

    Raises:
        UsageError: nothing says how the judge errs, or it is no better than chance.
    """
    sensitivity, false = rate(population.positives), rate(population.random)
    yes = rate(population.chosen)
    known = int(population.positives.told.sum())
    if yes.size == 0:
        raise UsageError(
            f"--judge {judge.name}: it says neither yes nor no of any chosen negative",
            hint="Score them first (negmine rerank), or let people read a sample: --sheet FILE.",
        )
    if known < _FEWEST:
        raise UsageError(
            f"--judge {judge.name}: it says yes or no of {known} known positives, and at least "
            f"{_FEWEST} are needed to tell how often it misses one",
            hint="Let people read a sample: --sheet FILE, then --gold FILE.",
        )
    facts = {
        "sensitivity": _told(population.positives, sensitivity),
        "false_positive_rate": _told(population.random, false),
    }
    assumptions = [
        f"of hidden positives among the negatives '{judge.name}' says yes as often as of known "
        "ones; where a rule dropped what looks relevant those that are left look less so, and the "
        "contamination is higher"
    ]
    untold = _untold(population)
    if false.size == 0:
        _refuse_chance(judge, sensitivity, Rate(0.0, float("inf")))
        found = estimators.at_most(yes, sensitivity)
        warnings = [
            f"of no random document '{judge.name}' says yes or no, so how often it takes an "
            "irrelevant one for relevant is not known, and the contamination is only bounded from "
            "above; retrieve with --source random=random:20 and score these rows, or give --gold"
        ]
    else:
        _refuse_chance(judge, sensitivity, false)
        found = estimators.corrected(yes, sensitivity, false)
        warnings = []
        assumptions.append(
            f"of the other negatives '{judge.name}' says yes as often as of random documents; "
            "these are easier to tell from relevant ones, so it is likelier too high than too low"
        )
    found = estimators.with_unknown(found, untold)
    warnings += _doubts(population, judge, decided)
    return Measured("controls", found, facts, assumptions, warnings)


def rate(told: Told) -> Rate:
    """The share of yes, and the size of the simple sample that knows it as well; 0 = none."""
    return Rate(*intervals.effective(told.yes, told.told))


def _told(told: Told, found: Rate) -> dict[str, Any]:
    share = intervals.share(told.yes, told.told)
    return {
        **share.as_json(),
        "rows": int(told.told.sum()),
        "effective": round(found.size, 1),
        "verdicts": told.verdicts,
    }


def _refuse_chance(judge: Judge, sensitivity: Rate, false: Rate) -> None:
    if estimators.tells_apart(sensitivity, false):
        return
    raise UsageError(
        f"--judge {judge.name}: it says yes of {sensitivity.value:.1%} of the known positives and "
        f"of {false.value:.1%} of the random documents ({judge.told}), which is no better than "
        "chance: its verdicts tell nothing",
        hint="Give another --judge-cut or judge, or let people read a sample: --sheet FILE.",
    )


def _doubts(population: Population, judge: Judge, decided: Sequence[str]) -> list[str]:
    """What speaks against known positives being like hidden ones."""
    doubts = []
    if decided:
        options = " and ".join(f"--{option}" for option in decided)
        doubts.append(
            f"'{judge.name}' decided what was chosen ({options}): of the hidden positives those "
            "were left that it scores as it scores negatives, so it finds fewer of them than of "
            "known ones and the contamination may be far higher; ask another judge, or give --gold"
        )
    if population.selected_by:
        doubts.append(
            f"labels look selected by {' and '.join(population.selected_by)}: hidden positives are "
            f"not like known ones, '{judge.name}' may find fewer of them, and the contamination "
            "may be higher; only --gold tells"
        )
    return doubts
