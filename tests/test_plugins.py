"""Other packages' sources, scorers, rules and formats: the example, and what can go wrong."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from negmine.errors import MissingDependencyError, UsageError
from negmine.params import ExportParams, FilterParams
from negmine.stages import export
from negmine.stages import filter as filtering
from tests.conftest import ROOT, Invoke, write_jsonl
from tests.formats.conftest import make_ledger

EXAMPLE = ROOT / "examples" / "plugin"


def install(
    site: Path,
    monkeypatch: pytest.MonkeyPatch,
    project: dict[str, Any],
    code: dict[str, str] | None = None,
) -> None:
    """What pip leaves of a package, without pip: its metadata and its modules on the path."""
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for name, text in (code or {}).items():
        (site / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(site))


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    code = {"negmine_example": (EXAMPLE / "negmine_example.py").read_text()}
    install(tmp_path / "site", monkeypatch, project, code)
    return project


THINGS = ["red apple", "blue house", "green car", "white river", "old shirt", "new book"]


def test_the_example_plug_in_brings_all_four(
    example: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    """A chain of nothing but the plug-in's pieces, over documents without any index."""
    monkeypatch.chdir(tmp_path)
    texts = [f"The {thing} stands near the {other}." for thing in THINGS for other in THINGS[:3]]
    write_jsonl(tmp_path / "c.jsonl", [{"_id": f"d{i}", "text": t} for i, t in enumerate(texts)])
    write_jsonl(
        tmp_path / "q.jsonl",
        [{"_id": f"q{i}", "text": f"Where is the {thing}?"} for i, thing in enumerate(THINGS)],
    )
    judged = "".join(f"q{i}\td{3 * i}\t1\n" for i in range(len(THINGS)))
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    for line in (
        "index --corpus c.jsonl --no-bm25 -o index",
        "retrieve index --queries q.jsonl --qrels qrels.tsv --source w=plugin:words -k 8 -o cand",
        "rerank cand --scorer j=plugin:jaccard -o scored",
        "filter scored --by j --rule outlier=1 --num-negatives 2 --no-near-duplicates -o ledger",
        "export ledger --format question-answers -o train.jsonl",
    ):
        result = invoke(*line.split())
        assert result.exit_code == 0, (line, result.output)
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert len(rows) == len(THINGS)
    for row, thing in zip(rows, THINGS, strict=True):
        assert row["question"] == f"Where is the {thing}?"
        assert row["right"][0].startswith(f"The {thing} ")
        assert len(row["wrong"]) == 2

    ledger = pq.read_table(tmp_path / "ledger").to_pylist()
    for row in ledger:
        left, right = (
            {*text.lower().strip("?.").split()}
            for text in (
                f"Where is the {THINGS[int(row['qid'][1:])]}?",
                texts[int(row["docid"][1:])],
            )
        )
        assert row["score_w"] == len(left & right)
        assert row["score_j"] == pytest.approx(len(left & right) / len(left | right))
    assert {row["dropped_by"] for row in ledger} >= {"outlier", "positive"}

    identity = f"{example['name']}=={example['version']} negmine_example:"
    for folder in ("cand", "ledger"):
        manifest = json.loads((tmp_path / folder / "_manifest.json").read_text())
        assert identity in json.dumps(manifest["params"]["plugins"])
    scored = json.loads((tmp_path / "scored" / "_manifest.json").read_text())
    assert scored["models"]["j"]["revision"] == identity + "load_scorer"


def test_doctor_lists_the_plug_ins(example: dict[str, Any], invoke: Invoke) -> None:
    told = json.loads(invoke("doctor", "--json").stdout)["plug-ins"]
    assert told["rule outlier"] == f"{example['name']} {example['version']}"
    assert {name.split()[0] for name in told} == {"format", "rule", "scorer", "source"}


def test_another_version_of_a_plug_in_is_another_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = make_ledger(tmp_path / "made")
    scored = ledger.parent / "scored"
    code = {
        "their_rule": "from negmine.rules.base import Rule, always\n"
        "def make(value):\n"
        "    return Rule('never', always, lambda view, params: view.score < -1e9)\n"
    }
    fingerprints = []
    for version in ("1.0", "1.1"):
        with monkeypatch.context() as patch:
            project = {
                "name": "their-rule",
                "version": version,
                "entry-points": {"negmine.rules": {"never": "their_rule:make"}},
            }
            install(tmp_path / f"site{version}", patch, project, code)
            out = tmp_path / f"ledger{version}"
            filtering.run(FilterParams(rule=("never",)), scored, out)
            fingerprints.append(json.loads((out / "_manifest.json").read_text())["fingerprint"])
    assert fingerprints[0] != fingerprints[1]


def test_a_plug_in_that_fails_says_whose_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = {
        "name": "broken",
        "version": "0.3",
        "entry-points": {
            "negmine.formats": {"torn": "broken_module:TORN", "empty": "broken_values:EMPTY"},
            "negmine.rules": {"odd": "broken_values:odd"},
        },
    }
    code = {
        "broken_module": "raise RuntimeError('no licence')\n",
        "broken_values": "EMPTY = 3\ndef odd(value):\n    return value\n",
    }
    install(tmp_path / "site", monkeypatch, project, code)
    ledger = make_ledger(tmp_path / "made")
    with pytest.raises(MissingDependencyError) as raised:
        export.run(ExportParams(format="torn"), ledger, tmp_path / "a.jsonl")
    assert "RuntimeError: no licence" in str(raised.value)
    assert "plug-in of broken 0.3" in str(raised.value)
    with pytest.raises(UsageError, match=r"is no negmine\.formats\.base\.Format"):
        export.run(ExportParams(format="empty"), ledger, tmp_path / "a.jsonl")
    with pytest.raises(UsageError, match=r"makes no negmine\.rules\.base\.Rule"):
        filtering.run(FilterParams(rule=("odd",)), ledger.parent / "scored", tmp_path / "l")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["filter", "scored", "--rule", "outlyer=2"], "no installed package brings a rule"),
        (["rerank", "candidates", "--scorer", "x=plugin:jacard"], "brings a scorer 'jacard'"),
    ],
)
def test_an_unknown_plug_in_suggests_the_nearest(
    example: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    invoke: Invoke,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(make_ledger(tmp_path / "made").parent)
    result = invoke(*arguments, "-o", "out")
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Did you mean" in result.stderr
    assert not Path("out").exists()
