"""``negmine write --kind query|instruction``: training sets that a model writes, checked by it."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from negmine.stages.write import cases
from tests.chains import call
from tests.conftest import Invoke, write_jsonl
from tests.servers.answers import Said, prompt_of, schema_of
from tests.servers.chat import MODEL, ChatServer, Settings
from tests.servers.journal import asked_again
from tests.stages.write.test_by_model import dry_run
from tests.stages.write.test_judged import answered, same
from tests.stages.write.test_kills import CONCURRENCY, killed
from tests.stages.write.test_write import collection, lines, run

ABOUT = re.compile(r"the (\w+) in (\w+) old")


class Writer:
    """Writes queries or instructions, some of them bad; knows what its own questions are about."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def __call__(self, body: Mapping[str, Any]) -> Said:
        prompt = prompt_of(body)
        kind = "instruction" if "Instruction:" in prompt else "query"
        if schema_of(body) is not None:
            self.asked[f"write {kind}"] += 1
            found = ABOUT.search(prompt)
            assert found is not None
            thing, town = found.groups()
            if (thing, town) == ("bridge", "Paris"):
                return Said("I cannot help with that.", {"I": 1.0}, refusal="no")
            texts = self.queries(thing, town) if kind == "query" else self.instructions(thing, town)
            return Said(json.dumps({"texts": texts}), {"{": 1.0})
        self.asked[f"check {kind}"] += 1
        return Said("Yes" if self.yes(prompt, kind) else "No.", {"No": 1.0})

    def queries(self, thing: str, town: str) -> list[str]:
        return [
            f"who built the {thing} in {town}",
            f"WHO built the {thing}  in {town}",
            f"is the {thing} in {town} old",
            "is the station in Paris old",
            f"ANSWERED is the {thing} of {town} ancient",
            f"HALF when was the {thing} in {town} built",
            f"how tall is the {thing} in {town}",
            f"who sold the {thing} in {town}",
        ]

    def instructions(self, thing: str, town: str) -> list[str]:
        return [
            f"Only what is  about the {thing} in {town}.",
            "ONE-SIDED: anything goes.",
            f"Nothing about the {thing} in {town}.",
            f"Never mind {town}.",
        ]

    def yes(self, prompt: str, kind: str) -> bool:
        if kind == "query":
            return "ANSWERED" in prompt or ("HALF" in prompt and "Could they answer" in prompt)
        found = ABOUT.search(prompt)
        assert found is not None
        passage = prompt.partition("Passage: ")[2]
        right = passage.startswith(f"The {found[1]} ") and f"in {found[2]} is old" in passage
        return True if "ONE-SIDED" in prompt else not right


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger whose queries have an instruction, but for one."""
    folder = tmp_path_factory.mktemp("sets")
    data = collection(folder / "data")
    queries = lines(data / "queries.jsonl")
    for one in queries:
        found = ABOUT.search(one["text"])
        assert found is not None
        one["instruction"] = f"Only what is about the {found[1]} in {found[2]}."
    queries[1]["instruction"] = ""
    write_jsonl(data / "queries.jsonl", queries)
    for words in (
        ("index", "--corpus", data, "-o", folder / "index"),
        (
            *("retrieve", folder / "index", "--queries", data, "--qrels", data / "qrels.tsv"),
            *("--keep", "instruction", "-k", 5, "-o", folder / "candidates"),
        ),
        ("filter", folder / "candidates", "--num-negatives", 2, "-o", folder / "ledger"),
    ):
        code, output = call(*words)
        assert code == 0, output
    return folder


def words(work: Path, server: ChatServer, kind: str, out: Path, *more: object) -> list[object]:
    writer = ("--writer", f"w=llm:{MODEL}@{server.url}")
    return ["write", work / "ledger", "--kind", kind, *writer, "-o", out, *more]


def manifest(path: Path) -> dict[str, Any]:
    beside = path.with_name(f"_{path.name}.manifest.json")
    found: dict[str, Any] = json.loads(beside.read_text())
    return found


def texts_of(work: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Documents and queries by id."""
    corpus = lines(work / "data" / "corpus.jsonl")
    queries = lines(work / "data" / "queries.jsonl")
    found = {row["_id"]: f"{row['title']} {row['text']}" for row in corpus}
    return found, {row["_id"]: row["text"] for row in queries}


def ledger_of(work: Path) -> dict[str, list[str]]:
    """The chosen negatives of each query, in their order."""
    rows = [row for row in pq.read_table(work / "ledger").to_pylist() if row["selected"]]
    found: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda row: row["selected"]):
        found.setdefault(row["qid"], []).append(row["docid"])
    return found


def test_queries_that_a_document_does_not_answer(
    work: Path, tmp_path: Path, invoke: Invoke
) -> None:
    writer, out = Writer(), tmp_path / "train.parquet"
    with ChatServer(writer) as server:
        command = words(work, server, "query", out, "--each", 2)
        told = dry_run(invoke, *command, "--price", "1,2")
        assert (told["calls"], told["calls_stored"]) == (16, 0)
        assert not writer.asked
        done = run(invoke, *command)
        # What is new is asked about twice.
        assert writer.asked == {"write query": 16, "check query": 15 * 5 * 2}
        again = run(invoke, *command)
        assert "is up to date" in again.stderr
        assert sum(writer.asked.values()) == 16 + 150
        told = dry_run(invoke, *words(work, server, "query", tmp_path / "other.jsonl"))
        assert (told["calls"], told["calls_stored"]) == (16, 16)
    assert "1 calls brought no text" in done.stderr
    documents, queries = texts_of(work)
    chosen, rows = ledger_of(work), pq.read_table(out).to_pylist()
    assert list(rows[0])[:3] == ["anchor", "document", "label"]
    for row in rows:
        assert row["document"] == documents[row["docid"]]
    found = [row for row in rows if row["synthetic"] is None]
    assert {(row["qid"], row["docid"]) for row in found if row["label"] == 1} == {
        (qid, qid.replace("q", "d")) for qid in queries
    }
    assert {(row["qid"], row["docid"]) for row in found if row["label"] == 0} == {
        (qid, docid) for qid, docids in chosen.items() for docid in docids
    }
    assert all(row["anchor"] == queries[row["qid"]] for row in found)
    written = [row for row in rows if row["synthetic"] is not None]
    known = {text.lower() for text in queries.values()}
    for row in written:
        assert (row["label"], row["synthetic"], row["writer"]) == (0, "query", "w")
        assert row["docid"] == row["of"].replace("q", "d")
        digest = hashlib.sha256(row["anchor"].encode()).hexdigest()[:32]
        assert row["qid"] == f"synthetic-{digest}"
        assert row["anchor"].lower() not in known
        assert re.match("who built|how tall", row["anchor"])
    assert Counter(row["of"] for row in written) == dict.fromkeys(set(queries) - {"q0"}, 2)
    counts = manifest(out)["counts"]
    assert counts["left_out"] == {
        # One of the queries is that which is written for all the others.
        "query_text": 16,
        "known_query": 14,
        "repeated": 15,
        "not_confirmed": 30,
        "beyond_each": 15,
    }
    assert (counts["examples"], counts["written"]) == (len(rows), 30)
    assert counts["cases_without_text"] == counts["queries_without_text"] == 1


def test_a_judge_compares_with_the_query_that_is_answered(
    work: Path, tmp_path: Path, invoke: Invoke
) -> None:
    """Of an index: there are positives, and no chosen negatives."""
    data, out, writer = work / "data", tmp_path / "train.jsonl.gz", Writer()

    def both(body: Mapping[str, Any]) -> Said:
        if not body.get("logprobs"):
            return writer(body)
        prompt = prompt_of(body)
        yes = 0.1 if "who built" in prompt or not same(prompt) else 0.9
        return Said("Yes" if yes > 0.5 else "No", {"Yes": yes, "No": 1 - yes})

    with ChatServer(both) as server:
        command = words(work, server, "query", out, "--queries", data, "--qrels", data)
        command[1] = work / "index"
        judge = (
            "--scorer",
            f"judge=llm:{MODEL}@{server.url}",
            "--verify",
            "judge < positive - 0.5",
        )
        run(invoke, *command, "--ignore", "queries.instruction", *judge)
    counts = manifest(out)["counts"]
    assert (counts["positives"], counts["written"]) == (16, 15)
    assert counts["chosen_negatives"] == 0
    assert counts["left_out"]["refused"] == 15
    rows = [json.loads(line) for line in gzip.decompress(out.read_bytes()).splitlines()]
    written = [row for row in rows if row["synthetic"]]
    assert all(row["anchor"].startswith("who built") for row in written)
    assert {round(row["score_judge"], 3) for row in written} == {0.1}


def test_a_query_beyond_the_limit_is_known(work: Path, tmp_path: Path, invoke: Invoke) -> None:
    data, out = work / "data", tmp_path / "train.jsonl"
    beyond = lines(data / "queries.jsonl")[2]["text"]

    def writes(body: Mapping[str, Any]) -> Said:
        texts = [beyond.upper(), "who sold it"]
        return Said("No." if schema_of(body) is None else json.dumps({"texts": texts}), {"N": 1.0})

    with ChatServer(writes) as server:
        for source, more in (
            ("index", ("--queries", data, "--qrels", data, "--ignore", "queries.instruction")),
            ("ledger", ()),
        ):
            command = words(work, server, "query", out, "--limit", 2, *more, "--force")
            command[1] = work / source
            run(invoke, *command)
            counts = manifest(out)["counts"]
            assert (counts["queries"], counts["written"]) == (2, 2)
            assert counts["left_out"] == {"known_query": 2}


def test_a_query_that_nobody_judged_is_known(work: Path, tmp_path: Path, invoke: Invoke) -> None:
    asked, out = work / "data" / "queries.jsonl", tmp_path / "train.jsonl"
    unjudged = "which roof was never mended"
    asked.write_text(asked.read_text() + json.dumps({"_id": "new", "text": unjudged}) + "\n")

    def writes(body: Mapping[str, Any]) -> Said:
        texts = [unjudged, "who sold it"]
        return Said("No." if schema_of(body) is None else json.dumps({"texts": texts}), {"N": 1.0})

    with ChatServer(writes) as server:
        command = words(work, server, "query", out, "--queries", asked, "--qrels", work / "data")
        command[1] = work / "index"
        run(invoke, *command, "--limit", 2, "--ignore", "queries.instruction")
    assert manifest(out)["counts"]["left_out"] == {"known_query": 2}
    assert unjudged not in out.read_text()


def test_both_views_of_an_instruction(work: Path, tmp_path: Path, invoke: Invoke) -> None:
    writer, out = Writer(), tmp_path / "train.jsonl"
    with ChatServer(writer) as server:
        command = words(work, server, "instruction", out, "--each", 2)
        told = dry_run(invoke, *command)
        # The first query has an instruction, too; the second one has none.
        assert (told["calls"], told["calls_stored"]) == (30, 0)
        done = run(invoke, *command)
        asked = sum(writer.asked.values())
        run(invoke, *words(work, server, "instruction", tmp_path / "one.jsonl", "--each", 1))
        assert sum(writer.asked.values()) == asked
    assert "1 queries have no instruction" in done.stderr
    documents, queries = texts_of(work)
    chosen, rows = ledger_of(work), lines(out)
    given, written = rows[::2], rows[1::2]
    assert len(given) == len(written) == 28
    instructions = {row["_id"]: row for row in lines(work / "data" / "queries.jsonl")}
    expected = [
        (qid, qid.replace("q", "d"), docid)
        for qid, docids in chosen.items()
        if qid not in ("q0", "q3")
        for docid in docids
    ]
    assert sorted((r["qid"], r["positive_docid"], r["negative_docid"]) for r in given) == sorted(
        expected
    )
    for one, other in zip(given, written, strict=True):
        assert one["synthetic"] is None
        assert (other["synthetic"], other["writer"]) == ("instruction", "w")
        assert one["anchor"] == other["anchor"] == queries[one["qid"]]
        assert one["instruction"] == instructions[one["qid"]]["instruction"]
        assert other["instruction"].startswith("Nothing about")
        for side in ("positive", "negative"):
            assert one[side] == documents[one[f"{side}_docid"]]
        assert (other["positive"], other["negative"]) == (one["negative"], one["positive"])
        assert other["positive_docid"] == one["negative_docid"]
    counts = manifest(out)["counts"]
    assert counts["left_out"] == {
        **{"given_instruction": 28, "not_confirmed": 28, "beyond_each": 28},
    }
    assert (counts["cases"], counts["cases_without_text"]) == (30, 2)
    assert (counts["written"], counts["examples"]) == (28, 56)


@pytest.mark.parametrize("kind", ["query", "instruction"])
def test_a_writer_that_brings_nothing_is_told_of(
    kind: str, work: Path, tmp_path: Path, invoke: Invoke
) -> None:
    with ChatServer(lambda body: Said("Sorry, I cannot do that.", {"Sorry": 1.0})) as server:
        done = invoke(*words(work, server, kind, tmp_path / "train.jsonl"))
    assert done.exit_code == 5
    assert "calls brought no text: cut off" in done.stderr
    assert not (tmp_path / "train.jsonl").exists()


@pytest.mark.parametrize("kind", ["query", "instruction"])
def test_a_limit_stops_and_the_same_command_goes_on(
    work: Path, tmp_path: Path, invoke: Invoke, kind: str
) -> None:
    first, second = tmp_path / "a" / "train.jsonl", tmp_path / "b" / "train.jsonl"
    whole, writer = Writer(), Writer()
    with ChatServer(whole) as server:
        run(invoke, *words(work, server, kind, second))
    with ChatServer(writer) as server:
        command = words(work, server, kind, first, "--concurrency", 1)
        stopped = invoke(*command, "--max-calls", 40)
        assert stopped.exit_code == 9, stopped.output
        assert not first.exists()
        run(invoke, *command)
    assert writer.asked == whole.asked
    assert first.read_bytes() == second.read_bytes()


def test_the_report_and_inspect_tell_of_it(work: Path, tmp_path: Path, invoke: Invoke) -> None:
    page = tmp_path / "report.html"
    with ChatServer(Writer()) as server:
        run(invoke, *words(work, server, "query", work / "hard.jsonl"))
        run(invoke, *words(work, server, "instruction", work / "views.jsonl"))
    run(invoke, "report", work / "ledger", "-o", page)
    text = re.sub(r"<[^>]*>|\s+", " ", page.read_text("utf-8"))
    text = " ".join(text.split())
    # 16 positives, 32 chosen negatives, 30 written; 28 cases of 14 queries.
    assert "written: hard.jsonl examples, 30 of them with a written query 78" in text
    assert "written: views.jsonl examples, 28 of them with a written instruction 56" in text
    told = run(invoke, "inspect", work / "hard.jsonl").stdout
    assert "hard.jsonl: training data with written texts, query" in " ".join(told.split())
    assert "anchor: is the bridge in Paris old" in told


def test_files_take_the_place_of_calls(
    work: Path, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several groups: a round asks for all of them.
    monkeypatch.setattr(cases, "QUERIES", 5)
    out, whole = tmp_path / "batch" / "train.jsonl", tmp_path / "whole" / "train.jsonl"
    with ChatServer(Writer()) as server:
        run(invoke, *words(work, server, "query", whole))
        command = words(work, server, "query", out, "--via", "batch")
    rounds: list[int] = []
    while (done := invoke(*command)).exit_code == 9:
        rounds.append(answered(out.parent / "batch", Writer()))
        assert rounds[-1] > 0, done.output
    assert done.exit_code == 0, done.output
    assert rounds == [16, 15 * 5 * 2]
    assert out.read_bytes() == whole.read_bytes()


def test_a_chain_ends_with_what_is_written(work: Path, tmp_path: Path, invoke: Invoke) -> None:
    data, recipe = work / "data", tmp_path / "mine.toml"
    asked = ("--corpus", data, "--queries", data, "--qrels", data, "-o", tmp_path / "work")
    recipe.write_text(
        'output = "train.jsonl"\n[retrieve]\nsource = ["bm25"]\nkeep = ["instruction"]\n'
        '[write]\nkind = "query"\nwriter = {w = "llm:m@http://localhost:1"}\n'
    )
    for change, told in (
        ("export.format=flagembedding", "[export] format: [write] makes the training set"),
        ('retrieve.source=["bm25", "a=written:"]', "nothing is written"),
    ):
        done = invoke("run", recipe, *asked, "--set", change)
        assert done.exit_code == 2, done.output
        assert told in " ".join(done.stderr.split())
    instruction = ("--set", "write.kind=instruction", "--set", "retrieve.keep=[]")
    done = invoke("run", recipe, *asked, *instruction)
    assert "the queries have no instructions" in " ".join(done.stderr.split())
    with ChatServer(Writer()) as server:
        writer = ("--set", f"write.writer.w=llm:{MODEL}@{server.url}")
        told = run(invoke, "run", recipe, *asked, *writer, "--dry-run").stdout
        assert "no trial before there is a ledger" in " ".join(told.split())
        assert not (tmp_path / "work").exists()
        done = run(invoke, "run", recipe, *asked, *writer)
        assert done.stdout.strip().endswith("train.jsonl")
        told = run(invoke, "run", recipe, *asked, *writer, "--set", "write.each=1", "--dry-run")
        assert "16 calls write, of which 16 are answered" in " ".join(told.stdout.split())
    assert manifest(tmp_path / "work" / "train.jsonl")["counts"]["written"] == 30


def test_a_killed_run_goes_on(work: Path, tmp_path: Path, invoke: Invoke) -> None:
    out, whole = tmp_path / "killed" / "train.jsonl", tmp_path / "whole" / "train.jsonl"
    with ChatServer(Writer()) as server:
        run(invoke, *words(work, server, "query", whole))
    with ChatServer(Writer(), Settings(latency=0.01)) as server:
        command = words(work, server, "query", out, "--concurrency", CONCURRENCY)
        killed(command, server, 60)
        assert not out.exists()
        run(invoke, *command)
        server.journal.settle()
        # Only what was on its way into the store when the run was killed.
        assert len(asked_again(list(server.journal.entries))) <= CONCURRENCY
    assert out.read_bytes() == whole.read_bytes()


def test_what_makes_no_sense_is_refused(work: Path, tmp_path: Path, invoke: Invoke) -> None:
    out = tmp_path / "train.parquet"
    writer = ("--writer", "w=llm:m@http://localhost:1")
    plain = ["write", work / "ledger", *writer, "-o"]
    for more, told in (
        ([tmp_path / "folder", "--kind", "query"], "makes a training set, which is a file"),
        ([out, "--kind", "query", "--near-duplicate-at", 0.5], "has no effect on --kind query"),
        (
            [out, "--kind", "instruction", "--scorer", "a=b", "--verify", "a < 1"],
            "no effect on --kind instruction",
        ),
    ):
        done = invoke(*plain, *more)
        assert done.exit_code == 2, done.output
        assert told in " ".join(done.stderr.split())
    done = invoke(*("write", work / "candidates", *writer, "--kind", "instruction", "-o", out))
    assert done.exit_code == 2
    assert "it reads a ledger" in " ".join(done.stderr.split())
