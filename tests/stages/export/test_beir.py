"""``export --beir``: the held-out queries as an evaluation set, read as BEIR does and by negmine.

What should stand in the files is worked out from the rows of the ledger and the users' files.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negmine import recipe
from negmine.inputs import limits
from negmine.params import ExportParams, FilterParams
from negmine.stages import export
from negmine.stages import filter as filtering
from negmine.stages.export import beir
from negmine.stages.stage import STAGES, chain
from negmine.table import documents
from tests.conftest import Invoke, write_jsonl
from tests.tables import make_scored

TOPICS = {
    "river": ["water", "valley", "bridge", "flood", "stone"],
    "engine": ["piston", "valve", "oil", "spark", "belt"],
    "garden": ["soil", "seed", "water", "stone", "rose"],
}
SPLIT = 0.4
Rows = list[dict[str, Any]]


def held_out(qid: str) -> bool:
    """The side of a query, by the rule that the documentation of the split gives."""
    digest = hashlib.blake2b(qid.encode(), digest_size=8, person=b"negmine.split").digest()
    return int.from_bytes(digest, "little") / 2**64 < SPLIT


def command(*arguments: object) -> Any:
    from typer.testing import CliRunner

    from negmine.cli import app

    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


#: Held-out queries without a positive: one that nobody judged, one with a judgement of 0 alone.
UNKNOWN = next(i for i in range(40) if held_out(f"q {i}") and i % 4 and i % 5)
ZERO = next(i for i in range(40) if held_out(f"q {i}") and i % 4 and not i % 5)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain over a corpus in several parts: graded judgements, a query without any."""
    folder = tmp_path_factory.mktemp("beir")
    corpus = [
        {
            "_id": f"{topic}{i}",
            "title": topic.title() if i % 2 else "",
            "text": f'{topic} "{" ".join(words[i % 5 :] + words[: i % 5])}"\n{i} {i + 1} {i + 2}',
        }
        for topic, words in TOPICS.items()
        for i in range(50)
    ]
    names = list(TOPICS)
    asked = [{"_id": f"q {i}", "text": f"{names[i % 3]} {i}"} for i in range(40)]
    judged = ["query-id\tcorpus-id\tscore"]
    for i in range(40):
        topic = names[i % 3]
        if i not in (UNKNOWN, ZERO):
            judged.append(f"q {i}\t{topic}{i}\t{1 + i % 3}")
        if i % 4 == 0:
            judged.append(f"q {i}\t{topic}{i + 1}\t1")
        if i % 5 == 0:
            # Of another topic: no search finds it.
            judged.append(f"q {i}\t{names[(i + 1) % 3]}{i + 2}\t0")
    write_jsonl(folder / "corpus.jsonl", corpus)
    write_jsonl(folder / "queries.jsonl", asked)
    (folder / "qrels.tsv").write_text("\n".join(judged) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "PART_DOCUMENTS", 7)
        patch.setattr(limits, "MAX_BATCH_ROWS", 7)
        command("index", "--corpus", folder / "corpus.jsonl", "-o", folder / "index")
    inputs = ("--queries", folder / "queries.jsonl", "--qrels", folder / "qrels.tsv")
    options = ("--keep-unlabelled", "-k", 8)
    command("retrieve", folder / "index", *inputs, *options, "-o", folder / "candidates")
    rules = ("--num-negatives", 3, "--no-near-duplicates", "--range-max", 6)
    command("filter", folder / "candidates", *rules, "-o", folder / "ledger")
    return folder


def ledger_rows(work: Path) -> Rows:
    parts = sorted((work / "ledger").glob("part-*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def lines(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def read(folder: Path) -> tuple[dict[str, Any], dict[str, str], dict[str, dict[str, int]]]:
    """Corpus, queries and qrels as BEIR's ``GenericDataLoader`` reads them, by its code's rules."""
    corpus = {
        line["_id"]: {"text": line.get("text"), "title": line.get("title")}
        for line in lines(folder / "corpus.jsonl")
    }
    queries = {line["_id"]: line.get("text") for line in lines(folder / "queries.jsonl")}
    qrels: dict[str, dict[str, int]] = {}
    with (folder / "qrels" / "test.tsv").open(encoding="utf-8") as file:
        reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_MINIMAL)
        next(reader)
        for query, document, score in reader:
            qrels.setdefault(query, {})[document] = int(score)
    return corpus, {query: queries[query] for query in qrels}, qrels


def right(work: Path, side: Any = held_out) -> dict[str, dict[str, int]]:
    """The users' judgements of the queries of a side that have a positive."""
    found: dict[str, dict[str, int]] = {}
    with (work / "qrels.tsv").open() as file:
        next(file)
        for line in file:
            query, document, grade = line.rstrip("\n").split("\t")
            if side(query):
                found.setdefault(query, {})[document] = int(grade)
    return {query: of for query, of in found.items() if max(of.values()) > 0}


def test_the_held_out_side_beside_a_training_set(work: Path, tmp_path: Path) -> None:
    train, out = tmp_path / "train.parquet", tmp_path / "eval"
    asked = ("export", work / "ledger", "--ids", "--split", SPLIT, "-o", train, "--beir", out)
    result = command(*asked)
    assert result.stdout.strip() == str(train)
    corpus, queries, qrels = read(out)
    assert qrels == right(work)
    texts = {line["_id"]: line["text"] for line in lines(work / "queries.jsonl")}
    assert queries == {query: texts[query] for query in qrels}
    assert [line["_id"] for line in lines(out / "queries.jsonl")] == list(queries)
    # The whole corpus, in its order, titles apart from texts.
    assert lines(out / "corpus.jsonl") == lines(work / "corpus.jsonl")
    assert set(corpus) >= {document for of in qrels.values() for document in of}
    trained = {row["qid"] for row in pq.read_table(train).to_pylist()}
    assert trained
    assert trained.isdisjoint(line["_id"] for line in lines(out / "queries.jsonl"))
    without = {query for query in texts if held_out(query)} - set(qrels)
    assert without
    assert f"{len(without)} of {len(without) + len(qrels)} held-out queries have no known" in (
        result.stderr
    )
    again = command(*asked)
    assert f"{out} is up to date" in again.stderr
    assert f"{train} is up to date" in again.stderr
    assert "held-out queries have no known" in again.stderr


def test_the_option_changes_nothing_about_the_training_set(work: Path, tmp_path: Path) -> None:
    plain, beside = tmp_path / "plain.parquet", tmp_path / "beside.parquet"
    for out, more in ((plain, ()), (beside, ("--beir", tmp_path / "eval"))):
        command("export", work / "ledger", "--split", SPLIT, "-o", out, *more)
    assert plain.read_bytes() == beside.read_bytes()
    recorded = [
        json.loads((tmp_path / f"_{out.name}.manifest.json").read_text())["fingerprint"]
        for out in (plain, beside)
    ]
    assert recorded[0] == recorded[1]


CHOICES = {
    "pool": lambda row: True,
    "survivors": lambda row: row["dropped_by"] is None,
    "chosen": lambda row: row["selected"] is not None,
}


@pytest.mark.parametrize("corpus", CHOICES)
def test_a_corpus_of_hard_negatives(work: Path, tmp_path: Path, corpus: str) -> None:
    out = tmp_path / "eval"
    options = ("--split", SPLIT, "--beir-corpus", corpus)
    assert command("export", work / "ledger", *options, "--beir", out).stdout.strip() == str(out)
    queries = right(work)
    wanted = {
        row["docid"]
        for row in ledger_rows(work)
        if row["qid"] in queries and (row["grade"] is not None or CHOICES[corpus](row))
    }
    whole = lines(work / "corpus.jsonl")
    assert lines(out / "corpus.jsonl") == [line for line in whole if line["_id"] in wanted]
    assert read(out)[2] == queries
    assert 0 < len(wanted) < len(whole)


def test_each_corpus_holds_the_next(work: Path, tmp_path: Path) -> None:
    sizes = []
    for corpus in ("whole", *CHOICES):
        options = ("--split", SPLIT, "--beir-corpus", corpus)
        command("export", work / "ledger", *options, "--beir", tmp_path / corpus)
        sizes.append(len(lines(tmp_path / corpus / "corpus.jsonl")))
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4


def test_alone_and_without_a_split_all_queries_are_evaluated(work: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    result = command("export", work / "ledger", "--beir", out)
    assert read(out)[2] == right(work, side=lambda query: True)
    assert "2 of 40 queries have no known positive" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["eval"]


@pytest.mark.parametrize("corpus", ["whole", "chosen"])
def test_negmine_reads_it_back(work: Path, tmp_path: Path, corpus: str) -> None:
    out = tmp_path / "eval"
    command(*("export", work / "ledger", "--split", SPLIT, "--beir", out, "--beir-corpus", corpus))
    command("index", "--corpus", out, "-o", tmp_path / "index")
    command(
        *("retrieve", tmp_path / "index", "--queries", out, "--qrels", out, "-k", 5),
        *("-o", tmp_path / "candidates"),
    )
    rows = pq.read_table(sorted((tmp_path / "candidates").glob("part-*"))).to_pylist()
    grades: dict[str, dict[str, int]] = {}
    for row in rows:
        assert (row["label"] == 1) == ((row["grade"] or 0) >= 1)
        if row["grade"] is not None:
            grades.setdefault(row["qid"], {})[row["docid"]] = row["grade"]
    assert grades == right(work)
    back = pq.read_table(tmp_path / "candidates" / "_queries").to_pylist()
    texts = {line["_id"]: line["text"] for line in lines(work / "queries.jsonl")}
    assert {row["qid"]: row["text"] for row in back} == {query: texts[query] for query in grades}
    stored = pq.read_table(tmp_path / "index" / "documents").to_pylist()
    given = {line["_id"]: (line["title"], line["text"]) for line in lines(work / "corpus.jsonl")}
    assert all(given[row["docid"]] == (row["title"], row["text"]) for row in stored)


def test_an_interrupted_run_goes_on(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, straight = tmp_path / "eval", tmp_path / "straight"
    params = ExportParams(split=SPLIT, beir=str(out))
    some = documents.Documents.some

    def cut(self: Any, *arguments: Any) -> Iterator[Any]:
        yield next(some(self, *arguments))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(documents.Documents, "some", cut)
        with pytest.raises(KeyboardInterrupt):
            export.run(params, work / "ledger", out)
    before = (out / "queries.jsonl").stat().st_mtime_ns
    assert not (out / "corpus.jsonl").exists()
    export.run(params, work / "ledger", out)
    assert (out / "queries.jsonl").stat().st_mtime_ns == before
    export.run(ExportParams(split=SPLIT, beir=str(straight)), work / "ledger", straight)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        assert (out / name).read_bytes() == (straight / name).read_bytes()


def test_the_corpus_is_never_held(work: Path, tmp_path: Path) -> None:
    setup = export.set_up(ExportParams(beir="eval"), work / "ledger", Path("eval"))
    parts = setup.source.documents.names
    assert len(parts) > 3
    sizes = [table.num_rows for table in beir.corpus(setup.source, None)]
    assert len(sizes) == len(parts)
    # Parts without a wanted document are not read.
    some = beir.corpus(setup.source, pa.array(["river1", "garden49"]))
    assert [table.num_rows for table in some] == [1, 1]


def test_inspect_shows_it_and_verify_finds_a_change(
    work: Path, tmp_path: Path, invoke: Invoke
) -> None:
    out = tmp_path / "eval"
    command("export", work / "ledger", "--split", SPLIT, "--beir", out)
    shown = invoke("inspect", out)
    assert "an evaluation set in BEIR's layout" in shown.stdout
    assert "corpus.jsonl, row 1:" in shown.stdout
    assert invoke("inspect", out, "--verify").exit_code == 0
    told = json.loads(invoke("inspect", out, "--json").stdout)
    assert told["counts"]["queries"] == len(right(work))
    with (out / "qrels" / "test.tsv").open("a") as file:
        file.write("q 1\triver1\t1\n")
    assert invoke("inspect", out, "--verify").exit_code != 0
    again = invoke("export", work / "ledger", "--split", SPLIT, "--beir", out)
    assert again.exit_code != 0
    command("export", work / "ledger", "--split", SPLIT, "--beir", out, "--force")
    assert read(out)[2] == right(work)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--beir", "eval", "-o", "train.parquet"), 2, "would be those of the training set"),
        (("--beir-corpus", "pool", "-o", "train.parquet"), 2, "--beir-corpus belongs to --beir"),
        (("--beir", "eval", "--scores"), 2, "--scores is for examples"),
        (("--beir", "eval", "--format", "nemo"), 2, "--format is for examples"),
        (("--beir", "train/eval", "--split", "0.4", "-o", "train"), 2, "a folder of its own"),
        (("--beir", "-"), 2, "a folder of its own"),
        (("--beir", "mine", "--split", "0.4"), 6, "is not a negmine artifact"),
        (("--beir", "eval", "--split", "0.0001"), 8, "holds out no query"),
        ((), 2, "-o is missing"),
    ],
)
def test_what_is_refused(
    work: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    invoke: Invoke,
    arguments: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "corpus.jsonl").write_text("{}\n")
    result = invoke("export", work / "ledger", *arguments)
    assert result.exit_code == code, result.output
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) >= 2, "how to mend it"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_other_settings_are_refused(work: Path, tmp_path: Path, invoke: Invoke) -> None:
    out = tmp_path / "eval"
    command("export", work / "ledger", "--split", SPLIT, "--beir", out)
    asked = ("export", work / "ledger", "--split", SPLIT, "--beir", out, "--beir-corpus", "pool")
    result = invoke(*asked)
    assert result.exit_code == 6
    assert "beir-corpus: whole -> pool" in result.stderr
    command(*asked, "--force")
    assert len(lines(out / "corpus.jsonl")) < len(lines(work / "corpus.jsonl"))


def test_a_dry_run_writes_nothing(work: Path, tmp_path: Path) -> None:
    out, train = tmp_path / "eval", tmp_path / "train.parquet"
    for more in ((), ("-o", train)):
        asked = ("export", work / "ledger", "--split", SPLIT, "--beir", out, *more, "--dry-run")
        told = json.loads(command(*asked, "--json").stdout)
        assert list(tmp_path.iterdir()) == []
        assert "evaluation set" in json.dumps(told)
    command("export", work / "ledger", "--split", SPLIT, "--beir", out)
    written = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    again = ("export", work / "ledger", "--split", SPLIT, "--beir", tmp_path / "b", "--dry-run")
    (cost,) = json.loads(command(*again, "--json").stdout)["stages"]
    assert 0.5 * written < cost["disk_bytes"] < 2 * written
    made = ("export", work / "ledger", "--split", SPLIT, "--beir", out, "--dry-run")
    assert "up to date" in command(*made).stdout


# --- grades and positives of other kinds ------------------------------------------------------


def pair(qid: str, docid: str, label: int, grade: float | None, score: float = 1.0) -> Any:
    found = {"qid": qid, "docid": docid, "label": label, "grade": grade}
    return found | {"rank_bm25": 1, "score_bm25": score, "score_ce": score}


def filtered(folder: Path, parts: list[Any], **params: Any) -> Path:
    texts = {row["qid"]: f"ask {row['qid'][0]}" for rows in parts for row in rows}
    scored = make_scored(
        folder, parts, sources=("bm25",), query_texts=texts, doc_texts={"a": "tab\there"}
    )
    filtering.run(FilterParams(num_negatives=1, **params), scored, folder / "ledger")
    return folder / "ledger"


def test_grades_are_kept_and_what_they_may_mean_to_others_is_told(tmp_path: Path) -> None:
    rows = [
        pair("x1", "a", 1, 3),
        pair("x1", "b", 1, 2.5),
        pair("x1", "c", 0, 1),
        pair("x1", "d", 0, -2),
        pair("x1", "e", 0, None),
        pair("x2", "e", 1, 0),
        pair("x2", "d", 0, None),
    ]
    ledger = filtered(tmp_path, [rows])
    told = command("export", ledger, "--beir", tmp_path / "eval").stderr
    written = (tmp_path / "eval" / "qrels" / "test.tsv").read_text().splitlines()
    assert written == [
        "query-id\tcorpus-id\tscore",
        *("x1\ta\t3", "x1\tb\t2.5", "x1\tc\t1", "x1\td\t-2", "x2\te\t0"),
    ]
    assert "1 grades have fractions" in told
    # c is above 0 and no positive, e is a positive at 0.
    assert "2 grades are above 0 without making a positive" in told
    assert lines(tmp_path / "eval" / "corpus.jsonl")[0] == {
        "_id": "a",
        "title": "",
        "text": "tab\there",
    }


def test_positives_of_the_filter_itself(tmp_path: Path) -> None:
    rows = [pair("x1", "a", 1, 1), pair("y1", "b", 0, None, 9.0), pair("y1", "c", 0, None)]
    ledger = filtered(tmp_path, [rows], pseudo_positive=5.0)
    told = command("export", ledger, "--beir", tmp_path / "use").stderr
    assert read(tmp_path / "use")[2] == {"x1": {"a": 1}, "y1": {"b": 1}}
    assert "1 of the positives were chosen by the filter itself" in told
    told = command(
        *("export", ledger, "--promoted", "leave-out", "--beir", tmp_path / "leave-out")
    ).stderr
    assert read(tmp_path / "leave-out")[2] == {"x1": {"a": 1}}
    assert "1 of 2 queries have no known positive" in told


def test_no_query_with_a_positive(tmp_path: Path, invoke: Invoke) -> None:
    ledger = filtered(tmp_path, [[pair("x1", "a", 0, None)]])
    result = invoke("export", ledger, "--beir", tmp_path / "eval")
    assert result.exit_code == 8
    assert "not one of 1 queries has a known positive" in result.stderr
    assert not (tmp_path / "eval").exists()
    command("export", ledger, "--beir", tmp_path / "eval", "--allow-empty")
    assert (tmp_path / "eval" / "queries.jsonl").read_bytes() == b""
    assert (tmp_path / "eval" / "qrels" / "test.tsv").read_text().count("\n") == 1


@pytest.mark.parametrize("strange", ['"d', "d\t1", "d\n1"])
def test_ids_that_a_line_cannot_hold(tmp_path: Path, invoke: Invoke, strange: str) -> None:
    ledger = filtered(tmp_path, [[pair("x1", strange, 1, 1), pair("x1", "a", 0, None)]])
    result = invoke("export", ledger, "--beir", tmp_path / "eval")
    assert result.exit_code == 5
    assert "cannot hold it" in result.stderr
    assert not (tmp_path / "eval").exists()


def test_one_text_on_both_sides_is_told(tmp_path: Path) -> None:
    qids = [f"x{n}" for n in range(20)]
    parts = [[pair(q, "a", 1, 1), pair(q, "b", 0, None)] for q in qids]
    ledger = filtered(tmp_path, parts, duplicate_queries=False)
    told = command("export", ledger, "--split", SPLIT, "--beir", tmp_path / "eval").stderr
    count = sum(map(held_out, qids))
    assert f"{count} held-out queries have the text of a query of the train side" in told


# --- in a recipe ------------------------------------------------------------------------------


def test_a_recipe_names_the_folder_relative_to_its_file(tmp_path: Path) -> None:
    path = tmp_path / "made" / "recipe.toml"
    path.parent.mkdir()
    path.write_text('work = "work"\n[export]\nsplit = 0.1\nbeir = "work/eval"\n')
    table = recipe.load(path).tables["export"]
    assert table["beir"] == str(tmp_path / "made" / "work" / "eval")
    params = {name: stage.params() for name, stage in STAGES.items()}
    params["export"] = ExportParams(**table)
    steps = chain(params, tmp_path / "made" / "work", "train.parquet", "narrow")
    assert steps[-1].params == ExportParams(
        split=0.1, beir=str(tmp_path / "made" / "work" / "eval-narrow")
    )
