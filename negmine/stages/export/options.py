"""What the options of ``export`` mean for one format: contradictions, and what it cannot take."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from negmine import formats
from negmine.addresses import located
from negmine.errors import UsageError
from negmine.params import bounds
from negmine.params.export import ExportParams
from negmine.params.llm import CallOptions
from negmine.sampling import method, orders
from negmine.table import writers

#: The hub's names of repositories.
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}")
#: Options that an evaluation set reads, or that decide nothing.
_OF_BEIR = frozenset(
    (
        *("beir", "beir_corpus", "split", "promoted", "limit"),
        *("memory", "allow_empty", "device", "trust_remote_code"),
    )
)
#: Options that only batchers read, and which of them; all of them where none is named.
_BATCHING: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("batch_by", "threads", "encoder"), ()),
    **dict.fromkeys((field.name for field in dataclasses.fields(CallOptions)), ()),
    **method.owners(orders.BATCHERS),
}


def check(params: ExportParams, layout: formats.Format, out: Path, suffix: str | None) -> None:
    """Refuse settings that contradict each other, and those that would have no effect.

    Args:
        params: settings.
        layout: the format they ask for.
        out: where the examples go.
        suffix: suffix of the file to write; None for a folder.

    Raises:
        UsageError: with the option that settles it.
    """
    bounds.check_all(params)
    _check_beir(params, out)
    _check_place(params, layout, out, suffix)
    _check_layout(params, layout)
    _check_batches(params, layout)


def only_beir(params: ExportParams, out: Path) -> bool:
    """Whether the evaluation set is all that is written."""
    return params.beir is not None and located(params.beir) == out


def _check_beir(params: ExportParams, out: Path) -> None:
    """An evaluation set: where it goes, and that nothing is trained on it."""
    changed_ = changed(params)
    if params.beir is None:
        if "beir_corpus" in changed_:
            raise UsageError("--beir-corpus belongs to --beir, and there is none", hint="Add one.")
        return
    if params.promoted == "only":
        raise UsageError(
            "--promoted only: an evaluation set of what the filter thinks evaluates nothing else",
            hint="Give --promoted leave-out, and the filter's own positives stay out of it.",
        )
    if params.beir == "-" or out in located(params.beir).parents:
        raise UsageError(
            f"--beir {params.beir}: an evaluation set has a folder of its own",
            hint="Name one that is not in the folder of the examples (-o).",
        )
    if not only_beir(params, out):
        if params.split is None:
            raise UsageError(
                "--beir: the queries to evaluate on would be those of the training set",
                where=str(out),
                hint="Hold some out (--split 0.1), or leave -o out to write the evaluation set "
                "alone.",
            )
        return
    if idle := sorted(changed_ - _OF_BEIR):
        raise UsageError(
            f"--{idle[0].replace('_', '-')} is for examples, and --beir alone writes none",
            hint="Give -o a file or a folder for them, or leave the option out.",
        )


def changed(params: ExportParams) -> set[str]:
    """Names of the settings that are not at their defaults."""
    return {field.name for field in dataclasses.fields(params)} - _unchanged(params)


def _unchanged(params: ExportParams) -> set[str]:
    """Names of the settings that are at their defaults."""
    fields = dataclasses.fields(params)
    return {field.name for field in fields if getattr(params, field.name) == field.default}


def _check_place(
    params: ExportParams, layout: formats.Format, out: Path, suffix: str | None
) -> None:
    """What a file, a folder and standard output can hold."""
    if params.split is not None and str(out) == "-":
        raise UsageError("--split writes two files", hint="Give -o a file or a folder.")
    if params.max_shard_size is not None and suffix is not None:
        raise UsageError(
            "--max-shard-size cuts a folder into parts",
            where=str(out),
            hint="Give -o a folder: a name without a suffix.",
        )
    if params.card and suffix is not None:
        raise UsageError(
            "--card belongs to a folder", where=str(out), hint="Give -o a name without a suffix."
        )
    _check_push(params, layout, out, suffix)
    if layout.numbered and suffix is not None:
        raise UsageError(
            f"{params.format} tells documents by their lines in a collection.tsv beside it",
            where=str(out),
            hint="Give -o a folder: a name without a suffix.",
        )


def _check_push(
    params: ExportParams, layout: formats.Format, out: Path, suffix: str | None
) -> None:
    """What the hub can show."""
    if params.push is None:
        if params.public:
            raise UsageError("--public belongs to --push, and there is none", hint="Add one.")
        return
    if not _REPOSITORY.fullmatch(params.push):
        raise UsageError(
            f"--push {params.push}: not the name of a data set",
            hint="OWNER/NAME, of letters, digits, '-', '_' and '.'.",
        )
    if suffix is not None:
        raise UsageError(
            "--push takes a folder", where=str(out), hint="Give -o a name without a suffix."
        )
    if layout.numbered or layout.suffixes[0] in writers.FIELD_SUFFIXES:
        raise UsageError(
            f"--push: `load_dataset` does not read the files of {params.format}",
            hint=f"Upload them as they are: hf upload {params.push} {out} --repo-type dataset",
        )


def left_behind(params: ExportParams, layout: formats.Format, columns: Sequence[str]) -> list[str]:
    """What the filter added for a trainer and does not go out.

    Args:
        params: settings.
        layout: the format they ask for.
        columns: the ledger's.
    """
    if not layout.trains:
        return []
    names = [n for n in ("weight", "tau_plus", "filled") if n in columns and n not in params.extra]
    if not names:
        return []
    told = f"the ledger's {' and '.join(names)} {'is' if len(names) == 1 else 'are'} not in the "
    if layout.closed:
        return [f"{told}training set: {params.format} has no place for further columns"]
    return [told + "training set: add " + " ".join(f"--extra {name}" for name in names)]


def _check_layout(params: ExportParams, layout: formats.Format) -> None:
    """What the format has a place for."""
    if layout.closed and params.extra:
        raise UsageError(
            f"--extra: {params.format} has no place for further columns",
            hint="Leave it out, or choose another --format.",
        )
    if params.negatives != "chosen" and not layout.survivors:
        raise UsageError(
            f"--negatives {params.negatives}: {params.format} takes the negatives that the filter "
            "chose",
            hint="Leave it out (filter --num-negatives says how many), or --format rerank-eval.",
        )
    if params.unjudged != "keep":
        raise UsageError(
            f"--unjudged is for the given negatives of as-input: {params.format} takes what the "
            "filter chose",
            hint="Leave it out, or --format as-input.",
        )
    _check_positives(params, layout)
    if formats.plugged(params.format) is not None:
        # Another package's layout reads what it likes.
        return
    if params.prompt is not None and not layout.prompts:
        raise UsageError(
            f"--prompt: {params.format} has no place for an instruction",
            hint="Only flagembedding lines carry one; elsewhere it is set in the trainer.",
        )
    if params.scores and layout.scores == "never":
        raise UsageError(
            f"--scores: {params.format} has no place for scores",
            hint="Leave it out, or choose another --format.",
        )
    read = params.scores or layout.scores == "always"
    read = read or (params.batcher is not None and orders.batcher(params.batcher).margins)
    read = read or params.max_positives_by == "score"
    if params.score_by is not None and not read:
        raise UsageError(
            "--score-by names the score that goes out, and none does",
            hint="Add --scores."
            if layout.scores == "asked"
            else f"Leave it out: {params.format} has no place for scores.",
        )


def _check_positives(params: ExportParams, layout: formats.Format) -> None:
    """Which positives may be left out."""
    if params.max_positives is not None and not layout.trains:
        raise UsageError(
            f"--max-positives: {params.format} holds no training examples",
            hint="Leave it out, or choose another --format.",
        )
    if params.max_positives is None and params.max_positives_by != "random":
        raise UsageError(
            "--max-positives-by belongs to --max-positives, and there is none", hint="Add one."
        )


def batches(params: ExportParams) -> bool:
    """Whether examples are put into batches."""
    return params.batcher is not None or params.group_by is not None


def _check_batches(params: ExportParams, layout: formats.Format) -> None:
    """What batches are made of, and with."""
    asked = "--group-by" if params.batcher is None else "--batcher"
    if batches(params) and not layout.trains:
        raise UsageError(
            f"{asked}: {params.format} holds no training examples",
            hint="Leave it out, or choose another --format.",
        )
    if batches(params) and params.shuffle is not None:
        raise UsageError(
            f"--shuffle would undo {asked}", hint="Batches are in random order; see --seed."
        )
    if params.order_by is not None:
        _check_order(params, layout)
    unchanged = _unchanged(params)
    if "batch_size" not in unchanged and not batches(params):
        raise UsageError(
            "--batch-size belongs to --batcher or --group-by, and there is none", hint="Add one."
        )
    for name, batchers in _BATCHING.items():
        if name in unchanged:
            continue
        option = f"--{name.replace('_', '-')}"
        if params.batcher is None:
            raise UsageError(f"{option} belongs to --batcher, and there is none", hint="Add one.")
        if batchers and params.batcher not in batchers:
            raise UsageError(
                f"{option} belongs to --batcher {method.either(batchers)}, not to {params.batcher}",
                hint="Leave it out.",
            )


def _check_order(params: ExportParams, layout: formats.Format) -> None:
    for option, given in (
        ("--shuffle", params.shuffle is not None),
        ("--batcher", params.batcher is not None),
        ("--group-by", params.group_by is not None),
    ):
        if given:
            raise UsageError(f"{option} would undo --order-by", hint="Give one or the other.")
    if not layout.trains:
        raise UsageError(
            f"--order-by: {params.format} holds no training examples",
            hint="Leave it out, or choose another --format.",
        )
