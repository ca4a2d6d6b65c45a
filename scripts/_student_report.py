"""What the trained students say: tables, numbers and a picture, with intervals.

A *group* is all runs of one collection, one way of revealing and one student. Runs of a group that
were made with different settings are refused, not averaged.
"""

from __future__ import annotations

import json
import os
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from negmine.commands import plot

#: What is measured, and its name for ir-measures.
MEASURES: Mapping[str, str] = {"nDCG@10": "nDCG@10", "MRR@10": "RR@10", "Recall@100": "R@100"}
#: The miner that the others are compared with.
BASE = "st-ce"
#: Untrained, and trained on what no miner can know: marks to read the others by.
FIRST = ("none", "random", "bm25", "st", "st-margin", "st-ce", "st-clean")
NO_MINERS = ("none", "st-clean")
_DRAWS = 10_000
#: Where tables stand in a page.
_BEGIN, _END = "<!-- bench_students: begin -->", "<!-- bench_students: end -->"


@dataclass(frozen=True)
class Group:
    """The runs of one collection and student.

    Attributes:
        collection: its name.
        reveal: ``one`` or ``all``.
        student: its name.
        runs: by miner, then seed, what the run's file says.
        left_out: by miner, why it has no row.
    """

    collection: str
    reveal: str
    student: str
    runs: Mapping[str, Mapping[int, Mapping[str, Any]]]
    left_out: Mapping[str, str]

    @property
    def seeds(self) -> list[int]:
        """The seeds, which every miner has."""
        return sorted(next(iter(self.runs.values())))

    def values(self, miner: str, measure: str) -> np.ndarray:
        """[seeds, queries] of one measure."""
        runs = [self.runs[miner][seed]["measures"][measure] for seed in self.seeds]
        return np.array([[run[qid] for qid in sorted(runs[0])] for run in runs])

    def rate(self, miner: str, name: str) -> float:
        """A rate of the negatives, in the mean over seeds; NaN if it was not trained."""
        runs = [self.runs[miner][seed].get("negatives", {}) for seed in self.seeds]
        return float(np.mean([run.get(name, np.nan) for run in runs]))

    def filled(self, miner: str) -> tuple[float, float]:
        """Shares of the examples' negatives that are repeated, and that are random documents."""
        runs = [self.runs[miner][seed].get("filled", {}) for seed in self.seeds]
        total = sum(run.get("total", 0) for run in runs) or 1
        return (
            sum(run.get("repeated", 0) for run in runs) / total,
            sum(run.get("random", 0) for run in runs) / total,
        )


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95% interval."""

    mean: float
    low: float
    high: float

    @property
    def seen(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0

    def told(self, *, signed: bool = False) -> str:
        """In hundredths; a difference that is seen is bold."""
        form = "+.1f" if signed else ".1f"
        text = f"{100 * self.mean:{form}} [{100 * self.low:{form}}, {100 * self.high:{form}}]"
        return f"**{text}**" if signed and self.seen else text


def estimate(parts: Sequence[np.ndarray]) -> Estimate:
    """The mean of [seeds, queries] values, and over several collections the mean of their means.

    Seeds and queries are drawn with replacement, crossed, each collection by itself.
    """
    drawn = []
    for number, values in enumerate(parts):
        of_seed, of_query = _weights(number, *values.shape)
        drawn.append(np.einsum("dq,dq->d", of_seed @ values, of_query))
    low, high = np.quantile(np.mean(drawn, axis=0), [0.025, 0.975])
    return Estimate(float(np.mean([values.mean() for values in parts])), float(low), float(high))


@cache
def _weights(number: int, seeds: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each is drawn, [draws, seeds] and [draws, queries], for one of the collections."""
    rng = np.random.default_rng((number, seeds, queries))
    found = [
        rng.multinomial(count, np.full(count, 1 / count), size=_DRAWS) / count
        for count in (seeds, queries)
    ]
    return found[0], found[1]


# --- files ------------------------------------------------------------------------------------


def write(path: Path, text: str) -> None:
    """Write a file by a rename: whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    hidden.write_text(text)
    hidden.replace(path)


def put(page: Path, text: str) -> None:
    """Put text into a page, in the place of what stands between its two marks.

    Raises:
        SystemExit: the page has no such place.
    """
    old = page.read_text("utf-8")
    before, begin, rest = old.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not end:
        raise SystemExit(f"{page}: nothing between {_BEGIN} and {_END}")
    write(page, f"{before}{begin}\n{text}\n{end}{after}")


def load(out: Path, name: str | None = None) -> list[Group]:
    """All groups of a folder of runs, or those of one collection.

    Raises:
        SystemExit: there are none, or a group's runs were made with different settings.
    """
    found: dict[tuple[str, str, str], dict[str, dict[int, Any]]] = {}
    shared: dict[tuple[str, str, str], tuple[Any, Path]] = {}
    for path in sorted(out.glob(f"{name or '*'}/*/*/*/seed*.json")):
        told = json.loads(path.read_text())
        settings = told["settings"]
        key = (path.parts[-5], path.parts[-4], path.parts[-3])
        first, other = shared.setdefault(key, (settings["shared"], path))
        if first != settings["shared"]:
            raise SystemExit(
                f"{path} and {other} were made with different settings: give the command of the "
                "one that is stale again, or remove it"
            )
        found.setdefault(key, {}).setdefault(settings["miner"]["name"], {})[settings["seed"]] = told
    if not found:
        raise SystemExit(f"{out}: no runs{f' of {name}' if name else ''}")
    return [group_of(key, runs) for key, runs in found.items()]


def group_of(key: tuple[str, str, str], runs: Mapping[str, Mapping[int, Any]]) -> Group:
    """A group; who refused with any seed, or has not had all of them yet, is left out and named."""
    left_out = {
        name: f"it refused ({told['refused'].splitlines()[0]})"
        for name, mine in runs.items()
        for told in mine.values()
        if "refused" in told
    }
    trained = [name for name in ordered(runs) if name not in left_out]
    seeds = set(runs[BASE]) if BASE in trained else set().union(*(runs[name] for name in trained))
    for name in trained:
        if missing := seeds - set(runs[name]):
            left_out[name] = f"{len(missing)} of {len(seeds)} seeds are still to be run"
    kept = {
        name: {seed: runs[name][seed] for seed in seeds} for name in trained if name not in left_out
    }
    return Group(*key, runs=kept, left_out=left_out)


def ordered(miners: Mapping[str, Any]) -> list[str]:
    """Miners in the order of the tables: those that come along, then negmine's settings."""
    return [name for name in FIRST if name in miners] + sorted(set(miners) - set(FIRST))


# --- telling ----------------------------------------------------------------------------------


def means(groups: Sequence[Group]) -> list[tuple[str, Sequence[Group]]]:
    """Each group by itself and, of a student with several collections, all of them."""
    found: list[tuple[str, Sequence[Group]]] = []
    kinds: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        kinds.setdefault((group.student, group.reveal), []).append(group)
    for (student, reveal), mine in kinds.items():
        head = f"student `{student}`, {reveal} revealed"
        if len(mine) > 1:
            names = ", ".join(group.collection for group in mine)
            found.append((f"Mean of {len(mine)} collections ({names}), {head}", mine))
        for group in mine:
            queries = group.values(next(iter(group.runs)), "nDCG@10").shape[1]
            told = f"{queries} test queries, {len(group.seeds)} seeds"
            found.append((f"{group.collection}, {head}: {told}", [group]))
    return found


def common(groups: Sequence[Group]) -> list[str]:
    """Miners that all groups have."""
    return [name for name in groups[0].runs if all(name in group.runs for group in groups)]


def tables(groups: Sequence[Group]) -> str:
    """Markdown, a table for each group and for the mean of collections."""
    return "\n\n".join(f"{head}\n\n{table(mine)}" for head, mine in means(groups))


def table(groups: Sequence[Group]) -> str:
    """What the miners chose, what became of it, and the difference to ``st-ce``."""
    signed = [f"{name} - {BASE}" for name in MEASURES]
    head = ["miner", "false", "dense rank", "per query", "filled", *MEASURES, *signed]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for miner in common(groups):
        cells = [f"*{miner}*" if miner in NO_MINERS else miner.replace("|", "\\|")]
        rates = {name: mean_rate(groups, miner, name) for name in RATES}
        if np.isnan(rates["contamination"]):
            cells += ["", "", "", ""]
        else:
            repeated, random = np.mean([group.filled(miner) for group in groups], axis=0)
            cells += [
                f"{100 * rates['contamination']:.1f}%",
                f"{rates['median_dense_rank']:.0f}",
                f"{rates['per_query']:.2f}",
                f"{100 * (repeated + random):.0f}%",
            ]
        cells += [of(groups, miner, measure).told() for measure in MEASURES]
        cells += [
            "" if found is None else found.told(signed=True)
            for found in (difference(groups, miner, measure) for measure in MEASURES)
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        f"\nNo `{name}` on {group.collection}: {reason}."
        for group in groups
        for name, reason in group.left_out.items()
    ]
    return "\n".join(lines)


#: Rates of the negatives that quality is drawn against, and what they are called.
RATES: Mapping[str, str] = {
    "contamination": "share of false negatives (%)",
    "median_dense_rank": "log10 of the median dense rank (left is harder)",
    "per_query": "negatives per query",
}


def mean_rate(groups: Sequence[Group], miner: str, name: str) -> float:
    """A rate in the mean over collections."""
    return float(np.mean([group.rate(miner, name) for group in groups]))


def of(groups: Sequence[Group], miner: str, measure: str) -> Estimate:
    """A measure of a miner's student."""
    return estimate([group.values(miner, measure) for group in groups])


def difference(groups: Sequence[Group], miner: str, measure: str) -> Estimate | None:
    """How much better than with ``st-ce``, by query and seed; None where that has no run."""
    if miner == BASE or any(BASE not in group.runs for group in groups):
        return None
    return estimate([g.values(miner, measure) - g.values(BASE, measure) for g in groups])


def numbers(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Everything that the tables tell, as JSON."""
    found = []
    for _, mine in means(groups):
        for miner in common(mine):
            differences = {name: difference(mine, miner, name) for name in MEASURES}
            found.append(
                {
                    "collections": [group.collection for group in mine],
                    "reveal": mine[0].reveal,
                    "student": mine[0].student,
                    "miner": miner,
                    "seeds": [group.seeds for group in mine],
                    "negatives": {
                        name: None if np.isnan(rate) else rate
                        for name in RATES
                        for rate in [mean_rate(mine, miner, name)]
                    },
                    "measures": {name: vars(of(mine, miner, name)) for name in MEASURES},
                    f"minus {BASE}": {
                        name: None if each is None else vars(each)
                        for name, each in differences.items()
                    },
                }
            )
    return found


def pictures(groups: Sequence[Group]) -> dict[str, str]:
    """nDCG@10 beside ``st-ce``'s against contamination, hardness and number of the negatives.

    One picture for each student and way of revealing, of the mean over its collections.
    """
    kinds: dict[str, list[Group]] = {}
    for group in groups:
        kinds.setdefault(f"{group.student}-{group.reveal}", []).append(group)
    names = ordered({name: None for group in groups for name in group.runs})
    letters = dict(zip(names, string.ascii_uppercase, strict=False))
    return {kind: plot.svg(panels(mine, letters)) for kind, mine in kinds.items()}


def panels(groups: Sequence[Group], letters: Mapping[str, str]) -> list[plot.Panel]:
    """The three panels of one student; a miner has the same letter in all pictures."""
    title, found = f"{groups[0].student}, {groups[0].reveal} revealed", []
    for rate, label in RATES.items():
        series = []
        for miner in common(groups):
            x = drawn(rate, mean_rate(groups, miner, rate))
            gain = difference(groups, miner, "nDCG@10") or Estimate(0, 0, 0)
            if not np.isnan(x):
                low, high = 100 * gain.low, 100 * gain.high
                letter = letters.get(miner, "")
                point = plot.Point(x, 100 * gain.mean, letter, low, high)
                series.append(plot.Series(f"{letter}: {miner}", [point]))
        found.append(plot.Panel(title, label, f"nDCG@10 - {BASE}", series))
    return found


def drawn(rate: str, value: float) -> float:
    """A rate as it lies on its axis: random documents stand a hundred times as deep as others."""
    if rate == "median_dense_rank":
        return float(np.log10(value))
    return 100 * value if rate == "contamination" else value
