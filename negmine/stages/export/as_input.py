"""A finished training set written back as it was, without what a ledger dropped, and its diff.

The ledger's lineage tells which file the set is and how it was read. A record of which nothing
changes is written byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from negmine import log
from negmine.errors import ConflictError, EmptyResultError, InvalidDataError, UsageError
from negmine.inputs import Columns, Reading, grades, origin
from negmine.inputs.asked import asked
from negmine.inputs.in_place import Block, Entry, SetFile, only_file, open_set
from negmine.inputs.in_place.reading import Blocks, Replacement
from negmine.inputs.kinds import PAIRS
from negmine.inputs.layouts import endings
from negmine.inputs.problems import UnheldSetError
from negmine.inputs.sets.base import Edited
from negmine.inputs.values import BadValueError
from negmine.memory import reset_peak_memory
from negmine.params import output_affecting
from negmine.params.export import ExportParams
from negmine.params.retrieve import RetrieveParams
from negmine.params.values import named
from negmine.stages.export import options as export_options
from negmine.stages.export.beside import Beside
from negmine.stages.export.fates import FateTable, Limits, Treatment, Verdict, told
from negmine.stages.export.tally import Tally
from negmine.stages.outcome import Outcome
from negmine.table import artifacts, schemas, writers
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.replace import Replace
from negmine.table.candidates import Candidates, open_candidates

#: What ``--format`` is called that writes a set as it was.
NAME = "as-input"
VERSION = 3
#: The role of a training set among the inputs of ``retrieve``.
_ROLE = PAIRS.name
#: Options that it reads.
_READS = frozenset(("format", "promoted", "unjudged", "score_by", "allow_empty", "memory"))


def run(
    params: ExportParams,
    ledger: Path,
    out: Path,
    limits_of: Callable[[Candidates], Limits],
    *,
    replacing: Replace = Replace.NOTHING,
) -> Outcome:
    """Write the training set of a ledger to ``out``, and beside it what differs.

    Args:
        params: settings.
        ledger: the ledger.
        out: a file, of the ending that the training set has.
        limits_of: gives what the rules of a ledger compared.
        replacing: what may be replaced.

    Raises:
        NegmineError: see the exit codes in :mod:`negmine.errors`.
    """
    _check(params)
    source = open_candidates(ledger, ["filter"], purpose="the ledger")
    found = only_file(spec_of(source))
    _check_out(out, found.files[0].name)
    by = _by(params, source)
    reset_peak_memory()
    cleaning: Cleaning | None = None
    results = []
    with ExitStack() as begun:
        # Both or none: where one may not be replaced the other is not written either.
        files = []
        for path, made_of in plans(params, source, out):
            writer = artifacts.begin_file(path, made_of, replacing=replacing)
            files.append((path, made_of, writer if writer is None else begun.enter_context(writer)))
        for path, made_of, writer in files:
            if writer is None:
                results.append((artifacts.file_manifest(path), True))
                continue
            if cleaning is None:
                cleaning = Cleaning(params, source, by, limits_of(source))
            cleaning.write(writer.hidden, made_of.params["side"])
            writer.commit(cleaning.counts, warnings=cleaning.warnings)
            results.append(({"counts": cleaning.counts, "warnings": cleaning.warnings}, False))
    manifest, made = results[-1]
    warnings = list(manifest["warnings"])
    if not made:
        log.warn(warnings)
    return Outcome(out, dict(manifest["counts"]), all(one for _, one in results), warnings)


def spec_of(source: Candidates) -> str:
    """The file that a ledger's queries and given negatives were read from.

    Raises:
        UsageError: they were not read from one training set.
    """
    record = source.retrieved.inputs.get(_ROLE)
    if record is None:
        raise UsageError(
            f"--format {NAME}: the ledger's queries come from no training set",
            where=str(source.path),
            hint="It writes back what retrieve --pairs read; choose another --format.",
        )
    if "files" in record:
        raise UsageError(
            f"--format {NAME}: the ledger was made of several files",
            where=str(record["path"]),
            hint="A training set is written back file by file: clean one at a time.",
        )
    return str(record["path"])


def plans(params: ExportParams, source: Candidates, out: Path) -> list[tuple[Path, Plan]]:
    """The diff and the cleaned set, with what they are made from.

    Raises:
        UsageError: no such score.
        InvalidDataError: the training set is another one than the ledger's.
    """
    before = source.retrieved.inputs[_ROLE]
    now = origin(spec_of(source), _ROLE, before)
    if now.record["digest"] != before["digest"]:
        raise InvalidDataError(
            "the training set has changed since its candidates were retrieved",
            where=str(before["path"]),
            hint="Run retrieve and the stages after it again.",
        )
    settings = {name: value for name, value in output_affecting(params).items() if name in _READS}
    made_of = Plan(
        "export",
        VERSION,
        {**settings, "score_by": _by(params, source)},
        artifacts={"ledger": source.artifact},
        files={_ROLE: now.record},
        again={_ROLE: now.again},
    )
    return [
        (path, replace(made_of, params={**made_of.params, "side": side}))
        for side, path in (("diff", diff_file(out)), ("set", out))
    ]


def beginning(source: Candidates) -> tuple[int, int]:
    """Read the beginning of a ledger's training set: (its bytes, those of the file)."""
    whole = int(source.retrieved.inputs[_ROLE].get("bytes", 0))
    block = next(_opened(source).blocks(), None)
    if block is None:
        return whole, whole
    if block.rows is not None:
        return int(block.rows.nbytes), whole
    return sum(len(entry.data or b"") for entry in block.entries), whole


def dialect(source: Candidates) -> Mapping[str, Any]:
    """What has to be said to read a ledger's training set, and so the cleaned one, as a table."""
    return _opened(source).dialect()


def _by(params: ExportParams, source: Candidates) -> str:
    return schemas.pick_score(source.schema(), params.score_by or source.params["by"], "--score-by")


def diff_file(out: Path) -> Path:
    """The file beside ``out`` that tells what differs."""
    return out.with_name(f"{out.name.removesuffix(ending_of(out.name))}.diff.jsonl")


def ending_of(name: str) -> str:
    """The longest known ending of a file's name; nothing where it has none."""
    known = (end for end in endings() if name.lower().endswith(end))
    return name[-len(found) :] if (found := max(known, key=len, default="")) else ""


def _check(params: ExportParams) -> None:
    """Refuse options that would have no effect."""
    if params.promoted == "only":
        raise UsageError(
            f"--promoted only takes known positives away, and --format {NAME} changes nothing else",
            hint="Give --promoted leave-out, or none of them.",
        )
    idle = sorted(export_options.changed(params) - _READS)
    if idle:
        raise UsageError(
            f"--{idle[0].replace('_', '-')} has no effect on --format {NAME}",
            hint="A set is written back as it was; leave the option out, or choose another "
            "--format.",
        )


def _check_out(out: Path, name: str) -> None:
    """See that the result has the training set's ending, and is not that set itself."""
    ending = ending_of(name)
    if str(out) == "-" or not out.name.lower().endswith(ending.lower()) or not ending:
        raise UsageError(
            f"--format {NAME} writes what the training set is, a file that ends with "
            f"{ending or 'its suffix'}",
            where=str(out),
            hint=f"For example -o clean{ending}.",
        )
    for path, what in ((out, "the result"), (diff_file(out), "what tells the differences")):
        if path.exists() and Path(name).exists() and path.samefile(name):
            raise ConflictError(
                f"{what} would replace the training set itself",
                where=str(path),
                hint="Choose another -o.",
            )


def foresee(params: ExportParams, retrieve: RetrieveParams, out: Path) -> None:
    """See, before anything is made, that a training set can be written back.

    Args:
        params: settings.
        retrieve: how the set will be read.
        out: where the result goes.

    Raises:
        NegmineError: it cannot.
    """
    _check(params)
    if not retrieve.pairs:
        raise UsageError(f"--format {NAME} writes back what retrieve --pairs reads: there is none")
    found = only_file(retrieve.pairs)
    _check_out(out, found.files[0].name)
    kinds = [kind for kind in ("queries", _ROLE) if getattr(retrieve, kind)]
    columns = asked(retrieve.column, retrieve.ignore, kinds, named(retrieve.run, "--run"))
    # Bad records are for the stage that reads them first.
    reading = Reading(retrieve.positive_above, retrieve.positive_first, passages_only=True)
    next(open_set(found, columns.of(_ROLE), reading, "skip").blocks(), None)


class Cleaning:
    """A training set and what becomes of each of its records.

    Args:
        params: settings.
        source: the ledger.
        by: the score that is told.
        limits: what rules compared.
    """

    def __init__(self, params: ExportParams, source: Candidates, by: str, limits: Limits) -> None:
        treatment = Treatment(params.promoted == "use", params.unjudged == "keep")
        self._file = _opened(source)
        self._fates = FateTable(source, by, limits, treatment)
        self._allow_empty = params.allow_empty
        self._tally = Tally()
        self._placed: set[tuple[str, str]] = set()
        self._beside = Beside()

    def write(self, path: Path, side: str) -> None:
        """Write the set, or its diff.

        Raises:
            EmptyResultError: nothing is left of the set.
        """
        self._tally, self._placed, self._beside = Tally(), set(), Beside()
        if side == "set":
            self._file.save(path, self._treated())
        else:
            writers.write_packed(path, self._lines())
        self._tally.conserve()
        if not self._tally.examples and not self._allow_empty:
            raise EmptyResultError(
                "nothing is left of the training set",
                where=self._file.settings.found.spec,
                hint="Look at the ledger (negmine explain LEDGER --random); --allow-empty writes "
                "an empty file.",
            )

    def _treated(self) -> Blocks:
        """All blocks with what is written in the place of their records."""
        for block in self._file.blocks():
            yield block, [replacement for _, replacement, _ in self._of_block(block)]

    def _lines(self) -> Iterator[bytes]:
        """A line for each record that does not stay as it is."""
        for block in self._file.blocks():
            for entry, replacement, about in self._of_block(block):
                if about is not None:
                    rows = 1 if replacement is None else len(replacement)
                    line = {"line": entry.place, "rows": rows, **about}
                    yield orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)

    def _of_block(
        self, block: Block
    ) -> Iterator[tuple[Entry, Replacement, Mapping[str, Any] | None]]:
        """Each record, what is written in its place, and what the diff says of it."""
        good = [entry.example for entry in block.entries if entry.example is not None]
        verdicts = iter(self._fates.verdicts(good))
        for entry in block.entries:
            if entry.example is None:
                self._tally.unreadable()
                yield entry, [], {"unreadable": entry.problem}
                continue
            verdict = next(verdicts)
            if not verdict.changes:
                self._tally.stays(verdict)
                yield entry, None, None
                continue
            edited = self._edited(block, entry, verdict)
            self._tally.changes(verdict, edited)
            yield entry, edited.records, self._about(entry, verdict, edited)

    def _edited(self, block: Block, entry: Entry, verdict: Verdict) -> Edited:
        """What stands in a record's place."""
        if verdict.given_up:
            return Edited(homeless=frozenset(verdict.fates.of("promoted")))
        lying = self._file.settings.lying(entry, self._file.decoded(block, entry))
        promoted = {
            number: (verdict.qid, verdict.negatives[number].docid)
            for number in verdict.fates.of("promoted")
        }
        elsewhere = frozenset(n for n, pair in promoted.items() if pair in self._placed)
        fates = replace(verdict.fates, elsewhere=elsewhere)
        try:
            edited = self._file.settings.parser.opened.rewrite(lying, fates)
        except BadValueError as error:
            raise UnheldSetError(f"line {entry.place}: {error}") from None
        self._placed |= {promoted[number] for number in edited.own}
        if edited.records:
            self._beside.see(lying.record.columns, lying.raw, edited.records[0])
        return edited

    def _about(self, entry: Entry, verdict: Verdict, edited: Edited) -> dict[str, Any]:
        """What the diff says of a record."""
        fates, negatives = verdict.fates, verdict.negatives
        assert entry.example is not None
        about: dict[str, Any] = {"qid": verdict.qid, "query": entry.example.query}
        if verdict.given_up:
            about["dropped_by"] = verdict.given_up
        lists = {
            "removed": [told(negatives[number]) for number in fates.of("goes")],
            "promoted": [
                told(negatives[number], **({"placed": False} if number in edited.homeless else {}))
                for number in fates.of("promoted")
            ],
            "demoted": [
                told(said)
                for said, stays in zip(verdict.positives, fates.positives, strict=True)
                if not stays
            ],
        }
        about |= {name: found for name, found in lists.items() if found}
        lost = 0 if edited.stays else len(fates.of("stays"))
        return about | ({"lost": lost} if lost else {})

    @property
    def counts(self) -> dict[str, Any]:
        """What was read, and what became of it."""
        return self._tally.counts

    @property
    def warnings(self) -> list[str]:
        """What the user should know."""
        return [*self._tally.warnings, *self._beside.warnings]


def _opened(source: Candidates) -> SetFile:
    """The training set of a ledger, read as it was."""
    retrieved = source.retrieved
    params = retrieved.params
    seen: Mapping[str, Sequence[Mapping[str, Any]]] = retrieved.manifest.get("columns", {})
    kinds = [kind for kind in ("queries", _ROLE) if kind in retrieved.inputs]
    runs = [kind.removeprefix("run ") for kind in seen if kind.startswith("run ")]
    columns = asked(params["column"], (), kinds, runs).of(_ROLE)
    layouts = seen.get(_ROLE, [])
    ignored = frozenset(name for layout in layouts for name in layout["ignored"])
    reading = Reading(
        params["positive_above"], params["positive_first"], grades=grades.parse(params["grade"])
    )
    return open_set(
        only_file(spec_of(source)),
        Columns(columns.named, ignored, strict=False),
        reading,
        params["on_error"],
    )
