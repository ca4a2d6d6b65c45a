"""Rerankers behind HTTP, from the command line to the table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from negmine.endpoints import probing
from negmine.endpoints.probing import ASKED
from tests.conftest import Invoke
from tests.scorers import judged
from tests.servers.answers import judging
from tests.servers.chat import MODEL, ChatServer, Settings
from tests.servers.faults import Fault
from tests.servers.journal import asked_again
from tests.servers.judges import overlap, probability
from tests.servers.reading import known_texts

PROBES = len(ASKED)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.chains import call

    class Done:
        def __init__(self, code: int, output: str) -> None:
            self.exit_code, self.output = code, output

    made = tmp_path_factory.mktemp("served")
    judged.make_candidates(made, lambda *arguments: Done(*call(*arguments)))
    return made


def serving(folder: Path, *faults: Fault, **settings: Any) -> ChatServer:
    answer = judging(overlap, known_texts(folder / "data"))
    return ChatServer(answer, Settings(**settings), faults)


@pytest.fixture
def served(folder: Path) -> Iterator[ChatServer]:
    with serving(folder) as server:
        yield server


def scorer(server: ChatServer, shape: str = "cohere") -> str:
    where = {"cohere": server.url, "jina": f"{server.root}/v2"}.get(shape, server.root)
    return f"ce={'cohere' if shape == 'jina' else shape}:{MODEL}@{where}"


class Run:
    """``rerank`` of the candidates by a server."""

    def __init__(self, folder: Path, out: Path, invoke: Invoke) -> None:
        self.folder, self.out, self._invoke = folder, out, invoke

    def __call__(self, server: ChatServer, *more: object, shape: str = "cohere") -> Any:
        given = ("--retries", 0) if "--retries" not in more else ()
        asked = ("--scorer", scorer(server, shape), *given, *more)
        return self._invoke("rerank", self.folder / "candidates", *asked, "-o", self.out)

    def rows(self) -> list[dict[str, Any]]:
        return judged.rows_of(self.out)

    def manifest(self) -> dict[str, Any]:
        return judged.manifest_of(self.out)

    def expected(self, query_prompt: str = "") -> Iterator[float]:
        """What the server says of each row."""
        queries = judged.texts(self.folder / "data" / "queries.jsonl")
        documents = judged.texts(self.folder / "data" / "corpus.jsonl")
        for row in self.rows():
            text = query_prompt + queries[row["qid"]]
            yield probability(overlap(text, documents[row["docid"]]))


@pytest.fixture
def run(folder: Path, tmp_path: Path, invoke: Invoke) -> Run:
    return Run(folder, tmp_path / "scored", invoke)


def calls_of(rows: Sequence[dict[str, Any]], per_call: int) -> int:
    """Calls for the rows, so many documents of a query in each."""
    queries = [row["qid"] for row in rows]
    return sum(-(-queries.count(qid) // per_call) for qid in set(queries))


@pytest.mark.parametrize("shape", ["cohere", "jina", "vllm", "tei"])
def test_scores_are_of_the_documents_that_they_are_told_of(
    served: ChatServer, run: Run, shape: str
) -> None:
    done = run(served, "--batch-size", 4, shape=shape)
    assert done.exit_code == 0, done.output
    rows = run.rows()
    # The server answers the best first: each score is of its own document all the same.
    assert [row["score_ce"] for row in rows] == pytest.approx(list(run.expected()), abs=1e-6)
    assert len({row["score_ce"] for row in rows}) > 1
    manifest = run.manifest()
    described = manifest["scorers"]["ce"]
    assert described["kind"] == ("cohere" if shape == "jina" else shape)
    # Below /v2 nobody tells which models there are.
    assert described["identity"].startswith(MODEL)
    assert (described["identity"] == MODEL) == (shape == "jina")
    assert described["probe"]["passed"]
    asked = PROBES + calls_of(rows, 4)
    assert served.journal.count("answered") == asked
    spent = manifest["run"]["spent"]["ce"]
    assert spent["answered"] == asked
    # Where the server is stands in the facts of the run alone.
    del manifest["run"]
    assert served.root not in str(manifest)


def test_prompts_stand_before_the_texts(served: ChatServer, run: Run) -> None:
    assert run(served, "--query-prompt", "this document ").exit_code == 0
    scores = [row["score_ce"] for row in run.rows()]
    assert scores == pytest.approx(list(run.expected("this document ")), abs=1e-6)


def test_what_was_answered_is_not_asked_again(served: ChatServer, run: Run) -> None:
    stopped = run(served, "--max-calls", 10)
    assert stopped.exit_code == 9, stopped.output
    assert not (run.out / "_manifest.json").exists()
    done = run(served)
    assert done.exit_code == 0, done.output
    before = run.rows()
    again = asked_again(served.journal.entries)
    # One of the probe's calls, to see whether the server is the same still.
    assert len(again) == 1
    drift = run.manifest()["run"]["spent"]["ce"]["drift"]
    assert drift == {"asked_again": 1, "largest": 0}
    asked = served.journal.count("asked")
    for more in ((), ("--force",), ("--rebuild",)):
        assert run(served, *more).exit_code == 0
    assert served.journal.count("asked") == asked
    assert run.rows() == before


def test_a_server_that_changes_is_told(served: ChatServer, run: Run) -> None:
    assert run(served, "--max-calls", 10).exit_code == 9
    same = served.rank
    served.rank = lambda query, documents: [0.7 * one for one in same(query, documents)]
    done = run(served)
    assert done.exit_code == 0, done.output
    assert "says something else of the same texts than before" in done.stderr.replace("\n", " ")
    assert run.manifest()["run"]["spent"]["ce"]["drift"]["largest"] > 0.2


def test_the_same_is_asked_again_after_so_many_answers(
    served: ChatServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "EVERY", 10)
    done = run(served, "--batch-size", 2)
    assert done.exit_code == 0, done.output
    calls = calls_of(run.rows(), 2)
    assert calls > 40
    drift = run.manifest()["run"]["spent"]["ce"]["drift"]
    assert drift == {"asked_again": calls // 10, "largest": 0}
    assert served.journal.count("answered") == PROBES + calls + calls // 10


def test_a_budget_that_is_enough_is_not_spent_on_asking_again(
    served: ChatServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = run(served, "--dry-run", "--json")
    [told] = json.loads(planned.stdout)["stages"]
    monkeypatch.setattr(probing, "EVERY", told["calls"] - PROBES)
    done = run(served, "--max-calls", told["calls"])
    assert done.exit_code == 0, done.output
    assert run.manifest()["run"]["spent"]["ce"]["drift"]["asked_again"] == 0


@pytest.mark.parametrize(
    ("kind", "said", "shape"),
    [
        ("nan", "the 'relevance_score' of index", "cohere"),
        ("few_items", "of 6 documents is missing", "vllm"),
        ("same_index", "is there twice", "tei"),
        ("wrong_schema", "no answer that is a list", "tei"),
        ("truncated", "no JSON", "vllm"),
    ],
)
def test_a_server_that_answers_something_else_is_refused(
    folder: Path, run: Run, kind: Any, said: str, shape: str
) -> None:
    with serving(folder, Fault(kind)) as server:
        done = run(server, shape=shape)
    assert done.exit_code == 10, done.output
    told = " ".join(done.stderr.split())
    assert "the server of 'ce' answers with something else than is asked for" in told
    assert said in told
    assert not run.out.exists()


def test_one_that_goes_wrong_later_is_stopped_by_name(folder: Path, run: Run) -> None:
    text = judged.texts(folder / "data" / "corpus.jsonl")["d3"]
    with serving(folder, Fault("same_index", holding=text)) as server:
        done = run(server)
    assert done.exit_code == 5, done.output
    told = " ".join(done.stderr.split())
    assert "the server of 'ce' fails: index" in told
    assert "is there twice" in told


def test_a_server_that_tells_nothing_apart_is_refused(
    folder: Path, run: Run, served: ChatServer
) -> None:
    served.rank = lambda query, documents: [1.0 * len(text) for text in documents]
    done = run(served)
    assert done.exit_code == 5
    assert "does not tell an answer from other texts" in " ".join(done.stderr.split())
    assert served.journal.count("asked") == PROBES
    trusted = run(served, "--trust-anyway")
    assert trusted.exit_code == 0, trusted.output
    assert not run.manifest()["scorers"]["ce"]["probe"]["passed"]
    # What somebody else trusted is not trusted without a word.
    assert run(served).exit_code == 5
    assert run(served, "--trust-anyway").exit_code == 0


def test_a_server_that_numbers_as_it_sorts_is_refused(folder: Path, run: Run) -> None:
    with serving(folder, Fault("wrong_order")) as server:
        done = run(server)
    assert done.exit_code == 5, done.output
    assert "does not tell an answer from other texts" in " ".join(done.stderr.split())


def test_a_call_that_fails_once_is_made_again(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("negmine.endpoints.pace._FIRST", 0.01)
    kinds = ("busy", "error", "nan", "same_index", "truncated", "slow", "cut", "reset")
    faults = [Fault(kind, share=0.2, attempts=1, seconds=0.05) for kind in kinds]  # type: ignore[arg-type]
    with serving(folder, *faults) as server:
        done = run(server, "--retries", 6, "--batch-size", 2)
        assert done.exit_code == 0, done.output
        assert server.journal.count("failed") > 5
    assert [row["score_ce"] for row in run.rows()] == pytest.approx(list(run.expected()), abs=1e-6)


def test_a_document_that_is_too_long_has_no_score_and_is_told(folder: Path, run: Run) -> None:
    documents = judged.texts(folder / "data" / "corpus.jsonl")
    with serving(folder, Fault("too_long", holding=documents["d3"])) as server:
        done = run(server)
        assert done.exit_code == 0, done.output
    rows = run.rows()
    failed = [row for row in rows if row["docid"] == "d3"]
    assert failed
    assert all(row["score_ce"] is None for row in failed)
    wanted = [score for score, row in zip(run.expected(), rows, strict=True) if row not in failed]
    found = [row["score_ce"] for row in rows if row not in failed]
    assert found == pytest.approx(wanted, abs=1e-6)
    assert f"ce: {len(failed)} pairs have no score" in done.stderr
    assert "they are asked about in halves" in done.stderr
    assert run.manifest()["counts"]["without_score"] == {"ce": len(failed)}


def test_a_dry_run_counts_calls_and_asks_nobody(served: ChatServer, run: Run) -> None:
    planned = run(served, "--dry-run", "--json", "--batch-size", 3)
    assert planned.exit_code == 0, planned.output
    assert served.journal.count("asked") == 0
    [told] = json.loads(planned.stdout)["stages"]
    assert run(served, "--batch-size", 3).exit_code == 0
    assert told["calls"] == served.journal.count("asked")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--via", "batch"), "--via batch is for language models"),
        (("--max-length", 128), "--max-length: 'ce' is a reranker behind HTTP"),
        (("--dtype", "ce=float32"), "--dtype: 'ce' is a reranker behind HTTP"),
        (("--activation", "none"), "--activation is for a cross-encoder"),
        (("--prompt-file", "de"), "--prompt-file is for a judge"),
    ],
)
def test_what_a_server_cannot_honour_is_refused(
    served: ChatServer, run: Run, options: tuple[Any, ...], said: str
) -> None:
    done = run(served, *options)
    assert done.exit_code == 2, done.output
    assert said in " ".join(done.stderr.split())
    assert served.journal.count("asked") == 0


def test_a_server_must_be_named_and_have_the_model(
    served: ChatServer, run: Run, folder: Path, invoke: Invoke
) -> None:
    asked = ("rerank", folder / "candidates", "-o", run.out, "--retries", 0)
    nowhere = invoke(*asked, "--scorer", "ce=tei:some-model")
    assert nowhere.exit_code == 2
    assert "'some-model' names no server" in nowhere.stderr
    for shape, url in (("tei", served.root), ("vllm", served.root), ("cohere", served.url)):
        other = invoke(*asked, "--scorer", f"ce={shape}:some-model@{url}")
        assert other.exit_code == 2, other.output
        assert "the server has no model 'some-model'" in other.stderr


def test_its_key_is_nowhere(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NEGMINE_API_KEY_CE", "secret-of-tests")
    with serving(folder, api_key="secret-of-tests") as server:
        done = run(server, shape="tei")
    assert done.exit_code == 0, done.output
    assert "secret-of-tests" not in done.output
    held = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"secret-of-tests" not in held
