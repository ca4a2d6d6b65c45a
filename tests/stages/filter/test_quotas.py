"""``--quota`` and ``--window`` through the command line, from the rows of the ledger."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from negmine.table import artifacts
from tests.conftest import ROOT, Invoke
from tests.tables import make_scored

Row = dict[str, Any]
QUERIES, DOCUMENTS = 12, 30
KINDS = ("text", "image", None)
OFF = ("--no-repeated-texts", "--no-near-duplicates", "--no-duplicate-queries")


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources that find different rows, some of them both, and negatives that were given."""
    pytest.importorskip("rensa")
    rng = np.random.default_rng(3)
    rows: list[Row] = []
    for q in range(QUERIES):
        ranks = {name: rng.permutation(DOCUMENTS) + 1 for name in ("bm25", "minilm")}
        for d in range(DOCUMENTS):
            row: Row = {"qid": f"q{q:02d}", "docid": f"d{q}x{d}", "label": int(d == 0)}
            row |= {"score_ce": float(rng.normal() + (3 if d == 0 else 0)), "rank_given": None}
            for name, rank in ranks.items():
                found = rank[d] <= 15 or d == 0
                row[f"rank_{name}"] = int(rank[d]) if found else None
                row[f"score_{name}"] = 1 - float(rank[d]) / 100
            if not any(row[f"rank_{name}"] for name in ranks):
                row["rank_given"] = d
            rows.append(row)
    kinds = {row["docid"]: KINDS[n % 3] for n, row in enumerate(rows)}
    return make_scored(
        tmp_path_factory.mktemp("quotas"),
        [rows[: 7 * DOCUMENTS], rows[7 * DOCUMENTS :]],
        sources=("bm25", "minilm", "given"),
        kept={"kind": {docid: kind for docid, kind in kinds.items() if kind}},
    )


def ledger(invoke: Invoke, scored: Path, out: Path, *options: object) -> tuple[list[Row], Any]:
    """Rows of the ledger, and its manifest."""
    done = invoke("filter", scored, *OFF, *options, "-o", out)
    assert done.exit_code == 0, done.output
    made = artifacts.open_artifact(out)
    return [row for name in made.parts for row in made.read(name).to_pylist()], made


def per_query(rows: Sequence[Row]) -> dict[str, list[Row]]:
    chosen: dict[str, list[Row]] = {row["qid"]: [] for row in rows}
    for row in rows:
        if row["selected"]:
            chosen[row["qid"]].append(row)
    return chosen


@pytest.mark.parametrize("sampler", ["top", "random", "rank", "bottom", "stratified", "stride"])
def test_so_many_of_each_source(scored: Path, tmp_path: Path, invoke: Invoke, sampler: str) -> None:
    quotas = {"bm25": 2, "minilm": 3, "given": 1}
    options = [word for name, n in quotas.items() for word in ("--quota", f"{name}={n}")]
    rows, made = ledger(invoke, scored, tmp_path / "l", *options, "--sampler", sampler)
    assert made.params["num_negatives"] == 6
    for chosen in per_query(rows).values():
        assert Counter(row["quota"] for row in chosen) == quotas
        assert all(row[f"rank_{row['quota']}"] for row in chosen)
        assert sorted(row["selected"] for row in chosen) == [1, 2, 3, 4, 5, 6]
    assert all(row["quota"] is None for row in rows if not row["selected"])
    assert made.counts["quota"] == {name: n * QUERIES for name, n in quotas.items()}
    assert set(made.counts["quota_missing"].values()) == {0}


def test_of_each_source_the_best(scored: Path, tmp_path: Path, invoke: Invoke) -> None:
    """Only minilm's rows that bm25 did not find go by themselves: then it is a plain top-n of each.

    A row that both found takes a place that leaves the others theirs, so of all ways to choose it
    is the best by score, compared one after another.
    """
    rows, _ = ledger(invoke, scored, tmp_path / "l", "--quota", "bm25=2", "--quota", "minilm=2")
    for qid, chosen in per_query(rows).items():
        may = [r for r in rows if r["qid"] == qid and not r["label"] and not r["dropped_by"]]
        taken: list[tuple[bool, bool]] = []
        wanted = set()
        for row in sorted(may, key=lambda row: -row["score_ce"]):
            kinds = (row["rank_bm25"] is not None, row["rank_minilm"] is not None)
            one = [*taken, kinds]
            alone = [sum(k == kind for k in one) for kind in ((True, False), (False, True))]
            either = sum(any(k) for k in one)
            if any(kinds) and max(alone) <= 2 and either <= 4:
                taken.append(kinds)
                wanted.add(row["docid"])
        assert {row["docid"] for row in chosen} == wanted


def test_a_kept_column_and_what_stays_empty(scored: Path, tmp_path: Path, invoke: Invoke) -> None:
    options = ("--quota", "kind:image=20", "--quota", "kind:text=2")
    rows, made = ledger(invoke, scored, tmp_path / "l", *options)
    documents = made.ancestor("index.documents")
    kind = {
        row["docid"]: row["meta_kind"]
        for part in documents.parts
        for row in documents.read(part).to_pylist()
    }
    found = Counter()
    for chosen in per_query(rows).values():
        for row in chosen:
            assert row["quota"] == f"kind:{kind[row['docid']]}"
            found[row["quota"]] += 1
    assert found["kind:text"] == 2 * QUERIES
    images = sum(kind[row["docid"]] == "image" and not row["label"] for row in rows)
    assert found["kind:image"] == images
    missing = 20 * QUERIES - images
    assert made.counts["quota_missing"] == {"kind:image": missing, "kind:text": 0}
    told = "--quota: places that stayed empty: kind:image"
    assert any(told in warning and f"{missing} of 240" in warning for warning in made.warnings)
    assert any("too few of what --quota asks for: --quota-fill would" in w for w in made.warnings)


def test_filled_only_when_asked(scored: Path, tmp_path: Path, invoke: Invoke) -> None:
    """Rows of a source alone, the best others after them."""
    options = ("--quota", "given=4", "--window", "given=:2")
    rows, _ = ledger(invoke, scored, tmp_path / "l", *options)
    assert all(len(chosen) < 4 for chosen in per_query(rows).values())
    filled, other = ledger(invoke, scored, tmp_path / "f", *options, "--quota-fill")
    assert all(len(chosen) == 4 for chosen in per_query(filled).values())
    of_quota = [row for row in filled if row["quota"]]
    assert [r["docid"] for r in of_quota] == [r["docid"] for r in rows if r["selected"]]
    assert other.counts["quota_filled"] == 4 * QUERIES - len(of_quota)
    for qid, chosen in per_query(filled).items():
        free = [r for r in filled if r["qid"] == qid and not r["dropped_by"] and not r["quota"]]
        best = sorted((r["score_ce"] for r in free), reverse=True)
        others = [r["score_ce"] for r in chosen if not r["quota"]]
        assert sorted(others, reverse=True) == best[: len(others)]


def test_a_document_serves_no_more_queries(tmp_path: Path, invoke: Invoke) -> None:
    rows = [
        {"qid": f"q{q}", "docid": f"d{d}" if d else f"p{q}", "label": int(d == 0)}
        | {"rank_a": d + 1 if d < 5 or not d else None, "rank_b": d if d > 3 else None}
        | {"score_a": 1 - d / 10, "score_b": d / 10, "score_ce": 1 - d / 10}
        for q in range(4)
        for d in range(9)
    ]
    scored = make_scored(tmp_path, [rows], sources=("a", "b"))
    options = ("--quota", "a=1", "--quota", "b=1", "--max-reuse", 2)
    found, made = ledger(invoke, scored, tmp_path / "l", *options)
    served = Counter(row["docid"] for row in found if row["selected"])
    assert max(served.values()) == 2
    assert made.counts["quota"] == {"a": 4, "b": 4}
    assert made.counts["dropped"]["max_reuse"] > 0


def test_a_window_is_over_what_one_source_found(
    scored: Path, tmp_path: Path, invoke: Invoke
) -> None:
    rows, made = ledger(
        *(invoke, scored, tmp_path / "l", "--window", "bm25=5:10", "--window", "minilm=:4"),
        *("--num-negatives", 30),
    )
    for row in rows:
        inside = {
            "bm25": row["rank_bm25"] is not None and 6 <= row["rank_bm25"] <= 10,
            "minilm": row["rank_minilm"] is not None and row["rank_minilm"] <= 4,
            "given": row["rank_given"] is not None,
        }
        if not row["label"]:
            assert (row["dropped_by"] == "window") == (not any(inside.values())), row
    assert made.counts["dropped"]["window"]
    # A quota counts what its source found within the window.
    options = ("--window", "bm25=5:10", "--quota", "bm25=2", "--quota", "minilm=4")
    for row in ledger(invoke, scored, tmp_path / "q", *options)[0]:
        assert row["quota"] != "bm25" or 6 <= row["rank_bm25"] <= 10
    report = json.loads(invoke("explain", tmp_path / "q", "q01", "--json").stdout)
    fates = {c["fate"] for c in report["candidates"]}
    assert "dropped: window" in fates
    assert any(fate.endswith(" of bm25") for fate in fates)
    page = tmp_path / "page.html"
    assert invoke("report", tmp_path / "q", "-o", page).exit_code == 0
    text = page.read_text("utf-8")
    assert "outside the windows of the sources that found it" in text
    assert "selected of minilm" in text


def test_the_audit_counts_by_quotas(scored: Path, tmp_path: Path, invoke: Invoke) -> None:
    options = ("--quota", "bm25=1", "--quota", "minilm=1", "--window", "bm25=2:")
    done = invoke("audit", scored, *OFF, *options, "-o", tmp_path / "audit.json")
    assert done.exit_code == 0, done.output
    (row,) = json.loads((tmp_path / "audit.json").read_text())["rows"]
    assert row["negatives_per_query"]["value"] == 2
    assert row["short_queries"]["value"] == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--quota", "bm25"), "--quota 'bm25' is not NAME=N"),
        (("--quota", "bm25=0"), "--quota must be at least 1"),
        (("--quota", "bm25=1.5"), "is not NAME=N"),
        (("--quota", "bm52=1"), "--quota: no source 'bm52'"),
        (("--quota", "sort:x=1"), "the index keeps no column 'sort'"),
        (("--quota", "bm25=2", "--num-negatives", 3), "the places of --quota are 2 together"),
        (("--quota", "bm25=2", "--fill-beyond", 20), "--fill-beyond fills from ranks of any"),
        (("--quota-fill",), "--quota-fill belongs to --quota"),
        (("--window", "bm25=3"), "--window 'bm25=3' is not NAME=A:B"),
        (("--window", "bm25=:"), "is not NAME=A:B"),
        (("--window", "bm25=5:5"), "holds no rank"),
        (("--window", "bm52=:5"), "--window: no source 'bm52'"),
        (("--window", "bm25=:5", "--range-min", 6), "--range-min 6 drops all of them"),
        (
            ("--window", "bm25=5:9", "--range-max", 5, "--rank-by", "bm25"),
            "--window bm25 takes the ranks 6 to 9, and --range-max 5 drops all",
        ),
    ],
)
def test_what_is_refused(
    scored: Path, tmp_path: Path, invoke: Invoke, options: tuple[object, ...], told: str
) -> None:
    done = invoke("filter", scored, *options, "-o", tmp_path / "l")
    assert done.exit_code == 2, done.output
    assert told in " ".join(done.stderr.split())
    assert not (tmp_path / "l").exists()


def test_the_documented_commands_run(scored: Path, tmp_path: Path, invoke: Invoke) -> None:
    page = (ROOT / "docs" / "sources.md").read_text("utf-8")
    commands = [line.split() for line in page.splitlines() if line.startswith("negmine filter ")]
    commands = [words for words in commands if "--quota" in words]
    assert len(commands) == 3
    for number, words in enumerate(commands):
        assert words[2] == "work/scored"
        assert words[-2] == "-o"
        rows, made = ledger(invoke, scored, tmp_path / f"l{number}", *words[3:-2])
        assert sum(made.counts["quota_missing"].values()) == 0
        assert all(row["quota"] for row in rows if row["selected"])
