"""Other people's training sets through the command line, with default flags.

What is asked of each: its queries, positives and given negatives, in their order and with their
scores, stand in the candidates table, and nothing else has a label.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training_sets import Seen, command, lines, mined, refused, seen

SUGAR, SALT, THUNDER = "how do plants make sugar", "why is the sea salty", "what makes thunder"
LEAVES = "Leaves use light to join water and carbon dioxide into sugar."
CELLS = "Cells burn sugar to release its energy."
RIVERS = "Rivers carry dissolved minerals into the sea, where they stay when water evaporates."
MOON = "The moon pulls the water of the sea."
LIGHTNING = "Lightning heats the air so fast that it expands with a bang."
HAIL = "Hail is frozen rain that grew in a cloud."
TRUTH = [(SUGAR, LEAVES, CELLS), (SALT, RIVERS, MOON), (THUNDER, LIGHTNING, HAIL)]


def check(table: dict[str, Seen], *, negatives: bool = True) -> None:
    """Each query has its positive and its one given negative."""
    assert set(table) == {query for query, _, _ in TRUTH}
    for query, positive, negative in TRUTH:
        assert table[query].positives == {positive}
        assert table[query].given == ([negative] if negatives else [])


FLAT: dict[str, list[Any]] = {
    "triplets": [{"anchor": q, "positive": p, "negative": n} for q, p, n in TRUTH],
    "n-tuples": [{"query": q, "positive": p, "negative_1": n} for q, p, n in TRUTH],
    "flagembedding": [{"query": q, "pos": [p], "neg": [n], "prompt": "p"} for q, p, n in TRUTH],
    "nemo": [{"question": q, "pos_doc": p, "neg_doc": [n]} for q, p, n in TRUTH],
    "negatives of a query": [{"query": q, "answer": p, "hard_negatives": [n]} for q, p, n in TRUTH],
}


@pytest.mark.parametrize("layout", FLAT)
def test_positives_and_negatives_of_a_record(tmp_path: Path, layout: str) -> None:
    check(mined(tmp_path, lines(tmp_path / "train.jsonl", FLAT[layout])))


def test_labels_of_pairs(tmp_path: Path) -> None:
    rows = [
        {"sentence1": q, "sentence2": text, "label": label}
        for q, p, n in TRUTH
        for text, label in ((p, 1), (n, 0))
    ]
    table = mined(tmp_path, lines(tmp_path / "train.jsonl", rows))
    check(table)
    assert {query: table[query].zeros for query, _, _ in TRUTH} == {q: {n} for q, _, n in TRUTH}


@pytest.mark.parametrize(("one", "zero"), [(True, False), (1.0, 0.0), ("1", "0")])
def test_labels_of_other_types(tmp_path: Path, one: Any, zero: Any) -> None:
    rows = [
        {"query": q, "passage": text, "label": mark}
        for q, p, n in TRUTH
        for text, mark in ((n, zero), (p, one))
    ]
    check(mined(tmp_path, lines(tmp_path / "train.jsonl", rows)))


def test_scores_between_are_refused_or_cut(tmp_path: Path) -> None:
    rows = [
        {"anchor": q, "document": text, "score": value}
        for q, p, n in TRUTH
        for text, value in ((p, 4.5), (n, 1.5))
    ]
    file = lines(tmp_path / "train.jsonl", rows)
    for bad in ("fail", "skip"):
        told = refused(tmp_path / bad, file, "--on-error", bad)
        assert "--positive-above" in told
        assert "train.jsonl:1" in told
    table = mined(tmp_path, file, "--positive-above", 3)
    check(table)
    assert table[SUGAR].scores == [1.5]
    assert not table[SUGAR].zeros


def test_a_list_with_scores_alone(tmp_path: Path) -> None:
    rows = [{"query": q, "documents": [p, n], "scores": [9.5, 3.25]} for q, p, n in TRUTH]
    file = lines(tmp_path / "train.jsonl", rows)
    assert "--positive-first" in refused(tmp_path / "no", file)
    table = mined(tmp_path / "first", file, "--positive-first")
    check(table)
    assert table[SALT].scores == [3.25]


def test_options_for_labels_are_refused_where_there_are_none(tmp_path: Path) -> None:
    plain = lines(tmp_path / "pairs.jsonl", FLAT["triplets"])
    assert "no labels" in refused(tmp_path / "1", plain, "--positive-above", 1)
    assert "no lists" in refused(tmp_path / "2", plain, "--positive-first")


def test_negatives_that_the_index_does_not_hold_are_told(tmp_path: Path) -> None:
    corpus = lines(tmp_path / "corpus.jsonl", [{"_id": "d", "text": LEAVES}])
    file = lines(tmp_path / "train.jsonl", FLAT["triplets"][:1])
    made = tmp_path / "index"
    assert command("index", "--corpus", corpus, "-o", made).exit_code == 0
    told = command("retrieve", made, "--pairs", file, "-o", tmp_path / "candidates")
    assert "1 given negatives are not in the corpus" in told.stderr
    table = seen(made, tmp_path / "candidates")
    assert (table[SUGAR].positives, table[SUGAR].given) == ({LEAVES}, [])


@pytest.mark.parametrize("pretty", [None, 4])
def test_dprs_files_are_arrays(tmp_path: Path, pretty: int | None) -> None:
    rows = [
        {
            "question": q,
            "answers": [],
            "positive_ctxs": [{"title": "", "text": p}],
            "negative_ctxs": [],
            "hard_negative_ctxs": [{"title": "", "text": n}],
        }
        for q, p, n in TRUTH
    ]
    file = tmp_path / "biencoder-train.json"
    file.write_text(json.dumps(rows, indent=pretty))
    check(mined(tmp_path, file))


def test_labelled_lists(tmp_path: Path) -> None:
    rows = [{"query": q, "docs": [n, p], "labels": [0, 1]} for q, p, n in TRUTH]
    table = mined(tmp_path, lines(tmp_path / "train.jsonl", rows))
    check(table)
    assert table[THUNDER].zeros == {HAIL}


def test_scores_and_order_of_a_list(tmp_path: Path) -> None:
    row = {
        "query": SUGAR,
        "pos": [LEAVES],
        "neg": [HAIL, MOON, CELLS],
        "pos_scores": [9.0],
        "neg_scores": [3.5, None, -1.0],
    }
    table = mined(tmp_path, lines(tmp_path / "train.jsonl", [row]))
    assert table[SUGAR].given == [HAIL, MOON, CELLS]
    assert table[SUGAR].scores == [3.5, None, -1.0]


def test_triplets_of_one_query_keep_their_order(tmp_path: Path) -> None:
    rows = [
        {"anchor": SUGAR, "positive": p, "negative": n, "scores": [5.0, s]}
        for p in (LEAVES, LIGHTNING)
        for n, s in ((MOON, 2.0), (HAIL, 1.0), (CELLS, 4.0))
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    table = mined(tmp_path, tmp_path / "train.parquet")
    assert table[SUGAR].positives == {LEAVES, LIGHTNING}
    assert table[SUGAR].given == [MOON, HAIL, CELLS]
    assert table[SUGAR].scores == [2.0, 1.0, 4.0]


def test_three_columns_without_names(tmp_path: Path) -> None:
    file = tmp_path / "triples.train.small.tsv"
    file.write_text("".join("\t".join(row) + "\n" for row in TRUTH))
    check(mined(tmp_path, file))


def test_three_single_words_may_be_names(tmp_path: Path) -> None:
    file = tmp_path / "triples.tsv"
    file.write_text("sugar\tleaves\tcells\nsalt\trivers\tmoon\n")
    assert "--column" in refused(tmp_path, file)


def _collections(folder: Path) -> tuple[Path, Path]:
    corpus = folder / "collection.tsv"
    corpus.write_text(
        "".join(f"{5000 + i}\t{p}\n{6000 + i}\t{n}\n" for i, (_, p, n) in enumerate(TRUTH))
    )
    queries = folder / "queries.tsv"
    queries.write_text("".join(f"{1000 + i}\t{q}\n" for i, (q, _, _) in enumerate(TRUTH)))
    return corpus, queries


def _of_ids(folder: Path, layout: str) -> Path:
    ids = [(1000 + i, 5000 + i, 6000 + i) for i in range(len(TRUTH))]
    if layout == "triples":
        file = folder / "qidpidtriples.train.full.2.tsv"
        file.write_text("".join(f"{q}\t{p}\t{n}\n" for q, p, n in ids))
        return file
    rows: list[Any] = {
        "hard negatives": [
            {"qid": q, "pos": [p], "neg": {"bm25": [n], "mini": [n]}} for q, p, n in ids
        ],
        "named integers": [{"query": q, "positive": p, "negative": n} for q, p, n in ids],
        "ids of texts": [{"query_id": str(q), "pos_id": [p], "neg_id": [n]} for q, p, n in ids],
    }[layout]
    return lines(folder / "train.jsonl", rows)


@pytest.mark.parametrize("layout", ["triples", "hard negatives", "named integers", "ids of texts"])
def test_ids_want_their_collections(tmp_path: Path, layout: str) -> None:
    file = _of_ids(tmp_path, layout)
    corpus, queries = _collections(tmp_path)
    assert "--corpus" in refused(tmp_path / "none", file)
    with_corpus = ("--corpus", corpus)
    assert "--queries" in refused(tmp_path / "no queries", file, index=with_corpus)
    table = mined(tmp_path, file, "--queries", queries, index=with_corpus)
    check(table)
    assert table[SUGAR].docids[LEAVES] == "5000"


def test_the_negatives_of_several_systems_are_merged(tmp_path: Path) -> None:
    corpus, queries = _collections(tmp_path)
    row = {"qid": 1000, "pos": [5000], "neg": {"bm25": [6002, 6001], "mini": [6001, 6000, 6002]}}
    file = lines(tmp_path / "train.jsonl", [row])
    table = mined(tmp_path, file, "--queries", queries, index=("--corpus", corpus))
    # The first of each, then the second of each; every one once.
    assert table[SUGAR].given == [HAIL, MOON, CELLS]


def test_a_query_with_a_text_and_documents_by_id(tmp_path: Path) -> None:
    corpus, _ = _collections(tmp_path)
    rows = [
        {
            "query_id": str(i),
            "query_text": q,
            "positive_document_ids": [f"{5000 + i}"],
            "negative_document_ids": [f"{6000 + i}"],
        }
        for i, (q, _, _) in enumerate(TRUTH)
    ]
    file = lines(tmp_path / "train.jsonl", rows)
    check(mined(tmp_path, file, index=("--corpus", corpus)))


def test_queries_beside_pairs_of_texts_are_refused(tmp_path: Path) -> None:
    _, queries = _collections(tmp_path)
    file = lines(tmp_path / "train.jsonl", FLAT["triplets"])
    assert "--queries" in refused(tmp_path, file, "--queries", queries)


def test_passages_are_documents_of_the_corpus_where_it_has_them(tmp_path: Path) -> None:
    corpus = lines(
        tmp_path / "corpus.jsonl",
        [
            {"_id": "d1", "text": CELLS},
            {"_id": "d2", "text": LEAVES},
            {"_id": "d3", "text": "More."},
        ],
    )
    file = lines(tmp_path / "train.jsonl", FLAT["triplets"])
    table = mined(tmp_path, file, index=("--corpus", corpus))
    check(table)
    assert (table[SUGAR].docids[CELLS], table[SUGAR].docids[LEAVES]) == ("d1", "d2")


def test_a_positive_among_the_negatives_stays_a_positive(tmp_path: Path) -> None:
    rows = [{"query": SUGAR, "pos": [LEAVES], "neg": [LEAVES, CELLS]}]
    file = lines(tmp_path / "train.jsonl", rows)
    table = mined(tmp_path, file)
    assert table[SUGAR].positives == {LEAVES}
    manifest = json.loads((tmp_path / "candidates" / "_manifest.json").read_text())
    assert any("positives of the same query" in told for told in manifest["warnings"])


def test_given_negatives_can_be_left_out_or_stand_alone(tmp_path: Path) -> None:
    file = lines(tmp_path / "train.jsonl", FLAT["triplets"])
    check(mined(tmp_path, file, "--no-given"), negatives=False)
    table = mined(tmp_path / "alone", file, "--source", "given", index=("--no-bm25",))
    check(table)
    assert set(table[SUGAR].docids) == {LEAVES, CELLS}


def test_a_record_that_says_nothing_is_named(tmp_path: Path) -> None:
    rows = [*FLAT["flagembedding"], {"query": "?", "pos": [3], "neg": []}]
    told = refused(tmp_path, lines(tmp_path / "train.jsonl", rows))
    assert "train.jsonl:4" in told
    assert "pos[0]" in told


# --- passages, conversations, arrays ------------------------------------------------------------


def _passage(title: str, text: str, docid: str, key: str = "docid") -> dict[str, Any]:
    return {key: docid, "title": title, "text": text}


def _tevatron(positives: bool = True) -> list[dict[str, Any]]:
    return [
        {
            "query_id": f"q{i}",
            "query": q,
            "answers": ["some"],
            "positive_passages": [_passage("Yes", p, f"p{i}")] if positives or i else [],
            "negative_passages": [_passage("No", n, f"n{i}")],
        }
        for i, (q, p, n) in enumerate(TRUTH)
    ]


def test_tevatrons_passages_keep_ids_and_titles(tmp_path: Path) -> None:
    table = mined(tmp_path, lines(tmp_path / "train.jsonl", _tevatron()))
    assert table[SALT].positives == {f"Yes {RIVERS}"}
    assert table[SALT].given == [f"No {MOON}"]
    assert table[SALT].docids == {f"Yes {RIVERS}": "p1", f"No {MOON}": "n1"}


def test_a_query_without_a_positive_is_counted(tmp_path: Path) -> None:
    table = mined(tmp_path, lines(tmp_path / "miracl.jsonl", _tevatron(positives=False)))
    assert set(table) == {SALT, THUNDER}
    manifest = json.loads((tmp_path / "candidates" / "_manifest.json").read_text())
    assert manifest["counts"]["queries_without_positive"] == 1


def test_dprs_contexts(tmp_path: Path) -> None:
    def context(text: str, docid: str, score: float) -> dict[str, Any]:
        return {**_passage("T", text, docid, "passage_id"), "score": score, "title_score": 1}

    rows = [
        {
            "dataset": "toy",
            "question": q,
            "answers": ["x"],
            "positive_ctxs": [context(p, f"1{i}", 1000)],
            "negative_ctxs": [context("Neither of them.", "9", 0.5)],
            "hard_negative_ctxs": [context(n, f"2{i}", 9.5)],
        }
        for i, (q, p, n) in enumerate(TRUTH)
    ]
    table = mined(tmp_path, lines(tmp_path / "dpr.jsonl", rows))
    assert set(table) == {SUGAR, SALT, THUNDER}
    assert table[THUNDER].positives == {f"T {LIGHTNING}"}
    assert table[THUNDER].given == [f"T {HAIL}", "T Neither of them."]
    assert table[THUNDER].scores == [9.5, 0.5]
    assert table[THUNDER].docids[f"T {HAIL}"] == "22"


def _said(text: str, role: str = "user") -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def test_swifts_conversations(tmp_path: Path) -> None:
    rows = [
        {
            "messages": [{"role": "system", "content": "Find it."}, *_said(q)],
            "positive_messages": [_said(p, "assistant")],
            "negative_messages": [_said(n, "assistant")],
        }
        for q, p, n in TRUTH
    ]
    check(mined(tmp_path, lines(tmp_path / "swift.jsonl", rows)))
    rows[1]["messages"] = [*_said(SALT), *_said("?", "assistant"), *_said("!")]
    told = refused(tmp_path / "turns", lines(tmp_path / "turns.jsonl", rows))
    assert "turns.jsonl:2" in told


ARRAYS: dict[str, list[Any]] = {
    "arrays of two": [[q, p] for q, p, _ in TRUTH],
    "arrays of three": [[q, p, n] for q, p, n in TRUTH],
    "texts of two": [{"texts": [q, p]} for q, p, _ in TRUTH],
    "texts of three": [{"texts": [q, p, n]} for q, p, n in TRUTH],
    "sets": [{"set": [q, p]} for q, p, _ in TRUTH],
    "query and lists": [{"query": q, "pos": [p], "neg": [n]} for q, p, n in TRUTH],
    "query and positives": [{"query": q, "pos": [p]} for q, p, _ in TRUTH],
}


@pytest.mark.parametrize("layout", ARRAYS)
def test_embedding_training_data(tmp_path: Path, layout: str) -> None:
    table = mined(tmp_path, lines(tmp_path / "train.jsonl", ARRAYS[layout]))
    check(table, negatives=layout in ("arrays of three", "texts of three", "query and lists"))


def test_a_long_array_is_a_set_only_if_one_says_so(tmp_path: Path) -> None:
    rows = [{"texts": ["how to boil eggs", "boiling eggs", "eggs, boiled", "cook an egg"]}]
    file = lines(tmp_path / "train.jsonl", rows)
    assert "--column set=texts" in refused(tmp_path / "no", file)
    said = ("--column", "set=texts")
    table = mined(tmp_path / "yes", file, *said, index=said)
    assert table["how to boil eggs"].positives == set(rows[0]["texts"][1:])


def test_colberts_arrays_of_numbers(tmp_path: Path) -> None:
    corpus, queries = _collections(tmp_path)
    rows: list[Any] = [[1000, 5000, 6000, 6001], [1001, [5001, 9.0], [6001, 3.5]]]
    file = lines(tmp_path / "train.jsonl", rows)
    table = mined(tmp_path, file, "--queries", queries, index=("--corpus", corpus))
    assert table[SUGAR].given == [CELLS, MOON]
    assert (table[SALT].positives, table[SALT].scores) == ({RIVERS}, [3.5])


def test_a_single_line_of_colberts(tmp_path: Path) -> None:
    corpus, queries = _collections(tmp_path)
    file = lines(tmp_path / "train.jsonl", [[1001, [5001, 9.0], [6001, 3.5]]])
    table = mined(tmp_path, file, "--queries", queries, index=("--corpus", corpus))
    assert (table[SALT].positives, table[SALT].scores) == ({RIVERS}, [3.5])


def test_files_of_several_layouts(tmp_path: Path) -> None:
    first = lines(tmp_path / "a.jsonl", FLAT["triplets"][:1])
    second = lines(tmp_path / "b.jsonl", FLAT["flagembedding"][1:])
    more = ("--pairs", second)
    check(mined(tmp_path, first, *more, index=more))


def test_a_single_conversation_is_no_wrapping(tmp_path: Path) -> None:
    row = {
        "messages": _said(SUGAR),
        "positive_messages": [_said(LEAVES)],
        "negative_messages": [_said(CELLS), _said(MOON)],
    }
    table = mined(tmp_path, lines(tmp_path / "swift.jsonl", [row]))
    assert (table[SUGAR].positives, table[SUGAR].given) == ({LEAVES}, [CELLS, MOON])


def test_a_bad_id_or_score_beside_a_text_is_told_by_the_column_of_the_file(tmp_path: Path) -> None:
    for column, value in (("doc_id", ""), ("similarity_score", "high")):
        rows = [{"query": SUGAR, "passage": LEAVES, "label": 1, column: value}]
        asked = ("--column", f"score={column}") if column != "doc_id" else ()
        told = refused(tmp_path, lines(tmp_path / "train.jsonl", rows), *asked)
        assert f"field '{column}'" in told
