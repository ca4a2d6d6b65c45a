"""``negmine.mine``: one call, the same names, the same artifacts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import negmine
from negmine.errors import UsageError
from tests.conftest import write_jsonl

PAIRS = [
    ("the heart of mice", "the heart of mice is not a cell"),
    ("gene therapy", "gene therapy in mice"),
    ("a cell is not the heart", "a cell of the heart"),
    ("the heart of mice", "not the heart"),
]
MORE = ["therapy 42", "the gene of a cell in the heart", "mice", "of the gene", "% of a cell"]
#: Rules that sentence-transformers does not have; random vectors know no near-duplicates.
THEIRS = {
    "index": {"vectors": "float32", "dtype": "float32"},
    "filter": {
        "same-text": False,
        "near-duplicates": False,
        "duplicate-queries": False,
        "query-text": False,
    },
}


def test_the_command_line_starts_without_the_api() -> None:
    code = "import sys, negmine.cli; print('negmine.api' in sys.modules, 'pyarrow' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]


def test_an_unknown_attribute_is_none() -> None:
    with pytest.raises(AttributeError, match="no attribute 'mien'"):
        _ = negmine.mien


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "scores"),
    [("triplet", False), ("n-tuple", True), ("labeled-pair", False), ("labeled-list", True)],
)
def test_the_same_call_gives_what_sentence_transformers_gives(
    tiny_bi: Path, name: str, scores: bool
) -> None:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    data = Dataset.from_dict(
        {"question": [q for q, _ in PAIRS], "answer": [p for _, p in PAIRS], "n": [1, 2, 3, 4]}
    ).select_columns(["question", "answer"])
    model = SentenceTransformer(str(tiny_bi), device="cpu")
    same: dict[str, Any] = {
        "corpus": MORE,
        "num_negatives": 2,
        "max_score": 0.999,
        "output_format": name,
        "output_scores": scores,
    }
    theirs = mine_hard_negatives(data, model, verbose=False, **same)
    ours = negmine.mine(data, model, options=THEIRS, device="cpu", **same)
    second = {"labeled-pair": "document", "labeled-list": "documents"}.get(name, "answer")
    assert ours.column_names == [second if c == "answer" else c for c in theirs.column_names]
    for mine, other in zip(ours, theirs.rename_columns({"answer": second}), strict=True):
        for key, value in mine.items():
            assert other[key] == (pytest.approx(value, abs=1e-4) if "score" in key else value)


@pytest.mark.real
@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"relative_margin": 0.01}, {"relative_margin": 0.01}),
        ({"absolute_margin": 0.0, "min_score": -0.9}, {"absolute_margin": 0.0, "min_score": -0.9}),
        ({"range_max": 6}, {"k": 6}),
        ({"range_min": 2}, {"range_min": 2}),
        (
            {"query_prompt": "gene: ", "corpus_prompt": "cell: "},
            {"query_prompt": "gene: ", "corpus_prompt": "cell: "},
        ),
    ],
    ids=["relative", "absolute", "range_max", "range_min", "prompts"],
)
def test_the_rows_of_the_migration_table_mean_the_same(
    tiny_bi: Path, theirs: dict[str, Any], ours: dict[str, Any]
) -> None:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    data = Dataset.from_dict({"q": [q for q, _ in PAIRS], "a": [p for _, p in PAIRS]})
    model = SentenceTransformer(str(tiny_bi), device="cpu")
    shared: dict[str, Any] = {"corpus": MORE, "num_negatives": 2, "output_format": "labeled-pair"}
    expected = mine_hard_negatives(data, model, verbose=False, **shared, **theirs)
    made = negmine.mine(data, model, device="cpu", **shared, **{"options": THEIRS, **ours})
    assert len(expected) > 0
    rows = {(row["q"], row["a"], row["label"]) for row in expected}
    assert {(row["q"], row["document"], row["label"]) for row in made} == rows


@pytest.mark.real
def test_a_work_folder_keeps_the_artifacts(tiny_bi: Path, tiny_cross: Path, tmp_path: Path) -> None:
    rows = [{"q": q, "a": p, "other": 1} for q, p in PAIRS]
    kwargs: dict[str, Any] = {
        "corpus": write_jsonl(
            tmp_path / "corpus.jsonl", [{"_id": f"d{i}", "text": t} for i, t in enumerate(MORE)]
        ),
        "cross_encoder": str(tiny_cross),
        "anchor_column_name": "q",
        "positive_column_name": "a",
        "work_dir": tmp_path / "work",
        "device": "cpu",
        "options": {**THEIRS, "export": {"ids": True}},
    }
    first = negmine.mine(rows, str(tiny_bi), num_negatives=2, **kwargs)
    assert first.column_names[:3] == ["q", "a", "negative"]
    work = tmp_path / "work"
    assert {"index", "candidates", "scored", "ledger"} <= {path.name for path in work.iterdir()}
    assert "score_cross_encoder" in pq.read_schema(work / "ledger" / "part-00000.parquet").names
    manifest = work / "scored" / "_manifest.json"
    scored = manifest.stat().st_mtime_ns
    second = negmine.mine(rows, str(tiny_bi), num_negatives=1, **kwargs)
    assert second.num_rows < first.num_rows
    assert (work / "scored" / "_manifest.json").stat().st_mtime_ns == scored, (
        "nothing is scored twice"
    )


@pytest.mark.real
def test_without_an_encoder_bm25_finds_the_candidates(tmp_path: Path) -> None:
    pairs = write_jsonl(tmp_path / "p.jsonl", [{"query": q, "positive": p} for q, p in PAIRS])
    made = negmine.mine(pairs, num_negatives=1, corpus=MORE, options=THEIRS)
    assert made.column_names == ["query", "positive", "negative"]
    assert made.num_rows > 0


def test_mistakes_are_told() -> None:
    with pytest.raises(UsageError, match="no stage 'filtre'"):
        negmine.mine(PAIRS, options={"filtre": {}})
    with pytest.raises(UsageError, match="unknown key 'magrin'"):
        negmine.mine(PAIRS, options={"filter": {"magrin": 1}})
    with pytest.raises(UsageError, match="no column 'querry'"):
        negmine.mine([{"query": "a", "answer": "b"}], anchor_column_name="querry")
    with pytest.raises(UsageError, match="two columns"):
        negmine.mine([{"query": "a"}])
    with pytest.raises(UsageError, match="a model is"):
        negmine.mine(PAIRS, encoder=3)


@pytest.mark.real
def test_the_given_negatives_of_a_data_set(tmp_path: Path) -> None:
    """Triplets as mappings and as a data set: what each column is for is told by its name."""
    from datasets import Dataset

    rows = [{"anchor": q, "positive": p, "negative": MORE[i]} for i, (q, p) in enumerate(PAIRS)]
    for number, pairs in enumerate((rows, Dataset.from_list(rows))):
        data = negmine.mine(pairs, work_dir=tmp_path / str(number), num_negatives=1)
        assert data.column_names == ["anchor", "positive", "negative"]
        (part,) = (tmp_path / str(number) / "candidates").glob("part-*.parquet")
        table = pq.ParquetFile(part).read()
        given = table.filter(table.column("rank_given").is_valid())
        assert given.num_rows == len(rows)
    named = {"anchor_column_name": "anchor", "positive_column_name": "positive"}
    negmine.mine(rows, work_dir=tmp_path / "named", **named)
    (part,) = (tmp_path / "named" / "candidates").glob("part-*.parquet")
    assert "rank_given" not in pq.ParquetFile(part).schema_arrow.names


def test_columns_that_nobody_knows_are_named() -> None:
    rows = [{"one": "what is it", "two": "It is this.", "three": "It is that."}]
    with pytest.raises(UsageError, match="one, two, three"):
        negmine.mine(rows)
