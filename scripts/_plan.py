"""The plan of a chain of any size, from measured unit costs: pure computing, no run.

Seconds are CPU seconds of one thread. Steps of a chain are divided among shards (by parts, of which
there are only so many), among the threads of one process, or not at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from negmine.stages.retrieve.bands import Extent
from negmine.stages.retrieve.mining import queries_per_part, queries_together
from negmine.table.documents import PART_BYTES, PART_DOCUMENTS

#: What an approximate index learns from: vectors a list, at the least, and how often it goes over
#: them to place its lists.
PER_LIST, TRAINED_ON, ROUNDS = 40, 65_536, 10
#: Lists are 4 times the square root of the documents, as a power of two; so many are probed of 64.
PROBED = 1 / 64
#: Queries that are searched exactly, too, to tell the recall.
RECALL_QUERIES = 200
#: Bytes of an id that ``index`` holds of each document, and of its list's number and row.
HELD_ID, HELD_CODE = 16, 20
#: Rank and score of another source, in a row.
ANOTHER_SOURCE = 8
#: Bytes of a query in what shards of ``filter`` tell each other to find near-duplicates ("What
#: shards learn together" in docs/scale.md), and at the most in the memory of each that learns
#: (``scripts/bench_summaries.py``).
TOLD_QUERY, HELD_QUERY = 770, 780
#: Above this share of all other work exact search gives way to an approximate one.
DEAR = 0.25
#: Most queries that are looked at for that.
MANY_QUERIES = 10**12
#: The commands that shards share, and the steps that are a shard's of each.
SHARED = {
    "index": ("index: signatures", "index: vectors"),
    "retrieve": ("retrieve: BM25", "retrieve: exact", "retrieve: approximate"),
    "rerank": ("rerank",),
    "filter": ("filter",),
}
#: Seconds of work that a shard should have: its start and what it checks are to be little of that.
WORTH_A_SHARD = 600.0


@dataclass(frozen=True)
class Task:
    """What is to be mined, and with how much.

    Attributes:
        documents: of the corpus.
        queries: that are mined.
        text_bytes: of all documents.
        tokens: of all documents, as the encoder reads them.
        rows: candidates of all queries.
        pairs: that are reranked.
        examples: of the training set.
        sources: that search, BM25 among them.
        search: how vectors are searched: ``exact``, ``ann``, or ``auto``, the cheaper one where
            exact search would be more than a quarter of all other work.
        machines: that share parts.
        cores: of each.
        encoder: tokens a second of each machine's GPU, by the user; None: it has none.
        reranker: pairs a second, likewise.
    """

    documents: int
    queries: int
    text_bytes: float
    tokens: float
    rows: float
    pairs: float
    examples: float
    sources: int = 2
    search: str = "auto"
    machines: int = 1
    cores: int = 16
    encoder: float | None = None
    reranker: float | None = None

    @property
    def shards(self) -> int:
        """Processes of one thread each."""
        return self.machines * self.cores

    @property
    def extent(self) -> Extent:
        """How much is searched and kept of a query, which decides what a part is."""
        of_source = max(1, round((self.rows / max(1, self.queries) - 1.0) / self.sources))
        return Extent(self.sources, of_source, of_source)


@dataclass(frozen=True)
class Step:
    """One piece of the chain.

    Attributes:
        name: of the piece.
        seconds: CPU seconds of its work.
        how: ``shards``, ``threads`` (one process, all its machine's cores) or ``one`` (thread).
        units: into how many pieces it can be divided.
        start: seconds until a process begins.
        disk: bytes that it leaves.
        gpu: seconds of one GPU, where the user told its speed.
    """

    name: str
    seconds: float
    how: str
    units: int = 1
    start: float = 0.0
    disk: float = 0.0
    gpu: float | None = None

    def wall(self, task: Task) -> float:
        """Seconds on these machines."""
        if self.gpu is not None:
            return self.start + self.gpu / min(task.machines, self.units)
        if self.how == "one":
            return self.start + self.seconds
        if self.how == "threads":
            return self.start + self.seconds / task.cores
        return self.start + math.ceil(self.units / task.shards) * self.seconds / self.units


@dataclass(frozen=True)
class Units:
    """What ``scripts/bench_units.py`` wrote."""

    read: Mapping[str, Any]

    @property
    def approximate(self) -> bool:
        """Whether approximate search was measured: without that only exact search is planned."""
        return {"search_ann", "ann_build"} <= set(self.read["units"])

    def of(self, stage: str, key: str) -> float:
        """One figure of a stage; 0 where it was not measured there."""
        return float(self.read["units"][stage].get(key, 0.0))

    def bytes(self, key: str) -> float:
        """Bytes of something."""
        return float(self.read["bytes"][key])

    def start(self, stage: str) -> float:
        """CPU seconds of its process before it begins, imports and models."""
        return self.of(stage, "start_seconds")

    def task(self, documents: int, **given: Any) -> Task:
        """A collection of this size with texts as long as the measured ones.

        Args:
            documents: how many.
            given: ``queries``, ``per_source`` (candidates), ``reranked`` (a query), and what else a
                task has.
        """
        given = {name: value for name, value in given.items() if value is not None}
        queries = int(given.pop("queries", max(1, min(documents // 20, 1_000_000))))
        known = self.read["collection"]
        per_source, reranked = given.pop("per_source", 100), given.pop("reranked", 50)
        sources = given.get("sources", 2)
        return Task(
            documents,
            queries,
            documents * known["text_bytes_per_document"],
            documents * self.of("encode", "tokens_per_document"),
            queries * (1.0 + per_source * sources),
            queries * (1.0 + reranked),
            queries * known["examples_per_query"],
            **given,
        )


@dataclass(frozen=True)
class Learned:
    """What shards of ``filter`` tell each other in a round, all of which begin at once.

    Attributes:
        parts: that are summarised; each is put once.
        told: bytes of all summaries of queries.
        gets: summaries of others that a shard gets.
        shards: that have something to make.
    """

    parts: int
    told: float
    gets: int
    shards: int


def learned(task: Task) -> Learned:
    """The round that ``filter`` makes with its defaults: near-duplicate queries, and equal ids."""
    parts = math.ceil(task.queries / queries_per_part(task.extent))
    shards = min(task.shards, parts)
    return Learned(parts, TOLD_QUERY * task.queries, parts - parts // shards, shards)


# --- what each stage takes ----------------------------------------------------------------------


def lists_for(documents: int) -> int:
    """Lists of an inverted file: a power of two near 4 times the square root."""
    return int(2 ** round(math.log2(4 * math.sqrt(max(1, documents)))))


def building(units: Units, documents: int, lists: int) -> float:
    """CPU seconds of training and filling an inverted file."""
    pair = units.of("search_exact", "seconds_per_query_and_document")
    known = int(units.of("ann_build", "lists"))

    def places(count: int) -> float:
        sample = min(documents, max(TRAINED_ON, PER_LIST * count))
        return ROUNDS * sample * count * pair

    codes = max(0.0, units.of("ann_build", "training_seconds") - ROUNDS * TRAINED_ON * known * pair)
    code = max(0.0, units.of("ann_build", "seconds_per_vector") - known * pair)
    return codes + places(lists) + documents * (code + lists * pair)


def searching(units: Units, task: Task, lists: int) -> tuple[float, float]:
    """CPU seconds of searching vectors exactly, and approximately (infinite: not measured)."""
    pair = units.of("search_exact", "seconds_per_query_and_document")
    exact = units.of("search_exact", "seconds_per_query") + pair * task.documents
    if not units.approximate:
        return task.queries * exact, math.inf
    known, probed = (units.of("ann_build", key) for key in ("lists", "probes"))
    code = units.of("search_ann", "seconds_per_query_and_document") * known / probed
    near = units.of("search_ann", "seconds_per_query") + lists * pair
    near += code * task.documents * PROBED
    recall = RECALL_QUERIES * task.documents * pair
    return task.queries * exact, task.queries * near + recall


def steps(units: Units, task: Task) -> list[Step]:
    """All stages of a chain, in order."""
    text, documents = task.text_bytes, task.documents
    parts = math.ceil(max(documents / PART_DOCUMENTS, text / PART_BYTES))
    made = [
        Step(
            "documents",
            text * units.of("documents", "seconds_per_text_byte"),
            "one",
            disk=text * units.bytes("documents_per_text_byte"),
        ),
        Step(
            "index: BM25",
            text * units.of("bm25_index", "seconds_per_text_byte"),
            "threads",
            start=units.start("bm25_index"),
            disk=text * units.bytes("lucene_per_text_byte"),
        ),
        Step(
            "index: signatures",
            text * units.of("signatures", "seconds_per_text_byte"),
            "shards",
            units=parts,
            disk=documents * units.bytes("signatures_per_document"),
        ),
        Step(
            "index: vectors",
            task.tokens * units.of("encode", "seconds_per_token"),
            "shards",
            units=parts,
            start=units.start("encode"),
            disk=documents * units.bytes("vectors_float16_per_document"),
            gpu=task.tokens / task.encoder if task.encoder else None,
        ),
    ]
    after = behind_retrieve(units, task)
    return made + retrieving(units, task, made + after) + after


def retrieving(units: Units, task: Task, others: Sequence[Step]) -> list[Step]:
    """The searches, and the approximate index where exact search costs too much."""
    lists = lists_for(task.documents)
    exact, near = searching(units, task, lists)
    built = building(units, task.documents, lists) if units.approximate else math.inf
    chosen = task.search if units.approximate else "exact"
    if chosen == "auto":
        dear = exact > DEAR * sum(step.seconds for step in others) and near + built < exact
        chosen = "ann" if dear else "exact"
    shares = math.ceil(task.queries / queries_together(task.extent))
    lexical = units.of("search_bm25", "seconds_per_query")
    lexical += units.of("search_bm25", "seconds_per_query_and_document") * task.documents
    found: list[Step] = []
    if chosen == "ann":
        disk = task.documents * units.bytes("ann_per_document")
        found.append(Step("index: IVF-PQ", built, "threads", disk=disk))
    name = "retrieve: approximate" if chosen == "ann" else "retrieve: exact"
    seconds = near if chosen == "ann" else exact
    start = units.start(f"search_{chosen}")
    row = units.bytes("candidates_per_row") + ANOTHER_SOURCE * (task.sources - 1)
    disk = task.rows * row + task.queries * units.bytes("queries_per_query")
    lexical *= task.queries
    found.append(Step("retrieve: BM25", lexical, "shards", shares, units.start("search_bm25")))
    found.append(Step(name, seconds, "shards", shares, start, disk))
    return found


def behind_retrieve(units: Units, task: Task) -> list[Step]:
    """Rerank, filter and export."""
    parts = math.ceil(task.queries / queries_per_part(task.extent))
    more = ANOTHER_SOURCE * (task.sources - 1)
    return [
        Step(
            "rerank",
            task.pairs * units.of("rerank", "seconds_per_pair"),
            "shards",
            units=parts,
            start=units.start("rerank"),
            disk=task.rows * (units.bytes("scored_per_row") + more),
            gpu=task.pairs / task.reranker if task.reranker else None,
        ),
        Step(
            "filter",
            task.rows * units.of("filter", "seconds_per_row"),
            "shards",
            units=parts,
            start=units.start("filter"),
            disk=task.rows * (units.bytes("ledger_per_row") + more),
        ),
        Step(
            "export",
            task.examples * units.of("export", "seconds_per_example"),
            "one",
            start=units.start("export"),
            disk=task.examples * units.bytes("train_per_example"),
        ),
    ]


def collecting(units: Units, plan: Sequence[Step]) -> Step:
    """Checking what shards have made, by one process each time."""
    shared = sum(step.disk for step in plan if step.how == "shards")
    return Step("collect", shared * units.of("verify", "seconds_per_byte"), "one")


def shards_of(plan: Sequence[Step], task: Task) -> dict[str, int]:
    """Into how many shards each command is worth dividing.

    As many as there are processes, and no more than parts, nor than have ten minutes' work each.
    """
    found = {}
    for command, names in SHARED.items():
        own = [step for step in plan if step.name in names]
        # Where a GPU does the work nobody else of its machine can.
        most = task.machines if any(step.gpu is not None for step in own) else task.shards
        work = sum(step.seconds if step.gpu is None else step.gpu for step in own)
        units = max(step.units for step in own)
        found[command] = max(1, min(most, units, math.ceil(work / WORTH_A_SHARD)))
    return found


def dear_from(units: Units, task: Task) -> float:
    """From how many queries on exact search gives way to an approximate one; infinite = never.

    Args:
        units: measured.
        task: as it is, but for the number of queries.
    """

    def is_dear(queries: int) -> bool:
        times = queries / task.queries
        many = replace(
            task,
            queries=queries,
            rows=times * task.rows,
            pairs=times * task.pairs,
            examples=times * task.examples,
        )
        return any(step.name == "index: IVF-PQ" for step in steps(units, many))

    low, high = 0, 1
    while not is_dear(high):
        low, high = high, 2 * high
        if high > MANY_QUERIES:
            return math.inf
    while high - low > max(1, high // 100):
        middle = (low + high) // 2
        low, high = (low, middle) if is_dear(middle) else (middle, high)
    return high


def planned(units: Units, task: Task) -> list[Step]:
    """All of it, with what collecting the shards takes, where that was measured."""
    plan = steps(units, task)
    if "verify" not in units.read["units"]:
        return plan
    return [*plan, collecting(units, plan)]
