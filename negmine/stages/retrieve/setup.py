"""What a run of ``negmine retrieve`` reads, checked, and its plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from negmine import memory, plugins
from negmine.dedup import signatures
from negmine.errors import UsageError, did_you_mean
from negmine.inputs.recorded import Inputs
from negmine.models.footprint import models_memory
from negmine.models.resolve import resolve
from negmine.params import output_affecting
from negmine.params.retrieve import RetrieveParams
from negmine.params.values import named, per_name
from negmine.plugins import Plugin
from negmine.sources import given
from negmine.table import artifacts
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.reading import Artifact
from negmine.table.names import ANN_PREFIX, check_name

VERSION = 5
#: What to do where approximate indexes do not fit.
_SMALLER = (
    "Of an inverted file (index --ann IVF4096,Flat, for example) only the lists that one query "
    "probes (nprobe) must fit, of any other index all of it."
)


@dataclass(frozen=True)
class Setup:
    """What a run reads, its parameters checked.

    Attributes:
        documents: the corpus.
        sources: names of all sources, in table order.
        children: the index's artifact of each source that has one.
        runs: the file of each source that another engine ran.
        plugged: other packages' sources, each with its argument.
        prompts: the query prompt of each encoder that was given one.
        approximate: the approximate index of each encoder's vectors, where one is to be searched.
    """

    documents: Artifact
    sources: list[str]
    children: dict[str, Artifact]
    runs: dict[str, str]
    plugged: dict[str, tuple[Plugin, str | None]]
    prompts: dict[str, str]
    approximate: dict[str, Artifact] = field(default_factory=dict)

    def budget(self, size: str | None, ann: str | None = None) -> memory.Budget:
        """What a run with ``--memory SIZE`` may hold.

        Args:
            size: what the user gave.
            ann: how approximate indexes are to be searched.

        Raises:
            UsageError: the ceiling cannot hold what is needed, or without one half of the free
                memory cannot hold the approximate indexes.
        """
        encoders = {name: child for name, child in self.children.items() if name != "bm25"}
        models = [child.models[name]["model"] for name, child in encoders.items()]
        fixed = models_memory(map(resolve, models))
        if "bm25" in self.children:
            fixed["Java"] = memory.JAVA + memory.LEAST_HEAP
        if not self.approximate:
            return memory.budget(size, **fixed)
        from negmine.sources.ann import held_to_search

        held = sum(held_to_search(found, ann or "") for found in self.approximate.values())
        # What is no index may take more than half of the free memory where no ceiling is given.
        ceiling = size or str(memory.budget(None, **fixed).ceiling)
        try:
            return memory.budget(ceiling, approximate_indexes=held, **fixed)
        except UsageError as error:
            asked = f"--memory {ceiling}"
            what = error.what if size else error.what.replace(asked, "half of the free memory")
            raise UsageError(what, hint=f"{error.hint} {_SMALLER}") from error


def set_up(params: RetrieveParams, index: Path) -> Setup:
    """Check the parameters against the index at ``index``.

    Raises:
        UsageError: options that contradict each other, or a source that the index has not.
        MissingInputError: there is no index.
    """
    _refuse_contradictions(params)
    opened = artifacts.open_artifact(index, ["index"], purpose="the index")
    no_source = ("documents", signatures.FOLDER)
    held = [name for name in opened.inputs if name not in no_source]
    available = [name for name in held if not name.startswith(ANN_PREFIX)]
    runs = named(params.run, "--run")
    for name in runs:
        if name in available:
            raise UsageError(
                f"--run: the index has a source '{name}' already", hint="Choose another name."
            )
    for name in params.distance:
        if name not in runs:
            raise UsageError(f"--distance: no run '{name}'", hint=did_you_mean(name, list(runs)))
    asked = [entry.partition("=") for entry in params.source]
    plugged = {
        name: _plugged(name, spec, [*available, *runs]) for name, equals, spec in asked if equals
    }
    sources = [name for name, _, _ in asked] or [*available, *runs]
    only_given = sources == [given.NAME] and params.given
    if given.NAME in sources and params.pairs:
        # It is there without being asked for, if there is something given.
        sources.remove(given.NAME)
    sources += [name for name in runs if name not in sources]
    for name in sources:
        if name not in available and name not in runs and name not in plugged:
            raise UsageError(
                f"--source: the index has no '{name}'",
                hint=did_you_mean(name, [*available, *runs]),
            )
    if len(set(sources)) != len(sources):
        raise UsageError("--source names one source twice")
    if not sources and not only_given:
        raise UsageError(
            "the index has documents and nothing to search with",
            hint="Give --run NAME=FILE or --source NAME=plugin:SOURCE, or --source given where "
            "--pairs is a training set with negatives, or index with an encoder.",
        )
    documents = opened.input("documents")
    children = {name: opened.input(name) for name in sources if name in available}
    encoders = {name: name for name in children if name != "bm25"}
    prompts = per_name(params.query_prompt, encoders, "--query-prompt")
    for name in encoders:
        from negmine.sources.dense import refuse_untrusted

        refuse_untrusted(children[name], name, params.trust_remote_code)
    approximate = _approximate(params.ann, opened, encoders, index)
    return Setup(documents, sources, children, runs, plugged, prompts, approximate)


def _refuse_contradictions(params: RetrieveParams) -> None:
    """Refuse options that contradict each other, whatever the index holds."""
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


def _approximate(
    ann: str | None, opened: Artifact, encoders: Iterable[str], index: Path
) -> dict[str, Artifact]:
    """The approximate index of each encoder's vectors, where one is to be searched."""
    if ann is None:
        return {}
    found: dict[str, Artifact] = {}
    for name in encoders:
        if ANN_PREFIX + name not in opened.inputs:
            raise UsageError(
                f"--ann: the index holds no approximate index of the vectors '{name}'",
                where=str(index),
                hint="Build it with: negmine index ... --ann FACTORY",
            )
        found[name] = opened.input(ANN_PREFIX + name)
    if not found:
        raise UsageError("--ann: no source searches vectors")
    return found


def _plugged(name: str, spec: str, taken: Sequence[str]) -> tuple[Plugin, str | None]:
    """Another package's source, and its argument."""
    check_name(name, "--source")
    if name in taken:
        raise UsageError(f"--source: there is a source '{name}' already", hint="Choose another.")
    if not spec.startswith(plugins.PREFIX):
        raise UsageError(
            f"--source: '{name}={spec}' is no plug-in",
            hint=f"Write --source {name}={plugins.PREFIX}SOURCE, or --run {name}=FILE for a run.",
        )
    return plugins.parse("source", spec, "--source")


def plan(params: RetrieveParams, setup: Setup, out: Path) -> Plan:
    """What the candidates at ``out`` are made from; reads the input files to digest them."""
    inputs = Inputs(out)
    for role in ("queries", "qrels", "pairs"):
        if specs := getattr(params, role):
            inputs.add(specs, role)
    for name, path in setup.runs.items():
        inputs.add(path, "run", f"run {name}")
    return Plan(
        "retrieve",
        VERSION,
        {
            **output_affecting(params),
            "source": setup.sources,
            **_identities(setup),
        },
        artifacts={
            "documents": setup.documents,
            **setup.children,
            **{ANN_PREFIX + name: found for name, found in setup.approximate.items()},
        },
        files=inputs.files,
        again=inputs.again,
    )


def _identities(setup: Setup) -> dict[str, Any]:
    """What stands for the plug-ins' code in the fingerprint."""
    found = {
        name: [plugin.identity, argument] for name, (plugin, argument) in setup.plugged.items()
    }
    return {"plugins": found} if found else {}
