"""Chains on a Ray cluster of three machines, some of which are killed: the bytes of one process."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.buckets.conftest import Bucket, environment_of
from tests.chains import make_data
from tests.conftest import ROOT
from tests.ray_machines import MACHINES, STORE, Cluster, machines
from tests.small_workers import (
    begun,
    contents,
    copied,
    ended,
    leftovers,
    made_here,
    markers,
    move_work,
    scorers_path,
    until,
    without_models,
    write_recipe,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where Python looks for modules, on all machines."""
    return scorers_path(tmp_path_factory.mktemp("path"))


@pytest.fixture(scope="module")
def cluster(path: str) -> Iterator[Cluster]:
    with machines(path, "1", environment_of(f"http://127.0.0.1:{STORE}")) as found:
        yield found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, tiny_bi: Path, tiny_cross: Path) -> Path:
    """A chain with models."""
    folder = make_data(tmp_path_factory.mktemp("data") / "data")
    write_recipe(folder, tiny_bi, str(tiny_cross))
    return folder


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process makes of it."""
    return made_here(copied(data, tmp_path_factory.mktemp("whole") / "data"))


def test_the_job_of_kuberay_makes_the_bytes_of_one_process(
    cluster: Cluster, data: Path, whole: dict[str, Any], tmp_path: Path
) -> None:
    """Its entrypoint, as the head of the cluster runs it: the folder of the volume is another."""
    yaml = pytest.importorskip("yaml")
    job = yaml.safe_load((ROOT / "docs" / "examples" / "kuberay.yml").read_text("utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]["rayClusterSpec"]
    head, (workers,) = spec["headGroupSpec"], spec["workerGroupSpecs"]
    pods = [group["template"]["spec"] for group in (head, workers)]
    # What all machines see at the same place, and of the same versions.
    (volume,) = pods[0]["containers"][0]["volumeMounts"]
    for pod in pods:
        (container,) = pod["containers"]
        assert container["volumeMounts"] == [volume]
        assert container["image"] == pods[0]["containers"][0]["image"]
        assert pod["volumes"] == pods[0]["volumes"]
        # Ray tells its makers nothing.
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:6] == ["env", "-C", volume["mountPath"], "negmine", "run", "recipe.toml"]
    assert words[6:] == ["--engine", "ray", "--workers", str(workers["replicas"])]
    # Nothing of it is of a shell, whoever splits it.
    assert words == job["spec"]["entrypoint"].split()
    folder = copied(data, tmp_path / "data")
    said = ended(cluster.job(folder, words[6:]))
    assert f"are made by {MACHINES} actors on {MACHINES} machines of a Ray cluster" in said
    assert contents(folder / "work") == whole
    assert leftovers(folder / "work") == []


def test_a_machine_and_the_driver_are_killed_and_the_bytes_are_those_of_one_process(
    cluster: Cluster, data: Path, whole: dict[str, Any], tmp_path: Path
) -> None:
    folder = copied(data, tmp_path / "ray")
    driver = cluster.run(folder)
    work = folder / "work"
    until(lambda: markers(work, "candidates") or driver.poll() is not None, 600)
    cluster.kill(1)
    until(lambda: markers(work, "scored") or driver.poll() is not None, 600)
    driver.kill()
    _, said = driver.communicate()
    assert "are made by 3 actors on 3 machines of a Ray cluster" in said
    # Between two leases a worker is missed when it is given the next one.
    assert ": a worker ended (" in said
    said = ended(cluster.run(folder))
    assert "are made by 2 actors on 2 machines of a Ray cluster" in said
    assert contents(work) == whole
    assert leftovers(work) == []


@pytest.fixture
def in_network(cluster: Cluster, bucket: Bucket) -> Iterator[Bucket]:
    """A bucket that the cluster can reach: the stand-in listens in its network, too."""
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=STORE, verbose=False)
    with cluster.network():
        running.start()
    yield bucket
    running.stop()


def test_in_a_bucket_an_actor_and_the_driver_are_killed_and_the_bytes_are_those_of_one_process(
    cluster: Cluster, path: str, in_network: Bucket, tmp_path: Path
) -> None:
    """Every machine has a cache of its own, and the driver goes on with an empty one."""
    data = without_models(tmp_path / "data")
    alone, folder = copied(data, tmp_path / "alone"), copied(data, tmp_path / "ray")
    ended(begun(alone, path=path))
    move_work(folder, in_network.work)
    there = {"PYTHONPATH": path, **environment_of(f"http://127.0.0.1:{STORE}")}

    def begin(cache: str) -> subprocess.Popen[str]:
        return cluster.run(folder, env={**there, "NEGMINE_CACHE": str(tmp_path / cache)})

    driver = begin("first")
    until(lambda: in_network.markers("candidates") or driver.poll() is not None)
    os.kill(cluster.workers()[0], signal.SIGKILL)
    until(lambda: in_network.markers("scored") or driver.poll() is not None)
    driver.kill()
    _, said = driver.communicate()
    assert ": a worker ended (" in said
    said = ended(begin("second"))
    assert "of a Ray cluster" in said
    assert contents(in_network.fetched(tmp_path / "found")) == contents(alone / "work")
    assert not [name for name in in_network.objects("work/") if "_shards" in name]
