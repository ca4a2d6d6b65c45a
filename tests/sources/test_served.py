"""Encoders behind HTTP, from the command line to vectors and candidates."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.chains import make_data
from tests.conftest import Invoke
from tests.scorers import judged
from tests.servers import embedding
from tests.servers.answers import judging
from tests.servers.chat import MODEL, ChatServer, Settings
from tests.servers.faults import Fault
from tests.servers.journal import asked_again
from tests.servers.judges import overlap
from tests.servers.reading import known_texts

EXACT = ("--vectors", "float32", "--no-bm25", "--no-signatures")


def serving(data: Path, *faults: Fault, port: int = 0, **settings: Any) -> ChatServer:
    answer = judging(overlap, known_texts(data))
    return ChatServer(answer, Settings(**settings), faults, port=port)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("served") / "data")


@pytest.fixture
def served(data: Path) -> Iterator[ChatServer]:
    with serving(data) as server:
        yield server


class Chain:
    """``index`` and ``retrieve`` with an encoder behind HTTP."""

    def __init__(self, data: Path, folder: Path, invoke: Invoke) -> None:
        self.data, self.folder, self.invoke = data, folder, invoke

    def index(self, server: ChatServer, *more: object, shape: str = "openai") -> Any:
        url = server.url if shape == "openai" else server.root
        spec = ("--encoder", f"v={shape}:{MODEL}@{url}", *EXACT)
        given = ("--retries", 0) if "--retries" not in more else ()
        out = ("-o", self.folder / "index")
        return self.invoke("index", "--corpus", self.data, *spec, *given, *more, *out)

    def retrieve(self, *more: object) -> Any:
        asked = (
            "--queries",
            self.data,
            "--qrels",
            self.data / "qrels.tsv",
            *(() if "-k" in more else ("-k", 5)),
        )
        given = ("--retries", 0) if "--retries" not in more else ()
        out = ("-o", self.folder / "candidates")
        return self.invoke("retrieve", self.folder / "index", *asked, *given, *more, *out)

    @property
    def vectors(self) -> np.ndarray:
        parts = sorted((self.folder / "index" / "vectors" / "v").glob("part-*.npy"))
        return np.concatenate([np.load(part) for part in parts])

    def manifest(self) -> dict[str, Any]:
        return judged.manifest_of(self.folder / "index" / "vectors" / "v")

    def texts(self) -> list[str]:
        rows = [json.loads(x) for x in (self.data / "corpus.jsonl").read_text().splitlines()]
        return [f"{row.get('title') or ''} {row['text']}".strip() for row in rows]


@pytest.fixture
def chain(data: Path, tmp_path: Path, invoke: Invoke) -> Chain:
    return Chain(data, tmp_path, invoke)


def expected(texts: Sequence[str], width: int | None = None, unit: bool = True) -> np.ndarray:
    found = np.array([embedding.words(text) for text in texts], dtype=np.float32)[:, :width]
    return found / np.linalg.norm(found, axis=1, keepdims=True) if unit else found


@pytest.mark.parametrize("shape", ["openai", "tei"])
def test_vectors_are_of_the_texts_that_they_are_told_of(
    served: ChatServer, chain: Chain, shape: str
) -> None:
    done = chain.index(served, "--batch-size", 32, shape=shape)
    assert done.exit_code == 0, done.output
    np.testing.assert_allclose(chain.vectors, expected(chain.texts()), atol=1e-6)
    manifest = chain.manifest()
    assert manifest["encoder"]["probe"]["passed"]
    assert manifest["models"]["v"]["model"] == f"{shape}:{MODEL}"
    assert served.journal.count("answered") == 2 + 3
    del manifest["run"]
    assert served.root not in str(manifest)
    found = chain.retrieve()
    assert found.exit_code == 0, found.output
    queries = judged.texts(chain.data / "queries.jsonl")
    documents = judged.texts(chain.data / "corpus.jsonl")
    spent = judged.manifest_of(chain.folder / "candidates")["run"]["spent"]
    assert (spent["v"]["answered"], spent["v"]["drift"]["largest"]) == (2 + 1, 0)
    for row in judged.rows_of(chain.folder / "candidates"):
        pair = expected([queries[row["qid"]], documents[row["docid"]]])
        assert row["score_v"] == pytest.approx(float(pair[0] @ pair[1]), abs=1e-5)


def test_prompts_length_and_truncation_are_as_those_of_models_here(
    served: ChatServer, chain: Chain
) -> None:
    more = ("--doc-prompt", "passage: ", "--truncate-dim", 200, "--no-normalize")
    assert chain.index(served, *more).exit_code == 0
    texts = [f"passage: {text}" for text in chain.texts()]
    np.testing.assert_allclose(chain.vectors, expected(texts, 200, unit=False), atol=1e-6)
    done = chain.retrieve("--query-prompt", "query: ")
    assert done.exit_code == 0, done.output
    # The index was made without a prompt of queries: the server is the same all the same.
    assert "warning" not in done.stderr
    queries = judged.texts(chain.data / "queries.jsonl")
    documents = judged.texts(chain.data / "corpus.jsonl")
    row = judged.rows_of(chain.folder / "candidates")[0]
    pair = expected(
        [f"query: {queries[row['qid']]}", f"passage: {documents[row['docid']]}"], 200, unit=False
    )
    assert row["score_v"] == pytest.approx(float(pair[0] @ pair[1]), abs=1e-4)


def test_what_was_answered_is_not_asked_again(served: ChatServer, chain: Chain, data: Path) -> None:
    stopped = chain.index(served, "--batch-size", 10, "--max-calls", 6, "--concurrency", 1)
    assert stopped.exit_code == 9, stopped.output
    done = chain.index(served, "--batch-size", 10)
    assert done.exit_code == 0, done.output
    np.testing.assert_allclose(chain.vectors, expected(chain.texts()), atol=1e-6)
    served.journal.settle()
    # The probe alone, which sees whether the server is the same.
    assert len(asked_again(served.journal.entries)) == 2
    asked = served.journal.count("asked")
    assert asked == 2 + 2 + 9
    assert chain.index(served, "--batch-size", 10).exit_code == 0
    assert chain.retrieve("--batch-size", 4, "--max-calls", 5).exit_code == 9
    assert chain.retrieve("--batch-size", 4).exit_code == 0
    before = judged.rows_of(chain.folder / "candidates")
    asked = served.journal.count("asked")
    assert chain.retrieve("--batch-size", 4, "-k", 4, "--force").exit_code == 0
    # Other candidates of the same queries.
    assert served.journal.count("asked") == asked
    assert before != judged.rows_of(chain.folder / "candidates")


@pytest.mark.parametrize(
    ("kind", "said", "shape"),
    [
        ("nan", "is no list of finite numbers", "openai"),
        ("wrong_width", "has 255 numbers, others 256", "tei"),
        ("few_items", "of 6 texts is missing", "openai"),
        ("same_index", "is there twice", "openai"),
        ("beyond_index", "index 6 is out of range", "openai"),
        ("truncated", "no JSON", "tei"),
    ],
)
def test_a_server_that_answers_something_else_is_refused(
    data: Path, chain: Chain, kind: Any, said: str, shape: str
) -> None:
    with serving(data, Fault(kind)) as server:
        done = chain.index(server, shape=shape)
    assert done.exit_code == 5, done.output
    told = " ".join(done.stderr.split())
    assert "the server of 'v' fails: " in told
    assert said in told
    assert not (chain.folder / "index" / "documents").exists()


def test_another_width_later_is_refused_by_name(data: Path, chain: Chain) -> None:
    text = chain.texts()[7]
    with serving(data, Fault("wrong_width", holding=text)) as server:
        done = chain.index(server)
    assert done.exit_code == 5, done.output
    assert "the server of 'v' fails: the vector of index" in " ".join(done.stderr.split())


def test_a_server_that_tells_nothing_apart_is_refused(data: Path, chain: Chain) -> None:
    with serving(data, Fault("wrong_order")) as server:
        done = chain.index(server)
        assert done.exit_code == 5, done.output
        assert "does not tell an answer from other texts" in " ".join(done.stderr.split())
        assert server.journal.count("asked") == 2
        assert not (chain.folder / "index" / "documents").exists()
        assert chain.index(server, "--trust-anyway").exit_code == 0
    assert not chain.manifest()["encoder"]["probe"]["passed"]


def test_a_call_that_fails_once_is_made_again(
    data: Path, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("negmine.endpoints.pace._FIRST", 0.01)
    kinds = ("busy", "error", "nan", "wrong_width", "truncated", "slow", "cut", "reset")
    faults = [Fault(kind, share=0.2, attempts=1, seconds=0.05) for kind in kinds]  # type: ignore[arg-type]
    with serving(data, *faults) as server:
        done = chain.index(server, "--retries", 6, "--batch-size", 4)
        assert done.exit_code == 0, done.output
        assert server.journal.count("failed") > 3
    np.testing.assert_allclose(chain.vectors, expected(chain.texts()), atol=1e-6)


def test_a_text_on_which_the_server_fails_is_told(data: Path, chain: Chain) -> None:
    with serving(data, Fault("too_long", holding=chain.texts()[3])) as server:
        done = chain.index(server, "--batch-size", 8)
    assert done.exit_code == 10, done.output
    assert "the server of 'v' fails on a text" in done.stderr
    assert "from now on 4 go in a call" in done.stderr


def test_a_server_that_moved_or_changed(data: Path, chain: Chain) -> None:
    with serving(data) as first:
        assert chain.index(first).exit_code == 0
    away = chain.retrieve()
    assert away.exit_code == 10, away.output
    with serving(data) as second:
        other = chain.retrieve("--encoder", f"v=openai:other@{second.url}")
        assert other.exit_code == 2
        assert f"the index was encoded by openai:{MODEL}" in " ".join(other.stderr.split())
        second.encode = lambda text: embedding.words(text)[::-1]
        done = chain.retrieve("--encoder", f"v=openai:{MODEL}@{second.url}")
        assert done.exit_code == 0, done.output
        assert "says something else of the same texts than before" in " ".join(done.stderr.split())
    with serving(data, meta={"n_params": 7}) as third:
        moved = chain.retrieve("-k", 3, "--force", "--encoder", f"v=openai:{MODEL}@{third.url}")
    assert moved.exit_code == 5, moved.output
    assert "another model than the one that encoded the corpus" in " ".join(moved.stderr.split())


def test_a_path_that_is_not_there_is_no_missing_key(served: ChatServer, chain: Chain) -> None:
    encoder = ("--encoder", f"v=openai:{MODEL}@{served.root}/v9")
    done = chain.invoke("index", "--corpus", chain.data, *encoder, "-o", chain.folder / "index")
    assert done.exit_code == 10, done.output
    told = " ".join(done.stderr.split())
    assert "the server of 'v' refuses: 404: no POST /v9/embeddings here" in told
    assert "It has no such path, or no such model" in told
    assert "key" not in told


def test_a_budget_is_of_all_encoders_together(served: ChatServer, chain: Chain) -> None:
    assert chain.index(served, "--encoder", f"w=tei:{MODEL}@{served.root}").exit_code == 0
    before = served.journal.count("asked")
    # The probe and 24 queries are within it for the first encoder alone.
    stopped = chain.retrieve("--batch-size", 1, "--max-calls", 30)
    assert stopped.exit_code == 9, stopped.output
    assert "stopped at --max-calls 30" in stopped.stderr
    assert served.journal.count("asked") == before + 30


def test_neighbours_of_queries_ask_and_say_so(served: ChatServer, chain: Chain) -> None:
    assert chain.index(served).exit_code == 0
    planned = chain.retrieve("--source", "near=neighbours:v/query", "--dry-run", "--json")
    assert planned.exit_code == 0, planned.output
    assert json.loads(planned.stdout)["stages"][0]["calls"] == 3
    done = chain.retrieve("--source", "near=neighbours:v/query")
    assert done.exit_code == 0, done.output
    assert judged.manifest_of(chain.folder / "candidates")["run"]["spent"]["near"]["answered"] == 3


def test_only_an_encoder_behind_http_can_be_elsewhere(
    served: ChatServer, chain: Chain, tiny_bi: Any
) -> None:
    assert chain.index(served, "--encoder", f"here={tiny_bi}").exit_code == 0
    for name, said in (
        ("z", "--encoder: the index has no vectors 'z'"),
        ("here", "'here' was encoded on this machine"),
    ):
        done = chain.retrieve("--encoder", f"{name}=openai:{MODEL}@{served.url}")
        assert done.exit_code == 2, done.output
        assert said in " ".join(done.stderr.split())


def test_a_dry_run_counts_calls_and_asks_for_no_vector(served: ChatServer, chain: Chain) -> None:
    planned = chain.index(served, "--dry-run", "--json", "--batch-size", 20)
    assert planned.exit_code == 0, planned.output
    assert served.journal.count("asked") == 0
    [told] = json.loads(planned.stdout)["stages"]
    assert chain.index(served, "--batch-size", 20).exit_code == 0
    asked = served.journal.count("asked")
    assert told["calls"] == asked
    planned = chain.retrieve("--dry-run", "--json", "--batch-size", 5)
    assert planned.exit_code == 0, planned.output
    assert served.journal.count("asked") == asked
    [told] = json.loads(planned.stdout)["stages"]
    assert chain.retrieve("--batch-size", 5).exit_code == 0
    assert told["calls"] == served.journal.count("asked") - asked


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--pooling", "cls"), "--pooling: 'v' is an encoder behind HTTP"),
        (("--max-length", 128), "--max-length: 'v' is an encoder behind HTTP"),
        (("--encoder-kind", "v=sparse"), "--encoder-kind sparse: 'v' is an encoder behind HTTP"),
    ],
)
def test_what_a_server_cannot_honour_is_refused(
    served: ChatServer, chain: Chain, options: tuple[Any, ...], said: str
) -> None:
    done = chain.index(served, *options)
    assert done.exit_code == 2, done.output
    assert said in " ".join(done.stderr.split())
    assert served.journal.count("asked") == 0


def test_its_key_is_nowhere(
    data: Path, chain: Chain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NEGMINE_API_KEY_V", "secret-of-tests")
    with serving(data, api_key="secret-of-tests") as server:
        done, found = chain.index(server, shape="tei"), chain.retrieve()
    assert (done.exit_code, found.exit_code) == (0, 0), done.output + found.output
    assert "secret-of-tests" not in done.output + found.output
    held = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"secret-of-tests" not in held


def test_an_encoder_is_no_scorer(chain: Chain, served: ChatServer, invoke: Invoke) -> None:
    assert chain.index(served).exit_code == 0
    assert chain.retrieve().exit_code == 0
    scorer = ("--scorer", f"g=openai:{MODEL}@{served.url}", "-o", chain.folder / "scored")
    done = invoke("rerank", chain.folder / "candidates", *scorer)
    assert done.exit_code == 2
    assert "is an encoder behind HTTP, which scores no pairs by itself" in done.stderr
