"""Neighbours of known positives, and positives of neighbouring queries, against brute force."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.chains import QUERIES, make_data, parts, small_parts
from tests.conftest import Invoke, write_jsonl

K = 7
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_bi: Path) -> Path:
    """A collection of several parts, its vectors, and a query without positives.

    The last queries share two positives, so that the nearest bring few documents; q0 has many.
    """
    from tests.chains import call

    folder = tmp_path_factory.mktemp("made")
    data = make_data(folder / "data")
    queries = (data / "queries.jsonl").read_text() + json.dumps({"_id": "none", "text": "word1"})
    (data / "queries.jsonl").write_text(queries + "\n")
    judged = [line.split("\t") for line in (data / "qrels.tsv").read_text().splitlines()[1:]]
    kept = [(q, d) for q, d, _ in judged if int(q[1:]) < QUERIES - 8]
    kept += [("q0", f"d{d}") for d in range(40, 60) if ("q0", f"d{d}") not in kept]
    kept += [(f"q{q}", f"d{d}") for q in range(QUERIES - 8, QUERIES) for d in (3, 5)]
    lines = ["query-id\tcorpus-id\tscore", *(f"{q}\t{d}\t1" for q, d in sorted(set(kept)))]
    (data / "qrels.tsv").write_text("\n".join(lines) + "\n")
    with small_parts():
        code, said = call(
            *("index", "--corpus", data, "--no-bm25", "--encoder", f"tiny={tiny_bi}"),
            *("--dtype", "float32", "--runtime", "torch", "-o", folder / "index"),
        )
    assert code == 0, said
    return folder


def asking(made: Path, out: Path, *sources: str) -> list[object]:
    data = made / "data"
    named = [word for source in sources for word in ("--source", source)]
    return [
        *("retrieve", made / "index", "--queries", data, "--qrels", data / "qrels.tsv"),
        *("-k", K, *named, "-o", out),
    ]


def mined(
    invoke: Invoke, made: Path, out: Path, *sources: str, more: tuple[object, ...] = ()
) -> Any:
    with small_parts():
        done = invoke(*asking(made, out, *sources), *more)
    assert done.exit_code == 0, done.output
    return pq.read_table(out).to_pylist(), done.stderr


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "_manifest.json").read_text())
    return found


def positives_of(made: Path) -> dict[str, list[str]]:
    found = defaultdict(list)
    for line in (made / "data" / "qrels.tsv").read_text().splitlines()[1:]:
        qid, docid, _ = line.split("\t")
        found[qid].append(docid)
    return found


def stored(made: Path) -> dict[str, np.ndarray]:
    """The stored vector of each document, by the files alone."""
    index = made / "index"
    ids = pq.read_table(index / "documents", columns=["docid"]).column("docid").to_pylist()
    files = sorted((index / "vectors" / "tiny").glob("part-*.npy"))
    return dict(zip(ids, np.concatenate([np.load(file) for file in files]), strict=True))


def encoded(made: Path, model: Path) -> dict[str, np.ndarray]:
    """The vector of each query, by sentence-transformers alone."""
    from sentence_transformers import SentenceTransformer

    lines = [json.loads(line) for line in (made / "data" / "queries.jsonl").open()]
    loaded = SentenceTransformer(str(model), device="cpu")
    vectors = loaded.encode(
        [line["text"] for line in lines], prompt_name="query", normalize_embeddings=True
    )
    return {line["_id"]: vector for line, vector in zip(lines, vectors, strict=True)}


def likeness(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.float32(left.astype(np.float64) @ right.astype(np.float64)))


def check(rows: Rows, name: str, qids: list[str], scores: dict[str, dict[str, float]]) -> None:
    """The rows of a source are the best K of the scores of each query, which score all rows."""
    by_query = defaultdict(dict)
    for row in rows:
        by_query[row["qid"]][row["docid"]] = row
    assert set(by_query) == set(qids)
    for qid in qids:
        mine, expected = by_query[qid], scores[qid]
        found = sorted((r[f"rank_{name}"], d) for d, r in mine.items() if r[f"rank_{name}"])
        others = {d: s for d, s in expected.items() if not mine.get(d, {"label": 0})["label"]}
        best = sorted(others, key=lambda d: (-others[d], d))[:K]
        assert [rank for rank, _ in found] == list(range(1, len(best) + 1)), qid
        told = [mine[docid][f"score_{name}"] for _, docid in found]
        assert told == pytest.approx([others[docid] for docid in best], abs=1e-5)
        # By falling score, then by docid.
        order = [(-mine[docid][f"score_{name}"], docid) for _, docid in found]
        assert order == sorted(order)
        for docid, row in mine.items():
            score = row[f"score_{name}"]
            if docid in expected:
                assert score == pytest.approx(expected[docid], abs=1e-5)
            else:
                assert score is None


def test_the_nearest_documents_of_the_positives(made: Path, invoke: Invoke, tmp_path: Path) -> None:
    rows, said = mined(invoke, made, tmp_path / "c", "tiny", "near=neighbours:tiny")
    positives, vectors = positives_of(made), stored(made)
    scores = {
        qid: {
            docid: max(likeness(vectors[p], vector) for p in mine)
            for docid, vector in vectors.items()
        }
        for qid, mine in positives.items()
    }
    check(rows, "near", sorted(positives), scores)
    # Stored vectors are all that is read: the scores are these, to the last digit.
    assert all(row["score_near"] == scores[row["qid"]][row["docid"]] for row in rows)
    assert not any(row["rank_near"] for row in rows if row["label"])
    # What it found is scored by the other, too.
    assert all(row["score_tiny"] is not None for row in rows)
    assert "no neighbours" not in said
    recorded = manifest(tmp_path / "c")
    assert recorded["params"]["specs"] == {"near": "neighbours:tiny"}
    assert recorded["inputs"]["tiny"]["path"].endswith("index/vectors/tiny")
    assert "near" not in recorded["inputs"]


def test_the_positives_of_the_nearest_queries(
    made: Path, invoke: Invoke, tmp_path: Path, tiny_bi: Path
) -> None:
    rows, _ = mined(invoke, made, tmp_path / "c", "like=neighbours:tiny/query", "tiny")
    positives, vectors = positives_of(made), encoded(made, tiny_bi)
    scores: dict[str, dict[str, float]] = {}
    for qid in positives:
        mine: dict[str, float] = {}
        for other in positives:
            for docid in positives[other] if other != qid else ():
                score = likeness(vectors[qid], vectors[other])
                mine[docid] = max(score, mine.get(docid, -1.0))
        scores[qid] = mine
    check(rows, "like", sorted(positives), scores)
    # A positive of its own is known by what other query shares it, and is no find.
    assert not any(row["rank_like"] for row in rows if row["label"])


def test_the_same_bytes_whatever_is_held_and_wherever_it_stopped(
    made: Path, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from negmine.sources import nearest, vectors
    from negmine.table.artifacts import Writer

    sources = ("near=neighbours:tiny", "like=neighbours:tiny/query")
    mined(invoke, made, tmp_path / "whole", *sources)
    expected = parts(tmp_path / "whole")
    assert len(expected) > 8
    with monkeypatch.context() as patch:
        # A few at a time, and no more memory than there has to be.
        patch.setattr(nearest, "_LEAST_QUERIES", 3)
        patch.setattr(nearest.Nearest, "at_once", lambda *_: 3)
        patch.setattr(nearest, "LEAST_PAIRS", 5)
        patch.setattr(vectors, "SPILLED_ROWS", 7)
        mined(invoke, made, tmp_path / "little", *sources, more=("--memory", "4GB"))
    assert parts(tmp_path / "little") == expected
    with monkeypatch.context() as patch:
        # As GPUs search.
        patch.setattr("negmine.models.devices.for_products", lambda device: ["cpu"])
        mined(invoke, made, tmp_path / "torch", *sources)
    assert parts(tmp_path / "torch") == expected

    class Killed(BaseException):
        pass

    real = Writer.add_table
    with monkeypatch.context() as patch:

        def until(self: Writer, name: str, *rest: Any) -> None:
            if name == "part-00003.parquet":
                raise Killed
            real(self, name, *rest)

        patch.setattr(Writer, "add_table", until)
        with pytest.raises(Killed), small_parts():
            invoke(*asking(made, tmp_path / "killed", *sources))
    assert 0 < len(parts(tmp_path / "killed")) < len(expected)
    mined(invoke, made, tmp_path / "killed", *sources)
    assert parts(tmp_path / "killed") == expected
    assert manifest(tmp_path / "killed")["run"]["resumed_files"] > 0


def test_queries_without_positives_have_no_neighbours(
    made: Path, invoke: Invoke, tmp_path: Path
) -> None:
    sources = ("tiny", "near=neighbours:tiny", "like=neighbours:tiny/query")
    rows, said = mined(invoke, made, tmp_path / "c", *sources, more=("--keep-unlabelled",))
    mine = [row for row in rows if row["qid"] == "none"]
    assert len(mine) >= K
    assert all(row["rank_near"] is None and row["score_near"] is None for row in mine)
    # Its own words are near some query's.
    assert sum(row["rank_like"] is not None for row in mine) == K
    assert "--source near: 1 queries have no known positive, and so no neighbours" in said
    assert manifest(tmp_path / "c")["counts"]["near_queries_without_positives"] == 1


@pytest.mark.parametrize(
    ("spec", "told", "hint"),
    [
        ("near=neighbours:tini", "the index has no vectors 'tini'", "Did you mean 'tiny'"),
        ("near=neighbours:", "the index has no vectors ''", "tiny"),
        ("near=neighbours:tiny/queries", "there are no neighbours of 'queries'", "tiny/query"),
        ("near=neighbour:tiny", "is of no kind of source", "neighbours:ENCODER[/query]"),
        ("tiny=neighbours:tiny", "the index has a source 'tiny' already", "another name"),
    ],
)
def test_what_is_written_wrong_is_refused(
    made: Path, invoke: Invoke, tmp_path: Path, spec: str, told: str, hint: str
) -> None:
    refused = invoke(*asking(made, tmp_path / "c", spec))
    assert refused.exit_code == 2
    said = " ".join(refused.stderr.split())
    assert told in said
    assert hint in said
    assert not (tmp_path / "c").exists()


def test_a_recipe_is_refused_before_anything_is_encoded(
    made: Path, invoke: Invoke, tmp_path: Path, tiny_bi: Path
) -> None:
    recipe = tmp_path / "r.toml"
    data = made / "data"
    recipe.write_text(
        f'work = "{tmp_path / "work"}"\n[index]\ncorpus = "{data}"\nbm25 = false\n'
        f'encoder = "tiny={tiny_bi}"\n[retrieve]\nqueries = "{data}"\n'
        f'qrels = "{data / "qrels.tsv"}"\nsource = "near=neighbours:mini"\n'
    )
    refused = invoke("run", recipe)
    assert refused.exit_code == 2
    assert "no vectors 'mini'" in refused.stderr
    assert not (tmp_path / "work").exists()


def test_what_is_said_of_an_encoder_is_said_of_its_neighbours(
    made: Path, invoke: Invoke, tmp_path: Path
) -> None:
    sources = ("tiny", "like=neighbours:tiny/query")
    plain, _ = mined(invoke, made, tmp_path / "plain", *sources)
    prompt = "word7 word9 "
    asked = {
        "bare": [f"--query-prompt={prompt}"],
        "encoder": [f"--query-prompt=tiny={prompt}"],
        "own": [f"--query-prompt=like={prompt}"],
    }
    found = {
        name: mined(invoke, made, tmp_path / name, *sources, more=(*more,))[0]
        for name, more in asked.items()
    }

    def scores(rows: Rows, name: str) -> list[float]:
        return [row[f"score_{name}"] for row in sorted(rows, key=lambda r: (r["qid"], r["docid"]))]

    assert found["bare"] == found["encoder"]
    assert scores(found["bare"], "like") != scores(plain, "like")
    # Its own prompt is no prompt of the encoder's.
    by_pair = {(row["qid"], row["docid"]): row["score_tiny"] for row in plain}
    assert all(
        row["score_tiny"] == by_pair[pair]
        for row in found["own"]
        if (pair := (row["qid"], row["docid"])) in by_pair
    )


def test_a_dry_run_tries_them(made: Path, invoke: Invoke, tmp_path: Path) -> None:
    sources = ("tiny", "near=neighbours:tiny", "like=neighbours:tiny/query")
    command = asking(made, tmp_path / "c", *sources)
    dry = invoke(*command, "--dry-run", "--json")
    assert dry.exit_code == 0, dry.output
    (stage,) = json.loads(dry.stdout)["stages"]
    assert stage["state"] == "to do"
    assert stage["tokens"] > 0
    assert not (tmp_path / "c").exists()
    rows, _ = mined(invoke, made, tmp_path / "c", *sources)
    assert stage["rows"] == pytest.approx(len(rows), rel=0.2)


def test_later_stages_read_the_table(made: Path, invoke: Invoke, tmp_path: Path) -> None:
    sources = ("tiny", "near=neighbours:tiny", "like=neighbours:tiny/query")
    mined(invoke, made, tmp_path / "c", *sources)
    for command in (
        ("filter", tmp_path / "c", "--num-negatives", 2, "-o", tmp_path / "l"),
        ("audit", tmp_path / "c", "--num-negatives", 2, "-o", tmp_path / "a"),
        ("report", tmp_path / "l", "-o", tmp_path / "r.html"),
        ("explain", tmp_path / "l", "q1"),
        ("inspect", tmp_path / "c"),
        ("export", tmp_path / "l", "--ids", "-o", tmp_path / "t.jsonl"),
    ):
        done = invoke(*command)
        assert done.exit_code == 0, done.output
        if command[0] in ("explain", "inspect"):
            assert "near" in done.stdout
    page = (tmp_path / "r.html").read_text()
    assert "near" in page
    chosen = [row for row in pq.read_table(tmp_path / "l").to_pylist() if row["selected"]]
    assert len(chosen) == 2 * QUERIES
    # Their places are no ranking for the query: the best rank is the encoder's.
    ranks = [row for row in chosen if row["selected"] == 1]
    assert all(row["rank_tiny"] for row in ranks)


def test_a_query_that_many_share(invoke: Invoke, tmp_path: Path, tiny_bi: Path) -> None:
    """Three documents are everybody's positives: the nearest queries bring no others."""
    data = tmp_path / "data"
    data.mkdir()
    texts = [f"word{n} word{n * 7 % 23} word{n % 5}" for n in range(60)]
    write_jsonl(data / "corpus.jsonl", [{"_id": f"d{n}", "text": f"label {n}"} for n in range(3)])
    write_jsonl(data / "queries.jsonl", [{"_id": f"q{n}", "text": t} for n, t in enumerate(texts)])
    lines = [f"q{n}\td{0 if n < 40 else n % 3}\t1" for n in range(60)]
    (data / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")
    done = invoke(
        *("index", "--corpus", data, "--no-bm25", "--encoder", f"tiny={tiny_bi}"),
        *("-o", tmp_path / "index"),
    )
    assert done.exit_code == 0, done.output
    # More are looked at than documents are wanted, and in the end all of them.
    rows, _ = mined(invoke, tmp_path, tmp_path / "c", "like=neighbours:tiny/query")
    found: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        found[row["qid"]] += [row["rank_like"]] if row["rank_like"] else []
    assert all(sorted(found[f"q{n}"]) == [1, 2] for n in range(60))


def test_a_full_disk_is_told_with_its_place(
    made: Path, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vectors of the queries lie beside the candidates while they are needed."""
    real = tempfile.TemporaryFile
    asked: list[Path] = []

    class Full:
        def __init__(self, *, dir: Path) -> None:
            asked.append(dir)
            self._file = real(dir=dir)

        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

    out = tmp_path / "c"
    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    refused = invoke(*asking(made, out, "like=neighbours:tiny/query"))
    assert refused.exit_code == 7, refused.output
    assert str(out) in refused.stderr.replace("\n", "")
    assert asked == [out]
    assert not out.exists()
