"""``negmine retrieve``: the union of what every source finds, with the positives scored by all."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import log, memory, plugins, signatures
from negmine.errors import InvalidDataError, UsageError, did_you_mean
from negmine.models.resolve import resolve
from negmine.params import RetrieveParams, output_affecting
from negmine.plugins import Plugin
from negmine.recipe import named, per_name
from negmine.sources import Hits, Source
from negmine.sources.run_file import RunFile, open_run
from negmine.sources.union import Judgements, union
from negmine.stages.inputs import Inputs, column_map, models_memory
from negmine.stages.outcome import Outcome, conserve
from negmine.table import artifact as artifacts
from negmine.table import schema as schemas
from negmine.table.artifact import Artifact, Plan, Writer
from negmine.table.documents import Documents
from negmine.table.ids import content_ids
from negmine.table.names import ANN_PREFIX, check_name, rank_column
from negmine.table.readers import (
    QRELS_SCHEMA,
    QUERIES_SCHEMA,
    Problems,
    read_pairs,
    read_qrels,
    read_queries,
)

VERSION = 3

#: Rows of a part, about: the unit of every later stage's memory and of resuming. A slow scorer on a
#: slow machine does ten pairs a second, so this is the most that a kill costs: some minutes.
PART_ROWS = 8_192
#: Parts up to so many hits of a source, and so many queries, are encoded together: a few full
#: batches of a model, whatever the memory.
GROUP_HITS = 400_000
GROUP_QUERIES = 4096
#: Bytes of a hit while a source's hits are ranked, and while those of the others are held.
_RANKED_HIT, _HELD_HIT = 160, 50
_NAMED_LOSSES = 5
#: What to do where approximate indexes do not fit.
_SMALLER = (
    "Of an inverted file (index --ann IVF4096,Flat, for example) only the lists that one query "
    "probes (nprobe) must fit, of any other index all of it."
)


@dataclass(frozen=True)
class Task:
    """The queries to mine, in order, and what is judged about them.

    Attributes:
        qids: [n] query ids.
        texts: [n] query texts.
        judgements: all judged pairs, sorted by query.
        counts: what was read and what was left out.
        warnings: the losses in words.
    """

    qids: pa.Array
    texts: pa.Array
    judgements: Judgements
    counts: dict[str, int]
    warnings: list[str]


class Corpus(Protocol):
    """What is asked of the documents while judgements are read."""

    def rows(self, docids: pa.Array) -> np.ndarray:
        """Row number of each docid, -1 where there is no such document."""

    def find_contents(self, contents: pa.Array) -> pa.Array:
        """Docid of a document with each content id, or null."""


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
        models = [child.manifest["models"][name]["model"] for name, child in encoders.items()]
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
    if params.pairs is None and (params.queries is None or params.qrels is None):
        missing = "--queries" if params.queries is None else "--qrels"
        raise UsageError(
            f"{missing} is missing",
            hint="Give --queries and --qrels, or --pairs FILE with (query, positive) texts.",
        )
    if params.pairs is not None and (params.queries or params.qrels):
        raise UsageError("--pairs replaces --queries and --qrels; give one or the other")
    opened = artifacts.open_artifact(index, ["index"], purpose="the index")
    no_source = ("documents", signatures.FOLDER)
    held = [name for name in opened.manifest["inputs"] if name not in no_source]
    available = [name for name in held if not name.startswith(ANN_PREFIX)]
    runs = named(params.run, "--run")
    for name in runs:
        if name in available:
            raise UsageError(
                f"--run: the index has a source '{name}' already", hint="Choose another name."
            )
    asked = [entry.partition("=") for entry in params.source]
    plugged = {
        name: _plugged(name, spec, [*available, *runs]) for name, equals, spec in asked if equals
    }
    sources = [name for name, _, _ in asked] or [*available, *runs]
    sources += [name for name in runs if name not in sources]
    for name in sources:
        if name not in available and name not in runs and name not in plugged:
            raise UsageError(
                f"--source: the index has no '{name}'",
                hint=did_you_mean(name, [*available, *runs]),
            )
    if len(set(sources)) != len(sources):
        raise UsageError("--source names one source twice")
    if not sources:
        raise UsageError(
            "the index has documents and nothing to search with",
            hint="Give --run NAME=FILE or --source NAME=plugin:SOURCE, or index with an encoder.",
        )
    documents = opened.input("documents")
    children = {name: opened.input(name) for name in sources if name in available}
    encoders = {name: name for name in children if name != "bm25"}
    prompts = per_name(params.query_prompt, encoders, "--query-prompt")
    approximate: dict[str, Artifact] = {}
    if params.ann is not None:
        for name in encoders:
            if ANN_PREFIX + name not in held:
                raise UsageError(
                    f"--ann: the index holds no approximate index of the vectors '{name}'",
                    where=str(index),
                    hint="Build it with: negmine index ... --ann FACTORY",
                )
            approximate[name] = opened.input(ANN_PREFIX + name)
        if not encoders:
            raise UsageError("--ann: no source searches vectors")
    return Setup(documents, sources, children, runs, plugged, prompts, approximate)


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
        path = getattr(params, role)
        if path is not None:
            inputs.add(path, role)
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


def run(params: RetrieveParams, index: Path, out: Path, *, force: bool = False) -> Outcome:
    """Make the candidates artifact at ``out`` from the index at ``index``.

    Raises:
        NegmineError: see the exit codes in :mod:`negmine.errors`.
    """
    setup = set_up(params, index)
    writer = artifacts.begin(out, plan(params, setup, out), force=force)
    if writer is None:
        found = artifacts.open_artifact(out)
        return Outcome(out, dict(found.counts), True, list(found.manifest["warnings"]))
    artifacts.reset_peak_memory()
    with writer:
        budget = setup.budget(params.memory, params.ann)
        corpus = Documents(setup.documents)
        task = read_task(params, corpus)
        retrievers = open_sources(params, setup, task, corpus, budget)
        log.warn(task.warnings)
        try:
            tallies = mine(task, retrievers, params.k, writer, budget.hits)
        finally:
            for retriever in retrievers.values():
                retriever.close()
        counts = {**task.counts, **tallies}
        if lost := counts["queries_without_candidates"]:
            task.warnings.append(f"{lost} queries have no candidate: later stages do not see them")
            log.warn(task.warnings[-1:])
        extra = _recalls(retrievers)
        writer.commit(counts, warnings=task.warnings, ceiling=budget.ceiling, **extra)
    return Outcome(out, counts, warnings=task.warnings)


def _recalls(retrievers: Mapping[str, Source]) -> dict[str, Any]:
    """What approximate searches missed, for the manifest; it is told on stderr, too."""
    found = {name: getattr(retriever, "recall", None) for name, retriever in retrievers.items()}
    told = {name: recall for name, recall in found.items() if recall is not None}
    for name, recall in told.items():
        log.event(
            f"{name}: the approximate search finds {recall['recall']:.1%} of the exact best "
            f"{recall['k']} ({recall['queries']} queries, {recall['factory']}, "
            f"{recall['search'] or 'its own settings'})",
            **recall,
        )
    return {"ann": told} if told else {}


def open_sources(
    params: RetrieveParams, setup: Setup, task: Task, corpus: Documents, budget: memory.Budget
) -> dict[str, Source]:
    """Every source by name, in table order; what is to be told of runs goes to the task."""
    found_by_runs = {name: open_run(path, task.qids, corpus) for name, path in setup.runs.items()}
    for name, found_by_run in found_by_runs.items():
        task.counts.update({f"{name}_{k}": n for k, n in found_by_run.counts.items()})
        task.warnings.extend(f"--run {name}: {told}" for told in found_by_run.warnings)

    def opened(name: str) -> Source:
        if name in setup.runs:
            return found_by_runs[name]
        if name in setup.plugged:
            plugin, argument = setup.plugged[name]
            made: Source = plugin.load()(argument, corpus, params)
            return made
        return _open_source(
            name,
            setup.children[name],
            corpus,
            params,
            setup.prompts.get(name),
            budget,
            len(setup.sources),
            setup.approximate.get(name),
            budget.lists // max(1, len(setup.approximate)),
        )

    return {name: opened(name) for name in setup.sources}


def _open_source(
    name: str,
    artifact: Artifact,
    corpus: Documents,
    params: RetrieveParams,
    prompt: str | None,
    budget: memory.Budget,
    sources: int,
    approximate: Artifact | None,
    lists: int,
) -> Source:
    if name == "bm25":
        from negmine.sources.bm25 import Bm25Source

        return Bm25Source(
            artifact.file("lucene"),
            k1=params.k1,
            b=params.b,
            threads=os.cpu_count() or 1,
            memory_bytes=budget.heap,
        )
    from negmine.sources.dense import DenseSource, Vectors, load_query_encoder

    opened = None
    if approximate is not None:
        from negmine.sources.ann import open_index

        opened = open_index(approximate, params.ann or "", lists)

    return DenseSource(
        corpus,
        Vectors(artifact),
        lambda: load_query_encoder(
            artifact,
            name,
            query_prompt=prompt,
            batch_size=params.batch_size,
            device=params.device,
        ),
        memory=budget.search,
        ann=opened,
        device=params.device,
        together=queries_per_part(params.k, sources) * parts_together(params.k, sources),
    )


# --- reading queries and judgements -----------------------------------------------------------


def read_task(params: RetrieveParams, corpus: Corpus) -> Task:
    """The queries that can be mined, and what is judged about documents of the corpus."""
    problems = Problems(params.on_error)
    columns = column_map(params.column)
    if params.pairs is not None:
        queries, judged, counts = _read_pairs(params.pairs, columns, problems, corpus)
    else:
        assert params.queries is not None
        assert params.qrels is not None
        queries, counts = _read_queries(params.queries, _for(columns, "queries"), problems)
        judged, more = _read_qrels(params.qrels, _for(columns, "qrels"), problems, queries)
        counts |= more
    counts["bad_records_skipped"] = problems.count

    in_corpus = corpus.rows(judged.column("docid").combine_chunks()) >= 0
    positive = pc.greater_equal(judged.column("grade"), params.min_grade).to_numpy()
    lost = judged.filter(pa.array(~in_corpus & positive))
    counts["positives_missing_from_corpus"] = lost.num_rows
    judged = judged.filter(pa.array(in_corpus))
    positive = positive[in_corpus]

    texts = queries.column("text").combine_chunks()
    empty = np.fromiter((not text.as_py().strip() for text in texts), dtype=bool, count=len(texts))
    code = pc.index_in(judged.column("qid"), value_set=queries.column("qid").combine_chunks())
    query = code.to_numpy().astype(np.int64)
    labelled = np.zeros(len(texts), dtype=bool)
    labelled[query[positive]] = True
    keep = ~empty & (labelled | params.keep_unlabelled)
    kept = np.flatnonzero(keep)
    if params.limit is not None:
        kept = kept[: params.limit]
    counts["queries_empty"] = int(empty.sum())
    counts["queries_without_positive"] = int((~empty & ~labelled).sum())
    counts["queries_beyond_limit"] = int(keep.sum()) - len(kept)
    counts["queries"] = len(kept)
    conserve(
        "queries read",
        counts["queries_read"],
        mined=len(kept),
        duplicate=counts["queries_duplicate"],
        empty=counts["queries_empty"],
        dropped_unlabelled=int((~empty & ~keep).sum()),
        beyond_limit=counts["queries_beyond_limit"],
    )
    if len(kept) == 0:
        raise InvalidDataError(
            "no query is left to mine: none has text and a positive in the corpus",
            hint=f"Read: {counts}. Check that the ids of queries, qrels and corpus agree.",
        )

    position = np.full(len(texts), -1, dtype=np.int64)
    position[kept] = np.arange(len(kept))
    mined = np.flatnonzero(position[query] >= 0)
    mined = mined[np.argsort(position[query[mined]], kind="stable")]
    judgements = Judgements(
        query=position[query[mined]].astype(np.int32),
        docid=judged.column("docid").combine_chunks().take(pa.array(mined)),
        grade=judged.column("grade").combine_chunks().take(pa.array(mined)).to_numpy(),
        positive=positive[mined],
    )
    examples = lost.slice(0, _NAMED_LOSSES).to_pylist()
    return Task(
        qids=queries.column("qid").combine_chunks().take(pa.array(kept)),
        texts=texts.take(pa.array(kept)),
        judgements=judgements,
        counts=counts,
        warnings=_losses(counts, examples, params),
    )


def _for(columns: Mapping[str, str], kind: str) -> dict[str, str]:
    """``--column`` entries for one of two inputs: ``queries.text=body`` or plain ``text=body``."""
    result = {}
    valid = {"queries": {"qid", "text"}, "qrels": {"qid", "docid", "grade"}}
    for target, source in columns.items():
        file, dot, name = target.partition(".")
        if dot:
            if file not in valid:
                raise UsageError(
                    f"--column: unknown input '{file}'", hint=did_you_mean(file, valid)
                )
            if file == kind:
                result[name] = source
        elif target in valid[kind]:
            result[target] = source
        elif not any(target in names for names in valid.values()):
            known = sorted(set.union(*valid.values()))
            raise UsageError(
                f"--column: unknown field '{target}'", hint=did_you_mean(target, known)
            )
    return result


def _read_queries(
    path: str, columns: Mapping[str, str], problems: Problems
) -> tuple[pa.Table, dict[str, int]]:
    table = pa.Table.from_batches(read_queries(path, columns, problems), QUERIES_SCHEMA)
    distinct = table.group_by("qid", use_threads=False).aggregate([("text", "count_distinct")])
    if distinct.num_rows < table.num_rows:
        clashing = distinct.filter(pc.greater(distinct.column("text_count_distinct"), 1))
        if clashing.num_rows:
            qid = clashing.column("qid")[0].as_py()
            raise InvalidDataError(
                f"query id {qid!r} appears twice with different texts",
                where=path,
                hint="Query ids must be unique.",
            )
    qids = table.column("qid").combine_chunks()
    first = pc.index_in(qids.unique(), value_set=qids)
    counts = {
        "queries_read": table.num_rows,
        "queries_duplicate": table.num_rows - len(first),
    }
    return table.take(first), counts


def _read_qrels(
    path: str, columns: Mapping[str, str], problems: Problems, queries: pa.Table
) -> tuple[pa.Table, dict[str, int]]:
    table = pa.Table.from_batches(read_qrels(path, columns, problems), QRELS_SCHEMA)
    known = pc.is_in(table.column("qid"), value_set=queries.column("qid").combine_chunks())
    counts = {
        "judgements_read": table.num_rows,
        "judgements_of_unknown_queries": table.num_rows - pc.sum(known).as_py()
        if table.num_rows
        else 0,
    }
    merged, more = _distinct_judgements(table.filter(known))
    return merged, counts | more


def _distinct_judgements(table: pa.Table) -> tuple[pa.Table, dict[str, int]]:
    """Each pair once, with its highest grade."""
    grouped = table.group_by(["qid", "docid"], use_threads=False).aggregate(
        [("grade", "max"), ("grade", "count_distinct")]
    )
    counts = {
        "judgements_duplicate": table.num_rows - grouped.num_rows,
        "judgements_with_two_grades": pc.sum(
            pc.greater(grouped.column("grade_count_distinct"), 1)
        ).as_py()
        or 0,
    }
    columns = ["qid", "docid", "grade_max"]
    return grouped.select(columns).rename_columns(["qid", "docid", "grade"]), counts


def _read_pairs(
    path: str, columns: Mapping[str, str], problems: Problems, corpus: Corpus
) -> tuple[pa.Table, pa.Table, dict[str, int]]:
    """Queries and judgements from (query, positive) texts.

    Equal query texts are one query with several positives. Ids are content hashes; a positive
    whose text a corpus document holds is that document.
    """
    texts: dict[str, None] = {}
    qid_parts, content_parts = [], []
    for batch in read_pairs(path, columns, problems):
        texts.update(dict.fromkeys(batch.column("query").to_pylist()))
        qid_parts.append(content_ids(batch.column("query")))
        content_parts.append(content_ids(batch.column("positive")))
    query_texts = pa.array(list(texts), pa.string())
    queries = pa.table({"qid": content_ids(query_texts), "text": query_texts})
    contents = pa.chunked_array(content_parts, pa.string()).combine_chunks()
    distinct = contents.unique()
    docids = distinct
    unknown = corpus.rows(distinct) < 0
    if unknown.any():
        elsewhere = corpus.find_contents(distinct.filter(pa.array(unknown)))
        found = np.array(distinct.to_pylist(), dtype=object)
        found[unknown] = [
            docid if docid is not None else content
            for docid, content in zip(elsewhere.to_pylist(), found[unknown], strict=True)
        ]
        docids = pa.array(found, pa.string())
    judged = pa.table(
        {
            "qid": pa.chunked_array(qid_parts, pa.string()),
            "docid": pa.chunked_array([docids.take(pc.index_in(contents, value_set=distinct))]),
            "grade": pa.chunked_array([pa.array(np.ones(len(contents), dtype=np.int32))]),
        }
    )
    merged, more = _distinct_judgements(judged)
    counts = {
        "queries_read": len(query_texts),
        "queries_duplicate": 0,
        "judgements_read": len(contents),
        "judgements_of_unknown_queries": 0,
    }
    return queries, merged, counts | more


def _losses(
    counts: Mapping[str, int], missing: list[dict[str, Any]], params: RetrieveParams
) -> list[str]:
    """What was left out, in words."""
    told = []
    if counts["queries_empty"]:
        told.append(f"{counts['queries_empty']} queries are empty and left out")
    if counts["queries_without_positive"]:
        action = "kept without positives" if params.keep_unlabelled else "left out"
        told.append(
            f"{counts['queries_without_positive']} queries have no positive in the corpus: {action}"
        )
    if counts["positives_missing_from_corpus"]:
        named = ", ".join(f"{row['docid']!r} (query {row['qid']!r})" for row in missing)
        told.append(
            f"{counts['positives_missing_from_corpus']} positives are not in the corpus, "
            f"e.g. {named}"
        )
    if counts["judgements_of_unknown_queries"]:
        told.append(
            f"{counts['judgements_of_unknown_queries']} judgements are of queries that are not "
            "among the queries"
        )
    if counts["judgements_with_two_grades"]:
        told.append(
            f"{counts['judgements_with_two_grades']} pairs are judged twice with different "
            "grades: the higher one counts"
        )
    if counts["bad_records_skipped"]:
        told.append(f"{counts['bad_records_skipped']} bad records were skipped")
    return told


# --- searching --------------------------------------------------------------------------------


def _part_name(number: int) -> str:
    return f"part-{number:05d}.parquet"


def queries_per_part(k: int, sources: int) -> int:
    """Queries whose candidates make a part."""
    return max(1, PART_ROWS // (k * sources))


def parts_together(k: int, sources: int) -> int:
    """Parts whose queries are encoded together."""
    return max(1, min(GROUP_QUERIES, GROUP_HITS // k) // queries_per_part(k, sources))


def queries_at_once(k: int, sources: int, memory_bytes: int) -> int:
    """Queries whose hits take so much memory while they are ranked; at least one."""
    return max(1, memory_bytes // (k * (_RANKED_HIT + _HELD_HIT * sources)))


def mine(
    task: Task, sources: Mapping[str, Source], k: int, writer: Writer, memory_bytes: int
) -> dict[str, Any]:
    """Search some parts at a time, as hits fit the memory; write the union; returns counts."""
    size = queries_per_part(k, len(sources))
    together = parts_together(k, len(sources))
    parts = [
        range(start, min(start + size, len(task.texts)))
        for start in range(0, len(task.texts), size)
    ]
    with log.progress("retrieving", len(task.texts), " queries") as bar:
        numbered = list(enumerate(parts))
        missing = {number for number, _ in numbered if not writer.has(_part_name(number))}
        bar.update(sum(len(part) for number, part in numbered if number not in missing))
        # Always all that is encoded together, some of it being finished or not: what else a model
        # has in its batch shows in the last digits of a score.
        batches = [numbered[start : start + together] for start in range(0, len(parts), together)]
        batches = [batch for batch in batches if any(number in missing for number, _ in batch)]
        at_once = max(1, queries_at_once(k, len(sources), memory_bytes) // (size * together))
        for start in range(0, len(batches), at_once):
            group = [part for batch in batches[start : start + at_once] for part in batch]
            for number, part, table in _search(task, sources, k, group):
                if number not in missing:
                    continue
                bar.part(number + 1, len(parts))
                name = _part_name(number)
                texts = pa.table(
                    {
                        "qid": task.qids.slice(part.start, len(part)),
                        "text": task.texts.slice(part.start, len(part)),
                    }
                )
                if not writer.has(f"_queries/{name}"):
                    writer.add_table(f"_queries/{name}", texts, schemas.QUERIES)
                schema = schemas.candidates(list(sources))
                writer.add_table(name, table, schema, _part_stats(table, sources))
                bar.update(len(part))
    total: Counter[str] = Counter()
    for number in range(len(parts)):
        total.update(writer.stats(_part_name(number)))
    conserve(
        "positives of the mined queries",
        int(task.judgements.positive.sum()),
        rows_labelled_1=total["positives"],
    )
    conserve("candidates", total["candidates"], written=writer.rows())
    # Later stages see rows only: a query without any is lost to them, so it is told here.
    total["queries_without_candidates"] = len(task.texts) - total.pop("queries_with_candidates")
    return dict(total)


def _search(
    task: Task, sources: Mapping[str, Source], k: int, group: Sequence[tuple[int, range]]
) -> Iterator[tuple[int, range, pa.Table]]:
    """Candidates of several parts, searched as one batch of queries."""
    rows = np.concatenate([np.arange(part.start, part.stop) for _, part in group])
    texts = task.texts.take(pa.array(rows)).to_pylist()
    qids = task.qids.take(pa.array(rows)).to_pylist()
    place = np.full(len(task.texts), -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    judged = _select(task.judgements, place[task.judgements.query])
    positives = np.flatnonzero(judged.positive)
    hits: dict[str, Hits] = {}
    scores: dict[str, np.ndarray] = {}
    for name, source in sources.items():
        asked = qids if isinstance(source, RunFile) else texts
        hits[name] = source.search(asked, k)
        scores[name] = source.score(
            asked, judged.query[positives], judged.docid.take(pa.array(positives))
        )
    first = 0
    for number, part in group:
        last = first + len(part)
        part_qids = task.qids.slice(part.start, len(part))
        part_hits = {name: _slice_hits(found, first, last) for name, found in hits.items()}
        of_part = _between(judged.query, first, last)
        part_judged = Judgements(
            query=judged.query[of_part] - first,
            docid=judged.docid[of_part],
            grade=judged.grade[of_part],
            positive=judged.positive[of_part],
        )
        scored = _between(positives, of_part.start, of_part.stop)
        part_scores = {name: score[scored] for name, score in scores.items()}
        yield number, part, union(part_qids, part_hits, part_judged, part_scores)
        first = last


def _select(judgements: Judgements, query: np.ndarray) -> Judgements:
    """The judgements whose new query index is not negative, with that index."""
    keep = np.flatnonzero(query >= 0)
    return Judgements(
        query=query[keep].astype(np.int32),
        docid=judgements.docid.take(pa.array(keep)),
        grade=judgements.grade[keep],
        positive=judgements.positive[keep],
    )


def _slice_hits(hits: Hits, first: int, last: int) -> Hits:
    found = _between(hits.query, first, last)
    return Hits(query=hits.query[found] - first, docid=hits.docid[found], score=hits.score[found])


def _between(ascending: np.ndarray, first: int, last: int) -> slice:
    """Where the numbers from ``first`` to below ``last`` are."""
    # Bounds of another type would have all the numbers converted, for every part anew.
    low, high = np.searchsorted(ascending, np.array([first, last], dtype=ascending.dtype))
    return slice(int(low), int(high))


def _part_stats(table: pa.Table, sources: Iterable[str]) -> dict[str, int]:
    label = table.column("label").to_numpy()
    stats = {
        "candidates": table.num_rows,
        "positives": int(label.sum()),
        "queries_with_candidates": len(pc.unique(table.column("qid"))),
    }
    for source in sources:
        found = table.column(rank_column(source)).is_valid().to_numpy()
        stats[f"hits_{source}"] = int(found.sum())
        stats[f"positives_found_{source}"] = int((found & (label == 1)).sum())
    return stats
