"""One small truth in every layout and dialect: what is accepted has to give it back.

    python scripts/fuzz_meaning.py --cases 20000 --seed 1        # half an hour
    python scripts/fuzz_meaning.py --only dpr --cases 200
    python scripts/fuzz_meaning.py --seed 1 --case 4711          # one, its files kept

Each case draws a few queries with their positives, the negatives that somebody mined for them (in
order, some with scores), documents that were judged not relevant and the run of another engine.
It writes them as one of the layouts that people have, in a dialect of JSON, CSV, TSV, Parquet or
Arrow, and gives them to ``negmine index`` and ``negmine retrieve`` as a user would. Then it looks
at the candidates table: positives, given negatives with their ranks and scores, grades, the run's
ranks, and the texts behind the ids. So a case ends as

* ``right``: the truth came back;
* ``refused``: a message and an exit code for users' mistakes; a failure where the layout and the
  dialect are documented;
* ``wrong`` or ``crashed``: a failure.

Nothing of negmine's readers is used to write or to compare.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _dialects import Written, write

#: Exit codes of a user's mistake: usage, missing input, invalid data.
REFUSALS = (2, 4, 5)
Pair = tuple[str, str]


# --- the truth ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Document:
    """A passage of the collection."""

    docid: str
    title: str
    text: str

    @property
    def full(self) -> str:
        """Title and text as models read them."""
        return f"{self.title} {self.text}".strip() if self.title else self.text


@dataclass(frozen=True)
class Query:
    """A query and all that is known of it; documents by their place in the collection."""

    qid: str
    text: str
    positives: tuple[int, ...]
    negatives: tuple[int, ...]
    scores: tuple[float, ...]
    judged: tuple[tuple[int, int], ...]
    run: tuple[int, ...]


@dataclass(frozen=True)
class Truth:
    """What a case is about."""

    documents: tuple[Document, ...]
    queries: tuple[Query, ...]

    def full(self, numbers: Sequence[int]) -> list[str]:
        """The texts of documents."""
        return [self.documents[number].full for number in numbers]


_WORDS = [
    *("river", "stone", "plant", "sugar", "light", "thunder", "salt", "engine", "valve", "glucose"),
    *("42", "7", "x_1", "C++", "naïve", "水", "हिंदी"),
]
_ODD = [
    *('he said "so"', "a, b; c", "#hash", "null", "NaN", "true", "0", "1", "-1", "query", "text"),
    *("it's", "tab\there", "two\nlines", "back\\slash", "{brace}", "[list]", "=1+1"),
    *("é", "ß", "…", "😀"),
]


def text(rng: random.Random, taken: set[str]) -> str:
    """A text that is none of those taken, a few of them odd."""
    while True:
        words = rng.sample(_WORDS, rng.randint(2, 5))
        if rng.random() < 0.3:
            words.insert(rng.randint(0, len(words)), rng.choice(_ODD))
        made = " ".join(words)
        if made not in taken:
            taken.add(made)
            return made


def identifiers(rng: random.Random, prefix: str, count: int) -> list[str]:
    """Distinct ids of one style."""
    numbers = rng.sample(range(10_000), count)
    style = rng.choice(["{}", "{}", prefix + "{}", prefix + "-{}", "MED-{}", "{}#0", "{}_{}"])
    return [style.format(number, 1) for number in numbers]


def truth(rng: random.Random, titles: bool) -> Truth:
    """Some queries over some documents."""
    taken: set[str] = set()
    count = rng.randint(8, 12)
    documents = tuple(
        Document(docid, text(rng, taken) if titles else "", text(rng, taken))
        for docid in identifiers(rng, "d", count)
    )
    queries = []
    for qid in identifiers(rng, "q", rng.randint(2, 4)):
        order = rng.sample(range(count), count)
        positives, negatives = order[: rng.choice([1, 1, 2])], order[2 : 2 + rng.randint(1, 3)]
        scores = sorted((round(rng.uniform(-5, 20), 2) for _ in negatives), reverse=True)
        judged = tuple((number, rng.choice([0, 0, -1])) for number in order[5:7])
        run = order[: rng.randint(3, 6)]
        queries.append(
            Query(
                *(qid, text(rng, taken), tuple(positives), tuple(negatives)),
                *(tuple(scores), judged, tuple(run)),
            )
        )
    return Truth(documents, tuple(queries))


# --- cases ----------------------------------------------------------------------------------------


@dataclass
class Case:
    """What negmine is given, and what has to come back.

    Attributes:
        layout: its name.
        corpus, pairs, queries, qrels, run: options and their values.
        options: further options of retrieve.
        index_options: further options of index.
        documented: whether it may not be refused.
        given: whether the given negatives have to be there.
        scored: whether these have their scores.
        judged: whether the judged non-relevant documents have to be there.
        dialects: how its files are written.
    """

    layout: str
    corpus: list[str] = field(default_factory=list)
    pairs: list[str] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    qrels: list[str] = field(default_factory=list)
    run: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    index_options: list[str] = field(default_factory=list)
    documented: bool = True
    given: bool = False
    scored: bool = False
    judged: bool = False
    dialects: list[str] = field(default_factory=list)

    def took(self, written: Written) -> str:
        """Note a file of the case; returns its path."""
        self.documented = self.documented and written.documented
        self.dialects.append(written.dialect)
        return str(written.path)


Layout = Callable[[random.Random, Truth, Path], Case]
LAYOUTS: dict[str, Layout] = {}


def layout(make: Layout) -> Layout:
    """Register a layout by its function's name."""
    LAYOUTS[make.__name__.replace("_", "-")] = make
    return make


# Names that docs/inputs.md promises, and others that a reader can only be told.
_KNOWN = {
    "docid": ["_id", "id", "docid", "doc_id", "pid"],
    "text": ["text", "contents", "body", "passage", "document"],
    "qid": ["_id", "id", "qid", "query_id"],
    "query text": ["text", "query", "question"],
    "query-id": ["query-id", "qid", "query_id"],
    "corpus-id": ["corpus-id", "docid", "doc_id", "pid"],
    "grade": ["score", "grade", "relevance", "label", "rel"],
    "query": ["query", "anchor", "question"],
    "positive": ["positive", "answer", "passage", "document", "response"],
}


def _name(rng: random.Random, target: str) -> str:
    return rng.choice(_KNOWN[target])


def _collection(rng: random.Random, truth: Truth, folder: Path, case: Case) -> None:
    """Corpus and queries, in one file or several."""
    docid, body = _name(rng, "docid"), _name(rng, "text")
    titled = any(document.title for document in truth.documents)
    rows = [
        {docid: d.docid, **({"title": d.title} if titled else {}), body: d.text}
        for d in truth.documents
    ]
    cut = len(rows) // 2 if rng.random() < 0.2 else len(rows)
    for number, piece in enumerate(filter(None, (rows[:cut], rows[cut:]))):
        case.corpus += ["--corpus", case.took(write(rng, folder, f"corpus{number}", piece))]
    qid, body = _name(rng, "qid"), _name(rng, "query text")
    rows = [{qid: q.qid, body: q.text} for q in truth.queries]
    case.queries += ["--queries", case.took(write(rng, folder, "queries", rows))]


@layout
def collection(rng: random.Random, truth: Truth, folder: Path) -> Case:
    """Corpus, queries and judgements with graded relevance."""
    case = Case("collection", judged=True)
    _collection(rng, truth, folder, case)
    top = rng.choice([1, 1, 2])
    judged = [(q, q.positives, top) for q in truth.queries]
    rows = [(q.qid, n, grade) for q, numbers, grade in judged for n in numbers]
    rows += [(q.qid, n, grade) for q in truth.queries for n, grade in q.judged]
    if top > 1:
        # What lies between is neither a positive nor judged not relevant.
        rows += [(q.qid, q.negatives[0], 1) for q in truth.queries]
        case.options += ["--min-grade", str(top)]
    rng.shuffle(rows)
    named = [(qid, truth.documents[n].docid, grade) for qid, n, grade in rows]
    case.qrels = ["--qrels", case.took(_qrels(rng, folder, named))]
    return case


def _qrels(rng: random.Random, folder: Path, rows: Sequence[tuple[str, str, int]]) -> Written:
    """Judgements as TREC has them, or as a table."""
    if rng.random() < 0.4:
        blank, end = rng.choice(["\t", " ", "  "]), rng.choice(["\n", "\n", "\r\n"])
        path = folder / f"qrels{rng.choice(['.txt', '.tsv', '.qrels', '.trec'])}"
        lines = [blank.join((qid, "0", docid, str(grade))) for qid, docid, grade in rows]
        path.write_bytes((end.join(lines) + end).encode())
        return Written(path, "TREC qrels", True)
    qid, docid, grade = (_name(rng, target) for target in ("query-id", "corpus-id", "grade"))
    unknown = rng.random() < 0.15
    if unknown:
        grade = rng.choice(["value", "judged_as", "y", "x3"])
    as_float = rng.random() < 0.2
    records = [{qid: q, docid: d, grade: float(g) if as_float else g} for q, d, g in rows]
    written = write(rng, folder, "qrels", records)
    return Written(written.path, written.dialect + " qrels", written.documented and not unknown)


@layout
def run_of_another_engine(rng: random.Random, truth: Truth, folder: Path) -> Case:
    """A collection whose candidates another engine found."""
    case = collection(rng, truth, folder)
    case.layout = "run"
    rows = [
        (q.qid, truth.documents[n].docid, rank, 20.0 - rank)
        for q in truth.queries
        for rank, n in enumerate(q.run, 1)
    ]
    form = rng.choice(["trec", "trec", "constant", "distance", "table", "ranks"])
    first = rng.choice([0, 1])
    if form in ("trec", "constant", "distance"):
        scores: dict[str, Callable[[float], float]] = {
            "trec": lambda s: s,
            "constant": lambda s: 1.0,
            "distance": lambda s: 20.0 - s,
        }
        lines = [f"{q} Q0 {d} {r} {scores[form](s):.4f} tag" for q, d, r, s in rows]
        path = folder / rng.choice(["run.trec", "run.txt", "run.run"])
        path.write_text("\n".join(lines) + "\n")
        written = Written(path, f"run {form}", True)
    else:
        names = rng.choice([("qid", "docid"), ("query-id", "corpus-id"), ("query_id", "doc_id")])
        last = ("score", 3) if form == "table" else ("rank", 2)
        records = [
            {
                names[0]: row[0],
                names[1]: row[1],
                last[0]: int(row[last[1]]) - first if form == "ranks" else row[last[1]],
            }
            for row in rows
        ]
        # A run is one file.
        written = write(rng, folder, "run", records, parts=False)
        written = Written(written.path, f"run {form} {written.dialect}", written.documented)
    case.run = ["--run", f"other={case.took(written)}"]
    return case


@layout
def pairs(rng: random.Random, truth: Truth, folder: Path) -> Case:
    """(query, positive), a line each or with a list of positives."""
    case = Case("pairs")
    query, positive = _name(rng, "query"), _name(rng, "positive")
    if rng.random() < 0.4:
        rows: list[dict[str, Any]] = [
            {query: q.text, positive: truth.full(q.positives)} for q in truth.queries
        ]
        case.pairs = ["--pairs", case.took(write(rng, folder, "train", rows, tables=False))]
        return case
    rows = [{query: q.text, positive: p} for q in truth.queries for p in truth.full(q.positives)]
    if rng.random() < 0.3:
        rows = [{"source": "forum", **row} for row in rows]
    case.pairs = ["--pairs", case.took(write(rng, folder, "train", rows))]
    return case


@layout
def pairs_with_columns_of_other_names(rng: random.Random, truth: Truth, folder: Path) -> Case:
    """Told by --column, or not told: then they may only be read rightly or refused."""
    query, positive = rng.choice(
        [("question_body", "reply"), ("sentence1", "sentence2"), ("a", "b")]
    )
    rows = [{query: q.text, positive: p} for q in truth.queries for p in truth.full(q.positives)]
    swapped = rng.random() < 0.5
    if swapped:
        rows = [dict(reversed(row.items())) for row in rows]
    case = Case("pairs of other names")
    case.pairs = ["--pairs", case.took(write(rng, folder, "train", rows))]
    if rng.random() < 0.5:
        told = ["--column", f"query={query}", "--column", f"positive={positive}"]
        case.options, case.index_options = told, told
    else:
        case.documented = False
    return case


@layout
def labeled_pairs(rng: random.Random, truth: Truth, folder: Path) -> Case:
    """(query, document, label 0 or 1)."""
    case = Case("labeled pairs", judged=True)
    query, passage = _name(rng, "query"), rng.choice(["passage", "document", "answer"])
    label = rng.choice(["label", "label", "label", "relevant", "score", "is_relevant", "y"])
    words = rng.choice(
        [("yes", "no"), ("Relevant", "Not relevant"), ("entailment", "contradiction")]
    )
    types: list[Callable[[int], Any]] = [int, int, float, bool, lambda value: words[1 - value]]
    as_type = rng.choice(types)
    rows = [
        {query: q.text, passage: truth.documents[n].full, label: as_type(value)}
        for q in truth.queries
        for numbers, value in ((q.positives, 1), ([n for n, _ in q.judged], 0))
        for n in numbers
    ]
    rng.shuffle(rows)
    case.pairs = ["--pairs", case.took(write(rng, folder, "train", rows))]
    # A score is a number.
    worded = any(isinstance(row[label], str | bool) for row in rows)
    case.documented = case.documented and label != "y" and not (worded and label == "score")
    return case


@layout
def labeled_lists(rng: random.Random, truth: Truth, folder: Path) -> Case:
    """(query, [documents], [labels]), as sentence-transformers' rerankers take them."""
    case = Case("labeled lists", judged=True)
    rows = []
    for q in truth.queries:
        items = [(n, 1) for n in q.positives] + [(n, 0) for n, _ in q.judged]
        rng.shuffle(items)
        docs = truth.full([n for n, _ in items])
        rows.append({"query": q.text, "docs": docs, "labels": [label for _, label in items]})
    case.pairs = ["--pairs", case.took(write(rng, folder, "train", rows, tables=False))]
    return case


@layout
def triplets(rng: random.Random, truth: Truth, folder: Path) -> Case:
    """A line per (query, positive, negative), as sentence-transformers has them."""
    case = Case("triplets", given=True)
    query = rng.choice(["anchor", "query"])
    rows = [
        {query: q.text, "positive": p, "negative": n}
        for q in truth.queries
        for p in truth.full(q.positives)
        for n in truth.full(q.negatives)
    ]
    case.pairs = ["--pairs", case.took(write(rng, folder, "train", rows))]
    return case


@layout
def n_tuples(rng: random.Random, truth: Truth, folder: Path) -> Case:
    """A line per positive, a column per negative."""
    case = Case("n-tuples", given=True)
    least = min(len(q.negatives) for q in truth.queries)
    query = rng.choice(["anchor", "query"])
    if any(len(q.negatives) != least for q in truth.queries):
        case.given = False  # only the first ones of each are there
    rows = [
        {
            **{query: q.text, "positive": p},
            **{f"negative_{i}": n for i, n in enumerate(truth.full(q.negatives[:least]), 1)},
        }
        for q in truth.queries
        for p in truth.full(q.positives)
    ]
    case.pairs = ["--pairs", case.took(write(rng, folder, "train", rows))]
    return case


@layout
def flagembedding(rng: random.Random, truth: Truth, folder: Path) -> Case:
    """FlagEmbedding's lists, with or without scores."""
    case = Case("flagembedding", given=True, scored=rng.random() < 0.5)
    rows = []
    for q in truth.queries:
        row: dict[str, Any] = {"query": q.text, "pos": truth.full(q.positives)}
        row["neg"] = truth.full(q.negatives)
        if case.scored:
            row |= {"pos_scores": [30.0] * len(q.positives), "neg_scores": list(q.scores)}
        rows.append(row)
    case.pairs = ["--pairs", case.took(write(rng, folder, "train", rows, tables=False))]
    return case


@layout
def tevatron(rng: random.Random, truth: Truth, folder: Path) -> Case:
    """Tevatron's, MIRACL's and Mr.TyDi's passages with ids and titles."""
    case = Case("tevatron", given=True)
    titled = any(document.title for document in truth.documents)

    def passages(numbers: Sequence[int]) -> list[dict[str, str]]:
        found = [truth.documents[n] for n in numbers]
        return [
            {"docid": d.docid, **({"title": d.title} if titled else {}), "text": d.text}
            for d in found
        ]

    rows = [
        {
            "query_id": q.qid,
            "query": q.text,
            "positive_passages": passages(q.positives),
            "negative_passages": passages(q.negatives),
        }
        for q in truth.queries
    ]
    case.pairs = ["--pairs", case.took(write(rng, folder, "train", rows, tables=False))]
    return case


@layout
def dpr(rng: random.Random, truth: Truth, folder: Path) -> Case:
    """DPR's contexts, with scores."""
    case = Case("dpr", given=True, scored=True)

    def contexts(numbers: Sequence[int], scores: Sequence[float]) -> list[dict[str, Any]]:
        found = [truth.documents[n] for n in numbers]
        key = "passage_id"
        return [
            {"title": d.title, "text": d.text, "score": s, "title_score": 0, key: d.docid}
            for d, s in zip(found, scores, strict=True)
        ]

    rows = [
        {
            "dataset": "toy",
            "question": q.text,
            "answers": ["x"],
            "positive_ctxs": contexts(q.positives, [1000] * len(q.positives)),
            "negative_ctxs": [],
            "hard_negative_ctxs": contexts(q.negatives, q.scores),
        }
        for q in truth.queries
    ]
    case.pairs = ["--pairs", case.took(write(rng, folder, "train", rows, tables=False))]
    return case


@layout
def swift(rng: random.Random, truth: Truth, folder: Path) -> Case:
    """ms-swift's conversations."""
    case = Case("swift", given=True)
    role = rng.choice(["user", "assistant"])

    def said(content: str, role: str) -> list[dict[str, str]]:
        return [{"role": role, "content": content}]

    rows = [
        {
            "messages": said(q.text, "user"),
            "positive_messages": [said(p, role) for p in truth.full(q.positives)],
            "negative_messages": [said(n, role) for n in truth.full(q.negatives)],
        }
        for q in truth.queries
    ]
    case.pairs = ["--pairs", case.took(write(rng, folder, "train", rows, tables=False))]
    return case


@layout
def nemo(rng: random.Random, truth: Truth, folder: Path) -> Case:
    """NeMo AutoModel's inline lines."""
    case = Case("nemo", given=True)
    one = rng.random() < 0.5
    rows: list[dict[str, Any]] = [
        {"query": q.text, "pos_doc": p if one else [p], "neg_doc": truth.full(q.negatives)}
        for q in truth.queries
        for p in truth.full(q.positives)
    ]
    case.pairs = ["--pairs", case.took(write(rng, folder, "train", rows, tables=False))]
    return case


@layout
def msmarco_hard_negatives(rng: random.Random, truth: Truth, folder: Path) -> Case:
    """Ids by the system that mined them."""
    case = Case("msmarco-hard-negatives", given=True)
    _collection(rng, truth, folder, case)
    numeric = all(d.docid.isdigit() for d in truth.documents)
    numeric = numeric and all(q.qid.isdigit() for q in truth.queries)
    convert: Callable[[str], Any] = int if numeric else str
    rows = [
        {
            "qid": convert(q.qid),
            "pos": [convert(truth.documents[n].docid) for n in q.positives],
            "neg": {"bm25": [convert(truth.documents[n].docid) for n in q.negatives]},
        }
        for q in truth.queries
    ]
    case.pairs = ["--pairs", case.took(write(rng, folder, "train", rows, tables=False))]
    return case


@layout
def msmarco_triples(rng: random.Random, truth: Truth, folder: Path) -> Case:
    """Three columns without names: texts, or ids."""
    by_id = all(d.docid.isdigit() for d in truth.documents)
    by_id = by_id and all(q.qid.isdigit() for q in truth.queries)
    case = Case("MS MARCO triples by " + ("id" if by_id else "text"), given=True)
    lines = []
    for q in truth.queries:
        for p in q.positives:
            for n in q.negatives:
                found = truth.documents[p], truth.documents[n]
                row = (
                    [q.qid, *(d.docid for d in found)]
                    if by_id
                    else [q.text, *(d.full for d in found)]
                )
                lines.append("\t".join(row))
    if any(line.count("\t") != 2 or "\n" in line or "\r" in line for line in lines):
        case.documented = False
    if by_id:
        _collection(rng, truth, folder, case)
    path = folder / rng.choice(["triples.tsv", "triples.train.small.tsv"])
    path.write_text("\n".join(lines) + "\n")
    case.pairs = ["--pairs", str(path)]
    case.dialects.append("TSV without header")
    return case


@layout
def embedding_training_data(rng: random.Random, truth: Truth, folder: Path) -> Case:
    """Lines that are lists, or hold one."""
    form = rng.choice(["list", "list of three", "query pos neg", "texts"])
    case = Case(f"embedding-training-data {form}", given=form not in ("list",))
    rows: list[Any] = []
    for q in truth.queries:
        positives, negatives = truth.full(q.positives), truth.full(q.negatives)
        if form == "query pos neg":
            rows.append({"query": q.text, "pos": positives, "neg": negatives})
        elif form == "list":
            rows += [[q.text, p] for p in positives]
        else:
            threes = [[q.text, p, n] for p in positives for n in negatives]
            rows += threes if form == "list of three" else [{"texts": three} for three in threes]
    case.documented = form != "texts"
    path = folder / "train.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    case.pairs = ["--pairs", str(path)]
    case.dialects.append("JSON lines")
    return case


# --- running and comparing ------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """How a case ended: right, refused, wrong, crashed; and what was said."""

    outcome: str
    told: str = ""


class Negmine:
    """The command line, in this process."""

    def __init__(self) -> None:
        import typer

        from negmine.cli import app

        self._command = typer.main.get_command(app)

    def __call__(self, *arguments: str) -> tuple[int, str]:
        """Exit code and standard error."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                self._command.main(args=list(arguments), prog_name="negmine")
            except SystemExit as stop:
                return int(stop.code or 0), err.getvalue()
        return 0, err.getvalue()


def run_case(negmine: Negmine, truth: Truth, case: Case, folder: Path) -> Result:
    """Give a case to negmine and compare what comes out."""
    index, candidates = folder / "index", folder / "candidates"
    anything = folder / "anything.trec"
    run = case.run
    if not run:
        # A source there has to be; this one finds a document that every corpus has.
        by_id = bool(case.queries) or case.layout == "tevatron"
        # DPR's passages have ids, its questions none.
        named = by_id or case.layout == "dpr"
        anything.write_text(_some_run(truth, by_id=by_id, named=named))
        run = ["--run", f"other={anything}"]
    nothing_to_search = ["--no-bm25", "--no-signatures", "-o", str(index)]
    # Where the pairs are ids, their passages are the corpus's.
    passages = case.corpus or case.pairs
    asked = [*case.queries, *case.qrels, *case.pairs, *case.options, *run]
    commands = [
        ["index", *passages, *case.index_options, *nothing_to_search],
        ["retrieve", str(index), *asked, "-o", str(candidates)],
    ]
    said = ""
    for command in commands:
        try:
            code, said = negmine(*command)
        except Exception as error:
            return Result("crashed", f"{type(error).__name__}: {error}")
        if code in REFUSALS:
            return Result("refused", said.strip())
        if code:
            return Result("crashed", f"exit {code}: {said.strip()}")
    differences = compare(truth, case, index, candidates)
    return Result("wrong", "; ".join(differences)) if differences else Result("right", said)


def _some_run(truth: Truth, by_id: bool, named: bool) -> str:
    def identity(plain: str, content: str, told: bool) -> str:
        return plain if told else hashlib.sha256(content.encode()).hexdigest()[:32]

    lines = []
    for q in truth.queries:
        document = truth.documents[q.positives[0]]
        qid = identity(q.qid, q.text, by_id)
        docid = identity(document.docid, document.full, named)
        lines.append(f"{qid} Q0 {docid} 1 1.0 any\n")
    return "".join(lines)


def _table(folder: Path) -> list[dict[str, Any]]:
    return [
        row
        for part in sorted(folder.glob("part-*.parquet"))
        for row in pq.read_table(part).to_pylist()
    ]


def compare(truth: Truth, case: Case, index: Path, candidates: Path) -> list[str]:
    """What is not as it should be, in words."""
    texts = {
        row["docid"]: Document(row["docid"], row["title"], row["text"]).full
        for row in _table(index / "documents")
    }
    asked = {row["qid"]: row["text"] for row in _table(candidates / "_queries")}
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in _table(candidates):
        rows.setdefault(asked[row["qid"]], []).append(row)
    wrong = []
    wanted = {q.text for q in truth.queries}
    if set(asked.values()) != wanted:
        wrong.append(f"queries {sorted(asked.values())} instead of {sorted(wanted)}")
    for q in truth.queries:
        found = rows.get(q.text, [])
        wrong += _of_query(truth, case, q, found, texts)
    return wrong


def _of_query(
    truth: Truth, case: Case, q: Query, rows: Sequence[Mapping[str, Any]], texts: Mapping[str, str]
) -> list[str]:
    wrong = []

    def differs(what: str, found: Any, right: Any) -> None:
        if found != right:
            wrong.append(f"query {q.text!r}: {what} {found!r} instead of {right!r}")

    positives = {texts[row["docid"]] for row in rows if row["label"] == 1}
    differs("positives", sorted(positives), sorted(truth.full(q.positives)))
    if case.given:
        ranked = _by_rank(rows, "rank_given")
        differs("given", [texts[row["docid"]] for row in ranked], truth.full(q.negatives))
        if case.scored:
            scores = [row["score_given"] for row in ranked]
            differs("scores", [s and round(s, 2) for s in scores], list(q.scores))
    if case.judged:
        judged = {texts[r["docid"]] for r in rows if r["grade"] is not None and r["grade"] <= 0}
        differs("judged", sorted(judged), sorted(truth.full([n for n, _ in q.judged])))
    if case.run:
        ranked = _by_rank(rows, "rank_other")
        differs("run", [texts[row["docid"]] for row in ranked], truth.full(q.run))
    return wrong


def _by_rank(rows: Sequence[Mapping[str, Any]], column: str) -> list[Mapping[str, Any]]:
    """The rows that a source found, in its order."""
    found = [row for row in rows if row.get(column) is not None]
    return sorted(found, key=lambda row: row[column])


# --- the command ----------------------------------------------------------------------------------


def run(cases: int, seed: int, only: str | None = None, first: int = 0) -> dict[str, Any]:
    """Run cases; returns the counts and the first failures."""
    negmine = Negmine()
    outcomes: Counter[str] = Counter()
    layouts: dict[str, Counter[str]] = {}
    failures: list[str] = []
    names = [name for name in LAYOUTS if only is None or only in name]
    folder = Path(tempfile.mkdtemp(prefix="negmine-meaning-"))
    try:
        for number in range(first, first + cases):
            rng = random.Random(f"{seed}/{number}")
            chosen = rng.choice(names)
            place = folder / str(number)
            place.mkdir()
            made = truth(rng, titles=rng.random() < 0.3)
            case = LAYOUTS[chosen](rng, made, place)
            result = run_case(negmine, made, case, place)
            outcome = result.outcome
            if outcome == "refused" and case.documented:
                outcome = "refused though documented"
            outcomes[outcome] += 1
            layouts.setdefault(chosen, Counter())[outcome] += 1
            if outcome not in ("right", "refused") and len(failures) < 50:
                shown = " | ".join(case.dialects)
                failures.append(f"{number} {case.layout} [{shown}] {outcome}: {result.told[:600]}")
            shutil.rmtree(place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    failed = sum(outcomes.values()) - outcomes["right"] - outcomes["refused"]
    return {
        "cases": sum(outcomes.values()),
        "failures": failed,
        "outcomes": dict(outcomes),
        "layouts": {name: dict(found) for name, found in sorted(layouts.items())},
        "first_failures": failures,
    }


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="layouts whose name holds this")
    parser.add_argument("--case", type=int, help="run this one and keep its files")
    arguments = parser.parse_args()
    if arguments.case is not None:
        return _one(arguments.seed, arguments.case, arguments.only)
    started = time.perf_counter()
    report = run(arguments.cases, arguments.seed, arguments.only)
    report["seconds"] = round(time.perf_counter() - started, 1)
    print(json.dumps(report, indent=1, ensure_ascii=False))
    return 1 if report["failures"] else 0


def _one(seed: int, number: int, only: str | None) -> int:
    """Run one case and say where its files are."""
    rng = random.Random(f"{seed}/{number}")
    chosen = rng.choice([name for name in LAYOUTS if only is None or only in name])
    folder = Path(tempfile.mkdtemp(prefix=f"negmine-meaning-{number}-"))
    made = truth(rng, titles=rng.random() < 0.3)
    case = LAYOUTS[chosen](rng, made, folder)
    result = run_case(Negmine(), made, case, folder)
    print(f"{folder}\n{case}\n{result.outcome}: {result.told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
