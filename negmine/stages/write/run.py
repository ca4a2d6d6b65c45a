"""``negmine write``: from queries and their positives to texts beside the corpus, or to a set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import log, memory
from negmine.edits import Names
from negmine.engine.parts import over_parts
from negmine.errors import InvalidDataError
from negmine.params.write import TRAINING_SETS, WriteParams
from negmine.scorers import Scorer
from negmine.stages import cores, examination
from negmine.stages.outcome import Outcome
from negmine.stages.write import minimal_pairs, training_sets
from negmine.stages.write.asked import calls_in_words, examined, foresee, spent, who
from negmine.stages.write.by_model import CUT_OFF, UNWRITTEN
from negmine.stages.write.cases import Group
from negmine.stages.write.checks import Checks, lost_in, why_nothing
from negmine.stages.write.distinct import Distinct
from negmine.stages.write.drafts import Draft, ids_of
from negmine.stages.write.setup import Readers, Setup, plan, set_up
from negmine.table import artifacts
from negmine.table.artifacts.replace import Replace
from negmine.table.artifacts.writing import Writer
from negmine.table.conservation import conserve
from negmine.table.names import MINIMAL_PAIR, SYNTHETIC, meta_column, score_column
from negmine.table.schemas import documents as documents_schema

#: What is told of each (query, text) pair, before the scores of those who verified it.
_PAIRS = (
    *(("qid", pa.string()), ("docid", pa.string()), ("type", pa.string()), ("of", pa.string())),
    *(("before", pa.string()), ("after", pa.string()), ("writer", pa.string())),
)
_TYPE = "type."


def run(
    params: WriteParams,
    source: Path,
    out: Path,
    readers: Readers,
    *,
    replacing: Replace = Replace.NOTHING,
) -> Outcome:
    """Write texts for the queries of ``source`` into ``out``: a folder, of a training set a file.

    Raises:
        NegmineError: see the exit codes in :mod:`negmine.errors`.
    """
    setup = set_up(params, source, out, readers, replacing=replacing)
    with setup.closing:
        if params.kind in TRAINING_SETS:
            return training_sets.make(setup, out, replacing)
        return _run(setup, out, replacing)


def _run(setup: Setup, out: Path, replacing: Replace) -> Outcome:
    """Examine the judges, then write."""
    params = setup.params
    planned = plan(setup, out)
    state = artifacts.state_of(out, planned, replacing=replacing)
    scorers, told = examined(setup, state)
    writer = artifacts.begin(out, planned, replacing=replacing)
    if writer is None:
        found = artifacts.open_artifact(out)
        examination.check_made(found.manifest, setup.verifying.params)
        return Outcome(out, dict(found.counts), True, found.warnings)
    cores.take(params.threads)
    memory.reset_peak_memory()
    budget = memory.budget(params.memory)
    with writer:
        counts = _write_all(setup, scorers, writer)
        if not counts["documents"]:
            raise InvalidDataError(
                f"nothing was written: {why_nothing(counts)}",
                hint="See docs/writing.md for what each kind needs.",
            )
        warnings = []
        if missing := counts["queries_without_text"]:
            warnings.append(f"{missing} of {counts['queries']} queries have no written text")
        warnings += calls_in_words(counts)
        writer.commit(
            counts,
            warnings=warnings,
            ceiling=budget.ceiling,
            of_run=spent(setup, scorers),
            **who(setup, scorers, told),
        )
    log.warn(warnings)
    return Outcome(out, counts, warnings=warnings)


def drafting(setup: Setup) -> Callable[[Group], tuple[list[Draft], Counter[str]]]:
    """Who writes for a group of queries; with the texts it tells what it could not write."""
    params = setup.params
    if setup.writing is not None:
        return setup.writing.drafts
    types = minimal_pairs.types(params)
    names = minimal_pairs.names_of(setup.documents) if "entity" in types else Names()
    return lambda group: (minimal_pairs.write(group, types, names, params), Counter())


@dataclass(frozen=True)
class _Made:
    """What was written for a group.

    Attributes:
        group: the queries.
        drafts: how many texts there were before some were left out.
        stays: those that stay.
        scores: of those, by the scorers that verified them.
        lost: how many were left out, by reason.
        unwritten: calls of a writer that brought no text, or were cut off after some.
    """

    group: Group
    drafts: int
    stays: Sequence[Draft]
    scores: dict[str, np.ndarray]
    lost: Counter[str]
    unwritten: Counter[str]


def _write_all(setup: Setup, scorers: Mapping[str, Scorer], writer: Writer) -> dict[str, Any]:
    """Write every group's texts; counts."""
    params = setup.params
    # Minimal pairs are near their positive, and near each other, on purpose.
    near = None if params.kind == MINIMAL_PAIR else params.near_duplicate_at
    checks = Checks(setup, Distinct(setup.documents, near), scorers)
    draft = drafting(setup)
    pairs_schema = _pairs_schema(list(checks.scorers))
    known: set[str] = set()
    total: Counter[str] = Counter()
    with log.progress("writing", None, " queries") as bar:

        def made(_: None, name: str, group: Group) -> _Made:
            drafts, unwritten = draft(group)
            stays, scores, lost = checks.kept(drafts, group.cases)
            return _Made(group, len(drafts), stays, scores, lost, unwritten)

        def write(name: str, made: _Made) -> None:
            # A text that an earlier group has is no second document.
            documents, pairs = _tables(made.stays, made.scores, known, pairs_schema)
            known.update(documents.column("docid").to_pylist())
            writer.add_table(f"_pairs/{name}", pairs, pairs_schema, {})
            stats = _stats(made, documents)
            writer.add_table(name, documents, documents_schema([SYNTHETIC]), stats)
            finished(name, made.group)

        def finished(name: str, group: Group) -> None:
            total.update(writer.stats(name))
            bar.update(len(group.qids))

        def skipped(name: str, group: Group) -> None:
            known.update(_ids_in(writer, name))
            finished(name, group)

        if params.via == "batch":
            foresee(setup, lambda group: made(None, group.name, group))
        groups = ((group.name, group) for group in setup.groups())
        over_parts(groups, finished=writer.has, make=made, write=write, skipped=skipped)
    conserve("written documents", total["documents"], written=writer.rows())
    return _nested(total)


def _ids_in(writer: Writer, name: str) -> list[str]:
    """Ids of the texts of a part that an interrupted run finished."""
    import pyarrow.parquet as pq

    ids: list[str] = pq.read_table(writer.file(name), columns=["docid"]).column(0).to_pylist()
    return ids


def _pairs_schema(scorers: Sequence[str]) -> pa.Schema:
    scores = [(score_column(name), pa.float32()) for name in scorers]
    return pa.schema([*_PAIRS, *scores])


def _tables(
    drafts: Sequence[Draft], scores: dict[str, np.ndarray], known: set[str], schema: pa.Schema
) -> tuple[pa.Table, pa.Table]:
    """The texts that no other group has, as documents, and all pairs of a query and a text."""
    docids = ids_of([draft.full for draft in drafts])
    columns = {
        "qid": [draft.case.qid for draft in drafts],
        "docid": docids,
        "type": [draft.type for draft in drafts],
        "of": [draft.case.docid or None for draft in drafts],
        "before": [draft.before or None for draft in drafts],
        "after": [draft.after or None for draft in drafts],
        "writer": [draft.writer or None for draft in drafts],
        **{score_column(name): score for name, score in scores.items()},
    }
    # A score that is no number is none.
    arrays = [pa.array(columns[one.name], one.type, from_pandas=True) for one in schema]
    pairs = pa.table(arrays, schema=schema)
    first = pc.index_in(docids.unique(), value_set=docids).to_pylist()
    new = [row for row in first if docids[row].as_py() not in known]
    made = [drafts[row] for row in new]
    documents = pa.table(
        {
            "docid": docids.take(pa.array(new, pa.int64())),
            "title": pa.array([draft.title for draft in made], pa.string()),
            "text": pa.array([draft.text for draft in made], pa.string()),
            meta_column(SYNTHETIC): pa.array([draft.type for draft in made], pa.string()),
        },
        schema=documents_schema([SYNTHETIC]),
    )
    return documents, pairs


def _stats(made: _Made, documents: pa.Table) -> dict[str, int]:
    """Counts of a group."""
    stays, group = made.stays, made.group
    served = {draft.case.qid for draft in stays}
    conserve("drafts", made.drafts, kept=len(stays), left_out=sum(made.lost.values()))
    texts = sum(pc.sum(pc.binary_length(documents.column(n)), min_count=0).as_py() for n in (1, 2))
    return {
        "queries": len(group.qids),
        "queries_without_text": len(group.qids) - len(served),
        "documents": documents.num_rows,
        "pairs": len(stays),
        "drafts": made.drafts,
        "text_bytes": texts,
        **made.lost,
        "calls_without_text": made.unwritten[UNWRITTEN],
        "calls_cut_off": made.unwritten[CUT_OFF],
        **Counter(f"{_TYPE}{draft.type}" for draft in stays),
    }


def _nested(total: Counter[str]) -> dict[str, Any]:
    """Counts for the manifest: types and reasons as tables of their own."""
    plain = {key: count for key, count in total.items() if "." not in key}
    types = {k.removeprefix(_TYPE): n for k, n in sorted(total.items()) if k.startswith(_TYPE)}
    return {"empty_documents": 0, **plain, "types": types, "left_out": lost_in(total)}
