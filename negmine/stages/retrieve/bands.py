"""Which slice of each source's ranking is taken (``--band``), and how much is searched and kept.

A band is a 0-based slice of a query's ranking of the documents that are no known positives of it,
as SciNCL writes them (Ostendorff et al., arXiv 2202.06671). Without one it is the first ``k``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from negmine.errors import UsageError, did_you_mean
from negmine.params.retrieve import RetrieveParams
from negmine.sources import Source, capabilities_of
from negmine.table.names import check_name

_SLICE = re.compile(r"(\d+):(\d+)", re.ASCII)


@dataclass(frozen=True)
class Band:
    """The documents of a ranking from ``first`` to below ``end``, counted from 0."""

    first: int
    end: int

    def __len__(self) -> int:
        """How many these are."""
        return self.end - self.first

    def __str__(self) -> str:
        """As it is written."""
        return f"{self.first}:{self.end}"


def parse(params: RetrieveParams) -> dict[str, Band]:
    """The bands that are asked for, by source.

    Raises:
        UsageError: one is written otherwise, or is empty.
    """
    found: dict[str, Band] = {}
    for entry in params.band:
        name, equals, rest = entry.partition("=")
        matched = _SLICE.fullmatch(rest)
        if not equals or matched is None or int(matched[1]) >= int(matched[2]):
            raise UsageError(
                f"--band '{entry}' is no slice of a ranking",
                hint=f"Write NAME=FROM:TO, counted from 0 and without TO: --band {name or 'NAME'}"
                "=20:25 takes the 21st to the 25th document that is no known positive.",
            )
        check_name(name, "--band", ())
        found[name] = Band(int(matched[1]), int(matched[2]))
    return found


def check(params: RetrieveParams, sources: Iterable[str], documents: int | None = None) -> None:
    """See that bands are of sources that are asked and lie within the corpus.

    Args:
        params: what is asked.
        sources: who is asked.
        documents: how many there are; None where that is not known yet.

    Raises:
        UsageError: one is not.
    """
    known = list(sources)
    for name, band in parse(params).items():
        if name not in known:
            raise UsageError(
                f"--band {name}={band}: no source '{name}' is asked",
                hint=did_you_mean(name, known),
            )
        if documents is not None and band.end > documents:
            raise UsageError(
                f"--band {name}={band} goes beyond the corpus, which has {documents:,} documents",
                hint=f"A ranking has no {band.end:,} documents to take it from: give a band that "
                "ends earlier.",
            )


def refuse_uncut(params: RetrieveParams, opened: Mapping[str, Source]) -> None:
    """Refuse bands of sources that have no ranking to be cut.

    Raises:
        UsageError: all that such a source answers counts, or it has nothing to say.
    """
    for name, band in parse(params).items():
        if name not in opened:
            raise UsageError(
                f"--band {name}={band}: there is nothing that '{name}' finds", hint="Leave it out."
            )
        if capabilities_of(opened[name]).answers_all:
            raise UsageError(
                f"--band {name}={band}: all that '{name}' finds are candidates, it has no ranking "
                "to be cut",
                hint="Leave the band out.",
            )


def within(params: RetrieveParams, documents: int) -> RetrieveParams:
    """The same with bands of their width that lie within a smaller corpus, for a trial of it."""
    moved = []
    for name, band in parse(params).items():
        end = min(band.end, max(1, documents // 2))
        moved.append(f"{name}={max(0, min(end - 1, end - len(band)))}:{end}")
    return replace(params, band=tuple(moved))


@dataclass(frozen=True)
class Extent:
    """How much is searched and kept of a query.

    Attributes:
        sources: how many are asked.
        hits: of the source that is searched deepest, beside the known positives.
        kept: of the source of which most are taken.
    """

    sources: int
    hits: int
    kept: int


def slices(params: RetrieveParams, sources: Iterable[str]) -> dict[str, Band]:
    """The slice of each source's ranking that is taken: its band, else the first ``k``."""
    asked = parse(params)
    return {name: asked.get(name, Band(0, params.k)) for name in sources}


def extent(params: RetrieveParams, each: Mapping[str, int]) -> Extent:
    """How much is searched and kept of a query.

    Args:
        params: what is asked.
        each: of every source how many documents it has for a query whatever is asked for, or
            fewer than k.
    """
    taken = slices(params, each)
    hits = [max(taken[name].end, own) for name, own in each.items()]
    kept = [max(len(taken[name]), own) for name, own in each.items()]
    return Extent(len(each), max(hits, default=params.k), max(kept, default=params.k))
