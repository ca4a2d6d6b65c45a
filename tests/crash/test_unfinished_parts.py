"""A model's work on a part that is not finished is not lost, and the bytes are the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from negmine.models import room
from negmine.table.artifacts import checkpoint
from tests.chains import call
from tests.conftest import ROOT, write_jsonl
from tests.tiny_models import texts

#: Dies in the middle of the first part, its rows being written every time.
PROGRAM = """
import os, signal, sys
from negmine import cli
from negmine.models import room
from negmine.table.artifacts import checkpoint
checkpoint.SECONDS = 0.0
left = int(sys.argv.pop(1))
fits = room.Room._fits
def counted(*given):
    global left
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return fits(*given)
room.Room._fits = counted
cli.main()
"""


def killed(most: int, arguments: Sequence[object]) -> None:
    """Run negmine in a process of its own until its models have made so many batches."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(most), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def batches(arguments: Sequence[object]) -> int:
    """Run negmine to its end, in this process; how many batches its models have made."""
    made = 0
    fits = room.Room._fits

    def counted(*given: Any) -> bool:
        nonlocal made
        made += 1
        return fits(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "SECONDS", 0.0)
        patch.setattr(room.Room, "_fits", counted)
        code, said = call(*arguments)
    assert code == 0, said
    return made


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
                "--batch-size", 8, "--threads", 1, "-o", out]  # fmt: skip

    whole = batches(index(tmp_path / "plain"))
    assert whole > 20
    killed(whole // 2, index(tmp_path / "index"))
    vectors = tmp_path / "index" / "vectors" / "tiny"
    assert list(vectors.glob("part-*")) == []
    rest = batches(index(tmp_path / "index"))
    assert rest <= whole - whole // 2 + 1
    assert contents(tmp_path / "index") == contents(tmp_path / "plain")
    assert list((tmp_path / "index").rglob("*.checkpoint")) == []

    batches(["retrieve", tmp_path / "index", "--pairs", pairs, "-k", 20, "-o", tmp_path / "c"])

    def rerank(out: Path) -> list[object]:
        return ["rerank", tmp_path / "c", "--scorer", f"ce={tiny_cross}", "--scorer",
                f"bi={tiny_bi}", "--batch-size", 4, "--threads", 1, "-o", out]  # fmt: skip

    whole = batches(rerank(tmp_path / "scored-plain"))
    killed(whole // 2, rerank(tmp_path / "scored"))
    rest = batches(rerank(tmp_path / "scored"))
    assert rest <= whole - whole // 2 + 12
    assert contents(tmp_path / "scored") == contents(tmp_path / "scored-plain")
