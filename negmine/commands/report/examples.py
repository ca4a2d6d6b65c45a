"""Rows to read: the easiest, median and hardest negatives, and those on both sides of each rule.

One pass over the ledger keeps the best few of every kind, one per query, and one pass over the
corpus fetches their texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import rules
from negmine.commands.report.collect import Facts
from negmine.commands.report.slices import FATES, UNJUDGED, Reader, Slice
from negmine.rules import Border, borders
from negmine.table.candidates import Candidates
from negmine.table.names import rank_column, score_column
from negmine.table.part import Part

#: The negatives of the greatest scores: the hardest are those nearest to, or above, a positive,
#: which a weak positive makes of any.
HIGHEST = "highest-scoring"
#: Added to the rank of a row without a score: greater than any score.
_UNSCORED = 1e12
#: Rows that no rule dropped and the sampler did not take; positives, the weakest first.
SURVIVORS, POSITIVES = "survivors", "positive"
#: Rows whose label the filter changed.
PROMOTED, TAKEN_AWAY = "promoted rows", "rows taken away"


@dataclass(frozen=True)
class Line:
    """What a rule compared a row with."""

    value: float
    limit: float
    unit: str


@dataclass
class Example:
    """A row with the positive beside it.

    Attributes:
        qid: the query's id.
        docid: the document's.
        part: where the row lies.
        fate: what became of it: ``selected``, ``survived`` or ``dropped``.
        dropped_by: the rule that dropped it.
        scores: by score; None = unknown.
        ranks: by source; None = not found.
        margin: score minus the positive's, as rules read it.
        positive: docid of the positive that counts; None = the query has none.
        positive_score: its score.
        positives: how many the query has.
        line: the rule's line, for an example at a border.
        texts: of query, document and positive, once fetched.
    """

    qid: str
    docid: str
    part: str
    fate: str
    dropped_by: str | None
    scores: dict[str, float | None]
    ranks: dict[str, int | None]
    margin: float | None
    positive: str | None
    positive_score: float | None
    positives: int
    line: Line | None = None
    query_text: str = ""
    text: str = ""
    positive_text: str = ""


@dataclass
class Group:
    """Examples of one kind.

    Attributes:
        kind: ``hardest``, ``median``, ``easiest``, ..., or a rule's name.
        side: for a rule ``dropped`` or ``kept``.
        first: which come first: those nearest to the rule's line (``line``), of the best
            ``score``, or of the best ``rank``.
        examples: best first.
    """

    kind: str
    side: str = ""
    first: str = "score"
    examples: list[Example] = field(default_factory=list)
    keys: list[float] = field(default_factory=list)


def collect(facts: Facts, wanted: int) -> list[Group]:
    """The groups of examples of a ledger, texts included.

    Args:
        facts: what was collected of it.
        wanted: examples per group.
    """
    if not wanted:
        return []
    reader = facts.reader
    by = reader.rule_measure
    margins = facts.distributions[1]
    hardness = margins if margins.groups["selected"].total() else facts.distributions[0]
    middle = hardness.groups["selected"].quantiles([0.5])[0]
    groups: dict[tuple[str, str], Group] = {
        (kind, ""): Group(kind)
        for kind in (
            *(HIGHEST, "hardest", "median", "easiest", SURVIVORS, POSITIVES),
            *(PROMOTED, TAKEN_AWAY),
        )
    }
    for rule, dropped in facts.dropped.items():
        if rule in rules.named("positives") or not dropped.rows:
            continue
        # Without a score a row was lost for want of one: what lies highest was lost most.
        first = "rank" if rule in UNJUDGED else "score"
        groups[rule, "dropped"] = Group(rule, "dropped", first)
        groups[rule, "kept"] = Group(rule, "kept")
    for part in reader.slices():
        value = part.measure(hardness.measure)
        selected = part.group("selected")
        _offer(groups["hardest", ""], part, reader, selected, -value, wanted)
        _offer(groups[HIGHEST, ""], part, reader, selected, -part.measure(by), wanted)
        _offer(groups["easiest", ""], part, reader, selected, value, wanted)
        score = part.measure(by)
        _offer(groups[SURVIVORS, ""], part, reader, part.group("survived"), -score, wanted)
        known = part.view.positive & ~part.view.promoted
        _offer(groups[POSITIVES, ""], part, reader, known, score, wanted)
        # Without a score, which a condition need not read, by its rank.
        doubt = np.where(np.isnan(score), _UNSCORED + _ranked(part), score)
        _offer(groups[PROMOTED, ""], part, reader, part.view.promoted, doubt, wanted)
        gone = rules.labels.rows_of(part.view.changed, rules.labels.NO_MORE)
        if gone is not None:
            _offer(groups[TAKEN_AWAY, ""], part, reader, gone, -doubt, wanted)
        if middle is not None:
            _offer(groups["median", ""], part, reader, selected, np.abs(value - middle), wanted)
        lines = borders(part.view, reader.params)
        reasons = part.table.column("dropped_by")
        for (rule, side), group in groups.items():
            if not side:
                continue
            line = lines.get(rule)
            if line is None:
                if side == "dropped":
                    # What has no score comes after what has one, by its rank.
                    key = np.where(np.isnan(score), _UNSCORED + _ranked(part), -score)
                    _offer(group, part, reader, _equal(reasons, rule), key, wanted)
                continue
            group.first = "line"
            mask = _equal(reasons, rule)
            if side == "kept":
                mask = (part.group("selected") | part.group("survived")) & ~line.beyond
            _offer(group, part, reader, mask, np.abs(line.distance), wanted, line)
    found = [group for group in groups.values() if group.examples]
    fetch(reader.ledger, [example for group in found for example in group.examples])
    return found


def _ranked(part: Slice) -> np.ndarray:
    """The best rank of each row, float64; beyond all ranks where no source found it."""
    return Part(part.table).best_rank.astype(np.float64)


def _equal(reasons: pa.ChunkedArray, rule: str) -> np.ndarray:
    return pc.fill_null(pc.equal(reasons, rule), False).to_numpy()


def _offer(
    group: Group,
    part: Slice,
    reader: Reader,
    mask: np.ndarray,
    key: np.ndarray,
    wanted: int,
    line: Border | None = None,
) -> None:
    """Let the rows of ``mask`` with the smallest keys into the group, one per query."""
    rows = np.flatnonzero(mask & np.isfinite(key))
    if len(group.keys) >= wanted:
        rows = rows[key[rows] < group.keys[-1]]
    rows = rows[np.argsort(key[rows], kind="stable")]
    _, first = np.unique(part.view.query[rows], return_index=True)
    for row in rows[np.sort(first)[:wanted]].tolist():
        group.examples.append(_example(part, reader, row, line))
        group.keys.append(float(key[row]))
    order = np.argsort(group.keys, kind="stable")[:wanted]
    group.examples = [group.examples[n] for n in order]
    group.keys = [group.keys[n] for n in order]


def _example(part: Slice, reader: Reader, row: int, line: Border | None = None) -> Example:
    values = part.table.slice(row, 1).to_pylist()[0]
    view = part.view
    query = int(view.query[row])
    start = int(view.starts[query])
    end = int(view.starts[query + 1]) if query + 1 < len(view.starts) else len(view.query)
    positives = start + np.flatnonzero(view.compared[start:end])
    score = view.score
    positive = positive_score = None
    if len(positives):
        # With "mean" none of them is the one: the lowest, as with "min".
        sign = -1.0 if reader.params.against == "max" else 1.0
        known = sign * score[positives]
        at = int(positives[np.argmin(np.where(np.isnan(known), np.inf, known))])
        positive = part.table.column("docid")[at].as_py()
        positive_score = _known(score[at])
    return Example(
        qid=values["qid"],
        docid=values["docid"],
        part=part.name,
        fate=FATES[part.fate[row]],
        dropped_by=values["dropped_by"],
        scores={name: values[score_column(name)] for name in reader.scores},
        ranks={name: values[rank_column(name)] for name in reader.sources},
        margin=_known(score[row] - view.positive_score[row]),
        positive=positive,
        positive_score=positive_score,
        positives=len(positives),
        line=None
        if line is None
        else Line(float(line.told_value[row]), float(line.told_limit[row]), line.unit),
    )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


# --- texts ------------------------------------------------------------------------------------


def fetch(ledger: Candidates, examples: Sequence[Example]) -> None:
    """Give the examples their texts."""
    docids = [e.docid for e in examples] + [e.positive for e in examples if e.positive is not None]
    documents = ledger.documents.texts_by_id(docids)
    queries = query_texts(ledger, [(e.part, e.qid) for e in examples])
    for example in examples:
        example.query_text = queries[example.qid]
        example.text = documents[example.docid]
        if example.positive is not None:
            example.positive_text = documents[example.positive]


def query_texts(ledger: Candidates, wanted: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Texts by qid of (part, qid)."""
    by_part: dict[str, set[str]] = {}
    for part, qid in wanted:
        by_part.setdefault(part, set()).add(qid)
    found: dict[str, str] = {}
    for part, qids in by_part.items():
        table = ledger.queries(part)
        table = table.filter(pc.is_in(table.column("qid"), value_set=pa.array(sorted(qids))))
        found |= dict(
            zip(table.column("qid").to_pylist(), table.column("text").to_pylist(), strict=True)
        )
    return found
