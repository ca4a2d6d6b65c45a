"""A judge that verifies what is written: one budget, an examination, no verdict is no leave."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from negmine.scorers.judging import prompts
from negmine.stages.write import cases
from tests.conftest import Invoke
from tests.servers.answers import Answerer, Said, packed, prompt_of
from tests.servers.chat import MODEL, ChatServer
from tests.stages.write.test_by_model import Writer, words
from tests.stages.write.test_write import THINGS, TOWNS, collection, run, written


class Both:
    """Writes, answers its two questions, and judges: town and thing of the query must be there."""

    def __init__(
        self, *, knows: bool = True, silent_on: str = "", words: tuple[str, str] = ("Yes", "No")
    ) -> None:
        self.writer = Writer()
        self.yes, self.no = words
        self.knows, self.silent_on = knows, silent_on
        self.judged = 0

    def __call__(self, body: Mapping[str, Any]) -> Said:
        if not body.get("logprobs"):
            return self.writer(body)
        self.judged += 1
        prompt = prompt_of(body)
        if self.silent_on and self.silent_on in prompt:
            return Said("I would rather not.", {"I": 1.0})
        relevant = self.knows and "was built in" in prompt and same(prompt)
        yes = 0.9 if relevant else 0.1
        said = self.yes if relevant else self.no
        return Said(said, {self.yes: yes, self.no: 1 - yes})


def same(prompt: str) -> bool:
    return any(prompt.count(f"the {thing} in {town}") > 1 for town in TOWNS for thing in THINGS)


@pytest.fixture
def index(tmp_path: Path, invoke: Invoke) -> Path:
    collection(tmp_path / "data")
    run(invoke, "index", "--corpus", tmp_path / "data", "-o", tmp_path / "index")
    return tmp_path / "index"


def judged(index: Path, server: ChatServer, out: str, *more: object) -> list[object]:
    judge = ("--scorer", f"judge=llm:{MODEL}@{server.url}", "--verify", "judge < 0.5")
    return words(index, server, out, *judge, *more)


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "_manifest.json").read_text())
    return found


def test_a_judge_is_examined_and_told(index: Path, invoke: Invoke) -> None:
    with ChatServer(Both()) as server:
        dry = run(invoke, *judged(index, server, "written", "--dry-run"))
        assert "examine the judge 'judge'" in " ".join(dry.stdout.split())
        assert not server.journal.count("asked")
        done = run(invoke, *judged(index, server, "written"))
    assert "the judge 'judge' on 16 known positives and 16 documents at random" in done.stderr
    told = manifest(index.parent / "written")
    examined = told["scorers"]["judge"]["examination"]
    assert (examined["positives"], examined["random"]) == (16, 16)
    assert examined["auc"][0] == 1
    assert examined["better_than_chance"]
    # What is spent is counted once for all that the command asked.
    calls = {name: one["calls"] for name, one in told["run"]["spent"].items()}
    assert calls["w"] == calls["judge"] == server.journal.count("answered")
    assert len(written(index.parent / "written")[1]) == 30


@pytest.mark.parametrize("kind", ["negative", "minimal-pair"])
def test_a_judge_at_chance_is_refused(index: Path, invoke: Invoke, kind: str) -> None:
    both = Both(knows=False)
    with ChatServer(both) as server:
        command = judged(index, server, "written")
        if kind == "minimal-pair":
            at = command.index("--writer")
            del command[at : at + 2]
            command[command.index("negative")] = kind
        done = invoke(*command)
        assert done.exit_code == 5, done.output
        assert "no better than chance" in done.stderr
        # Before anything is written.
        assert not both.writer.asked
        assert not (index.parent / "written").exists()
        unexamined = invoke(*command, "--examine", 0)
        assert unexamined.exit_code == 2
        assert "only after an examination" in unexamined.stderr
        run(invoke, *command, "--trust-anyway")
        # What an earlier command believed, this one does not.
        assert invoke(*command).exit_code == 5


def test_a_judge_is_asked_by_the_prompt_that_is_chosen(index: Path, invoke: Invoke) -> None:
    with ChatServer(Both(words=("Ja", "Nein"))) as server:
        command = judged(index, server, "written", "--prompt-file", "judge=de")
        run(invoke, *command)
        # The writer's own prompt is not the judge's.
        refused = invoke(*judged(index, server, "other", "--prompt-file", "de"))
        assert refused.exit_code != 0
        unknown = invoke(*judged(index, server, "other", "--prompt-file", "jugde=de"))
        assert unknown.exit_code == 2
        assert "no scorer 'jugde'" in unknown.stderr
        # Another prompt is another result, and no other is.
        other = invoke(*judged(index, server, "written"))
        assert other.exit_code == 6
        assert "up to date" in run(invoke, *command).stderr
        graded = invoke(*judged(index, server, "w", "--per-call", 2, "--judge-by", "logprobs"))
        assert graded.exit_code == 2
        assert "--per-call asks for grades" in graded.stderr
    described = manifest(index.parent / "written")["scorers"]["judge"]
    assert described["prompt"] == prompts.load("de").digest != prompts.load("en").digest
    assert described["examination"]["better_than_chance"]


def test_without_a_writer_a_prompt_is_the_judges(index: Path, invoke: Invoke) -> None:
    with ChatServer(Both(words=("Ja", "Nein"))) as server:
        command = judged(index, server, "written", "--prompt-file", "de")
        at = command.index("--writer")
        del command[at : at + 2]
        command[command.index("negative")] = "minimal-pair"
        # What this judge goes by no edit touches.
        command[command.index("judge < 0.5")] = "judge <= 1"
        run(invoke, *command)
    found = manifest(index.parent / "written")["scorers"]["judge"]["prompt"]
    assert found == prompts.load("de").digest


def test_one_budget_for_writer_and_judge(index: Path, invoke: Invoke) -> None:
    with ChatServer(Both()) as server:
        command = judged(index, server, "written", "--concurrency", 1)
        spent, codes = [], []
        for limit in (20, 70, 110):
            before = server.journal.count("answered")
            codes.append(invoke(*command, "--max-calls", limit).exit_code)
            spent.append(server.journal.count("answered") - before)
        assert (codes, spent) == ([9, 9, 9], [20, 70, 110])
        run(invoke, *command)
        stopped = server.journal.count("answered")
    with ChatServer(Both()) as server:
        run(invoke, *judged(index, server, "elsewhere/again"))
        assert stopped == server.journal.count("answered")
    names = ("written", "elsewhere/again")
    first, second = (written(index.parent / name) for name in names)
    assert first == second


def test_what_gets_no_verdict_does_not_pass(index: Path, invoke: Invoke) -> None:
    with ChatServer(Both(silent_on="Guides of")) as server:
        run(invoke, *judged(index, server, "written"))
    told = manifest(index.parent / "written")["counts"]
    assert told["left_out"]["unjudged"] == 15
    texts, pairs = written(index.parent / "written")
    assert len(pairs) == 15
    assert all(row["text"].startswith("Visitors of") for row in texts.values())


def test_files_take_the_place_of_calls(
    index: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several groups: a round asks for all of them.
    monkeypatch.setattr(cases, "QUERIES", 5)
    with ChatServer(Both()) as server:
        run(invoke, *judged(index, server, "elsewhere/whole"))

    def refused(*_: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refused)
    command = judged(index, server, "written", "--via", "batch")
    rounds: list[int] = []
    while (done := invoke(*command)).exit_code == 9:
        assert "vllm run-batch" in done.stderr
        rounds.append(answered(index.parent / "batch", Both()))
        assert rounds[-1] > 0, done.output
    assert done.exit_code == 0, done.output
    # The examination, the texts, two questions about each new one, the judge.
    assert rounds[:3] == [64, 16, 120]
    assert len(rounds) == 4
    first, second = (index.parent / name for name in ("written", "elsewhere/whole"))
    for name in sorted(path.name for path in first.glob("part-*")):
        # Who answers is not asked over files: another fingerprint, and the same rows.
        for part in (name, f"_pairs/{name}"):
            assert pq.read_table(first / part).equals(pq.read_table(second / part))


def answered(batch: Path, answer: Answerer) -> int:
    """Answer the files that wait, as a hosted batch would; how many requests there were."""
    count = 0
    for file in sorted(batch.glob("*/requests-*.jsonl")):
        output = file.with_name(f"output-of-{file.name}")
        if output.exists():
            continue
        lines = []
        for number, line in enumerate(file.read_text().splitlines()):
            row = json.loads(line)
            said = packed(answer(row["body"]), row["body"], MODEL, number, None)
            response = {"status_code": 200, "body": said}
            told = {"custom_id": row["custom_id"], "response": response, "error": None}
            lines.append(json.dumps(told) + "\n")
        output.write_text("".join(reversed(lines)))
        count += len(lines)
    return count
