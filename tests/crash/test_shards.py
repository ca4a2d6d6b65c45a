"""Several processes make the parts of one artifact, one collects: the bytes of a single process."""

from __future__ import annotations

import importlib
import random
from pathlib import Path

import pytest

from tests.chains import call, make_data, small_parts
from tests.crash.sharded import COUNT, Here, contents, copied

ARTIFACTS = {
    "index": "work/index",
    "retrieve": "work/candidates",
    "near": "work/near",
    "rerank": "work/scored",
    "enough": "work/spared",
    "filter": "work/ledger",
}
#: What loads models.
LOADERS = (
    ("negmine.models.encoders", "load_encoder"),
    ("negmine.sources.dense", "load_encoder"),
    ("negmine.models.sparse_encoder", "load_sparse_encoder"),
    ("negmine.stages.rerank.run", "on_every_gpu"),
)


def chain(encoder: Path, sparse: Path, scorer: Path) -> dict[str, list[str]]:
    """The command line of each stage, in the folder of the data."""
    models = ["--encoder", f"tiny={encoder}", "--encoder", f"words={sparse}"]
    own = ["--dtype", "float32", "--ann", "HNSW8", "--clusters", "3"]
    scorers = ["--scorer", f"ce={scorer}"]
    return {
        "index": ["index", "--corpus", "corpus.jsonl", *models, *own, "-o", "work/index"],
        "retrieve": [
            *("retrieve", "work/index", "--queries", "queries.jsonl", "--qrels", "qrels.tsv"),
            *("--source", "bm25", "--source", "tiny", "--source", "words"),
            *("-k", "10", "-o", "work/candidates"),
        ],
        "near": [
            *("retrieve", "work/index", "--queries", "queries.jsonl", "--qrels", "qrels.tsv"),
            *("--source", "tiny", "--ann", "efSearch=4", "-k", "10", "-o", "work/near"),
        ],
        "rerank": ["rerank", "work/candidates", *scorers, "-o", "work/scored"],
        "enough": [
            *("rerank", "work/candidates", *scorers, "--enough", "3"),
            *("--until", "max-fn-rate=0.5", "--until", "fit-sample=12", "--until", "by=ce"),
            *("--until", "sampler=rank"),
            *("-o", "work/spared"),
        ],
        "filter": ["filter", "work/scored", "--num-negatives", "3", "-o", "work/ledger"],
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "data")


@pytest.fixture(scope="module")
def whole(
    data: Path,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_bi: Path,
    tiny_splade: Path,
    tiny_cross: Path,
) -> Path:
    """The chain by one process."""
    folder = copied(data, tmp_path_factory.mktemp("whole") / "data")
    with pytest.MonkeyPatch.context() as patch, small_parts():
        patch.chdir(folder)
        for words in chain(tiny_bi, tiny_splade, tiny_cross).values():
            code, said = call(*words)
            assert code == 0, said
    return folder


def in_shards(here: Here, stage: str, words: list[str], folder: Path, seed: int = 0) -> None:
    """A stage by shards one after the other, in any order, and collected."""
    order = list(range(COUNT))
    random.Random(seed).shuffle(order)
    # Who encodes the first documents comes last: the others have to agree with it beforehand. Who
    # scores what a limit is learned from comes first, and so does who measures what an approximate
    # search misses, for the queries to be the same.
    order.sort(key=lambda index: (index == 0) != (stage in ("enough", "near")))
    if stage == "enough":
        said = here.ends(4, *words, "--shard", f"1/{COUNT}", cwd=folder)
        assert "The first shard (0/N) scores them" in said
    if stage == "index":
        # One process reads a corpus.
        here.done("index", "--corpus", "corpus.jsonl", "--no-bm25", "-o", "work/index", cwd=folder)
    for index in order:
        here.done(*words, "--shard", f"{index}/{COUNT}", cwd=folder)
    with pytest.MonkeyPatch.context() as patch:
        for module, name in LOADERS:
            patch.setattr(importlib.import_module(module), name, None)
        # Neither who comes again nor who collects loads a model.
        here.done(*words, "--shard", f"0/{COUNT}", cwd=folder)
        here.done("collect", ARTIFACTS[stage], cwd=folder)


def test_a_chain_by_shards_has_the_bytes_of_one_process(
    here: Here,
    data: Path,
    whole: Path,
    tmp_path: Path,
    tiny_bi: Path,
    tiny_splade: Path,
    tiny_cross: Path,
) -> None:
    folder = copied(data, tmp_path / "data")
    for stage, words in chain(tiny_bi, tiny_splade, tiny_cross).items():
        in_shards(here, stage, words, folder)
        made = folder / ARTIFACTS[stage]
        found, expected = contents(made), contents(whole / ARTIFACTS[stage])
        if stage == "near":
            # Of the queries that the first shard searches at once: one process searches more.
            recall, alone = (one["_manifest.json"].pop("ann")["tiny"] for one in (found, expected))
            assert 0 < recall["queries"] <= alone["queries"]
            assert recall.keys() == alone.keys()
        assert found == expected
        # All is said and done: the command has nothing left to do, and nothing lies about.
        assert "is up to date" in here.done(*words, cwd=folder)
        assert not list(made.rglob("_shards"))
