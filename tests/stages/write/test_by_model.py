"""``negmine write --kind negative``: a model writes, two questions check, answers are kept."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from negmine.endpoints.request import Answer, Usage, writable
from negmine.stages.write.by_model import texts_of
from tests.conftest import Invoke
from tests.servers.answers import Said, prompt_of, schema_of
from tests.servers.chat import MODEL, ChatServer
from tests.stages.write.test_write import THINGS, TOWNS, collection, run, written


class Writer:
    """Writes five texts for a query: a good one, its copy, a corpus text, two that answer."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def __call__(self, body: Mapping[str, Any]) -> Said:
        prompt = prompt_of(body)
        if schema_of(body) is not None:
            self.asked["write"] += 1
            found = re.search(r"the (\w+) in (\w+) old", prompt)
            assert found is not None
            thing, town = found.groups()
            if (thing, town) == ("bridge", "Paris"):
                return Said("no JSON at all", {"no": 1.0})
            number = 1500 + 7 * [f"{t} {h}" for t in TOWNS for h in THINGS].index(f"{town} {thing}")
            good = f"Visitors of {town} like to paint the {thing} at dusk."
            texts = [
                good,
                f"  {good.upper()} ",
                f"The {thing} People know that the {thing} in {town} is old. "
                f"It was built in {number}.",
                f"AGREED: a {thing} of {town} that is very old indeed.",
                f"HALF: nobody says how old this {thing} of {town} is.",
                f"Guides of {town} show every {thing} but one to their guests.",
            ]
            return Said(json.dumps({"texts": texts}), {"{": 1.0})
        self.asked["check"] += 1
        half = "HALF" in prompt and "Could they answer" in prompt
        return Said("Yes" if "AGREED" in prompt or half else "No.", {"No": 1.0})


@pytest.fixture
def index(tmp_path: Path, invoke: Invoke) -> Path:
    collection(tmp_path / "data")
    run(invoke, "index", "--corpus", tmp_path / "data", "-o", tmp_path / "index")
    return tmp_path / "index"


def words(index: Path, server: ChatServer, out: str, *more: object) -> list[object]:
    data = index.parent / "data"
    return [
        *("write", index, "--queries", data, "--qrels", data / "qrels.tsv"),
        *("--kind", "negative", "--writer", f"w=llm:{MODEL}@{server.url}"),
        *("-o", index.parent / out, *more),
    ]


def dry_run(invoke: Invoke, *command: object) -> dict[str, Any]:
    """What ``--dry-run --json`` says of the stage."""
    (told,) = json.loads(run(invoke, *command, "--dry-run", "--json").stdout)["stages"]
    found: dict[str, Any] = told
    return found


def counts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "_manifest.json").read_text())["counts"]
    return found


def test_what_two_questions_deny_stays(index: Path, invoke: Invoke) -> None:
    writer = Writer()
    with ChatServer(writer) as server:
        dry = run(invoke, *words(index, server, "written", "--dry-run"))
        assert "16 calls write, of which 0 are answered already" in dry.stdout
        assert not writer.asked
        told = dry_run(invoke, *words(index, server, "written", "--price", "1,2"))
        assert (told["calls"], told["calls_stored"]) == (16, 0)
        assert told["price"] > 0
        assert told["tokens"] > 16
        done = run(invoke, *words(index, server, "written"))
        assert "1 calls brought no text" in done.stderr
        # New texts only are asked about, twice each.
        assert writer.asked == {"write": 16, "check": 15 * 4 * 2}
        told = counts(index.parent / "written")
        assert told["left_out"] == {"in_corpus": 15, "repeated": 15, "not_confirmed": 30}
        assert told["queries_without_text"] == 1
        texts, pairs = written(index.parent / "written")
        assert len(pairs) == 30
        for pair in pairs:
            assert re.match("Visitors of|Guides of", texts[pair["docid"]]["text"])
            assert (pair["type"], pair["writer"], pair["of"]) == ("negative", "w", None)
        # Another number of texts asks nothing again.
        before = dict(writer.asked)
        run(invoke, *words(index, server, "one", "--each", 1))
        assert counts(index.parent / "one")["pairs"] == 15
        # But for the answer that was none: it is an answer, and is kept, too.
        assert writer.asked == before
        dry = run(invoke, *words(index, server, "other", "--dry-run"))
        assert "16 calls write, of which 16 are answered already" in dry.stdout
        told = dry_run(invoke, *words(index, server, "other", "--price", "1,2"))
        assert (told["calls"], told["calls_stored"], told["price"]) == (16, 16, 0)


def test_a_writer_that_brings_nothing_is_told_of(index: Path, invoke: Invoke) -> None:
    with ChatServer(lambda body: Said("Sorry, I cannot do that.", {"Sorry": 1.0})) as server:
        done = invoke(*words(index, server, "written"))
    assert done.exit_code == 5
    assert "no text could be made; 16 calls brought no text: cut off" in done.stderr
    assert not (index.parent / "written" / "_manifest.json").exists()


class CutOff:
    """Writes what it is given as JSON, up to the limit of its tokens; denies all questions."""

    def __init__(self, texts: Callable[[str], list[str]], share: float) -> None:
        self.texts, self.share = texts, share
        self.checked = 0

    def __call__(self, body: Mapping[str, Any]) -> Said:
        if schema_of(body) is None:
            self.checked += 1
            return Said("No.", {"No": 1.0})
        said = json.dumps({"texts": self.texts(prompt_of(body))})
        cut = said[: int(len(said) * self.share)]
        return Said(cut, {"{": 1.0}, finish="length" if cut != said else "stop")


def test_what_is_whole_before_the_cut_is_taken(index: Path, invoke: Invoke) -> None:
    def texts(prompt: str) -> list[str]:
        found = re.search(r"the (\w+) in (\w+) old", prompt)
        assert found is not None
        return [f'Guide {n} of {found[2]} calls the {found[1]} "old".' for n in range(4)]

    with ChatServer(CutOff(texts, 0.7)) as server:
        done = run(invoke, *words(index, server, "written", "--each", 4))
    assert "16 calls were cut off (--answer-tokens)" in done.stderr
    told = counts(index.parent / "written")
    assert (told["calls_cut_off"], told["calls_without_text"]) == (16, 0)
    found, pairs = written(index.parent / "written")
    assert len(pairs) == 2 * 16
    assert all(re.fullmatch(r'Guide [01] .*"old".', one["text"]) for one in found.values())


def test_no_more_texts_are_checked_than_were_asked_for(index: Path, invoke: Invoke) -> None:
    def texts(prompt: str) -> list[str]:
        found = re.search(r"the (\w+) in (\w+) old", prompt)
        assert found is not None
        unlike = ("green", "a long walk", "much rain", "old wine", "no bread", "dark boats")
        return ["...", "..."] + [f"{found[2]} has {one} by its {found[1]}" for one in unlike]

    writer = CutOff(texts, 1.0)
    with ChatServer(writer) as server:
        told = dry_run(invoke, *words(index, server, "written", "--variants", 3))
        most = "at most 96 check what was written"
        assert any(most in guess for guess in told["guesses"])
        run(invoke, *words(index, server, "written", "--variants", 3, "--each", 3))
    assert writer.checked == 96
    lost = counts(index.parent / "written")["left_out"]
    # Of six that say something three were asked for.
    assert lost == {"empty": 2 * 16, "beyond_variants": 3 * 16}


@given(st.lists(st.text(max_size=8)), st.integers(0, 200), st.booleans())
def test_an_answer_that_ends_anywhere(texts: list[str], at: int, plain: bool) -> None:
    said = json.dumps({"texts": texts}, ensure_ascii=plain)
    message = {"choices": [{"message": {"content": said[:at]}, "finish_reason": "length"}]}
    found = texts_of(Answer(message, Usage(), "m"))
    whole = [" ".join(writable(text).split()) for text in texts]
    ends = [
        len(json.dumps({"texts": texts[:n]}, ensure_ascii=plain)) - 2 for n in range(len(texts) + 1)
    ]
    reached = max((n for n, end in enumerate(ends) if end <= at), default=0)
    assert found == [text for text in whole[:reached] if text]


def test_a_budget_stops_and_the_same_command_goes_on(index: Path, invoke: Invoke) -> None:
    writer = Writer()
    with ChatServer(writer) as server:
        command = words(index, server, "written", "--concurrency", 1)
        stopped = invoke(*command, "--max-calls", 20)
        assert stopped.exit_code == 9, stopped.output
        assert sum(writer.asked.values()) == 20
        run(invoke, *command)
        assert writer.asked == {"write": 16, "check": 15 * 4 * 2}
    with ChatServer(writer) as server:
        run(invoke, *words(index, server, "again"))
    assert writer.asked == {"write": 16, "check": 15 * 4 * 2}
    first, second = (written(index.parent / name) for name in ("written", "again"))
    assert first == second


def test_a_prompt_of_ones_own_counts(index: Path, invoke: Invoke, tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.toml"
    prompt.write_text(
        'ask = "{count} texts like: {query}"\nyes = ["yes"]\nno = ["no"]\n'
        'checks = ["{query} {passage}"]\n'
    )
    with ChatServer(Writer()) as server:
        done = invoke(*words(index, server, "written", "--prompt-file", prompt))
        assert done.exit_code == 2
        assert "fewer than two questions" in done.stderr
        run(invoke, *words(index, server, "written", "--prompt-file", prompt, "--no-check"))
        assert counts(index.parent / "written")["pairs"] == 30


def test_a_writer_is_needed_and_is_one(index: Path, invoke: Invoke) -> None:
    data = index.parent / "data"
    plain = ["write", index, "--queries", data, "--qrels", data, "--kind", "negative", "-o", "w"]
    for more, told in (
        ([], "needs one --writer"),
        (["--writer", "w=model"], "no model that writes"),
    ):
        done = invoke(*plain, *more)
        assert done.exit_code == 2
        assert told in done.stderr
