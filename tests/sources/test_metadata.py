"""``metadata:...``: what fits by kept columns, against plain Python over the same records."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from negmine import memory
from negmine.sources import bm25, kinds, matching
from negmine.table import artifacts
from tests.chains import leftovers, make_data, parts, small_parts, spawn
from tests.conftest import Invoke, write_jsonl

Record = Mapping[str, Any]
K = 6
DATES = ["1999", "2003-05", "2003-05-17", "2003-06-01T12:00:00Z", "2010/02/03", "20101231", "soon"]
MASK = (1 << 64) - 1


def add_columns(data: Path) -> None:
    """Values that are made up, some of them missing, some no numbers, dates or places."""
    for name in ("corpus", "queries"):
        path = data / f"{name}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        made = []
        for row in rows:
            n = int(row["_id"][1:])
            more: dict[str, Any] = {
                "topic": ["a", "b", "c/d & e", "a", None][n % 5],
                "year": [2000 + n % 7, 1990.5, "many", None][n % 4 if n % 3 else 0],
                "date": DATES[n % len(DATES)] if n % 11 else None,
                "lat": 45 + (n % 13) / 10 if n % 9 else 145,
                "lon": 7 + (n % 5) / 10 if n % 8 else None,
                "kind": "image" if n % 3 == 0 else "text",
            }
            made.append({**row, **more})
        write_jsonl(path, made)


def records(data: Path, name: str) -> dict[str, Record]:
    lines = (data / f"{name}.jsonl").read_text().splitlines()
    return {row["_id"]: row for row in map(json.loads, lines)}


def positives(data: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in (data / "qrels.tsv").read_text().splitlines()[1:]:
        qid, docid, _ = line.split("\t")
        found.setdefault(qid, set()).add(docid)
    return found


def number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def moment(value: Any) -> float | None:
    """By strptime, form after form."""
    for form in ("%Y", "%Y-%m", "%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ", "%Y/%m/%d", "%Y%m%d"):
        try:
            return datetime.strptime(value, form).replace(tzinfo=UTC).timestamp()
        except (TypeError, ValueError):
            continue
    return None


def haversine(one: Record, other: Record) -> float:
    """Kilometres, by the textbook's formula; infinite where one has no place."""
    places = [(number(row["lat"]), number(row["lon"])) for row in (one, other)]
    if any(lat is None or lon is None or abs(lat) > 90 for lat, lon in places):
        return math.inf
    (a, b), (c, d) = [tuple(map(math.radians, place)) for place in places]  # type: ignore[arg-type]
    h = math.sin((c - a) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((d - b) / 2) ** 2
    return 2 * 6371.0088 * math.asin(math.sqrt(h))


#: (document, its query, the query's known positives) -> whether it fits.
Fits = Callable[[Record, Record, list[Record]], bool]


def same(column: str) -> Fits:
    def fits(doc: Record, query: Record, known: list[Record]) -> bool:
        return doc[column] is not None and doc[column] in [p[column] for p in known]

    return fits


def near(read: Callable[[Any], float | None], column: str, radius: float) -> Fits:
    def fits(doc: Record, query: Record, known: list[Record]) -> bool:
        value = read(doc[column])
        others = [read(p[column]) for p in known]
        return value is not None and any(o is not None and abs(value - o) <= radius for o in others)

    return fits


def order(holds: Callable[[float, float], bool]) -> Fits:
    def fits(doc: Record, query: Record, known: list[Record]) -> bool:
        value, own = moment(doc["date"]), moment(query["date"])
        return value is not None and own is not None and holds(value, own)

    return fits


def both(*conditions: Fits) -> Fits:
    return lambda doc, query, known: all(fits(doc, query, known) for fits in conditions)


def differs(doc: Record, query: Record, known: list[Record]) -> bool:
    return bool(known) and doc["kind"] not in [p["kind"] for p in known]


DAY = 86400.0
#: What is written -> what it means.
SPECS: dict[str, Fits] = {
    "topic": same("topic"),
    "kind": same("kind"),
    "kind!=": differs,
    "year~1.5": near(number, "year", 1.5),
    "date~15d": near(moment, "date", 15 * DAY),
    "date~8y": near(moment, "date", 8 * 365.25 * DAY),
    "date<": order(lambda value, own: value < own),
    "date<=": order(lambda value, own: value <= own),
    "date>": order(lambda value, own: value > own),
    "date>=": order(lambda value, own: value >= own),
    "lat,lon~25km": lambda d, q, known: any(haversine(d, p) <= 25 for p in known),
    "lat,lon~12mi": lambda d, q, known: any(haversine(d, p) <= 12 * 1.609344 for p in known),
    "topic&date<": both(same("topic"), order(lambda value, own: value < own)),
    'kind!=&"lat",lon~30km': both(
        differs, lambda d, q, known: any(haversine(d, p) <= 30 for p in known)
    ),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection with columns, and its index of words."""
    from tests.chains import call

    folder = tmp_path_factory.mktemp("metadata")
    data = make_data(folder / "data")
    add_columns(data)
    keep = [w for name in ("topic", "year", "date", "lat", "lon", "kind") for w in ("--keep", name)]
    with small_parts():
        code, output = call("index", "--corpus", data, *keep, "-o", folder / "index")
    assert code == 0, output
    return folder


def asked(world: Path, out: Path, *options: object, k: int = K) -> list[object]:
    data = world / "data"
    words = ["retrieve", world / "index", "--queries", data, "--qrels", data / "qrels.tsv"]
    return [*words, "-k", k, "-o", out, *options]


def found(out: Path, name: str) -> dict[str, list[dict[str, Any]]]:
    """The source's rows by query, in the order of its ranks."""
    rows = pq.read_table(sorted(out.glob("part-*.parquet"))).to_pylist()
    result: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: (row["qid"], row[f"rank_{name}"] or 0)):
        if row[f"rank_{name}"] is not None:
            result.setdefault(row["qid"], []).append(row)
    return result


def expected(world: Path, fits: Fits) -> dict[str, set[str]]:
    data = world / "data"
    corpus, known = records(data, "corpus"), positives(data)
    return {
        qid: {
            docid
            for docid, doc in corpus.items()
            if fits(doc, query, [corpus[p] for p in sorted(known.get(qid, ()))])
        }
        for qid, query in records(data, "queries").items()
    }


def digest(text: str, seed: int, purpose: str) -> int:
    salt = int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=7).digest(), "little")
    key = ((salt << 64) + seed).to_bytes(16, "little", signed=True)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, key=key).digest(), "little")


def mixed(x: int) -> int:
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def cut(order: list[str], known: set[str]) -> list[str]:
    """A ranking down to the k-th document that is no known positive."""
    others = [at for at, docid in enumerate(order) if docid not in known]
    return order[: others[K - 1] + 1] if len(others) >= K else order


def several(specs: Iterable[str]) -> list[str]:
    """Sources m0, m1, ... of these."""
    return [w for n, spec in enumerate(specs) for w in ("--source", f"m{n}=metadata:{spec}")]


def test_what_fits_is_drawn_by_chance(world: Path, tmp_path: Path, invoke: Invoke) -> None:
    done = invoke(*asked(world, tmp_path / "c", *several(SPECS), "--keep", "date"))
    assert done.exit_code == 0, done.output
    purposes = {
        "year~1.5": "year~1.5 ",
        "date~15d": f"date~{15 * DAY} time",
        "date~8y": f"date~{8 * 365.25 * DAY} time",
        "lat,lon~25km": "lat,lon~25000.0 length",
        "lat,lon~12mi": f"lat,lon~{12 * 1609.344} length",
        'kind!=&"lat",lon~30km': "kind!=&lat,lon~30000.0 length",
    }
    known = positives(world / "data")
    for n, (spec, fits) in enumerate(SPECS.items()):
        rows = found(tmp_path / "c", f"m{n}")
        got = {qid: [row["docid"] for row in some] for qid, some in rows.items()}
        total = 0
        for qid, may in expected(world, fits).items():
            purpose = "metadata " + purposes.get(spec, spec)
            start = mixed(digest(qid, 42, purpose))
            numbers = {docid: mixed(start ^ digest(docid, 42, purpose)) for docid in may}
            wanted = cut(sorted(may, key=numbers.__getitem__), known[qid])
            assert got.get(qid, []) == wanted, (spec, qid)
            total += len(wanted)
        assert total > 20, f"{spec} tells something"


def test_the_queries_own_kind_where_it_is_kept(world: Path, tmp_path: Path, invoke: Invoke) -> None:
    for operator, keeps in (("=", True), ("!=", True), ("=", False), ("!=", False)):
        keep = ["--keep", "kind"] if keeps else []
        out = tmp_path / f"{operator}{keeps}"
        done = invoke(*asked(world, out, "--source", f"m=metadata:kind{operator}", *keep))
        assert done.exit_code == 0, done.output
        whose = "their own" if keeps else "their positives'"
        assert f"m: 'kind{operator}' goes by {whose} values" in done.stderr
        corpus, known = records(world / "data", "corpus"), positives(world / "data")
        queries = records(world / "data", "queries")
        rows = found(out, "m")
        for qid, query in queries.items():
            own = {query["kind"]} if keeps else {corpus[p]["kind"] for p in known[qid]}
            wanted = own if operator == "=" else {"image", "text"} - own
            kinds = {corpus[row["docid"]]["kind"] for row in rows.get(qid, [])}
            assert kinds <= wanted
            assert bool(kinds) == bool(wanted)


def test_what_fits_is_ranked_by_words(world: Path, tmp_path: Path, invoke: Invoke) -> None:
    """The whole ranking of BM25, and of it what fits."""
    specs = ["topic", "kind!=", "topic&date<", "lat,lon~25km"]
    options = ["--keep", "date", "--source", "bm25", *several(f"{spec}/bm25" for spec in specs)]
    done = invoke(*asked(world, tmp_path / "c", *options))
    assert done.exit_code == 0, done.output
    done = invoke(*asked(world, tmp_path / "all", "--source", "bm25", k=500))
    assert done.exit_code == 0, done.output
    whole = found(tmp_path / "all", "bm25")
    known = positives(world / "data")
    for n, spec in enumerate(specs):
        got = found(tmp_path / "c", f"m{n}")
        for qid, may in expected(world, SPECS[spec]).items():
            ranked = [row["docid"] for row in whole[qid] if row["docid"] in may]
            assert [row["docid"] for row in got.get(qid, [])] == cut(ranked, known[qid])
            scores = {row["docid"]: row["score_bm25"] for row in whole[qid]}
            assert all(row[f"score_m{n}"] == scores[row["docid"]] for row in got.get(qid, []))
    rows = pq.read_table(sorted((tmp_path / "c").glob("part-*.parquet"))).to_pylist()
    # It scores whatever others found, as its ranking does.
    assert all(row["score_m0"] == row["score_bm25"] for row in rows)


def test_only_what_beats_the_positive(world: Path, tmp_path: Path, invoke: Invoke) -> None:
    out = tmp_path / "c"
    done = invoke(*asked(world, out, "--source", "m=metadata:kind!=/bm25>", "--source", "bm25"))
    assert done.exit_code == 0, done.output
    rows = pq.read_table(sorted(out.glob("part-*.parquet"))).to_pylist()
    limit: dict[str, float] = {}
    for row in rows:
        if row["label"]:
            limit[row["qid"]] = min(limit.get(row["qid"], math.inf), row["score_bm25"])
    every = tmp_path / "every"
    done = invoke(*asked(world, every, "--source", "m=metadata:kind!=/bm25", "--source", "bm25"))
    assert done.exit_code == 0, done.output
    wanted = {
        qid: [r["docid"] for r in some if r["score_bm25"] > limit[qid]]
        for qid, some in found(every, "m").items()
    }
    got = {qid: [r["docid"] for r in some] for qid, some in found(out, "m").items()}
    assert got == {qid: docids for qid, docids in wanted.items() if docids}
    assert got


@pytest.mark.real
def test_what_fits_is_ranked_by_vectors(
    tmp_path: Path, invoke: Invoke, tiny_bi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole ranking by the vectors, and of it what fits."""
    from negmine.sources import dense

    loaded: list[str] = []
    load = dense.load_query_encoder

    def counted(vectors: Any, name: str, how: Any) -> Any:
        loaded.append(name)
        return load(vectors, name, how)

    monkeypatch.setattr(dense, "load_query_encoder", counted)
    specs = ["topic", "kind!=", "topic&date<", "date<"]
    data = make_data(tmp_path / "data")
    add_columns(data)
    keep = [w for name in ("topic", "date", "kind") for w in ("--keep", name)]
    index = ["index", "--corpus", data, "--no-bm25", "--encoder", f"tiny={tiny_bi}", *keep]
    with small_parts():
        done = invoke(*index, "-o", tmp_path / "index")
    assert done.exit_code == 0, done.output
    alone = ["--keep", "date", *several(f"{spec}/tiny" for spec in specs)]
    for command in (
        asked(tmp_path, tmp_path / "all", "--source", "tiny", k=500),
        asked(tmp_path, tmp_path / "alone", *alone),
        asked(tmp_path, tmp_path / "with", *alone, "--source", "tiny", "--memory", "1100MB"),
    ):
        done = invoke(*command)
        assert done.exit_code == 0, done.output
    # However many sources ask it, a model is loaded once.
    assert loaded == ["tiny"] * 3
    ranked = found(tmp_path / "all", "tiny")
    known = positives(data)
    for out, (n, spec) in itertools.product(("alone", "with"), enumerate(specs)):
        got = found(tmp_path / out, f"m{n}")
        for qid, may in expected(tmp_path, SPECS[spec]).items():
            rows = [row for row in ranked[qid] if row["docid"] in may]
            wanted = cut([row["docid"] for row in rows], known[qid])
            assert [row["docid"] for row in got.get(qid, [])] == wanted, (out, qid)
            scores = {row["docid"]: row["score_tiny"] for row in rows}
            for row in got.get(qid, []):
                assert row[f"score_m{n}"] == pytest.approx(scores[row["docid"]], abs=1e-6)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", "a condition is missing at the end"),
        ("topic&", "a condition is missing at the end"),
        ("&topic", "'&topic' is no condition on a column"),
        ("topic/bm25/x", "'/bm25/x' is no condition"),
        ("topics", "the index keeps no column 'topics'"),
        ("topic&dates<", "the index keeps no column 'dates'"),
        ("date<", "'date<' compares with the query's own value, and the queries keep none"),
        ("date~30parsecs", "'parsecs' is no unit for a number or a date"),
        ("lat,lon~50", "a distance between places has a unit"),
        ("lat,lon~50d", "'d' is no unit for a place"),
        ("lat,lon", "two columns are a place"),
        ("date~km", "'~km' is no condition"),
        ("topic/minilm", "the index has no source 'minilm' to rank with"),
        ("topic/m", "the index has no source 'm' to rank with"),
    ],
)
def test_a_bad_spec_is_refused_before_anything(
    world: Path, tmp_path: Path, invoke: Invoke, spec: str, words: str
) -> None:
    result = invoke(*asked(world, tmp_path / "c", "--source", f"m=metadata:{spec}"))
    assert result.exit_code == 2, result.output
    assert words in " ".join(result.stderr.split())
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("topic~3", "no value of 'topic' is a number: 'a', for example"),
        ("kind~3d", "no value of 'kind' is a date"),
        ("year,lon~5km", "no document has a place"),
    ],
)
def test_a_column_of_nothing_that_is_needed_is_refused(
    world: Path, tmp_path: Path, invoke: Invoke, spec: str, words: str
) -> None:
    result = invoke(*asked(world, tmp_path / "c", "--source", f"m=metadata:{spec}"))
    assert result.exit_code == 5, result.output
    assert words in " ".join(result.stderr.split())


def test_what_has_no_value_is_counted_and_told(world: Path, tmp_path: Path, invoke: Invoke) -> None:
    source = ["--source", "m=metadata:year~2&date<", "--keep", "date"]
    done = invoke(*asked(world, tmp_path / "c", *source))
    assert done.exit_code == 0, done.output
    data = world / "data"
    corpus, queries, known = records(data, "corpus"), records(data, "queries"), positives(data)
    years, dates = ([row[name] for row in corpus.values()] for name in ("year", "date"))
    counts = artifacts.open_artifact(tmp_path / "c").counts
    assert counts["m_documents_without_value"] == years.count(None) + dates.count(None)
    assert counts["m_values_unread"] == years.count("many") + dates.count("soon")
    lost = {
        qid
        for qid, query in queries.items()
        if moment(query["date"]) is None
        or all(number(corpus[p]["year"]) is None for p in known[qid])
    }
    assert counts["m_queries_without_value"] == len(lost) > 0
    assert not lost & found(tmp_path / "c", "m").keys()
    told = " ".join(done.stderr.split())
    assert f"{years.count('many')} values of 'year' are no numbers, such as 'many'" in told
    assert f"{len(lost)} of {len(queries)} queries have no value to go by" in told


def test_memory_threads_parts_and_order_show_in_nothing(
    world: Path, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ["--keep", "date", "--source", "m=metadata:topic&date<"]
    source += ["--source", "b=metadata:kind!=/bm25"]

    def made(out: str, *options: object) -> dict[str, bytes]:
        done = invoke(*asked(world, tmp_path / out, *source, *options))
        assert done.exit_code == 0, done.output
        return parts(tmp_path / out)

    with small_parts():
        plain = made("plain")
        assert made("little", "--memory", "420MB") == plain
        assert made("threads", "--threads", 1) == plain
        # Everything one at a time, whatever the ceiling says.
        monkeypatch.setattr(memory.Budget, "share", lambda *_, least=1, **__: min(least, 1))
        for module, names in (
            (matching, ("_AT_ONCE", "_BLOCK", "_MASK", "_DRAWN")),
            (bm25, ("_TASK_PAIRS", "_TASK_MASK")),
        ):
            for name in names:
                monkeypatch.setattr(module, name, 7)
        assert made("least") == plain
    # The corpus in another order, in other parts: the same rows.
    data = make_data(tmp_path / "data", order=5)
    add_columns(data)
    keep = [w for name in ("topic", "date", "kind") for w in ("--keep", name)]
    assert invoke("index", "--corpus", data, *keep, "-o", tmp_path / "index").exit_code == 0
    assert invoke(*asked(tmp_path, tmp_path / "other", *source)).exit_code == 0
    for name in ("m", "b"):
        one, other = found(tmp_path / "plain", name), found(tmp_path / "other", name)
        assert {q: [r["docid"] for r in rows] for q, rows in one.items()} == {
            q: [r["docid"] for r in rows] for q, rows in other.items()
        }


def test_a_kill_shows_in_nothing(world: Path, tmp_path: Path) -> None:
    source = ["--keep", "date", "--source", "m=metadata:topic&date<="]
    kill = (
        "from negmine.table.artifacts.writing import Writer\n"
        "added = Writer.add_table\n"
        "def killed(self, name, *more):\n"
        "    if name == 'part-00002.parquet': import os; os._exit(9)\n"
        "    return added(self, name, *more)\n"
        "Writer.add_table = killed\n"
    )
    command = {out: [str(w) for w in asked(world, tmp_path / out, *source)] for out in "ab"}
    assert spawn(command["a"], before=kill).returncode == 9
    assert leftovers(tmp_path / "a")
    for out in "ab":
        done = spawn(command[out])
        assert done.returncode == 0, done.stderr
    assert parts(tmp_path / "a") == parts(tmp_path / "b")
    assert len(parts(tmp_path / "a")) > 4


def test_the_table_goes_through_all_that_reads_it(
    world: Path, tmp_path: Path, invoke: Invoke
) -> None:
    source = ["--keep", "date", "--source", "bm25", "--source", "old=metadata:date<"]
    retrieve = asked(world, tmp_path / "c", *source)
    dry = invoke(*retrieve, "--dry-run", "--json")
    assert dry.exit_code == 0, dry.output
    stage = json.loads(dry.stdout)["stages"][0]
    commands: list[list[object]] = [
        retrieve,
        ["filter", tmp_path / "c", "--num-negatives", 3, "-o", tmp_path / "l"],
        ["audit", tmp_path / "c", "--num-negatives", 3, "-o", tmp_path / "audit.json"],
        ["report", tmp_path / "l", "-o", tmp_path / "report.html"],
        ["explain", tmp_path / "l", "q1"],
        ["inspect", tmp_path / "l", "-v"],
        ["export", tmp_path / "l", "--ids", "-o", tmp_path / "train.jsonl"],
    ]
    for command in commands:
        done = invoke(*command)
        assert done.exit_code == 0, done.output
    made = artifacts.open_artifact(tmp_path / "c")
    assert made.params["specs"] == {"old": "date<"}
    assert abs(stage["rows"] - made.counts["candidates"]) < 0.3 * made.counts["candidates"]
    # Another spec of the same name is another table.
    other = asked(world, tmp_path / "c", *source[:-1], "old=metadata:date<=")
    assert invoke(*other).exit_code == 6
    assert invoke(*retrieve, "--seed", 7).exit_code == 6


@pytest.mark.parametrize("sampled", [False, True])
def test_a_dry_run_from_nothing_counts_it(
    world: Path, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, sampled: bool
) -> None:
    """Also where the trial's corpus is a sample, which holds few of the known positives."""
    from negmine.commands.estimate import index

    data = world / "data"
    if sampled:
        monkeypatch.setattr(index, "_DOCUMENTS", 40)
    path = tmp_path / "mine.toml"
    path.write_text(
        f'work = "{tmp_path / "work"}"\n[index]\ncorpus = "{data}"\nbm25 = false\n'
        f'keep = ["kind", "date"]\n[retrieve]\nkeep = ["date"]\nqueries = "{data}"\n'
        f'qrels = "{data / "qrels.tsv"}"\nk = {K}\n'
        'source = ["m=metadata:kind", "old=metadata:date<", "easy=random:4"]\n'
    )
    result = invoke("run", path, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    stages = {stage["stage"]: stage for stage in json.loads(result.stdout)["stages"]}
    done = invoke("run", path)
    assert done.exit_code == 0, done.output
    rows = artifacts.open_artifact(tmp_path / "work" / "candidates").counts["candidates"]
    assert 0.6 * rows < stages["retrieve"]["rows"] < 1.4 * rows


def test_who_cannot_rank_some_documents_alone_is_told_so(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(kinds.KINDS, "third", "tests.sources.third:THIRD")
    data = make_data(tmp_path / "data")
    add_columns(data)
    index = ["index", "--corpus", data, "--no-bm25", "--keep", "topic", "-o", tmp_path / "index"]
    assert invoke(*index).exit_code == 0
    result = invoke(*asked(tmp_path, tmp_path / "c", "--source", "m=metadata:topic/third"))
    assert result.exit_code == 2, result.output
    told = " ".join(result.stderr.split())
    assert "'third' ranks the whole corpus, not what fits alone" in told
    assert "leave /third out" in told
