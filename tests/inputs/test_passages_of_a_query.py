"""Passages as objects in one column: MS MARCO, MuSiQue, HotpotQA, what retrievers write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.inputs.test_training_sets import TRUTH, check
from tests.training_sets import Seen, command, lines, mined, refused

Writer = Any


def columns(items: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """A list of objects as ``datasets`` writes it."""
    return {name: [item[name] for item in items] for name in items[0]}


def marco(*, listed: bool) -> list[dict[str, Any]]:
    records = []
    for number, (query, positive, negative) in enumerate(TRUTH):
        items = [
            {"is_selected": 0, "passage_text": negative, "url": f"http://a.b/{number}"},
            {"is_selected": 1, "passage_text": positive, "url": f"http://a.c/{number}"},
        ]
        records.append(
            {
                "answers": ["A short answer."],
                "passages": items if listed else columns(items),
                "query": query,
                "query_id": 19699 + number,
                "query_type": "description",
                "wellFormedAnswers": [],
            }
        )
    return records


def parquet(path: Path, records: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(records), path)
    return path


def by_columns(path: Path, records: list[dict[str, Any]]) -> Path:
    """One object of columns, as Microsoft published MS MARCO 2.1."""
    made = {
        name: {str(at): record[name] for at, record in enumerate(records)} for name in records[0]
    }
    path.write_text(json.dumps(made))
    return path


def unjudged(table: dict[str, Seen]) -> None:
    check(table)
    assert not any(found.zeros for found in table.values())


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("write", [lines, parquet, by_columns])
def test_ms_marco_with_its_passages(tmp_path: Path, write: Writer, listed: bool) -> None:
    name = {lines: "train.jsonl", parquet: "train.parquet", by_columns: "train.json"}[write]
    pairs = write(tmp_path / name, marco(listed=listed))
    unjudged(mined(tmp_path, pairs))
    made = command("init", pairs, "-o", "-")
    assert "'is_selected' 1 is a positive, 0 is given negatives, not judged" in made.stderr
    assert "'answers' is not read" in made.stderr
    assert f'pairs = "{pairs}"' in made.stdout
    assert "To be settled" not in made.stdout


def test_a_query_without_a_selected_passage_is_counted(tmp_path: Path) -> None:
    records = marco(listed=True)
    for item in records[0]["passages"]:
        item["is_selected"] = 0
    pairs = lines(tmp_path / "train.jsonl", records)
    table = mined(tmp_path, pairs)
    assert set(table) == {query for query, _, _ in TRUTH[1:]}


def musique() -> list[dict[str, Any]]:
    return [
        {
            "id": f"2hop__{number}",
            "paragraphs": [
                {"idx": 0, "title": "", "paragraph_text": n, "is_supporting": False},
                {"idx": 1, "title": "", "paragraph_text": p, "is_supporting": True},
            ],
            "question": q,
            "question_decomposition": [{"id": 1, "question": q, "answer": "x"}],
            "answer": "x",
            "answer_aliases": ["y"],
            "answerable": True,
        }
        for number, (q, p, n) in enumerate(TRUTH)
    ]


@pytest.mark.parametrize("write", [lines, parquet])
def test_musique(tmp_path: Path, write: Writer) -> None:
    name = "train.parquet" if write is parquet else "train.jsonl"
    unjudged(mined(tmp_path, write(tmp_path / name, musique())))


def test_judged_passages(tmp_path: Path) -> None:
    records = [
        {"query": q, "documents": [{"text": p, "label": 1}, {"text": n, "label": 0}]}
        for q, p, n in TRUTH
    ]
    table = mined(tmp_path, lines(tmp_path / "train.jsonl", records))
    check(table)
    assert all(table[q].zeros == {n} for q, _, n in TRUTH)


def test_graded_passages(tmp_path: Path) -> None:
    records = [
        {"query": q, "docs": [{"text": p, "relevance": "E"}, {"text": n, "relevance": "I"}]}
        for q, p, n in TRUTH
    ]
    pairs = lines(tmp_path / "train.jsonl", records)
    assert "--grade E=1" in refused(tmp_path / "asks", pairs)
    check(mined(tmp_path, pairs, "--grade", "E=1", "--grade", "I=0"))


def retrieved() -> list[dict[str, Any]]:
    """What DPR's retriever writes: JSON over several lines, scores as texts."""
    return [
        {
            "question": q,
            "answers": ["x"],
            "ctxs": [
                {"id": f"n{at}", "title": "", "text": n, "score": "81.5", "has_answer": False},
                {"id": f"p{at}", "title": "", "text": p, "score": "80.25", "has_answer": True},
            ],
        }
        for at, (q, p, n) in enumerate(TRUTH)
    ]


def test_what_a_retriever_found_is_no_judgement(tmp_path: Path) -> None:
    pairs = tmp_path / "nq-train.json"
    pairs.write_text(json.dumps(retrieved(), indent=4))
    told = refused(tmp_path / "asks", pairs)
    assert "no query is left to mine" in told
    assert "--column label=FIELD names what does" in told
    (tmp_path / "unlabelled").mkdir()
    table = mined(tmp_path / "unlabelled", pairs, "--keep-unlabelled")
    for query, positive, negative in TRUTH:
        assert table[query].positives == set()
        assert table[query].given == [negative, positive]
        assert table[query].scores == [81.5, 80.25]
    made = command("init", pairs, "-o", "-")
    assert "'has_answer' is no judgement" in made.stderr
    assert "To be settled: no record has a positive" in made.stdout


def test_what_a_retriever_found_and_the_user_judges(tmp_path: Path) -> None:
    pairs = lines(tmp_path / "nq.jsonl", retrieved())
    options = ["--column", "label=has_answer"]
    unjudged(mined(tmp_path, pairs, *options, index=options))
    above = tmp_path / "above"
    above.mkdir()
    records = [{**row, "ctxs": row["ctxs"][::-1]} for row in retrieved()]
    check(mined(above, lines(above / "nq.jsonl", records), "--positive-first"))


def test_positives_beside_what_a_retriever_found(tmp_path: Path) -> None:
    records = [{**row, "positive": p} for row, (_, p, _) in zip(retrieved(), TRUTH, strict=True)]
    for row in records:
        row["ctxs"] = row["ctxs"][:1]
    unjudged(mined(tmp_path, lines(tmp_path / "nq.jsonl", records)))


@pytest.mark.parametrize("options", [("--positive-above", "4"), ("--positive-first",)])
def test_candidates_with_scores(tmp_path: Path, options: tuple[str, ...]) -> None:
    records = [
        {"query": q, "candidates": [{"text": p, "score": 4.5}, {"text": n, "score": 1.5}]}
        for q, p, n in TRUTH
    ]
    pairs = lines(tmp_path / "train.jsonl", records)
    assert "--positive-first and --positive-above X" in refused(tmp_path / "asks", pairs)
    table = mined(tmp_path, pairs, *options)
    check(table)
    assert all(table[query].scores == [1.5] for query in table)


def hotpot(*, listed: bool) -> list[dict[str, Any]]:
    records = []
    for at, (query, positive, negative) in enumerate(TRUTH):
        first, rest = positive.split(" ", 1)
        paragraphs = [("Wrong", [negative]), (f"Right {at}", [first, f" {rest}"])]
        records.append(
            {
                "_id" if listed else "id": f"5a{at}",
                "question": query,
                "answer": "x",
                "type": "bridge",
                "level": "hard",
                "supporting_facts": [[f"Right {at}", 1], [f"Right {at}", 0]]
                if listed
                else {"title": [f"Right {at}"] * 2, "sent_id": [1, 0]},
                "context": [[title, said] for title, said in paragraphs]
                if listed
                else {"title": [t for t, _ in paragraphs], "sentences": [s for _, s in paragraphs]},
            }
        )
    return records


@pytest.mark.parametrize("layout", ["published", "lines", "parquet"])
def test_hotpotqa(tmp_path: Path, layout: str) -> None:
    pairs = tmp_path / "hotpot.json"
    if layout == "published":
        pairs.write_text(json.dumps(hotpot(listed=True)))
    elif layout == "lines":
        lines(pairs, hotpot(listed=False))
    else:
        pairs = parquet(tmp_path / "hotpot.parquet", hotpot(listed=False))
    table = mined(tmp_path, pairs)
    for at, (query, positive, negative) in enumerate(TRUTH):
        assert table[query].positives == {f"Right {at} {positive}"}
        assert table[query].given == [f"Wrong {negative}"]
        assert table[query].zeros == set()
    assert command("init", pairs, "-o", "-").exit_code == 0


def test_a_field_that_no_passage_has(tmp_path: Path) -> None:
    records = [{"query": q, "docs": [{"text": p, "score": 1}]} for q, p, _ in TRUTH]
    options = ["--column", "label=judged"]
    told = refused(tmp_path, lines(tmp_path / "train.jsonl", records), *options, index=options)
    assert "no column 'judged' (asked for as 'label')" in told
