"""``--source NAME=cur:MODEL``: a cross-encoder that finds candidates.

The oracle is NumPy's CUR on the full score matrix that sentence-transformers gives.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negmine import memory
from negmine.sources import anchors
from negmine.sources.anchors import Drawn, anchors_plan, draw
from negmine.sources.cur import _Pairs, _whole_queries
from negmine.sources.cur_kind import parse
from negmine.table import artifacts
from tests.chains import DOCUMENTS, QUERIES, call, make_data, parts, small_parts
from tests.conftest import Invoke

K = 8
EXACT = ("--dtype", "float32", "--batch-size", "16")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of documents and nothing else."""
    work = tmp_path_factory.mktemp("cur")
    make_data(work / "data")
    with small_parts():
        arguments = ("--corpus", work / "data", "--no-bm25", "--no-signatures")
        code, output = call("index", *arguments, "-o", work / "index")
        assert code == 0, output
    return work


@pytest.fixture(scope="module")
def matrix(work: Path, tiny_cross: Path) -> dict[str, Any]:
    """The logit of every pair, [queries, documents], and the ids."""
    import torch
    from sentence_transformers import CrossEncoder

    found: dict[str, Any] = {}
    for name in ("queries", "corpus"):
        lines = (work / "data" / f"{name}.jsonl").read_text().splitlines()
        found[name] = {row["_id"]: row["text"] for row in map(json.loads, lines)}
    model = CrossEncoder(str(tiny_cross), device="cpu", activation_fn=torch.nn.Identity())
    pairs = [(q, d) for q in found["queries"].values() for d in found["corpus"].values()]
    found["scores"] = model.predict(pairs, batch_size=16).reshape(QUERIES, DOCUMENTS)
    return found


def retrieve(work: Path, out: Path, *options: object, model: object, k: int = K) -> tuple[int, str]:
    arguments = ("--queries", work / "data", "--qrels", work / "data" / "qrels.tsv", "-k", k)
    with small_parts():
        return call(
            *("retrieve", work / "index", *arguments, "--source", f"cur=cur:{model}"),
            *(*EXACT, *options, "-o", out),
        )


@pytest.fixture
def small_anchors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several parts of anchors' scores."""
    monkeypatch.setattr(anchors, "PART_PAIRS", 200)


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "_manifest.json").read_text())
    return found


def test_what_is_found_is_numpys_cur(
    work: Path, tiny_cross: Path, matrix: dict[str, Any], tmp_path: Path, small_anchors: None
) -> None:
    code, output = retrieve(work, tmp_path / "c", "--anchors", "10:6", model=tiny_cross)
    assert code == 0, output
    assert list(tmp_path.rglob("*.checkpoint")) == []
    made = manifest(tmp_path / "sources" / "cur")
    assert made["stage"] == "retrieve.anchors"
    assert made["counts"] == {"documents": DOCUMENTS, "queries": 10, "pairs": 10 * DOCUMENTS}
    assert len(parts(tmp_path / "sources")) > 4
    qids, docids = list(matrix["queries"]), list(matrix["corpus"])
    rows = [qids.index(qid) for qid in made["anchor_queries"]]
    items = made["anchor_documents"]
    assert (len(set(rows)), len(set(items))) == (10, 6)
    scores = matrix["scores"].astype(np.float64)
    known = scores[rows]
    stored = [np.load(path) for path in sorted((tmp_path / "sources" / "cur").glob("part-*"))]
    np.testing.assert_allclose(np.concatenate(stored).T, known, atol=1e-4)
    u = np.linalg.pinv(known[:, items], rcond=1e-2)
    near = scores[:, items] @ u @ known
    # An anchor query stands for itself.
    near[rows] = known
    table = pq.read_table(tmp_path / "c").to_pylist()
    for number, qid in enumerate(qids):
        mine = [row for row in table if row["qid"] == qid]
        positive = {row["docid"] for row in mine if row["label"] == 1}
        depth = K + 4
        best = [docids[d] for d in np.argsort(-near[number], kind="stable")[:depth]]
        best.sort(key=lambda docid: -scores[number, docids.index(docid)])
        # Beside the positives, the ranking down to the K-th that is none.
        others = [docid for docid in best if docid not in positive][:K]
        ranked = best[: best.index(others[-1]) + 1]
        found = {row["docid"]: row["rank_cur"] for row in mine if row["rank_cur"] is not None}
        assert sorted(found, key=lambda docid: found[docid]) == ranked, qid
        assert sorted(found.values()) == list(range(1, len(ranked) + 1))
        # Positives that it did not find have its score all the same.
        assert positive <= {row["docid"] for row in mine}
        want = [scores[number, docids.index(row["docid"])] for row in mine]
        np.testing.assert_allclose([row["score_cur"] for row in mine], want, atol=1e-4)


def test_with_as_many_anchors_as_there_is_to_know_nothing_is_missed(
    work: Path, tiny_cross: Path, matrix: dict[str, Any], tmp_path: Path
) -> None:
    """Every query is an anchor: the ranking is the cross-encoder's own."""
    code, output = retrieve(work, tmp_path / "c", "--anchors", "99:20", model=tiny_cross)
    assert code == 0, output
    assert "99 anchor queries were asked for, and there are 24" in " ".join(output.split())
    docids = list(matrix["corpus"])
    table = pq.read_table(tmp_path / "c").to_pylist()
    for number, qid in enumerate(matrix["queries"]):
        found = {row["docid"]: row["rank_cur"] for row in table if row["qid"] == qid}
        ranked = sorted((d for d in found if found[d]), key=lambda docid: found[docid])
        best = [docids[d] for d in np.argsort(-matrix["scores"][number], kind="stable")]
        assert ranked == best[: len(ranked)]
        assert len(ranked) >= K


def test_the_union_is_scored_by_it_and_read_by_what_comes_after(
    work: Path, tiny_cross: Path, matrix: dict[str, Any], tmp_path: Path, invoke: Invoke
) -> None:
    lines = [
        f"q{q} Q0 d{(7 * q + r) % DOCUMENTS} {r} {9 - r} run" for q in range(24) for r in (1, 2, 3)
    ]
    (tmp_path / "run.trec").write_text("\n".join(lines) + "\n")
    options = ("--anchors", "8", "--run", f"other={tmp_path / 'run.trec'}")
    code, output = retrieve(work, tmp_path / "c", *options, model=tiny_cross)
    assert code == 0, output
    docids, qids = list(matrix["corpus"]), list(matrix["queries"])
    table = pq.read_table(tmp_path / "c").to_pylist()
    alone = [row for row in table if row["rank_other"] is not None and row["rank_cur"] is None]
    assert len(alone) > 20
    want = [matrix["scores"][qids.index(r["qid"]), docids.index(r["docid"])] for r in table]
    np.testing.assert_allclose([row["score_cur"] for row in table], want, atol=1e-4)
    told = manifest(tmp_path / "c")
    assert told["models"]["cur"]["model"] == str(tiny_cross)
    assert told["sources"]["cur"]["queries"] == 8
    for command in (
        ("filter", tmp_path / "c", "--by", "cur", "--num-negatives", 2, "-o", tmp_path / "ledger"),
        ("audit", tmp_path / "c", "--by", "cur", "--seeds", 1, "-o", tmp_path / "audit"),
        ("report", tmp_path / "ledger", "-o", tmp_path / "report.html"),
        ("explain", tmp_path / "ledger", "q3"),
        ("inspect", tmp_path / "ledger"),
        ("inspect", tmp_path / "sources" / "cur"),
    ):
        result = invoke(*command)
        assert result.exit_code == 0, (command, result.output)


def test_bytes_depend_on_neither_memory_nor_an_interruption(
    work: Path,
    tiny_cross: Path,
    tmp_path: Path,
    small_anchors: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from negmine.models import room

    monkeypatch.setattr("negmine.table.artifacts.checkpoint.SECONDS", 0.0)
    code, output = retrieve(work, tmp_path / "a" / "c", "--anchors", "9:5", model=tiny_cross)
    assert code == 0, output
    plain = parts(tmp_path / "a")
    batches = 0
    fits = room.Room._fits

    def count(*given: Any) -> bool:
        nonlocal batches
        batches += 1
        if batches in stops:
            raise KeyboardInterrupt
        return fits(*given)

    monkeypatch.setattr(room.Room, "_fits", count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "resident", lambda: 0)
        patch.setattr(memory.Budget, "share", lambda self, fraction, most, least=1: min(least, 1))
        stops: set[int] = set()
        options = ("--anchors", "9:5", "--memory", "2GB")
        code, output = retrieve(work, tmp_path / "b" / "c", *options, model=tiny_cross)
        assert code == 0, output
    assert parts(tmp_path / "b") == plain
    whole, batches = batches, 0
    # While the anchors are scored, while queries meet the anchor documents, and after that.
    stops = {whole // 5, whole // 2, whole * 3 // 4, whole - 2}
    for _ in range(5):
        code, output = retrieve(work, tmp_path / "k" / "c", "--anchors", "9:5", model=tiny_cross)
        if code == 0:
            break
    assert code == 0, output
    assert parts(tmp_path / "k") == plain
    # What was read is not read again, but for the batches in which it stopped.
    assert batches <= whole + len(stops)
    assert list((tmp_path / "k").rglob("*.checkpoint")) == []


def test_anchors_are_scored_once_for_all_candidates(
    work: Path, tiny_cross: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other depths take what is there; other anchors are made beside it."""
    asked = ("--anchors", "8:4", "--device", "cpu")
    assert retrieve(work, tmp_path / "c", *asked, model=tiny_cross)[0] == 0
    first = manifest(tmp_path / "sources" / "cur")

    def never(*_: Any) -> Any:
        raise AssertionError("scored again")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anchors, "make", never)
        code, output = retrieve(work, tmp_path / "d", *asked, model=tiny_cross, k=5)
        assert code == 0, output
        code, output = retrieve(work, tmp_path / "c", *asked, model=tiny_cross)
        assert code == 0, output
    code, output = retrieve(work, tmp_path / "e", "--anchors", "8:5", model=tiny_cross)
    assert code == 0, output
    assert "kept as" in output
    other = manifest(tmp_path / "sources" / "cur")
    assert other["fingerprint"] != first["fingerprint"]
    code, output = retrieve(work, tmp_path / "f", *asked, model=tiny_cross)
    assert code == 0, output
    assert manifest(tmp_path / "sources" / "cur")["fingerprint"] == first["fingerprint"]


def test_what_decides_the_anchors_scores(work: Path) -> None:
    documents = artifacts.open_artifact(work / "index" / "documents")
    settings = {"batch_size": 16, "max_length": None, "dtype": "auto"}
    drawn = Drawn(["q1", "q2"], ["a text", "another"], 5, 42)
    own = anchors_plan(documents, "model", "1", drawn, settings)
    assert own.fingerprint == anchors_plan(documents, "model", "1", drawn, settings).fingerprint
    others = [
        anchors_plan(documents, "model", "2", drawn, settings),
        anchors_plan(documents, "model", "1", replace(drawn, texts=["a text", "b"]), settings),
        anchors_plan(documents, "model", "1", replace(drawn, items=6), settings),
        anchors_plan(documents, "model", "1", replace(drawn, seed=7), settings),
        anchors_plan(documents, "model", "1", drawn, {**settings, "batch_size": 8}),
        anchors_plan(documents, "model", "1", drawn, {**settings, "max_length": 64}),
        anchors_plan(documents, "model", "1", drawn, {**settings, "dtype": "float32"}),
    ]
    assert len({own.fingerprint, *(plan.fingerprint for plan in others)}) == 8


def test_draws_do_not_depend_on_the_order() -> None:
    """Of more queries, those that were drawn before stay but for the ones that are pushed out."""
    ids = [f"q{n}" for n in range(50)]
    drawn = [ids[i] for i in draw(pa.array(ids), 10, 3)]
    back = ids[::-1]
    assert [back[i] for i in draw(pa.array(back), 10, 3)] == drawn
    assert [ids[i] for i in draw(pa.array(ids), 5, 3)] == drawn[:5]
    assert [ids[i] for i in draw(pa.array(ids), 10, 4)] != drawn


def test_a_dry_run_counts_the_pairs(
    work: Path, tiny_cross: Path, tmp_path: Path, invoke: Invoke
) -> None:
    code, output = retrieve(
        work, tmp_path / "c", "--anchors", "10:6", "--dry-run", "--json", model=tiny_cross
    )
    assert code == 0, output
    (stage,) = json.loads(output[output.index("{") :])["stages"]
    assert not (tmp_path / "c").exists()
    assert not (tmp_path / "sources").exists()
    assert stage["breakdown"]["score anchors of cur"] > 0
    assert stage["breakdown"]["score with cur"] > 0
    # 10 anchors by 90 documents, then 6 and 12 or so for each of 24 queries; 20 tokens or so each.
    assert 20_000 < stage["tokens"] < 80_000
    code, output = retrieve(work, tmp_path / "c", "--anchors", "10:6", model=tiny_cross)
    assert code == 0, output
    code, output = retrieve(
        *(work, tmp_path / "d", "--anchors", "10:6", "--dry-run", "--json"),
        model=tiny_cross,
        k=5,
    )
    (stage,) = json.loads(output[output.index("{") :])["stages"]
    assert "score anchors of cur" not in stage["breakdown"]


def test_a_dry_run_counts_the_pairs_of_a_band(
    work: Path, tiny_cross: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ranking is searched, and scored, as deep as its band ends; pairs are counted as read."""
    from transformers import AutoTokenizer

    asked = (tmp_path / "c", "--anchors", "10:6", "--band", "cur=40:42")
    code, output = retrieve(work, *asked, "--dry-run", "--json", model=tiny_cross, k=2)
    assert code == 0, output
    (stage,) = json.loads(output[output.index("{") :])["stages"]
    read: list[int] = []
    plain = _Pairs.scores

    def counted(self: _Pairs, *given: Any) -> Any:
        read.append(len(given[2]))
        return plain(self, *given)

    monkeypatch.setattr(_Pairs, "scores", counted)
    code, output = retrieve(work, *asked, model=tiny_cross, k=2)
    assert code == 0, output
    pairs = 10 * DOCUMENTS + sum(read)
    assert sum(read) > QUERIES * 42
    texts, queries = (
        [json.loads(one)["text"] for one in (work / "data" / name).read_text().splitlines()]
        for name in ("corpus.jsonl", "queries.jsonl")
    )
    words = AutoTokenizer.from_pretrained(tiny_cross)(queries[:1] * len(texts), texts)["input_ids"]
    assert stage["tokens"] == pytest.approx(pairs * np.mean([len(one) for one in words]), rel=0.1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--anchors", "0"), "'0' is no number of queries"),
        (("--anchors", "20:"), "'20:' is no number of queries"),
        (("--anchors", "ten"), "'ten' is no number of queries"),
        (("--max-length", "500"), "more than the model's"),
        (("--batch-size", "other=4"), "no source 'other'"),
    ],
)
def test_bad_anchors(
    work: Path, tiny_cross: Path, tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    code, output = retrieve(work, tmp_path / "c", *options, model=tiny_cross)
    assert code == 2, output
    assert told in " ".join(output.split())
    assert list(tmp_path.iterdir()) == []


def test_models_that_do_not_serve(
    work: Path, tiny_bi: Path, tiny_cross: Path, tmp_path: Path, invoke: Invoke
) -> None:
    for model, exit_code, told in (
        (tiny_bi, 2, "this is a bi-encoder"),
        ("", 2, "names no model"),
        ("no/such/folder/here", 4, "there is no model folder"),
    ):
        code, output = retrieve(work, tmp_path / "c", model=model)
        assert (code, told in " ".join(output.split())) == (exit_code, True), output
    result = invoke(
        *("retrieve", work / "index", "--queries", work / "data"),
        *("--qrels", work / "data" / "qrels.tsv", "--anchors", 5, "-o", tmp_path / "c"),
        *("--run", f"other={work / 'data' / 'qrels.tsv'}"),
    )
    assert result.exit_code == 2
    assert "--anchors is for sources of a cross-encoder" in " ".join(result.stderr.split())


def test_what_anchors_are_asked_for() -> None:
    assert (parse(None).queries, parse(None).items) == (200, 100)
    assert (parse("50:9").queries, parse("50:9").items) == (50, 9)
    assert (parse("1").queries, parse("1").items) == (1, 1)


def test_calls_hold_whole_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("negmine.sources.cur._PAIRS_AT_ONCE", 5)
    query = np.array([0, 0, 1, 1, 1, 3, 4, 4, 4, 4, 4, 4, 4, 6])
    found = [(one.start, one.stop) for one in _whole_queries(query)]
    assert found == [(0, 5), (5, 6), (6, 13), (13, 14)]
    assert list(_whole_queries(query[:0])) == []
