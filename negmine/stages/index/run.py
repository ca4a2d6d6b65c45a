"""``negmine index``: documents, and what each kind of source needs of them.

The index is a folder of artifacts, each with its own fingerprint, so another encoder is added
without touching the rest and an interrupted encoding continues where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from negmine import log
from negmine.addresses import is_address, located
from negmine.engine.shares import WHOLE, LeftToOthers, Share
from negmine.errors import ConflictError, InvalidDataError, MissingInputError, UsageError
from negmine.models.token_files import FOLDER as TOKEN_FILES
from negmine.models.token_files import Turn, between_encoders
from negmine.params.index import IndexParams
from negmine.sources import kinds
from negmine.sources.child import DOCUMENTS, Child, Made
from negmine.stages import cores
from negmine.stages.index.children import SIGNATURES, budget, children_of, places
from negmine.stages.index.documents import make_documents
from negmine.stages.outcome import Outcome
from negmine.table import artifacts
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.reading import Artifact
from negmine.table.artifacts.replace import Replace


def run(
    params: IndexParams,
    out: Path,
    *,
    replacing: Replace = Replace.NOTHING,
    share: Share = WHOLE,
) -> Outcome:
    """Make or extend the index at ``out``, or a share of the parts that several may make.

    Raises:
        NegmineError: see the exit codes in :mod:`negmine.errors`.
        LeftToOthers: this process's share of it is made.
    """
    if not params.corpus and not params.pairs:
        raise UsageError(
            "nothing to index",
            hint="Give --corpus FILE, or --pairs FILE to make the corpus from its passages.",
        )
    if params.keep and not params.corpus:
        raise UsageError("--keep names columns of the corpus", hint="Give --corpus FILE.")
    if len(set(params.keep)) != len(params.keep):
        raise UsageError("--keep names one column twice")
    cores.take(params.threads)
    wanted = children_of(params)
    if all(child.place is SIGNATURES for child in wanted):
        log.event(
            "the index has documents only: retrieve needs a --run, a plug-in's --source, or a "
            "training set's own negatives"
        )
    if is_foreign(params, out):
        raise ConflictError(
            "exists and is not a negmine index",
            where=str(out),
            hint="Choose another -o; negmine deletes only what it wrote.",
        )

    _refuse_other_kinds(out, wanted)
    named = _named(out)
    made = Made(out, replacing, budget(params, wanted), open_base(params, out), share)
    for child in wanted:
        child.tried(made)
    try:
        documents, warnings = make_documents(params, made)
    except LeftToOthers:
        raise MissingInputError(
            "the index has no documents of these settings yet, and one process reads a corpus",
            where=str(out),
            hint="Run the same command once without --shard, --encoder and --bm25 first: it stores "
            "the documents that the shards encode.",
        ) from None
    with between_encoders(out, _turns(wanted, made, documents)):
        children = _make(wanted, made, documents)
    _tell(made, children)
    for child in wanted:
        warnings = [*warnings, *children[child.role].warnings]
    return finish(out, children, made.changed, warnings, named)


def _turns(wanted: Sequence[Child], made: Made, documents: Artifact) -> list[Turn]:
    """The encoders that have yet to read the documents, in their order."""
    found = []
    for child in wanted:
        if child.encoding is None or child.taken(made, documents) is not None:
            continue
        plan = child.plan(documents)
        state = artifacts.state_of(made.out / child.folder, plan, replacing=made.replacing)
        if state.kind != "made":
            found.append(child.encoding.turn)
    return found


def _refuse_other_kinds(out: Path, wanted: Sequence[Child]) -> None:
    """See that no name stands for two things in one index.

    Raises:
        ConflictError: what an earlier run made for a source of this name is of another kind.
    """
    for child in wanted:
        others = [one for one in places() if one.only is None and one is not child.place]
        for place in (one for one in others if one.role(child.name) == child.role):
            folder = out / place.path(child.name)
            if artifacts.is_finished(folder):
                raise ConflictError(
                    f"the index has a source '{child.name}' of another kind",
                    where=str(folder),
                    hint="Choose another name, or remove that folder.",
                )


def _make(wanted: Sequence[Child], made: Made, documents: Artifact) -> dict[str, Artifact]:
    """The documents and the children that are wanted, by role.

    Raises:
        LeftToOthers: some are not this process's to make, or not all of them.
    """
    children = {DOCUMENTS: documents}
    finished, others, waits = 0, [], False
    for child in wanted:
        parent = children.get(child.parent)
        if parent is None:
            others.append((0, child.folder))
            continue
        try:
            taken = child.taken(made, parent)
            children[child.role] = child.make(made, parent) if taken is None else taken
        except LeftToOthers as left:
            finished += left.made
            one = left.others == ((0, child.folder),)
            others += [
                (unit, name if one else f"{child.folder}/{name}") for unit, name in left.others
            ]
            # Also where all is there: who collects says so.
            waits = True
    if others or waits:
        raise LeftToOthers(finished, others)
    return children


def open_base(params: IndexParams, out: Path) -> Artifact | None:
    """The index whose children may be taken.

    Raises:
        NegmineError: it is no finished index.
        UsageError: it is the very index that is to be made.
    """
    if params.base is None:
        return None
    if located(params.base).resolve() == out.resolve():
        raise UsageError(
            "--base is the index that is to be made", where=params.base, hint="Choose another -o."
        )
    return artifacts.open_artifact(params.base, ["index"], purpose="the base index")


def is_foreign(params: IndexParams, out: Path) -> bool:
    """Whether a folder holds something else than an index, finished or not."""
    # The names first: a command that begins meanwhile makes the documents' folder before all else.
    there = set(artifacts.names_in(out)) if artifacts.is_folder(out) else set()
    # What a killed command left half-written is negmine's.
    there = {name for name in there if not artifacts.is_half_written(name)}
    if artifacts.is_folder(out / DOCUMENTS):
        return False
    if params.base is None:
        return bool(there)
    # Its documents may lie elsewhere, so that any other part of an index must do.
    known = {artifacts.MANIFEST, TOKEN_FILES, *(Path(place.folder).parts[0] for place in places())}
    return not there <= known


def _tell(made: Made, children: Mapping[str, Artifact]) -> None:
    """Say what the base index gave, and whether that is all or nothing."""
    if made.base is None:
        return
    own = made.out.resolve()
    taken = [role for role, one in children.items() if own not in one.path.resolve().parents]
    others = [role for role in children if role not in taken]
    if DOCUMENTS in others:
        log.event(f"{made.base.path} is of other documents: all is made anew", level=30)
        return
    told = f"taken from {made.base.path}: {', '.join(taken)}"
    log.event(f"{told}; its own: {', '.join(others) or 'nothing'}", taken=taken, own=others)


def _named(out: Path) -> list[str]:
    """The children that the index's manifest names and that lie in it."""
    try:
        index = artifacts.open_artifact(out)
    except (MissingInputError, InvalidDataError):
        # There is none, or one that is written anew.
        return []
    # Those of a base index lie elsewhere, and another command need not ask for them.
    paths = {role: str(record["path"]) for role, record in index.inputs.items()}
    return [
        role
        for role, path in paths.items()
        if not (is_address(path) or Path(path).parts[0] in ("..", "/"))
    ]


def finish(
    out: Path,
    children: Mapping[str, Artifact],
    changed: bool,
    warnings: list[str],
    named: Sequence[str] = (),
) -> Outcome:
    """Write the index's own manifest: its children, and those that other commands added.

    Args:
        out: the index.
        children: of this command, by role.
        changed: whether one of them was made.
        warnings: that were told.
        named: children that it had before.
    """
    every, left_out = _with_others(out, children)
    wrote = False
    while True:
        plan = Plan("index", 1, {}, artifacts=every)
        lost = (role for role in named if role not in every and role not in left_out)
        counts, new = _counts(every), list(left_out.values())
        new += [f"{role} was part of {out}, and is gone or being made anew" for role in lost]
        told = [*warnings, *new]
        if _is_current(out, plan):
            artifacts.touch(out / artifacts.MANIFEST)
        else:
            wrote = True
            what = {"counts": counts, "warnings": told, "files": {}, "run": {}}
            artifacts.write_manifest(out / artifacts.MANIFEST, {**plan.identity(out), **what})
        # Another command may have finished a child since, and not this one, when it wrote:
        # whoever writes last has seen all of them.
        before, (every, left_out) = every, _with_others(out, children)
        if every == before:
            log.warn(new)
            return Outcome(out, counts, up_to_date=not (wrote or changed), warnings=told)


def _is_current(out: Path, plan: Plan) -> bool:
    """Whether the index's manifest names these children, where they lie now."""
    try:
        # A child may have come to lie elsewhere, and be the same.
        return artifacts.open_artifact(out).inputs == plan.identity(out)["inputs"]
    except (MissingInputError, InvalidDataError):
        return False


def _with_others(
    out: Path, children: Mapping[str, Artifact]
) -> tuple[dict[str, Artifact], dict[str, str]]:
    """These children, in order, with what lies in the index and belongs to them.

    Returns:
        (all of them, by role; what does not belong to them, by role, in words).
    """
    every = dict(children)
    warnings = _add_others(out, every)
    return {role: every[role] for role in sorted(every, key=_order)}, warnings


def _add_others(out: Path, children: dict[str, Artifact]) -> dict[str, str]:
    """Add what lies in the index and belongs to these children; tell of what does not."""
    warnings = {}
    for place in places():
        for name, folder in place.found(out):
            role = place.role(name)
            if role in children:
                continue
            try:
                found = artifacts.open_artifact(folder)
            except MissingInputError:
                # Another command has just begun to make it anew.
                continue
            parent = children.get(place.parent(name))
            made_from = found.inputs[place.of]["fingerprint"]
            if parent is not None and parent.fingerprint == made_from:
                children[role] = found
            else:
                other = "another corpus" if place.of == DOCUMENTS else f"other {place.of}"
                warnings[role] = f"{folder} belongs to {other} and is left out"
    return warnings


def _order(role: str) -> tuple[int, str]:
    """The documents first, then what there is one of, then all else by its name."""
    first = [DOCUMENTS, *(place.only for place in places() if place.only is not None)]
    return (first.index(role) if role in first else len(first), role)


def _counts(children: dict[str, Artifact]) -> dict[str, Any]:
    """What the index's manifest tells of its children, in the order of their places."""
    kind_of = {kind.places[0].stage: kind for kind in kinds.every() if kind.places}
    counts: dict[str, Any] = {"documents": children[DOCUMENTS].counts["documents"]}
    for place in places():
        if place is SIGNATURES:
            counts["signatures"] = place.folder in children
        elif place.stage in kind_of:
            names = [role for role, child in children.items() if child.stage == place.stage]
            counts |= kind_of[place.stage].told(names)
    return counts
