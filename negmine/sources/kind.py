"""What is to be known of a kind of source: its options, its artifacts, how it is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from negmine import memory
from negmine.endpoints.budget import Budget
from negmine.inputs.asked import Asked as InputColumns
from negmine.params.index import IndexParams
from negmine.params.retrieve import RetrieveParams
from negmine.sources.base import Source
from negmine.sources.child import Child, Needs, Place
from negmine.sources.union import Judgements
from negmine.table.artifacts.reading import Artifact
from negmine.table.documents import Documents


@dataclass(frozen=True)
class Opening:
    """What a source is opened with.

    Attributes:
        params: the options of ``retrieve``.
        corpus: the documents.
        qids: ids of the queries to mine, string [n].
        texts: their texts, string [n].
        judgements: all judged pairs of theirs.
        columns: what the user said about the columns of files.
        given: the negatives that a training set brought along.
        kept: columns of the queries that are kept, by name, each [n].
        budget: what may be held.
        spending: what all encoders behind HTTP together may spend, and have spent.
        lists: bytes for each approximate index, beyond what one query reads of it.
        together: queries that a model encodes together.
        opened: the sources that are open already, by name.
        lent: sources of the index that are not asked for themselves and are open for those that ask
            them, by name; whoever opens one puts it here and closes it.
        counts: takes what a source read and left out.
        warnings: takes its losses in words.
        scratch: the folder that is being written, for what does not fit the memory.
        trial: only some queries are asked, to see what a search costs.
    """

    params: RetrieveParams
    corpus: Documents
    qids: pa.Array
    texts: pa.Array
    judgements: Judgements
    columns: InputColumns
    given: Source | None
    budget: memory.Budget
    spending: Budget
    lists: int = 0
    together: int = 1
    kept: Mapping[str, pa.Array] = field(default_factory=dict)
    opened: Mapping[str, Source] = field(default_factory=dict)
    lent: dict[str, Source] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    scratch: Path | None = None
    trial: bool = False


@dataclass(frozen=True)
class Another:
    """A source of the index that another source asks, opened once for all who do.

    Attributes:
        ref: it.
        own: whether it is opened for this one alone, because options name that one.
    """

    ref: SourceRef
    own: bool = False

    def open(self, opening: Opening) -> tuple[Source, bool]:
        """(it, whether it was opened here: who opened it closes it)."""
        name = self.ref.name
        known = None if self.own else opening.opened.get(name, opening.lent.get(name))
        if known is not None:
            return known, False
        found = self.ref.open(opening)
        assert found is not None, "an index's sources open"
        if not self.own:
            opening.lent[name] = found
        return found, True


@dataclass(frozen=True)
class SourceRef:
    """A source that a run asks, not opened yet.

    Attributes:
        name: its name in the table.
        open: opens it; None where there is nothing to be found.
        artifact: its own in the index.
        beside: what else it reads, by role: of the index, or an earlier ledger.
        files: users' files by role, each as (layout, path).
        spec: what is written of it beside its name, as far as that decides what it finds.
        models: models that it reads and no artifact of the index was made with, by role: their
            name and revision.
        identity: what stands for another package's code in the fingerprint.
        needs: what it holds; asked when a run begins.
        lists: whether it reads an approximate index.
        vectors: stored vectors that a search compares all of.
        each: hits of a query, where that is more than k.
        asks: another source of the index that it asks; what that holds is no need of its own.
        calls: how many calls so many queries take, of an encoder behind HTTP; None = none is asked.
    """

    name: str
    open: Callable[[Opening], Source | None]
    artifact: Artifact | None = None
    beside: Mapping[str, Artifact] = field(default_factory=dict)
    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    spec: Any = None
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    identity: Any = None
    needs: Callable[[], Needs] = Needs
    lists: bool = False
    vectors: Artifact | None = None
    each: int = 0
    asks: Another | None = None
    calls: Callable[[int], int] | None = None


#: (options, what is written of each source by name, the index) -> the sources.
Choose = Callable[[RetrieveParams, Mapping[str, str], Artifact], Sequence[SourceRef]]


def _no_children(params: IndexParams) -> Sequence[Child]:
    return ()


def _checks_nothing(params: RetrieveParams, vectors: Sequence[str]) -> None:
    """What is written of it is seen when it is chosen."""


def _declares_nothing(params: RetrieveParams) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True)
class Kind:
    """One kind of source. Its versions stand in the plans of its artifacts.

    Attributes:
        name: what it is called.
        choose: checks the options of the sources of this kind that are asked; it is called where
            there is none, too.
        reads: per stage the options that belong to this kind alone.
        by_name: options of ``retrieve`` that may be given for one of its sources by name.
        places: where an index keeps its artifacts; the first is the source's own, whose role is
            the source's name, but for a kind with a scheme, whose sources options name.
        children: what an index makes for it.
        declares: sources that options of ``retrieve`` bring without the index, as name -> spec.
        option: that option.
        scheme: ``--source NAME=SCHEME:REST`` brings its sources; ``choose`` is given the rest.
        usage: how such a one is written, for messages.
        searches_among: whether its sources also search among some documents alone.
        check: sees before there is an index, with the names of the vectors that will be in it, what
            is written of its sources.
        implied: whether it is asked without being named, wherever it has something to say.
        counts: of the names of its sources in an index, what the index's manifest tells.
    """

    name: str
    choose: Choose
    reads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    by_name: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()
    children: Callable[[IndexParams], Sequence[Child]] = _no_children
    declares: Callable[[RetrieveParams], Mapping[str, str]] = _declares_nothing
    option: str = ""
    scheme: str = ""
    usage: str = ""
    searches_among: bool = False
    check: Callable[[RetrieveParams, Sequence[str]], None] = _checks_nothing
    implied: bool = False
    counts: Callable[[Sequence[str]], Mapping[str, Any]] | None = None

    def declared(self, params: RetrieveParams) -> Mapping[str, str]:
        """The sources that options bring without the index, as name -> what is written of each."""
        if not self.scheme:
            return self.declares(params)
        parted = (entry.partition("=") for entry in params.source)
        prefix = f"{self.scheme}:"
        return {
            name: spec.removeprefix(prefix) for name, _, spec in parted if spec.startswith(prefix)
        }

    @property
    def own_place(self) -> Place | None:
        """Where an index keeps what is a source by itself."""
        return self.places[0] if self.places and not self.scheme else None

    @property
    def declared_by(self) -> str:
        """The option that brings them."""
        return "--source" if self.scheme else self.option

    def told(self, names: Sequence[str]) -> Mapping[str, Any]:
        """What an index's manifest tells of its sources of this kind."""
        if self.counts is not None:
            return self.counts(names)
        return {self.name: list(names)} if names else {}
