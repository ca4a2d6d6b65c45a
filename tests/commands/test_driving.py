"""``--engine``: what is asked, what is refused, and what a chain would take by workers."""

from __future__ import annotations

import json
import os
import pickle
import socket
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest

from negmine import processors
from negmine.addresses import located
from negmine.commands import driving
from negmine.commands.estimate import several
from negmine.commands.estimate.cost import Cost
from negmine.engine.engines import Asked
from negmine.engine.on_ray import shared_out
from negmine.errors import MachineError, UsageError
from negmine.params.export import ExportParams
from negmine.params.filter import FilterParams
from negmine.params.rerank import RerankParams
from negmine.stages.stage import Step
from tests.chains import make_data, small_parts
from tests.conftest import Invoke
from tests.small_workers import write_recipe


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workers", "2"], "--workers belongs to --engine"),
        (["--address", "here:1"], "--address belongs to --engine"),
        (["--gpus-per-worker", "1"], "--gpus-per-worker belongs to --engine"),
        (["--engine", "local"], "how many workers?"),
        (["--engine", "local", "--workers", "2", "--address", "x"], "belongs to --engine ray"),
        (["--engine", "ray", "--dry-run"], "asks no cluster how many workers"),
    ],
)
def test_what_has_no_effect_is_refused(
    words: list[str], said: str, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_data(tmp_path / "data"))
    found = invoke("run", write_recipe(Path()), *words)
    assert found.exit_code == 2, found.stderr
    assert said in found.stderr
    assert not Path("work").exists()


def test_a_dry_run_tells_each_worker_and_all(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_data(tmp_path / "data"))
    words = ("run", write_recipe(Path()), "--engine", "ray", "--dry-run", "--workers")
    with small_parts():
        found = invoke(*words, "2")
    assert found.exit_code == 0, found.stderr
    assert "retrieve by 2 workers: " in found.stdout
    assert "export: by the process that drives" in found.stdout
    assert "all by 2 workers: " in found.stdout
    assert "retrieve by 1 of 4 workers: " in invoke(*words, "4").stdout
    told = json.loads(invoke(*words, "4", "--json").stdout)["by_workers"]
    assert told["workers"] == 4
    # Of parts as large as they are there is one, which one worker makes.
    busy = {one["stage"]: one["workers"] for one in told["stages"]}
    assert busy == {"index": 1, "retrieve": 1, "filter": 1, "export": 0}
    assert not Path("work").exists()


@pytest.mark.parametrize(("units", "most", "busy"), [(0, 1 / 8, 8), (16, 1 / 8, 8), (3, 1 / 3, 3)])
def test_what_is_shared_is_divided_and_nothing_else(units: int, most: float, busy: int) -> None:
    """As far as there are units: a unit is made by one process."""
    cost = Cost("rerank", Path("scored"), units=units)
    for name, seconds in {"start": 3.0, "load ce": 5.0, "score ce": 800.0, "tables": 40.0}.items():
        cost.add(name, seconds)
    export = Cost("export", Path("train"))
    export.add("examples", 7.0)
    scored = Step("rerank", RerankParams(), cost.target)
    steps = [scored, Step("export", ExportParams(), export.target)]
    rerank, alone = several.among(steps, [cost, export], Asked("ray", workers=8))
    assert (rerank.alone, rerank.worker) == (3.0, pytest.approx(5.0 + 840.0 * most))
    assert rerank.spent == pytest.approx(3.0 + busy * 5.0 + 840.0)
    assert (alone.worker, alone.seconds, alone.spent) == (0.0, 7.0, 7.0)
    shards = several.shared(cost, 8)
    assert shards.one == pytest.approx(8.0 + 840.0 * most)
    assert shards.all == 8 * 8.0 + 840.0


def test_what_comes_of_all_parts_every_process_finds_for_itself() -> None:
    cost = Cost("filter", Path("ledger"), units=100)
    for name, seconds in {several.OF_ALL: 30.0, "rules": 400.0, "start": 2.0}.items():
        cost.add(name, seconds)
    found = several.shared(cost, 4)
    assert (found.one, found.all, found.rest) == (132.0, 528.0, 0.0)
    step = Step("filter", FilterParams(), cost.target)
    (told,) = several.among([step], [cost], Asked("ray", workers=4))
    assert (told.alone, told.worker, told.spent) == (2.0, 130.0, 522.0)


def test_what_one_process_makes_before_is_not_divided() -> None:
    """The anchors of a cross-encoder's own source are scored once, and not by every shard."""
    cost = Cost("retrieve", Path("candidates"), units=4)
    for name, seconds in {"score anchors of ce": 60.0, "score with ce": 40.0, "read": 2.0}.items():
        cost.add(name, seconds)
    found = several.shared(cost, 4)
    assert (found.one, found.all, found.rest) == (12.0, 48.0, 60.0)


def test_workers_of_this_machine_have_a_share_of_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = processors.Machine(cores=8, allowed=8, quota=None, busy=0.0)
    monkeypatch.setattr(processors, "look", lambda: machine)
    monkeypatch.setattr(processors, "_OPENMP", None)
    cost = Cost("rerank", Path("scored"), units=1000)
    cost.add("score ce", 800.0)
    asked = Asked("local", workers=4)

    def seconds(threads: int | None) -> float:
        step = Step("rerank", RerankParams(threads=threads), cost.target)
        (found,) = several.among([step], [cost], asked)
        return found.seconds

    # All cores are busy with one process already; with one thread each, four do four times as much.
    assert seconds(None) == pytest.approx(800.0)
    assert seconds(1) == pytest.approx(200.0)
    assert driving._threads(4) == {"OMP_NUM_THREADS": "2"}
    monkeypatch.setattr(processors, "_OPENMP", "1")
    assert seconds(None) == pytest.approx(200.0)
    assert driving._threads(4) == {}


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus", "found"),
    [
        # One for each machine, with all of it.
        ([{"CPU": 16}, {"CPU": 16}], None, None, (2, 16, 1)),
        # As many as were asked for, each with as much as fits so often.
        ([{"CPU": 16}, {"CPU": 16}], 8, None, (8, 4, 4)),
        ([{"CPU": 4}, {"CPU": 2}], 3, None, (3, 2, 2)),
        # No more than there is room for.
        ([{"CPU": 1}] * 3, 8, None, (3, 1, 1)),
        # A head without CPUs runs nothing.
        ([{}, {"CPU": 8}], None, None, (1, 8, 1)),
        ([{"CPU": 16, "GPU": 8}, {"CPU": 16}], None, 1, (8, 2, 8)),
        ([{"CPU": 16, "GPU": 8}, {"CPU": 16, "GPU": 4}], None, 2, (6, 4, 4)),
        ([{"CPU": 16, "GPU": 8}], 2, 4, (2, 8, 2)),
    ],
)
def test_a_cluster_is_shared_out(
    nodes: list[dict[str, float]],
    workers: int | None,
    gpus: int | None,
    found: tuple[int, int, int],
) -> None:
    assert shared_out(nodes, workers, gpus) == found


def test_a_cluster_without_room_is_told() -> None:
    with pytest.raises(MachineError, match="no room for a worker: 1 machines, 4 CPUs, 0 GPUs"):
        shared_out([{"CPU": 4}], None, 1)


@pytest.mark.parametrize(
    "address", ["127.0.0.1:{port}", "no-such-host.invalid:6379", "a..b:6379", "nonsense"]
)
def test_a_cluster_that_is_not_there_is_told_soon(
    address: str, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray alone tries for minutes."""
    pytest.importorskip("ray")
    monkeypatch.chdir(make_data(tmp_path / "data"))
    monkeypatch.setattr("negmine.engine.on_ray._PATIENCE", 0.2)
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    with socket.socket() as nobody:
        # Taken, and nobody listens.
        nobody.bind(("127.0.0.1", 0))
        asked = address.format(port=nobody.getsockname()[1])
        words = ("--engine", "ray", "--workers", "2", "--address", asked)
        found = invoke("run", write_recipe(Path()), *words)
    assert found.exit_code == 10, found.stderr
    assert f"--address {asked}: no Ray cluster is there" in found.stderr
    assert "ray start --head" in found.stderr
    assert not Path("work").exists()
    # Ray's makers are told of nothing.
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_a_worker_of_another_version_or_without_the_folder_says_so(tmp_path: Path) -> None:
    answer = driving.prepare("0.0.0", str(tmp_path), 1)
    assert answer.error is not None
    assert "what drives it is 0.0.0" in answer.error.what
    answer = driving.prepare(driving.__version__, str(tmp_path / "gone"), 1)
    assert answer.error is not None
    assert "a worker has no such folder" in answer.error.what


@pytest.mark.parametrize(("takes", "looks"), [(0.0, 100), (2.0, 2)])
def test_a_look_that_takes_long_is_made_seldom(
    takes: float, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And in the end once more, so that the bar tells of all."""
    clock, made = [100.0], list[str]()
    seen = list[int]()

    def marked_of(path: Path, names: Iterable[str]) -> set[str]:
        seen.append(len(made))
        clock[0] += takes
        return set(made)

    monkeypatch.setattr(driving.shards, "marked_of", marked_of)
    monkeypatch.setattr(driving, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    bar = Counted()
    step = Step("rerank", RerankParams(), Path("scored"))
    watched = driving._Made(step, {0: [f"part-{n}" for n in range(100)]}, bar)  # type: ignore[arg-type]
    for number in range(100):
        made.append(f"part-{number}")
        watched.look()
        clock[0] += 0.5
    assert len(seen) == looks
    watched.look(now=True)
    assert bar.count == 100


class Counted:
    """A bar that counts."""

    count = 0

    def update(self, count: int) -> None:
        self.count += count


def test_markers_are_seen_among_what_shards_tell(tmp_path: Path) -> None:
    folder = tmp_path / "vectors" / "a" / "_shards"
    folder.mkdir(parents=True)
    for name in ("_plan.json", "_told.0.x.json", "part-0.npy.json", "part-1.npy.token"):
        (folder / name).touch()
    asked = ["vectors/a/part-0.npy", "vectors/a/part-1.npy", "vectors/b/part-0.npy", "part-0.npy"]
    assert driving.shards.marked_of(tmp_path, asked) == {"vectors/a/part-0.npy"}


def test_an_error_is_one_that_every_process_has() -> None:
    class OwnError(UsageError):
        """Of a module that another process may not have."""

    error = driving._plain(OwnError("what", where="where", hint="hint"))
    assert type(error) is UsageError
    assert (error.what, error.where, error.hint) == ("what", "where", "hint")


def test_a_worker_is_told_addresses_and_no_mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a mirror lies is each machine's own."""
    monkeypatch.setenv("NEGMINE_CACHE", str(tmp_path / "here"))
    work = located("s3://bucket/mined")
    step = Step("rerank", RerankParams(), work / "scored")
    told = driving.StageWork.of(step, work / "candidates", [], "/", ())
    assert str(tmp_path).encode() not in pickle.dumps(told)
    monkeypatch.setenv("NEGMINE_CACHE", str(tmp_path / "there"))
    assert located(told.out).is_relative_to(tmp_path / "there")
    assert (told.out, told.source) == ("s3://bucket/mined/scored", "s3://bucket/mined/candidates")
