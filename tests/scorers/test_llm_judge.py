"""A judge behind HTTP, from the command line to the table: a real server, of known quality."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from negmine.endpoints.store import Store
from tests.chains import small_parts
from tests.conftest import ROOT, Invoke
from tests.scorers import judged
from tests.servers.answers import Words
from tests.servers.chat import MODEL, ChatServer, Settings
from tests.servers.faults import Fault
from tests.servers.judges import Bend, of_truth, probability


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.chains import call

    class Done:
        def __init__(self, code: int, output: str) -> None:
            self.exit_code, self.output = code, output

    made = tmp_path_factory.mktemp("judged")
    judged.make_candidates(made, lambda *arguments: Done(*call(*arguments)))
    return made


@pytest.fixture
def served(folder: Path) -> Iterator[ChatServer]:
    with judged.server(folder / "data") as server:
        yield server


class Run:
    """``rerank`` of the candidates by a judge."""

    def __init__(self, folder: Path, out: Path, invoke: Invoke) -> None:
        self.candidates, self.out, self._invoke = folder / "candidates", out, invoke

    def __call__(self, server: ChatServer, *more: object) -> Any:
        scorer = ("--scorer", judged.judge_of(server))
        retries = ("--retries", 0) if "--retries" not in more else ()
        command = ("rerank", self.candidates, *scorer, *retries, *more, "-o", self.out)
        return self._invoke(*command)


@pytest.fixture
def run(folder: Path, tmp_path: Path, invoke: Invoke) -> Run:
    return Run(folder, tmp_path / "scored", invoke)


def examination(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = judged.manifest_of(out)["scorers"]["judge"]["examination"]
    return found


def test_its_score_is_the_share_of_yes(folder: Path, served: ChatServer, run: Run) -> None:
    done = run(served)
    assert done.exit_code == 0, done.output
    judge = of_truth(judged.relevant(folder / "data"), 6.0)
    queries = judged.texts(folder / "data" / "queries.jsonl")
    documents = judged.texts(folder / "data" / "corpus.jsonl")
    rows = judged.rows_of(run.out)
    for row in rows:
        said = probability(judge(queries[row["qid"]], documents[row["docid"]]))
        assert row["score_judge"] == pytest.approx(said, abs=1e-5)
        assert row["mass_judge"] == pytest.approx(Words().mass, abs=1e-5)
        wanted = "yes" if said >= 2 / 3 else "no" if said <= 1 / 3 else "unsure"
        assert (row["verdict_judge"], row["reason_judge"]) == (wanted, None)
    counts = judged.manifest_of(run.out)["counts"]["verdicts_judge"]
    assert sum(counts.values()) == len(rows)
    assert "AUC 1.000" in done.stderr
    assert f"verdicts judge: yes {counts['yes']}" in done.stderr


def test_the_report_has_the_examination(
    served: ChatServer, run: Run, invoke: Invoke, tmp_path: Path
) -> None:
    pytest.importorskip("jinja2")
    assert run(served, "--per-call", 3).exit_code == 0
    made = invoke("filter", run.out, "--by", "judge", "--num-negatives", 2, "-o", tmp_path / "l")
    assert made.exit_code == 0, made.output
    done = invoke("report", tmp_path / "l", "-o", tmp_path / "report.html")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "report.html").read_text()
    section = page.split('<section id="judges">')[1].split("</section>")[0]
    found = examination(run.out)
    for said in (found, *found["otherwise"].values()):
        value, low, high = said["auc"]
        assert f"{value:.3f} ({low:.3f} to {high:.3f})" in section
    assert "one document a call" in section


def test_what_was_answered_is_not_asked_again(served: ChatServer, run: Run) -> None:
    assert run(served).exit_code == 0
    asked = served.journal.count("asked")
    before = judged.rows_of(run.out)
    for more in ((), ("--force",), ("--force", "--examine", 10), ("--force", "--rebuild")):
        done = run(served, *more)
        assert done.exit_code == 0, done.output
        assert served.journal.count("asked") == asked
    assert judged.rows_of(run.out) == before


def test_a_judge_at_chance_is_refused(folder: Path, run: Run, invoke: Invoke) -> None:
    with judged.server(folder / "data", separation=0.0) as server:
        done = run(server)
        assert done.exit_code == 5
        assert "no better than chance on 24 known positives and 24 documents" in done.stderr
        assert "(0.5 is chance)" in done.stderr
        assert not run.out.exists()
        trusted = run(server, "--trust-anyway")
        assert trusted.exit_code == 0, trusted.output
        assert "no better than chance, and is believed anyway" in trusted.stderr
        assert not examination(run.out)["better_than_chance"]
        # What somebody else trusted is not trusted without a word.
        assert run(server).exit_code == 5
        assert run(server, "--trust-anyway").exit_code == 0


def test_without_an_examination_nobody_is_believed(served: ChatServer, run: Run) -> None:
    done = run(served, "--examine", 0)
    assert done.exit_code == 2
    assert "believed only after an examination" in done.stderr
    assert served.journal.count("asked") == 0
    assert run(served, "--examine", 0, "--trust-anyway").exit_code == 0
    assert "examination" not in judged.manifest_of(run.out)["scorers"]["judge"]


def test_the_order_of_the_texts_is_examined(folder: Path, run: Run) -> None:
    with judged.server(folder / "data", bend=Bend(position=-4.0)) as server:
        assert run(server, "--examine", 20).exit_code == 0
    found = examination(run.out)
    assert (found["positives"], found["random"]) == (20, 20)
    other = found["otherwise"]["document first"]
    # Where the document stands first, the judge says no more often.
    assert other["mean_shift"] < 0
    assert other["verdicts_changed"][0] > 0.1
    assert other["missed"][0] > found["missed"][0]


def test_many_in_a_call_are_fewer_calls_and_examined(folder: Path, run: Run) -> None:
    with judged.server(folder / "data", bend=Bend(decay=0.05)) as server:
        done = run(server, "--per-call", 6, "--examine", 24)
        assert done.exit_code == 0, done.output
    rows = judged.rows_of(run.out)
    assert {row["score_judge"] for row in rows} <= {0, 0.25, 0.5, 0.75, 1}
    assert all(row["mass_judge"] is None for row in rows)
    described = judged.manifest_of(run.out)["scorers"]["judge"]
    assert (described["per_call"], described["judged_by"]) == (6, "grade")
    # A judge that errs more among others does better alone.
    alone = described["examination"]["otherwise"]["one document a call"]
    assert alone["auc"][0] > described["examination"]["auc"][0]
    assert alone["verdicts_changed"][0] > 0.05
    # 48 alone, 24 calls each in two orders, and at most 2 a query for the table.
    assert (
        judged.manifest_of(run.out)["run"]["spent"]["judge"]["answered"]
        <= 48 + 2 * 24 + 2 * judged.QUERIES
    )


def test_an_item_that_is_left_out_is_unjudged(folder: Path, run: Run) -> None:
    with judged.server(folder / "data", faults=[Fault("few_items", share=0.5)]) as server:
        done = run(server, "--per-call", 4)
        assert done.exit_code == 0, done.output
    rows = judged.rows_of(run.out)
    missing = [row for row in rows if row["reason_judge"] == "missing_item"]
    assert 0 < len(missing) < len(rows)
    assert all(row["score_judge"] is None for row in missing)
    assert f"missing_item {len(missing)}" in done.stderr


@pytest.mark.parametrize(
    ("kind", "options", "reason"),
    [
        ("refusal", (), "refused"),
        ("content_filter", (), "refused"),
        ("refusal_text", (), "low_mass"),
        ("cannot_tell", (), "low_mass"),
        ("chatter", (), "low_mass"),
        ("empty", (), "low_mass"),
        ("no_logprobs", (), "no_logprobs"),
        ("empty_logprobs", (), "no_logprobs"),
        ("nan", (), "not_finite"),
        ("null_logprob", (), "not_finite"),
        ("nan_of_yes", (), "not_finite"),
        ("too_long", (), "too_long"),
        ("refusal_text", ("--judge-by", "word"), "unparsable"),
        ("length", ("--judge-by", "grade"), "truncated"),
        ("bad_json", ("--judge-by", "grade"), "unparsable"),
        ("refusal", ("--judge-by", "grade"), "refused"),
    ],
)
def test_an_answer_that_is_none_is_never_clean(
    folder: Path, run: Run, invoke: Invoke, kind: Any, options: tuple[str, ...], reason: str
) -> None:
    """Some candidates' answers are none: no score, a reason, told, and no negatives."""
    documents = judged.texts(folder / "data" / "corpus.jsonl")
    rows = judged.rows_of(folder / "candidates")
    known = {row["docid"] for row in rows if row["label"] == 1}
    # Not among the first, by which it is found out how the server can be asked.
    hit = next(row["docid"] for row in rows[12:24] if row["docid"] not in known)
    with judged.server(folder / "data", faults=[Fault(kind, holding=documents[hit])]) as server:
        limits = ("--limit", 5, "--examine", 4, "--trust-anyway")
        done = run(server, *options, *limits)
        assert done.exit_code == 0, done.output
    rows = judged.rows_of(run.out)
    bad = [row for row in rows if row["docid"] == hit]
    assert bad
    for row in rows:
        if row["docid"] == hit:
            assert (row["score_judge"], row["verdict_judge"]) == (None, "unjudged")
            assert row["reason_judge"] == reason
        else:
            assert row["reason_judge"] is None
    assert f"{reason} {len(bad)}" in done.stderr
    ledger = run.out.parent / "ledger"
    filtered = invoke("filter", run.out, "--by", "judge", "--num-negatives", 6, "-o", ledger)
    assert filtered.exit_code == 0, filtered.output
    for row in judged.rows_of(ledger):
        if row["score_judge"] is None and row["label"] != 1:
            assert (row["dropped_by"], row["selected"]) == ("unscored", None)


def _shipped() -> str:
    from negmine.scorers.judging import prompts

    return prompts.shipped()["en"].read_text(encoding="utf-8")


def test_a_server_without_log_probabilities_gives_grades(folder: Path, run: Run) -> None:
    refuses = Settings(refuses=("logprobs",))
    with judged.server(folder / "data", settings=refuses) as server:
        done = run(server)
        assert done.exit_code == 0, done.output
    assert judged.manifest_of(run.out)["scorers"]["judge"]["judged_by"] == "grade"
    assert {row["score_judge"] for row in judged.rows_of(run.out)} <= {0, 0.25, 0.5, 0.75, 1}


def test_a_server_without_either_gives_words(folder: Path, run: Run) -> None:
    refuses = Settings(refuses=("logprobs", "response_format"))
    with judged.server(folder / "data", settings=refuses) as server:
        done = run(server)
        assert done.exit_code == 0, done.output
    assert judged.manifest_of(run.out)["scorers"]["judge"]["judged_by"] == "word"
    assert {row["score_judge"] for row in judged.rows_of(run.out)} == {0, 1}


def test_of_several_that_find_out_how_to_ask_the_first_one_s_way_holds(
    served: ChatServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards begin at once, and a server may fail one of them for a moment: one table, one way."""
    real = Store.settle

    def second(self: Store, what: str, how: str) -> None:
        real(self, what, "grade")
        real(self, what, how)

    monkeypatch.setattr(Store, "settle", second)
    done = run(served)
    assert done.exit_code == 0, done.output
    found = judged.manifest_of(run.out)["scorers"]["judge"]
    assert found["judged_by"] == "grade"


def test_a_judge_of_another_language(folder: Path, run: Run) -> None:
    with judged.server(folder / "data", words=Words("Ja", "Nein")) as server:
        # It says ja and nein where yes and no are waited for: that is found.
        done = run(server)
        assert done.exit_code == 5
        assert "it judged none of them" in done.stderr
        assert "low_mass 48" in done.stderr
        german = run(server, "--prompt-file", "judge=de")
        assert german.exit_code == 0, german.output
    assert "AUC 1.000" in german.stderr


def test_another_prompt_or_model_is_another_table(folder: Path, run: Run) -> None:
    with judged.server(folder / "data") as server:
        assert run(server).exit_code == 0
        first = judged.manifest_of(run.out)["fingerprint"]
        prompt = run.out.parent / "mine.toml"
        prompt.write_text("# A copy under another name.\n" + _shipped())
        assert "up to date" in run(server, "--prompt-file", prompt).output
        prompt.write_text(_shipped().replace("Query:", "Search:"))
        assert run(server, "--prompt-file", prompt).exit_code == 6
        assert run(server, "--prompt-file", prompt, "--force").exit_code == 0
        assert judged.manifest_of(run.out)["fingerprint"] != first
    # Elsewhere the same model is the same; one that says more of itself is another one.
    with judged.server(folder / "data") as server:
        assert run(server, "--force").exit_code == 0
        assert judged.manifest_of(run.out)["fingerprint"] == first
    with judged.server(folder / "data", settings=Settings(meta={"n_params": 7})) as server:
        assert run(server).exit_code == 6
        assert run(server, "--force").exit_code == 0
        assert judged.manifest_of(run.out)["fingerprint"] != first


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--scorer", "j=llm:m@http://me:secret@localhost:1"), "holds a password"),
        (("--scorer", "j=llm:@http://localhost:1"), "names no model"),
        (("--scorer", "j=llm:m@http://localhost:1", "--prompt-file", "nope"), "no such prompt"),
        (
            ("--scorer", "j=llm:m@http://localhost:1", "--per-call", 3, "--judge-by", "logprobs"),
            "--per-call asks for grades",
        ),
        (
            (
                *("--scorer", "j=llm:m@http://localhost:1", "--judge-by", "grade"),
                *("--prompt-file", "qwen3-reranker"),
            ),
            "the prompt has no 'grade'",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anybody_is_asked(
    folder: Path, tmp_path: Path, invoke: Invoke, options: tuple[object, ...], what: str
) -> None:
    done = invoke("rerank", folder / "candidates", *options, "-o", tmp_path / "scored")
    assert done.exit_code in (2, 4)
    assert what in " ".join(done.stderr.split())
    assert "secret" not in done.output
    assert not list(tmp_path.iterdir())


def test_options_of_judges_are_for_judges(
    folder: Path, tmp_path: Path, invoke: Invoke, tiny_cross: Path
) -> None:
    for option in (("--per-call", 2), ("--prompt-file", "de"), ("--examine", 5)):
        command = ("rerank", folder / "candidates", "--scorer", f"ce={tiny_cross}", *option)
        done = invoke(*command, "-o", tmp_path / "scored")
        assert done.exit_code == 2, done.output
        assert "is for a judge, and there is none" in done.stderr


def test_cur_asks_no_judge(folder: Path, tmp_path: Path, invoke: Invoke) -> None:
    done = invoke(
        *("retrieve", folder / "index", "--queries", folder / "data"),
        *("--qrels", folder / "data" / "qrels.tsv"),
        *("--source", "c=cur:llm:m@http://localhost:1", "-o", tmp_path / "candidates"),
    )
    assert done.exit_code == 2
    assert "it would be asked about every document" in " ".join(done.stderr.split())


def test_a_dry_run_counts_calls_and_asks_nothing(served: ChatServer, run: Run) -> None:
    def planned(*more: object) -> dict[str, Any]:
        done = run(served, "--dry-run", "--json", *more)
        assert done.exit_code == 0, done.output
        [stage] = json.loads(done.stdout)["stages"]
        return dict(stage)

    first = planned("--price", "1,2")
    assert served.journal.count("asked") == 0
    # Not even who answers is noted down.
    assert not list(run.out.parent.iterdir())
    assert run(served).exit_code == 0
    asked = served.journal.count("asked")
    assert (first["calls"], first["calls_stored"]) == (asked, 0)
    assert first["tokens"] > 0
    assert first["price"] > first["tokens"] / 1e6
    again = planned("--price", "1,2", "--top", 3)
    assert again["calls"] == again["calls_stored"] < asked
    assert again["price"] == 0
    assert planned("--top", 3)["price"] is None
    assert served.journal.count("asked") == asked
    assert MODEL in judged.judge_of(served)


def test_shards_of_a_judge_that_begin_at_once_make_what_one_process_makes(
    served: ChatServer, invoke: Invoke, tmp_path: Path
) -> None:
    """Four processes with one folder of stored answers, which none of them finds there."""
    with small_parts():
        candidates = judged.make_candidates(tmp_path, invoke)
    run, out = Run(tmp_path, tmp_path / "alone" / "scored", invoke), tmp_path / "shared" / "scored"
    assert run(served).exit_code == 0
    command = ["rerank", candidates, "--scorer", judged.judge_of(served), "-o", out]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}

    def begun(index: int) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "negmine", *map(str, command), "--shard", f"{index}/4"]
        return subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True)

    shards = [begun(index) for index in range(4)]
    for index, shard in enumerate(shards):
        _, said = shard.communicate(timeout=300)
        assert shard.returncode == 0, said
        assert f"shard {index}/4 of {out} is made" in said
        assert "examination" in said or "AUC" in said, said
    assert invoke("collect", out).exit_code == 0
    assert len(list(out.glob("part-*"))) >= len(shards)
    assert judged.rows_of(out) == judged.rows_of(run.out)
