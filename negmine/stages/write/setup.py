"""What a run of ``negmine write`` reads, checked, and its plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from negmine import log
from negmine.endpoints.budget import Budget
from negmine.endpoints.settings import limits_of
from negmine.errors import UsageError
from negmine.inputs.recorded import Inputs
from negmine.params import output_affecting
from negmine.params.index import IndexParams
from negmine.params.llm import idle
from negmine.params.retrieve import RetrieveParams
from negmine.params.write import OF_THE_TASK, TRAINING_SETS, WriteParams
from negmine.sources.child import DOCUMENTS
from negmine.stages.write import by_model, cases, minimal_pairs, verifying
from negmine.stages.write.by_model import Writing
from negmine.stages.write.cases import Group, Task
from negmine.stages.write.verifying import Verifying
from negmine.table import artifacts, candidates, writers
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.reading import Artifact
from negmine.table.artifacts.replace import Replace
from negmine.table.candidates import Candidates
from negmine.table.documents import Documents
from negmine.table.names import INSTRUCTION, MINIMAL_PAIR, WRITTEN

VERSION = 3
_BY_MODEL = ("negative", "query", "instruction")
#: Options that some kinds of texts alone read, and which.
_OF_KINDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("type", "seed"), (MINIMAL_PAIR,)),
    **dict.fromkeys(("writer", "variants", "answer_tokens", "check"), _BY_MODEL),
    "near_duplicate_at": ("negative",),
    # A scorer reads a query and a document, and no instruction.
    **dict.fromkeys(
        ("verify", "scorer", "per_call", "judge_by", "examine", "trust_anyway"),
        (MINIMAL_PAIR, "negative", "query"),
    ),
}
#: What a training set may be called.
SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst")
#: Options that say how a training set's passages are read, as those of ``index`` do.
_OF_PASSAGES = ("pairs", "column", "ignore", "on_error", "memory", "threads")


@dataclass(frozen=True)
class Readers:
    """Other stages' readers, handed in: stages do not know each other.

    Attributes:
        task: reads queries and judgements of documents of a corpus.
        index: makes an index in a folder, of what its parameters say.
    """

    task: Callable[[RetrieveParams, Documents], Task]
    index: Callable[[IndexParams, Path, Replace], Path]


@dataclass(frozen=True)
class Setup:
    """What a run reads, its parameters checked.

    Attributes:
        params: the options.
        source: the artifact that is read: an index, or a table of candidates.
        documents: the corpus, and what was written before.
        corpus: its artifact.
        verifying: who verifies.
        writing: the model that writes; None where that is a rule.
        table: the table whose queries these are; None where files tell them.
        read: reads the task of files.
        closing: what the writer and the scorers hold open, closed when the work is done.
    """

    params: WriteParams
    source: Path
    documents: Documents
    corpus: Artifact
    verifying: Verifying
    writing: Writing | None
    table: Candidates | None
    read: Callable[[RetrieveParams, Documents], Task]
    closing: ExitStack = field(default_factory=ExitStack)

    def groups(self) -> Iterator[Group]:
        """For what is written."""
        if self.table is not None:
            return cases.of_table(self.table, self.params.limit)
        return cases.of_task(self._task, self.documents)

    def known_queries(self) -> Iterator[pa.Array | pa.ChunkedArray]:
        """Texts of all queries that are known, some at a time.

        Those beyond a limit are, too, and those without a positive.
        """
        every = replace(self.params, limit=None, keep_unlabelled=True)
        if self.table is None and self.params == every:
            yield self._task.texts
        elif self.table is None:
            with log.silenced():
                yield self.read(_of_task(every), self.documents).texts
        else:
            for name in self.table.parts:
                yield self.table.queries(name).column("text")

    @cached_property
    def _task(self) -> Task:
        """What files tell: read, and talked about, once."""
        return self.read(_of_task(self.params), self.documents)


def _of_task(params: WriteParams) -> RetrieveParams:
    return RetrieveParams(**{name: getattr(params, name) for name in OF_THE_TASK})


def set_up(
    params: WriteParams,
    source: Path,
    out: Path,
    readers: Readers,
    *,
    replacing: Replace = Replace.NOTHING,
    passages: Path | None = None,
) -> Setup:
    """Check the parameters against what is given.

    Args:
        params: what is asked.
        source: an index, a candidates table or ledger, or a training set.
        out: where the texts go.
        readers: of other stages.
        replacing: what may be replaced.
        passages: where an index of a training set's passages goes; default: beside the texts.

    Raises:
        UsageError: options that contradict each other.
        NegmineError: nothing can be read there.
    """
    if params.kind is None:
        raise UsageError("no --kind", hint="For example: --kind minimal-pair")
    _refuse_of_others(params)
    _refuse_place(params, out)
    if params.kind == "instruction":
        _refuse_uninstructed(source)
    minimal_pairs.types(params)
    closing = ExitStack()
    writing, verifier = _models(params, out, closing)
    if not artifacts.is_finished(source) and not artifacts.is_folder(source):
        if params.pairs:
            raise UsageError("the training set is given twice", hint="Leave --pairs out.")
        params = replace(params, pairs=(str(source),))
        read = {name: getattr(params, name) for name in _OF_PASSAGES}
        source = readers.index(
            IndexParams(bm25=False, **read),
            passages or out.with_name(f"{out.name.partition('.')[0]}-index"),
            replacing,
        )
    opened = artifacts.open_artifact(source, ["index", *candidates.STAGES], purpose="the input")
    if opened.stage != "index":
        _refuse_task(params)
        table = Candidates(opened)
        corpus = table.documents.artifact
        return Setup(
            *(
                params,
                source,
                table.documents,
                corpus,
                verifier,
                writing,
                table,
                readers.task,
                closing,
            )
        )
    if not params.pairs and not (params.queries and params.qrels):
        raise UsageError(
            "an index has no queries",
            where=str(source),
            hint="Give --queries and --qrels, or --pairs; or a ledger in its place.",
        )
    corpus = opened.input(DOCUMENTS)
    return Setup(
        *(params, source, Documents(corpus), corpus, verifier, writing, None, readers.task, closing)
    )


def _models(params: WriteParams, out: Path, closing: ExitStack) -> tuple[Writing | None, Verifying]:
    """Who writes and who verifies, and one budget for all that the command asks of them.

    Raises:
        NegmineError: see :func:`set_up`.
    """
    spending = Budget(*limits_of(params))
    by_rule = params.kind == MINIMAL_PAIR
    writing = None if by_rule else by_model.set_up(params, out, spending, closing)
    verifier = verifying.set_up(params, out.parent, spending, closing)
    if writing is None and not verifier.asked:
        log.warn(idle(params))
    return writing, verifier


def _refuse_of_others(params: WriteParams) -> None:
    """Refuse what only another kind of texts reads.

    Raises:
        UsageError: with the option.
    """
    for name in _changed(params):
        if params.kind not in (kinds := _OF_KINDS.get(name, (params.kind,))):
            *some, last = [str(kind) for kind in kinds]
            raise UsageError(
                f"--{_option(name)} has no effect on --kind {params.kind}",
                hint=f"It is for --kind {' or '.join(filter(None, [', '.join(some), last]))}: "
                "leave it out.",
            )


def _refuse_place(params: WriteParams, out: Path) -> None:
    """Refuse a training set that is no file.

    Raises:
        UsageError: it would be something else.
    """
    if params.kind in TRAINING_SETS and writers.suffix_of(out) not in SUFFIXES:
        raise UsageError(
            f"--kind {params.kind} makes a training set, which is a file",
            where=str(out),
            hint=f"Name one that ends in {', '.join(SUFFIXES)}.",
        )


def _refuse_uninstructed(source: Path) -> None:
    """Refuse what has no chosen negatives, or no instructions.

    Raises:
        UsageError: it is no ledger, or one whose queries have none.
    """
    ledger = "--kind instruction turns positives and chosen negatives round: it reads a ledger"
    if artifacts.is_file(source):
        raise UsageError(ledger, where=str(source), hint="Mine first, and give the ledger.")
    opened = artifacts.open_artifact(source, ["index", *candidates.STAGES], purpose="the ledger")
    if opened.stage != "filter":
        raise UsageError(ledger, where=str(source), hint="Filter first, and give that.")
    if INSTRUCTION not in Candidates(opened).retrieved.params.get("keep", ()):
        raise UsageError(
            "the queries have no instructions",
            where=str(source),
            hint=f"Keep that column of theirs: negmine retrieve --keep {INSTRUCTION}.",
        )


def _refuse_task(params: WriteParams) -> None:
    """Refuse what says which queries there are where a table says it.

    Raises:
        UsageError: with the option.
    """
    if given := [name for name in _changed(params) if name in OF_THE_TASK and name != "limit"]:
        raise UsageError(
            f"--{_option(given[0])} is for an index or a training set: a table has its queries",
            hint="Leave it out.",
        )


def _changed(params: WriteParams) -> list[str]:
    """Options that are not what they are by default."""
    return [one.name for one in fields(params) if getattr(params, one.name) != one.default]


def _option(name: str) -> str:
    return "no-check" if name == "check" else name.replace("_", "-")


def plan(setup: Setup, out: Path) -> Plan:
    """What the texts at ``out`` are made from; reads the input files to digest them."""
    inputs = Inputs(out)
    for role in ("queries", "qrels", "pairs"):
        if specs := getattr(setup.params, role):
            inputs.add(specs, role)
    table: dict[str, Any] = {} if setup.table is None else {"table": setup.table.artifact}
    return Plan(
        WRITTEN,
        VERSION,
        {**output_affecting(setup.params), **_unplaced(setup)},
        artifacts={DOCUMENTS: setup.corpus, **table},
        files=inputs.files,
        models={**setup.verifying.record(), **_writer(setup)},
        again=inputs.again,
    )


def _unplaced(setup: Setup) -> dict[str, Any]:
    """The models that are asked, without their servers: where one is decides nothing."""
    references = setup.verifying.references
    told = {"scorer": [f"{name}={one.spec}" for name, one in references.items()]}
    writing = setup.writing
    return told if writing is None else {**told, "writer": [f"{writing.name}={writing.spec}"]}


def _writer(setup: Setup) -> dict[str, Any]:
    """What stands for the model that writes in the fingerprint."""
    return {} if setup.writing is None else {"writer": setup.writing.record}
