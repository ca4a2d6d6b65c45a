"""Students in their short form: tiny models, two steps, one seed."""

from __future__ import annotations

import json
import math
import random
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.conftest import ROOT, write_jsonl

QUERIES = 96


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        import bench_students  # type: ignore[import-not-found]

        yield bench_students
        for name in ("bench_students", "_student_report", "_students", "_denoise", "_bench"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Queries of two words, each with three documents that have one or both of them."""
    rng = random.Random(5)
    words = ["heart", "cell", "gene", "mouse", "river", "stone", "king", "sword", "bread", "wine"]
    made = tmp_path_factory.mktemp("beir")
    queries, corpus, qrels = [], [], ["query-id\tcorpus-id\tscore"]
    for number in range(QUERIES):
        pair = [f"w{number}", words[number % len(words)]]
        queries.append({"_id": f"q{number}", "text": " ".join(pair)})
        for copy in range(3):
            text = " ".join([pair[copy % 2], *rng.choices(words, k=4), f"n{number}c{copy}"])
            corpus.append({"_id": f"d{number}c{copy}", "title": "", "text": text})
            qrels.append(f"q{number}\td{number}c{copy}\t1")
    write_jsonl(made / "queries.jsonl", queries)
    write_jsonl(made / "corpus.jsonl", corpus)
    (made / "qrels.tsv").write_text("\n".join(qrels) + "\n")
    return made


@pytest.fixture(scope="module")
def arguments(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, tiny_bi: Path, tiny_cross: Path
) -> list[str]:
    """A command without its students; what is prepared is shared."""
    work = tmp_path_factory.mktemp("work")
    given = {
        "--work": work,
        "--name": "tiny",
        "--encoder": tiny_bi,
        "--scorer": tiny_cross,
        "--body": tiny_bi,
        "-k": 12,
        "--num-negatives": 4,
        "--seeds": 1,
        "--steps": 2,
    }
    return [str(folder), *(str(part) for pair in given.items() for part in pair)]


def runs(out: Path) -> dict[str, Any]:
    return {
        str(path.relative_to(out)): json.loads(path.read_text())
        for path in sorted(out.glob("tiny/*/*/*/seed*.json"))
    }


@pytest.mark.real
def test_every_miner_and_every_kind_of_student(
    bench: ModuleType, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--json", tmp_path / "all.json", "--svg", tmp_path / "all.svg"]
    out = tmp_path / "runs"
    miners = ["none", *bench.MINERS, "default"]
    bench.main([*arguments, "--student", "static", "--out", str(out)])
    few = ["--student", "minilm-short", "--student", "cross", "--miner", "st-ce"]
    bench.main([*arguments, *few, "--out", str(out), *map(str, files)])
    told = capsys.readouterr().out
    rows = [line.split(" | ")[0].strip("| *") for line in told.splitlines() if "[" in line]
    # The first command's table, then those of all three, by name.
    assert rows == [*miners, "st-ce", "st-ce", *miners]
    found = runs(out)
    assert len(found) == len(miners) + 2
    test = set(found["tiny/one/static/none/seed0.json"]["measures"]["nDCG@10"])
    assert QUERIES / 4 < len(test) < 3 * QUERIES / 4
    for run in found.values():
        assert set(run["measures"]) == {"nDCG@10", "MRR@10", "Recall@100"}
        assert all(set(values) == test for values in run["measures"].values())
    # The same number of examples for all who trained.
    filled = [
        run["filled"] for name, run in found.items() if "/static/" in name and "filled" in run
    ]
    assert len(filled) == len(miners) - 1
    assert len({each["total"] for each in filled}) == 1
    assert found["tiny/one/static/st-clean/seed0.json"]["negatives"]["contamination"] == 0
    numbers = json.loads((tmp_path / "all.json").read_text())
    assert {each["miner"] for each in numbers} == set(miners)
    for student in ("static", "minilm-short", "cross"):
        drawn = ElementTree.parse(tmp_path / f"all-{student}-one.svg").getroot()
        assert drawn.tag.endswith("svg")
    # Told again without training, and the same.
    bench.main(["--report", "--out", str(out)])
    assert told.endswith(capsys.readouterr().out)


@pytest.mark.real
def test_a_killed_run_goes_on_and_changed_settings_are_made_anew(
    bench: ModuleType,
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = [*arguments, "--student", "static", "--miner", "random", "--miner", "bm25"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    bench.main([*command, "--out", str(whole)])
    train, trained = bench.train, []

    def killed(*given: Any) -> None:
        if trained:
            raise KeyboardInterrupt
        trained.append(given)
        train(*given)

    monkeypatch.setattr(bench, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        bench.main([*command, "--out", str(cut)])
    assert [name.split("/")[3] for name in runs(cut)] == ["random"]
    assert not [path for path in cut.rglob(".*") if path.is_file()]
    first = next(cut.glob("tiny/one/static/random/seed0.json")).stat().st_mtime_ns
    monkeypatch.setattr(bench, "train", train)
    bench.main([*command, "--out", str(cut)])
    assert next(cut.glob("tiny/one/static/random/seed0.json")).stat().st_mtime_ns == first
    for name, run in runs(whole).items():
        assert runs(cut)[name]["measures"] == run["measures"]
    capsys.readouterr()
    bench.main([*command, "--steps", "1", "--out", str(cut)])
    assert capsys.readouterr().err.count("made with other settings, is made anew") == 2
    # Half of them made anew: the two kinds are not averaged.
    with pytest.raises(SystemExit, match="made with different settings"):
        bench.main([*command[:-2], "--out", str(cut)])


@pytest.mark.real
def test_who_refuses_has_a_reason_and_no_row(
    bench: ModuleType, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With one query in ten to train on, ``p_relevant`` has too little to learn from."""
    miners = ["--miner", "st-ce", "--recipe", str(ROOT / "configs" / "p-relevant.toml")]
    tried = ["--try", 'by="ce",max-score=0.0']
    given = [*arguments, "--student", "static", *miners, *tried, "--test-share", "0.9"]
    bench.main([*given, "--out", str(tmp_path / "runs")])
    told = capsys.readouterr().out
    assert "No `p-relevant` on tiny: it refused (p_relevant needs at least 20 positives" in told
    assert "| p-relevant |" not in told
    assert '| by="ce",max-score=0.0 |' in told


def test_one_text_is_on_one_side(bench: ModuleType) -> None:
    texts = [f"query {number}" for number in range(2000)]
    share = np.mean([bench.on_test_side(text, 0.3) for text in texts])
    assert share == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / 2000))
    for text in texts[:50]:
        other = f"  {text.upper()} "
        assert bench.on_test_side(text, 0.5) == bench.on_test_side(other, 0.5)


def test_measures_are_the_formulas(bench: ModuleType) -> None:
    ranked = {"a": {f"d{n}": 1 - n / 50 for n in range(20)}, "b": {"x": 1.0, "y": 0.5}}
    test = bench.Test({"a": "", "b": ""}, {"a": {"d1", "d4", "d15", "lost"}, "b": {"z"}})
    found = bench.measured(ranked, test)
    ideal = sum(1 / math.log2(rank + 1) for rank in (1, 2, 3, 4))
    gain = 1 / math.log2(3) + 1 / math.log2(6)
    assert found["nDCG@10"] == pytest.approx({"a": gain / ideal, "b": 0}, abs=1e-6)
    assert found["MRR@10"] == {"a": 0.5, "b": 0}
    assert found["Recall@100"] == {"a": 0.75, "b": 0}


def made_examples(bench: ModuleType, mined: list[tuple[int, int]]) -> Any:
    """Six queries (0 to 5) whose positives are texts 0 to 5, of thirty texts."""

    texts = {f"t{number}": number for number in range(30)}
    queries = {f"q{number}": number for number in range(6)}
    collection = SimpleNamespace(text_ids=texts, query_ids=queries)
    revealed = {(number, number) for number in range(6)}
    mining = bench.Mining(collection, Path(), revealed, revealed, 10, 4, 3)
    student = bench.Student("static", steps=5, batch=4, negatives=2, learning_rate=1.0)
    return bench.batches_of(mining, bench.as_pairs(mined), student)


def test_examples_differ_in_their_negatives_alone(bench: ModuleType) -> None:
    full = [(query, 6 + (5 * query + n) % 24) for query in range(6) for n in range(4)]
    # One negative for query 0, none for query 1, another's positive for query 2.
    short = [(0, 9), (2, 3), (2, 10), *(pair for pair in full if pair[0] > 2)]
    (one, whole), (other, filled) = made_examples(bench, full), made_examples(bench, short)
    plain = [[[(e.query, e.positive) for e in batch] for batch in made] for made in (one, other)]
    assert plain[0] == plain[1]
    assert [len(batch) for batch in one] == [4] * 5
    assert whole == bench.Filled(total=40)
    assert filled.total == 40
    mined = {(f"q{query}", f"t{text}") for query, text in short}
    drawn = 0
    for batch in other:
        positives = {example.positive for example in batch}
        assert len({example.query for example in batch}) == 4
        for example in batch:
            assert len(example.negatives) == 2
            assert not positives & set(example.negatives)
            drawn += sum((example.query, text) not in mined for text in example.negatives)
            if example.query == "q0":
                assert example.negatives == ["t9", "t9"]
    assert filled.random == drawn > 0
    assert filled.repeated > 0
    # In turn: over two passes all four are seen.
    seen = {text for batch in one for e in batch for text in e.negatives if e.query == "q5"}
    assert len(seen) == 4


def test_intervals_are_those_of_the_normal_distribution(bench: ModuleType) -> None:
    """Of a mean of many independent queries, and of a difference that is none."""
    values = np.random.default_rng(1).normal(0.3, 1, size=(1, 900))
    found = bench.report.estimate([values])
    half = 1.96 * values.std() / 30
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)
    assert found.seen
    # Two collections: the variance of the mean is a quarter of the sum.
    both = bench.report.estimate([values, values])
    assert both.high - both.low == pytest.approx(2 * half / math.sqrt(2), rel=0.1)
    assert not bench.report.estimate([values - values.mean()]).seen
    # What differs between seeds counts, however many queries there are.
    apart = bench.report.estimate([np.array([[0.0], [1.0], [2.0]]) + np.zeros((3, 500))])
    assert (apart.low, apart.high) == pytest.approx((0.0, 2.0))


def test_a_loss_is_drawn_below_zero_and_inside(bench: ModuleType) -> None:
    def runs(gain: float, false: float) -> Any:
        values = {f"q{number}": 0.4 + gain + number / 100 for number in range(8)}
        rates = {"contamination": false, "median_dense_rank": 9, "per_query": 4}
        return {0: {"measures": dict.fromkeys(bench.report.MEASURES, values), "negatives": rates}}

    made = {"st-ce": runs(0, 0.1), "worse": runs(-0.05, 0.2), "better": runs(0.02, 0.0)}
    group = bench.report.Group("c", "one", "static", made, {})
    worse = bench.report.difference([group], "worse", "nDCG@10")
    assert (worse.mean, worse.low, worse.high) == pytest.approx((-0.05, -0.05, -0.05))
    drawn = ElementTree.fromstring(bench.report.pictures([group])["static-one"])
    tag = "{http://www.w3.org/2000/svg}"
    first = drawn.find(f"{tag}g")
    assert first is not None
    height = {str(dot[0].text): float(dot.attrib["cy"]) for dot in first.iter(f"{tag}circle")}
    # The y axis of a picture goes down.
    assert height["B: better: B"] < height["A: st-ce: A"] < height["C: worse: C"]
    floor = max(float(line.attrib["y1"]) for line in first.iter(f"{tag}line"))
    assert height["C: worse: C"] <= floor


def test_runs_of_another_prior_are_others(bench: ModuleType, tmp_path: Path) -> None:
    told = json.loads((ROOT / "negmine" / "learning" / "prior.json").read_text("utf-8"))
    other = tmp_path / "prior.json"
    other.write_text(json.dumps({**told, "identity": "other"}))
    default = bench.Miner("default", bench.FilterParams(by="p_prior", max_score=0.1))
    plain = bench.Miner("plain", bench.FilterParams(by="ce", max_score=0.1))
    shipped = default.settings
    assert shipped["prior"] == told["identity"]
    with bench.fitted_by(other):
        assert default.settings == {**shipped, "prior": "other"}
        assert "prior" not in plain.settings
    assert default.settings == shipped


def test_who_is_not_through_is_named_and_takes_no_seed_from_the_others(bench: ModuleType) -> None:
    measures = {name: {"a": 0.5, "b": 0.25} for name in bench.report.MEASURES}
    run = {"measures": measures, "negatives": {}}
    runs = {"bm25": {0: run}, "st-ce": {0: run, 1: run}, "default": {0: {"refused": "Why.\nMend."}}}
    group = bench.report.group_of(("c", "one", "static"), {**runs, "random": {1: run, 0: run}})
    assert (list(group.runs), group.seeds) == (["random", "st-ce"], [0, 1])
    assert group.values("random", "MRR@10").shape == (2, 2)
    told = bench.report.tables([group])
    assert "No `bm25` on c: 1 of 2 seeds are still to be run." in told
    assert "No `default` on c: it refused (Why.)." in told


def test_the_commands_of_the_page_are_understood_and_its_tables_have_a_place(
    bench: ModuleType, tmp_path: Path
) -> None:
    page = ROOT / "docs" / "students.md"
    text = page.read_text("utf-8").replace("\\\n", " ")
    commands = [line for line in text.splitlines() if line.startswith("python scripts/bench_st")]
    assert len(commands) > 4
    given = [bench.parse_arguments(shlex.split(line, comments=True)[2:]) for line in commands]
    assert {str(each.folder) for each in given} > {"DATA/cranfield", "None"}
    copy = tmp_path / "page.md"
    copy.write_text(page.read_text("utf-8"), "utf-8")
    bench.report.put(copy, "\n| new |\n")
    before, _, rest = page.read_text("utf-8").partition("<!-- bench_students: begin -->")
    assert copy.read_text("utf-8").startswith(before)
    assert copy.read_text("utf-8").endswith(rest.partition("<!-- bench_students: end -->")[2])
    assert "| new |" in copy.read_text("utf-8")
    with pytest.raises(SystemExit, match="nothing between"):
        bench.report.put(ROOT / "README.md", "")
