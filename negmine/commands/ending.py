"""The end of ``negmine run``: warnings once more, short queries plainly, what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from negmine.inputs.columns import shell_word
from negmine.params.export import ExportParams
from negmine.stages.export import AS_INPUT, dialect_of_set, diff_file
from negmine.stages.filter.short_advice import CHANGE, LEAD
from negmine.stages.outcome import Outcome
from negmine.stages.stage import Step
from negmine.table.artifacts import open_artifact
from negmine.table.candidates import open_candidates

#: Share of the queries that may be short before the end of a run says so in plain words.
MANY = 0.1


def warnings(step: Step, outcome: Outcome) -> list[str]:
    """What a stage warned of, each with its stage; short queries plainly where they are many."""
    counts = outcome.counts
    short, queries = counts.get("queries_short", 0), counts.get("queries", 0)
    many = step.stage == "filter" and short > MANY * queries
    return [
        f"{step.stage}: "
        + (_plainly(warning, short / queries) if many and LEAD.match(warning) else warning)
        for warning in outcome.warnings
    ]


def _plainly(warning: str, share: float) -> str:
    """The advice on short queries with the share in front, and the change in the recipe's words."""
    told = f"{share:.0%} of the queries are left short. {warning}"
    change = CHANGE.search(warning)
    if change is None:
        return told
    if change["without"]:
        return f"{told}. To try it: take {change['name']} out of [filter]"
    value = change["value"]
    name, value = _switch(change["name"]) if value is None else (change["name"], value)
    return f"{told}. To try it: --set filter.{name}={value}"


def _switch(name: str) -> tuple[str, str]:
    """A switch as a key and its value: ``no-same-text`` is ``same-text`` and false."""
    return (name.removeprefix("no-"), "false") if name.startswith("no-") else (name, "true")


def following(steps: Sequence[Step]) -> list[str]:
    """What to do with the results of a run."""
    ledger = next(step.out for step in steps if step.stage == "filter")
    page = ledger.parent / f"{ledger.name.replace('ledger', 'report')}.html"
    lines = [f"negmine report {_word(ledger)} -o {_word(page)}  # all of it on one page"]
    qid = _a_query(ledger)
    if qid is not None:
        lines.append(f"negmine explain {_word(ledger)} {shell_word(qid)}  # one query, row by row")
    out, dialect = steps[-1].out, dict[str, Any]()
    if isinstance(steps[-1].params, ExportParams) and steps[-1].params.format == AS_INPUT:
        lines.append(f"less {_word(diff_file(out))}  # what differs from the set, line by line")
        dialect |= dialect_of_set(open_candidates(ledger, ["filter"], purpose="the ledger"))
    lines.append(f"datasets.load_dataset({_loaded(out, dialect)})  # to train on")
    return [f"next: {line}" for line in lines]


def _a_query(ledger: Path) -> str | None:
    """The first query of a ledger."""
    artifact = open_artifact(ledger)
    for name in artifact.parts:
        if artifact.rows(name):
            return str(artifact.read(name, ["qid"]).column("qid")[0])
    return None


def _loaded(out: Path, dialect: Mapping[str, Any]) -> str:
    """How ``datasets`` loads what was exported.

    Args:
        out: the file or folder.
        dialect: what has to be said of it besides.
    """
    if not out.suffix:
        return f'"{out}"'
    kind = {".parquet": "parquet", ".arrow": "arrow"}.get(out.suffix, "json")
    kind = "csv" if {".csv", ".tsv"} & set(out.suffixes) else kind
    said = "".join(f", {name}={value!r}" for name, value in dialect.items())
    return f'"{kind}", data_files="{out}", split="train"{said}'


def _word(path: Path) -> str:
    return shell_word(str(path))
