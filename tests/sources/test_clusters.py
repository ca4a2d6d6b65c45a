"""Clusters of vectors: every document's by brute force, and what a source makes of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow.parquet as pq
import pytest

from negmine import memory
from negmine.params.index import IndexParams
from negmine.sources import clusters, dense, kinds
from negmine.sources.child import Made
from negmine.sources.clusters import Centroids, Clusters
from negmine.table import artifacts, schemas
from negmine.table.artifacts import Plan
from tests.chains import DOCUMENTS, QUERIES, make_data, parts, small_parts
from tests.conftest import ROOT, Invoke
from tests.sources.test_dense import DIMENSION, collection

COUNT = 9


def by_brute_force(vectors: np.ndarray, centroids: np.ndarray, spherical: bool) -> np.ndarray:
    """Numbers of all centroids for each vector, nearest first, in float64."""
    wide, middles = vectors.astype(np.float64), centroids.astype(np.float64)
    if spherical:
        return np.argsort(-(wide @ middles.T), axis=1, kind="stable")
    distance = ((wide[:, None] - middles[None]) ** 2).sum(axis=2)
    return np.argsort(distance, axis=1, kind="stable")


@pytest.mark.parametrize("spherical", [True, False])
def test_documents_are_of_their_nearest_centroid(tmp_path: Path, spherical: bool) -> None:
    """The middles are FAISS's own; who is near which is computed here, one pair at a time."""
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((700, DIMENSION)).astype(np.float32)
    if spherical:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    _, stored = collection(tmp_path, vectors, [f"d{n}" for n in range(700)], 150)
    middles = clusters.train(stored, 20, spherical)
    whole = faiss.Kmeans(
        DIMENSION, 20, niter=20, spherical=spherical, seed=1, min_points_per_centroid=1
    )
    whole.train(vectors)
    np.testing.assert_allclose(middles, whole.centroids, rtol=1e-4, atol=1e-5)
    expected = by_brute_force(vectors, middles, spherical)
    for held in (1, 1 << 28):
        found = Centroids(middles, spherical, held)
        for count in (1, 2, 5, 20):
            np.testing.assert_array_equal(found.nearest(vectors, count), expected[:, :count])
    writer = artifacts.begin(tmp_path / "clusters", Plan("index.clusters", 1, {}))
    assert writer is not None
    told: list[int] = []
    with writer:
        writer.add_array(clusters.CENTROIDS, middles)
        clusters.assign(stored, Centroids(middles, spherical), writer, told.append)
        read = Clusters(writer.commit({"spherical": spherical}))
    assert sum(told) == len(read) == 700
    rows = rng.integers(0, 700, 90)
    np.testing.assert_array_equal(read.take(rows), expected[rows, :2])


def test_equally_near_centroids_are_told_apart_by_their_numbers() -> None:
    middles = np.array([[0, 1], [1, 0], [1, 0], [0, 1]], dtype=np.float32)
    found = Centroids(middles, True).nearest(np.array([[1, 0], [1, 1]], np.float32), 3)
    assert found.tolist() == [[1, 2, 0], [0, 1, 2]]


def test_how_many_clusters_a_corpus_gets() -> None:
    counts = {1: 2, 9: 3, 10_000: 100, 5_000_000: 2236, 10**9: 4096}
    assert {documents: clusters.count_for(documents) for documents in counts} == counts


# --- through the command line -------------------------------------------------------------------


SOURCES = {"next": "", "ofquery": "/query", "same": "/same", "own": "/query/same"}


def indexed(work: Path, data: Path, tiny_bi: Path, *more: object) -> list[object]:
    model = f"tiny={tiny_bi}"
    given = ["index", "--corpus", data, "--encoder", model, "--no-bm25", "--no-signatures"]
    plain = ["--dtype", "float32", "--runtime", "torch"]
    return [*given, *plain, "--clusters", COUNT, *more, "-o", work / "index"]


def retrieved(work: Path, data: Path, *more: object) -> list[object]:
    given = ["retrieve", work / "index", "--queries", data, "--qrels", data / "qrels.tsv"]
    return [*given, *more, "-o", work / "candidates"]


ASKED = [
    "--source",
    "tiny",
    *(w for n, s in SOURCES.items() for w in ("--source", f"{n}=clusters:tiny{s}")),
]


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory, tiny_bi: Path) -> Path:
    """All documents are candidates of all queries: what the sources find is among them."""
    from tests.chains import call

    base = tmp_path_factory.mktemp("clusters")
    data = make_data(base / "data")
    with small_parts():
        for command in (indexed(base, data, tiny_bi), retrieved(base, data, *ASKED, "-k", 100)):
            code, output = call(*command)
            assert code == 0, output
    return base


def rows_of(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.glob("part-*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def stored_vectors(index: Path) -> np.ndarray:
    files = sorted((index / "vectors" / "tiny").glob("part-*.npy"))
    return np.concatenate([np.load(file) for file in files]).astype(np.float32)


def expected_clusters(index: Path) -> np.ndarray:
    middles = np.load(index / "clusters" / "tiny" / "centroids.npy")
    return by_brute_force(stored_vectors(index), middles, True)


def by_query(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found = defaultdict(list)
    for row in rows:
        found[row["qid"]].append(row)
    return found


def test_the_documents_of_the_cluster_next_to_the_positives(mined: Path) -> None:
    order = expected_clusters(mined / "index")
    number = {f"d{n}": n for n in range(DOCUMENTS)}
    rows = rows_of(mined / "candidates")
    assert len(rows) == DOCUMENTS * QUERIES
    several = 0
    for of_query in by_query(rows).values():
        known = [number[row["docid"]] for row in of_query if row["label"]]
        several += len(known) > 1
        own = {int(order[n, 0]) for n in known}
        following = {next(int(c) for c in order[n] if int(c) not in own) for n in known}
        for name, wanted in (("next", following), ("same", own)):
            inside = [r for r in of_query if int(order[number[r["docid"]], 0]) in wanted]
            inside.sort(key=lambda row: (-row["score_tiny"], row["docid"]))
            found = [row for row in of_query if row[f"rank_{name}"] is not None]
            found.sort(key=lambda row: row[f"rank_{name}"])
            assert [row["docid"] for row in found] == [row["docid"] for row in inside]
    assert several
    # Whoever found it, a row has the encoder's score and its document's cluster.
    assert all(row["score_next"] == row["score_tiny"] for row in rows)
    assert all(row["cluster_next"] == order[number[row["docid"]], 0] for row in rows)


def test_the_documents_of_the_cluster_next_to_the_query(mined: Path, tiny_bi: Path) -> None:
    from sentence_transformers import SentenceTransformer

    texts = [json.loads(line)["text"] for line in (mined / "data" / "queries.jsonl").open()]
    model = SentenceTransformer(str(tiny_bi), device="cpu")
    queries = model.encode_query(texts, normalize_embeddings=True)
    middles = np.load(mined / "index" / "clusters" / "tiny" / "centroids.npy")
    order = by_brute_force(queries, middles, True)
    of = expected_clusters(mined / "index")[:, 0]
    rows = by_query(rows_of(mined / "candidates"))
    for query in range(QUERIES):
        for name, place in (("own", 0), ("ofquery", 1)):
            found = {r["docid"] for r in rows[f"q{query}"] if r[f"rank_{name}"] is not None}
            wanted = {f"d{n}" for n in np.flatnonzero(of == order[query, place])}
            assert found == wanted


def test_the_table_says_that_it_does_not_search(mined: Path) -> None:
    schema = pq.read_schema(next((mined / "candidates").glob("part-*.parquet")))
    assert schemas.searched_names(schema) == ["tiny"]
    assert schema.names[-4:] == [f"cluster_{name}" for name in SOURCES]
    manifest = json.loads((mined / "candidates" / "_manifest.json").read_text())
    assert manifest["params"]["specs"]["own"] == "clusters:tiny/query/same"
    assert {"tiny", "next", "documents"} <= set(manifest["inputs"])
    index = json.loads((mined / "index" / "_manifest.json").read_text())
    assert index["counts"]["clusters"] == ["tiny"]


def test_k_cuts_what_a_source_finds(mined: Path, tmp_path: Path, invoke: Invoke) -> None:
    whole = by_query(rows_of(mined / "candidates"))
    more = ["--source", "next=clusters:tiny", "-k", 3, "-o", tmp_path / "few"]
    result = invoke(*retrieved(mined, mined / "data")[:-2], *more)
    assert result.exit_code == 0, result.output
    few = rows_of(tmp_path / "few")
    for qid, rows in by_query(few).items():
        best = {r["docid"]: r["rank_next"] for r in whole[qid] if (r["rank_next"] or 9) <= 3}
        assert {r["docid"]: r["rank_next"] for r in rows if r["rank_next"]} == best


def test_the_encoder_is_loaded_once_unless_options_name_a_source(
    mined: Path, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, loaded = dense.load_query_encoder, []

    def counted(vectors: Any, name: str, how: Any) -> Any:
        loaded.append(how.query_prompt)
        return load(vectors, name, how)

    monkeypatch.setattr(dense, "load_query_encoder", counted)
    asked = ["--source", "a=clusters:tiny", "--source", "b=clusters:tiny/same", "-k", 4]
    command = [*retrieved(mined, mined / "data")[:-2], *asked]
    result = invoke(*command, "-o", tmp_path / "once")
    assert result.exit_code == 0, result.output
    assert loaded == [None]
    result = invoke(*command, "--query-prompt", "b=of a cell: ", "-o", tmp_path / "twice")
    assert result.exit_code == 0, result.output
    assert loaded == [None, None, "of a cell: "]
    once, twice = rows_of(tmp_path / "once"), rows_of(tmp_path / "twice")
    scores = [{(r["qid"], r["docid"]): r["score_a"] for r in rows} for rows in (once, twice)]
    both = set(scores[0]) & set(scores[1])
    assert both
    assert all(scores[0][pair] == scores[1][pair] for pair in both)
    assert any(row["score_a"] != row["score_b"] for row in twice)


def test_the_same_bytes_whatever_the_memory_and_the_threads(
    mined: Path, tmp_path: Path, tiny_bi: Path
) -> None:
    """In a process of its own: how many threads there are is read when libraries are loaded."""
    script = (
        "import sys; from pathlib import Path; from tests.chains import call, small_parts\n"
        "from negmine import memory\n"
        "memory.Budget.share = lambda self, fraction, most, least=1: min(least, 1)\n"
        "from tests.sources.test_clusters import ASKED, indexed, retrieved\n"
        "work, data, model = map(Path, sys.argv[1:])\n"
        "with small_parts():\n"
        "    for command in (indexed(work, data, model),"
        " retrieved(work, data, *ASKED, '-k', 100)):\n"
        "        code, output = call(*command)\n"
        "        assert code == 0, output\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "3"}
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), str(mined / "data"), str(tiny_bi)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert parts(tmp_path / "candidates") == parts(mined / "candidates")
    for name in ("centroids.npy", "part-00000.npy", "part-00002.npy"):
        path = Path("index", "clusters", "tiny", name)
        assert (tmp_path / path).read_bytes() == (mined / path).read_bytes()


def test_a_run_that_was_cut_short_goes_on(
    mined: Path, tmp_path: Path, tiny_bi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The middles and the finished parts are kept; the bytes are those of one run."""
    index = artifacts.open_artifact(mined / "index")
    params = IndexParams(encoder=(f"tiny={tiny_bi}",), clusters=COUNT)
    (child,) = kinds.load("clusters").children(params)
    vectors = index.input("tiny")
    nearest, seen = Centroids.nearest, []

    def dying(self: Centroids, *arguments: Any) -> np.ndarray:
        seen.append(len(arguments[0]))
        if len(seen) == 2:
            raise KeyboardInterrupt
        return nearest(self, *arguments)

    monkeypatch.setattr(Centroids, "nearest", dying)
    with pytest.raises(KeyboardInterrupt):
        child.make(Made(tmp_path, budget=memory.budget("2GB")), vectors)
    monkeypatch.setattr(clusters, "train", lambda *_: pytest.fail("the middles are there"))
    again = child.make(Made(tmp_path, budget=memory.budget("2GB")), vectors)
    assert again.manifest["run"]["resumed_files"] >= 1
    assert len(seen) <= len(again.files) + 1
    whole = mined / "index" / "clusters" / "tiny"
    for name in again.files:
        assert again.file(name).read_bytes() == (whole / name).read_bytes()
    assert again.fingerprint == artifacts.open_artifact(whole).fingerprint


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("clusters:tinny", ["no vectors 'tinny'", "tiny"]),
        ("clusters:", ["no vectors ''"]),
        ("clusters:tiny/queries", ["not written clusters:ENCODER[/query][/same]"]),
        ("clusters:tiny/same/same", ["not written"]),
        ("cluster:tiny", ["of no kind of source", "clusters:ENCODER"]),
    ],
)
def test_bad_specs_are_refused(
    mined: Path, tmp_path: Path, invoke: Invoke, source: str, told: list[str]
) -> None:
    command = retrieved(mined, mined / "data", "--source", f"c={source}")[:-2]
    result = invoke(*command, "-o", tmp_path / "candidates")
    assert result.exit_code == 2, result.output
    assert all(word in " ".join(result.output.split()) for word in told), result.output
    assert not (tmp_path / "candidates").exists()


def test_clusters_that_are_not_there_are_named_with_how_to_make_them(
    mined: Path, tmp_path: Path, invoke: Invoke, tiny_bi: Path
) -> None:
    command = indexed(tmp_path, mined / "data", tiny_bi)
    at = command.index("--clusters")
    result = invoke(*command[:at], *command[at + 2 :])
    assert result.exit_code == 0, result.output
    result = invoke(*retrieved(tmp_path, mined / "data", "--source", "c=clusters:tiny"))
    assert result.exit_code == 2
    assert "no clusters of 'tiny'" in result.output
    assert "--clusters tiny=0" in result.output
    # An index that is there gets them beside what it has.
    before = parts(tmp_path / "index")
    result = invoke(*indexed(tmp_path, mined / "data", tiny_bi))
    assert result.exit_code == 0, result.output
    assert before.items() < parts(tmp_path / "index").items()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--clusters", 1], "nothing lies beside a single cluster"),
        (["--clusters", "tinny=4"], "no encoder 'tinny'"),
        (["--clusters", "91"], "91 clusters of 90 documents"),
    ],
)
def test_clusters_that_cannot_be_made_are_refused(
    mined: Path, tmp_path: Path, invoke: Invoke, tiny_bi: Path, options: list[object], told: str
) -> None:
    command = indexed(tmp_path, mined / "data", tiny_bi)
    command[command.index("--clusters") : command.index("--clusters") + 2] = options
    dry = invoke(*command, "--dry-run")
    result = invoke(*command)
    assert result.exit_code == dry.exit_code == 2
    assert told in " ".join(result.output.split())
    assert told in " ".join(dry.output.split())


def test_there_must_be_vectors_to_cluster(mined: Path, tmp_path: Path, invoke: Invoke) -> None:
    result = invoke("index", "--corpus", mined / "data", "--clusters", 3, "-o", tmp_path / "index")
    assert result.exit_code == 2
    assert "no vectors to cluster" in result.output


def test_what_does_not_fit_is_refused_with_what_would_do(mined: Path, tiny_bi: Path) -> None:
    tight = memory.Budget(300 << 20, {"the interpreter": 128 << 20})
    params = IndexParams(encoder=(f"tiny={tiny_bi}",), clusters=20_000)
    (child,) = kinds.load("clusters").children(params)
    assert child.trained is not None
    vectors = artifacts.open_artifact(mined / "index").input("tiny")
    with pytest.raises(Exception, match="learning 20,000 clusters takes"):
        child.trained.refuse(vectors, 5_000_000, tight)
    child.trained.refuse(vectors, 5_000_000, memory.Budget(1 << 30, tight.fixed))


def test_a_recipe_from_nothing_is_tried(
    mined: Path, tmp_path: Path, invoke: Invoke, tiny_bi: Path
) -> None:
    data = mined / "data"
    path = tmp_path / "mine.toml"
    path.write_text(
        f'work = "{tmp_path / "work"}"\n[index]\ncorpus = "{data}"\nbm25 = false\n'
        f'encoder = {{ tiny = "{tiny_bi}" }}\nclusters = 0\ndtype = "float32"\nruntime = "torch"\n'
        f'[retrieve]\nqueries = "{data}"\nqrels = "{data / "qrels.tsv"}"\nk = 9\n'
        'source = ["tiny", "clus=clusters:tiny"]\n[filter]\nby = "tiny"\nnum-negatives = 3\n'
    )
    dry = invoke("run", path, "--dry-run", "--json")
    assert dry.exit_code == 0, dry.output
    stages = {stage["stage"]: stage for stage in json.loads(dry.stdout)["stages"]}
    assert "clusters" in stages["index"]["breakdown"]
    assert stages["retrieve"]["rows"] > 9 * QUERIES
    assert not (tmp_path / "work").exists()
