"""What would give short queries their negatives: options, tried on a sample of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from negmine import rules
from negmine.errors import NegmineError
from negmine.learning.fit import Fit
from negmine.params.filter import FilterParams
from negmine.stages.filter.deciding import judge
from negmine.stages.filter.options import Columns
from negmine.stages.filter.relabelling import Flags
from negmine.stages.filter.short_queries import BY, LOST, QUOTA, RETRIEVAL, ROWS
from negmine.table import schemas
from negmine.table.candidates import Candidates
from negmine.table.part import Part

#: Short queries that are tried, of one part and in all, and options that are told.
_OF_A_PART, _SAMPLED, _TOLD = 250, 1000, 3
#: How the advice on short queries begins.
LEAD = re.compile(r"\d+ of \d+ queries have fewer than \d+ negatives")
#: The change that it names first.
CHANGE = re.compile(
    r"[:;] (?P<without>leaving out )?--(?P<name>[a-z][a-z0-9-]*)(?: (?P<value>\S+))? would "
)
#: Share of the short queries' candidates from which a rule took nearly all.
_NEARLY_ALL = 0.9


@dataclass
class Sample:
    """Some short queries with their rows, kept while the table is filtered.

    Attributes:
        asked: negatives asked for.
        parts: rows of short queries, with what the guard says of them.
        queries: how many queries that are.
        selected: how many negatives they have.
    """

    asked: int
    parts: list[tuple[pa.Table, dict[str, np.ndarray]]] = field(default_factory=list)
    queries: int = 0
    selected: int = 0

    def add(self, part: pa.Table, ledger: pa.Table, flags: Flags) -> None:
        """Keep the first short queries of a part."""
        room = min(_OF_A_PART, _SAMPLED - self.queries)
        if room <= 0 or part.num_rows == 0:
            return
        query = Part(part).query
        selected = Part(ledger).valid("selected")
        chosen = np.bincount(query[selected], minlength=Part(part).queries)
        some = np.flatnonzero(chosen < self.asked)[:room]
        if not len(some):
            return
        rows = np.isin(query, some)
        kept = {name: mask[rows] for name, mask in flags.items()}
        self.parts.append((part.filter(pa.array(rows)), kept))
        self.queries += len(some)
        self.selected += int(chosen[some].sum())

    @property
    def full(self) -> bool:
        """Whether no more queries are kept."""
        return self.queries >= _SAMPLED

    def clear(self) -> None:
        """Forget all queries."""
        self.parts.clear()
        self.queries = self.selected = 0

    def tried(self, params: FilterParams, columns: Columns, fit: Fit) -> tuple[int, int]:
        """How many of the queries are short with these settings, and their negatives."""
        made = [
            judge(table, params, columns, fit=fit, flags=flags)[1] for table, flags in self.parts
        ]
        return sum(one["queries_short"] for one in made), sum(one["selected"] for one in made)


def advice(
    counts: Mapping[str, Any],
    params: FilterParams,
    columns: Columns,
    fit: Fit,
    sample: Sample | None,
    source: Candidates,
) -> list[str]:
    """What left queries short and which options mend it, in words.

    Args:
        counts: the ledger's counts.
        params: settings.
        columns: the columns that they read.
        fit: what was learned from the whole table.
        sample: short queries on which options are tried; None to try none.
        source: the scored table, whose lineage tells what was retrieved.
    """
    short = counts["queries_short"]
    if not short:
        return []
    lead = (
        f"{short} of {counts['queries']} queries have fewer than {params.num_negatives} negatives "
        f"({counts['queries_with_none']} have none)"
    )
    by: dict[str, int] = dict(counts.get(BY.rstrip("."), {}))
    few, unmet = by.pop(RETRIEVAL, 0), by.pop(QUOTA, 0)
    lost: dict[str, int] = dict(counts.get(LOST.rstrip("."), {}))
    told = []
    if lost:
        names = sorted(lost, key=lambda name: (-by.get(name, 0), -lost[name]))
        most = max(lost, key=lambda name: lost[name])
        everything = lost[most] >= _NEARLY_ALL * counts[ROWS]
        mend = _mend(names[:2], params, columns, fit, sample, short, source, everything)
        told.append(
            f"{lead}: {most} took the most of their candidates ({lost[most]:,} of "
            f"{counts[ROWS]:,}); {mend}"
        )
    else:
        told.append(lead)
    if unmet:
        told.append(
            f"{unmet} queries have survivors enough, and too few of what --quota asks for: "
            f"{_quota_fill(params, columns, fit, sample, short, source)}"
        )
    if few:
        told.append(
            f"{few} queries had fewer than {params.num_negatives} candidates beside their "
            f"positives before any rule was asked: {_more(source)}"
        )
    return told


def _mend(
    names: list[str],
    params: FilterParams,
    columns: Columns,
    fit: Fit,
    sample: Sample | None,
    short: int,
    source: Candidates,
    everything: bool,
) -> str:
    """Options that leave fewer queries short, the best first; else what to do about the rule."""
    ways = dict(way for name in names for way in rules.ways(name, params, fit))
    if sample is not None and sample.queries:
        found = [
            (*sample.tried(replace(params, **changes), columns, fit), option)
            for option, changes in ways.items()
        ]
        found.sort(key=lambda one: (one[0], -one[1], one[2]))
        better = [one for one in found if one[0] < sample.queries or one[1] > sample.selected]
        if better:
            shown = ", ".join(_gain(*one, sample, short) for one in better[:_TOLD])
            return (
                f"{shown}; each lets more through that may be positives (negmine audit measures it)"
            )
    plain = [text for name in names if (text := rules.advice(name, params, everything))]
    return plain[0] if plain else _more(source)


def _quota_fill(
    params: FilterParams,
    columns: Columns,
    fit: Fit,
    sample: Sample | None,
    short: int,
    source: Candidates,
) -> str:
    """What others in the place of those that a quota asks for would gain."""
    if sample is None or not sample.queries:
        return _more(source)
    tried = sample.tried(replace(params, quota_fill=True), columns, fit)
    return f"{_gain(*tried, '--quota-fill', sample, short)}; else {_more(source)}"


def _gain(left: int, selected: int, option: str, sample: Sample, short: int) -> str:
    """What an option gains: fewer short queries, else more negatives for them."""
    about = "" if sample.queries == short else "about "
    scale = short / sample.queries
    if left < sample.queries:
        return f"{option} would leave {about}{round(left * scale)}"
    return f"{option} would choose {about}{round((selected - sample.selected) * scale)} more"


def _more(source: Candidates) -> str:
    """How to get more candidates."""
    try:
        if set(source.sources) == set(schemas.not_searched_names(source.schema())):
            told = ", ".join(source.sources)
            return (
                f"nothing was searched ({told}), and another --source of retrieve would find some"
            )
        k, bands, documents = source.k, source.bands, len(source.documents)
    except NegmineError:
        k, bands, documents = None, {}, 0
    whole = k is not None and 0 < documents <= k
    ways = []
    # -k cuts no band.
    if not whole and (not bands or any(name not in bands for name in source.sources)):
        ways.append("a larger -k" + ("" if k is None else f" ({k} now)"))
    narrow = [f"{name}={band}" for name, band in bands.items() if band != f"0:{documents}"]
    if narrow:
        ways.append(f"a wider --band ({', '.join(narrow)} now)")
    if not ways:
        return f"the corpus has {documents} documents, and -k {k} takes all that a source finds"
    return f"retrieve with {' or '.join(ways)}, or from another --source"
