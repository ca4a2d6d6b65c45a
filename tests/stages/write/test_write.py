"""``negmine write`` and what becomes of its texts: by rule, through the command line."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.conftest import Invoke, write_jsonl

TOWNS = ("Paris", "London", "Berlin", "Madrid", "Vienna", "Lisbon")
THINGS = ("bridge", "tower", "harbour", "market", "palace", "garden", "station", "museum")


def collection(folder: Path) -> Path:
    """Towns and what stands there: a document for each, and a question."""
    folder.mkdir(parents=True)
    corpus, queries, judged = [], [], []
    for number, (town, thing) in enumerate((t, h) for t in TOWNS for h in THINGS):
        text = (
            f"People know that the {thing} in {town} is old. It was built in {1500 + 7 * number}."
        )
        corpus.append({"_id": f"d{number}", "title": f"The {thing}", "text": text})
        if number % 3 == 0:
            queries.append({"_id": f"q{number}", "text": f"is the {thing} in {town} old"})
            judged.append(f"q{number}\td{number}\t1")
    write_jsonl(folder / "corpus.jsonl", corpus)
    write_jsonl(folder / "queries.jsonl", queries)
    (folder / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n")
    return folder


def run(invoke: Invoke, *words: object) -> Any:
    done = invoke(*words)
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain without written texts, and texts that were written for its ledger."""
    from tests.chains import call

    folder = tmp_path_factory.mktemp("write")
    data = collection(folder / "data")
    for words in (
        ("index", "--corpus", data, "-o", folder / "index"),
        (
            *("retrieve", folder / "index", "--queries", data, "--qrels", data / "qrels.tsv"),
            *("-k", 5, "-o", folder / "candidates"),
        ),
        ("filter", folder / "candidates", "--num-negatives", 2, "-o", folder / "ledger"),
        (
            *("write", folder / "ledger", "--kind", "minimal-pair", "--each", 3),
            *("-o", folder / "written"),
        ),
    ):
        code, output = call(*words)
        assert code == 0, output
    return folder


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def written(folder: Path) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """The documents by id, and the pairs."""
    texts = pq.read_table(folder / "part-00000.parquet").to_pylist()
    return {row["docid"]: row for row in texts}, pq.read_table(folder / "_pairs").to_pylist()


def test_each_text_is_a_positive_with_one_thing_changed(work: Path) -> None:
    corpus = {row["_id"]: row for row in lines(work / "data" / "corpus.jsonl")}
    texts, pairs = written(work / "written")
    assert len(pairs) == 3 * 16
    assert Counter(pair["type"] for pair in pairs) == dict.fromkeys(
        ("negation", "number", "entity"), 16
    )
    for pair in pairs:
        text, positive = texts[pair["docid"]], corpus[pair["of"]]
        assert pair["of"] == pair["qid"].replace("q", "d")
        # The oracle: a plain replacement in the user's own text.
        change = re.compile(rf"\b{re.escape(pair['before'])}\b")
        every = [
            positive["text"][: one.start()] + pair["after"] + positive["text"][one.end() :]
            for one in change.finditer(positive["text"])
        ]
        assert text["text"] in [*every, change.sub(pair["after"], positive["text"])]
        assert text["title"] == positive["title"]
        assert text["meta_synthetic"] == pair["type"]
        full = f"{text['title']} {text['text']}"
        assert text["docid"] == f"synthetic-{hashlib.sha256(full.encode()).hexdigest()[:32]}"
    known = {f"{row['title']} {row['text']}".lower() for row in corpus.values()}
    assert not known & {f"{row['title']} {row['text']}".lower() for row in texts.values()}


def test_a_text_that_the_corpus_holds_is_left_out(
    work: Path, tmp_path: Path, invoke: Invoke
) -> None:
    texts, _ = written(work / "written")
    corpus = lines(work / "data" / "corpus.jsonl")
    taken = list(texts.values())[:5]
    # Another case and other spaces do not make another text.
    copies = [
        {"_id": f"copy{n}", "title": row["title"], "text": f"  {row['text'].upper()}"}
        for n, row in enumerate(taken)
    ]
    data = collection(tmp_path / "data")
    write_jsonl(data / "corpus.jsonl", [*corpus, *copies])
    run(invoke, "index", "--corpus", data, "-o", tmp_path / "index")
    run(
        invoke,
        *("write", tmp_path / "index", "--queries", data, "--qrels", data / "qrels.tsv"),
        *("--kind", "minimal-pair", "--each", 3, "-o", tmp_path / "written"),
    )
    found, _ = written(tmp_path / "written")
    manifest = json.loads((tmp_path / "written" / "_manifest.json").read_text())
    assert manifest["counts"]["left_out"] == {"in_corpus": 5}
    assert {row["docid"] for row in taken}.isdisjoint(found)


def test_a_ledger_an_index_and_a_training_set_say_the_same(
    work: Path, tmp_path: Path, invoke: Invoke
) -> None:
    data = work / "data"
    run(
        invoke,
        *("write", work / "index", "--queries", data, "--qrels", data / "qrels.tsv"),
        *("--kind", "minimal-pair", "--each", 3, "-o", tmp_path / "of-index"),
    )
    assert written(tmp_path / "of-index") == written(work / "written")
    corpus = {row["_id"]: row for row in lines(data / "corpus.jsonl")}
    queries = {row["_id"]: row["text"] for row in lines(data / "queries.jsonl")}
    judged = [row.split("\t")[:2] for row in (data / "qrels.tsv").read_text().splitlines()[1:]]
    pairs = [{"query": queries[qid], "positive": corpus[docid]["text"]} for qid, docid in judged]
    path = write_jsonl(tmp_path / "pairs.jsonl", pairs)
    run(
        invoke,
        *("write", path, "--kind", "minimal-pair", "--type", "negation", "--each", 1),
        *("-o", tmp_path / "of-pairs"),
    )
    texts, _ = written(tmp_path / "of-pairs")
    before, _ = written(work / "written")
    mine = {row["text"] for row in before.values() if row["meta_synthetic"] == "negation"}
    assert {row["text"] for row in texts.values()} == mine


def training_set(path: Path, ask: str = "query", first: int = 0) -> Path:
    """Three pairs, the column of the queries called ``ask``."""
    rows = [
        {ask: f"is tower {n} old", "positive": f"Tower {n} is old. It was built in {1500 + n}."}
        for n in range(first, first + 3)
    ]
    return write_jsonl(path, rows)


def test_a_training_set_is_read_as_the_options_say(tmp_path: Path, invoke: Invoke) -> None:
    plain = training_set(tmp_path / "plain.jsonl")
    run(invoke, "write", plain, "--kind", "minimal-pair", "-o", tmp_path / "plain")
    other = training_set(tmp_path / "other.jsonl", "ask")
    with other.open("a", encoding="utf-8") as file:
        file.write('{"ask": "cut of')
    words = ("write", other, "--kind", "minimal-pair", "--column", "query=ask")
    done = invoke(*words, "-o", tmp_path / "w")
    assert done.exit_code == 5
    assert "other.jsonl:4" in done.stderr
    done = run(invoke, *words, "--on-error", "skip", "-o", tmp_path / "w")
    assert "1 bad record" in done.stderr
    assert written(tmp_path / "w") == written(tmp_path / "plain")


def test_a_training_set_that_changed_is_written_for_anew_when_forced(
    tmp_path: Path, invoke: Invoke
) -> None:
    path = training_set(tmp_path / "pairs.jsonl")
    words = ("write", path, "--kind", "minimal-pair", "-o", tmp_path / "w")
    run(invoke, *words)
    training_set(path, first=5)
    assert invoke(*words).exit_code == 6
    run(invoke, *words, "--force")
    texts, _ = written(tmp_path / "w")
    assert {word for row in texts.values() for word in re.findall(r"Tower (\d)", row["text"])} >= {
        *"567"
    }
    assert not any("Tower 0" in row["text"] for row in texts.values())


def test_an_estimate_over_a_training_set_leaves_nothing(tmp_path: Path, invoke: Invoke) -> None:
    path = training_set(tmp_path / "pairs.jsonl")
    done = run(invoke, "write", path, "--kind", "minimal-pair", "-o", tmp_path / "w", "--dry-run")
    assert re.search(r"^write ", done.stdout, re.MULTILINE)
    assert [one.name for one in tmp_path.iterdir()] == ["pairs.jsonl"]


def test_written_texts_are_candidates_of_their_own_queries_alone(
    work: Path, tmp_path: Path, invoke: Invoke
) -> None:
    data = work / "data"
    run(
        invoke,
        *("retrieve", work / "index", "--queries", data, "--qrels", data / "qrels.tsv", "-k", 5),
        *("--source", "bm25", "--source", f"written=written:{work / 'written'}"),
        *("-o", tmp_path / "candidates"),
    )
    rows = pq.read_table(tmp_path / "candidates" / "part-00000.parquet").to_pylist()
    _, pairs = written(work / "written")
    mine = [row for row in rows if row["rank_written"] is not None]
    assert {(row["qid"], row["docid"]) for row in mine} == {(p["qid"], p["docid"]) for p in pairs}
    assert all(row["rank_bm25"] is None and row["score_bm25"] is None for row in mine)
    assert all(row["label"] == 0 for row in mine)
    before = pq.read_table(work / "candidates" / "part-00000.parquet").to_pylist()
    others = [
        {k: v for k, v in row.items() if "written" not in k} for row in rows if row not in mine
    ]
    assert sorted(others, key=str) == sorted(before, key=str)

    filtered = (
        *("filter", tmp_path / "candidates", "--by", "written", "--rank-by", "bm25"),
        *("--sampler", "top", "--quota", "synthetic=2", "--quota", "bm25=1"),
    )
    done = run(invoke, *filtered, "-o", tmp_path / "ledger")
    assert "has no effect" not in done.stderr
    ledger = pq.read_table(tmp_path / "ledger" / "part-00000.parquet").to_pylist()
    chosen = [row for row in ledger if row["selected"] is not None]
    assert Counter(row["quota"] for row in chosen) == {"synthetic": 32, "bm25": 16}
    assert {row["quota"] for row in chosen if row["rank_written"]} == {"synthetic"}
    # Near a positive on purpose: the guard drops none of them, and of the corpus' own as before.
    assert {row["dropped_by"] for row in ledger if row["rank_written"]} == {None}

    out = tmp_path / "train.jsonl"
    run(invoke, "export", tmp_path / "ledger", "--extra", "synthetic", "--ids", "-o", out)
    texts, _ = written(work / "written")
    for line in lines(out):
        made = line["negative_docid"].startswith("synthetic-")
        assert line["synthetic"] == [False, made]
        if made:
            text = texts[line["negative_docid"]]
            assert line["negative"] == f"{text['title']} {text['text']}"
    shown = run(invoke, "explain", tmp_path / "ledger", "q0").stdout
    assert "synthetic" in shown
    assert "negation" in shown
    # The report tells of them apart; by the score of a search they are dropped, and it says why.
    told = [(row["docid"], row["selected"]) for row in ledger if row["rank_written"]]
    taken = Counter(texts[docid]["meta_synthetic"] for docid, place in told if place is not None)
    assert told_of_written(invoke, tmp_path / "ledger") == [
        [kind, "16", "16", f"{taken[kind]}", f"{16 - taken[kind]}", "0", "-"]
        for kind in ("entity", "negation", "number")
    ]
    run(invoke, "filter", tmp_path / "candidates", "--by", "bm25", "-o", tmp_path / "by-bm25")
    assert told_of_written(invoke, tmp_path / "by-bm25") == [
        [kind, "16", "16", "0", "0", "16", "unscored 16"]
        for kind in ("entity", "negation", "number")
    ]
    run(invoke, "export", tmp_path / "ledger", "--beir", tmp_path / "eval")
    ids = [row["_id"] for row in lines(tmp_path / "eval" / "corpus.jsonl")]
    assert not any(one.startswith("synthetic-") for one in ids)


def told_of_written(invoke: Invoke, ledger: Path) -> list[list[str]]:
    """The rows of the report's table of written texts."""
    page = ledger.with_suffix(".html")
    run(invoke, "report", ledger, "-o", page)
    section = page.read_text(encoding="utf-8").split('id="written"')[1].split("</section>")[0]
    rows = section.split("<tbody>")[1].split("<tr>")[1:]
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[re.sub(r"<[^>]*>", "", cell).strip() for cell in row] for row in cells]


def test_a_recipe_writes_before_it_searches(tmp_path: Path, invoke: Invoke) -> None:
    data = collection(tmp_path / "data")
    words = [
        "run",
        "minimal-pairs",
        *(w for k in ("corpus", "queries", "qrels") for w in (f"--{k}", data)),
    ]
    words += ["-o", tmp_path / "work"]
    dry = run(invoke, *words, "--dry-run")
    assert re.search(r"^write ", dry.stdout, re.MULTILINE)
    assert not (tmp_path / "work").exists()
    run(invoke, *words)
    ledger = pq.read_table(tmp_path / "work" / "ledger" / "part-00000.parquet").to_pylist()
    chosen = Counter(row["quota"] for row in ledger if row["selected"])
    assert chosen == {"bm25": 32, "written": 32}
    again = run(invoke, *words)
    assert "wrote" not in again.stderr
    changed = run(invoke, *words, "--set", "write.each=1", "--set", 'write.type=["number"]')
    assert "index: wrote" not in changed.stderr
    assert "write: wrote" in changed.stderr
    texts, _ = written(tmp_path / "work" / "written")
    assert {row["meta_synthetic"] for row in texts.values()} == {"number"}


@pytest.mark.real
def test_a_scorer_lets_pass_what_holds(
    work: Path, tmp_path: Path, tiny_cross: Path, invoke: Invoke
) -> None:
    data = work / "data"
    verified = ("--scorer", f"ce={tiny_cross}", "--verify", "ce < positive")
    run(
        invoke,
        *("write", work / "index", "--queries", data, "--qrels", data / "qrels.tsv"),
        *("--kind", "minimal-pair", "--each", 3, *verified, "-o", tmp_path / "written"),
    )
    _, every = written(work / "written")
    _, pairs = written(tmp_path / "written")
    # The same pairs, scored as candidates are.
    run(
        invoke,
        *("retrieve", work / "index", "--queries", data, "--qrels", data / "qrels.tsv", "-k", 1),
        *("--source", "bm25", "--source", f"w=written:{work / 'written'}"),
        *("-o", tmp_path / "candidates"),
    )
    run(
        invoke,
        *("rerank", tmp_path / "candidates", "--scorer", f"ce={tiny_cross}"),
        *("-o", tmp_path / "scored"),
    )
    rows = pq.read_table(tmp_path / "scored" / "part-00000.parquet").to_pylist()
    positive = {row["qid"]: row["score_ce"] for row in rows if row["label"]}
    score = {(row["qid"], row["docid"]): row["score_ce"] for row in rows}
    wanted = {
        (p["qid"], p["docid"]) for p in every if score[p["qid"], p["docid"]] < positive[p["qid"]]
    }
    assert 0 < len(wanted) < len(every)
    assert {(p["qid"], p["docid"]) for p in pairs} == wanted
    for pair in pairs:
        assert pair["score_ce"] == pytest.approx(score[pair["qid"], pair["docid"]], abs=1e-4)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([], "no --kind"),
        (["--kind", "minimal-pair", "--type", "verb"], "no type 'verb'"),
        (["--kind", "minimal-pair", "--verify", "ce < 1"], "there is no --scorer"),
        (["--kind", "minimal-pair", "--queries", "x"], "a table has its queries"),
        (["--kind", "minimal-pair", "--min-grade", "2"], "--min-grade is for an index"),
        (["--kind", "minimal-pair", "--column", "query=q"], "a table has its queries"),
        (["--kind", "minimal-pair", "--no-check"], "--no-check has no effect"),
        (["--kind", "minimal-pair", "--variants", "3"], "--variants has no effect"),
        (["--kind", "minimal-pair", "--writer", "w=llm:m"], "--writer has no effect"),
        (["--kind", "negative", "--seed", "1"], "--seed has no effect"),
        (["--kind", "negative", "--type", "number"], "--type has no effect"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    work: Path, tmp_path: Path, invoke: Invoke, more: list[str], told: str
) -> None:
    done = invoke("write", work / "ledger", *more, "-o", tmp_path / "written")
    assert done.exit_code == 2
    assert told in done.stderr


def test_a_corpus_that_holds_written_texts_is_refused(
    work: Path, tmp_path: Path, invoke: Invoke
) -> None:
    data = collection(tmp_path / "data")
    texts, _ = written(work / "written")
    more = [{"_id": i, "title": t["title"], "text": t["text"]} for i, t in texts.items()]
    write_jsonl(data / "corpus.jsonl", [*lines(data / "corpus.jsonl"), *more])
    run(invoke, "index", "--corpus", data, "-o", tmp_path / "index")
    done = invoke(
        *("retrieve", tmp_path / "index", "--queries", data, "--qrels", data / "qrels.tsv"),
        *("--source", "bm25", "--source", f"w=written:{work / 'written'}", "-o", tmp_path / "c"),
    )
    assert done.exit_code == 5
    assert "the source brings those texts" in done.stderr


def test_a_recipe_that_writes_names_the_source(tmp_path: Path, invoke: Invoke) -> None:
    data = collection(tmp_path / "data")
    words = ["run", "minimal-pairs", "--corpus", data, "--queries", data, "--qrels", data]
    done = invoke(*words, "--set", 'retrieve.source=["bm25"]', "-o", tmp_path / "work")
    assert done.exit_code == 2
    assert "no source brings" in done.stderr


@pytest.mark.real
def test_what_compares_vectors_is_refused_before_anything_is_written(
    tmp_path: Path, tiny_bi: Path, invoke: Invoke
) -> None:
    data, work = collection(tmp_path / "data"), tmp_path / "work"
    words = ["run", "minimal-pairs", "--corpus", data, "--queries", data, "--qrels", data]
    changes = [
        *("--set", f"index.encoder.v={tiny_bi}", "--set", "filter.sampler=diverse"),
        *("--set", "filter.diverse-by=v", "--set", "filter.by=v", "--set", "filter.quota=[]"),
    ]
    done = invoke(*words, *changes, "-o", work)
    assert done.exit_code == 2, done.output
    assert "--diverse-by v compares stored vectors, and written documents have none" in done.stderr
    assert not work.exists()
    # A table of texts that were written before is no other.
    source = 'retrieve.source=["bm25", "v", "written=written:"]'
    run(invoke, *words, "--set", f"index.encoder.v={tiny_bi}", "--set", source, "-o", work)
    diverse = ("--sampler", "diverse", "--diverse-by", "v", "--by", "v")
    done = invoke("filter", work / "candidates", *diverse, "-o", tmp_path / "ledger")
    assert done.exit_code == 2, done.output
    assert "--diverse-by v compares stored vectors, and written documents have none" in done.stderr
    assert not (tmp_path / "ledger").exists()


def test_a_recipe_that_writes_has_one_set_of_queries(tmp_path: Path, invoke: Invoke) -> None:
    data = collection(tmp_path / "data")
    words = ["run", "minimal-pairs", "--corpus", data, "--queries", data, "--qrels", data]
    done = invoke(*words, "--set", f"write.qrels={data}/other.tsv", "-o", tmp_path / "work")
    assert done.exit_code == 2
    assert "[write] qrels: texts are written for the queries of [retrieve]" in done.stderr
    assert not (tmp_path / "work").exists()
