"""RLHN by a language model behind HTTP: one key of the recipe names the judge."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests import promises
from tests.chains import make_data
from tests.conftest import ROOT, Invoke
from tests.scorers import judged


@pytest.mark.real
def test_rlhn_brings_back_what_the_judge_finds(
    tmp_path: Path, tiny_bi: Path, invoke: Invoke
) -> None:
    """One positive of each query is labelled; the judge behind the server knows all of them."""
    data = make_data(tmp_path / "data")
    head, *rows = (data / "qrels.tsv").read_text().splitlines()
    truth = {(qid, docid) for qid, docid, _ in (row.split("\t") for row in rows)}
    first = {row.split("\t")[0]: row for row in reversed(rows)}
    (tmp_path / "revealed.tsv").write_text("\n".join([head, *first.values()]) + "\n")
    known = {(qid, row.split("\t")[1]) for qid, row in first.items()}
    assert len(truth - known) > 5
    with judged.server(data) as server:
        judge = judged.judge_of(server).removeprefix("judge=")
        command = [
            *("run", ROOT / "configs" / "rlhn.toml", "-o", tmp_path / "work"),
            *("--corpus", data, "--queries", data, "--qrels", tmp_path / "revealed.tsv"),
            *("--set", f"index.encoder.minilm={tiny_bi}"),
            # An encoder with random weights finds few of them among the first 25.
            *("--set", f"rerank.scorer.judge={judge}", "--set", "retrieve.k=70"),
        ]
        done = invoke(*command)
        assert done.exit_code == 0, done.output
        asked = server.journal.count("asked")
        # Another condition asks nobody again.
        done = invoke(*command, "--set", "filter.promote=verdict_judge = yes")
        assert done.exit_code == 0, done.output
        assert server.journal.count("asked") == asked
        found = pq.read_table(tmp_path / "work" / "ledger").to_pylist()
        said = {(row["qid"], row["docid"]) for row in found if row["verdict_judge"] == "yes"}
        assert {key for row in found if (key := (row["qid"], row["docid"])) in said - known} == {
            (row["qid"], row["docid"]) for row in found if row["dropped_by"] == "promoted"
        }
        done = invoke(*command)
        assert done.exit_code == 0, done.output
    found = pq.read_table(tmp_path / "work" / "ledger").to_pylist()
    promoted = {(row["qid"], row["docid"]) for row in found if row["dropped_by"] == "promoted"}
    sure = {(row["qid"], row["docid"]) for row in found if row["score_judge"] > 0.9}
    assert promoted == sure - known
    assert promoted <= truth
    assert len(promoted) >= 3
    made = promises.read(tmp_path / "work" / "ledger", tmp_path / "work" / "train.parquet")
    for line in made.lines:
        assert {docid for qid, docid in promoted if qid == line.qid} <= set(line.positives)
        assert not {(line.qid, docid) for docid in line.negatives} & promoted
