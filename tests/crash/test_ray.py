"""A chain on a Ray cluster of three machines, one of which is killed: the bytes of one process."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chains import make_data
from tests.conftest import ROOT
from tests.ray_machines import MACHINES, Cluster, machines
from tests.small_workers import (
    begun,
    contents,
    copied,
    ended,
    leftovers,
    markers,
    until,
    workers_path,
    write_recipe,
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with machines(workers_path(tmp_path_factory.mktemp("workers")), slow="1") as found:
        yield found


def test_the_job_of_kuberay_makes_the_bytes_of_one_process(
    cluster: Cluster, tmp_path: Path, tiny_bi: Path, tiny_cross: Path
) -> None:
    """Its entrypoint, as the head of the cluster runs it: the folder of the volume is another."""
    yaml = pytest.importorskip("yaml")
    job = yaml.safe_load((ROOT / "docs" / "examples" / "kuberay.yml").read_text("utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]["rayClusterSpec"]
    head, (workers,) = spec["headGroupSpec"], spec["workerGroupSpecs"]
    pods = [group["template"]["spec"] for group in (head, workers)]
    # What all machines see at the same place, and of the same versions.
    (data,) = pods[0]["containers"][0]["volumeMounts"]
    for pod in pods:
        (container,) = pod["containers"]
        assert container["volumeMounts"] == [data]
        assert container["image"] == pods[0]["containers"][0]["image"]
        assert pod["volumes"] == pods[0]["volumes"]
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:6] == ["env", "-C", data["mountPath"], "negmine", "run", "recipe.toml"]
    assert words[6:] == ["--engine", "ray", "--workers", str(workers["replicas"])]
    # Nothing of it is of a shell, whoever splits it.
    assert words == job["spec"]["entrypoint"].split()
    folder = make_data(tmp_path / "data")
    write_recipe(folder, tiny_bi, str(tiny_cross))
    alone = copied(folder, tmp_path / "alone")
    ended(begun(alone))
    said = ended(cluster.job(folder, words[6:]))
    assert f"are made by {MACHINES} actors on {MACHINES} machines of a Ray cluster" in said
    assert contents(folder / "work") == contents(alone / "work")
    assert leftovers(folder / "work") == []


def test_a_machine_and_the_driver_are_killed_and_the_bytes_are_those_of_one_process(
    cluster: Cluster, tmp_path: Path, tiny_bi: Path, tiny_cross: Path
) -> None:
    data = make_data(tmp_path / "data")
    write_recipe(data, tiny_bi, str(tiny_cross))
    whole, folder = copied(data, tmp_path / "whole"), copied(data, tmp_path / "ray")
    ended(begun(whole))
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
    assert contents(work) == contents(whole / "work")
    assert leftovers(work) == []
