"""``negmine explain``: every candidate of one query, and why it is or is not a negative."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import rules
from negmine.commands import queries
from negmine.commands.shortened import one_line, short_id
from negmine.dedup.copies import REPEATED, groups_of_one
from negmine.dedup.signatures import Signatures
from negmine.errors import MissingInputError, UsageError
from negmine.learning import assumption
from negmine.log import event, printable, printable_json
from negmine.params.filter import FilterParams
from negmine.rules import Border, View, labels
from negmine.rules.base import Unit
from negmine.stages import rank_only
from negmine.stages.filter import relabelling
from negmine.stages.filter.recorded import Recorded, crossed, recorded
from negmine.table import ranking, schemas
from negmine.table.candidates import Candidates, open_candidates
from negmine.table.documents import Documents
from negmine.table.names import RELABELLED_BY, meta_column, rank_column, score_column
from negmine.table.part import Part

_TEXT_WIDTH = 72
#: What a rule's limit is compared with.
_UNITS: dict[Unit, str] = {
    "score": "scores",
    "guide": "the guide's scores",
    "positive": "queries whose best positive scores",
    "rank": "ranks",
    "place": "places among the non-positives",
}

#: What became of a row whose label the filter changed.
_CHANGED: Mapping[str, str] = {
    labels.PSEUDO: "promoted: best of a query without positives",
    labels.BY_CONDITION: "promoted",
    labels.DEMOTED: "demoted",
    labels.GIVEN_UP_POSITIVE: "known positive of a query given up",
    labels.GIVEN_UP: "dropped: query given up",
}


def show(
    ledger: Path,
    words: str | None,
    *,
    seed: int | None = None,
    rows: int | None = None,
    as_json: bool = False,
) -> None:
    """Print what the ledger at ``ledger`` says about a query.

    Args:
        ledger: its folder.
        words: the query's id, the beginning of one that is a digest, or words of its text.
        seed: take a query by chance, with this seed; then there are no ``words``.
        rows: show so many candidates; None = all.
        as_json: as JSON, texts and ids whole.

    Raises:
        UsageError: neither words nor a seed, or both; or the words mean several queries.
        MissingInputError: the ledger has no such query.
    """
    if (words is None) == (seed is None):
        raise UsageError(
            "which query?" if words is None else "a query and --random",
            hint="Give its id or words of its text, or --random.",
        )
    table = open_candidates(ledger, ["filter"], purpose="the ledger")
    if words is not None:
        qid = queries.find(table, words)
    else:
        qid, number, total = queries.at_random(table, seed or 0)
        event(f"query {number:,} of {total:,}, taken at random with --seed {seed}")
    report = explain(table, qid)
    if rows is not None:
        report["candidates_left_out"] = max(0, len(report["candidates"]) - rows)
        report["candidates"] = report["candidates"][:rows]
    if as_json:
        print(printable_json(report, indent=2))
    else:
        print(printable(readable(report)), end="")


def explain(ledger: Candidates, qid: str, *, texts: bool = True) -> dict[str, Any]:
    """All that the ledger knows of a query: positives, thresholds, and every candidate's fate.

    Args:
        ledger: what ``filter`` made.
        qid: the query's id.
        texts: with the documents' texts; for these the corpus is read.

    Raises:
        MissingInputError: the ledger has no such query.
    """
    name, table = _find(ledger, qid)
    params = ledger.params
    part = Part(table)
    if params["by"] in params.get("unscored", ()):
        score = rank_only.preference(table, params["rank_by"])
    else:
        score = part.score(params["by"])
    order = ranking.rank_order(part.query, score, part.docid)
    table = table.take(pa.array(order))
    asked = ledger.queries(name)
    query = asked.filter(pc.equal(asked.column("qid"), qid)).to_pylist()[0]
    prefix = meta_column("")
    own = {k.removeprefix(prefix): v for k, v in query.items() if k.startswith(prefix)}
    seen = recorded(ledger)
    view = seen.view(table)
    compared = _compared(table, view, seen.params)
    relabelled = relabelling.compared(table, seen.params)
    candidates = _candidates(table, ledger, compared, relabelled, texts)
    return {
        "qid": qid,
        "query": query["text"],
        **({"query_kept": own} if own else {}),
        "by": params["by"],
        "transform": params.get("transform", "none"),
        "positives": [c["docid"] for c in candidates if c["label"] == 1],
        **_relabelled(candidates),
        "thresholds": thresholds(view, seen),
        "limits": [{**line, "limit": _number(line["limit"])} for line in limits(view, seen.params)],
        "bound": assumption.lines(ledger.artifact.manifest),
        "rules": _rules(params, ledger.artifact.manifest),
        "counts": _counts(candidates),
        "candidates": candidates,
    }


def _candidates(
    table: pa.Table,
    ledger: Candidates,
    compared: Mapping[int, dict[str, Any]],
    relabelled: Mapping[int, Sequence[relabelling.Compared]],
    texts: bool,
) -> list[dict[str, Any]]:
    """Every row with its text, its fate, and what a limit or a condition compared, by row."""
    docids = table.column("docid").combine_chunks()
    documents = ledger.documents
    told = documents.texts(docids).to_pylist() if texts else [""] * len(docids)
    kept = {name: documents.values(name, docids).to_pylist() for name in documents.kept if texts}
    repeated = _repeated(table, documents, ledger.params)
    sources = schemas.source_names(table.schema)
    scores = schemas.score_names(table.schema)
    shown = {"qid", "docid", "label", "grade", "dropped_by", "selected"}
    shown |= {*map(rank_column, sources), *map(score_column, scores)}
    others = [column for column in table.schema.names if column not in shown]
    return [
        {
            "docid": row["docid"],
            "label": row["label"],
            "grade": row["grade"],
            "fate": _fate(row, repeated.get(number)),
            "dropped_by": row["dropped_by"],
            **({"repeats": repeated[number]} if number in repeated else {}),
            **({"compared": compared[number]} if number in compared else {}),
            **(
                {"relabelled": [asdict(one) for one in relabelled[number]]}
                if number in relabelled
                else {}
            ),
            "selected": row["selected"],
            "ranks": {source: row[rank_column(source)] for source in sources},
            "scores": {score: row[score_column(score)] for score in scores},
            **{column: row[column] for column in others},
            **({"kept": {name: kept[name][number] for name in kept}} if kept else {}),
            "text": document,
        }
        for number, (row, document) in enumerate(zip(table.to_pylist(), told, strict=True))
    ]


def thresholds(view: View, seen: Recorded) -> dict[str, float | None]:
    """What rows were compared with: the positives' scores, and each rule's limits.

    Args:
        view: the rows of one query.
        seen: what the ledger's rules knew.
    """
    params = seen.params
    found = {f"positive ({params.against})": float(view.positive_score[0])}
    for line in limits(view, params):
        found[line["name"]] = line["limit"]
    for name, values in view.positive_scores.items():
        found[f"positive of {name}"] = float(values[0])
    if params.guide is not None:
        found[f"positive of guide {params.guide}"] = float(view.positive_guide[0])
    return {name: _number(value) for name, value in found.items()}


def limits(view: View, params: FilterParams) -> list[dict[str, Any]]:
    """The limits of the active rules: name, which values are dropped, limit and unit.

    A rule whose limit is not the same for all rows of the query has one for each group in which
    it was calibrated.
    """
    return [
        {"name": name, "drops": border.sign, "limit": limit, "unit": border.unit}
        for rule, border in rules.borders(view, params).items()
        for name, limit in _named_limits(rule, border, view)
    ]


def _named_limits(rule: str, border: Border, view: View) -> list[tuple[str, float]]:
    limit = border.told_limit
    if len(np.unique(limit)) == 1:
        return [(rule, float(limit[0]))]
    bound = view.fit.bound
    groups, first = np.unique(view.group, return_index=True)
    if bound is None or (limit != limit[first][np.searchsorted(groups, view.group)]).any():
        return [(f"{rule} (lowest)", limit.min()), (f"{rule} (highest)", limit.max())]
    return [
        (f"{rule} ({bound.groups[group]})", float(limit[row]))
        for group, row in zip(groups.tolist(), first.tolist(), strict=True)
    ]


def _compared(table: pa.Table, view: View, params: FilterParams) -> dict[int, dict[str, Any]]:
    """By row that a rule with a limit dropped, what it compared with what."""
    found: dict[int, dict[str, Any]] = {}
    for border, rows in crossed(table, view, params):
        for row in rows.tolist():
            found[row] = {
                "value": _number(border.told_value[row]),
                "drops": border.sign,
                "limit": _number(border.told_limit[row]),
                "unit": border.unit,
            }
    return found


def _number(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def _rules(params: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that differ from the defaults, and what the filter calibrated."""
    defaults = FilterParams()
    found = {
        key.replace("_", "-"): value
        for key, value in params.items()
        if hasattr(defaults, key)
        and value not in (None, [])
        and value != getattr(defaults, key)
        and key not in ("by", "sample_by")
    }
    known = {"negmine", "stage", "schema", "version", "fingerprint", "params", "models", "inputs"}
    known |= {"counts", "warnings", "files", "run"}
    return found | {key: value for key, value in manifest.items() if key not in known}


def _relabelled(candidates: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The documents whose labels the filter changed, where it changed any."""
    found = {
        name: [c["docid"] for c in candidates if c["dropped_by"] in words]
        for name, words in (("promoted", labels.PROMOTED), ("demoted", labels.NO_MORE))
    }
    return {name: docids for name, docids in found.items() if docids}


def _counts(candidates: list[dict[str, Any]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for candidate in candidates:
        reason = candidate["dropped_by"]
        if reason is None:
            reason = "selected" if candidate["selected"] is not None else "not chosen"
        counts[reason] = counts.get(reason, 0) + 1
    return dict(sorted(counts.items()))


def _fate(row: Mapping[str, Any], repeats: str | None) -> str:
    if row["selected"] is not None:
        quota = row.get("quota")
        return f"negative {row['selected']}" + ("" if quota is None else f" of {quota}")
    if row["dropped_by"] == "positive":
        return "known positive"
    if row["dropped_by"] in labels.EVERY:
        by = row.get(RELABELLED_BY)
        return _CHANGED[row["dropped_by"]] + ("" if by is None else f" by {by}")
    of = "" if repeats is None else f" of {short_id(repeats)}"
    return "survived" if row["dropped_by"] is None else f"dropped: {row['dropped_by']}{of}"


def _repeated(table: pa.Table, documents: Documents, params: Mapping[str, Any]) -> dict[int, str]:
    """By row that is dropped as a copy, the candidate that was kept of its group."""
    dropped = pc.equal(table.column("dropped_by"), REPEATED).fill_null(False)
    copies = np.flatnonzero(dropped.to_numpy())
    if len(copies) == 0:
        return {}
    features = Signatures(documents).take(table.column("docid").combine_chunks())
    known = pc.is_in(table.column("dropped_by"), value_set=pa.array(rules.named("positives")))
    group = groups_of_one(~known.to_numpy(), features["signature"], params["near_duplicate_at"])
    kept = np.flatnonzero(table.column("dropped_by").is_null().to_numpy() & (group >= 0))
    by_group = dict(zip(group[kept].tolist(), kept.tolist(), strict=True))
    docids = table.column("docid")
    return {
        row: docids[by_group[number]].as_py()
        for row, number in zip(copies.tolist(), group[copies].tolist(), strict=True)
        if number in by_group
    }


def _find(ledger: Candidates, qid: str) -> tuple[str, pa.Table]:
    """The part that holds the query, and the query's rows."""
    for name in ledger.parts:
        mask = pc.equal(ledger.read(name, ["qid"]).column("qid"), qid)
        if pc.any(mask).as_py():
            return name, ledger.read(name).filter(mask)
    raise MissingInputError(f"no query {qid!r} in the ledger", where=str(ledger.path))


def readable(report: dict[str, Any]) -> str:
    """The report for a terminal, texts shortened to one line."""
    lines = [f"query {short_id(report['qid'])}: {one_line(report['query'], 2 * _TEXT_WIDTH)}"]
    own = report.get("query_kept", {})
    lines += [f"  {name}: {'-' if v is None else one_line(v, 24)}" for name, v in own.items()]
    after = "" if report["transform"] == "none" else f" after {report['transform']}"
    lines.append(f"limits in score_{report['by']}{after}:")
    drops = {line["name"]: line for line in report["limits"]}
    for name, value in report["thresholds"].items():
        lines.append(f"  {name}: {_told_limit(value, drops.get(name))}")
    lines += [f"  {line}" for line in report["bound"]]
    lines.append("settings:")
    for name, value in report["rules"].items():
        lines.append(f"  {name}: {_in_words(value)}")
    lines.append(
        "candidates: " + ", ".join(f"{name} {count}" for name, count in report["counts"].items())
    )
    lines.append("")
    candidates = report["candidates"]
    if candidates:
        first = candidates[0]
        heads = ["fate", "docid", "label"]
        heads += [f"rank {name}" for name in first["ranks"]]
        heads += [f"score {name}" for name in first["scores"]]
        heads += list(first.get("kept", ()))
        cells = [[*heads, "text"]]
        for candidate in candidates:
            label = str(candidate["label"])
            if candidate["grade"] is not None:
                label += f" (grade {candidate['grade']:g})"
            row = [candidate["fate"], short_id(candidate["docid"]), label]
            row += ["-" if rank is None else str(rank) for rank in candidate["ranks"].values()]
            row += [
                "-" if score is None else f"{score:.4g}" for score in candidate["scores"].values()
            ]
            row += [
                "-" if value is None else one_line(value, 24)
                for value in candidate.get("kept", {}).values()
            ]
            cells.append([*row, one_line(candidate["text"], _TEXT_WIDTH)])
        widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
        lines += [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in cells
        ]
    if report.get("candidates_left_out"):
        lines.append(f"... and {report['candidates_left_out']} more")
    return "\n".join(lines) + "\n"


def _in_words(value: Any) -> str:
    """A setting, or what was learned or calibrated, as a user would write it."""
    if isinstance(value, Mapping):
        return "; ".join(f"{key.replace('_', ' ')} {_in_words(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_in_words, value)) or "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return str(value)


def _told_limit(value: float | None, line: Mapping[str, Any] | None) -> str:
    """A limit with the values that it drops; those of the score itself need no unit."""
    if line is None:
        return "unknown (a positive has no score)" if value is None else f"{value:.6g}"
    if value is None:
        return "none (no number to compare with)"
    return f"{value:.6g} (drops {_UNITS[line['unit']]} {line['drops']} {value:.6g})"
