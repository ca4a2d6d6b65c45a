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
from negmine.commands.audit.sampled.refiltered import Refiltered
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


@dataclass(frozen=True)
class Relevant:
    """How the judge does on what is known to be relevant.

    Attributes:
        what: which rows these are.
        rate: its yes, with the size of the simple sample that knows it as well.
        facts: for the report.
        assumption: what must be true for the hidden positives to be like them.
        doubts: what speaks against it.
    """

    what: str
    rate: Rate
    facts: Mapping[str, Any]
    assumption: str
    doubts: Sequence[str]


@dataclass(frozen=True)
class Random:
    """How the judge does on random documents.

    Attributes:
        rate: its yes; of size 0 where nothing is known.
        facts: for the report.
    """

    rate: Rate
    facts: Mapping[str, Any]


def at_random(population: Population, examined: tuple[float, int] | None) -> Random:
    """By the rows of sources that draw documents by chance, else by the judge's examination.

    Args:
        population: the judge on such rows.
        examined: (share of yes, documents) of its examination.
    """
    found = rate(population.random)
    if found.size or examined is None:
        return Random(found, _told(population.random, found, "random documents"))
    value, documents = examined
    low, high = intervals.clopper_pearson(value * documents, documents)
    share = intervals.Estimate(value, low, high).as_json()
    what = "random documents of its examination"
    facts = {**share, "of": what, "rows": documents, "effective": documents}
    return Random(Rate(value, documents), facts)


def by_controls(
    population: Population, judge: Judge, relevant: Relevant, random: Random
) -> Measured:
    """The judge's bias corrected by relevant and by random documents.

    Args:
        population: the negatives.
        judge: who is believed.
        relevant: what it says of relevant documents.
        random: what it says of random ones.

    Raises:
        UsageError: nothing says how the judge errs, or it is no better than chance.
    """
    yes, false = rate(population.chosen), random.rate
    if yes.size == 0:
        raise UsageError(
            f"--judge {judge.name}: it says neither yes nor no of any chosen negative",
            hint="Score them first (negmine rerank), or let people read a sample: --sheet FILE.",
        )
    facts = {
        "sensitivity": relevant.facts,
        "false_positive_rate": random.facts,
    }
    assumptions, warnings = [relevant.assumption], []
    if false.size == 0:
        _refuse_chance(judge, relevant, Rate(0.0, float("inf")))
        found = estimators.at_most(yes, relevant.rate)
        warnings.append(
            f"of no random document '{judge.name}' says yes or no, so how often it takes an "
            "irrelevant one for relevant is not known, and the contamination is only bounded from "
            "above; retrieve with --source chance=random:10 and score these rows, or give --gold"
        )
    else:
        _refuse_chance(judge, relevant, false)
        found = estimators.corrected(yes, relevant.rate, false)
        assumptions.append(
            f"of the other negatives '{judge.name}' says yes as often as of random documents; "
            "these are easier to tell from relevant ones, so it is likelier too high than too low"
        )
    found = estimators.with_unknown(found, _untold(population))
    warnings += [*relevant.doubts, *_selected(population, judge)]
    return Measured("controls", found, facts, assumptions, warnings)


def chosen_again(found: Refiltered, judge: Judge) -> Relevant | None:
    """By known positives that were hidden, filtered again and chosen; None where they are few."""
    if found.distinct < _FEWEST:
        return None
    what = "hidden known positives that the same filter chose"
    share = intervals.share(found.yes, found.told, found.repeats)
    size = Rate(*intervals.effective(found.yes, found.told, found.repeats))
    facts = {**share.as_json(), "of": what, "rows": int(found.told.sum())}
    assumption = (
        f"of positives that nobody labelled, and that were chosen, '{judge.name}' says yes as "
        "often as of known ones that were hidden at random, filtered again and chosen"
    )
    return Relevant(what, size, {**facts, "effective": round(size.size, 1)}, assumption, [])


def known(population: Population, judge: Judge, decided: Sequence[str]) -> Relevant:
    """By known positives, whatever the filter would do to them.

    Args:
        population: the judge on them.
        judge: who is believed.
        decided: options by which the judge's score decided what was chosen.

    Raises:
        UsageError: there are too few.
    """
    refuse_few(judge.name, "it says yes or no of", int(population.positives.told.sum()))
    what, found = "known positives", rate(population.positives)
    assumption = (
        f"of hidden positives among the negatives '{judge.name}' says yes as often as of known "
        "ones; where a rule dropped what looks relevant those that are left look less so, and the "
        "contamination is higher"
    )
    doubts = []
    if decided:
        options = " and ".join(f"--{option}" for option in decided)
        doubts.append(
            f"'{judge.name}' decided what was chosen ({options}): of the hidden positives those "
            "were left that it scores as it scores negatives, so it finds fewer of them than of "
            "known ones and the contamination may be far higher; ask another judge, or give --gold"
        )
    return Relevant(what, found, _told(population.positives, found, what), assumption, doubts)


def refuse_few(name: str, what: str, count: int, mend: str = "") -> None:
    """See that there are known positives enough.

    Args:
        name: the judge's.
        what: of which known positives.
        count: how many they are.
        mend: what to try first.

    Raises:
        UsageError: there are too few.
    """
    if count < _FEWEST:
        raise UsageError(
            f"--judge {name}: {what} {count} known positives, and at least {_FEWEST} are needed to "
            "tell how often it misses one",
            hint=f"{mend}Let people read a sample: --sheet FILE, then --gold FILE.",
        )


def rate(told: Told) -> Rate:
    """The share of yes, and the size of the simple sample that knows it as well; 0 = none."""
    return Rate(*intervals.effective(told.yes, told.told))


def _told(told: Told, found: Rate, what: str) -> dict[str, Any]:
    share = intervals.share(told.yes, told.told)
    return {
        **share.as_json(),
        "of": what,
        "rows": int(told.told.sum()),
        "effective": round(found.size, 1),
        "verdicts": told.verdicts,
    }


def _refuse_chance(judge: Judge, relevant: Relevant, false: Rate) -> None:
    if estimators.tells_apart(relevant.rate, false):
        return
    raise UsageError(
        f"--judge {judge.name}: it says yes of {relevant.rate.value:.1%} of the {relevant.what} "
        f"and of {false.value:.1%} of the random documents ({judge.told}), which is no better than "
        "chance: its verdicts tell nothing",
        hint="Give another --judge-cut or judge, or let people read a sample: --sheet FILE.",
    )


def _selected(population: Population, judge: Judge) -> list[str]:
    """The warning on labels that look selected by a ranking."""
    if not population.selected_by:
        return []
    return [
        f"labels look selected by {' and '.join(population.selected_by)}: hidden positives are "
        f"not like known ones, '{judge.name}' may find fewer of them, and the contamination "
        "may be higher; only --gold tells"
    ]
