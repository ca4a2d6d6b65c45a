"""Every format with default flags and with each flag alone, through the command line, read back.

What should stand in a file is worked out here, row by row, from the table that the filter wrote.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from negmine import formats
from negmine.params import ExportParams
from tests.conftest import Invoke
from tests.tables import make_scored

N = 3
#: (query, positives, negatives); names of documents are examples' canonical form.
Example = tuple[str, tuple[str, ...], tuple[str, ...]]
Row = dict[str, Any]


def collection() -> list[list[Row]]:
    """48 queries in two parts: complete, short, without negatives, and one without positives."""
    parts: list[list[Row]] = [[], []]
    for q in range(48):
        positives = 0 if q == 7 else 1 + q % 2
        negatives = {3: 0, 10: 1, 21: 2}.get(q, 4)
        for d in range(positives + negatives):
            label = int(d < positives)
            rank = d + 1
            parts[q // 24].append(
                {
                    "qid": f"q{q}",
                    # A query's negatives are also its neighbours'.
                    "docid": f"p{q}x{d}" if label else f"n{(q + d) % 60}",
                    "label": label,
                    "grade": 1 if label else None,
                    "rank_bm25": rank,
                    "score_bm25": 30.0 - rank,
                    "rank_minilm": None if d == 2 else rank,
                    "score_minilm": None if d == 2 else 0.9 - rank / 100,
                    "score_ce": 9.0 - d - (4.0 if not label else 0.0) + 6.0 * (q == 7),
                }
            )
    return parts


@dataclasses.dataclass(frozen=True)
class Ledger:
    """The ledger on disk, and its rows by query."""

    path: Path
    rows: Mapping[str, list[Row]]

    def positives(self, qid: str, *, promoted: bool = True) -> list[Row]:
        found = [row for row in self.rows[qid] if row["label"] == 1]
        return [row for row in found if promoted or row["grade"] is not None]

    def negatives(self, qid: str) -> list[Row]:
        found = [row for row in self.rows[qid] if row["selected"] is not None]
        return sorted(found, key=lambda row: row["selected"])

    def survivors(self, qid: str) -> list[Row]:
        """The chosen negatives first, then what else no rule dropped, by score."""
        passed = [r for r in self.rows[qid] if r["label"] != 1 and r["dropped_by"] is None]
        return sorted(passed, key=lambda r: (r["selected"] or len(passed) + 1, -r["score_ce"]))

    def value(self, qid: str, docid: str, name: str) -> Any:
        (row,) = (row for row in self.rows[qid] if row["docid"] == docid)
        if name == "promoted":
            return row["label"] == 1 and row["grade"] is None
        return row[name]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    from negmine.params import FilterParams
    from negmine.stages import filter as filtering

    folder = tmp_path_factory.mktemp("ledger")
    parts = collection()
    docids = {row["docid"] for rows in parts for row in rows}
    scored = make_scored(
        folder,
        parts,
        doc_texts={docid: f"text of {docid}" for docid in docids},
        query_texts={f"q{q}": f"ask for q{q}" for q in range(48)},
        vectors=["minilm"],
    )
    guard = ("same_text", "near_duplicates", "query_text", "duplicate_queries", "repeated_texts")
    off: dict[str, Any] = dict.fromkeys((*guard, "empty_texts"), False) | {"own_document": "off"}
    params = FilterParams(
        num_negatives=N, difficulty=True, tau_plus=0.1, pseudo_positive=8.0, **off
    )
    filtering.run(params, scored, folder / "ledger")
    rows: dict[str, list[Row]] = {}
    for part in sorted((folder / "ledger").glob("part-*.parquet")):
        for row in pq.read_table(part).to_pylist():
            rows.setdefault(row["qid"], []).append(row)
    return Ledger(folder / "ledger", rows)


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches compare queries by an encoder: here by random vectors."""

    class Encoder:
        def encode(self, texts: list[str], side: str) -> np.ndarray:
            drawn = np.random.default_rng(len(texts)).normal(size=(len(texts), 8))
            return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)

    monkeypatch.setattr("negmine.sources.dense.load_query_encoder", lambda *_, **__: Encoder())


# --- what should be there ---------------------------------------------------------------------


def per_positive(p: list[str], n: list[str]) -> Iterator[tuple[list[str], list[str]]]:
    yield from (([one], n) for one in p if n)


def per_pair(p: list[str], n: list[str]) -> Iterator[tuple[list[str], list[str]]]:
    yield from (([one], [other]) for one in p for other in n)


def per_query(p: list[str], n: list[str]) -> Iterator[tuple[list[str], list[str]]]:
    if p and n:
        yield p, n


def complete(p: list[str], n: list[str]) -> Iterator[tuple[list[str], list[str]]]:
    yield from (([one], n) for one in p if len(n) == N)


def singly(p: list[str], n: list[str]) -> Iterator[tuple[list[str], list[str]]]:
    if p and n:
        yield from (([one], []) for one in p)
        yield from (([], [one]) for one in n)


def each(p: list[str], n: list[str]) -> Iterator[tuple[list[str], list[str]]]:
    yield from (([one], []) for one in p)
    yield from (([], [one]) for one in n)


RIGHT: dict[str, Callable[[list[str], list[str]], Iterator[tuple[list[str], list[str]]]]] = {
    "triplet": per_pair,
    "n-tuple": complete,
    "labeled-pair": singly,
    "labeled-list": per_positive,
    "flagembedding": per_query,
    "tevatron": per_query,
    "pylate-kd": complete,
    "colbert": complete,
    "colbert-triples": per_pair,
    "swift-embedding": per_positive,
    "swift-reranker": per_query,
    "nemo": per_positive,
    "msmarco": per_query,
    "rerank-eval": per_query,
    "trec-run": each,
    "trec-qrels": each,
}


def right(
    ledger: Ledger,
    name: str,
    limit: int = 48,
    promoted: bool = True,
    negatives: Callable[[Ledger, str], list[Row]] = Ledger.negatives,
) -> Counter[Example]:
    found: Counter[Example] = Counter()
    for qid in list(ledger.rows)[:limit]:
        p = [row["docid"] for row in ledger.positives(qid, promoted=promoted)]
        n = [row["docid"] for row in negatives(ledger, qid)]
        found.update((qid, tuple(a), tuple(b)) for a, b in RIGHT[name](p, n))
    return found


# --- what is there ----------------------------------------------------------------------------


def lines(path: Path) -> list[str]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if path.suffix == ".zst":
        import pyarrow as pa

        data = pa.CompressedInputStream(pa.BufferReader(data), "zstd").read()
    return data.decode().splitlines()


def records(path: Path) -> list[Any]:
    """Rows of one file, whatever its format."""
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    if path.suffix in (".trec", ".run", ".qrels", ".txt"):
        return [line.split() for line in lines(path)]
    return [json.loads(line) for line in lines(path)]


def files(out: Path) -> list[Path]:
    if out.is_dir():
        return sorted(out.glob("part-*"))
    return [out]


def plain(text: str) -> str:
    """A document's or query's id, told by itself or by its text."""
    return text.removeprefix("text of ").removeprefix("ask for ")


def first(row: Row, *names: str) -> Any:
    return next(row[name] for name in names if name in row)


def listed(values: Any) -> tuple[str, ...]:
    return tuple(map(plain, values))


def swift(row: Row, side: str) -> tuple[str, ...]:
    if f"{side}_id" in row and "messages" not in row:
        return listed(row[f"{side}_id"])
    name = {"pos": "positive_messages", "neg": "negative_messages"}[side]
    return tuple(plain(message["content"]) for one in row[name] for message in one)


def example(name: str, row: Any, ledger: Ledger, numbers: Mapping[str, list[str]]) -> Example:
    """One line of a format."""
    if name.startswith("trec"):
        qid, docid = row[0], row[2]
        own = ledger.value(qid, docid, "label") == 1
        return (qid, (docid,), ()) if own else (qid, (), (docid,))
    if name.startswith("colbert"):
        pids = [pid[0] if isinstance(pid, list) else pid for pid in row[1:]]
        docs = [plain(numbers["collection"][pid]) for pid in pids]
        return plain(numbers["queries"][row[0]]), (docs[0],), tuple(docs[1:])
    query = plain(
        row["messages"][0]["content"]
        if "messages" in row
        else first(row, "anchor", "query", "qid", "query_id", "question_id")
    )
    if name == "triplet":
        p, n = first(row, "positive", "positive_docid"), first(row, "negative", "negative_docid")
        return query, (plain(p),), (plain(n),)
    if name == "n-tuple":
        n = tuple(
            plain(first(row, f"negative_{i}", f"negative_{i}_docid")) for i in range(1, N + 1)
        )
        return query, (plain(first(row, "positive", "positive_docid")),), n
    if name == "labeled-pair":
        docid = plain(first(row, "document", "docid"))
        own = ledger.value(query, docid, "label") == 1
        assert row.get("label", int(own)) == int(own)
        return (query, (docid,), ()) if own else (query, (), (docid,))
    if name in ("labeled-list", "pylate-kd"):
        docs = listed(first(row, "documents", "docids", "document_ids"))
        assert row.get("labels", [1] + [0] * (len(docs) - 1)) == [1] + [0] * (len(docs) - 1)
        return query, docs[:1], docs[1:]
    if name == "tevatron":
        p, n = (
            tuple(plain(one.get("text", one["docid"])) for one in row[f"{side}_passages"])
            for side in ("positive", "negative")
        )
        return query, p, n
    if name == "msmarco":
        found = {docid for values in row["neg"].values() for docid in values}
        chosen = [one["docid"] for one in ledger.negatives(query)]
        assert found == set(chosen)
        for source, values in row["neg"].items():
            ranks = [ledger.value(query, docid, f"rank_{source}") for docid in values]
            assert ranks == sorted(ranks)
        return query, tuple(row["pos"]), tuple(chosen)
    if name.startswith("swift"):
        return query, swift(row, "pos"), swift(row, "neg")
    p = first(row, "pos", "pos_doc", "positive", "pos_id")
    n = first(row, "neg", "neg_doc", "negative", "neg_id")
    return query, listed(p), listed(n)


def measures(name: str, row: Any, column: str | None) -> list[Any]:
    """Values beside the documents of a line, positives first; column None = the scores."""
    if name == "trec-run":
        return [float(row[4])]
    if name.startswith("colbert"):
        return [pid[1] for pid in row[1:]]
    if name == "tevatron":
        key = column or "score"
        return [one[key] for side in ("positive", "negative") for one in row[f"{side}_passages"]]
    if name in ("flagembedding", "nemo", "rerank-eval") or name.startswith("swift"):
        key = column or "scores"
        return [*row[f"pos_{key}"], *row[f"neg_{key}"]]
    if name == "labeled-pair":
        return [row[column or "score"]]
    return list(row[column or "scores"])


def read(ledger: Ledger, name: str, out: Path) -> list[tuple[Example, Any]]:
    """Examples and the lines they were read from."""
    numbers = {}
    if name.startswith("colbert"):
        for kind in ("collection", "queries"):
            told = [line.split("\t") for line in (out / f"{kind}.tsv").read_text().splitlines()]
            assert [int(line[0]) for line in told] == list(range(len(told)))
            numbers[kind] = [line[1] for line in told]
    rows = [row for path in files(out) for row in records(path)]
    return [(example(name, row, ledger, numbers), row) for row in rows]


# --- every format with every flag -------------------------------------------------------------

FLAGS: list[tuple[str, ...]] = [
    (),
    ("--scores",),
    ("--score-by", "bm25"),
    ("--extra", "difficulty"),
    ("--extra", "tau_plus"),
    ("--extra", "grade"),
    ("--extra", "rank_bm25"),
    ("--extra", "score_bm25"),
    ("--extra", "promoted"),
    ("--promoted", "leave-out"),
    ("--negatives", "survivors"),
    ("--max-positives", "1"),
    ("--max-positives-by", "score"),
    ("--ids",),
    ("--no-texts",),
    ("--prompt", "Find a passage: "),
    ("--split", "0.3"),
    ("--unjudged", "leave-out"),
    # What they do is in test_beir.py: alone they are for no training set.
    ("--beir", "eval"),
    ("--beir-corpus", "pool"),
    ("--shuffle", "7"),
    ("--order-by", "difficulty"),
    ("--max-shard-size", "600"),
    ("--card",),
    # What it does is in test_hub.py, against a stand-in for the hub.
    ("--push", "no-owner"),
    ("--public",),
    ("--batcher", "ngame"),
    ("--batcher", "b3"),
    ("--batcher", "tas-balanced"),
    ("--batch-size", "4"),
    ("--batch-by", "minilm"),
    ("--group-by", "topic"),
    ("--clusters", "2"),
    ("--cluster-size", "4"),
    ("--rounds", "2"),
    # What these do is in test_served_batches.py.
    ("--encoder", "minilm=openai:m@http://localhost:1"),
    ("--max-calls", "9"),
    ("--max-tokens", "999"),
    ("--max-cost", "1"),
    ("--price", "1,2"),
    ("--concurrency", "2"),
    ("--timeout", "9"),
    ("--retries", "1"),
    ("--seed", "7"),
    ("--device", "cpu"),
    ("--trust-remote-code",),
    ("--memory", "2GB"),
    ("--threads", "2"),
    ("--limit", "5"),
    ("--allow-empty",),
    ("--force",),
    ("--quiet",),
    ("--verbose",),
    ("--log-format", "json"),
    ("--dry-run",),
    ("--json",),
    ("--config", "recipe.toml"),
]
NO_SCORES = ("msmarco", "trec-qrels")
ALWAYS_SCORES = ("pylate-kd", "trec-run")
NO_EXAMPLES = ("rerank-eval", "trec-run", "trec-qrels")
CLOSED = ("colbert", "colbert-triples", "msmarco", "trec-run", "trec-qrels")


def refused(name: str, option: str) -> bool:
    """Flags that a format cannot take, or that mean nothing alone."""
    if option in BATCHING:
        return True
    return {
        "--json": True,
        "--max-positives-by": True,
        # Of as-input alone, which is no layout of its own: test_as_input.py.
        "--unjudged": True,
        "--max-positives": name in NO_EXAMPLES,
        "--push": True,
        "--beir": True,
        "--beir-corpus": True,
        "--public": True,
        "--scores": name in NO_SCORES,
        "--score-by": name not in ALWAYS_SCORES,
        "--extra": name in CLOSED,
        "--prompt": name != "flagembedding",
        "--negatives": name != "rerank-eval",
        "--batcher": name in NO_EXAMPLES,
        "--order-by": name in NO_EXAMPLES,
    }.get(option, False)


def test_every_option_of_export_is_tried_here() -> None:
    tried = {flags[0] for flags in FLAGS if flags}
    for field in dataclasses.fields(ExportParams):
        flag = f"--{field.name.replace('_', '-')}"
        assert {flag, f"--no-{field.name}"} & {*tried, *({"--format"} & {flag})}, flag
    assert set(RIGHT) == set(formats.FORMATS)


def assert_one_positive(got: Counter[Any], wanted: Counter[Any]) -> None:
    """Of each query one positive goes out, with all the negatives that it would have had."""

    def of_query(examples: Counter[Any], side: int) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for example in examples:
            found.setdefault(example[0], set()).update(example[side])
        return found

    one, all_ = of_query(got, 1), of_query(wanted, 1)
    assert one.keys() == all_.keys()
    assert all(len(one[q]) == min(1, len(all_[q])) and one[q] <= all_[q] for q in all_)
    assert any(len(positives) > 1 for positives in all_.values())
    assert of_query(got, 2) == of_query(wanted, 2)


BATCHING = (
    *("--batch-size", "--batch-by", "--group-by", "--clusters", "--cluster-size", "--rounds"),
    *("--threads", "--encoder", "--max-calls", "--max-tokens", "--max-cost", "--price"),
    *("--concurrency", "--timeout", "--retries"),
)
#: Flags that no format sees: tried with a streamed, an ordered and a conversational one.
OF_ALL = (
    *("--force", "--quiet", "--verbose", "--log-format", "--json", "--device", "--memory"),
    "--unjudged",
    *(
        "--beir",
        "--beir-corpus",
        "--dry-run",
        "--seed",
        "--trust-remote-code",
        "--push",
        "--public",
    ),
    *BATCHING,
)
ONE_OF_A_KIND = ("triplet", "colbert", "swift-embedding")


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        pytest.param(name, flags, id=f"{name} {' '.join(flags)}")
        for flags in FLAGS
        for name in formats.FORMATS
        if name in ONE_OF_A_KIND or not set(flags) & set(OF_ALL)
    ],
)
def test_a_format_with_a_flag(
    ledger: Ledger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    invoke: Invoke,
    name: str,
    flags: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.toml").write_text(f'[export]\nformat = "{name}"\n')
    asked = () if "--config" in flags else ("--format", name)
    result = invoke("export", ledger.path, *asked, *flags, "-o", "train")
    option = flags[0] if flags else ""
    out = tmp_path / "train"
    if refused(name, option):
        assert result.exit_code == 2, result.output
        message = result.stderr.strip().splitlines()
        assert option in message[0]
        assert len(message) >= 2, "how to mend it"
        assert not out.exists()
        return
    assert result.exit_code == 0, result.output
    if option == "--dry-run":
        assert not out.exists()
        return
    assert result.stdout.strip() == "train"
    found = read(ledger, name, out)
    check(ledger, name, flags, out, found)
    check_texts(name, flags, out)


def check(
    ledger: Ledger,
    name: str,
    flags: tuple[str, ...],
    out: Path,
    found: list[tuple[Example, Any]],
) -> None:
    """The examples are the right ones, in the right order where there is one."""
    option, value = (*flags, "", "")[:2]
    wanted = right(ledger, name)
    if option == "--limit":
        wanted = right(ledger, name, limit=5)
    if option == "--negatives":
        wanted = right(ledger, name, negatives=Ledger.survivors)
        assert wanted != right(ledger, name)
    if option == "--promoted":
        wanted = right(ledger, name, promoted=False)
    got = Counter(one for one, _ in found)
    if option == "--split":
        held_out = read_held_out(ledger, name, out)
        assert not {one[0] for one in got} & {one[0] for one in held_out}
        assert got
        assert held_out
        got += held_out
    if option == "--batcher":
        # What fits in no full batch is left out; TAS-Balanced draws one example of each query.
        assert sum(got.values()) % 32 == 0
        assert got
        assert not got - wanted
    elif option == "--max-positives":
        assert_one_positive(got, wanted)
    else:
        assert got == wanted
    if option == "--shuffle":
        assert [one for one, _ in found] != list(right(ledger, name).elements())
    if option == "--order-by":
        of_query: dict[str, set[str]] = {}
        for (qid, _, n), _ in found:
            of_query.setdefault(qid, set()).update(n)
        means = [
            # A positive alone goes by its query's negatives.
            statistics.fmean(ledger.value(qid, docid, value) for docid in n or of_query[qid])
            for (qid, _, n), _ in found
        ]
        assert np.diff(means).min() > -1e-12
        assert len(set(means)) > 1
    if option == "--max-shard-size":
        assert len(files(out)) > 1
    if option == "--extra":
        for (qid, p, n), row in found:
            values = [ledger.value(qid, docid, value) for docid in (*p, *n)]
            assert measures(name, row, value) == pytest.approx(values, nan_ok=True) or (
                None in values and measures(name, row, value) == values
            )
    if option == "--scores" or name in ALWAYS_SCORES:
        score = "score_bm25" if option == "--score-by" else "score_ce"
        for (qid, p, n), row in found:
            values = [ledger.value(qid, docid, score) for docid in (*p, *n)]
            assert measures(name, row, None) == pytest.approx(values)
    if option == "--prompt":
        assert {row["prompt"] for _, row in found} == {value}


def read_held_out(ledger: Ledger, name: str, out: Path) -> Counter[Example]:
    numbers = {}
    if name.startswith("colbert"):
        for kind in ("collection", "queries"):
            told = (out / f"{kind}.tsv").read_text().splitlines()
            numbers[kind] = [line.split("\t")[1] for line in told]
    rows = [row for path in sorted((out / "_heldout").glob("part-*")) for row in records(path)]
    return Counter(example(name, row, ledger, numbers) for row in rows)


def check_texts(name: str, flags: tuple[str, ...], out: Path) -> None:
    """Texts stand where texts belong, and with --no-texts nowhere; so do ids."""
    rows = [row for path in files(out) for row in records(path)]
    shown = json.dumps(rows)
    textless = name in ("colbert", "colbert-triples", "msmarco", "trec-run", "trec-qrels")
    without = textless or "--no-texts" in flags
    assert ("text of " in shown) == (not without)
    assert ("ask for " in shown) == (not without)
    if "--ids" in flags and not textless:
        assert any("id" in key for key in rows[0]), rows[0]
    if "--card" in flags:
        assert (out / "_README.md").is_file()


# --- every kind of file -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        (name, suffix)
        for name in formats.FORMATS
        for suffix in (*formats.load(name).suffixes, "-", ".csv")
    ],
)
def test_a_format_in_a_file(
    ledger: Ledger, tmp_path: Path, invoke: Invoke, name: str, suffix: str
) -> None:
    out = "-" if suffix == "-" else tmp_path / f"train{suffix}"
    result = invoke("export", ledger.path, "--format", name, "-o", out)
    if name.startswith("colbert") or suffix == ".csv":
        assert result.exit_code == 2
        assert "folder" in result.stderr
        assert list(tmp_path.iterdir()) == []
        return
    assert result.exit_code == 0, result.output
    if suffix == "-":
        fields = name.startswith("trec")
        rows = [line.split() if fields else json.loads(line) for line in io.StringIO(result.stdout)]
    else:
        rows = records(Path(out))
    found = Counter(example(name, row, ledger, {}) for row in rows)
    assert found == right(ledger, name)
