"""The identity guard through the command line, read off the training file.

Another engine's run gives every document to every query, so that no search decides what is seen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from negmine.table import artifacts
from negmine.table.names import score_column
from tests.chains import call
from tests.conftest import write_jsonl

pytest.importorskip("rensa")

Documents = Mapping[str, str | tuple[str, str]]


class Mined:
    """What came of a chain: the training file, the ledger, and what was told."""

    def __init__(
        self, train: list[dict[str, Any]], ledger: list[dict[str, Any]], told: str
    ) -> None:
        self.told = told
        self.negatives: dict[str, list[str]] = {}
        for row in train:
            self.negatives.setdefault(row["qid"], []).append(row["negative_docid"])
        self.dropped = {
            (row["qid"], row["docid"]): row["dropped_by"] for row in ledger if row["dropped_by"]
        }


def mine(
    folder: Path,
    documents: Documents,
    queries: Mapping[str, str],
    positives: Mapping[str, str],
    options: Sequence[str] = (),
    order: Sequence[str] = (),
) -> Mined:
    """Index, retrieve, filter and export with default flags but for ``options`` of filter.

    Args:
        folder: where to.
        documents: by id, a text or (title, text).
        queries: texts by id.
        positives: a document for each query.
        options: of filter.
        order: documents, best first; by default as they come.
    """
    folder.mkdir(parents=True, exist_ok=True)
    titled = {
        docid: text if isinstance(text, tuple) else ("", text) for docid, text in documents.items()
    }
    write_jsonl(
        folder / "corpus.jsonl",
        [{"_id": d, "title": title, "text": text} for d, (title, text) in titled.items()],
    )
    write_jsonl(folder / "queries.jsonl", [{"_id": q, "text": text} for q, text in queries.items()])
    lines = ["query-id\tcorpus-id\tscore", *(f"{q}\t{d}\t1" for q, d in positives.items())]
    (folder / "qrels.tsv").write_text("\n".join(lines) + "\n")
    hits = [
        f"{q} Q0 {d} {rank} {100 - rank} x"
        for q in queries
        for rank, d in enumerate(order or documents, 1)
    ]
    (folder / "run.trec").write_text("\n".join(hits) + "\n")
    work = folder / "work"
    told = ""
    inputs = ["--queries", folder / "queries.jsonl", "--qrels", folder / "qrels.tsv"]
    run = ["--run", f"x={folder / 'run.trec'}"]
    for command in (
        ["index", "--corpus", folder / "corpus.jsonl", "--no-bm25", "-o", work / "index"],
        ["retrieve", work / "index", *inputs, *run, "-o", work / "candidates"],
        ["filter", work / "candidates", *options, "-o", work / "ledger", "--force"],
        ["export", work / "ledger", "--ids", "-o", work / "train.jsonl", "--force"],
    ):
        code, output = call(*command)
        assert code == 0, output
        told += output
    ledger = artifacts.open_artifact(work / "ledger")
    assert score_column("x") in ledger.schema().names
    rows = [row for name in ledger.parts for row in ledger.read(name).to_pylist()]
    train = [json.loads(line) for line in (work / "train.jsonl").read_text().splitlines()]
    # What is dropped and what survived is all that there was.
    counts = ledger.counts
    assert (
        counts["survivors"] + sum(counts["dropped"].values()) == counts["candidates"] == len(rows)
    )
    return Mined(train, rows, told)


# --- texts that differ by little ----------------------------------------------------------------

PLACES = {"hi-rome": "रोम", "hi-ram": "राम", "hi-room": "रूम", "hi-mill": "मिल", "hi-fair": "मेला"}
THAI = {"th-rice": "ข้าว", "th-news": "ข่าว", "th-white": "ขาว"}
CODE = {
    "add": "def f(a, b): return a + b",
    "sub": "def f(a, b): return a - b",
    "mul": "def f(a, b): return a * b",
}
NAMES = {"cpp": "C++", "csharp": "C#", "c": "C"}


def test_vowel_signs_tones_and_operators_tell_texts_apart(tmp_path: Path) -> None:
    queries = {
        "q-rome": "इटली की राजधानी",
        "q-rice": "อาหารหลักของคนไทย",
        "q-add": "add two numbers in python",
        "q-cpp": "language made by Stroustrup",
    }
    positives = {"q-rome": "hi-rome", "q-rice": "th-rice", "q-add": "add", "q-cpp": "cpp"}
    documents = {**PLACES, **THAI, **CODE, **NAMES}
    mined = mine(tmp_path, documents, queries, positives, ["--num-negatives", "20"])
    assert mined.dropped == dict.fromkeys(positives.items(), "positive")
    assert all(len(found) == len(documents) - 1 for found in mined.negatives.values())


@pytest.mark.parametrize(
    ("documents", "copies"),
    [
        # Formulas, numbers, signs.
        (
            {"p": "E = mc²", "n1": "E = mc", "n2": "E = mc2", "n3": "E = mc³", "c": "E=mc²."},
            ["c"],
        ),
        # Telugu, composed and with joiners; vowel signs.
        (
            {"p": "తెలుగు నేర్చుకోండి", "n1": "తెలుగు నేర్చుకొండి", "n2": "తెలగు నేర్చుకోండి"}
            | {"c": "తెలుగు  నేర్చుకోండి!"},
            ["c"],
        ),
        # Chinese: a character, a number; full-width forms and spaces.
        (
            {
                "p": "我在2019年买了Python书",
                "n1": "我在2018年买了Python书",
                "n2": "他在2019年买了Python书",
            }
            | {"c": "我在２０１９年买了 Ｐｙｔｈｏｎ 书。"},
            ["c"],
        ),
        # Vietnamese, decomposed; accents are tones.
        (
            {"p": "con ma", "n1": "con má", "n2": "con mà", "n3": "con mạ", "c": "Con Ma!"}
            | {"d": "con\u00a0ma"},
            ["c", "d"],
        ),
        # Comparisons and assignments.
        (
            {"p": "if x != y", "n1": "if x == y", "n2": "if x = y", "n3": "if x <= y"}
            | {"n4": "if x >= y", "c": "if x!=y"},
            ["c"],
        ),
    ],
)
def test_small_differences_count_and_those_of_copies_do_not(
    tmp_path: Path, documents: dict[str, str], copies: list[str]
) -> None:
    mined = mine(tmp_path, documents, {"q": "what is asked"}, {"q": "p"})
    assert sorted(mined.negatives["q"]) == sorted(d for d in documents if d[0] == "n")
    assert {d for (_, d), why in mined.dropped.items() if why == "same_text"} == set(copies)


def test_questions_that_differ_by_a_mark_are_not_one(tmp_path: Path) -> None:
    queries = {"q1": "रोम की राजधानी", "q2": "राम की राजधानी", "q3": "రామ రాజ్యం", "q4": "రోమ రాజ్యం"}
    queries |= {"q5": "ข้าวราคาเท่าไร", "q6": "ข่าวราคาเท่าไร", "q7": "C++ or C", "q8": "C# or C"}
    documents = {f"d{n}": f"answer number {n} of its own" for n in range(1, 9)}
    positives = {f"q{n}": f"d{n}" for n in range(1, 9)}
    mined = mine(tmp_path / "apart", documents, queries, positives)
    assert set(mined.dropped.values()) == {"positive"}
    queries["q2"], queries["q6"], queries["q8"] = "रोम की राजधानी?", "ข้าว ราคา เท่าไร", "c++ or c?"
    mined = mine(tmp_path / "same", documents, queries, positives)
    assert sorted(pair for pair, why in mined.dropped.items() if why == "duplicate_query") == [
        *(("q1", "d2"), ("q2", "d1"), ("q5", "d6"), ("q6", "d5"), ("q7", "d8"), ("q8", "d7"))
    ]


# --- the query's own document -------------------------------------------------------------------

DEBATE: dict[str, tuple[str, str]] = {
    "zoo-01a": ("animals ethics cities", "Zoos teach city children to care for animals."),
    "zoo-01b": ("animals ethics cities", "A caged lion teaches nothing about lions."),
    "zoo-02a": ("animals ethics cities", "Breeding programmes in zoos have saved species."),
    "zoo-02b": ("animals ethics cities", "Very few species bred in captivity are released."),
    "work-01a": ("education schools", "Homework trains pupils to plan their own time."),
    "work-01b": ("education schools", "Homework widens the gap between children."),
}
ASKED = ["zoo-01a", "zoo-02a", "work-01a"]
ANSWERS = {name: f"{name[:-1]}b" for name in ASKED}


def own(mined: Mined) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for (qid, docid), why in mined.dropped.items():
        if why == "own_document":
            found.setdefault(qid, []).append(docid)
    return found


def test_a_querys_own_document_is_no_negative(tmp_path: Path) -> None:
    queries = {name: DEBATE[name][1] for name in ASKED}
    mined = mine(tmp_path, DEBATE, queries, ANSWERS)
    assert own(mined) == {name: [name] for name in ASKED}
    assert "3 of 3 compared have the query's text" in mined.told
    for name in ASKED:
        assert sorted(mined.negatives[name]) == sorted(set(DEBATE) - {name, ANSWERS[name]})
    # Kept on request, and found by its text where ids say nothing.
    kept = mine(tmp_path, DEBATE, queries, ANSWERS, ["--own-document", "off"])
    assert all(name in kept.negatives[name] for name in ASKED)
    by_text = mine(tmp_path, DEBATE, queries, ANSWERS, ["--own-document", "text"])
    assert own(by_text) == own(mined)


def test_it_is_found_by_its_text_under_another_id(tmp_path: Path) -> None:
    queries = {f"test-{name}": DEBATE[name][1].upper() for name in ASKED}
    answers = {f"test-{name}": answer for name, answer in ANSWERS.items()}
    mined = mine(tmp_path / "text", DEBATE, queries, answers)
    assert own(mined) == {f"test-{name}": [name] for name in ASKED}
    queries = {f"test-{name}": " ".join(DEBATE[name]) for name in ASKED}
    mined = mine(tmp_path / "both", DEBATE, queries, answers)
    assert {pair: why for pair, why in mined.dropped.items() if why != "positive"} == {
        (f"test-{name}", name): "query_text" for name in ASKED
    }


@pytest.mark.parametrize("form", ["same", "title", "beginning", "reworded"])
def test_it_is_found_by_its_id_where_ids_mean_the_same(tmp_path: Path, form: str) -> None:
    documents = {
        f"s{n}": (
            f"On the topic of number {n}",
            f"Word{n} is the first of them, and number {n} "
            f"stands for what is said about topic{n} in chapter {n} of the book of {n}.",
        )
        for n in range(6)
    }
    queries = {}
    for n in range(3):
        title, text = documents[f"s{n}"]
        queries[f"s{n}"] = {
            "same": text,
            "title": title,
            "beginning": text[:60],
            # Two are enough to believe the ids, the third is told by its id alone.
            "reworded": text if n < 2 else "an entirely different way to say it",
        }[form]
    mined = mine(tmp_path, documents, queries, {f"s{n}": f"s{n + 3}" for n in range(3)})
    assert own(mined) == {f"s{n}": [f"s{n}"] for n in range(3)}
    assert ("warning: 3 candidates bear their query's id" in mined.told) == (form == "reworded")


def test_numbers_that_mean_something_else_are_no_evidence(tmp_path: Path) -> None:
    documents = {str(n): f"study number {n} of wings in a slipstream of kind {n}" for n in range(6)}
    queries = {str(n): f"what similarity laws hold for case{n}" for n in range(3)}
    mined = mine(tmp_path, documents, queries, {str(n): str(n + 3) for n in range(3)})
    assert own(mined) == {}
    assert all(str(n) in mined.negatives[str(n)] for n in range(3))
    assert "0 of 3 compared have the query's text: ids of queries and documents" in mined.told
    by_id = mine(
        *(tmp_path, documents, queries, {str(n): str(n + 3) for n in range(3)}),
        ["--own-document", "id"],
    )
    assert own(by_id) == {str(n): [str(n)] for n in range(3)}


# --- copies among the negatives ------------------------------------------------------------------

BREAD = {
    "a": "Sourdough bread rises because wild yeast in the starter makes gas.",
    "b1": "Bread dough rises when baker's yeast eats sugar and gives off gas.",
    "b2": "Bread dough rises when baker's yeast eats sugar and gives off gas.",
    "b3": "Bread dough rises when baker's yeast eats sugar and gives off gas",
    "b4": "bread dough rises when bakers yeast eats sugar, and gives off gas!",
    "c": "Flat bread is baked from dough without yeast.",
    "d": "Yeast is a fungus of a single cell.",
    "e": "Wheat is ground into flour.",
}


def repeated(mined: Mined) -> set[str]:
    return {docid for (_, docid), why in mined.dropped.items() if why == "repeated_text"}


def test_negatives_of_a_query_are_not_copies(tmp_path: Path) -> None:
    asked = {"q": "why does sourdough bread dough rise yeast gas"}
    mined = mine(tmp_path, BREAD, asked, {"q": "a"}, ["--num-negatives", "4"])
    assert mined.negatives["q"] == ["b1", "c", "d", "e"]
    assert repeated(mined) == {"b2", "b3", "b4"}
    code, output = call("explain", tmp_path / "work" / "ledger", "q", "--json")
    assert code == 0, output
    told = {one["docid"]: one for one in json.loads(output)["candidates"]}
    assert [told[name].get("repeats") for name in BREAD] == [
        None,
        None,
        "b1",
        "b1",
        "b1",
        *[None] * 3,
    ]
    assert told["b2"]["fate"] == "dropped: repeated_text of b1"
    lowest = ["--num-negatives", "4", "--sampler", "bottom"]
    assert repeated(mine(tmp_path, BREAD, asked, {"q": "a"}, lowest)) == {"b1", "b2", "b3"}
    kept = ["--num-negatives", "4", "--no-repeated-texts"]
    assert mine(tmp_path, BREAD, asked, {"q": "a"}, kept).negatives["q"] == ["b1", "b2", "b3", "b4"]


def test_a_document_without_text_is_no_negative(tmp_path: Path) -> None:
    """An encoder finds empty documents for any query; symbols and digits are text."""
    documents = {"p": "two and two", "e": "", "d": "...", "s": " - ", "n": "4", "o": "+", "t": "水"}
    mined = mine(tmp_path, documents, {"q": "what is 2 + 2"}, {"q": "p"})
    assert mined.dropped == {
        ("q", "p"): "positive",
        **{("q", docid): "empty_text" for docid in "eds"},
    }
    kept = mine(tmp_path, documents, {"q": "what is 2 + 2"}, {"q": "p"}, ["--no-empty-texts"])
    assert "empty_text" not in kept.dropped.values()


@pytest.mark.parametrize("sampler", ["top", "rank", "random", "bottom", "stratified", "simans"])
def test_as_many_are_taken_as_are_asked_for(tmp_path: Path, sampler: str) -> None:
    documents = {"p": "the positive is of its own"}
    for n in range(6):
        for copy in range(3):
            documents[f"d{n}-{copy}"] = f"text {n} about the{n} thing{n} it{n} is" + "!" * copy
    mined = mine(
        tmp_path,
        documents,
        {"q": "asked"},
        {"q": "p"},
        ["--sampler", sampler, "--num-negatives", "6"],
    )
    assert sorted(name[:2] for name in mined.negatives["q"]) == [f"d{n}" for n in range(6)]
    assert len(repeated(mined)) == 12


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            "北京是中华人民共和国的首都，也是全国的政治文化中心，人口超过两千万，历史悠久。",
            "北京是中华人民共和国的首都也是全国的政治文化中心。人口超过两千万，历史悠久",
        ),
        (
            "def area(r):\n    return 3.14159 * r * r  # of a circle",
            "def area(r): return 3.14159*r*r # of a circle",
        ),
        (
            "กรุงเทพมหานครเป็นเมืองหลวงและนครที่มีประชากรมากที่สุดของประเทศไทย",
            "กรุงเทพมหานคร เป็นเมืองหลวง และนครที่มีประชากรมากที่สุด ของประเทศไทย",
        ),
    ],
)
def test_copies_in_other_scripts_and_in_code(tmp_path: Path, first: str, second: str) -> None:
    documents = {"p": "positive", "n1": first, "n2": second, "n3": "something else entirely"}
    mined = mine(tmp_path, documents, {"q": "asked"}, {"q": "p"})
    assert mined.negatives["q"] == ["n1", "n3"]
    assert repeated(mined) == {"n2"}


def test_filled_negatives_are_no_copies_either(tmp_path: Path) -> None:
    mined = mine(
        *(tmp_path, BREAD, {"q": "why does bread rise"}, {"q": "a"}),
        ["--max-score", "0", "--fill-beyond", "1", "--num-negatives", "8"],
    )
    names = mined.negatives["q"]
    assert sorted(name[0] for name in names) == ["b", "c", "d", "e"]
