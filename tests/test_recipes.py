"""Every recipe loads, says what it is, and runs end to end: whole, and its filter on a table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from negmine import recipe
from negmine.params import ExportParams, FilterParams, RerankParams, RetrieveParams, values
from negmine.stages import export
from negmine.stages import filter as filtering
from negmine.stages.stage import STAGES
from negmine.table import artifacts, schemas
from negmine.table.artifacts import Plan
from negmine.table.names import cluster_column
from tests import promises
from tests.chains import add_columns, make_data
from tests.conftest import ROOT, Invoke, write_jsonl
from tests.scorers import judged
from tests.servers.answers import Said, prompt_of, schema_of, writing
from tests.servers.chat import MODEL, ChatServer
from tests.tables import make_scored

pytest.importorskip("rensa")

RECIPES = sorted((ROOT / "configs").glob("*.toml"))
#: Demo and methods whose own tests run them, for they need their own sources.
CLASSIC = [path for path in RECIPES if path.stem != "demo"]
QUERIES, DEPTH = 60, 110
LANGUAGE_MODELS = ("causal:", "llm:")
CROSS_ENCODERS = ("cross-encoder/", "BAAI/bge-reranker")
#: Limits on scores that suit the cosines of models with random weights.
CHANGED: dict[str, dict[str, float | str]] = {
    "nv-retriever-abs": {"max_score": 0.95},
    "dclr": {"weight_above": 0.95},
    "rlhn": {"promote": "judge > 0.22"},
    "rlhn-cascade": {"promote": "judge > 0.22"},
    "rlhn-hn-remove": {"promote": "judge > 0.22"},
    "rlhn-remove": {"promote": "judge > 0.33"},
    # Documents of one cluster are nearly one to a model that was never trained.
    "lemon": {"relative_margin": 0.001},
    "arhn": {"promote": "judge > 0.2 and judge > positive", "max_score": 0.2},
}
#: What a recipe's head says to change where the corpus is as small as the tests'.
SMALL = {
    "scincl": ["--set", "retrieve.band.anchor=40:42"],
    # Every candidate is a call.
    "unime-v2": ["--set", "retrieve.k=20"],
}
BATCHES = ("batch", "cluster", "rounds", "group")


def rows(sources: list[str], scorers: list[str]) -> list[dict[str, Any]]:
    """Queries with two positives among the first ranks; scores of the kind each model gives."""
    rng = np.random.default_rng(0)
    made = []
    for q in range(QUERIES):
        relevance = rng.normal(size=DEPTH) - np.arange(DEPTH) / 20
        # Two rows are positives, which models tell from others most of the time.
        relevance[:2] += 3
        ranks = {s: (-relevance + rng.normal(0, 0.3, DEPTH)).argsort().argsort() for s in sources}
        for d in range(DEPTH):
            one: dict[str, Any] = {"qid": f"q{q:02d}", "docid": f"d{q}x{d}", "label": int(d < 2)}
            # Some rows are judged irrelevant, some queries have no label at all.
            one["grade"] = 3 if d < 2 else (0 if d % 10 == 5 else None)
            for source in sources:
                rank = int(ranks[source][d]) + 1
                one[f"rank_{source}"] = rank if rank <= 100 else None
                score = 20 - rank / 10 if source == "bm25" else 0.8 - rank / 200
                one[f"score_{source}"] = score if rank <= 100 or d < 2 else None
                one[cluster_column(source)] = d % 7
            for scorer in scorers:
                cosine = scorer in ("guide", "second")
                one[f"score_{scorer}"] = (
                    0.5 + relevance[d] / 20 if cosine else 3 * relevance[d] - 2
                ) + rng.normal(0, 0.01)
            made.append(one)
    return made


def add_vectors(folder: Path, name: str) -> Path:
    """The scored artifact with its candidates' lineage holding unit vectors, as ``index`` does."""
    scored = artifacts.open_artifact(folder / "scored")
    candidates = scored.ancestor("retrieve")
    documents = scored.ancestor("index.documents")
    rng = np.random.default_rng(1)
    array = rng.normal(size=(documents.rows(documents.parts[0]), 8)).astype(np.float32)
    array /= np.linalg.norm(array, axis=1, keepdims=True)
    writer = artifacts.begin(
        folder / name,
        Plan("index.vectors", 1, {"normalize": True}, artifacts={"documents": documents}),
    )
    assert writer is not None
    with writer:
        writer.add_array("part-00000.npy", array)
        vectors = writer.commit({})
    plans = (
        (candidates, "retrieve", {"documents": documents, name: vectors}),
        (scored, "rerank", {}),
    )
    made = None
    for artifact, stage, inputs in plans:
        target = folder / f"{stage}-with-vectors"
        inputs = inputs if made is None else {"candidates": made}
        writer = artifacts.begin(target, Plan(stage, 1, {}, artifacts=inputs))
        assert writer is not None
        with writer:
            for part in artifact.parts:
                writer.add_table(part, artifact.read(part), artifact.schema())
                if stage == "retrieve":
                    asked = artifact.read(f"_queries/{part}")
                    writer.add_table(f"_queries/{part}", asked, schemas.QUERIES)
            made = writer.commit({})
    return folder / "rerank-with-vectors"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_loads_and_says_what_it_is(path: Path) -> None:
    loaded = recipe.load(path)
    assert loaded.work == f"work/{path.stem}"
    for stage, params_class in ((name, row.params) for name, row in STAGES.items()):
        values.build(params_class, loaded.tables[stage], {})
    comment = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert len(comment) >= 2
    said = " ".join(comment)
    if path.stem not in ("bm25", "demo", "default", "p-relevant", "identity-guard", "marginmse"):
        assert any(mark in said for mark in ("[read", "[2nd]", "[abstract]")), said


@pytest.mark.parametrize("path", CLASSIC, ids=lambda path: path.stem)
def test_its_filter_runs_end_to_end(path: Path, tmp_path: Path) -> None:
    loaded = recipe.load(path)
    retrieve = values.build(RetrieveParams, loaded.tables["retrieve"], {})
    rerank = values.build(RerankParams, loaded.tables["rerank"], {})
    params = values.build(FilterParams, loaded.tables["filter"], {})
    sources = [entry.partition("=")[0] for entry in retrieve.source]
    scorers = list(values.named(rerank.scorer, "--scorer"))
    table = rows(sources, scorers)
    if retrieve.keep_unlabelled:
        for one in table[: 10 * DEPTH]:
            # Their positives are not known; what was judged not relevant is.
            one["label"], one["grade"] = 0, None if one["label"] else one["grade"]
    # What is written with its kind, as neighbours:NAME, searches nothing; nor does a round before.
    others = [entry.partition("=")[0] for entry in retrieve.source if "=" in entry]
    scored = make_scored(
        *(tmp_path, [table[: 30 * DEPTH], table[30 * DEPTH :]]),
        sources=sources,
        scorers=scorers,
        not_searched=[*others, *({"previous"} & set(sources))],
        columns_said={cluster_column(name): pa.int32() for name in params.same_cluster},
    )
    if params.near_duplicate_cosine or params.closer_than_positive:
        scored = add_vectors(tmp_path, "minilm")
    outcome = filtering.run(params, scored, tmp_path / "ledger")
    counts = outcome.counts
    assert counts["candidates"] == len(table)
    assert counts["survivors"] + sum(counts["dropped"].values()) == len(table)
    assert counts["selected"] > 0
    ledger = artifacts.open_artifact(tmp_path / "ledger")
    found = pa.concat_tables(ledger.read(name) for name in ledger.parts)
    chosen = found.filter(found.column("selected").is_valid())
    assert 0 not in chosen.column("selected").to_pylist()
    assert max(chosen.column("selected").to_pylist()) <= params.num_negatives
    assert set(chosen.column("label").to_pylist()) == {0}
    # Once more is up to date, not made again.
    assert filtering.run(params, scored, tmp_path / "ledger").up_to_date
    # Its batches need the vectors of a model: they are looked at where it runs whole.
    asked = {k: v for k, v in loaded.tables["export"].items() if not k.startswith(BATCHES)}
    exporting = values.build(ExportParams, asked, {})
    export.run(exporting, tmp_path / "ledger", tmp_path / "train.parquet")
    made = promises.read(tmp_path / "ledger", tmp_path / "train.parquet", vectors=False)
    promises.check(promises.PROMISES[path.stem], made)


def graded(folder: Path) -> Path:
    """A collection whose positives have grade 3, and each query a document judged 0."""
    data = make_data(folder)
    head, *judged = (data / "qrels.tsv").read_text().splitlines()
    rows = [line.split("\t")[:2] for line in judged]
    known = {(qid, docid) for qid, docid in rows}
    lines = [f"{qid}\t{docid}\t3" for qid, docid in rows]
    for qid in dict.fromkeys(qid for qid, _ in rows):
        docid = next(f"d{n}" for n in range(len(rows)) if (qid, f"d{n}") not in known)
        lines.append(f"{qid}\t{docid}\t0")
    (data / "qrels.tsv").write_text("\n".join([head, *lines]) + "\n")
    add_columns(data)
    return data


def without_some_numbers(data: Path) -> None:
    """Letters in the place of every second document's digits, and of every third query's."""
    letters = str.maketrans("0123456789", "abcdefghij")
    for name, step in (("corpus", 2), ("queries", 3)):
        rows = [json.loads(line) for line in (data / f"{name}.jsonl").read_text().splitlines()]
        for row in rows[::step]:
            row["text"] = row["text"].translate(letters)
        write_jsonl(data / f"{name}.jsonl", rows)


def in_sentences(data: Path) -> None:
    """Texts that say something, in the place of bare words: there is a verb and a number."""
    rows = [json.loads(line) for line in (data / "corpus.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row["text"] = f"This is about {row['text']}. There were {number + 20} of them."
    write_jsonl(data / "corpus.jsonl", rows)


def with_instructions(data: Path) -> None:
    """Queries that say what is looked for beside them."""
    rows = [json.loads(line) for line in (data / "queries.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row["instruction"] = f"Only what is of kind {number}."
    write_jsonl(data / "queries.jsonl", rows)


def writes(body: Mapping[str, Any]) -> Said:
    """A model that writes queries, or instructions by which a passage is looked for."""
    prompt = prompt_of(body)
    told = dict(re.findall(r"^(Instruction|Passage(?: [AB])?|A query.*?): (.*)$", prompt, re.M))
    if schema_of(body) is None:
        fits = "Instruction" in told and told["Instruction"].endswith(told["Passage"])
        return Said("yes" if fits else "no", {"no": 1.0})
    if "Passage B" in told:
        texts = [told["Instruction"], "What is not there.", f"What reads {told['Passage B']}"]
    else:
        (query,) = (text for name, text in told.items() if name.startswith("A query"))
        texts = [f"{query} of {number}" for number in range(12)]
    return Said(json.dumps({"texts": texts}), {"{": 1.0})


def full_and_clean(made: promises.Made, size: int) -> None:
    """Batches are full, in order, and no document is a positive of another query of its batch."""
    number = [line.row["batch"] for line in made.lines]
    assert number == [place // size for place in range(len(number))]
    positives = {
        qid: {row["docid"] for row in rows if row["label"] == 1}
        for qid, rows in made.queries.items()
    }
    for start in range(0, len(number), size):
        batch = made.lines[start : start + size]
        for one in batch:
            for other in batch:
                if one is not other:
                    assert not {*one.positives, *one.negatives} & positives[other.qid]


def test_every_recipe_has_a_promise() -> None:
    assert set(promises.PROMISES) == {path.stem for path in CLASSIC}


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    """Servers that end with the test."""
    with ExitStack() as stack:
        yield stack


@pytest.mark.real
@pytest.mark.parametrize("path", CLASSIC, ids=lambda path: path.stem)
def test_a_recipe_runs_whole(
    path: Path,
    tmp_path: Path,
    tiny_bi: Path,
    tiny_body: Path,
    tiny_cross: Path,
    tiny_splade: Path,
    servers: ExitStack,
    invoke: Invoke,
) -> None:
    """From texts to the training set as the file says, small models in the place of the large."""
    data = graded(tmp_path / "data")
    if path.stem == "apollo":
        without_some_numbers(data)
    if path.stem == "minimal-pairs":
        in_sentences(data)
    if path.stem == "dual-view":
        with_instructions(data)
    loaded = recipe.load(str(path))
    arguments: list[Any] = ["run", path, "-o", tmp_path / "work"]
    local: set[str] = set()
    for key in ("corpus", "queries", "qrels"):
        arguments += [f"--{key}", data]
    for stage, key in (("index", "encoder"), ("write", "writer"), ("rerank", "scorer")):
        for name, large in loaded.tables[stage].get(key, {}).items():
            model = tiny_cross if large.startswith(CROSS_ENCODERS) else tiny_bi
            # A guide, or a second model, is not the first.
            model = tiny_splade if name == "splade" else model
            model = tiny_body if name in ("guide", "second") else model
            if stage == "write":
                documents = loaded.tables["write"]["kind"] == "negative"
                served = servers.enter_context(ChatServer(writing if documents else writes))
                model = f"llm:{MODEL}@{served.url}"
            elif large.startswith(LANGUAGE_MODELS):
                # Of several hundred pairs it has to be right about nearly all.
                served = servers.enter_context(judged.server(data, separation=6.0))
                model = judged.judge_of(served).removeprefix("judge=")
            else:
                local.add(stage)
            arguments += ["--set", f"{stage}.{key}.{name}={model}"]
    # To compile small models takes most of the time; tests/models sees what is made of them.
    for stage in sorted(local):
        arguments += ["--set", f"{stage}.runtime=torch"]
    own = [
        f"{entry.partition(':')[0]}:{tiny_cross}" if "=cur:" in entry else entry
        for entry in loaded.tables["retrieve"].get("source", ())
    ]
    if own != loaded.tables["retrieve"].get("source", []):
        arguments += ["--set", f"retrieve.source={json.dumps(own)}"]
    if "batcher" in loaded.tables["export"]:
        arguments += ["--set", "export.batch-size=4"]
    arguments += SMALL.get(path.stem, [])
    changed = CHANGED.get(path.stem, {})
    for key, value in changed.items():
        arguments += ["--set", f"filter.{key.replace('_', '-')}={value}"]
    done = invoke(*arguments)
    assert done.exit_code == 0, done.output
    ledger = tmp_path / "work" / "ledger"
    made = promises.read(ledger, tmp_path / "work" / loaded.output, changed=changed)
    batched = "batcher" in loaded.tables["export"]
    promises.check(promises.PROMISES[path.stem], made, batched=batched)
    if batched:
        full_and_clean(made, 4)
    counts = artifacts.open_artifact(ledger).counts
    assert counts["queries"] > 0
    assert counts["survivors"] + sum(counts["dropped"].values()) == counts["candidates"]
    assert (tmp_path / "work" / loaded.output).exists()
    again = invoke(*arguments)
    assert again.exit_code == 0, again.output
    assert "wrote" not in again.stderr
