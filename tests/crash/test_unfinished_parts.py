"""A model's work on a part that is not finished is not lost, and the bytes are the same."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT, write_jsonl
from tests.tiny_models import texts

#: Dies in the middle of the first part, its rows being written every time.
PROGRAM = """
import os, signal, sys
from negmine import cli
from negmine.models import room
from negmine.table.artifacts import checkpoint
checkpoint.SECONDS = 0.0
batches, most = 0, int(sys.argv.pop(1))
fits = room.Room._fits
def counted(*given):
    global batches
    batches += 1
    if batches > most:
        os.kill(os.getpid(), signal.SIGKILL)
    return fits(*given)
room.Room._fits = counted
try:
    cli.main()
finally:
    print("BATCHES", batches)
"""


def run(most: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(most), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def batches(ended: subprocess.CompletedProcess[str]) -> int:
    assert ended.returncode == 0, ended.stderr
    found = re.search(r"BATCHES (\d+)", ended.stdout)
    assert found is not None
    return int(found[1])


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("part-*"))
        if path.is_file()
    }


def test_encoding_and_scoring_go_on_within_a_part(
    tmp_path: Path, tiny_bi: Path, tiny_cross: Path
) -> None:
    documents = [{"_id": f"d{i}", "text": text} for i, text in enumerate(texts(300)) if text]
    corpus = write_jsonl(tmp_path / "corpus.jsonl", documents)
    pairs = write_jsonl(
        tmp_path / "pairs.jsonl",
        [
            {"query": f"the gene {i}", "positive": row["text"]}
            for i, row in enumerate(documents[:9])
        ],
    )

    def index(out: Path) -> list[object]:
        return ["index", "--corpus", corpus, "--no-bm25", "--encoder", f"tiny={tiny_bi}",
                "--batch-size", 8, "-o", out]  # fmt: skip

    plain = run(10**9, *index(tmp_path / "plain"))
    whole = batches(plain)
    assert whole > 20
    killed = run(whole // 2, *index(tmp_path / "index"))
    assert killed.returncode != 0
    vectors = tmp_path / "index" / "vectors" / "tiny"
    assert list(vectors.glob("part-*")) == []
    rest = batches(run(10**9, *index(tmp_path / "index")))
    assert rest <= whole - whole // 2 + 1
    assert contents(tmp_path / "index") == contents(tmp_path / "plain")
    assert list((tmp_path / "index").rglob("*.checkpoint")) == []

    made = ["retrieve", tmp_path / "index", "--pairs", pairs, "-k", 20, "-o", tmp_path / "c"]
    batches(run(10**9, *made))

    def rerank(out: Path) -> list[object]:
        return ["rerank", tmp_path / "c", "--scorer", f"ce={tiny_cross}", "--scorer",
                f"bi={tiny_bi}", "--batch-size", 4, "-o", out]  # fmt: skip

    whole = batches(run(10**9, *rerank(tmp_path / "scored-plain")))
    killed = run(whole // 2, *rerank(tmp_path / "scored"))
    assert killed.returncode != 0
    rest = batches(run(10**9, *rerank(tmp_path / "scored")))
    assert rest <= whole - whole // 2 + 12
    assert contents(tmp_path / "scored") == contents(tmp_path / "scored-plain")
