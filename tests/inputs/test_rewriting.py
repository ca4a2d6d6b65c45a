"""What stands in the place of a record when some of its passages go or become positives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from negmine.inputs.in_place.reading import parser
from negmine.inputs.sets.base import Beginning, Edited, Fate, Fates, Lying, Passage, Reading, Record

OTHERS = [Passage("x1", "", "o1"), Passage("x2", "", "o2")]


def rewritten(
    raw: dict[str, Any],
    negatives: Sequence[Fate],
    positives: Sequence[bool] | None = None,
    others: Sequence[Passage] = (),
    reading: Reading | None = None,
) -> Edited:
    """A record with these fates, as the layout that it is recognised as rewrites it."""
    reading = reading or Reading()
    opened = parser(Beginning(tuple(raw), records=[raw])).opened
    sources = {
        target.name: name
        for target in opened.targets
        if (name := Beginning(tuple(raw)).source(target)) is not None
    }
    record = Record({target: raw[name] for target, name in sources.items()}, sources)
    example = opened.read(record, reading)
    assert len(negatives) == len(example.negatives) + len(example.judged)
    kept = [True] * len(example.positives) if positives is None else positives
    fates = Fates(kept, negatives, lambda: list(others))
    edited = opened.rewrite(Lying(record, raw, reading, example), fates)
    # What it is rewritten to can be read, and the record is as it was.
    for row in edited.records:
        assert tuple(row) == tuple(raw)
        values = {target: row[name] for target, name in sources.items()}
        opened.read(Record(values, sources), reading)
    return edited


FLAG = {
    "query": "q",
    "pos": ["p"],
    "neg": ["a", "b", "c"],
    "pos_scores": [9],
    "neg_scores": [1, 2, 3],
    "id": 7,
}
STAYS: list[Fate] = ["stays", "stays", "stays"]


def test_lists_lose_and_move_passages_with_what_stands_beside_them() -> None:
    edited = rewritten(FLAG, ["goes", "promoted", "stays"])
    assert edited.records == [
        {**FLAG, "pos": ["p", "b"], "neg": ["c"], "pos_scores": [9, 2], "neg_scores": [3]}
    ]
    assert edited.stays
    assert not edited.homeless


@pytest.mark.parametrize("fates", [["goes"] * 3, ["promoted"] * 3])
def test_lists_without_a_negative_go(fates: list[Fate]) -> None:
    edited = rewritten(FLAG, fates)
    assert edited.records == ()
    assert len(edited.homeless) == fates.count("promoted")


def test_a_lost_positive_takes_its_record_along_unless_there_is_another() -> None:
    assert rewritten(FLAG, STAYS, [False]) == Edited()
    edited = rewritten(FLAG, ["promoted", "stays", "stays"], [False])
    assert edited.records[0]["pos"] == ["a"]
    assert edited.records[0]["pos_scores"] == [1]


def test_one_list_of_scores_of_both_sides() -> None:
    raw = {"query": "q", "positive": ["p"], "negative": ["a", "b"], "scores": [9, 1, 2]}
    edited = rewritten(raw, ["promoted", "stays"])
    assert edited.records == [
        {**raw, "positive": ["p", "a"], "negative": ["b"], "scores": [9, 1, 2]}
    ]


def test_objects_move_as_they_are() -> None:
    one, two = {"docid": "1", "text": "a", "more": [1]}, {"docid": "2", "text": "b"}
    raw = {
        "query_id": "1",
        "query": "q",
        "positive_passages": [{"docid": "0", "text": "p"}],
        "negative_passages": [one, two],
    }
    edited = rewritten(raw, ["promoted", "stays"])
    assert edited.records[0]["positive_passages"][1] is one
    assert edited.records[0]["negative_passages"] == [two]


def test_dprs_two_lists() -> None:
    raw = {
        "question": "q",
        "positive_ctxs": [{"text": "p"}],
        "hard_negative_ctxs": [{"text": "a"}],
        "negative_ctxs": [{"text": "b"}, {"text": "c"}],
    }
    edited = rewritten(raw, ["goes", "promoted", "stays"])
    assert edited.records == [
        {
            **raw,
            "positive_ctxs": [{"text": "p"}, {"text": "b"}],
            "hard_negative_ctxs": [],
            "negative_ctxs": [{"text": "c"}],
        }
    ]


def test_conversations() -> None:
    def says(text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": text}]

    raw = {
        "messages": says("q"),
        "positive_messages": [says("p")],
        "negative_messages": [says("a"), says("b")],
    }
    edited = rewritten(raw, ["promoted", "stays"])
    assert edited.records[0]["positive_messages"] == [says("p"), says("a")]
    assert edited.records[0]["negative_messages"] == [says("b")]


TRIPLET = {"anchor": "q", "positive": "p", "negative": "n", "source": "web"}


def test_a_triplet_goes_with_its_negative() -> None:
    assert not rewritten(TRIPLET, ["goes"]).records


def test_a_triplet_whose_negative_is_promoted_gives_triplets_of_the_new_positive() -> None:
    edited = rewritten(TRIPLET, ["promoted"], others=OTHERS)
    assert edited.records == [
        {**TRIPLET, "positive": "n", "negative": "o1"},
        {**TRIPLET, "positive": "n", "negative": "o2"},
    ]
    assert edited.own == {0}
    assert not edited.stays
    # Where the query has no other negative, there is no place for it.
    assert rewritten(TRIPLET, ["promoted"]).homeless == {0}


def test_an_n_tuple_has_as_many_negatives_as_columns() -> None:
    raw = {"query": "q", "positive": "p", "negative_1": "a", "negative_2": "b"}
    assert not rewritten(raw, ["stays", "goes"]).records
    edited = rewritten(raw, ["stays", "promoted"], others=OTHERS)
    assert edited.records == [{**raw, "positive": "b", "negative_1": "o1", "negative_2": "o2"}]
    assert rewritten(raw, ["stays", "promoted"], others=OTHERS[:1]).homeless == {1}


def test_a_text_beside_a_list_gets_a_record_for_each_positive() -> None:
    raw = {"question": "q", "pos_doc": "p", "neg_doc": ["a", "b"]}
    edited = rewritten(raw, ["promoted", "stays"])
    assert edited.records == [
        {"question": "q", "pos_doc": "p", "neg_doc": ["b"]},
        {"question": "q", "pos_doc": "a", "neg_doc": ["b"]},
    ]


def test_ids_and_lists_of_several_systems() -> None:
    raw = {"qid": 1, "pos": [2], "neg": {"bm25": [3, 4], "dense": [4, 5]}}
    edited = rewritten(raw, ["stays", "goes", "promoted"])
    assert edited.records == [{"qid": 1, "pos": [2, 5], "neg": {"bm25": [3], "dense": []}}]


@pytest.mark.parametrize(("one", "zero"), [(1, 0), (True, False), ("1", "0"), (1.0, 0.0)])
def test_labels_change(one: Any, zero: Any) -> None:
    raw = {"sentence1": "q", "sentence2": "d", "label": zero}
    assert rewritten(raw, ["promoted"]).records == [{**raw, "label": one}]
    assert rewritten(raw, ["goes"]) == Edited()
    assert type(rewritten(raw, ["promoted"]).records[0]["label"]) is type(one)


def test_a_list_beside_labels() -> None:
    raw = {"query": "q", "docs": ["p", "a", "b", "c"], "labels": [1, 0, 0, 0]}
    edited = rewritten(raw, ["goes", "promoted", "stays"])
    assert edited.records == [{"query": "q", "docs": ["p", "b", "c"], "labels": [1, 1, 0]}]


def test_what_no_label_can_say_has_no_place() -> None:
    raw = {"query": "q", "docs": ["p", "a", "b"], "scores": [3.5, 1.0, 0.5]}
    edited = rewritten(raw, ["promoted", "stays"], reading=Reading(positive_above=3))
    assert edited.records == [{"query": "q", "docs": ["p", "b"], "scores": [3.5, 0.5]}]
    assert edited.homeless == {0}


@pytest.mark.parametrize("columns", [False, True])
def test_marks_within_the_passages(columns: bool) -> None:
    found = [
        {"passage_text": text, "is_selected": mark, "url": text}
        for text, mark in (("p", 1), ("a", 0), ("b", 0), ("c", 0))
    ]
    wanted = [found[0], {**found[2], "is_selected": 1}, found[3]]

    def laid(items: list[dict[str, Any]]) -> Any:
        return {key: [item[key] for item in items] for key in found[0]} if columns else items

    edited = rewritten({"query": "q", "passages": laid(found)}, ["goes", "promoted", "stays"])
    assert edited.records == [{"query": "q", "passages": laid(wanted)}]


def test_supporting_paragraphs() -> None:
    raw = {
        "question": "q",
        "context": [["P", ["p."]], ["A", ["a."]], ["B", ["b."]]],
        "supporting_facts": [["P", 0]],
    }
    edited = rewritten(raw, ["goes", "stays"])
    assert edited.records[0]["context"] == [["P", ["p."]], ["B", ["b."]]]
    assert rewritten(raw, ["promoted", "stays"]).homeless == {0}


def test_arrays() -> None:
    texts, ids = {"[...]": ["q", "p", "n"]}, {"[...]": [1, 2, 3, 4]}
    assert rewritten(texts, ["goes"]).records == []
    edited = rewritten(texts, ["promoted"], others=OTHERS[:1])
    assert edited.records == [{"[...]": ["q", "n", "o1"]}]
    edited = rewritten(ids, ["promoted", "stays"])
    assert edited.records == [{"[...]": [1, 2, 4]}, {"[...]": [1, 3, 4]}]
