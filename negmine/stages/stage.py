"""The five stages, and ``write`` beside them, a row each: what one is called, reads, makes, runs.

The command line, recipes, ``negmine.mine`` and the work folder of ``negmine run`` follow from these
rows. What a stage imports is imported when it runs: ``--help`` reads the rows and nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from negmine.engine.shares import WHOLE, Share
from negmine.errors import UsageError
from negmine.params import Params
from negmine.params.export import ExportParams
from negmine.params.filter import FilterParams
from negmine.params.index import IndexParams
from negmine.params.rerank import RerankParams
from negmine.params.retrieve import RetrieveParams
from negmine.params.write import OF_THE_TASK, TRAINING_SETS, WriteParams
from negmine.table.names import INSTRUCTION

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from negmine.stages.outcome import Outcome
    from negmine.stages.rerank import MakeUntil
    from negmine.stages.write import Readers
    from negmine.table.artifacts import Replace
    from negmine.table.candidates import Candidates

P = TypeVar("P", bound=Params)


@dataclass(frozen=True, repr=False, eq=False)
class Reads:
    """The artifact that a stage reads.

    Attributes:
        name: what it is called on the command line.
        help: its help there.
        others: what may stand in its place there.
    """

    name: str
    help: str
    others: tuple[str, ...] = ()

    @property
    def metavar(self) -> str:
        """How the command line shows it."""
        return "|".join(one.upper() for one in (*self.others, self.name))


@dataclass(frozen=True, repr=False, eq=False)
class Stage(Generic[P]):
    """One stage.

    Attributes:
        name: of its command, its table in recipes, and its artifact's ``stage``.
        params: its options.
        run: does it: (parameters, artifact it reads, result, what it may replace, share).
        reads: the artifact that it reads; None for the first stage.
        folder: its artifact inside a work folder; None where the recipe names the result.
        help: what it does, in a line.
        example: a command line.
        needs: the option without which a chain leaves the stage out.
        alone: the option whose folder may be all that is written, without -o.
        tagged: whether a work folder may hold several of its results, each with its tag.
        by_parts: whether several processes may make it, part by part.
        beside: whether the stage after it reads what this one read, and its result besides.
        foreseen: refuses what can be seen to be wrong before the stages in front of it have run:
            (parameters, the steps of the chain).
    """

    name: str
    params: type[P]
    run: Callable[[P, Path | None, Path, Replace, Share], Outcome]
    reads: Reads | None
    folder: str | None
    help: str
    example: str
    needs: str | None = None
    alone: str | None = None
    tagged: bool = False
    by_parts: bool = False
    beside: bool = False
    foreseen: Callable[[P, Sequence[Step]], None] | None = None


@dataclass(frozen=True)
class Step:
    """A stage of a chain with its parameters, and where its result goes."""

    stage: str
    params: Params
    out: Path


def _index(
    params: IndexParams, source: Path | None, out: Path, replacing: Replace, share: Share
) -> Outcome:
    from negmine.stages import index

    return index.run(params, out, replacing=replacing, share=share)


def _write(
    params: WriteParams, source: Path | None, out: Path, replacing: Replace, share: Share
) -> Outcome:
    from negmine.stages import write

    if share is not WHOLE:
        raise UsageError(
            "--shard: write is one process's work",
            hint="What it asks of a server goes on side by side: --concurrency.",
        )
    return write.run(params, _given(source), out, readers_of(), replacing=replacing)


def readers_of() -> Readers:
    """What ``write`` reads by other stages."""
    from negmine.stages import index, retrieve
    from negmine.stages.write import Readers

    def indexed(params: IndexParams, folder: Path, replacing: Replace) -> Path:
        return index.run(params, folder, replacing=replacing).path

    return Readers(retrieve.read_task, indexed)


def _retrieve(
    params: RetrieveParams, source: Path | None, out: Path, replacing: Replace, share: Share
) -> Outcome:
    from negmine.stages import retrieve

    return retrieve.run(params, _given(source), out, replacing=replacing, share=share)


def _rerank(
    params: RerankParams, source: Path | None, out: Path, replacing: Replace, share: Share
) -> Outcome:
    from negmine.stages import rerank

    until = until_of(params)
    return rerank.run(params, _given(source), out, replacing=replacing, until=until, share=share)


def _filter(
    params: FilterParams, source: Path | None, out: Path, replacing: Replace, share: Share
) -> Outcome:
    from negmine.stages import filter as filtering

    return filtering.run(params, _given(source), out, replacing=replacing, share=share)


def _export(
    params: ExportParams, source: Path | None, out: Path, replacing: Replace, share: Share
) -> Outcome:
    from negmine.stages import export

    if params.format == export.AS_INPUT:
        if share is not WHOLE:
            raise UsageError(
                f"--shard: --format {export.AS_INPUT} is one process's work",
                hint="Export without --shard.",
            )
        return export.write_back(params, _given(source), out, limits_of, replacing=replacing)
    return export.run(params, _given(source), out, replacing=replacing, share=share)


def limits_of(ledger: Candidates) -> Callable[[pa.Table], tuple[np.ndarray, np.ndarray]]:
    """What tells what the rules of a ledger compared; see :mod:`negmine.stages.filter.recorded`."""
    from negmine.stages.filter import recorded

    return recorded.limits_of(ledger)


def _retrieve_foreseen(params: RetrieveParams, steps: Sequence[Step]) -> None:
    from negmine.stages import retrieve

    (index,) = (step for step in steps if isinstance(step.params, IndexParams))
    assert isinstance(index.params, IndexParams)
    retrieve.check_models(params, index.params, index.out)


def _rerank_foreseen(params: RerankParams, steps: Sequence[Step]) -> None:
    from negmine.stages import rerank
    from negmine.stages.filter import enough

    enough.check(params)
    rerank.check_models(params)


def _write_foreseen(params: WriteParams, steps: Sequence[Step]) -> None:
    (retrieve,) = (step.params for step in steps if isinstance(step.params, RetrieveParams))
    assert isinstance(retrieve, RetrieveParams)
    if params.kind == "instruction" and INSTRUCTION not in retrieve.keep:
        raise UsageError(
            '[write] kind = "instruction": the queries have no instructions',
            hint=f'Keep that column of theirs: [retrieve] keep = ["{INSTRUCTION}"].',
        )


def _filter_foreseen(params: FilterParams, steps: Sequence[Step]) -> None:
    from negmine.stages import retrieve
    from negmine.stages.filter import differing, options
    from negmine.table import schemas

    given = {step.stage: step for step in steps}
    mining, index = given["retrieve"].params, given["index"]
    assert isinstance(mining, RetrieveParams)
    assert isinstance(index.params, IndexParams)
    if any(one.partition("=")[2].startswith(_OF_THE_CHAIN) for one in mining.source):
        differing.refuse_written(params)
    sources = retrieve.will_have(mining, index.params, index.out)
    scorers = given["rerank"].params if "rerank" in given else RerankParams()
    assert isinstance(scorers, RerankParams)
    names = [entry.partition("=")[0] for entry in scorers.scorer]
    options.foresee(params, schemas.with_scores(schemas.candidates(sources), names))


def _export_foreseen(params: ExportParams, steps: Sequence[Step]) -> None:
    from negmine.stages import export

    if params.format == export.AS_INPUT:
        (retrieve,) = (step.params for step in steps if isinstance(step.params, RetrieveParams))
        assert isinstance(retrieve, RetrieveParams)
        export.foresee(params, retrieve, steps[-1].out)


def until_of(params: RerankParams) -> MakeUntil | None:
    """What makes the filter that says when ``rerank --enough`` may stop; None where it may not."""
    from negmine.stages.filter import enough

    enough.check(params)
    return None if params.enough is None else enough.until


def _given(source: Path | None) -> Path:
    if source is None:
        raise ValueError("this stage reads an artifact")
    return source


_ROWS: tuple[Stage[Any], ...] = (
    Stage(
        "index",
        IndexParams,
        _index,
        reads=None,
        folder="index",
        by_parts=True,
        help="Store a corpus: documents, a Lucene BM25 index, and vectors per encoder.",
        example="negmine index --corpus corpus.jsonl --encoder "
        "minilm=sentence-transformers/all-MiniLM-L6-v2 -o work/index",
    ),
    Stage(
        "write",
        WriteParams,
        _write,
        reads=Reads(
            "index",
            "A ledger or candidates; a training set; or an index, with --queries and --qrels.",
            others=("ledger", "pairs"),
        ),
        folder="written",
        help="Write texts that no corpus holds: minimal pairs by rule; by a model negatives, "
        "queries, instructions.",
        example="negmine write work/ledger --kind minimal-pair -o work/written",
        needs="kind",
        beside=True,
        foreseen=_write_foreseen,
    ),
    Stage(
        "retrieve",
        RetrieveParams,
        _retrieve,
        reads=Reads("index", "The index artifact."),
        folder="candidates",
        by_parts=True,
        foreseen=_retrieve_foreseen,
        help="Find candidates for every query with every source; positives are scored too.",
        example="negmine retrieve work/index --queries queries.jsonl --qrels qrels.tsv "
        "--source bm25 --source minilm -k 100 -o work/candidates",
    ),
    Stage(
        "rerank",
        RerankParams,
        _rerank,
        reads=Reads("candidates", "The candidates artifact, or a scored one to add scores to."),
        folder="scored",
        by_parts=True,
        help="Score the candidates with cross-encoders or bi-encoders, a column each.",
        example="negmine rerank work/candidates --scorer "
        "ce=cross-encoder/ms-marco-MiniLM-L12-v2 -o work/scored",
        needs="scorer",
        foreseen=_rerank_foreseen,
    ),
    Stage(
        "filter",
        FilterParams,
        _filter,
        reads=Reads("scored", "The scored (or just retrieved) artifact."),
        folder="ledger",
        by_parts=True,
        help="Drop false negatives by rule and choose negatives; every row is kept in the ledger.",
        example="negmine filter work/scored --by ce --relative-margin 0.05 "
        "--num-negatives 8 -o work/ledger",
        tagged=True,
        foreseen=_filter_foreseen,
    ),
    Stage(
        "export",
        ExportParams,
        _export,
        reads=Reads("ledger", "The ledger artifact."),
        folder=None,
        help="Write the training set: .parquet, .jsonl(.gz|.zst), a folder, or - for stdout.",
        example="negmine export work/ledger --format triplet -o work/train.parquet",
        alone="beir",
        tagged=True,
        foreseen=_export_foreseen,
    ),
)

#: The stages by name, in the order of the chain.
STAGES: Mapping[str, Stage[Any]] = {row.name: row for row in _ROWS}


def chain(
    params: Mapping[str, Params], work: Path, output: str, tag: str | None = None
) -> list[Step]:
    """The steps of all stages, without those whose models nobody asked for.

    Args:
        params: every stage's parameters.
        work: the work folder.
        output: the last result's name inside it.
        tag: tells the ledger and the export from those of other settings beside them.
    """

    def place(stage: Stage[Any]) -> Path:
        plain = work / (stage.folder or output)
        return with_tag(plain, tag) if stage.tagged and tag is not None else plain

    params = _informed(_with_written(params, place(STAGES["write"])))
    steps = [
        Step(name, params[name] if tag is None else apart(params[name], tag), place(stage))
        for name, stage in STAGES.items()
        if stage.needs is None or getattr(params[name], stage.needs)
    ]
    return _ended(steps) if makes_set(params["write"]) else steps


def makes_set(params: Params) -> bool:
    """Whether parameters are those of a ``write`` that makes a training set of a ledger."""
    return isinstance(params, WriteParams) and params.kind in TRAINING_SETS


#: Options that all stages may be given at once.
_RUNNING = ("device", "memory", "threads")


def _ended(steps: Sequence[Step]) -> list[Step]:
    """The steps of a chain whose training set ``write`` makes: last, in the place of ``export``.

    Raises:
        UsageError: ``export`` is asked for something that would have no effect.
    """
    (write,) = (step for step in steps if step.stage == "write")
    *before, export = (step for step in steps if step.stage != "write")
    nothing = ExportParams()
    for field in fields(nothing):
        value = getattr(export.params, field.name)
        if field.name not in _RUNNING and value != getattr(nothing, field.name):
            key = field.name.replace("_", "-")
            raise UsageError(
                f"[export] {key}: [write] makes the training set, and nothing is exported",
                hint="Leave it out; negmine export makes another set of the same ledger.",
            )
    return [*before, replace(write, out=export.out)]


def following(step: Step, source: Path | None) -> Path | None:
    """What the stage after ``step`` reads, which itself reads ``source``; the result at the end."""
    return source if STAGES[step.stage].beside and not makes_set(step.params) else step.out


def naming_models(steps: Sequence[Step], number: int) -> tuple[list[Params], list[Params]]:
    """What names the models of the ``number``-th step, counted from 1, and those of later ones.

    The models of an index are named where it is made; ``retrieve`` reads them there.
    """
    index = [step.params for step in steps if isinstance(step.params, IndexParams)]

    def naming(some: Sequence[Step]) -> list[Params]:
        named = [step.params for step in some]
        return [*named, *index] if any(isinstance(one, RetrieveParams) for one in named) else named

    return naming(steps[number - 1 : number]), naming(steps[number:])


#: How entries of ``--source`` of written texts begin; alone it means what the chain itself writes.
_OF_THE_CHAIN = "written:"


def _with_written(params: Mapping[str, Params], folder: Path) -> Mapping[str, Params]:
    """The parameters, ``write`` with the queries of ``retrieve``, which is told where it writes.

    Raises:
        UsageError: what is written would be of no use, or is asked for and nothing is written.
    """
    write, retrieve = params["write"], params["retrieve"]
    assert isinstance(write, WriteParams)
    assert isinstance(retrieve, RetrieveParams)
    own = [one for one in retrieve.source if one.partition("=")[2] == _OF_THE_CHAIN]
    if write.kind is None or makes_set(write):
        if own:
            raise UsageError(
                f"--source {own[0]}: nothing is written",
                hint="Name the folder of the written texts, or give [write] a kind of documents.",
            )
        return params
    if not own:
        raise UsageError(
            "[write] writes texts that no source brings",
            hint='Name it beside the others: [retrieve] source = ["bm25", "written=written:"].',
        )
    source = tuple(f"{one}{folder}" if one in own else one for one in retrieve.source)
    task = {name: getattr(retrieve, name) for name in OF_THE_TASK}
    nothing = WriteParams()
    for name, value in task.items():
        if getattr(write, name) not in (value, getattr(nothing, name)):
            key = name.replace("_", "-")
            raise UsageError(
                f"[write] {key}: texts are written for the queries of [retrieve]",
                hint="Leave it out, or say it there.",
            )
    return {
        **params,
        "write": replace(write, **task),
        "retrieve": replace(retrieve, source=source),
    }


def _informed(params: Mapping[str, Params]) -> Mapping[str, Params]:
    """The parameters, those of ``rerank --enough`` with what ``filter`` will ask."""
    rerank, filtering = params["rerank"], params["filter"]
    assert isinstance(rerank, RerankParams)
    assert isinstance(filtering, FilterParams)
    if rerank.enough is None or rerank.until:
        return params
    from negmine.stages.filter import enough

    return {**params, "rerank": replace(rerank, until=enough.told(filtering))}


def foresee(steps: Sequence[Step]) -> None:
    """Refuse what can be seen to be wrong with later stages before the first begins.

    Raises:
        NegmineError: a model cannot do what is asked of it, or an option names one that is not
            there.
    """
    for step in steps:
        stage = STAGES[step.stage]
        if stage.foreseen is not None:
            stage.foreseen(step.params, steps)


def apart(params: Params, tag: str) -> Params:
    """The parameters with a tag in the names of the folders that they have written."""
    places: dict[str, Any] = {
        field.name: str(with_tag(Path(path), tag))
        for field in fields(params)
        if field.metadata["written"] and (path := getattr(params, field.name)) is not None
    }
    return replace(params, **places) if places else params


def with_tag(path: Path, tag: str) -> Path:
    """``train.jsonl.gz`` as ``train-TAG.jsonl.gz``, ``ledger`` as ``ledger-TAG``."""
    name, dot, suffixes = path.name.partition(".")
    return path.with_name(f"{name}-{tag}{dot}{suffixes}")
