"""``negmine audit --judge``: the rate of false negatives that hiding cannot show, from a sample.

Hiding known positives (the other way of ``audit``) tells what a filter does to positives that were
found once. How many there are that nobody ever found, it cannot. Here a judge's verdicts on the
negatives that were chosen are corrected for what the judge gets wrong: by people who read a drawn
sample, or else by what it says of known positives and of random documents.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa

from negmine import log
from negmine.commands.audit import intervals
from negmine.commands.audit.sampled import (
    asking,
    filled,
    measuring,
    population,
    sheets,
    telling,
    writing,
)
from negmine.commands.audit.sampled.asking import Asking
from negmine.commands.audit.sampled.drawing import Draw
from negmine.commands.audit.sampled.filled import Filled
from negmine.commands.audit.sampled.refiltered import refiltered
from negmine.commands.audit.sampled.sample import draw_of, sample_of
from negmine.commands.audit.sampled.sheets import Sheet
from negmine.commands.audit.sampled.verdicts import Judge, decided_with, examined, judge_of
from negmine.commands.audit.writing import begin
from negmine.errors import InvalidDataError, NegmineError, UsageError
from negmine.params.commands import AuditParams
from negmine.params.filter import FilterParams
from negmine.stages import filter as filtering
from negmine.stages.outcome import Outcome
from negmine.table import artifacts
from negmine.table.artifacts.reading import Artifact
from negmine.table.artifacts.replace import Replace
from negmine.table.candidates import Candidates

#: What asks for this way of auditing.
_ASKING = ("judge", "gold", "sheet")
#: Options of it that ask for nothing by themselves.
_OF_SAMPLE = ("judge_cut", "sample", "sample_seed")
#: Options of the other way.
_OF_HIDING = ("keep", "seeds", "bias", "pool_depth", "teacher", "sweep")


def is_sampled(given: Mapping[str, Any]) -> bool:
    """Whether options ask for an audit by sample, or for one by hiding.

    Args:
        given: the options that were given, by their names.

    Raises:
        UsageError: they ask for both, or one has no effect.
    """
    asked = [name for name in _ASKING if name in given]
    others = [name for name in (_OF_HIDING if asked else _OF_SAMPLE) if name in given]
    if others:
        named = f"--{others[0].replace('_', '-')}"
        if asked:
            raise UsageError(
                f"{named} hides known positives, --{asked[0]} reads a sample of the chosen",
                hint="These are two audits: run one after the other.",
            )
        raise UsageError(f"{named} has no effect without --judge, --sheet or --gold")
    if "=" not in str(given.get("judge", "")):
        for name in (name for name in asking.OPTIONS if name in given):
            raise UsageError(
                f"--{name.replace('_', '-')} has no effect: nobody is asked",
                hint="It is for a judge that is asked: --judge NAME=llm:MODEL@URL.",
            )
    return bool(asked)


def run(
    params: FilterParams,
    audit: AuditParams,
    source: Path,
    out: Path | None,
    *,
    of_filter: Collection[str] = (),
    replacing: Replace = Replace.NOTHING,
) -> tuple[Outcome, dict[str, Any]]:
    """Audit the negatives of a ledger, or those that ``params`` choose of a scored table.

    Args:
        params: the filter; of a ledger its own count.
        audit: the judge, the sample and the sheets.
        source: a ledger, or a scored (or just retrieved) artifact.
        out: a folder, or a file ``*.json``; None = nothing is written.
        of_filter: the options of the filter that were given.
        replacing: what may be replaced at ``out``, and at ``--sheet``.

    Returns:
        (outcome, report).

    Raises:
        NegmineError: see the exit codes in :mod:`negmine.errors`.
    """
    found = _opened(source, of_filter)
    files = [filled.read(path) for path in audit.gold]
    if audit.sheet is not None:
        sheets.is_json(audit.sheet)
    writer = None
    with asking.opened(audit, source.parent) as asked:
        if out is not None:
            writer = begin(out, writing.plan_of(params, audit, found, asked), replacing=replacing)
            if writer is None and audit.sheet is None:
                return writing.written(out)
        with writer or nullcontext():
            with _ledger(params, found) as ledger:
                report, sheet, spent = _audited(audit, ledger, files, str(source), asked)
            if audit.sheet is not None:
                writing.write_sheet(audit.sheet, sheet, replacing)
                report["sheet"] = audit.sheet
            counts = {"negatives": report["negatives"], "drawn": report["sample"]["drawn"]}
            if writer is not None:
                writing.write(writer, report, counts, spent)
    # Without a folder the table is the result, and goes to standard output.
    if out is not None:
        log.event(telling.table(report), report=report)
    log.warn(report["warnings"])
    return Outcome(out or source, counts, warnings=report["warnings"]), report


@contextmanager
def to_ask(
    params: FilterParams, audit: AuditParams, source: Path, of_filter: Collection[str] = ()
) -> Iterator[tuple[Asking, Candidates, asking.Questions] | None]:
    """The judge that would be asked, the ledger and the pairs; None where nobody would be."""
    found = _opened(source, of_filter)
    with (
        asking.opened(audit, source.parent, trial=True) as asked,
        _ledger(params, found) as ledger,
    ):
        if asked is None:
            yield None
            return
        asking.check_name(asked, ledger)
        draw = draw_of(audit, None, [filled.read(path) for path in audit.gold])
        people = _drawn_from(ledger, None, draw)
        about = asking.questions(ledger, sample_of(ledger, people, draw).rows, draw)
        if not audit.gold and audit.sheet is None:
            asking.check_enough(asked, about)
        yield asked, ledger, about


# --- the ledger -------------------------------------------------------------------------------


def _opened(source: Path, of_filter: Collection[str]) -> Artifact:
    """The ledger, or the table that is to be filtered.

    Raises:
        UsageError: options of the filter for a ledger.
    """
    found = artifacts.open_artifact(
        source, ["filter", "rerank", "retrieve"], purpose="the ledger or the scored candidates"
    )
    if found.stage == "filter" and of_filter:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in of_filter)
        raise UsageError(
            f"{named}: a ledger has settings of its own",
            where=str(source),
            hint="Audit the scored table to try other settings.",
        )
    return found


@contextmanager
def _ledger(params: FilterParams, source: Artifact) -> Iterator[Candidates]:
    """The ledger itself, or the one that the filter makes of a scored table, for as long."""
    if source.stage == "filter":
        yield Candidates(source)
        return
    with tempfile.TemporaryDirectory(prefix="negmine-audit-") as folder:
        made = Path(folder) / "ledger"
        with log.silenced():
            filtering.run(params, source.path, made, advise=False)
        yield Candidates(artifacts.open_artifact(made))


def _audited(
    audit: AuditParams,
    ledger: Candidates,
    files: Sequence[Filled],
    named: str,
    asked: Asking | None,
) -> tuple[dict[str, Any], tuple[Sheet, dict[str, str]], Mapping[str, Any]]:
    """The report of a ledger, the sheet of its sample with the answers that there are, and what
    asking a judge took."""
    judge, answered = None, None
    if asked is None and audit.judge is not None:
        judge = judge_of(ledger.artifact, audit.judge, audit.judge_cut)
    elif audit.judge is None and audit.judge_cut is not None:
        raise UsageError("--judge-cut has no effect without --judge")
    draw = draw_of(audit, judge, files)
    people = judged = _drawn_from(ledger, judge, draw)
    sample = sample_of(ledger, people, draw)
    answers, differing = filled.answers_of(files, sample.sheet)
    said = [answers.get(record[sheets.KEY]) for record in sample.sheet.records()]
    read = any(answer is not None for answer in said)
    if asked is not None:
        alone = not read and audit.sheet is None
        # What it says is known of the sample alone: all that is counted of it is of that.
        judge, answered = asking.judge_of(asked, ledger, sample.rows, draw, alone=alone)
        judged = _drawn_from(ledger, judge, draw)
    measured = _measured(
        *(audit, ledger, judge, people if read else judged, sample.rows, said, differing)
    )
    found = measured.contamination
    plain = None if judge is None else measuring.uncorrected(judged)
    report = {
        "kind": "sample",
        "ledger": named,
        "fingerprint": ledger.fingerprint,
        "confidence": intervals.CONFIDENCE,
        "negatives": int(people.size.sum()),
        "how": measured.how,
        "contamination": None if found is None else found.as_json(),
        "uncorrected": None if plain is None else plain.as_json(),
        "judge": None if judge is None else {**_told(judge, judged), **_who(answered)},
        "by": measured.facts,
        "sample": sample.told(people),
        "gold": list(audit.gold),
        "sheet": None,
        "assumptions": list(measured.assumptions),
        "warnings": [*_unjudged(judge, judged), *measured.warnings],
    }
    return report, (sample.sheet, answers), {} if answered is None else answered.spent


def _drawn_from(ledger: Candidates, judge: Judge | None, draw: Draw) -> population.Population:
    return population.read(
        ledger, judge, most=draw.size, seed=draw.seed, by_verdict=bool(draw.judge)
    )


def _who(answered: asking.Answered | None) -> dict[str, Any]:
    """Of a judge that was asked: who it is, and how well it did when it was examined."""
    return {} if answered is None else {"asked": dict(answered.described)}


def _measured(
    audit: AuditParams,
    ledger: Candidates,
    judge: Judge | None,
    people: population.Population,
    rows: pa.Table,
    said: Sequence[str | None],
    differing: int,
) -> measuring.Measured:
    if any(answer is not None for answer in said):
        return measuring.by_gold(people, rows, said, differing)
    nothing = measuring.Measured("nothing", None, {}, [], [])
    if audit.gold and audit.sheet is None:
        raise InvalidDataError(
            "--gold: no row is answered",
            where=audit.gold[0],
            hint=f"Answer {sheets.RELEVANT}, {sheets.NOT_RELEVANT} or {sheets.CANNOT_TELL} in the "
            f"column '{sheets.ANSWER}'.",
        )
    if judge is None:
        return nothing
    try:
        random = measuring.at_random(people, examined(ledger.artifact, judge))
        return measuring.by_controls(people, judge, _relevant(ledger, judge, people), random)
    except NegmineError as error:
        # Who asks for a sheet is about to mend it.
        if audit.sheet is None:
            raise
        return measuring.Measured("nothing", None, {}, [], [error.what])


def _relevant(
    ledger: Candidates, judge: Judge, people: population.Population
) -> measuring.Relevant:
    """What the judge says of relevant documents: where it can be of those that were chosen."""
    decided = decided_with(ledger.params, judge)
    try:
        again = measuring.chosen_again(refiltered(ledger, judge), judge)
    except NegmineError as error:
        log.event(f"known positives cannot be hidden and filtered again: {error.what}")
        again = None
    return again or measuring.known(people, judge, decided)


def _told(judge: Judge, people: population.Population) -> dict[str, Any]:
    return {
        "name": judge.name,
        "yes": judge.told,
        "cut": judge.cut,
        "negatives": people.chosen.verdicts,
    }


def _unjudged(judge: Judge | None, people: population.Population) -> list[str]:
    """The warning on negatives of which the judge says neither yes nor no."""
    if judge is None:
        return []
    of = people.chosen.verdicts
    untold = of["unsure"] + of["unjudged"]
    if not untold:
        return []
    return [
        f"'{judge.name}' says neither yes nor no of {untold:,} negatives ({of['unsure']:,} unsure, "
        f"{of['unjudged']:,} unjudged or never scored): these are not taken for clean, without "
        "people's answers the bounds allow each to be relevant"
    ]
