"""An artifact on one screen: of a ledger some queries with what was chosen, dropped and why."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import rules
from negmine.commands import explain as explaining
from negmine.commands.inspect import training
from negmine.commands.shortened import counted, headed, one_line, short_id, warned
from negmine.inputs.columns import shell_word
from negmine.learning import assumption
from negmine.log import printable
from negmine.stages import rank_only
from negmine.stages.export.beir import STAGE as EVALUATION
from negmine.stages.filter.recorded import given_params
from negmine.table import ranking
from negmine.table.artifacts.reading import Artifact
from negmine.table.candidates import STAGES, Candidates
from negmine.table.names import rank_column, score_column
from negmine.table.part import Part

#: Rows of a query that are shown, by what became of them.
_SHOWN = {"positive": 1, "negative": 2, "dropped": 2}
_BEST = 4
_RULES = 6
_LEAST, _MOST = 80, 160
#: Queries that have something of everything are looked for in so many parts.
_PARTS = 4


def of_artifact(artifact: Artifact, children: Sequence[Artifact], rows: int) -> str:
    """What an artifact holds, as text.

    Args:
        artifact: it.
        children: what it only names; those of an index.
        rows: queries of a table, or rows of a training file, to show.
    """
    if artifact.stage in STAGES:
        table = Candidates(artifact)
        lines = _ledger(table, rows) if artifact.stage == "filter" else _table(table, rows)
    elif artifact.stage in ("export", EVALUATION) or training.file_of(artifact) is not None:
        lines = training.lines(artifact, rows, width())
    else:
        lines = head(artifact.path, artifact)
        lines += [f"  {line}" for child in children for line in head(child.path, child)]
    where = _path(artifact)
    return printable(
        "\n".join([*lines, "", f"the manifest, schema and lineage: negmine inspect {where} -v"])
    )


def of_folder(path: Path, found: Sequence[tuple[Path, Artifact]]) -> str:
    """What each artifact of a work folder is."""
    lines = [line for where, artifact in found for line in head(where, artifact)]
    lines += ["", f"more of one: negmine inspect {found[-1][0]}"]
    lines += [f"whether all is whole: negmine inspect {path} --verify"]
    return printable("\n".join(lines))


def head(path: Path, artifact: Artifact) -> list[str]:
    """What an artifact is: its stage and its counts, in a line where they fit."""
    counts = [f"{name.replace('_', ' ')} {n:,}" for name, n in _numbers(artifact.counts)]
    return headed(f"{path}: {artifact.stage}", counts, width())


def width() -> int:
    """Columns of the terminal, within what can be read."""
    return min(max(shutil.get_terminal_size((100, 24)).columns, _LEAST), _MOST)


def _numbers(counts: Any) -> list[tuple[str, int]]:
    """The counts that are whole numbers and say something."""
    return [(name, n) for name, n in counts.items() if type(n) is int and n][:5]


def _path(artifact: Artifact) -> Path:
    """What a user types to see the artifact again: a folder, or an exported file."""
    return training.file_of(artifact) or artifact.path


# --- a ledger ---------------------------------------------------------------------------------


def _ledger(ledger: Candidates, wanted: int) -> list[str]:
    counts, params = ledger.counts, given_params(ledger)
    dropped = {name: n for name, n in counts["dropped"].items() if n}
    own = sum(dropped.pop(name, 0) for name in rules.labels.PROMOTED)
    gone = sum(dropped.pop(name, 0) for name in rules.labels.NO_MORE)
    known = dropped.pop("positive", 0) + gone
    lines = [
        f"{ledger.path}: a ledger of {counted(counts['queries'], 'query')} and "
        f"{counted(counts['candidates'], 'row')}",
        f"  {counted(known, 'known positive')}, {sum(dropped.values()):,} dropped, "
        f"{counts['survivors']:,} left, of which {counts['selected']:,} are chosen",
    ]
    if own or gone:
        lines.append(f"  {own:,} candidates made positives, {gone:,} known positives taken away")
    lines += [
        f"  {option}: {number:,}"
        for option, number in counts.get("relabelled", {}).items()
        if number
    ]
    most = sorted(dropped.items(), key=lambda item: -item[1])
    for name, number in most[:_RULES]:
        lines.append(f"  dropped {number:,} as {name}: {rules.words(name, params)}")
    if len(most) > _RULES:
        lines.append(f"  ... and by {counted(len(most) - _RULES, 'other rule')}")
    # What speaks against the bound is among the warnings.
    for line in assumption.lines(ledger.artifact.manifest)[:1]:
        lines += wrap(line, width(), initial_indent="  ", subsequent_indent="  ")
    if counts["queries_short"]:
        lines.append(
            f"  {counted(counts['queries_short'], 'query')} with fewer than "
            f"{params.num_negatives} negatives, {counts['queries_with_none']:,} with none"
        )
    lines += warned(ledger.artifact.warnings, width())
    told = [explaining.explain(ledger, qid, texts=False) for qid in _telling(ledger, wanted)]
    shown = [_picked(report["candidates"]) for report in told]
    texts = ledger.documents.texts_by_id(row["docid"] for rows in shown for row in rows)
    if told:
        lines.append(f"  the numbers beside rows are their score_{told[0]['by']}")
    for report, rows in zip(told, shown, strict=True):
        lines += ["", _query(report["qid"], report["query"])]
        by = report["by"]
        lines += _rows([(_fate(row), row["docid"], row["scores"].get(by)) for row in rows], texts)
    if told:
        words = (shell_word(str(ledger.path)), shell_word(short_id(told[0]["qid"])))
        lines += ["", f"all of a query: negmine explain {' '.join(words)}"]
    return lines


def _telling(ledger: Candidates, wanted: int) -> list[str]:
    """Queries with a chosen and a dropped candidate first, then any; in table order."""
    untold = pa.array(rules.named("positives"))
    telling: list[str] = []
    others: list[str] = []
    for number, name in enumerate(ledger.parts):
        if len(telling) >= wanted or (number >= _PARTS and len(telling) + len(others) >= wanted):
            break
        part = ledger.part(name, ["qid", "dropped_by", "selected"])
        reasons = part.table.column("dropped_by")
        dropped = part.valid("dropped_by") & ~pc.is_in(reasons, untold).to_numpy()
        both = np.bincount(part.query[part.valid("selected")], minlength=part.queries) > 0
        both &= np.bincount(part.query[dropped], minlength=part.queries) > 0
        telling += part.qids.filter(pa.array(both)).slice(0, wanted).to_pylist()
        others += part.qids.filter(pa.array(~both)).slice(0, wanted).to_pylist()
    return [*telling, *others][:wanted]


def _picked(candidates: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The best-scoring positive, the first negatives, and the best-scoring row of some rules."""
    positives: list[dict[str, Any]] = []
    negatives: list[dict[str, Any]] = []
    relabelled: dict[str, dict[str, Any]] = {}
    dropped: dict[str, dict[str, Any]] = {}
    for row in candidates:
        if row["selected"] is not None:
            negatives.append(row)
        elif row["dropped_by"] in rules.labels.EVERY:
            relabelled.setdefault(row["dropped_by"], row)
        elif row["label"] == 1:
            positives.append(row)
        elif row["dropped_by"] is not None:
            dropped.setdefault(row["dropped_by"], row)
    negatives.sort(key=lambda row: int(row["selected"]))
    return [
        *positives[: _SHOWN["positive"]],
        *relabelled.values(),
        *negatives[: _SHOWN["negative"]],
        *list(dropped.values())[: _SHOWN["dropped"]],
    ]


def _fate(row: dict[str, Any]) -> str:
    """What became of a row and why, the numbers that a limit compared with it."""
    if row.get("relabelled"):
        numbers = [one for one in row["relabelled"] if isinstance(one["value"], float)]
        told = ", ".join(f"{one['value']:.4g} {one['sign']} {one['limit']:.4g}" for one in numbers)
        return str(row["fate"]) + (f" ({told})" if told else "")
    if row["label"] == 1 and row["dropped_by"] == "positive":
        return "positive"
    compared = row.get("compared")
    if not compared or compared["value"] is None or compared["limit"] is None:
        return str(row["fate"])
    return f"{row['fate']} ({compared['value']:.4g} {compared['drops']} {compared['limit']:.4g})"


# --- a table before the filter ------------------------------------------------------------------


def _table(table: Candidates, wanted: int) -> list[str]:
    lines = [*head(table.path, table.artifact), *warned(table.artifact.warnings, width())]
    shown: list[tuple[str, str, pa.Table]] = []
    for name in table.parts:
        if len(shown) >= wanted:
            break
        part = table.part(name)
        asked = table.queries(name)
        words = dict(zip(asked["qid"].to_pylist(), asked["text"].to_pylist(), strict=True))
        ends = np.append(part.starts[1:], len(part))
        for qid, start, end in zip(part.qids.to_pylist(), part.starts, ends, strict=True):
            if len(shown) < wanted:
                rows = part.table.slice(int(start), int(end - start))
                shown.append((qid, words[qid], _best(rows, table)))
    docids = (docid for _, _, rows in shown for docid in rows["docid"].to_pylist())
    texts = table.documents.texts_by_id(docids)
    for qid, text, rows in shown:
        lines += ["", _query(qid, text)]
        lines += _rows([_found(row, table) for row in rows.to_pylist()], texts)
    return lines


def _best(rows: pa.Table, table: Candidates) -> pa.Table:
    """A query's best known positive and its best candidates, by the last score there is."""
    part = Part(rows)
    scores = table.scores
    if scores and part.valid(score_column(scores[-1])).any():
        score = part.score(scores[-1])
    else:
        score = rank_only.preference(rows, None)
    order = ranking.rank_order(part.query, score, part.docid)
    positive = part.positive[order]
    chosen = [*order[positive][: _SHOWN["positive"]], *order[~positive][:_BEST]]
    return rows.take(pa.array(np.asarray(chosen, dtype=np.int64)))


def _found(row: dict[str, Any], table: Candidates) -> tuple[str, str, float | None]:
    """What a row is and who found it where, its document, and its last score."""
    ranks = {source: row[rank_column(source)] for source in table.sources}
    found = ", ".join(f"{source} {rank}" for source, rank in ranks.items() if rank is not None)
    score = row[score_column(table.scores[-1])] if table.scores else None
    what = "positive" if row["label"] == 1 else "candidate"
    return f"{what} ({found or 'not found'})", row["docid"], score


# --- in common --------------------------------------------------------------------------------


def _query(qid: str, text: str) -> str:
    return one_line(f"query {short_id(qid)}: {text}", width())


def _rows(rows: Sequence[tuple[str, str, float | None]], texts: dict[str, str]) -> list[str]:
    """Fate, id, score and text in columns."""
    cells = [
        (fate, short_id(docid), "-" if score is None else f"{score:.4g}")
        for fate, docid, score in rows
    ]
    widths = [max((len(row[i]) for row in cells), default=0) for i in range(3)]
    lines = []
    for row, (_, docid, _) in zip(cells, rows, strict=True):
        start = "  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + "  "
        lines.append(start + one_line(texts[docid], max(24, width() - len(start))))
    return lines
