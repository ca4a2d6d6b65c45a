"""What a model learns from each miner's negatives: the same student, trained on each of them.

Any folder in BEIR's layout whose queries have several judged positives::

    python scripts/bench_students.py DATA/cranfield --student static --student minilm-redrawn
    python scripts/bench_students.py --report --svg students.svg        # all that was run so far

The first command prepares (index, candidates, cross-encoder scores, into ``--work/NAME``, by the
stages themselves), mines, trains, and prints its collection's tables; the second only reads what is
in ``--out``. Both may be stopped and given again: each trained student is a file, ``--out/NAME/
REVEAL/STUDENT/MINER/seedN.json``, written by a rename. A file that other settings made (another
``default.toml``, other steps) is made anew, and said so.

Fixed before the first student was trained, the same for every miner:

* **Split.** A query is on the test side where a hash of its text (case and spacing aside) falls
  below ``--test-share``, a half. Train queries are those of the scored table on the other side;
  test queries are all judged ones of the folder (or of ``--test FOLDER``, which has the same
  corpus). No rule, limit or model sees a label of the test side.
* **Revealed.** ``--reveal one``: of each train query one positive, drawn by the seed, and
  everything else is hidden from the miners. ``--reveal all``: all of the train side's.
* **Miners.** All have the same vectors and cross-encoder scores, and are asked for the same
  number of negatives. ``st``, ``st-margin`` and ``st-ce`` are sentence-transformers'
  ``mine_hard_negatives`` without a margin, with ``relative_margin=0.05`` on cosines, and with the
  same margin on the cross-encoder's scores. ``random`` draws from the corpus, ``bm25`` takes
  BM25's first that are no known positives. A TOML file is negmine's filter with that recipe's
  ``[filter]`` (weights and what ``export`` may add are not used), ``--try`` one with these
  settings. Two are no miners but marks to read the others by: ``st-clean`` is ``st`` with every
  judged positive known to it (what there is to gain by cleaning), and ``none`` is the student
  untrained.
* **Examples.** A step is a batch of different queries, each with its positive (of several, in
  turn) and some of its negatives, in turn. Queries and their order depend on the seed alone. A
  text that is the positive of another query of the batch is not taken in it. Queries that a miner
  left short repeat what they have; those that it left nothing get random documents. Both are
  counted. Where negmine refuses (too few positives to learn from) there is no student, and the
  table has the reason.
* **Students.** See ``STUDENTS`` in ``_students.py``. ``static``: mean of token vectors, which
  start as MiniLM's own input embeddings (with a hundred queries, random ones would learn nothing
  for words that only test queries have). ``minilm``: all-MiniLM-L6-v2. ``minilm-redrawn``: its
  last two layers new, the four below held fixed, so that there is something to learn and half of
  the work. ``minilm-short``: its first three layers, the last of them new, the others held fixed.
  ``cross``: MiniLM's first three layers as a cross-encoder with a new head, which ranks BM25's
  first 100 anew. Loss: MultipleNegativesRankingLoss, for ``cross`` BinaryCrossEntropyLoss. The
  seed draws what is new and orders the examples. Steps are few, so that a run takes half a
  minute. The learning rates of ``static`` and ``minilm-redrawn`` are those of three each that had
  the highest nDCG@10 with the miner ``random`` on CACM (two seeds), which is therefore in no
  table; those of the others are a guess.
* **Measures.** nDCG@10, MRR@10 and Recall@100 of the test queries against the whole corpus, by
  ir-measures; a document is relevant (1) if its grade is at least 1.
* **Intervals.** 95%, by 10,000 bootstrap draws of seeds and of queries, each with replacement,
  and crossed; differences are paired, by query and seed. With few seeds that understates what
  seeds add: of n seeds it sees (n - 1)/n of their variance. In a mean over collections each is
  drawn by itself.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import _bench
import _student_report as report
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from _denoise import Collection, Pairs, Peer, add_arguments, changed, filters, prepare
from _students import BODY, STUDENTS, Example, Student, rescore, search, start, train
from bench_denoise import fitted_by

from negmine import errors, log, rules
from negmine.commands import audit
from negmine.learning import prior
from negmine.params import FilterParams
from negmine.stages import filter as filtering
from negmine.table import artifacts
from negmine.table.artifacts import Artifact
from negmine.table.artifacts.plan import Plan

#: Raised whenever the same settings would give other numbers.
FORMAT = 1
RECIPE = Path(__file__).parents[1] / "configs" / "default.toml"
#: How deep a bi-encoder's ranking is measured, and BM25's is ranked anew.
DEPTH = 100


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, then print the tables."""
    given = parse_arguments(arguments)
    log.setup(quiet=True)
    if not given.report:
        run(given)
    name = None if given.report else collection_name(given)
    groups = report.load(given.out, name)
    tables = report.tables(groups)
    print(tables)
    if given.page:
        report.put(given.page, tables)
    if given.json:
        report.write(given.json, json.dumps(report.numbers(groups), indent=1) + "\n")
    if given.svg:
        for kind, drawn in report.pictures(groups).items():
            report.write(given.svg.with_stem(f"{given.svg.stem}-{kind}"), drawn)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser, Path("work/bench_students"), seeds=3, folder_nargs="?")
    parser.add_argument("--out", type=Path, default=Path("work/bench_students/runs"))
    parser.add_argument("--report", action="store_true", help="only tell what --out has")
    parser.add_argument("--scored", type=Path, help="a scored table, instead of preparing one")
    told = "weights of p_prior, fitted to other collections (fit_prior.py --leave-out)"
    parser.add_argument("--prior", type=Path, help=told)
    parser.add_argument("--test", type=Path, help="where test queries are from; default FOLDER")
    parser.add_argument("--test-share", type=float, default=0.5)
    parser.add_argument("--reveal", choices=("one", "all"), default="one")
    parser.add_argument("--student", action="append", choices=list(STUDENTS), default=[])
    parser.add_argument("--body", default=BODY, help="the encoder that students are made of")
    parser.add_argument("--steps", type=int, help="instead of the student's own")
    parser.add_argument("--learning-rate", type=float, help="instead of the student's own")
    parser.add_argument(
        "--miner",
        action="append",
        choices=["none", *MINERS],
        default=[],
        help="which of those that are no recipe; default: all of them",
    )
    parser.add_argument("--json", type=Path, help="write all numbers here")
    parser.add_argument(
        "--svg",
        type=Path,
        help="draw quality against the negatives: a file for each student, named after it",
    )
    parser.add_argument("--page", type=Path, help="put the tables into this Markdown page")
    given = parser.parse_args(arguments)
    if given.folder is None and not given.report:
        parser.error("a folder, or --report")
    if not (given.miner or given.recipe or given.tried):
        given.recipe = [RECIPE]
    given.miner = given.miner or ["none", *MINERS]
    given.student = given.student or ["static", "minilm-redrawn"]
    return given


def collection_name(given: argparse.Namespace) -> str:
    """The name that files and tables have."""
    return str(given.name or given.folder.resolve().name)


# --- queries ----------------------------------------------------------------------------------


def on_test_side(text: str, share: float) -> bool:
    """Whether a query is for testing; one text is on one side, whatever its ids."""
    plain = " ".join(text.casefold().split())
    digest = hashlib.blake2b(plain.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


@dataclass(frozen=True)
class Test:
    """The test side: texts of queries, and the relevant documents of each."""

    texts: Mapping[str, str]
    relevant: Mapping[str, set[str]]

    @property
    def digest(self) -> str:
        """What changes when a query or a judgement does."""
        told = [(qid, self.texts[qid], sorted(self.relevant[qid])) for qid in self.texts]
        return hashlib.blake2b(json.dumps(told).encode(), digest_size=8).hexdigest()


def test_source(given: argparse.Namespace) -> tuple[Path, Path]:
    """The folder of the test queries and its judgements."""
    if given.test:
        return given.test, given.test / "qrels.tsv"
    return given.folder, given.qrels or given.folder / "qrels.tsv"


def read_test(folder: Path, qrels: Path, share: float, docids: set[str]) -> Test:
    """The judged queries of the test side; what is judged must be in the corpus."""
    relevant: dict[str, set[str]] = {}
    with qrels.open(encoding="utf-8", newline="") as lines:
        rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        next(rows)
        for qid, docid, grade in rows:
            if float(grade) >= 1 and docid in docids:
                relevant.setdefault(qid, set()).add(docid)
    ids, texts = _bench.queries(folder)
    found = {
        qid: text
        for qid, text in zip(ids, texts, strict=True)
        if qid in relevant and on_test_side(text, share)
    }
    if not found:
        raise SystemExit(f"{folder}: no judged query is on the test side")
    return Test(found, {qid: relevant[qid] for qid in found})


def train_side(scored: Artifact, folder: Path, qids: Sequence[str]) -> Artifact:
    """The scored table of some queries, as ``audit`` and ``filter`` take it."""
    plan = Plan("rerank", FORMAT, {"qids": list(qids)}, artifacts={"candidates": scored})
    writer = artifacts.begin(folder, plan, replacing=artifacts.Replace.ALL)
    wanted = pa.array(list(qids))
    if writer is not None:
        with writer:
            for name in scored.parts:
                table = scored.read(name)
                kept = table.filter(pc.is_in(table.column("qid"), value_set=wanted))
                writer.add_table(name, kept, scored.schema())
            writer.commit({})
    return artifacts.open_artifact(folder)


# --- miners -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mining:
    """What a miner may look at: the train side with what is revealed of it.

    Attributes:
        collection: texts, vectors, scores.
        masked: the table that has the revealed labels.
        revealed: (query, text) of the known positives.
        judged: (query, text) of all positives of the train side; for ``st-clean`` alone.
        k: candidates per source.
        num_negatives: how many are asked for per query.
        seed: for what is drawn.
    """

    collection: Collection
    masked: Path
    revealed: set[tuple[int, int]]
    judged: set[tuple[int, int]]
    k: int
    num_negatives: int
    seed: int

    def peer(self, known: set[tuple[int, int]], **settings: Any) -> Pairs:
        """What sentence-transformers chooses."""
        return Peer(self.collection, known, self.k, self.num_negatives).mine(**settings)


def draw(mining: Mining) -> Pairs:
    """Random documents that are no known positives."""
    rng = np.random.default_rng(mining.seed)
    found = []
    for query in sorted({query for query, _ in mining.revealed}):
        free = [t for t in mining.collection.text_ids.values() if (query, t) not in mining.revealed]
        size = min(mining.num_negatives, len(free))
        found += [(query, text) for text in rng.choice(free, size, replace=False)]
    return as_pairs(found)


def first_of_bm25(mining: Mining) -> Pairs:
    """What BM25 ranks first and is no known positive."""
    masked = artifacts.open_artifact(mining.masked)
    found: dict[int, list[tuple[float, int]]] = {}
    for name in masked.parts:
        part = masked.read(name, ["qid", "docid", "rank_bm25"])
        part = part.filter(part.column("rank_bm25").is_valid())
        ranks = part.column("rank_bm25").to_pylist()
        for query, text, rank in zip(*mining.collection.pairs(part), ranks, strict=True):
            if (query, text) not in mining.revealed:
                found.setdefault(query, []).append((rank, text))
    return as_pairs(
        [
            (query, text)
            for query, ranked in found.items()
            for text in list(dict.fromkeys(t for _, t in sorted(ranked)))[: mining.num_negatives]
        ]
    )


def as_pairs(found: Sequence[tuple[int, int]]) -> Pairs:
    """(query, text) pairs as two arrays."""
    table = np.array(found, dtype=int).reshape(-1, 2)
    return table[:, 0], table[:, 1]


MINERS: Mapping[str, Callable[[Mining], Pairs]] = {
    "random": draw,
    "bm25": first_of_bm25,
    "st": lambda mining: mining.peer(mining.revealed),
    "st-margin": lambda mining: mining.peer(mining.revealed, relative_margin=0.05),
    "st-ce": lambda mining: mining.peer(mining.revealed, relative_margin=0.05, rescore=True),
    "st-clean": lambda mining: mining.peer(mining.judged),
}


@dataclass(frozen=True)
class Miner:
    """A miner by name; ``params`` are those of negmine's filter."""

    name: str
    params: FilterParams | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What its choice depends on."""
        if self.params is None:
            return {"name": self.name}
        versions = {"filter": filtering.VERSION, "rules": rules.VERSION}
        told = {"name": self.name, "filter": changed(self.params), "versions": versions}
        if self.params.by == prior.NAME:
            told["prior"] = prior.shipped().identity
        return told

    def mine(self, mining: Mining) -> Pairs:
        """(query, text) of its negatives."""
        if self.params is None:
            return MINERS[self.name](mining)
        params = replace(self.params, seed=self.params.seed + mining.seed)
        with tempfile.TemporaryDirectory(prefix="bench-students-") as folder:
            return mining.collection.negmine(params, mining.masked, Path(folder) / "ledger")


# --- examples ---------------------------------------------------------------------------------


@dataclass
class Filled:
    """How many negatives of the examples were not a miner's own, or not for the first time."""

    total: int = 0
    repeated: int = 0
    random: int = 0


def batches_of(
    mining: Mining, mined: Pairs, student: Student
) -> tuple[list[list[Example]], Filled]:
    """The training examples, batch by batch; queries, positives and order are the seed's alone."""
    rng = np.random.default_rng(mining.seed)
    fill = np.random.default_rng((mining.seed, 1))
    positives, own = grouped(sorted(mining.revealed)), grouped(zip(*mined, strict=True))
    texts, queries = list(mining.collection.text_ids), list(mining.collection.query_ids)
    turns = dict.fromkeys(positives, 0)
    filled, found = Filled(), []
    for members in orders(list(positives), student, rng):
        chosen = {
            query: positives[query][turns[query] % len(positives[query])] for query in members
        }
        batch = []
        for query in members:
            barred = {*chosen.values(), *positives[query]}
            free = [text for text in own.get(query, ()) if text not in barred]
            negatives = in_turn(free, turns[query] * student.negatives, student.negatives)
            filled.total += student.negatives
            filled.repeated += len(negatives) - len(set(negatives))
            while len(negatives) < student.negatives:
                text = int(fill.integers(len(texts)))
                if text not in barred:
                    negatives.append(text)
                    filled.random += 1
            turns[query] += 1
            batch.append(
                Example(queries[query], texts[chosen[query]], [texts[text] for text in negatives])
            )
        found.append(batch)
    return found, filled


def orders(queries: list[int], student: Student, rng: np.random.Generator) -> Iterator[list[int]]:
    """The queries of each step: pass after pass in a new order, what is left of a pass left out."""
    size, made = min(student.batch, len(queries)), 0
    while made < student.steps:
        order = rng.permutation(queries).tolist()
        for begin in range(0, len(order) - size + 1, size):
            if made < student.steps:
                made += 1
                yield order[begin : begin + size]


def in_turn(items: Sequence[int], begin: int, count: int) -> list[int]:
    """``count`` items round and round from a place on; none where there are none."""
    return [items[(begin + number) % len(items)] for number in range(count)] if items else []


def grouped(pairs: Any) -> dict[int, list[int]]:
    """The second of each pair by the first."""
    found: dict[int, list[int]] = {}
    for first, second in pairs:
        found.setdefault(int(first), []).append(int(second))
    return found


# --- runs -------------------------------------------------------------------------------------


def run(given: argparse.Namespace) -> None:
    """Train whatever is missing of one collection."""
    name = collection_name(given)
    work = given.work / name
    scored = artifacts.open_artifact(given.scored) if given.scored else prepare(given, work)
    collection = Collection(scored, given.encoder)
    test = read_test(*test_source(given), given.test_share, set(collection.docids))
    qids = [q for q, t in collection.query_text.items() if not on_test_side(t, given.test_share)]
    side = train_side(scored, given.out / name / "_train", qids)
    miners = [Miner(each) for each in given.miner]
    miners += [Miner(*each) for each in filters(given.recipe, given.tried, given.num_negatives)]
    runner = Runner(given, name, collection, side, test, work / "index")
    with fitted_by(given.prior):
        for seed in range(given.seeds):
            for miner in miners:
                runner.run(miner, seed)


@dataclass
class Runner:
    """One collection's students: what is shared by all of them, and what was made of it."""

    given: argparse.Namespace
    name: str
    collection: Collection
    side: Artifact
    test: Test
    index: Path

    def run(self, miner: Miner, seed: int) -> None:
        """Mine once, and train each student that has no file yet."""
        missing = []
        for name in self.given.student:
            settings, path = self.settings(miner, name, seed), self.path(miner, name, seed)
            if not up_to_date(path, settings):
                missing.append((self.student(name), settings, path))
        if not missing:
            return
        with tempfile.TemporaryDirectory(prefix="bench-students-") as folder:
            mining = self.mining(Path(folder) / "scored", seed)
            try:
                mined = as_pairs([]) if miner.name == "none" else miner.mine(mining)
            except errors.UsageError as refused:
                for _, settings, path in missing:
                    self.write(path, settings, {"refused": str(refused)})
                return
            for student, settings, path in missing:
                began = time.monotonic()
                told = self.told(mining, mined, student, trained=miner.name != "none")
                told["seconds"] = round(time.monotonic() - began, 1)
                self.write(path, settings, told)

    def write(self, path: Path, settings: Any, told: Mapping[str, Any]) -> None:
        """Keep what was found out about a run."""
        versions = artifacts.library_versions()
        text = json.dumps({"settings": settings, "versions": versions, **told})
        report.write(path, text + "\n")
        print(f"{path}: {told.get('refused', told.get('seconds'))}", file=sys.stderr)

    def mining(self, folder: Path, seed: int) -> Mining:
        """What the miners of a seed may look at."""
        if self.given.reveal == "one":
            audit.mask(self.side, folder, audit.Scheme("random"), 1, seed)
        else:
            folder = self.side.path
        return Mining(
            self.collection,
            folder,
            self.collection.positives(artifacts.open_artifact(folder)),
            self.collection.positives(self.side),
            self.given.k,
            self.given.num_negatives,
            seed,
        )

    def told(
        self, mining: Mining, mined: Pairs, student: Student, *, trained: bool
    ) -> dict[str, Any]:
        """Train one student and measure it; what its negatives were like beside it."""
        model = start(student, self.given.body, mining.seed)
        told: dict[str, Any] = {}
        if trained:
            batches, filled = batches_of(mining, mined, student)
            train(model, student, batches, mining.seed)
            queries = np.array(sorted({query for query, _ in mining.revealed}))
            told["negatives"] = self.collection.measure(mined, mining.num_negatives, queries)
            told["filled"] = asdict(filled)
        return told | {"measures": measured(self.rankings(model, student), self.test)}

    def rankings(self, model: Any, student: Student) -> dict[str, dict[str, float]]:
        """Scores of documents by test query."""
        queries, docids = list(self.test.texts.values()), self.collection.docids
        if student.kind == "cross":
            rows = [[self.collection.row_of[d] for d in self.first[q]] for q in self.test.texts]
            found = rescore(model, queries, rows, self.collection.texts)
        else:
            found = search(model, student, queries, self.collection.texts, DEPTH)
        return {
            qid: {docids[row]: score for row, score in scores.items()}
            for qid, scores in zip(self.test.texts, found, strict=True)
        }

    @cached_property
    def first(self) -> dict[str, list[str]]:
        """BM25's first documents of each test query."""
        return first_of_test(self.given, self.index, self.given.out / self.name, self.test)

    def student(self, name: str) -> Student:
        """A student, as the command line changes it."""
        student = STUDENTS[name]
        if self.given.steps is not None:
            student = replace(student, steps=self.given.steps)
        if self.given.learning_rate is not None:
            student = replace(student, learning_rate=self.given.learning_rate)
        return student

    def settings(self, miner: Miner, name: str, seed: int) -> dict[str, Any]:
        """All that a run depends on: of the miner, and shared by all miners."""
        shared = {
            "format": FORMAT,
            "train": self.side.fingerprint,
            "test": self.test.digest,
            "collection": self.name,
            "reveal": self.given.reveal,
            "k": self.given.k,
            "num_negatives": self.given.num_negatives,
            "body": self.given.body,
            "student": {"name": name, **asdict(self.student(name))},
        }
        # As they are read back.
        settings: dict[str, Any] = {"shared": shared, "miner": miner.settings, "seed": seed}
        return json.loads(json.dumps(settings))

    def path(self, miner: Miner, student: str, seed: int) -> Path:
        """Where a run is written."""
        folder = re.sub(r"[^\w.-]", "_", miner.name)
        if folder != miner.name:
            folder += "-" + hashlib.blake2b(miner.name.encode(), digest_size=4).hexdigest()
        place = self.given.out / self.name / self.given.reveal / student
        return place / folder / f"seed{seed}.json"


def up_to_date(path: Path, settings: Mapping[str, Any]) -> bool:
    """Whether a run is there, with these settings."""
    if not path.is_file():
        return False
    if json.loads(path.read_text())["settings"] == settings:
        return True
    print(f"{path}: made with other settings, is made anew", file=sys.stderr)
    return False


def first_of_test(
    given: argparse.Namespace, index: Path, out: Path, test: Test
) -> dict[str, list[str]]:
    """BM25's first documents of the test queries, by the stage itself."""
    from negmine.params import RetrieveParams
    from negmine.stages import retrieve

    folder, qrels = test_source(given)
    params = RetrieveParams(queries=(str(folder),), qrels=(str(qrels),), source=("bm25",), k=DEPTH)
    retrieve.run(params, index, out / "_first")
    candidates = artifacts.open_artifact(out / "_first")
    found: dict[str, list[str]] = {qid: [] for qid in test.texts}
    for name in candidates.parts:
        part = candidates.read(name, ["qid", "docid", "rank_bm25"])
        # Known positives are rows whether BM25 found them or not.
        part = part.filter(pc.less_equal(part.column("rank_bm25"), DEPTH))
        for qid, docid in zip(*(part.column(c).to_pylist() for c in ("qid", "docid")), strict=True):
            if qid in found:
                found[qid].append(docid)
    return found


def measured(ranked: Mapping[str, Mapping[str, float]], test: Test) -> dict[str, dict[str, float]]:
    """Each measure of each test query, by ir-measures."""
    import ir_measures

    names = {str(ir_measures.parse_measure(name)): told for told, name in report.MEASURES.items()}
    qrels = {qid: dict.fromkeys(docids, 1) for qid, docids in test.relevant.items()}
    measures = [ir_measures.parse_measure(name) for name in report.MEASURES.values()]
    found: dict[str, dict[str, float]] = {told: {} for told in report.MEASURES}
    for metric in ir_measures.iter_calc(measures, qrels, ranked):
        found[names[str(metric.measure)]][metric.query_id] = round(float(metric.value), 6)
    return found


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
