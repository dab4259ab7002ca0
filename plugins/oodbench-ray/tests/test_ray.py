"""The contract of executors on a cluster of three nodes, of which one is lost; and what Ray itself would not say."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
ray = pytest.importorskip("ray", reason="Ray is not installed")

from oodbench_ray.executor import RayExecutor  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402

from oodbench import Job, Progress, WorkerDied  # noqa: E402
from oodbench.testing import EXECUTOR_CHECKS, ExecutorCase, do_as_told  # noqa: E402

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def cluster():
    """Three nodes, connected to: one without a CPU, to which the driver belongs, and two of one CPU each."""
    made = Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0})
    ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(autouse=True)
def two_nodes(cluster):
    """Two nodes that work, whatever the test before has lost."""
    while len(cluster.worker_nodes) < 2:
        cluster.add_node(**NODE)


def executor(cluster: Cluster, **settings: object) -> RayExecutor:
    return RayExecutor(RayExecutor.Params(address=cluster.address, shares_files=True, **settings))


def lose_node_of(cluster: Cluster):
    """Return a function that ends, as kill -9 would, the node whose raylet started a process."""

    def lose(process: int) -> None:
        parents = ancestors(process)
        for node in cluster.worker_nodes:
            if any(info.process.pid in parents for info in node.all_processes["raylet"]):
                cluster.remove_node(node, allow_graceful=False)
                return
        raise AssertionError(f"process {process} is on none of the nodes")

    return lose


def ancestors(process: int) -> set[int]:
    found = set()
    while process > 1:
        found.add(process)
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return found


@pytest.mark.parametrize("check", EXECUTOR_CHECKS)
def test_contract(check, cluster, tmp_path):
    check(ExecutorCase(lambda: executor(cluster), tmp_path, lose_node_of(cluster)))


def test_a_task_whose_machines_are_lost_again_and_again_is_given_up(cluster, tmp_path):
    case = ExecutorCase(lambda: executor(cluster, retries=0), tmp_path, lose_node_of(cluster))
    with pytest.raises(AssertionError, match="its machine was lost"):
        EXECUTOR_CHECKS[-1](case)


def test_a_task_that_takes_too_long_is_ended(cluster, tmp_path):
    jobs = {"a": Job(("beat", str(tmp_path / "pulse"))), "b": Job(("return", 1))}
    with closing(executor(cluster, minutes=0.02).work(jobs, do_as_told, None, Progress())) as ended:
        outcomes = dict(ended)
    assert isinstance(outcomes["a"], WorkerDied) and "longer than 0.02 minutes" in str(outcomes["a"])
    assert outcomes["b"][1] == 1


def test_several_tasks_share_a_cpu_as_they_would_a_gpu(cluster, tmp_path):
    """All begin before any ends: with half a CPU each, four fit on two nodes of one."""
    jobs = {f"task {number}": Job(("wait for", str(tmp_path / "last"))) for number in range(3)}
    jobs["last"] = Job(("make", str(tmp_path / "last")))
    with closing(executor(cluster, cpus=0.5).work(jobs, do_as_told, None, Progress())) as ended:
        assert len(dict(ended)) == 4


def test_what_no_machine_has_is_said(cluster):
    said: list[str] = []

    class Heard(Progress):
        def message(self, text: str) -> None:
            said.append(text)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(executor(cluster, gpus=8).work({"a": Job(("return", 1))}, do_as_told, None, Heard()))
    assert said == [
        "no machine of the Ray cluster has cpus=1.0, gpus=8.0, memory=0.0 for a task: waiting for one; `ray status` "
        "shows what there is"
    ]


def test_files_are_shared_on_a_cluster_of_this_machine_alone(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert RayExecutor(RayExecutor.Params()).shares_files
    assert not RayExecutor(RayExecutor.Params(address="auto")).shares_files
    assert RayExecutor(RayExecutor.Params(address="auto", shares_files=True)).shares_files
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert not RayExecutor(RayExecutor.Params()).shares_files
