"""A chain with small parts by an engine: its recipe, and workers with the same small parts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.chains import SMALL_PARTS, make_data, run_here
from tests.conftest import ROOT
from tests.hashed_scorer import SCORER
from tests.test_plugins import install

PROGRAM = SMALL_PARTS + "cli.main()\n"

TWO = ("--engine", "local", "--workers", "2")

#: What Python reads when it starts, in every process that makes parts and in no other one.
IN_WORKERS = f"""
import sys
words = " ".join(sys.orig_argv)
if "multiprocessing-fork" in words or "default_worker.py" in words:
{"".join(f"    {line}" + chr(10) for line in SMALL_PARTS.splitlines() if line)}
"""

#: A unit of rerank whose worker is always killed: that of a part.
KILLED = """
    import os, signal
    from negmine.stages.rerank import scoring
    plain = scoring._scored
    def killed(scorers, name, *more, **given):
        if name == os.environ["KILLED_PART"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(scorers, name, *more, **given)
    if "KILLED_PART" in os.environ:
        scoring._scored = killed
"""

#: Workers that take their time, so that something can happen meanwhile.
SLOW = """
    import os, time
    from negmine.table.artifacts import writing
    kept = writing.Writer._add
    def slow(self, *given):
        time.sleep(float(os.environ["SLOW_PARTS"]))
        kept(self, *given)
        self.settle()
    if "SLOW_PARTS" in os.environ:
        writing.Writer._add = slow
"""


def workers_path(folder: Path) -> str:
    """A search path for Python that makes the parts of workers small."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(IN_WORKERS + KILLED + SLOW)
    return f"{folder}{os.pathsep}{ROOT}"


def scorers_path(folder: Path) -> str:
    """That, and a scorer without a model: ``plugin:hashed/FILE``."""
    point = {"negmine.scorers": {"hashed": "hashed_scorer:load"}}
    project = {"name": "hashed", "version": "1", "entry-points": point}
    with pytest.MonkeyPatch.context() as patch:
        install(folder / "site", patch, project, {"hashed_scorer": SCORER})
    return f"{workers_path(folder / 'workers')}{os.pathsep}{folder / 'site'}"


def without_models(folder: Path) -> Path:
    """Data and recipe of a chain without models, which take longer to load than it takes to run."""
    write_recipe(make_data(folder), None, "plugin:hashed/asked.log")
    return folder


def write_recipe(
    folder: Path, encoder: Path | None = None, scorer: str | None = None, more: str = ""
) -> Path:
    """The recipe of a chain in the folder of its data.

    Args:
        folder: with corpus, queries and judgements.
        encoder: of the dense source; None = BM25 alone, which needs no model.
        scorer: the one of rerank; None = nothing is scored again.
        more: lines of ``[rerank]``.
    """
    of_index = f'encoder = {{ tiny = "{encoder}" }}\ndtype = "float32"\n' if encoder else ""
    sources = '["bm25", "tiny"]' if encoder else '["bm25"]'
    rerank = f'[rerank]\nscorer = {{ ce = "{scorer}" }}\nthreads = 1\n{more}\n' if scorer else ""
    path = folder / "recipe.toml"
    path.write_text(
        f"""work = "work"
output = "train.parquet"

[index]
corpus = "corpus.jsonl"
{of_index}threads = 1

[retrieve]
queries = "queries.jsonl"
qrels = "qrels.tsv"
source = {sources}
k = 10
threads = 1

{rerank}
[filter]
by = "{"ce" if scorer else "bm25"}"
num-negatives = 3

[export]
format = "triplet"
"""
    )
    return path


def move_work(folder: Path, work: str) -> None:
    """Have the recipe of a folder, which others may share, work somewhere else."""
    recipe = folder / "recipe.toml"
    text = recipe.read_text().replace('work = "work"', f'work = "{work}"')
    recipe.unlink()
    recipe.write_text(text)


def begun(
    folder: Path,
    *words: object,
    path: str = str(ROOT),
    env: Mapping[str, str] | None = None,
    within: Sequence[str] = (),
) -> subprocess.Popen[str]:
    """``negmine run`` with small parts, in a process of its own.

    Args:
        folder: with the data and the recipe.
        words: further options.
        path: where Python looks for modules.
        env: further variables.
        within: a command that runs it.
    """
    return subprocess.Popen(
        [*within, sys.executable, "-c", PROGRAM, "run", "recipe.toml", *map(str, words)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str], code: int = 0) -> str:
    """What it said on stderr; it must end with this exit code."""
    told, said = process.communicate(timeout=900)
    assert process.returncode == code, said
    assert code or told.strip().endswith("train.parquet"), told
    return said


def made_here(folder: Path) -> dict[str, Any]:
    """What this process makes of the recipe of a folder: its models may be loaded already."""
    run_here(folder, ["run", "recipe.toml"])
    return contents(folder / "work")


def copied(data: Path, folder: Path) -> Path:
    """A folder of the same data."""
    folder.mkdir(parents=True)
    for path in data.iterdir():
        os.link(path, folder / path.name)
    return folder


def children(pid: int) -> list[int]:
    """Workers of a process."""
    listed = subprocess.run(
        ["ps", "-ww", "--ppid", str(pid), "-o", "pid=,args="],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line.split(None, 1) for line in listed.stdout.splitlines()]
    return [int(pid) for pid, words in lines if "multiprocessing-fork" in words]


def until(true: Callable[[], object], seconds: float = 600) -> None:
    """Wait until something is so."""
    late = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < late
        time.sleep(0.02)


def is_there(pid: int) -> bool:
    """Whether a process lives."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def killed_one_after_the_other(
    driver: subprocess.Popen[str], marked: Callable[[str], object]
) -> list[int]:
    """Kill a worker when candidates are made, and the driver when scores are.

    Args:
        driver: of two workers.
        marked: whether parts of an artifact are made.

    Returns:
        The workers that the driver had when it was killed.
    """
    until(lambda: marked("candidates") or driver.poll() is not None)
    assert driver.poll() is None, driver.communicate()
    os.kill(children(driver.pid)[0], signal.SIGKILL)
    until(lambda: marked("scored") or driver.poll() is not None)
    workers = children(driver.pid)
    driver.kill()
    _, said = driver.communicate()
    assert workers, said
    assert "retrieve: a worker ended (killed by SIGKILL)" in said
    return workers


def markers(work: Path, folder: str) -> list[Path]:
    """What workers have finished of an artifact that is not collected."""
    return list((work / folder / "_shards").glob("part-*.json"))


def contents(work: Path) -> dict[str, Any]:
    """Every file of a work folder: bytes; of manifests what is not of the run itself."""
    found: dict[str, Any] = {}
    for path in sorted(work.rglob("*")):
        name = str(path.relative_to(work))
        # Lucene's own files have times in them.
        if path.is_dir() or "lucene" in name:
            continue
        if not path.name.endswith("manifest.json"):
            found[name] = path.read_bytes()
            continue
        manifest = json.loads(path.read_text())
        manifest.pop("run")
        for record in manifest["inputs"].values():
            record.pop("path", None), record.pop("inode", None), record.pop("mtime_ns", None)
        if "bm25" not in name:
            found[name] = manifest
    return found


def leftovers(work: Path) -> list[str]:
    """What should have gone when all is made."""
    names = ("_shards", "_journal.jsonl")
    return [
        str(path)
        for path in work.rglob("*")
        if path.name in names or (path.name.startswith(".") and path.is_file())
    ]
