"""A chain on a Ray cluster of three machines, one of which is killed: the bytes of one process."""

from __future__ import annotations

import importlib.util
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chains import make_data
from tests.conftest import ROOT
from tests.crash.test_engines import copied, markers, until
from tests.small_workers import begun, contents, ended, leftovers, workers_path, write_recipe

MACHINES = 3
#: A network of its own, where all addresses are this machine's: Ray takes no loopback elsewhere.
ALONE = ["unshare", "-n", "bash", "-c", 'ip link set lo up; exec "$@"', "bash"]


@dataclass
class Cluster:
    """Three machines on this one."""

    process: subprocess.Popen[str]
    address: str

    @property
    def within(self) -> tuple[str, ...]:
        """The command that runs others in the cluster's network."""
        return "nsenter", "-t", str(self.process.pid), "-n"

    def kill(self, machine: int) -> None:
        """End a machine with all that runs there."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{machine}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline().strip() == "gone"

    def run(
        self, folder: Path, *words: str, env: dict[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """``negmine run`` by three actors, in the cluster's network."""
        asked = ("--engine", "ray", "--workers", str(MACHINES), "--address", self.address)
        return begun(folder, *asked, *words, env=env, within=self.within)

    def job(self, folder: Path, words: Sequence[str]) -> subprocess.Popen[str]:
        """``negmine run`` as a job of the cluster, which tells it where that is."""
        return begun(folder, *words, env={"RAY_ADDRESS": self.address}, within=self.within)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("needs the package ray")
    if not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        pytest.skip("needs unshare, nsenter and ip")
    if subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("may not make a network of its own")
    path = workers_path(tmp_path_factory.mktemp("workers"))
    # Names of sockets are short.
    with tempfile.TemporaryDirectory(prefix="nr", dir="/tmp") as folder:
        script = [sys.executable, str(ROOT / "tests" / "ray_cluster.py"), folder, str(MACHINES)]
        process = subprocess.Popen(
            [*ALONE, *script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "SLOW_PARTS": "1"},
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], 600)
            address = process.stdout.readline().strip() if ready else ""
            if not address:
                pytest.skip("Ray does not start here")
            yield Cluster(process, address)
            assert process.stdin is not None
            process.stdin.close()
            process.wait(120)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


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
