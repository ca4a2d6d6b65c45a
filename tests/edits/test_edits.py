"""Minimal pairs by rule: what is edited, how, and what is left alone."""

from __future__ import annotations

import re

import pytest

from negmine.edits import KINDS, Edit, NameCounts, Names, Passage, variants
from negmine.edits.numbers import changed

NAMES = NameCounts()
NAMES.add(
    [
        "They lived in Paris. We met in London, and in Berlin.",
        "It was shown in London that IL-6 and TNF bind. It was seen in Berlin and in Paris.",
        "Levels of IL-6, of TNF and of VEGF rose. The VEGF of Dr. Miller and of Dr. Jones fell.",
        "That was known to Dr. Miller and Dr. Jones.",
    ]
)


def edits(text: str, kind: str, query: str = "") -> list[Edit]:
    return variants(Passage(text, query), KINDS, [kind], NAMES.names(), 9)


def one(text: str, kind: str, query: str = "") -> str:
    return edits(text, kind, query)[0].of(text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Aspirin is a drug.", "Aspirin is not a drug."),
        ("They can swim.", "They cannot swim."),
        ("It has been shown.", "It has not been shown."),
        ("It may help.", "It may not help."),
        ("Aspirin does not help.", "Aspirin does help."),
        ("They cannot swim.", "They can swim."),
        ("They aren't here.", "They are here."),
        ("He won't go.", "He will go."),
        ("They live without water.", "They live with water."),
        ("It never rains.", "It always rains."),
        ("It was no longer there.", "It was still there."),
    ],
)
def test_a_negation_is_put_in_or_taken_out(before: str, after: str) -> None:
    assert one(before, "negation") == after


@pytest.mark.parametrize(
    "text", ["Is aspirin a drug?", "It is not only a drug.", "Cells divide.", "It has three legs."]
)
def test_what_no_rule_can_negate_is_left_alone(text: str) -> None:
    assert edits(text, "negation") == []


def test_the_sentence_of_the_query_comes_first() -> None:
    text = "The sky is blue. Aspirin is a painkiller. Water is wet."
    assert one(text, "negation", "aspirin painkiller").startswith("The sky is blue. Aspirin is not")


@pytest.mark.parametrize(
    "text",
    [
        "There were 12 of them, and 12 left.",
        "It rose to 4.5 mg.",
        "In 1987 it fell.",
        "It cost 1,200,000 francs.",
        "They were seven in all.",
    ],
)
def test_a_number_changes_wherever_it_stands(text: str) -> None:
    edit = edits(text, "number")[0]
    assert edit.before != edit.after
    # The oracle: a plain replacement of the whole word.
    whole = re.sub(rf"\b{re.escape(edit.before)}\b", edit.after, text)
    assert edit.of(text) == whole
    shape = re.compile(r"[a-z]+" if edit.before.isalpha() else r"[\d,.]+")
    assert shape.fullmatch(edit.after)
    assert len(edit.before.partition(".")[2]) == len(edit.after.partition(".")[2])


@pytest.mark.parametrize("text", ["IL-2 binds CD4.", "As shown before [12].", "It was nobody's."])
def test_numbers_of_names_and_citations_are_none(text: str) -> None:
    assert edits(text, "number") == []


def test_a_share_stays_one() -> None:
    for number in ("40", "80", "95", "3"):
        assert float(changed(Passage(f"It was {number}% of all.", ""), number, True)) <= 100


@pytest.mark.parametrize(
    ("text", "others"),
    [
        ("He was born in London.", {"Paris", "Berlin"}),
        ("The amount of TNF rose, and TNF fell.", {"IL-6", "VEGF"}),
        ("As said by Dr. Miller then.", {"Jones"}),
        (
            "It rained in March.",
            {"January", "February", "April", "June", "July", "August"}
            | {"September", "October", "November", "December"},
        ),
    ],
)
def test_a_name_is_swapped_for_another_of_its_kind(text: str, others: set[str]) -> None:
    edit = edits(text, "entity")[0]
    assert edit.after in others
    assert edit.of(text) == text.replace(edit.before, edit.after)


def test_no_name_of_the_query_comes_in() -> None:
    for seed in range(20):
        passage = Passage("He was born in London.", "was he born in Paris", seed)
        assert variants(passage, KINDS, ["entity"], NAMES.names(), 1)[0].after == "Berlin"


def test_types_take_turns_and_nothing_is_made_twice() -> None:
    text = "It was seen in London in 1987. It was not seen in Paris. There were 30 of them."
    found = variants(Passage(text, "london"), KINDS, list(KINDS), NAMES.names(), 6)
    assert [edit.type for edit in found[:3]] == list(KINDS)
    made = [edit.of(text) for edit in found]
    assert len(set(made)) == len(made) == 6
    assert text not in made
    assert variants(Passage(text, "london"), KINDS, list(KINDS), NAMES.names(), 6) == found


def test_a_heading_in_capitals_is_no_name() -> None:
    counts = NameCounts()
    counts.add(["Here the METHODS were sound; methods are good.", "Then the METHODS failed."])
    assert counts.names().by_kind.get("abbreviation", []) == []
    assert Names().another(Passage("in London", ""), "London") is None
