"""What each recipe's method promises of the training file, computed anew from the ledger's numbers.

Nothing here calls a rule, a sampler or a layout of negmine: a promise is the method's own formula
over the scores and ranks of the candidates, with the numbers of its paper.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from difflib import SequenceMatcher
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from negmine.table import artifacts
from negmine.table.draws import draws

Row = dict[str, Any]
#: Reasons of the identity guard, whose own tests look at texts: such rows are no candidates here.
GUARD = {
    *("own_document", "same_text", "query_text", "near_duplicate", "near_duplicate_cosine"),
    *("sibling", "duplicate_query", "excluded", "repeated_text", "between_grades"),
}


@dataclass(frozen=True)
class Line:
    """One example of a training file, its texts told by ids."""

    qid: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]
    row: Row


@dataclass(frozen=True)
class Made:
    """A ledger, and the training file that was made of it.

    Attributes:
        queries: rows of the ledger by query.
        lines: examples of the file, in its order.
        manifest: the ledger's.
        documents: kept columns of the documents, by docid; empty where none is kept.
        asked: kept columns of the queries, by qid.
        changed: settings that the test gave other values than the recipe has.
        vectors: the scores come from models, so that they agree with the vectors.
        texts: of the documents, by docid.
        questions: texts of the queries, by qid.
        rows: of a file that has texts which a model wrote, all its rows.
    """

    queries: dict[str, list[Row]]
    lines: list[Line]
    manifest: Mapping[str, Any]
    documents: Mapping[str, Row] = field(default_factory=dict)
    asked: Mapping[str, Row] = field(default_factory=dict)
    changed: Mapping[str, float | str] = field(default_factory=dict)
    vectors: bool = True
    texts: Mapping[str, str] = field(default_factory=dict)
    questions: Mapping[str, str] = field(default_factory=dict)
    rows: Sequence[Row] = ()

    def row(self, qid: str, docid: str) -> Row:
        return self._by_id[qid, docid]

    @cached_property
    def _by_id(self) -> dict[tuple[str, str], Row]:
        return {(qid, row["docid"]): row for qid, rows in self.queries.items() for row in rows}

    def positives(self, qid: str) -> list[Row]:
        """Kept columns of a query's known positives."""
        rows = self.queries[qid]
        return [self.documents[row["docid"]] for row in rows if row["label"] == 1]

    def negatives(self) -> list[tuple[str, Row]]:
        """(query, kept columns of the document) of every negative; nothing where none is kept."""
        every = [(line.qid, docid) for line in self.lines for docid in line.negatives]
        return [(qid, self.documents[docid]) for qid, docid in every if self.documents[docid]]

    def limit(self, name: str, value: float) -> float:
        """The paper's number, or what this test put in its place (the first of a condition)."""
        given = self.changed.get(name, value)
        return float(given.split()[2]) if isinstance(given, str) else given


def read(ledger: Path, train: Path, **more: Any) -> Made:
    """Read a ledger and a training file of the layouts that recipes write."""
    artifact = artifacts.open_artifact(ledger)
    queries: dict[str, list[Row]] = defaultdict(list)
    for part in artifact.parts:
        for row in artifact.read(part).to_pylist():
            queries[row["qid"]].append(row)
    documents = artifact.ancestor("index.documents")
    retrieved = artifact.ancestor("retrieve")
    held = [documents, *(retrieved.input(role) for role in retrieved.roles("write"))]
    corpus = [row for one in held for part in one.parts for row in one.read(part).to_pylist()]
    asked = [
        row for part in artifact.parts for row in retrieved.read(f"_queries/{part}").to_pylist()
    ]
    docid = {_full(row): row["docid"] for row in corpus}
    qid = {row["text"]: row["qid"] for row in asked}
    assert len(qid) == len(queries)
    every = pq.read_table(train).to_pylist()
    more["rows"] = every if "synthetic" in every[0] else ()
    given = [row for row in every if row.get("synthetic") is None]
    lines = [_line(row, qid, docid) for row in _triplets(given)]
    kept = {row["docid"]: _kept(row) for row in corpus}
    own = {row["qid"]: _kept(row) for row in asked}
    more |= {"texts": {one: text for text, one in docid.items()}}
    more |= {"questions": {one: text for text, one in qid.items()}}
    return Made(dict(queries), lines, artifact.manifest, kept, own, **more)


def _full(document: Row) -> str:
    """A document's text as it is exported, behind its title if it has one."""
    return f"{document['title']} {document['text']}" if document["title"] else document["text"]


def _kept(row: Row) -> Row:
    prefix = "meta_"
    return {k.removeprefix(prefix): v for k, v in row.items() if k.startswith(prefix)}


def _triplets(rows: list[Row]) -> list[Row]:
    """Labelled pairs as the triplets that they hold; other rows without ids of documents."""
    if "label" not in rows[0]:
        return [{k: v for k, v in row.items() if k != "negative_docid"} for row in rows]
    found: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        found[row["anchor"]][row["label"]].append(row["document"])
    return [
        {"anchor": query, "positive": positive, "negative": negative}
        for query, documents in found.items()
        for positive in documents[1]
        for negative in documents[0]
    ]


def _line(row: Row, qid: Mapping[str, str], docid: Mapping[str, str]) -> Line:
    if "documents" in row:
        positive, *negatives = row["documents"]
        positives = [positive]
        if "labels" in row:
            assert row["labels"] == [1] + [0] * len(negatives)
    elif "pos" in row:
        positives, negatives = row["pos"], row["neg"]
    else:
        positives = [row["positive"]]
        negatives = [text for name, text in row.items() if name.startswith("negative")]
    asked = qid[row.get("anchor", row.get("query"))]
    return Line(asked, tuple(docid[t] for t in positives), tuple(docid[t] for t in negatives), row)


# --- what may be chosen, and what must be -----------------------------------------------------

#: (row, rows of its query, the made) -> whether the method's own rule keeps the row.
Keep = Callable[[Row, list[Row], Made], bool]


def positive_score(rows: list[Row], name: str, of: Callable[[list[float]], float] = min) -> float:
    """The lowest score of a query's positives; NaN where one has none."""
    found = [row[name] for row in rows if row["label"] == 1]
    return math.nan if not found or None in found else of(found)


def below(name: str, limit: Callable[[float], float], *, strict: bool) -> Keep:
    """Keeps ``s < limit(p)``, or ``<=``."""

    def keep(row: Row, rows: list[Row], made: Made) -> bool:
        border = limit(positive_score(rows, name))
        return bool(row[name] < border) if strict else bool(row[name] <= border)

    return keep


def anything(row: Row, rows: list[Row], made: Made) -> bool:
    return True


def one_place_apart(made: Made) -> None:
    """A written negative is a positive of its query, but for one thing, wherever that stands."""
    for line in made.lines:
        known = [made.texts[r["docid"]].split() for r in made.queries[line.qid] if r["label"] == 1]
        for docid in line.negatives:
            if docid.startswith("synthetic-"):
                written = made.texts[docid].split()
                assert any(len(changes(one, written)) == 1 for one in known)


def all_written(made: Made) -> None:
    """Every negative was written for its query: none of them stands in the corpus."""
    for line in made.lines:
        # Without models nothing was written either.
        assert all(docid.startswith("synthetic-") for docid in line.negatives) or not made.vectors


def marked_where_written(made: Made) -> None:
    """The file says which negatives were written, and there are some of both kinds."""
    seen = set()
    for line in made.lines if made.vectors else ():
        told = [docid.startswith("synthetic-") for docid in line.negatives]
        assert line.row["neg_synthetic"] == told
        seen.update(told)
    assert len(seen) == 2 or not made.vectors


def unanswered(made: Made) -> None:
    """Three written queries of each positive, which is their negative, and no query of the set."""
    written = [row for row in made.rows if row["synthetic"] is not None]
    documents: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in written:
        assert (row["label"], row["synthetic"]) == (0, "query")
        assert row["qid"].startswith("synthetic-")
        assert row["anchor"] not in made.questions.values()
        assert row["document"] == made.texts[row["docid"]]
        documents[row["of"], row["docid"]].add(row["anchor"])
    if made.vectors:
        known = {
            (q, row["docid"]) for q, rows in made.queries.items() for row in rows if row["label"]
        }
        assert set(documents) == known
        assert {len(texts) for texts in documents.values()} == {3}


def both_views(made: Made) -> None:
    """Each triplet once more, with another instruction and its passages swapped."""
    assert len(made.rows) % 2 == 0
    # Without models nothing was written.
    assert bool(made.rows) == made.vectors
    for one, other in zip(made.rows[::2], made.rows[1::2], strict=True):
        assert (one["synthetic"], other["synthetic"]) == (None, "instruction")
        assert one["instruction"] == made.asked[one["qid"]]["instruction"] != other["instruction"]
        assert (one["anchor"], one["qid"]) == (other["anchor"], other["qid"])
        for side, swapped in (("positive", "negative"), ("negative", "positive")):
            assert one[side] == other[swapped] == made.texts[one[f"{side}_docid"]]
            assert one[f"{side}_docid"] == other[f"{swapped}_docid"]


def changes(before: list[str], after: list[str]) -> set[tuple[str, ...]]:
    """The words that differ, and those in their place, each pair once."""
    blocks = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    return {(*before[a:b], "->", *after[c:d]) for what, a, b, c, d in blocks if what != "equal"}


def by(name: str) -> Callable[[Row], Any]:
    """The best score first, equal ones by docid, unknown ones last."""
    return lambda row: (math.inf if row[name] is None else -row[name], row["docid"])


def drawn(row: Row) -> float:
    """Its draw with the default seed, which is the pair's own."""
    pair = (pa.chunked_array([[row[name]]]) for name in ("qid", "docid"))
    return float(draws(*pair, 42)[0])


def by_rank(source: str) -> Callable[[Row], Any]:
    return lambda row: (row[f"rank_{source}"] or math.inf, row["docid"])


@dataclass(frozen=True)
class Quota:
    """Places of a query for what a source ranks from the first to the last of these ranks."""

    n: int
    first: int = 1
    last: float = math.inf

    def takes(self, rank: int | None) -> bool:
        return rank is not None and self.first <= rank <= self.last


Quotas = Mapping[str, Quota]


def placed(quotas: Quotas, rows: list[Row]) -> list[Row]:
    """Rows that get a place, one after another: each if all before it keep one, too (Kuhn's)."""
    held: dict[str, list[Row]] = {source: [] for source in quotas}

    def place(row: Row, tried: set[str]) -> bool:
        for source, quota in quotas.items():
            if source in tried or not quota.takes(row[f"rank_{source}"]):
                continue
            tried.add(source)
            if len(held[source]) < quota.n:
                held[source].append(row)
                return True
            for number, other in enumerate(held[source]):
                if place(other, tried):
                    held[source][number] = row
                    return True
        return False

    return [row for row in rows if place(row, set())]


@dataclass(frozen=True)
class Promise:
    """What a method promises.

    Attributes:
        n: negatives of a query, at most.
        layout: ``triplet``, ``tuple`` (all n or nothing), ``list`` (per positive) or ``query``.
        score: column without which a row is no candidate.
        keep: the method's rule.
        order: who is taken first; None where nothing here tells.
        columns: columns of the ledger that the file has beside its texts.
        trusted: rules whose own tests compute them anew (learned limits, vectors).
        also: what else holds of the file.
        shuffled: the file's lines are in no order of queries.
        quotas: by source the places of a query, where they are not for whatever was found.
        promoted: what the filter made a positive goes out as one.
    """

    n: int
    layout: str
    score: str
    keep: Keep = anything
    order: Callable[[Row], Any] | None = None
    columns: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    also: Sequence[Callable[[Made], None]] = ()
    shuffled: bool = False
    quotas: Quotas = field(default_factory=dict)
    promoted: bool = True

    def taken(self, may: list[Row]) -> list[Row]:
        """As many of a query's candidates as are taken; with an order, those that are."""
        rows = may if self.order is None else sorted(may, key=self.order)
        return placed(self.quotas, rows) if self.quotas else rows[: self.n]

    def candidates(self, made: Made, qid: str) -> list[Row]:
        """Rows that may be a negative of a query."""
        rows = made.queries[qid]
        return [
            row
            for row in rows
            if row["label"] == 0
            and row[self.score] is not None
            and row["dropped_by"] not in GUARD
            and row["dropped_by"] not in self.trusted
            and self.keep(row, rows, made)
        ]


def check(promise: Promise, made: Made, *, batched: bool = False) -> None:
    """See that a training file keeps its promise."""
    assert made.lines
    got: dict[str, set[str]] = defaultdict(set)
    for line in made.lines:
        got[line.qid].update(line.negatives)
    for qid, rows in made.queries.items():
        positives = {
            row["docid"]
            for row in rows
            if row["label"] == 1 and (promise.promoted or row["dropped_by"] != "promoted")
        }
        may = promise.candidates(made, qid)
        taken = promise.taken(may)
        size = len(taken)
        mine = [line for line in made.lines if line.qid == qid]
        if not positives or size == 0 or (promise.layout == "tuple" and size < promise.n):
            assert not mine, qid
            continue
        if not batched:
            assert got[qid] <= {row["docid"] for row in may}, qid
            assert len(got[qid]) == size, qid
            if promise.order is not None:
                assert got[qid] == {row["docid"] for row in taken}, qid
            _check_layout(promise, mine, positives, got[qid])
        for line in mine:
            _check_columns(promise, made, line)
    if promise.quotas:
        _check_quotas(promise.quotas, made)
    asked = [line.qid for line in made.lines]
    if promise.shuffled:
        assert sum(a != b for a, b in pairwise(asked)) > 2 * len(set(asked))
    for also in promise.also:
        also(made)


def kept(name: str, ledger: Path, train: Path) -> Made:
    """What a recipe has made, once it is seen that it keeps its promise."""
    made = read(ledger, train)
    check(PROMISES[name], made)
    return made


def _check_layout(
    promise: Promise, lines: list[Line], positives: set[str], negatives: set[str]
) -> None:
    if promise.layout == "triplet":
        pairs = Counter((line.positives, line.negatives) for line in lines)
        assert pairs == Counter(((p,), (n,)) for p in positives for n in negatives)
        return
    if promise.layout == "query":
        assert len(lines) == 1
        assert set(lines[0].positives) == positives
    else:
        assert sorted(line.positives for line in lines) == sorted((p,) for p in positives)
    for line in lines:
        assert len(line.negatives) == len(negatives)
        assert set(line.negatives) == negatives


def _check_columns(promise: Promise, made: Made, line: Line) -> None:
    documents = [*line.positives, *line.negatives]
    for name in promise.columns:
        known = [made.row(line.qid, docid)[name] for docid in documents]
        found = line.row["scores" if name.startswith("score_") else name]
        assert found == known, name


def _check_quotas(quotas: Quotas, made: Made) -> None:
    """Each negative fills a place of a source that found it, and no source goes without."""
    filled: Counter[str] = Counter()
    for rows in made.queries.values():
        chosen = [row for row in rows if row["selected"] is not None]
        for row in chosen:
            assert quotas[row["quota"]].takes(row[f"rank_{row['quota']}"])
        count = Counter(row["quota"] for row in chosen)
        assert all(count[source] <= quota.n for source, quota in quotas.items())
        filled.update(count)
    every = [row for rows in made.queries.values() for row in rows if row["label"] == 0]
    found = {s for s, quota in quotas.items() for row in every if quota.takes(row[f"rank_{s}"])}
    assert set(filled) == found


# --- what single methods promise beside that --------------------------------------------------


def measured(made: Made, name: str) -> list[tuple[Row, Any]]:
    """(row of the ledger, value in the file) of every negative in the file."""
    return [
        (made.row(line.qid, docid), value)
        for line in made.lines
        for docid, value in zip(line.negatives, line.row[name][len(line.positives) :], strict=True)
    ]


def weights_are(of: Callable[[Row], float]) -> Callable[[Made], None]:
    """The column ``weight`` of the file, and nothing that weighs nothing."""

    def holds(made: Made) -> None:
        for row, weight in measured(made, "weight"):
            assert weight > 0
            if (wanted := of(row)) is not None:
                assert weight == _near(wanted)
        for line in made.lines:
            assert line.row["weight"][0] is None, "a positive has no weight as a negative"

    return holds


def _near(value: float) -> Any:
    import pytest

    return pytest.approx(value, rel=1e-4, abs=1e-6)


def gaussian_decay(row: Row) -> float:
    """GCSE: temperature 0.05, sigma 0.17."""
    a, g = row["score_minilm"] / 0.05, row["score_second"] / 0.05
    return 1 - math.exp(-((a - g) ** 2) / (2 * 0.17**2)) if a <= g else 1.0


def second_allows(row: Row, rows: list[Row], made: Made) -> bool:
    """DCLR: weight 0 above 0.90."""
    return bool(row["score_second"] <= np.float32(made.limit("weight_above", 0.9)))


def some_weight(row: Row, rows: list[Row], made: Made) -> bool:
    return bool(row["weight"] > 0)


def guide_allows(row: Row, rows: list[Row], made: Made) -> bool:
    """GISTEmbed: dropped iff the guide puts it above the positive."""
    return bool(row["score_guide"] <= positive_score(rows, "score_guide"))


def quantile_allows(row: Row, rows: list[Row], made: Made) -> bool:
    """``u(d) <= max(0.01 * u(d+), 0.005)``, u = share of all positives that score at most so."""
    known = np.array([r["score_ce"] for of in made.queries.values() for r in of if r["label"] == 1])
    u = float((known <= row["score_ce"]).mean())
    p = float((known <= positive_score(rows, "score_ce")).mean())
    share = made.limit("percentile", 0.01)
    return u <= max(share * p, made.limit("percentile_floor", 0.005))


def in_window(row: Row, rows: list[Row], made: Made) -> bool:
    """KaLM: ranks 51 to 100 of queries whose best positive reaches the 51st candidate's score."""
    best = positive_score(rows, "score_minilm", max)
    at = [r["score_minilm"] for r in rows if r["rank_minilm"] == 51]
    given_up = bool(at) and best < at[0]
    rank = row["rank_minilm"]
    return not given_up and rank is not None and 51 <= rank <= 100


def not_above(row: Row, rows: list[Row], made: Made) -> bool:
    """NV-Retriever: at most 0.7."""
    return bool(row["score_minilm"] <= made.limit("max_score", 0.7))


def not_among_first(row: Row, rows: list[Row], made: Made) -> bool:
    """NV-Retriever: beyond the first 10 negatives of the retriever's ranking."""
    others = sorted(
        r["rank_minilm"] for r in rows if r["label"] == 0 and r["rank_minilm"] is not None
    )
    return row["rank_minilm"] is not None and row["rank_minilm"] not in others[:10]


def retrieved(source: str) -> Keep:
    return lambda row, rows, made: row[f"rank_{source}"] is not None


def p_prior_allows(row: Row, rows: list[Row], made: Made) -> bool:
    return bool(row["score_p_prior"] <= 0.15)


def ambiguous(a: float, b: float, form: str) -> Callable[[Made], None]:
    """SimANS: 15 drawn by its weights over the retriever's scores, in units of their spread.

    Drawn anew by another algorithm than Gumbel's: the greatest u^(1/w) (Efraimidis, Spirakis).
    """

    def holds(made: Made) -> None:
        promise = PROMISES["simans"]
        same_as_top = total = 0
        for qid in {line.qid for line in made.lines}:
            may = promise.candidates(made, qid)
            s = np.array([row["score_minilm"] for row in may])
            z = (s - positive_score(made.queries[qid], "score_minilm")) / s.std()
            if form == "abs":
                w = np.exp(-a * np.abs(z))
            else:
                w = np.exp(-a * (z - b if form == "paper" else z + b) ** 2)
            ids = [row["docid"] for row in may]
            u = draws(pa.chunked_array([[qid] * len(ids)]), pa.chunked_array([ids]), 42)
            with np.errstate(divide="ignore"):
                key = np.log(u) / np.maximum(w, 1e-300)
            wanted = {ids[i] for i in np.argsort(-key, kind="stable")[:15]}
            got = {d for line in made.lines if line.qid == qid for d in line.negatives}
            assert got == wanted, qid
            top = sorted(may, key=by("score_minilm"))[:15]
            same_as_top += len(got & {row["docid"] for row in top})
            total += len(got)
        assert same_as_top < 0.9 * total

    return holds


def easy_to_hard(made: Made) -> None:
    """PEG: difficulty is the quantile of s - p among all candidates; the file's order is its."""
    margins: dict[tuple[str, str], float] = {}
    for qid, rows in made.queries.items():
        p = positive_score(rows, "score_ce")
        for row in rows:
            if row["label"] == 0 and row["score_ce"] is not None and not math.isnan(p):
                margins[qid, row["docid"]] = row["score_ce"] - p
    known = np.sort(list(margins.values()))
    means = []
    for line in made.lines:
        wanted = [
            np.searchsorted(known, margins[line.qid, docid], side="right") / len(known)
            for docid in line.negatives
        ]
        found = line.row["difficulty"][1:]
        assert found == [_near(value) for value in wanted]
        # Numbered by the score, whose order a quantile of the margin keeps within a query.
        assert found == sorted(found)
        means.append(float(np.mean(found)))
    assert means == sorted(means)
    assert len(set(means)) > 1


def every_bin(made: Made) -> None:
    """One negative of each of n parts of the survivors by score, which hold as many each."""
    promise = PROMISES["stratified"]
    for line in made.lines:
        may = sorted(promise.candidates(made, line.qid), key=by("score_ce"))
        place = {row["docid"]: number for number, row in enumerate(may)}
        n = len(line.negatives)
        assert {place[docid] * n // len(may) for docid in line.negatives} == set(range(n))


def walked(made: Made) -> None:
    """RocketQA: below 0.1 within the top 50 in their order, fill from beyond, pseudo-positives."""

    def sure(row: Row) -> bool:
        logit = row["score_ce"]
        return logit is not None and 1 / (1 + math.exp(-logit)) <= 0.1

    for line in made.lines:
        rows = made.queries[line.qid]
        free = [
            row
            for row in rows
            if row["label"] == 0
            and row["dropped_by"] not in GUARD
            and row["rank_minilm"] is not None
        ]
        near = sorted(
            (row for row in free if row["rank_minilm"] <= 50 and sure(row)),
            key=by_rank("minilm"),
        )
        for docid, filled in zip(line.negatives, line.row["filled"][1:], strict=True):
            row = made.row(line.qid, docid)
            assert filled == (row["rank_minilm"] > 50)
            assert filled or docid in {r["docid"] for r in near[:4]}
        (promoted,) = {*line.row["promoted"][:1]}
        if promoted:
            assert not any(line.row["filled"])
            best = made.row(line.qid, line.positives[0])
            assert best["grade"] is None
            assert 1 / (1 + math.exp(-best["score_ce"])) > 0.9
            scores = [
                r["score_ce"]
                for r in rows
                if r["score_ce"] is not None
                # What was judged not to be a positive is none.
                and r["grade"] is None
                and r["rank_minilm"] is not None
                and r["rank_minilm"] <= 50
            ]
            assert best["score_ce"] == max(scores)


def rocketqa_allows(row: Row, rows: list[Row], made: Made) -> bool:
    """Either sure and near, or a fill of a labelled query that ran short."""
    return row["selected"] is not None


def is_hit(row: Row, rows: list[Row], made: Made) -> bool:
    """RLHN: what the judge calls relevant and nobody judged; ARHN: and better than the positive."""
    judged, known = row["score_judge"], [r["score_judge"] for r in rows if (r["grade"] or 0) > 0]
    if row["grade"] is not None or judged is None or row["dropped_by"] in GUARD:
        return False
    if "max_score" in made.manifest["params"] and made.manifest["params"]["max_score"] is not None:
        better = bool(known) and None not in known and judged > max(known)
        return bool(judged > made.limit("promote", 0.5) and better)
    return bool(judged > made.limit("promote", 0.9))


def not_hit(row: Row, rows: list[Row], made: Made) -> bool:
    """What is left for RLHN's negatives, of the queries that are kept."""
    return not is_hit(row, rows, made) and row["dropped_by"] != "dropped_query"


def bears_no_answer(row: Row, rows: list[Row], made: Made) -> bool:
    return bool(row["score_judge"] <= made.limit("max_score", 0.5))


def relabelled(most: float, *, some: bool = True) -> Callable[[Made], None]:
    """Hits are positives, and queries with more than so many give nothing; ``some`` are such."""

    def also(made: Made) -> None:
        promoted = given_up = 0
        lines = {line.qid: line for line in made.lines}
        for qid, rows in made.queries.items():
            known = {row["docid"] for row in rows if (row["grade"] or 0) > 0}
            hits = {row["docid"] for row in rows if is_hit(row, rows, made)}
            now = {row["docid"] for row in rows if row["label"] == 1}
            if len(hits) > most:
                assert not now
                assert qid not in lines
                given_up += 1
                continue
            assert now == known | hits
            promoted += len(hits)
            if qid in lines and "pos_promoted" in lines[qid].row:
                marked = zip(lines[qid].positives, lines[qid].row["pos_promoted"], strict=True)
                assert {docid for docid, mark in marked if mark} == hits
                assert not any(lines[qid].row["neg_promoted"])
        # Of a made-up table no candidate beats the best positive, and no query has many hits.
        assert promoted or most == 0 or not made.vectors
        assert given_up or most == math.inf or not some or not made.vectors

    return also


def chosen_by_the_judge(made: Made) -> None:
    """RaDeR: what the judge calls relevant is positive where nobody has said anything."""
    for rows in made.queries.values():
        now = {row["docid"] for row in rows if row["label"] == 1}
        known = {row["docid"] for row in rows if (row["grade"] or 0) > 0}
        # A copy of a positive is none of its own.
        unknown = (row for row in rows if row["grade"] is None and row["dropped_by"] not in GUARD)
        assert now == known | {row["docid"] for row in unknown if (row["score_judge"] or 0) > 0.5}


def by_strides(name: str, step: int, most: int) -> Callable[[Made], None]:
    """Every so many-th by falling score is taken, from the first; then from the second."""

    def also(made: Made) -> None:
        for rows in made.queries.values():
            left = [row for row in rows if row["label"] == 0 and row["dropped_by"] is None]
            ranked = sorted(left, key=by(name))
            walked = [row["docid"] for start in range(step) for row in ranked[start::step]]
            taken = {row["docid"] for row in rows if row["selected"] is not None}
            assert taken == set(walked[:most])

    return also


def judged_first(made: Made) -> None:
    """T2Ranking: grade 2 and above is positive; judged low grades are taken before others."""
    judged = 0
    for qid, rows in made.queries.items():
        assert all((row["grade"] or 0) >= 2 for row in rows if row["label"] == 1)
        may = PROMISES["t2ranking"].candidates(made, qid)
        low = {row["docid"] for row in may if row["grade"] is not None}
        got = {d for line in made.lines if line.qid == qid for d in line.negatives}
        if got:
            assert len(low & got) == min(len(low), 8)
            judged += len(low & got)
    assert judged


def listed_by_rank(source: str) -> Callable[[Made], None]:
    """The lists stand in the order of a retriever."""

    def holds(made: Made) -> None:
        for line in made.lines:
            ranks = [made.row(line.qid, docid)[f"rank_{source}"] for docid in line.negatives]
            assert ranks == sorted(ranks)

    return holds


def hard_first(name: str) -> Callable[[Made], None]:
    """The negatives of an example stand with the hardest first."""

    def holds(made: Made) -> None:
        for line in made.lines:
            scores = [made.row(line.qid, docid)[name] for docid in line.negatives]
            assert scores == sorted(scores, reverse=True)

    return holds


def constant(name: str, value: float) -> Callable[[Made], None]:
    def holds(made: Made) -> None:
        assert {v for line in made.lines for v in line.row[name]} == {np.float32(value)}

    return holds


def bounded(made: Made) -> None:
    """Conformal: of the positives that were found at most 5% are below the limit; negatives are."""
    bound = made.manifest["calibration"]
    limit, margin = bound["threshold"], bound["form"] == "margin"
    for line in made.lines:
        p = positive_score(made.queries[line.qid], "score_ce") if margin else 0.0
        assert all(made.row(line.qid, d)["score_ce"] - p < limit for d in line.negatives)
    if not margin:
        found = [
            row["score_ce"]
            for rows in made.queries.values()
            for row in rows
            if row["label"] == 1 and (row["rank_bm25"] or row["rank_minilm"])
        ]
        assert np.mean(np.array(found) < limit) <= 0.05


def nearer_than_the_positive(made: Made) -> None:
    """Enterprise: cos(q, d) > cos(q, d+), strictly, for every positive."""
    if made.vectors:
        for line in made.lines:
            p = positive_score(made.queries[line.qid], "score_minilm")
            assert all(made.row(line.qid, d)["score_minilm"] > p - 1e-6 for d in line.negatives)


def next_cluster(row: Row, rows: list[Row], made: Made) -> bool:
    """ClusterNS: found in the cluster next to a positive's, so in none of a positive."""
    own = {other["cluster_clus"] for other in rows if other["label"] == 1}
    return row["rank_clus"] is not None and row["cluster_clus"] not in own


def of_the_positives_cluster(made: Made) -> None:
    """LEMON: every negative is in a cluster with a known positive."""
    # Without models there are no clusters either.
    for line in made.lines if made.vectors else ():
        own = {row["cluster_same"] for row in made.queries[line.qid] if row["label"] == 1}
        for docid in line.negatives:
            row = made.row(line.qid, docid)
            assert row["rank_same"] is not None
            assert row["cluster_same"] in own


def siblings(column: str) -> Callable[[Made], None]:
    """Every negative has the value of a known positive."""

    def holds(made: Made) -> None:
        for qid, negative in made.negatives():
            assert negative[column] in {row[column] for row in made.positives(qid)}

    return holds


def near_in_time(column: str, days: int) -> Callable[[Made], None]:
    """Every negative is of a day at most so far from a known positive's."""

    def holds(made: Made) -> None:
        for qid, negative in made.negatives():
            day = date.fromisoformat(negative[column])
            known = [date.fromisoformat(row[column]) for row in made.positives(qid)]
            assert min(abs((day - other).days) for other in known) <= days

    return holds


def near_in_space(made: Made) -> None:
    """Every negative lies within 50 km of a known positive: haversines, by the textbook."""

    def kilometres(one: Row, other: Row) -> float:
        a, b, c, d = (math.radians(float(row[name])) for row in (one, other) for name in PLACE)
        h = math.sin((c - a) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((d - b) / 2) ** 2
        return 2 * 6371.0088 * math.asin(math.sqrt(h))

    for qid, negative in made.negatives():
        assert min(kilometres(negative, row) for row in made.positives(qid)) <= 50


def older(column: str) -> Callable[[Made], None]:
    """Every negative is older than its query."""

    def holds(made: Made) -> None:
        for qid, negative in made.negatives():
            own = date.fromisoformat(made.asked[qid][column])
            assert date.fromisoformat(negative[column]) < own

    return holds


def both_kinds(made: Made) -> None:
    """MM-Embed: of the asked modality below rank 10, or of another and above the positive."""
    seen = set()
    for line in made.lines:
        kinds = {row["kind"] for row in made.positives(line.qid) if row}
        limit = positive_score(made.queries[line.qid], "score_same")
        for docid in line.negatives:
            row, kept = made.row(line.qid, docid), made.documents[docid]
            if kept and kept["kind"] not in kinds:
                assert row["score_other"] > limit
                assert row["rank_same"] is None
            elif kept:
                assert row["rank_same"] > 10
            seen.add(bool(kept) and kept["kind"] in kinds)
    assert len(seen) == 2 or not any(made.documents.values())


def of_the_same_document(column: str, source: str) -> Callable[[Made], None]:
    """What a source found, and nothing else of it, has a known positive's value."""

    def holds(made: Made) -> None:
        found = 0
        for qid, negative in made.negatives():
            found += negative[column] in {row[column] for row in made.positives(qid)}
        chosen = sum(
            made.row(line.qid, docid)[f"rank_{source}"] is not None
            for line in made.lines
            for docid in line.negatives
        )
        assert found == chosen > 0 or not any(made.documents.values())

    return holds


def unsolved(row: Row, rows: list[Row], made: Made) -> bool:
    """Conan: of the earlier negatives what is not solved, of all others ranks from 11 on."""
    if row["rank_previous"] is not None:
        now = row["score_student"]
        return not (1.15 * now < row["score_previous"] and abs(now) < 0.8)
    return row["rank_student"] is not None and row["rank_student"] >= 11


def earlier_first(row: Row) -> Any:
    before = row["rank_previous"]
    return (0, before, "") if before is not None else (1, -row["score_student"], row["docid"])


def in_their_places(made: Made) -> None:
    """Earlier negatives have the numbers that they had, unless gaps before them stay open."""
    for rows in made.queries.values():
        chosen = {row["selected"]: row for row in rows if row["selected"] is not None}
        kept = {n: row for n, row in chosen.items() if row["rank_previous"] is not None}
        if len(chosen) >= max((row["rank_previous"] for row in kept.values()), default=0):
            assert all(row["rank_previous"] == n for n, row in kept.items())
        new = [row["score_student"] for n, row in sorted(chosen.items()) if n not in kept]
        assert new == sorted(new, reverse=True)
        for row in chosen.values():
            first = row["score_previous"] if row["rank_previous"] else row["score_student"]
            assert row["first_score"] == first


PLACE = ("lat", "lon")


def numbers_for_numbers(row: Row, rows: list[Row], made: Made) -> bool:
    """APOLLO: of a question with a digit (the tests' ask in no words) what holds one."""
    asks = any(map(str.isdigit, made.questions[row["qid"]]))
    return not asks or any(map(str.isdigit, made.texts[row["docid"]]))


CE, MINI = "score_ce", "score_minilm"
PERC_POS = below(MINI, lambda p: p - 0.05 * abs(p), strict=True)
RELATIVE = below(CE, lambda p: p - 0.05 * abs(p), strict=False)
BEATS = below(MINI, lambda p: p + 0.1, strict=False)


def _simans(a: float, b: float, form: str) -> Promise:
    return Promise(15, "tuple", MINI, retrieved("minilm"), also=[ambiguous(a, b, form)])


def _margin(source: str) -> Keep:
    """A source's own finds, 5% of the positive's score below it."""
    name = f"score_{source}"

    def keep(row: Row, rows: list[Row], made: Made) -> bool:
        share = made.limit("relative_margin", 0.05)
        far = below(name, lambda p: p - share * abs(p), strict=False)
        return row[f"rank_{source}"] is not None and far(row, rows, made)

    return keep


PROMISES: dict[str, Promise] = {
    "arhn": Promise(
        *(7, "query", "score_judge", bears_no_answer, by_rank("minilm")),
        also=[relabelled(math.inf)],
    ),
    "rlhn": Promise(*(7, "query", "score_judge", not_hit, by_rank("minilm")), also=[relabelled(8)]),
    # What the cheap judge lets pass has no score of the strong one, and is clean; hits are few.
    "rlhn-cascade": Promise(
        *(7, "query", "score_screen", not_hit, by_rank("minilm")), also=[relabelled(8, some=False)]
    ),
    "rlhn-hn-remove": Promise(
        *(7, "query", "score_judge", not_hit, by_rank("minilm")),
        also=[relabelled(8)],
        promoted=False,
    ),
    "rlhn-remove": Promise(
        *(7, "query", "score_judge", not_hit, by_rank("minilm")), also=[relabelled(0)]
    ),
    "adore": Promise(
        200, "list", "score_frozen", order=by_rank("frozen"), also=[listed_by_rank("frozen")]
    ),
    "ance": Promise(20, "triplet", "score_student", shuffled=True),
    "ance-tele": Promise(
        *(120, "query", "score_student"),
        order=drawn,
        quotas={"student": Quota(30), "lookahead": Quota(30), "previous": Quota(60)},
    ),
    "apollo": Promise(8, "triplet", MINI, numbers_for_numbers),
    "b3": Promise(1, "triplet", CE, RELATIVE, by(CE)),
    "bm25": Promise(8, "triplet", "score_bm25", order=by("score_bm25")),
    "cet": Promise(
        8, "triplet", CE, some_weight, by(CE), ("weight",), also=[weights_are(lambda row: None)]
    ),
    "cur": Promise(8, "list", CE, RELATIVE, by(CE), columns=(CE,)),
    "clusterns": Promise(4, "triplet", MINI, next_cluster, by(MINI), quotas={"clus": Quota(4)}),
    "conformal": Promise(8, "triplet", CE, order=by(CE), trusted=("max_fn_rate",), also=[bounded]),
    "conan": Promise(
        *(8, "tuple", "score_student", unsolved, earlier_first), also=[in_their_places]
    ),
    "cprd": Promise(
        16,
        "list",
        CE,
        retrieved("minilm"),
        by_rank("minilm"),
        columns=(CE,),
        also=[listed_by_rank("minilm")],
    ),
    "dclr": Promise(
        8, "triplet", MINI, second_allows, by(MINI), ("weight",), also=[weights_are(lambda r: 1.0)]
    ),
    "debiased": Promise(
        8, "triplet", MINI, columns=("tau_plus",), also=[constant("tau_plus", 0.1)]
    ),
    "default": Promise(
        *(8, "triplet", "score_p_prior", p_prior_allows, by_rank("minilm")),
        columns=("score_p_prior",),
    ),
    "dont-retrieve-generate": Promise(
        *(1, "triplet", "docid"), order=by_rank("written"), also=[all_written]
    ),
    "enterprise": Promise(
        *(8, "triplet", MINI),
        order=by(MINI),
        trusted=("closer_than_positive",),
        also=[nearer_than_the_positive],
    ),
    "gcse": Promise(
        *(8, "triplet", MINI, some_weight, by(MINI), ("weight",)),
        also=[weights_are(gaussian_decay)],
    ),
    "gistembed": Promise(8, "triplet", MINI, guide_allows, by(MINI)),
    "identity-guard": Promise(8, "triplet", MINI, order=by(MINI), trusted=("max_reuse",)),
    "insent": Promise(
        *(8, "triplet", MINI),
        order=by(MINI),
        also=[of_the_same_document("parent", "siblings")],
        quotas={"siblings": Quota(4), "minilm": Quota(4, first=11)},
    ),
    "kalm": Promise(7, "query", MINI, in_window),
    "lemon": Promise(
        *(8, "triplet", "score_same", _margin("same")),
        also=[of_the_positives_cluster],
        quotas={"same": Quota(8)},
    ),
    "lg-anna": Promise(8, "triplet", MINI, PERC_POS, by(MINI)),
    "marginmse": Promise(8, "list", CE, columns=(CE,)),
    "splade": Promise(1, "list", CE, columns=(CE,)),
    "ngame": Promise(1, "triplet", CE, RELATIVE, by(CE)),
    "mm-embed": Promise(
        *(8, "triplet", "score_same"),
        order=by("score_same"),
        also=[both_kinds],
        quotas={"same": Quota(4, first=11), "other": Quota(4)},
    ),
    "near-in-space": Promise(
        *(8, "triplet", "score_near", _margin("near"), by("score_near")), also=[near_in_space]
    ),
    "near-in-time": Promise(
        *(8, "triplet", "score_near", _margin("near"), by("score_near")),
        also=[near_in_time("date", 30)],
    ),
    "nv-retriever-abs": Promise(4, "tuple", MINI, not_above, by(MINI), also=[hard_first(MINI)]),
    "nv-retriever-marginpos": Promise(
        *(4, "tuple", MINI, below(MINI, lambda p: p - 0.05, strict=True), by(MINI)),
        also=[hard_first(MINI)],
    ),
    "nv-retriever-percpos": Promise(4, "tuple", MINI, PERC_POS, by(MINI), also=[hard_first(MINI)]),
    "nv-retriever-shifted": Promise(
        4, "tuple", MINI, not_among_first, by(MINI), also=[hard_first(MINI)]
    ),
    "older-only": Promise(8, "triplet", "score_before", _margin("before"), also=[older("date")]),
    "p-relevant": Promise(
        *(8, "triplet", "score_p_relevant"),
        order=by(MINI),
        columns=("weight",),
        trusted=("max_fn_rate",),
        also=[weights_are(lambda row: 1 - row["score_p_relevant"])],
    ),
    "peg": Promise(5, "tuple", CE, columns=("difficulty",), also=[easy_to_hard]),
    "percentile": Promise(8, "triplet", CE, quantile_allows, by(CE)),
    "qwen3": Promise(8, "triplet", MINI, BEATS, by(MINI)),
    "docrerank": Promise(3, "triplet", "score_bm25", order=by("score_bm25"), also=[unanswered]),
    "dual-view": Promise(1, "triplet", "score_bm25", order=by("score_bm25"), also=[both_views]),
    "minimal-pairs": Promise(
        *(4, "triplet", "docid"),
        quotas={"bm25": Quota(2), "written": Quota(2)},
        also=[one_place_apart],
    ),
    "qzhou": Promise(
        *(8, "query", CE, RELATIVE, by(CE)),
        quotas={"minilm": Quota(4), "written": Quota(4)},
        also=[marked_where_written],
    ),
    "r2anker": Promise(
        *(8, "list", MINI), order=drawn, quotas={"bm25": Quota(4), "minilm": Quota(4)}
    ),
    "rader-no-llm": Promise(
        *(20, "query", MINI),
        order=drawn,
        quotas={"bm25": Quota(10, first=31, last=50), "minilm": Quota(10, last=10)},
    ),
    "rader": Promise(
        *(20, "query", MINI),
        order=drawn,
        quotas={"bm25": Quota(10, first=31, last=50), "minilm": Quota(10, last=10)},
        also=[chosen_by_the_judge],
    ),
    "rocketqa": Promise(4, "triplet", "qid", rocketqa_allows, columns=("filled",), also=[walked]),
    "simans": _simans(0.5, 0.0, "paper"),
    "simans-code": _simans(0.5, 1.0, "code"),
    "simans-msmarco": _simans(3.0, 0.0, "abs"),
    "scincl": Promise(
        *(5, "triplet", "score_anchor"),
        order=by("score_anchor"),
        quotas={"anchor": Quota(2), "easy": Quota(3)},
    ),
    "simplex": Promise(
        *(8, "triplet", MINI, below(MINI, lambda p: p - 0.05 * abs(p), strict=False)),
        order=drawn,
        quotas={"minilm": Quota(2), "easy": Quota(6)},
    ),
    "star": Promise(8, "triplet", "score_warmup", shuffled=True),
    "stratified": Promise(8, "list", CE, columns=(CE,), also=[every_bin]),
    "t2ranking": Promise(8, "triplet", MINI, retrieved("minilm"), also=[judged_first]),
    "taxonomy": Promise(
        *(8, "triplet", "score_siblings", _margin("siblings"), by("score_siblings")),
        also=[siblings("topic")],
    ),
    "tas-balanced": Promise(50, "triplet", CE, columns=(CE,)),
    "tripclick": Promise(20, "triplet", "score_bm25"),
    "unime": Promise(8, "tuple", MINI, BEATS, by(MINI), also=[hard_first(MINI)]),
    "unime-v2": Promise(
        *(8, "query", "score_judge"),
        below("score_judge", lambda p: p - 0.01, strict=False),
        also=[by_strides("score_judge", 5, 8)],
    ),
}
