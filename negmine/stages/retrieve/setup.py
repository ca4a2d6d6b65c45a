"""What a run of ``negmine retrieve`` reads, checked, and its plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from negmine import log, memory
from negmine.endpoints.budget import Budget
from negmine.endpoints.settings import limits_of
from negmine.errors import UsageError, did_you_mean
from negmine.inputs.recorded import Inputs
from negmine.params import output_affecting
from negmine.params.index import IndexParams
from negmine.params.llm import idle
from negmine.params.per_model import check_names, options_of_models
from negmine.params.retrieve import RetrieveParams
from negmine.params.values import named
from negmine.sources import child, given, kinds
from negmine.sources.child import DOCUMENTS
from negmine.sources.kind import Kind, SourceRef
from negmine.stages.retrieve import bands
from negmine.table import artifacts
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.reading import Artifact
from negmine.table.names import NOT_SEARCHED, VECTORS, check_name

VERSION = 5


@dataclass(frozen=True)
class Setup:
    """What a run reads, its parameters checked.

    Attributes:
        documents: the corpus.
        sources: the sources that are asked by name, in table order.
        implied: those that are asked wherever they have something to say; they come after.
        spending: what all encoders behind HTTP together may spend, and have spent.
    """

    documents: Artifact
    sources: dict[str, SourceRef]
    implied: list[SourceRef]
    spending: Budget

    @property
    def opened(self) -> list[SourceRef]:
        """The sources that are opened: those that are asked, and whom these ask."""
        asked = [source.asks for source in self.sources.values() if source.asks is not None]
        own = [another.ref for another in asked if another.own]
        # What several ask is held once, also where it is asked for itself.
        shared = {another.ref.name: another.ref for another in asked if not another.own}
        return [*{**shared, **self.sources}.values(), *own]

    def budget(self, size: str | None) -> memory.Budget:
        """What a run with ``--memory SIZE`` may hold.

        Raises:
            UsageError: see :func:`negmine.sources.child.budget`.
        """
        return child.budget(size, (source.needs() for source in self.opened))


def set_up(params: RetrieveParams, index: Path, documents: int | None = None) -> Setup:
    """Check the parameters against the index at ``index``.

    Args:
        params: what is asked.
        index: where it lies.
        documents: how many the corpus has; by default those of the index, which may be of a sample.

    Raises:
        UsageError: options that contradict each other, or a source that the index has not.
        MissingInputError: there is no index.
    """
    _refuse_contradictions(params)
    opened = artifacts.open_artifact(index, ["index"], purpose="the index")
    every = kinds.every()
    offered = {
        role: kind
        for role in opened.roles()
        if (kind := kinds.of_stage(opened.inputs[role]["stage"])) is not None
    }
    declared = _declared(params, every, list(offered))
    names = _asked_for(params, list(offered), declared)
    wanted: dict[str, dict[str, str]] = {kind.name: {} for kind in every}
    for name in names:
        kind, spec = declared[name] if name in declared else (offered[name], "")
        wanted[kind.name][name] = spec
    for option in dict.fromkeys(one for kind in every for one in kind.by_name):
        able = [name for kind in every if option in kind.by_name for name in wanted[kind.name]]
        check_names(params, [option], able, "source")
    chosen = {
        ref.name: ref
        for kind in every
        if not kind.implied
        for ref in kind.choose(params, wanted[kind.name], opened)
    }
    implied = [ref for kind in every if kind.implied for ref in kind.choose(params, {}, opened)]
    corpus = opened.input(DOCUMENTS)
    asked = [*names, *(ref.name for ref in implied)]
    bands.check(params, asked, documents or int(corpus.counts["documents"]))
    spending = Budget(*limits_of(params))
    setup = Setup(corpus, {name: chosen[name] for name in names}, implied, spending)
    if all(source.calls is None for source in setup.opened):
        log.warn(idle(params))
    return setup


def check_models(params: RetrieveParams, made: IndexParams, index: Path) -> None:
    """See, before there is an index, that options name encoders or sources that will be there.

    Args:
        params: what is asked.
        made: how the index will be made.
        index: where; encoders of an earlier run stay in it.

    Raises:
        UsageError: an option names another one.
    """
    vectors = [*named(made.encoder, "--encoder")]
    known = [name for name, equals, _ in (one.partition("=") for one in params.source) if equals]
    for kind in kinds.every():
        if (own := kind.own_place) is not None:
            found = [name for name, _ in own.found(index)]
            (vectors if own.stage == VECTORS else known).extend(found)
    known = list(dict.fromkeys([*vectors, *known]))
    check_names(params, options_of_models(params), known, "source")
    declared: list[str] = []
    for kind in kinds.every():
        kind.check(params, list(dict.fromkeys(vectors)))
        declared += kind.declared(params)
    if params.source:
        named_ones = [entry.partition("=")[0] for entry in params.source]
        bands.check(params, [*named_ones, *declared, *NOT_SEARCHED])
    else:
        bands.parse(params)


def will_have(params: RetrieveParams, made: IndexParams, index: Path) -> list[str]:
    """The sources that a table may have, before there is an index: those it will have, and perhaps
    others that an index there has or that are asked wherever they have something to say.

    Args:
        params: what is asked.
        made: how the index will be made.
        index: where.
    """
    every = kinds.every()
    known = [name for kind in every for name in kind.declared(params)]
    if params.source:
        known += [entry.partition("=")[0] for entry in params.source]
    else:
        places = [kind.own_place for kind in every if kind.own_place is not None]
        known += [place.only for place in places if place.only is not None]
        known += named(made.encoder, "--encoder")
        known += [name for place in places for name, _ in place.found(index)]
    return list(dict.fromkeys([*known, *sorted(NOT_SEARCHED)]))


def _declared(
    params: RetrieveParams, every: Iterable[Kind], offered: Sequence[str]
) -> dict[str, tuple[Kind, str]]:
    """The sources that options bring without the index: their kind, and what is written of them.

    Raises:
        UsageError: a name that is taken, or one that no kind of source reads.
    """
    declared: dict[str, tuple[Kind, str]] = {}
    for kind in every:
        option = kind.declared_by
        for name, spec in kind.declared(params).items():
            kinds.check_names([name], option)
            if name in offered:
                raise UsageError(
                    f"{option}: the index has a source '{name}' already",
                    hint="Choose another name.",
                )
            if name in declared:
                raise UsageError(
                    f"{option}: there is a source '{name}' already", hint="Choose another."
                )
            declared[name] = (kind, spec)
    for entry in params.source:
        name, equals, spec = entry.partition("=")
        if equals and (name not in declared or declared[name][0].declared_by != "--source"):
            check_name(name, "--source")
            usages = ", ".join(kind.usage for kind in every if kind.usage)
            raise UsageError(
                f"--source: '{entry}' is of no kind of source",
                hint=f"Write --source {name}=... with one of {usages}; a run of another engine is "
                f"--run {name}={spec}.",
            )
    return declared


def _asked_for(
    params: RetrieveParams, offered: Sequence[str], declared: Mapping[str, tuple[Kind, str]]
) -> list[str]:
    """Names of the sources that are asked, in table order.

    Raises:
        UsageError: one that is not there, one twice, or none.
    """
    known = [*offered, *declared]
    sources = [entry.partition("=")[0] for entry in params.source] or list(known)
    only_given = sources == [given.NAME] and params.given
    if given.NAME in sources and params.pairs:
        # It is there without being asked for, if there is something given.
        sources.remove(given.NAME)
    sources += [name for name in declared if name not in sources]
    for name in sources:
        if name not in known:
            raise UsageError(f"--source: the index has no '{name}'", hint=did_you_mean(name, known))
    if len(set(sources)) != len(sources):
        raise UsageError("--source names one source twice")
    if not sources and not only_given:
        raise UsageError(
            "the index has documents and nothing to search with",
            hint="Give --run NAME=FILE or --source NAME=plugin:SOURCE, or --source given where "
            "--pairs is a training set with negatives, or index with an encoder.",
        )
    return sources


def _refuse_contradictions(params: RetrieveParams) -> None:
    """Refuse options that contradict each other, whatever the index holds."""
    if len(set(params.keep)) != len(params.keep):
        raise UsageError("--keep names one column twice")
    if not params.pairs and not (params.queries and params.qrels):
        missing = "--qrels" if params.queries else "--queries"
        raise UsageError(
            f"{missing} is missing",
            hint="Give --queries and --qrels, or --pairs FILE with (query, positive) texts.",
        )
    if not params.pairs and (params.positive_above is not None or params.positive_first):
        option = "--positive-first" if params.positive_first else "--positive-above"
        raise UsageError(f"{option} is for --pairs", hint="Qrels have --min-grade.")
    if given.NAME in params.source and not params.pairs:
        raise UsageError(
            "--source given is for --pairs: a training set brings its negatives along",
            hint="Leave it out; documents judged not relevant are candidates anyway.",
        )
    if given.NAME in params.source and not params.given:
        raise UsageError("--source given contradicts --no-given", hint="Give one or the other.")
    if params.pairs and params.qrels:
        raise UsageError("--pairs replaces --queries and --qrels; give one or the other")
    if params.negative_grade != 0 and params.negative_grade >= params.min_grade:
        raise UsageError(
            f"--negative-grade {params.negative_grade:g} is not below --min-grade "
            f"{params.min_grade:g}: one grade would be both",
            hint="A grade of --min-grade or above makes a positive.",
        )


def plan(params: RetrieveParams, setup: Setup, out: Path) -> Plan:
    """What the candidates at ``out`` are made from; reads the input files to digest them."""
    inputs = Inputs(out)
    for role in ("queries", "qrels", "pairs"):
        if specs := getattr(params, role):
            inputs.add(specs, role)
    sources = setup.sources.values()
    for source in sources:
        for role, (layout, path) in source.files.items():
            inputs.add(path, layout, role)
    own = {ref.name: ref.artifact for ref in sources if ref.artifact is not None}
    beside = {role: found for ref in sources for role, found in ref.beside.items()}
    code = {ref.name: ref.identity for ref in sources if ref.identity is not None}
    specs = {ref.name: ref.spec for ref in sources if ref.spec is not None}
    return Plan(
        "retrieve",
        VERSION,
        {
            **output_affecting(params),
            "source": list(setup.sources),
            # Not there without plug-ins: what stands for their code.
            **({"plugins": code} if code else {}),
            # Likewise: what is written of sources that --source brings.
            **({"specs": specs} if specs else {}),
        },
        artifacts={DOCUMENTS: setup.documents, **own, **beside},
        files=inputs.files,
        models={role: model for ref in sources for role, model in ref.models.items()},
        again=inputs.again,
    )
