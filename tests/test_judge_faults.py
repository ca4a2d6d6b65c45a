"""A judge whose server errs: each fault has its word in the table or its message; nothing is lost.

Every document has its own fault, so that one run shows all of a kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from negmine.stages.retrieve import mining
from tests import judged
from tests.chains import call
from tests.servers.chat import MODEL, ChatServer, Settings
from tests.servers.faults import Fault, Kind
from tests.servers.journal import asked_again
from tests.servers.judges import overlap, probability

QUERIES = 4
NO = probability(overlap("a b c d", "a e f g"))
YES = probability(overlap("a b", "a b"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return judged.collection(tmp_path_factory.mktemp("judged") / "data", QUERIES)


@pytest.fixture(scope="module")
def table(data: Path) -> Path:
    return judged.candidates(data, data.parent)


def holding(number: int) -> str:
    """What only the prompt of one document holds: by its number in the collection."""
    return f"text number {number} about"


def docid(number: int) -> tuple[str, str]:
    """Query and id of a document by its number."""
    query = number // judged.DEPTH
    return f"q{query}", f"d{query}.{number % judged.DEPTH}"


def server(
    data: Path, faults: Sequence[Fault] = (), settings: Settings | None = None
) -> ChatServer:
    return ChatServer(judged.answerer(data), settings, faults)


def rerank(table: Path, url: str, out: Path, *more: object) -> tuple[int, str]:
    """Judge every pair, without an examination unless it is asked for."""
    options = more if "--examine" in more else ("--examine", 0, "--trust-anyway", *more)
    return call(
        *("rerank", table, "--scorer", f"judge=llm:{MODEL}@{url}", *options, "-o", out / "scored")
    )


def right(row: dict[str, Any]) -> bool:
    """Whether a row says what the judge of the tests says of it."""
    meant = YES if row["label"] == 1 else NO
    return row["score_judge"] == pytest.approx(meant, abs=1e-6) and row["verdict_judge"] == (
        "yes" if row["label"] == 1 else "no"
    )


def wrong(out: Path) -> list[dict[str, Any]]:
    """The rows that say something else."""
    return [row for row in judged.rows(out / "scored").values() if not right(row)]


ODD = {
    "refusal": "refused",
    "content_filter": "refused",
    "refusal_text": "low_mass",
    "cannot_tell": "low_mass",
    "unsure": "cannot_tell",
    "chatter": "low_mass",
    "empty": "low_mass",
    "no_logprobs": "no_logprobs",
    "empty_logprobs": "no_logprobs",
    "nan": "not_finite",
    "null_logprob": "not_finite",
    "nan_of_yes": "not_finite",
}
HARMLESS = ("wrong_model", "two_choices", "twice", "no_usage", "slow", "length")


def test_an_answer_that_says_nothing_is_no_verdict(data: Path, table: Path, tmp_path: Path) -> None:
    kinds = [*ODD, *HARMLESS]
    faults = [Fault(kind, holding=holding(at), seconds=0.3) for at, kind in enumerate(kinds)]
    with server(data, faults) as there:
        code, output = rerank(table, there.url, tmp_path)
        assert code == 0, output
        assert "another-model" in output
        assert asked_again(there.journal.entries) == []
        assert there.journal.count("answered") == QUERIES * judged.DEPTH
    found = judged.rows(tmp_path / "scored")
    for at, kind in enumerate(kinds):
        row = found[docid(at)]
        if kind in ODD:
            assert row["score_judge"] is None, kind
            assert (row["verdict_judge"], row["reason_judge"]) == ("unjudged", ODD[kind]), kind
        else:
            assert right(row), kind
    rest = [found[docid(at)] for at in range(len(kinds), QUERIES * judged.DEPTH)]
    assert [row for row in rest if not right(row)] == []


def test_what_passes_is_tried_again(data: Path, table: Path, tmp_path: Path) -> None:
    kinds: list[dict[str, Any]] = [
        {"kind": "busy"},
        {"kind": "busy", "retry_after": 0.1},
        {"kind": "busy", "retry_after": "date"},
        {"kind": "error", "status": 500},
        {"kind": "error", "status": 503, "retry_after": 0.1},
        {"kind": "error", "status": 408},
        {"kind": "hang", "seconds": 5},
        {"kind": "reset"},
        {"kind": "cut"},
        {"kind": "truncated"},
        {"kind": "html"},
        {"kind": "wrong_schema"},
        {"kind": "no_choices"},
    ]
    faults = [Fault(**fault, holding=holding(at), attempts=1) for at, fault in enumerate(kinds)]
    with server(data, faults) as there:
        code, output = rerank(table, there.url, tmp_path, "--timeout", 1)
        assert code == 0, output
        assert asked_again(there.journal.entries) == []
        failed = {entry.fault for entry in there.journal.entries if entry.event == "failed"}
    assert {fault["kind"] for fault in kinds} - failed <= {"hang"}
    assert wrong(tmp_path) == []


def test_what_does_not_pass_is_told_and_nothing_else_is_lost(
    data: Path, table: Path, tmp_path: Path
) -> None:
    kinds: list[dict[str, Any]] = [
        {"kind": "too_long"},
        {"kind": "error", "status": 500},
        {"kind": "truncated"},
        {"kind": "hang", "seconds": 9},
    ]
    faults = [Fault(**fault, holding=holding(6 * at + 1)) for at, fault in enumerate(kinds)]
    options = ("--timeout", 0.5, "--retries", 1)
    with server(data, faults) as there:
        code, output = rerank(table, there.url, tmp_path, *options)
        assert code == 0, output
        assert "4 of 24 pairs have no verdict (too_long 1, failed 3)" in output
        assert "--rebuild asks anew" in output
        found = judged.rows(tmp_path / "scored")
        failed = [docid(6 * at + 1) for at in range(len(kinds))]
        reasons = [found[pair]["reason_judge"] for pair in failed]
        assert reasons == ["too_long", "failed", "failed", "failed"]
        assert all(found[pair]["score_judge"] is None for pair in failed)
        assert {(row["qid"], row["docid"]) for row in wrong(tmp_path)} == set(failed)
        # The server is mended: only what had no answer is asked.
        there.faults, before = (), there.journal.count("asked")
        code, output = rerank(table, there.url, tmp_path, *options, "--rebuild")
        assert code == 0, output
        assert there.journal.count("asked") - before == len(kinds)
    assert wrong(tmp_path) == []


def test_a_server_that_stops_is_told_and_the_same_command_goes_on(
    data: Path, table: Path, tmp_path: Path
) -> None:
    with server(data, [Fault("reset", numbers=range(12, 10_000))]) as there:
        options = ("--retries", 1, "--concurrency", 2)
        code, output = rerank(table, there.url, tmp_path, *options)
        assert code == 10, output
        assert "does not answer" in output
        assert "goes on where this one stopped" in output
        assert there.journal.count("answered") == 11
        there.faults = ()
        code, output = rerank(table, there.url, tmp_path, *options)
        assert code == 0, output
        assert asked_again(there.journal.entries) == []
        assert there.journal.count("answered") == QUERIES * judged.DEPTH
    assert wrong(tmp_path) == []


def test_a_server_that_lets_nobody_in(
    data: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(api_key="sk-right")
    with server(data, settings=settings) as there:
        code, output = rerank(table, there.url, tmp_path)
        assert code == 10
        assert "NEGMINE_API_KEY_JUDGE" in output
        monkeypatch.setenv("NEGMINE_API_KEY_JUDGE", "sk-wrong")
        code, output = rerank(table, there.url, tmp_path)
        assert code == 10
        assert "NEGMINE_API_KEY_JUDGE" in output
        assert "sk-wrong" not in output
        monkeypatch.setenv("NEGMINE_API_KEY_JUDGE", "sk-right")
        code, output = rerank(table, there.url, tmp_path)
        assert code == 0, output
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) > 2
    assert not any(b"sk-right" in content for content in kept)


def test_a_model_that_the_server_has_not(data: Path, table: Path, tmp_path: Path) -> None:
    with server(data, settings=Settings(model="judge-of-others")) as there:
        code, output = rerank(table, there.url, tmp_path)
    assert code == 2
    assert "judge-of-others" in output
    assert not (tmp_path / "scored").exists()


@pytest.mark.parametrize(
    ("limit", "most", "of"),
    [("--max-calls", 9, None), ("--max-tokens", 700, "total_tokens"), ("--max-cost", 0.7, "cost")],
)
def test_a_budget_stops_and_the_same_command_goes_on(
    data: Path, table: Path, tmp_path: Path, limit: str, most: float, of: str | None
) -> None:
    with server(data, settings=Settings(price=0.001, latency=0.01)) as there:
        code, output = rerank(table, there.url, tmp_path / "whole")
        assert code == 0, output
        needed = there.journal.count("answered")
        runs = 0
        while code == 9 or not runs:
            runs += 1
            first = len(there.usages)
            code, output = rerank(table, there.url, tmp_path, limit, most)
            costs = [1 if of is None else usage[of] for usage in there.usages[first:]]
            assert sum(costs) <= most + max(costs, default=0), "more than a call beyond"
            assert code in (0, 9), output
            if code == 9:
                assert sum(costs) >= most - 2 * max(costs), "stopped early"
                assert "the same command" in output
        assert 2 <= runs <= 5
        again = asked_again(there.journal.entries[2 * needed :])
        assert again == []
        assert len(there.usages) == 2 * needed
    assert wrong(tmp_path) == []
    [part], [other] = (
        sorted((folder / "scored").glob("part-*")) for folder in (tmp_path, tmp_path / "whole")
    )
    assert part.read_bytes() == other.read_bytes()


def test_several_documents_a_call(data: Path, table: Path, tmp_path: Path) -> None:
    kinds = ("few_items", "many_items", "bad_json", "length")
    faults = [Fault(kind, holding=f"word{at}x3") for at, kind in enumerate(kinds)]
    with server(data, faults) as there:
        code, output = rerank(table, there.url, tmp_path, "--per-call", 3)
        assert code == 0, output
        assert there.journal.count("answered") == QUERIES * judged.DEPTH / 3
    found = judged.rows(tmp_path / "scored")
    for at, reasons in enumerate([["missing_item"] * 2, [], ["unparsable"] * 6, ["truncated"] * 6]):
        rows = [found[docid(judged.DEPTH * at + other)] for other in range(judged.DEPTH)]
        assert [row["reason_judge"] for row in rows if row["reason_judge"]] == reasons
        assert all(
            row["score_judge"] == row["label"] for row in rows if row["reason_judge"] is None
        )


def test_a_resumed_run_asks_as_it_began(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How a server can be asked is found out by asking; later answers do not change it."""
    monkeypatch.setattr(mining, "PART_ROWS", judged.DEPTH)
    table = judged.candidates(data, tmp_path)
    odd = Fault("no_logprobs", holding=holding(judged.DEPTH))
    with server(data, [odd]) as there:
        for name, limits in (("whole", ()), ("cut", ("--max-calls", 6)), ("cut", ())):
            code, output = rerank(table, there.url, tmp_path / name, "--concurrency", 1, *limits)
            assert code == (9 if limits else 0), output
    whole, cut = (sorted((tmp_path / name / "scored").glob("part-*")) for name in ("whole", "cut"))
    assert len(whole) == QUERIES
    assert [path.read_bytes() for path in cut] == [path.read_bytes() for path in whole]


@pytest.mark.parametrize("kind", ["too_long", "nan", "no_logprobs", "refusal"])
def test_one_odd_pair_does_not_say_how_all_are_judged(
    data: Path, table: Path, tmp_path: Path, kind: Kind
) -> None:
    """Each of the first query's documents at its turn, one of which is asked about first."""
    for at in range(judged.DEPTH):
        out = tmp_path / str(at)
        with server(data, [Fault(kind, holding=holding(at))]) as there:
            code, output = rerank(table, there.url, out, "--limit", 1)
        assert code == 0, output
        found = judged.rows(out / "scored")
        assert [key for key, row in found.items() if not right(row)] == [docid(at)]


def test_a_query_with_nothing_that_fits_does_not_end_the_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mining, "PART_ROWS", judged.DEPTH)
    table = judged.candidates(data, tmp_path)
    with server(data, [Fault("too_long", holding="word2x0")]) as there:
        code, output = rerank(table, there.url, tmp_path)
        assert code == 0, output
    for (qid, _), row in judged.rows(tmp_path / "scored").items():
        assert row["reason_judge"] == ("too_long" if qid == "q2" else None)


def test_where_nothing_fits_the_server_says_so(data: Path, table: Path, tmp_path: Path) -> None:
    with server(data, [Fault("too_long")]) as there:
        code, output = rerank(table, there.url, tmp_path)
    assert code == 10, output
    assert "context size" in output
    assert "grades" not in output


@pytest.mark.parametrize("refuses", [("logprobs",), ("logprobs", "response_format")])
def test_a_server_that_knows_less_is_asked_otherwise(
    data: Path, table: Path, tmp_path: Path, refuses: tuple[str, ...]
) -> None:
    with server(data, settings=Settings(refuses=refuses)) as there:
        code, output = rerank(table, there.url, tmp_path)
    assert code == 0, output
    rows = judged.rows(tmp_path / "scored").values()
    assert all(row["score_judge"] == row["label"] for row in rows)
