"""The documents of an index: read, checked, written in parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from negmine import log
from negmine.inputs import Problems, Reading, read_corpus, read_examples
from negmine.inputs.asked import Asked, asked
from negmine.inputs.clashes import Clashes
from negmine.inputs.recorded import Inputs
from negmine.params.index import IndexParams
from negmine.sources.child import DOCUMENTS, Made
from negmine.stages.index.passages import Passages, documents, nothing_read, refuse_ids
from negmine.table import artifacts
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.reading import Artifact
from negmine.table.conservation import conserve
from negmine.table.documents import ADDED, write_documents

DOCUMENTS_VERSION = 2


def documents_plan(params: IndexParams, folder: Path) -> Plan:
    """What the documents in ``folder`` are made from; reads the input files to digest them."""
    inputs = Inputs(folder)
    for role, specs in (("corpus", params.corpus), ("pairs", params.pairs)):
        if specs:
            inputs.add(specs, role)
    settings = {
        "column": list(params.column),
        "limit": params.limit,
        "on_error": params.on_error,
        # Not there when nothing is kept, as in indexes made before there was such an option.
        **({"keep": list(params.keep)} if params.keep else {}),
    }
    return Plan(
        "index.documents", DOCUMENTS_VERSION, settings, files=inputs.files, again=inputs.again
    )


def planned_documents(params: IndexParams, made: Made) -> Plan:
    """What the documents of an index are made from.

    Files that its base index read, and that nobody touched since, are not read for their digests.
    """
    folder = made.out / DOCUMENTS
    if made.base is not None and not artifacts.is_finished(folder):
        folder = made.base.input(DOCUMENTS).path
    return documents_plan(params, folder)


def make_documents(params: IndexParams, made: Made) -> tuple[Artifact, list[str]]:
    """Store the corpus; returns it and what the user should know."""
    folder = made.out / DOCUMENTS
    plan = planned_documents(params, made)
    taken = made.taken(DOCUMENTS, DOCUMENTS, plan)
    if taken is not None:
        return taken, taken.warnings
    writer = made.begin(DOCUMENTS, plan)
    if writer is None:
        found = artifacts.open_artifact(folder)
        return found, found.warnings
    problems = Problems(params.on_error)
    columns = _asked(params)
    warnings: list[str] = []
    added: dict[str, int] = {}
    with writer:
        with log.progress("reading the corpus", params.limit, " docs") as bar:
            batches = _counted(_batches(params, columns, problems, warnings, added), bar)
            role = "corpus" if params.corpus else "pairs"
            clashes = Clashes(role, getattr(params, role), columns.of(role), problems)
            counts: dict[str, Any] = write_documents(
                batches, writer, params.limit, params.keep, clashes.found
            )
        counts |= added
        clashes.report()
        columns.tell()
        if params.limit is None:
            columns.check()
            conserve(
                "documents read",
                bar.done,
                kept=counts["documents"],
                repeated=counts["duplicate_ids"],
                of_other_texts=clashes.count,
            )
        conserve("documents", counts["documents"], written=writer.rows())
        counts["bad_records_skipped"] = problems.count
        if counts["empty_documents"]:
            warnings.append(f"{counts['empty_documents']} documents are empty")
        if counts["duplicate_ids"] and not params.pairs:
            warnings.append(
                f"{counts['duplicate_ids']} documents repeat an id with the same text: kept once"
            )
        if problems.count:
            warnings.append(
                f"{problems.count} bad records were skipped, e.g. {problems.examples[0]}"
            )
        artifact = writer.commit(
            counts,
            warnings=warnings,
            ceiling=made.budget.ceiling,
            skipped=list(problems.examples),
            columns=columns.record(),
        )
    log.warn(warnings)
    log.event(f"documents: {counts['documents']:,}", **counts)
    return artifact, warnings


def _asked(params: IndexParams) -> Asked:
    given = {"corpus": params.corpus, "pairs": params.pairs}
    kinds = [kind for kind, specs in given.items() if specs]
    return asked(params.column, params.ignore, kinds)


def _counted(batches: Iterator[pa.RecordBatch], bar: log.Progress) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch
        bar.update(batch.num_rows)


def _batches(
    params: IndexParams,
    columns: Asked,
    problems: Problems,
    warnings: list[str],
    added: dict[str, int],
) -> Iterator[pa.RecordBatch]:
    """The corpus, then those passages of the pairs that the corpus does not hold.

    ``warnings`` and ``added`` are told what came of the passages beside a corpus.
    """
    if not params.pairs:
        yield from _corpus(params, columns, problems)
        return
    if not params.corpus:
        empty, read = True, 0
        for batch in _pairs(params, columns, problems):
            read += batch.num_rows
            made = documents(batch, params.keep)
            empty = empty and not made.num_rows
            yield made
        if empty:
            raise refuse_ids(params.pairs) if read else nothing_read(params.pairs)
        return
    passages = Passages(_pairs(params, columns, problems))
    for batch in _corpus(params, columns, problems):
        passages.seen(batch)
        yield batch
    # The first pass has reported the bad records already.
    for batch in _pairs(params, columns, Problems("skip")):
        yield passages.others(batch, params.keep)
    missing, every, one = passages.missing()
    added[ADDED] = missing
    if missing:
        warnings.append(
            f"{missing} of {every} passages of the pairs are no document of the corpus, neither by "
            f"title and text nor by text alone, and were added to it, e.g. {one!r}"
        )
    if passages.other_text:
        warnings.append(
            f"{passages.other_text} passages of the pairs have an id of the corpus and another "
            "text: the corpus's text counts"
        )


def _corpus(params: IndexParams, columns: Asked, problems: Problems) -> Iterator[pa.RecordBatch]:
    return iter(read_corpus(params.corpus, columns.of("corpus"), problems, params.keep))


def _pairs(params: IndexParams, columns: Asked, problems: Problems) -> Iterator[pa.RecordBatch]:
    # All passages join, positives or not.
    reading = Reading(passages_only=True)
    return iter(read_examples(params.pairs, columns.of("pairs"), problems, reading))
