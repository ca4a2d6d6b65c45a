"""The filter stage: fits, the guard, the limit on reuse, optional columns, refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from negmine import memory
from negmine.dedup import signatures
from negmine.errors import MissingInputError, UsageError
from negmine.params import FilterParams
from negmine.stages import filter as filtering
from negmine.stages.filter import guard
from negmine.stages.filter.options import resolve
from negmine.table import artifacts
from negmine.table.part import Part
from tests.inputs.test_folders import shards
from tests.tables import make_scored

pytest.importorskip("rensa")

Rows = list[dict[str, Any]]


def row(qid: str, docid: str, label: int, ce: float | None, rank: int | None, **more: Any) -> Any:
    score = None if rank is None else 1 - rank / 100
    return {
        "qid": qid,
        "docid": docid,
        "label": label,
        "rank_bm25": rank,
        "score_bm25": score,
        "rank_minilm": rank,
        "score_minilm": score,
        "score_ce": ce,
        **more,
    }


def collection(queries: int, parts: int, seed: int = 0, shared: bool = False) -> list[Rows]:
    """Queries of two positives (four sigma better on average) and ten others."""
    rng = np.random.default_rng(seed)
    made: list[Rows] = [[] for _ in range(parts)]
    for q in range(queries):
        ranks = rng.permutation(12) + 1
        for d in range(12):
            label = int(d < 2)
            # With shared documents all queries have the same ten candidates.
            docid = f"n{d}" if shared and not label else f"d{q}x{d}"
            score = float(rng.normal(4.0 * label))
            made[q * parts // queries].append(row(f"q{q:03d}", docid, label, score, int(ranks[d])))
    return made


def ledger(
    tmp_path: Path,
    rows: list[Rows],
    *,
    texts: Any = None,
    queries: Any = None,
    kept: Any = None,
    **options: Any,
) -> tuple[pa.Table, dict[str, Any]]:
    scored = tmp_path / "in" / "scored"
    if not scored.exists():
        make_scored(tmp_path / "in", rows, doc_texts=texts, query_texts=queries, kept=kept)
    out = tmp_path / "out"
    filtering.run(FilterParams(**options), scored, out, replacing=artifacts.Replace.ALL)
    found = artifacts.open_artifact(out)
    return pa.concat_tables(found.read(name) for name in found.parts), dict(found.manifest)


def test_the_guard(tmp_path: Path) -> None:
    words = " ".join(f"w{i}" for i in range(60))
    rows = [
        row("q", "p", 1, 9.0, 1),
        row("q", "same", 0, 8.0, 2),
        row("q", "near", 0, 7.0, 3),
        row("q", "question", 0, 6.0, 4),
        row("q", "other", 0, 5.0, 5),
        row("q", "theirs", 0, 4.0, 6),
        row("q", "p#2", 0, 3.0, 7),
        row("q", "test", 0, 2.0, 8),
        row("r", "theirs", 1, 9.0, 1),
        row("s", "same", 0, 9.0, 1),
    ]
    texts = {
        "p": words,
        "same": f"  {words.upper()}.",
        "near": f"{words} more",
        "question": "ASK me",
    }
    queries = {"q": "ask me", "r": "Ask me!", "s": "unlike all"}
    exclude = tmp_path / "eval.txt"
    exclude.write_text("test\nabsent\n")
    table, manifest = ledger(
        tmp_path,
        [rows],
        texts=texts,
        queries=queries,
        chunk_suffix="#[0-9]+",
        exclude=str(exclude),
    )
    expected = dict.fromkeys(["p"], "positive") | {
        "same": "same_text",
        "near": "near_duplicate",
        "question": "query_text",
        "other": None,
        "theirs": "duplicate_query",
        "p#2": "sibling",
        "test": "excluded",
    }
    found = dict(
        zip(
            table.column("docid").to_pylist()[:8],
            table.column("dropped_by").to_pylist()[:8],
            strict=True,
        )
    )
    assert found == expected
    # The same document is only a text to another query.
    assert table.column("dropped_by").to_pylist()[9] is None
    assert manifest["counts"]["dropped"]["same_text"] == 1
    assert "exclude" in manifest["inputs"]
    table, _ = ledger(
        tmp_path,
        [rows],
        same_text=False,
        query_text=False,
        near_duplicates=False,
        repeated_texts=False,
        empty_texts=False,
        duplicate_queries=False,
    )
    assert set(table.column("dropped_by").to_pylist()) == {"positive", None}
    # Without the exact rule the other one still sees it.
    table, _ = ledger(tmp_path, [rows], same_text=False)
    assert table.column("dropped_by").to_pylist()[1] == "near_duplicate"


def test_texts_in_groups_give_what_they_give_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = collection(12, 4)
    texts = {f"d{q}x{d}": f"text {q} of its own {d % 3}" for q in range(12) for d in range(12)}
    whole, _ = ledger(tmp_path, rows, texts=texts)
    assert whole.column("dropped_by").to_pylist().count("same_text") > 0
    monkeypatch.setattr(memory.Budget, "shingles", 1)
    grouped, _ = ledger(tmp_path, rows)
    assert grouped.equals(whole)
    # A corpus too large to be described whole.
    monkeypatch.setattr(signatures, "_WHOLE_DOCUMENTS", 0)
    grouped, _ = ledger(tmp_path, rows)
    assert grouped.equals(whole)
    monkeypatch.setattr(memory.Budget, "shingles", 20_000)
    grouped, _ = ledger(tmp_path, rows)
    assert grouped.equals(whole)


@pytest.mark.parametrize(
    "qrels", ["q 0 d0x3 1\nq 0 d0x4 0\n", "query-id\tcorpus-id\tscore\nq\td0x3\t1\nq\td0x4\t0\n"]
)
def test_exclude_reads_qrels(tmp_path: Path, qrels: str) -> None:
    file = tmp_path / "qrels.tsv"
    file.write_text(qrels)
    table, _ = ledger(tmp_path, collection(2, 1), exclude=str(file))
    assert table.column("dropped_by").to_pylist()[3:5] == ["excluded", "excluded"]
    with pytest.raises(MissingInputError, match="no such file"):
        ledger(tmp_path, [], exclude=str(tmp_path / "none"))


def test_exclude_reads_one_split_of_a_folder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    shards(data / "qrels", "train", [{"query-id": "q", "corpus-id": "d0x2", "score": 1}], 1)
    shards(data / "qrels", "test", [{"query-id": "q", "corpus-id": "d0x3", "score": 1}], 1)
    table, _ = ledger(tmp_path, collection(2, 1), exclude=f"{data}:test")
    assert table.column("dropped_by").to_pylist().count("excluded") == 1
    assert table.column("dropped_by").to_pylist()[3] == "excluded"
    with pytest.raises(UsageError, match="several files hold qrels"):
        ledger(tmp_path, [], exclude=str(data))


def test_siblings_by_a_kept_column(tmp_path: Path) -> None:
    rows = [
        [
            row("q", "p", 1, 9.0, 1),
            row("q", "sibling", 0, 8.0, 2),
            row("q", "stranger", 0, 7.0, 3),
            row("q", "orphan", 0, 6.0, 4),
            row("q", "p#2", 0, 5.0, 5),
        ],
        # A positive without a value has no siblings, least of all the others without one.
        [
            row("r", "orphan", 1, 9.0, 1),
            row("r", "other orphan", 0, 8.0, 2),
            row("r", "sibling", 0, 7.0, 3),
        ],
    ]
    parent = {"p": "a", "sibling": "a", "stranger": "b", "p#2": "b"}
    expected = [("sibling", "sibling"), ("stranger", None), ("orphan", None), ("p#2", None)]
    expected += [("other orphan", None), ("sibling", None)]

    def reasons(**options: Any) -> list[tuple[str, str | None]]:
        table, manifest = ledger(tmp_path, rows, kept={"parent": parent}, **options)
        assert "meta_parent" not in table.column_names
        counted = [name for _, name in found(table)].count("sibling")
        assert manifest["counts"]["dropped"]["sibling"] == counted
        return found(table)

    def found(table: pa.Table) -> list[tuple[str, str | None]]:
        pairs = zip(
            table.column("docid").to_pylist(), table.column("dropped_by").to_pylist(), strict=True
        )
        return [(docid, reason) for docid, reason in pairs if reason != "positive"]

    assert reasons(sibling_by="parent") == expected
    # With no text to compare, too; and beside the other way to tell a chunk.
    guard_off = dict.fromkeys(["same_text", "query_text", "near_duplicates"], False)
    assert reasons(sibling_by="parent", **guard_off) == expected
    both = reasons(sibling_by="parent", chunk_suffix="#[0-9]+")
    assert both == [*expected[:3], ("p#2", "sibling"), *expected[4:]]
    with pytest.raises(UsageError, match="keeps no column 'parents'") as error:
        reasons(sibling_by="parents")
    assert "parent" in str(error.value.hint)
    assert "--keep parents" in str(error.value.hint)


def test_calibrating_within_a_kept_column(tmp_path: Path) -> None:
    rows = collection(60, 3)
    # Positives of one language score two lower.
    language = {}
    for part in rows:
        for one in part:
            query = int(one["qid"].removeprefix("q"))
            language[one["docid"]] = "en" if query % 2 else "de"
            one["score_ce"] -= 2.0 * (query % 2)
    table, manifest = ledger(
        tmp_path,
        rows,
        kept={"language": language},
        max_fn_rate=0.1,
        fn_form="score",
        calibrate_by="language",
    )
    groups = manifest["calibration"]["groups"]
    assert {name: facts["queries"] for name, facts in groups.items()} == {"de": 30, "en": 30}
    # Independently: the threshold of one language alone.
    for name in groups:
        mine = [one for part in rows for one in part if language[one["docid"]] == name]
        (tmp_path / name).mkdir()
        _, alone = ledger(tmp_path / name, [mine], max_fn_rate=0.1, fn_form="score")
        assert alone["calibration"]["threshold"] == groups[name]["threshold"]
    assert groups["en"]["threshold"] < groups["de"]["threshold"]
    assert "meta_language" not in table.column_names
    with pytest.raises(UsageError, match="no such column 'lang'") as error:
        ledger(tmp_path, rows, max_fn_rate=0.1, calibrate_by="lang")
    assert "language" in str(error.value.hint)


def test_max_reuse(tmp_path: Path) -> None:
    rows = collection(10, 3, shared=True)
    free, _ = ledger(tmp_path, rows, num_negatives=3)
    used = Counter(free.filter(free.column("selected").is_valid()).column("docid").to_pylist())
    assert max(used.values()) > 3
    limited, manifest = ledger(tmp_path, rows, num_negatives=3, max_reuse=3)
    chosen = limited.filter(limited.column("selected").is_valid())
    used = Counter(chosen.column("docid").to_pylist())
    assert max(used.values()) == 3
    # Ten documents, three uses each: all thirty places are filled.
    assert chosen.num_rows == 30
    assert manifest["counts"]["dropped"]["max_reuse"] > 0
    # Another division into parts in another order gives the same choice.
    again, _ = ledger(
        tmp_path / "b", list(reversed(collection(10, 5, shared=True))), num_negatives=3, max_reuse=3
    )
    again = again.filter(again.column("selected").is_valid())
    pairs = [
        set(zip(t.column("qid").to_pylist(), t.column("docid").to_pylist(), strict=True))
        for t in (chosen, again)
    ]
    assert pairs[0] == pairs[1]


def test_the_manifest_states_the_calibration(tmp_path: Path) -> None:
    _, manifest = ledger(tmp_path, collection(60, 3), max_fn_rate=0.1, fn_form="score")
    facts = manifest["calibration"]
    assert facts["alpha"] == 0.1
    assert facts["queries"] == 60
    assert facts["positives"] == 120
    assert facts["achieved"] <= 0.1
    assert isinstance(facts["threshold"], float)
    assert "exchangeable" in facts["assumption"]
    json.dumps(facts, allow_nan=False)
    with pytest.raises(UsageError, match="at least 199 queries"):
        ledger(tmp_path, [], max_fn_rate=0.005)


def test_p_relevant_is_a_column_that_no_query_scores_for_itself(tmp_path: Path) -> None:
    rows = collection(60, 3)
    table, manifest = ledger(tmp_path, rows, by="p_relevant", max_fn_rate=0.1)
    relevant = table.column("score_p_relevant").to_numpy()
    label = table.column("label").to_numpy() == 1
    assert relevant[label].mean() > 0.5 > relevant[~label].mean()
    # Calibrated: probabilities add up to the labels.
    assert relevant.mean() == pytest.approx(label.mean(), abs=0.02)
    assert manifest["p_relevant"]["auc"] > 0.95
    assert manifest["params"]["by"] == "p_relevant"
    # Turning one query's labels round changes nothing about that query's own estimates.
    for one in rows[0][:12]:
        one["label"] = 1 - one["label"]
    changed, _ = ledger(tmp_path / "b", rows, by="p_relevant", max_fn_rate=0.1)
    assert changed.column("score_p_relevant").to_numpy()[:12].tolist() == relevant[:12].tolist()


def test_p_relevant_learns_nothing_from_positives_that_no_source_found(tmp_path: Path) -> None:
    rows = collection(60, 1)
    plain, _ = ledger(tmp_path, rows, by="p_relevant")
    # A terrible positive per query, there only because it is labelled.
    rows = [[*rows[0]]]
    for q in range(60):
        rows[0].insert(13 * q, row(f"q{q:03d}", f"z{q}", 1, -9.0, None))
    more, _ = ledger(tmp_path / "b", rows, by="p_relevant")
    kept = more.filter(pa.array([not d.startswith("z") for d in more.column("docid").to_pylist()]))
    before = plain.column("score_p_relevant").to_numpy()
    after = kept.column("score_p_relevant").to_numpy()
    # Only the cross-encoder's normalisation in the query moves a little.
    assert np.corrcoef(before, after)[0, 1] > 0.95


def test_rows_without_a_scorers_score_have_no_estimate(tmp_path: Path) -> None:
    rows = collection(60, 1)
    for one in rows[0]:
        if one["label"] == 0 and one["rank_bm25"] > 10:
            one["score_ce"] = None
    table, _ = ledger(tmp_path, rows, by="p_relevant")
    unscored = np.array(table.column("dropped_by").to_pylist()) == "unscored"
    assert (unscored == table.column("score_ce").is_null().to_numpy()).all()


def test_too_few_positives_for_p_relevant(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="p_relevant needs at least 20 positives"):
        ledger(tmp_path, collection(5, 1), by="p_relevant")


def test_cet_needs_judged_negatives(tmp_path: Path) -> None:
    rows = collection(60, 2)
    with pytest.raises(UsageError, match="cet needs judged negatives"):
        ledger(tmp_path, rows, weight="cet")
    for part in rows:
        for one in part:
            if one["rank_bm25"] <= 5:
                one["grade"] = one["label"]
    table, _ = ledger(tmp_path / "b", rows, weight="cet")
    weight = table.column("weight")
    assert weight.null_count == 120
    assert 0 <= min(weight.drop_null().to_pylist()) <= max(weight.drop_null().to_pylist()) <= 1


def test_optional_columns(tmp_path: Path) -> None:
    rows = collection(4, 2)
    table, _ = ledger(tmp_path, rows)
    assert table.schema.names[-2:] == ["dropped_by", "selected"]
    table, _ = ledger(
        tmp_path,
        rows,
        weight="dclr",
        weight_by="minilm",
        # Of the ten to a query one or two are beyond it, and weigh nothing.
        weight_above=0.98,
        difficulty=True,
        tau_plus=0.1,
        order="easy-first",
        num_negatives=3,
    )
    assert table.schema.names[-3:] == ["weight", "difficulty", "tau_plus"]
    chosen = table.filter(table.column("selected").is_valid()).sort_by(
        [("qid", "ascending"), ("selected", "ascending")]
    )
    hard = chosen.column("difficulty").to_numpy().reshape(4, 3)
    assert (np.diff(hard, axis=1) >= 0).all()
    assert table.column("tau_plus").unique().to_pylist() == [pytest.approx(0.1)]


def test_rows_of_weight_0_or_of_none_are_no_negatives(tmp_path: Path) -> None:
    rows = [
        [
            row("q", "p", 1, 9.0, 1),
            row("q", "a", 0, 8.0, 2, score_second=0.95),
            row("q", "b", 0, 7.0, 3, score_second=0.5),
            row("q", "c", 0, 6.0, 4, score_second=None),
            row("q", "d", 0, 5.0, 5, score_second=0.9),
            row("q", "e", 0, None, 60, score_second=0.99),
            row("q", "f", 0, None, 61, score_second=0.1),
        ]
    ]
    options = {"weight": "dclr", "weight_by": "second", "num_negatives": 3, "fill_beyond": 50}
    scored = make_scored(tmp_path, rows, scorers=["ce", "second"])
    filtering.run(FilterParams(by="ce", **options), scored, tmp_path / "ledger")
    made = artifacts.open_artifact(tmp_path / "ledger")
    table = made.read(made.parts[0])
    fates = dict(
        zip(table.column("docid").to_pylist(), table.column("dropped_by").to_pylist(), strict=True)
    )
    # The others take their place, and a fill does not bring back what weighs nothing.
    assert fates == {
        "p": "positive",
        **{"a": "weightless", "b": None, "c": "unweighted", "d": None},
        **{"e": "unscored", "f": None},
    }
    chosen = table.filter(table.column("selected").is_valid())
    assert set(chosen.column("docid").to_pylist()) == {"b", "d", "f"}
    assert set(chosen.column("weight").to_pylist()) == {1.0}


def test_simans_on_a_score_that_no_retriever_gave_is_told(tmp_path: Path) -> None:
    rows = collection(6, 1)
    _, manifest = ledger(tmp_path / "a", rows, sampler="simans")
    assert any("made for the scores of a retriever" in told for told in manifest["warnings"])
    _, manifest = ledger(tmp_path / "b", rows, sampler="simans", sample_by="minilm")
    assert not any("retriever" in told for told in manifest["warnings"])


def test_fill_takes_unchecked_rows_from_beyond_a_rank_and_marks_them(tmp_path: Path) -> None:
    rows = [
        [
            row("q", "p", 1, 0.9, 1),
            row("q", "a", 0, 0.05, 2),
            row("q", "b", 0, 0.5, 3),
            row("q", "c", 0, 0.8, 4),
            row("q", "d", 0, None, 5),
            row("q", "e", 0, None, None),
        ]
    ]
    options = {"max_score": 0.1, "range_max": 3, "fill_beyond": 3, "num_negatives": 4}
    table, manifest = ledger(tmp_path, rows, **options)
    assert table.column("dropped_by").to_pylist() == [
        "positive",
        None,
        "max_score",
        None,
        None,
        "unscored",
    ]
    assert table.column("filled").to_pylist() == [False, False, False, True, True, False]
    assert sorted(table.column("selected").drop_null().to_pylist()) == [1, 2, 3]
    assert manifest["counts"]["filled"] == 2


def test_judged_low_grades_are_preferred(tmp_path: Path) -> None:
    rows = [
        [
            row("q", "p", 1, 9.0, 1, grade=3),
            row("q", "a", 0, 8.0, 2),
            row("q", "b", 0, 1.0, 3, grade=0),
            row("q", "c", 0, 7.0, 4),
        ]
    ]
    table, _ = ledger(tmp_path, rows, num_negatives=2, prefer_judged=True)
    assert table.column("selected").to_pylist() == [None, 1, 2, None]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "cee"}, "--by: the table has no score 'cee'"),
        ({"rank_by": "x"}, "--rank-by: no source 'x'"),
        ({"query_min_rank": 50, "by": "ce"}, "--query-min-rank needs --rank-by"),
        ({"range_min": 5, "range_max": 4}, "--range-min is greater"),
        ({"max_fn_rate": 1.5}, "--max-fn-rate must be above 0 and below 1"),
        ({"calibrate_by": "grade"}, "--calibrate-by needs --max-fn-rate"),
        ({"calibrate_by": "score_ce", "max_fn_rate": 0.1}, "no such column"),
        ({"weight": "dclr"}, "--weight dclr needs --weight-by"),
        ({"guide": "none"}, "--guide: the table has no score"),
        ({"fill_beyond": 50, "max_reuse": 2}, "--fill-beyond"),
        ({"near_duplicate_cosine": ("minilm",)}, "is not NAME=COSINE"),
        ({"near_duplicate_cosine": ("minilm=0.9",)}, "no vectors 'minilm'"),
        ({"chunk_suffix": "("}, "no regular expression"),
        ({"near_duplicate_at": 0.0}, "--near-duplicate-at must be above 0"),
    ],
)
def test_refusals(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ledger(tmp_path, collection(2, 1), **options)


@pytest.mark.parametrize(
    "margin",
    [
        {"absolute_margin": 0.0},
        {"relative_margin": 0.05},
        {"margin_pos": 0.1},
        {"perc_pos": 0.9},
        {"percentile": 0.1},
        {"guide": "ce"},
    ],
)
def test_enterprise_rule_is_refused_beside_a_margin(tmp_path: Path, margin: dict[str, Any]) -> None:
    params = FilterParams(closer_than_positive=("minilm",), **margin)
    scored = make_scored(tmp_path, collection(2, 1))
    with pytest.raises(UsageError, match="--closer-than-positive keeps what"):
        resolve(params, artifacts.open_artifact(scored).schema())


def test_enterprise_rule_by_hand() -> None:
    """Cosines with the query: positive .6, candidates .7, .7, .5; with the positive .5, .8, .1."""
    part = Part(pa.table({"qid": ["q"] * 4, "label": [1, 0, 0, 0]}))
    asked = np.array([0.6, 0.7, 0.7, 0.5])
    left, right = np.array([1, 2, 3]), np.array([0, 0, 0])
    found = guard._not_closer(part, asked, left, right, np.array([0.5, 0.8, 0.1]))
    assert found.tolist() == [False, False, True, True]


def test_a_command_imports_what_it_is_asked_for(tmp_path: Path) -> None:
    """An import is paid for by every run, and nobody sees which."""
    make_scored(tmp_path / "in", collection(4, 1))
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d", "text": "a word"}\n')
    commands = {
        "filter": ["filter", str(tmp_path / "in" / "scored")],
        "index": ["index", "--corpus", str(tmp_path / "corpus.jsonl"), "--no-bm25"],
    }
    never = {"torch", "faiss", "jnius", "sklearn", "scipy.optimize", "sentence_transformers"}
    for name, command in commands.items():
        out = ["-o", str(tmp_path / name)]
        ended = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "negmine", *command, *out],
            capture_output=True,
            text=True,
            check=True,
        )
        imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
        assert f"negmine.stages.{name}.run" in imported
        assert imported & never == set(), name
        # The readers of users' files are forty modules.
        assert ("negmine.inputs.jsonl" in imported) == (name == "index")
