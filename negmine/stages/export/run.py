"""``negmine export``: the ledger's choices and the texts, as a training set."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from negmine import log
from negmine.addresses import located
from negmine.engine.shares import WHOLE, Share
from negmine.errors import UsageError
from negmine.memory import reset_peak_memory
from negmine.params.export import ExportParams
from negmine.stages.export import beir, hub
from negmine.stages.export import options as export_options
from negmine.stages.export.choices import Side
from negmine.stages.export.folder import export_folder, hub_card, of_held_out
from negmine.stages.export.maker import Maker
from negmine.stages.export.setup import Setup, held_out_file, plan, set_up
from negmine.stages.outcome import Outcome
from negmine.table import artifacts, writers
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.replace import Replace
from negmine.table.conservation import conserve


def run(
    params: ExportParams,
    ledger: Path,
    out: Path,
    *,
    replacing: Replace = Replace.NOTHING,
    share: Share = WHOLE,
) -> Outcome:
    """Write the training set to ``out``, or to a folder a share of its parts.

    ``out`` is a file with a suffix of the format (``.parquet``, ``.jsonl``, ...), a folder of parts
    (no suffix), or ``-`` for lines on standard output.

    Raises:
        NegmineError: see the exit codes in :mod:`negmine.errors`.
        LeftToOthers: this process's share of it is made.
    """
    setup = set_up(params, ledger, out)
    if share is not WHOLE:
        _refuse_whole(params, setup, out)
    # What the hub would refuse is told before anything is written.
    target = None if params.push is None else hub.open_target(params.push, public=params.public)
    outcome = make(params, setup, out, replacing=replacing, share=share)
    if not outcome.up_to_date:
        log.warn(outcome.warnings)
    if target is not None:
        card = hub_card(Maker(params, setup), outcome.counts)
        hub.push(target, artifacts.open_artifact(out), card)
    return outcome


def _refuse_whole(params: ExportParams, setup: Setup, out: Path) -> None:
    """See that the examples are parts that several processes can write.

    Raises:
        UsageError: one process writes them.
    """
    if params.beir is not None:
        raise UsageError(
            "--shard: --beir is one process's work",
            hint="Leave it out of the shards, and export it by a command of its own.",
        )
    if str(out) == "-" or setup.suffix is not None or setup.layout.numbered:
        what = f"--format {params.format}" if setup.layout.numbered else f"-o {out}"
        raise UsageError(
            f"--shard: {what} is one file, which one process writes",
            hint="Name a folder (-o without a suffix) for parts"
            + (", and another --format" if setup.layout.numbered else "")
            + ", or export without --shard.",
        )


def make(
    params: ExportParams,
    setup: Setup,
    out: Path,
    *,
    replacing: Replace = Replace.NOTHING,
    share: Share = WHOLE,
) -> Outcome:
    """Write what was set up; see :func:`run`."""
    if export_options.only_beir(params, out):
        return beir.make(params, setup, out, replacing)
    maker = Maker(params, setup)
    if not params.allow_empty:
        maker.refuse_empty("all" if params.split is None else "train")
    if params.beir is None:
        return _written(maker, setup, out, replacing, share)
    evaluation = beir.make(params, setup, located(params.beir), replacing)
    beir.tell(evaluation)
    outcome = _written(maker, setup, out, replacing)
    more = [f"{evaluation.path}: {warning}" for warning in evaluation.warnings]
    return replace(outcome, warnings=[*outcome.warnings, *more])


def _written(
    maker: Maker, setup: Setup, out: Path, replacing: Replace, share: Share = WHOLE
) -> Outcome:
    """Write the examples where they go: lines, a folder, a file, or two of a split."""
    params, suffix = maker.params, setup.suffix
    if str(out) == "-":
        write = writers.write_fields if suffix in writers.FIELD_SUFFIXES else writers.write_jsonl
        write(sys.stdout.buffer, maker.tables("all"))
        sys.stdout.flush()
        return Outcome(out, maker.counts("all"), warnings=maker.warnings("all"))
    reset_peak_memory()
    if suffix is None:
        return export_folder(maker, plan(params, setup), out, replacing, share)
    if params.split is None:
        return _export_file(maker, plan(params, setup), out, "all", replacing)
    beside = held_out_file(out, suffix)
    held_out = _export_file(maker, plan(params, setup, "heldout"), beside, "heldout", replacing)
    outcome = _export_file(maker, plan(params, setup, "train"), out, "train", replacing)
    return replace(
        outcome,
        counts={**outcome.counts, "heldout": held_out.counts},
        warnings=[*outcome.warnings, *of_held_out(held_out.warnings)],
        up_to_date=outcome.up_to_date and held_out.up_to_date,
    )


def _export_file(maker: Maker, plan: Plan, out: Path, side: Side, replacing: Replace) -> Outcome:
    writer = artifacts.begin_file(out, plan, replacing=replacing)
    if writer is None:
        found = artifacts.file_manifest(out)
        return Outcome(out, dict(found["counts"]), True, list(found["warnings"]))
    with writer:
        rows = writers.write_tables(
            writer.hidden, maker.suffix, maker.tables(side), maker.no_examples().schema
        )
        counts = maker.counts(side)
        conserve("examples", counts["examples"], rows_written=rows)
        writer.commit(
            counts, warnings=maker.warnings(side), ceiling=maker.ceiling, of_run=maker.of_run
        )
    return Outcome(out, counts, warnings=maker.warnings(side))
