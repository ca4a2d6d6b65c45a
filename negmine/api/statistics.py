"""What was mined, in numbers: the table of ``mine_hard_negatives``, and what was dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from negmine import rules
from negmine.stages.filter.recorded import filter_params
from negmine.table.candidates import Candidates, open_candidates
from negmine.table.names import score_column

_ROW = "{:<6} {:>14} {:>14} {:>14}"


@dataclass(frozen=True)
class Scores:
    """Scores of what the filter left.

    Attributes:
        positive: of every positive of every query, float64.
        negative: of the chosen negatives, once for every positive of their query, float64.
        difference: the positive's minus the negative's, beside ``negative``.
    """

    positive: np.ndarray
    negative: np.ndarray
    difference: np.ndarray


def scores_of(ledger: Candidates, *, complete: bool) -> Scores:
    """The scores that the filter went by; rows without one are left out.

    Args:
        ledger: what the filter wrote.
        complete: only negatives of queries that have all that were asked for.
    """
    by: str = ledger.params["by"]
    wanted: int = ledger.params["num_negatives"]
    columns = ["qid", "label", "selected", score_column(by)]
    parts = [
        _pairs(ledger.part(name, columns), by, wanted if complete else 1) for name in ledger.parts
    ]
    empty = np.empty(0)
    positive, negative, difference = (
        np.concatenate([empty, *(part[place] for part in parts)]) for place in range(3)
    )
    return Scores(positive, negative, difference)


def _pairs(part: Any, by: str, least: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of a part: of positives, and of every positive with every negative of its query."""
    score, query = part.score(by), part.query
    known = ~np.isnan(score)
    positives = np.flatnonzero(part.positive & known)
    chosen = part.valid("selected")
    enough = np.bincount(query[chosen], minlength=part.queries) >= least
    negatives = np.flatnonzero(chosen & known & enough[query])
    each = np.bincount(query[negatives], minlength=part.queries)
    first = np.cumsum(each) - each
    repeat = each[query[positives]]
    left = np.repeat(positives, repeat)
    within = np.arange(len(left)) - np.repeat(np.cumsum(repeat) - repeat, repeat)
    right = negatives[first[query[left]] + within]
    return score[positives], score[right], score[left] - score[right]


#: Name and function of each line, as sentence-transformers has them: the median is the lower one of
#: two in the middle, and the deviation is the sample's.
_METRICS: tuple[tuple[str, Callable[[np.ndarray], float]], ...] = (
    ("Mean", np.mean),
    ("Median", lambda scores: np.sort(scores)[(len(scores) - 1) // 2]),
    ("Std", lambda scores: np.std(scores, ddof=1) if len(scores) > 1 else np.nan),
    ("Min", np.min),
    ("25%", lambda scores: np.quantile(scores, 0.25)),
    ("50%", lambda scores: np.quantile(scores, 0.50)),
    ("75%", lambda scores: np.quantile(scores, 0.75)),
    ("Max", np.max),
)


def table(scores: Scores) -> list[str]:
    """The scores of positives and negatives, a line a metric."""
    columns = (scores.positive, scores.negative, scores.difference)
    lines = [
        _ROW.format("Metric", "Positive", "Negative", "Difference"),
        _ROW.format("Count", f"{len(scores.positive):,}", f"{len(scores.negative):,}", ""),
    ]
    for name, metric in _METRICS:
        numbers = [f"{metric(column):.4f}" if len(column) else "" for column in columns]
        lines.append(_ROW.format(name, *numbers))
    return [line.rstrip() for line in lines]


def losses(ledger: Candidates, mend: Sequence[str]) -> Iterator[str]:
    """Which rule dropped how many candidates, and which queries are short.

    Args:
        ledger: what the filter wrote.
        mend: arguments that would leave fewer queries short.
    """
    counts, params = ledger.counts, filter_params(ledger.params)
    known = rules.named("positives")
    dropped = {name: n for name, n in counts["dropped"].items() if n and name not in known}
    candidates = counts["candidates"] - sum(counts["dropped"].get(name, 0) for name in known)
    yield f"{candidates:,} candidates beside the positives; {counts['selected']:,} are negatives."
    for name, count in sorted(dropped.items(), key=lambda item: -item[1]):
        words = rules.words(name, params)
        yield f"Dropped {count:,} ({count / candidates:.2%}) by {name}: {words}."
    short = counts["queries_short"]
    if short:
        yield (
            f"{short:,} of {counts['queries']:,} queries ({short / counts['queries']:.2%}) have "
            f"fewer than {params.num_negatives} negatives, {counts['queries_with_none']:,} have "
            f"none. Consider {', '.join(mend)}."
        )


def show(ledger: Path, *, complete: bool, mend: Sequence[str]) -> None:
    """Print the statistics of a ledger; see :func:`scores_of` and :func:`losses`."""
    opened = open_candidates(ledger, ["filter"], purpose="the ledger")
    lines = [*table(scores_of(opened, complete=complete)), *losses(opened, mend)]
    print("\n".join(lines), flush=True)
