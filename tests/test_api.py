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
    assert ours.features == theirs.features
    for mine, other in zip(ours, theirs, strict=True):
        for key, value in mine.items():
            assert other[key] == (pytest.approx(value, abs=1e-4) if "score" in key else value)


#: Arguments of both functions, each beside those of :data:`SHARED`.
SAME: dict[str, dict[str, Any]] = {
    "relative": {"relative_margin": 0.01},
    "absolute": {"absolute_margin": 0.0, "min_score": -0.9},
    "range_max": {"range_max": 6},
    "narrow": {"range_max": 2, "absolute_margin": 0.0, "output_format": "triplet"},
    "narrower": {"range_max": 3, "range_min": 1, "max_score": 0.93},
    "range_min": {"range_min": 2},
    "all random": {"range_max": 8, "num_negatives": 8, "sampling_strategy": "random"},
    "prompts": {"query_prompt": "gene: ", "corpus_prompt": "cell: "},
    "names of prompts": {"query_prompt_name": "document", "corpus_prompt_name": "query"},
    "faiss": {"use_faiss": True, "faiss_batch_size": 2, "max_score": 0.999},
    "margin": {"margin": 0.0},
    "triplets": {"as_triplets": True, "output_format": "n-tuple"},
    "tuples": {"as_triplets": False},
    "scores": {"output_format": "n-tuple-scores"},
    "without a corpus": {"corpus": None, "num_negatives": 1},
    "columns": {"anchor_column_name": "a", "positive_column_name": "q"},
}
SHARED: dict[str, Any] = {"corpus": MORE, "num_negatives": 2, "output_format": "labeled-pair"}


@pytest.mark.real
@pytest.mark.parametrize("case", SAME)
def test_every_argument_means_what_it_means_there(tiny_bi: Path, case: str) -> None:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    data = Dataset.from_dict({"q": [q for q, _ in PAIRS], "a": [p for _, p in PAIRS]})
    call = {**SHARED, "model": SentenceTransformer(str(tiny_bi), device="cpu"), **SAME[case]}
    expected = mine_hard_negatives(data, **call, verbose=False)
    made = negmine.mine(dataset=data, **call, device="cpu", options=THEIRS, verbose=False)
    assert made.features == expected.features
    assert len(expected) > 0
    for row, other in zip(in_order(made), in_order(expected), strict=True):
        scored = {
            key: pytest.approx(value, abs=1e-4) for key, value in other.items() if "score" in key
        }
        assert row == {**other, **scored}


def in_order(rows: Any) -> list[dict[str, Any]]:
    """Rows in the order of their texts: the positives of a query have none that is promised."""
    return sorted(rows, key=lambda row: [str(v) for k, v in row.items() if "score" not in k])


@pytest.mark.real
def test_a_cross_encoder_decides_as_it_does_there(tiny_bi: Path, tiny_cross: Path) -> None:
    from datasets import Dataset
    from sentence_transformers import CrossEncoder, SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    data = Dataset.from_dict({"q": [q for q, _ in PAIRS], "a": [p for _, p in PAIRS]})
    call: dict[str, Any] = {
        **SHARED,
        "output_format": "triplet",
        "output_scores": True,
        "relative_margin": 0.001,
        "model": SentenceTransformer(str(tiny_bi), device="cpu"),
        "cross_encoder": CrossEncoder(str(tiny_cross), device="cpu"),
    }
    expected = mine_hard_negatives(data, **call, verbose=False)
    options = {**THEIRS, "rerank": {"dtype": "float32"}}
    made = negmine.mine(data, **call, device="cpu", options=options, verbose=False)
    assert len(expected) > 0
    for row, other in zip(in_order(made), in_order(expected), strict=True):
        assert row == {**other, "scores": pytest.approx(other["scores"], abs=1e-4)}


def statistics(printed: str) -> dict[str, list[str]]:
    """The lines of the printed table by their first word."""
    lines = printed[printed.index("Metric") :].splitlines()[:10]
    return {line.split()[0]: line.split()[1:] for line in lines}


@pytest.mark.real
@pytest.mark.parametrize("name", ["triplet", "n-tuple", "labeled-pair", "labeled-list"])
def test_the_statistics_are_those_that_are_printed_there(
    tiny_bi: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    data = Dataset.from_dict({"q": [q for q, _ in PAIRS], "a": [p for _, p in PAIRS]})
    model = SentenceTransformer(str(tiny_bi), device="cpu")
    # Low enough that some queries are short.
    call: dict[str, Any] = {"corpus": MORE, "num_negatives": 3, "output_format": name}
    mine_hard_negatives(data, model, max_score=0.8, **call)
    theirs = statistics(capsys.readouterr().out)
    negmine.mine(data, model, max_score=0.8, device="cpu", options=THEIRS, **call)
    printed = capsys.readouterr().out
    ours = statistics(printed)
    assert list(ours) == list(theirs)
    assert ours.pop("Metric") == theirs.pop("Metric")
    assert ours.pop("Count") == theirs.pop("Count")
    for metric, numbers in ours.items():
        assert list(map(float, numbers)) == pytest.approx(
            list(map(float, theirs[metric])), abs=2e-4
        )
    assert "by max_score: " in printed
    assert "have fewer than 3 negatives" in printed
    assert "Consider range_max, max_score." in printed


def test_every_name_of_the_function_is_taken() -> None:
    import inspect

    from sentence_transformers.util import mine_hard_negatives

    assert set(inspect.signature(mine_hard_negatives).parameters) <= set(
        inspect.signature(negmine.mine).parameters
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"prompt": "a"}, "no argument 'prompt'\nUse query_prompt and corpus_prompt"),
        ({"use_triplets": True}, "output_format"),
        ({"by": "p_prior"}, 'options={"filter": {"by": ...}}'),
        ({"range_maximum": 3}, "Did you mean 'range_max'"),
        ({"include_positives": True}, "labeled-list"),
        ({"dataset": PAIRS}, "pairs and dataset are two names"),
        ({"encoder": "a", "model": "b"}, "encoder and model"),
        ({"work_dir": "a", "cache_folder": "b"}, "work_dir and cache_folder"),
        ({"margin": 0.1, "absolute_margin": 0.1}, "absolute_margin and margin"),
        ({"range_max": 4, "range_min": 2}, "no room for 3 negatives"),
        ({"range_max": 200, "k": 100}, "of only k=100"),
        ({"num_negatives": 0}, "at least 1"),
        ({"range_min": -1}, "at least 0"),
        ({"use_multi_process": ["cuda:0", "cuda:1"]}, 'device="cuda" takes every GPU'),
        ({"use_multi_process": ["cpu"], "device": "cuda"}, "both name devices"),
        ({"query_prompt_name": "query"}, "no encoder that would know 'query'"),
    ],
)
def test_a_name_that_is_not_meant_here_says_what_is(given: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as raised:
        negmine.mine(PAIRS, **given)
    assert told in str(raised.value)
    with pytest.raises(UsageError, match="needs pairs"):
        negmine.mine()


def test_a_prompt_that_the_encoder_does_not_have(tiny_bi: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'query'"):
        negmine.mine(PAIRS, tiny_bi, query_prompt_name="querry")


def test_a_call_is_not_silent_unless_it_is_told_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a plain interpreter, where nobody has set up logging."""
    import logging

    from negmine import log

    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(log.logger, "handlers", [])
    monkeypatch.setattr(log.logger, "propagate", True)
    call: dict[str, Any] = {"work_dir": tmp_path / "work", "corpus": MORE, "num_negatives": 2}
    negmine.mine(PAIRS, **call)
    told = capsys.readouterr()
    assert "documents: 9" in told.err
    assert "Metric       Positive       Negative     Difference" in told.out
    assert not log.logger.handlers, "what was set up for the call is gone"
    negmine.mine(PAIRS, **{**call, "verbose": False, "work_dir": tmp_path / "quiet"})
    told = capsys.readouterr()
    assert "documents:" not in told.err
    assert told.out == ""


def test_k_is_all_that_is_considered_and_range_max_less(tmp_path: Path) -> None:
    """On files too, whose positives only the stages count."""
    pairs = write_jsonl(
        tmp_path / "p.jsonl", [{"query": "the heart of mice", "positive": p} for _, p in PAIRS]
    )
    corpus = [f"the heart of mice {number}" for number in range(300)]
    call: dict[str, Any] = {"corpus": corpus, "num_negatives": 2, "verbose": False}
    call["options"] = {"filter": {**THEIRS["filter"], "repeated-texts": False}}

    def survivors(name: str, **more: Any) -> int:
        negmine.mine(pairs, work_dir=tmp_path / name, **call, **more)
        ledger = pq.read_table(tmp_path / name / "ledger")
        return int(ledger.column("dropped_by").null_count)

    assert survivors("k", k=50) == 50
    # Ten for each negative, and the four positives: none of them is found among the best.
    assert survivors("default") == 2 * 10 + 4 + 4
    assert survivors("range_max", range_max=60) == 60 + 4


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
    made = {path: path.stat().st_mtime_ns for path in (work / "scored").glob("part-*")}
    second = negmine.mine(rows, str(tiny_bi), num_negatives=1, **kwargs)
    assert second.num_rows < first.num_rows
    again = {path: path.stat().st_mtime_ns for path in (work / "scored").glob("part-*")}
    assert again == made, "nothing is scored twice"


@pytest.mark.real
def test_without_an_encoder_bm25_finds_the_candidates(tmp_path: Path) -> None:
    pairs = write_jsonl(tmp_path / "p.jsonl", [{"query": q, "positive": p} for q, p in PAIRS])
    made = negmine.mine(pairs, num_negatives=1, corpus=MORE, options=THEIRS)
    assert made.column_names == ["query", "positive", "negative"]
    assert made.num_rows > 0


@pytest.mark.real
def test_texts_are_written_where_the_options_ask(tmp_path: Path) -> None:
    texts = [f"The river {n} is 1{n:02}0 km long." for n in range(12)]
    pairs = [(f"how long is the river {n}", text) for n, text in enumerate(texts)]
    options = {
        "write": {"kind": "minimal-pair", "type": ["number"], "each": 1},
        "retrieve": {"source": ["bm25", "written=written:"]},
        "filter": {"by": "written", "rank-by": "bm25", "quota": ["bm25=1", "synthetic=1"]},
        "export": {"extra": ["synthetic"]},
    }
    made = negmine.mine(
        pairs, options=options, work_dir=tmp_path, num_negatives=2, output_format="n-tuple"
    )
    assert made.num_rows == len(pairs)
    for row in made:
        negatives = [row[name] for name in made.column_names if name.startswith("negative")]
        of_them = [text for text in negatives if text not in texts]
        assert len(of_them) == 1
        changed = [
            word
            for word, other in zip(row["positive"].split(), of_them[0].split(), strict=True)
            if word != other
        ]
        assert len(changed) == 1
    assert pq.read_table(tmp_path / "written" / "_pairs").num_rows == len(pairs)


def test_texts_that_would_be_lost_are_refused() -> None:
    with pytest.raises(UsageError, match="no source brings"):
        negmine.mine(PAIRS, options={"write": {"kind": "minimal-pair"}})
    own = {"kind": "minimal-pair", "pairs": ["other.jsonl"]}
    source = {"source": ["bm25", "written=written:"]}
    with pytest.raises(UsageError, match=r"\[write\] pairs"):
        negmine.mine(PAIRS, options={"write": own, "retrieve": source})


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
