"""Whether the labels look missing at random, as the conformal bound assumes, and what if not.

Two things the data can say, for each source that searched:

* **Passing.** Of queries with several labelled positives, the half that the source ranks best
  calibrates, and the share of the other half that would pass is measured: what the promised rate
  would become if labels had been given down that ranking.
* **Standing above.** Does it look like that? Among candidates that the teacher scores at least as
  high as a labelled positive, the unlabelled ones stand above it in a source's ranking about half
  the time if which of them has a label is chance. If the source's ranking selected the labels, what
  has none stands below. One label per query is enough for this, and the teacher must not be the
  source itself. Labels that are complete look the same: then nothing is missing, and nothing is
  lost by the warning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from negmine.learning.calibration import needed, threshold
from negmine.table import ranking

#: Fewest queries that tell something.
_FEWEST = 20
#: Labels look selected where the interval of the share that stands above ends below this.
_SELECTED = 0.4
#: They look missing at random where it begins above this.
_AT_RANDOM = 0.45
_Z = 1.96


def standing_above(
    query: np.ndarray,
    teacher: np.ndarray,
    depth: np.ndarray,
    labelled: np.ndarray,
    unlabelled: np.ndarray,
) -> np.ndarray:
    """Of the unlabelled that score no lower than a labelled one, the share above it, per query.

    Args:
        query: number of each row's query; equal ones are neighbours.
        teacher: its score, a number.
        depth: its place in a source's ranking.
        labelled: True for labelled positives.
        unlabelled: True for rows of which nothing is known.

    Returns:
        float64 [queries that have such pairs], each labelled positive weighing the same in its own.
    """
    if len(query) == 0:
        return np.empty(0)
    starts = ranking.group_starts(query)
    size = np.diff(np.append(starts, len(query)))
    group = np.repeat(np.arange(len(starts)), size)
    mine = np.flatnonzero(labelled)
    count = size[group[mine]]
    owner = np.repeat(np.arange(len(mine)), count)
    within = ranking.positions_in_group(owner) - 1
    other = np.repeat(starts[group[mine]], count) + within
    kept = unlabelled[other] & (teacher[other] >= teacher[mine][owner])
    owner, other = owner[kept], other[kept]
    pairs = np.bincount(owner, minlength=len(mine))
    above = np.bincount(owner, depth[other] < depth[mine][owner], minlength=len(mine))
    told = pairs > 0
    of = group[mine][told]
    total = np.bincount(of, above[told] / pairs[told], minlength=len(starts))
    number = np.bincount(of, minlength=len(starts))
    return total[number > 0] / number[number > 0]


def passing(value: np.ndarray, query: np.ndarray, depth: np.ndarray, alpha: float) -> float | None:
    """What share of the worse-ranked half of labelled positives passes the better half's bound.

    Args:
        value: the positives' scores (or margins).
        query: the query each belongs to.
        depth: their places in a source's ranking.
        alpha: the level.

    Returns:
        The share, queries weighing the same; None where too few queries have several.
    """
    order = np.lexsort((depth, query))
    value, query = value[order], query[order]
    _, number, size = np.unique(query, return_inverse=True, return_counts=True)
    place = ranking.positions_in_group(query)
    better = place <= (size[number] + 1) // 2
    several = size[number] > 1
    queries = int((size > 1).sum())
    if queries < max(_FEWEST, needed(alpha)):
        return None
    limit = threshold(value[better & several], query[better & several], alpha)
    assert limit is not None
    worse = ~better
    _, number, size = np.unique(query[worse], return_inverse=True, return_counts=True)
    passed = np.bincount(number, value[worse] < limit.value)
    return float((passed / size).mean())


def facts_of(
    alpha: float,
    above: Mapping[str, Sequence[np.ndarray]],
    passes: Mapping[str, float | None],
    several: int,
) -> dict[str, Any]:
    """What is known of each source, for the manifest.

    Args:
        alpha: the level.
        above: per source, :func:`standing_above` of the parts.
        passes: per source, :func:`passing`.
        several: queries with several positives that can calibrate.
    """
    sources: dict[str, dict[str, Any]] = {}
    for name, share in passes.items():
        told: dict[str, Any] = {}
        if share is not None:
            told |= {"passes": round(share, 4), "times": round(share / alpha, 2)}
        shares = np.concatenate([np.empty(0), *above.get(name, ())])
        if len(shares) >= _FEWEST:
            half = _Z * float(shares.std(ddof=1)) / len(shares) ** 0.5
            told |= {
                "above": round(float(shares.mean()), 4),
                "above_high": round(float(shares.mean()) + half, 4),
                "looks_selected": bool(shares.mean() + half < _SELECTED),
                "looks_random": bool(shares.mean() - half > _AT_RANDOM),
            }
        sources[name] = told
    return {"queries_with_several": several, "sources": sources}


def suspected(facts: Mapping[str, Any]) -> list[str]:
    """The sources whose ranking looks to have selected the labels; several where none stands out.

    A ranking that is like the one that selected them looks a little as if it had, too.
    """
    sources = facts.get("selection", {}).get("sources", {})
    found = [name for name, one in sources.items() if one.get("looks_selected")]
    found.sort(key=lambda name: sources[name]["above"])
    return [n for n in found if sources[n]["above"] <= sources[found[0]]["above_high"]]


def doubt(facts: Mapping[str, Any]) -> str | None:
    """The sentence to be warned with; None where nothing speaks against the assumption.

    Args:
        facts: of the calibration, as the manifest has them.
    """
    if facts.get("bias_from"):
        return _needless(facts)
    names = suspected(facts)
    if not names:
        return None
    sources = facts["selection"]["sources"]
    above = " and ".join(f"{sources[name]['above']:.0%}" for name in names)
    seen = (
        f"--max-fn-rate: labels look selected by {' and '.join(names)} (ranked above a labelled "
        f"positive are {above} of the unlabelled candidates that score as high; about half if "
        "labels were missing at random)"
    )
    times = max(sources[name].get("times", 0.0) for name in names)
    rate = f"expect {times:.1f} times the asked rate" if times > 1 else "expect a higher rate"
    options = " ".join(f"--bias-from {name}" for name in names)
    return f"{seen}: {rate}; {options} corrects it"


def _needless(facts: Mapping[str, Any]) -> str | None:
    """The sentence to be warned with where the bound is corrected for what is not seen."""
    sources = facts.get("selection", {}).get("sources", {})
    named = facts["bias_from"]
    if not all(sources.get(name, {}).get("looks_random") for name in named):
        return None
    above = " and ".join(f"{sources[name]['above']:.0%}" for name in named)
    return (
        f"--bias-from {' and '.join(named)}: labels do not look selected so (ranked above a "
        f"labelled positive are {above} of the unlabelled candidates that score as high, about "
        "half as if they were missing at random): the bound drops more than it need"
    )


def lines(manifest: Mapping[str, Any]) -> list[str]:
    """What a ledger's manifest says of the bound's assumption, a sentence each; none without one.

    Bounds that were made before it was looked at say nothing.
    """
    facts = manifest.get("calibration")
    if facts is None or not ("selection" in facts or "bias_from" in facts):
        return []
    found = doubt(facts)
    return [told(facts), *([] if found is None else [found])]


def told(facts: Mapping[str, Any]) -> str:
    """What was found of the assumption, or how it was corrected, in one sentence."""
    alpha, named = facts["alpha"], facts.get("bias_from")
    if named:
        return (
            f"--max-fn-rate {alpha:g} is corrected for labels selected by {' and '.join(named)}: "
            f"of positives that they rank below the labels at most that share is expected to pass"
        )
    selection = facts.get("selection", {"sources": {}, "queries_with_several": 0})
    known = {name: one for name, one in selection["sources"].items() if "passes" in one}
    if not known:
        return (
            "--max-fn-rate rests on labels that are missing at random; how much more would pass "
            f"if not cannot be tested: {selection['queries_with_several']} queries have several "
            f"positives, {max(_FEWEST, needed(alpha))} are needed"
        )
    rates = ", ".join(
        f"{one['passes']:.3g} if {name} selected them ({one['times']:.1f} times)"
        for name, one in known.items()
    )
    return (
        f"--max-fn-rate {alpha:g} holds if labels are missing at random; of the worse-ranked "
        f"positives would pass {rates}; --bias-from SOURCE corrects it"
    )
