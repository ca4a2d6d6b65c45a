"""What an export reads and is asked, checked, and its plan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from negmine import formats
from negmine.endpoints.budget import Budget
from negmine.endpoints.settings import limits_of
from negmine.errors import UsageError
from negmine.params import output_affecting
from negmine.params.export import ExportParams
from negmine.stages import rank_only
from negmine.stages.export import compared
from negmine.stages.export import options as export_options
from negmine.stages.export.choices import Side
from negmine.stages.export.compared import Servers
from negmine.table import artifacts, joins, schemas, writers
from negmine.table.artifacts.plan import Plan
from negmine.table.candidates import Candidates, open_candidates

VERSION = 3


@dataclass(frozen=True)
class Setup:
    """What a run reads and writes, its parameters checked.

    Attributes:
        layout: the format of the examples.
        suffix: suffix of the file to write; None for a folder.
        source: the ledger.
        by: the score that goes out.
        servers: encoders behind HTTP that encode the queries of batches.
    """

    layout: formats.Format
    suffix: str | None
    source: Candidates
    by: str
    servers: Servers


def set_up(params: ExportParams, ledger: Path, out: Path) -> Setup:
    """Check the parameters against the ledger and the name of the output.

    Raises:
        UsageError: options that contradict each other, or a suffix that the format has not.
        MissingInputError: there is no ledger.
    """
    layout = formats.load(params.format)
    suffix = None if export_options.only_beir(params, out) else _suffix(params, layout, out)
    export_options.check(params, layout, out, suffix)
    source = open_candidates(ledger, ["filter"], purpose="the ledger")
    if params.group_by is not None:
        joins.check(params.group_by, source.documents, "--group-by")
    by = schemas.pick_score(source.schema(), params.score_by or source.params["by"], "--score-by")
    if layout.scores == "always" or (layout.scores == "asked" and params.scores):
        _refuse_unscored(params, source, by)
    servers = Servers(Budget(*limits_of(params)), source.artifact.path.parent)
    if params.batcher is not None:
        compared.check(params, source)
    return Setup(layout, suffix, source, by, servers)


def _refuse_unscored(params: ExportParams, source: Candidates, by: str) -> None:
    """Refuse to write a score that no row of the ledger has."""
    empty = rank_only.empty_in(source)
    if not rank_only.unscored(source.schema(), empty, [by]):
        return
    scored = [name for name in schemas.score_names(source.schema()) if not empty(name)]
    others = (
        f"Name one that rows have (--score-by {' or '.join(scored)}), or score "
        if scored
        else "Score "
    )
    asked = "--scores" if params.scores else f"--format {params.format}"
    raise UsageError(
        f"{asked} writes scores, and no row of the ledger has a score_{by}",
        where=str(source.path),
        hint=f"{others}the candidates (negmine rerank --scorer NAME=MODEL) and filter again.",
    )


def plan(params: ExportParams, setup: Setup, side: Side = "all") -> Plan:
    """What a training set, or one side of its split, is made from."""
    whole = Plan(
        "export",
        VERSION,
        {**output_affecting(params), **_plugged(params), "score_by": setup.by},
        artifacts={"ledger": setup.source.artifact},
    )
    return whole if side == "all" else replace(whole, params={**whole.params, "side": side})


def held_out_file(out: Path, suffix: str) -> Path:
    """The file beside ``out`` for the queries that a split holds out."""
    return out.with_name(f"{out.name.removesuffix(suffix)}.heldout{suffix}")


def _plugged(params: ExportParams) -> dict[str, str]:
    """The code of another package's format."""
    plugin = formats.plugged(params.format)
    return {} if plugin is None else {"plugin": plugin.identity}


def _suffix(params: ExportParams, layout: formats.Format, out: Path) -> str | None:
    """The suffix of the file to write; None for a folder."""
    if str(out) == "-":
        fields = layout.suffixes[0] in writers.FIELD_SUFFIXES
        return layout.suffixes[0] if fields else ".jsonl"
    suffix = writers.suffix_of(out)
    if suffix is None and (artifacts.is_folder(out) or not out.suffix):
        return None
    if suffix not in layout.suffixes:
        raise UsageError(
            f"cannot write {suffix or out.suffix} files of the format {params.format}",
            where=str(out),
            hint=f"Known: {', '.join(layout.suffixes)}, or no suffix for a folder of parts.",
        )
    return suffix
