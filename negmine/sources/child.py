"""What an index keeps for its sources: artifacts beside the documents, each made once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from negmine import memory
from negmine.engine.shares import WHOLE, LeftToOthers, Share
from negmine.errors import UsageError
from negmine.models.footprint import models_memory
from negmine.models.resolve import ModelRef
from negmine.models.token_files import Turn
from negmine.table import artifacts
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.reading import Artifact
from negmine.table.artifacts.replace import Replace
from negmine.table.artifacts.writing import Writer
from negmine.table.documents import Documents

DOCUMENTS = "documents"


@dataclass(frozen=True)
class Needs:
    """What is held in memory whatever the blocks.

    Attributes:
        models: models that are loaded.
        fixed: other bytes, by what they are for; the same name is held once.
        large: bytes of what no block can be made smaller for.
        hint: what makes that smaller.
    """

    models: tuple[ModelRef, ...] = ()
    fixed: Mapping[str, int] = field(default_factory=dict)
    large: Mapping[str, int] = field(default_factory=dict)
    hint: str = ""


def budget(size: str | None, needs: Iterable[Needs]) -> memory.Budget:
    """What a run with ``--memory SIZE`` may hold.

    Raises:
        UsageError: the ceiling cannot hold what is needed, or without one half of the free memory
            cannot hold what is large.
    """
    every = list(needs)
    fixed = models_memory(model for one in every for model in one.models)
    for one in every:
        fixed |= one.fixed
    large: dict[str, int] = {}
    for one in every:
        for name, held in one.large.items():
            large[name] = large.get(name, 0) + held
    if not large:
        return memory.budget(size, **fixed)
    # What is large may take no more than half of the free memory where no ceiling is given.
    ceiling = size or str(memory.budget(None, **fixed).ceiling)
    try:
        return memory.budget(ceiling, **large, **fixed)
    except UsageError as error:
        asked = f"--memory {ceiling}"
        what = error.what if size else error.what.replace(asked, "half of the free memory")
        hints = dict.fromkeys(one.hint for one in every if one.hint)
        raise UsageError(what, hint=" ".join([error.hint or "", *hints])) from error


class Made:
    """Begins child artifacts, and remembers whether anything had to be made."""

    def __init__(
        self,
        out: Path,
        replacing: Replace = Replace.NOTHING,
        budget: memory.Budget | None = None,
        base: Artifact | None = None,
        share: Share = WHOLE,
    ) -> None:
        self.out, self.replacing, self.changed, self.share = out, replacing, False, share
        self.budget = budget or memory.budget(None)
        self.base = base

    def taken(self, role: str, folder: str, plan: Plan) -> Artifact | None:
        """What the base index has of this plan, unless the index has it itself.

        Args:
            role: what an index's manifest calls it.
            folder: where it would lie inside the index.
            plan: what it would be made from.

        Raises:
            NegmineError: the base names it, and it is gone or another one.
        """
        if self.base is None:
            return None
        if self.base.inputs.get(role, {}).get("fingerprint") != plan.fingerprint:
            return None
        own = self.out / folder
        if (
            artifacts.is_finished(own)
            and artifacts.open_artifact(own).fingerprint == plan.fingerprint
        ):
            return None
        return self.base.input(role)

    def begin(
        self, folder: str, plan: Plan, outdated: bool = False, *, shared: bool = False
    ) -> Writer | None:
        """Begin the child in ``folder``, anew if it is ``outdated``; None = up to date.

        Args:
            folder: inside the index.
            plan: what it is made from.
            outdated: whether what is there goes without being asked for.
            shared: whether several processes may make it, part by part.

        Raises:
            NegmineError: something else is there that may not go.
            LeftToOthers: one process has to make it, and this one makes a share only.
        """
        replacing = Replace.ALL if outdated else self.replacing
        share = self.share
        if not (shared or share.whole):
            if artifacts.state_of(self.out / folder, plan).kind != "made":
                raise LeftToOthers(0, [(0, folder)])
            share = WHOLE
        writer = artifacts.begin(self.out / folder, plan, replacing=replacing, share=share)
        if writer is not None and not self.changed:
            self.changed = True
            # The index is unfinished from here until all its parts are there.
            artifacts.remove_file(self.out / artifacts.MANIFEST)
        if writer is not None:
            memory.reset_peak_memory()
        return writer


@dataclass(frozen=True)
class Place:
    """Where an index keeps artifacts of one sort.

    Attributes:
        stage: what their manifests say they are; by this alone they are told from others.
        folder: inside the index; it ends with ``*`` where each source's has a folder of its own,
            else there is one, and the source has the folder's name.
        prefix: of the artifact's name in the index's manifest, before the source's.
        of: what its manifest calls the artifact that it is made from.
    """

    stage: str
    folder: str
    prefix: str = ""
    of: str = DOCUMENTS

    @property
    def only(self) -> str | None:
        """The name of the one source that has such an artifact; None where each may have one."""
        return None if "*" in self.folder else self.folder

    def path(self, name: str) -> str:
        """The folder of a source's artifact."""
        return self.folder.replace("*", name)

    def role(self, name: str) -> str:
        """What the index's manifest calls it."""
        return f"{self.prefix}{name}"

    def parent(self, name: str) -> str:
        """What the index's manifest calls what it is made from."""
        return DOCUMENTS if self.of == DOCUMENTS else name

    def found(self, index: Path) -> Iterator[tuple[str, Path]]:
        """(source, folder) of what lies there, finished, by name."""
        above, _, name = self.folder.rpartition("/")
        place = index / above
        for found in artifacts.names_in(place) if artifacts.is_folder(place) else ():
            if fnmatch(found, name) and artifacts.is_finished(place / found):
                yield found, place / found


@dataclass(frozen=True)
class Encoding:
    """How a model encodes the documents for a child.

    Attributes:
        load: loads the model.
        fill: writes what an encoder makes of every document, and returns counts.
        stand_in: (model, some texts): what stands in for it where only the size of what it makes
            matters; without it random vectors do.
        bytes_each: what it makes of a document takes so many while its part is held.
        turn: how it will read the documents, as far as is known.
    """

    load: Callable[[], Any]
    fill: Callable[[Documents, Writer, Any], dict[str, int]]
    turn: Turn
    stand_in: Callable[[Any, Sequence[str]], Any] | None = None
    bytes_each: Callable[[Any], int] = lambda encoder: 4 * int(encoder.dimension)


@dataclass(frozen=True)
class Trained:
    """What is known of a child that learns from many documents before it is made.

    Attributes:
        what: what it is called.
        spec: how the user wrote it.
        refuse: (parent, documents, budget): raise where so many cannot be built within the budget.
        bytes_each: (parent): bytes that a document takes.
        held: (parent, documents, working memory): bytes held while it is built.
        grown: (child): bytes of it that grow with the documents.
        tried_on: (documents): the child as a trial makes it of so few documents, where sources
            cannot be tried without it.
        work: (documents): what building takes, in a unit of its own.
    """

    what: str
    spec: str
    refuse: Callable[[Artifact, int, memory.Budget], None]
    bytes_each: Callable[[Artifact], float]
    held: Callable[[Artifact, int, int], int]
    grown: Callable[[Artifact], int]
    tried_on: Callable[[int], Child] | None = None
    work: Callable[[int], float] = float


def _untried(made: Made) -> None:
    """Nothing can be tried before the parent is there."""


def _never(documents: Artifact) -> bool:
    return False


@dataclass(frozen=True)
class Child:
    """One artifact of an index that is to be made.

    Attributes:
        name: of the source.
        place: where it goes.
        plan: what it is made from, of its parent.
        make: makes it of its parent, unless it is there.
        tried: sees, before anything is written, that what it is made with can do what is asked.
        needs: what is held meanwhile.
        outdated: whether what is there is another version's and is made anew without being asked.
        encoding: where a model encodes every document.
        trained: where it is learned from many documents.
    """

    name: str
    place: Place
    plan: Callable[[Artifact], Plan]
    make: Callable[[Made, Artifact], Artifact]
    tried: Callable[[Made], None] = _untried
    needs: Needs = field(default_factory=Needs)
    outdated: Callable[[Artifact], bool] = _never
    encoding: Encoding | None = None
    trained: Trained | None = None

    @property
    def role(self) -> str:
        """What the index's manifest calls it."""
        return self.place.role(self.name)

    @property
    def parent(self) -> str:
        """What the index's manifest calls what it is made from."""
        return self.place.parent(self.name)

    @property
    def folder(self) -> str:
        """Where it lies inside the index."""
        return self.place.path(self.name)

    def taken(self, made: Made, parent: Artifact) -> Artifact | None:
        """What the base index has of it, unless the index has it itself."""
        return made.taken(self.role, self.folder, self.plan(parent))
