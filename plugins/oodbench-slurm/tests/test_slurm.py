"""The contract of executors on a real Slurm of two nodes, without accounting; and what is asked of Slurm."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

pytest.importorskip("submitit", reason="submitit is not installed")

import pyarrow.parquet as pq
from oodbench_slurm import queue
from oodbench_slurm.executor import SlurmExecutor

from oodbench import Job, OODBenchError, Progress, WorkerDied
from oodbench.testing import EXECUTOR_CHECKS, ExecutorCase, do_as_told

SCRIPT = Path(__file__).parents[3] / ".ci" / "slurm"
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
MISSING = [program for program in PROGRAMS if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None]

needs_slurm = pytest.mark.skipif(bool(MISSING), reason=f"Slurm is not installed: {', '.join(MISSING)} not found")

EPOCHS = 20
SLOW_STEPS = f"""
import os
import time

import torch

from oodbench.nn.network_detector import NetworkDetector
from oodbench.nn.training import Phase, train


class SlowSteps(NetworkDetector):
    name = "slow-steps"

    def build(self):
        return torch.nn.Linear(784, 784)

    def fit(self, train_images, validation, context):
        with context.global_seed("weights"):
            self.model = self.build()
        begun = []
        optimizer = torch.optim.Adam(self.model.parameters())

        def step(images, generator):
            loss = self.errors(images + 0.1 * torch.randn(images.shape, generator=generator)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return {{"loss": loss}}

        def validate():
            if not begun:
                begun.append(len(context.history))
                with open(os.environ["BEGUN"], "a") as file:
                    file.write(f"{{begun[0]}}\\n")
            time.sleep(float(os.environ.get("PAUSE", "0")))
            return {{}}

        phase = Phase("fit", {EPOCHS}, 10_000, self.model, step, {{"optimizer": optimizer}}, validate)
        train(phase, train_images, context)
        return self

    def errors(self, images):
        pixels = images.flatten(1)
        return (self.model(pixels) - pixels).square().mean(1)

    def score(self, images):
        return self.errors(images).detach()
"""


@pytest.fixture(scope="module")
def cluster():
    """The folder of a Slurm that runs on this machine."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # a short path, as it is that of a socket
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin")
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        try:
            subprocess.run([SCRIPT, "start", folder], check=True, timeout=60)
            yield folder
        finally:
            subprocess.run([SCRIPT, "stop", folder], check=True, timeout=60)
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def folder(tmp_path) -> Path:
    """For what the executor writes; it must be empty again in the end, unless a task was lost."""
    return tmp_path / "jobs"


def executor(folder: Path, **settings: object) -> SlurmExecutor:
    quick = {"poll": 0.2, "silence": 3.0, "minutes": 10, "folder": str(folder)}
    return SlurmExecutor(SlurmExecutor.Params(**{**quick, **settings}))


def lose_node_of(cluster: Path):
    """Return a function that ends, as a power cut would, the node on which a process works."""

    def lose(process: int) -> None:
        told = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
        words = dict(word.decode().split("=", 1) for word in told if b"=" in word)
        daemon = int((cluster / f"slurmd-{words['SLURMD_NODENAME']}.pid").read_text())
        steps = [pid for pid, line in processes().items() if line.startswith(f"slurmstepd: [{words['SLURM_JOB_ID']}")]
        script = [
            pid for pid, line in processes().items() if f"job{int(words['SLURM_JOB_ID']):05d}/slurm_script" in line
        ]
        for each in [*steps, daemon, *script, process]:
            os.kill(each, signal.SIGKILL)

    return lose


def processes() -> dict[int, str]:
    """Process id → command line."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found[int(place.name)] = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return found


@pytest.fixture
def both_nodes(cluster):
    """Begin again the node that was lost."""
    yield
    for name in ("one", "two"):
        pid = int((cluster / f"slurmd-{name}.pid").read_text())
        if not Path(f"/proc/{pid}").exists():
            subprocess.run(["slurmd", "-N", name], check=True)


@needs_slurm
@pytest.mark.parametrize("check", EXECUTOR_CHECKS)
def test_contract(check, cluster, both_nodes, folder, tmp_path):
    check(ExecutorCase(lambda: executor(folder), tmp_path, lose_node_of(cluster)))
    if check.__name__ != "the_death_of_a_worker_costs_one_task":
        assert [*folder.iterdir()] == []


@needs_slurm
def test_a_task_that_reaches_its_time_limit_goes_on_from_its_checkpoint(cluster, folder, tmp_path):
    """The signal that Slurm sends before the limit, sent by hand: a limit is a minute at least."""
    job: list[str] = []

    def time_is_up() -> None:
        while not (tmp_path / "process").exists():
            time.sleep(0.1)
        job.extend(queue.queued() or {})
        subprocess.run(["scancel", "--signal=USR2", job[0]], check=True)

    thread = threading.Thread(target=time_is_up)
    thread.start()
    with closing(executor(folder).work({"a": Job(("count", str(tmp_path)))}, do_as_told, None, Progress())) as ended:
        begun = dict(ended)["a"]
    thread.join()
    assert len(begun) == 2 and begun[0] == 0 < begun[1], begun


def requeue(cluster: Path, job: str) -> None:
    subprocess.run(["scontrol", "requeue", job], check=True)


def preempt(cluster: Path, job: str) -> None:
    """Let jobs of higher priority ask for both nodes, for a second."""
    script = ["--wrap", "sleep 1", "--output=/dev/null"]
    subprocess.run(["sbatch", "--partition=urgent", "--exclusive", "--nodes=2", *script], check=True)


@needs_slurm
@pytest.mark.slow  # Slurm begins a job again when the old one's credential has expired, after ten seconds
@pytest.mark.parametrize("take_away", [requeue, preempt])
def test_a_run_whose_job_is_preempted_goes_on_from_its_checkpoint(take_away, cluster, tmp_path):
    """SIGKILL in the middle of a fit; then the same scores as of one that nothing disturbed."""
    (tmp_path / "slow_steps.py").write_text(SLOW_STEPS)

    def command(store: str, *more: str) -> list[str]:
        words = ["--detector", f"{tmp_path}/slow_steps.py:SlowSteps", "--in", "mnist5k:0-2", "--out", "mnist5k:3"]
        return [sys.executable, "-m", "oodbench", "run", *words, "--device", "cpu", "--store", store, "-q", *more]

    environment = {**os.environ, "OODBENCH_CHECKPOINT_SECONDS": "0", "OMP_NUM_THREADS": "1"}
    begun = [tmp_path / name for name in ("begun here", "begun there")]
    here, there = tmp_path / "here", tmp_path / "there"
    subprocess.run(command(str(here)), env=environment | {"BEGUN": str(begun[0])}, check=True)
    settings = {"poll": 0.2, "silence": 3, "folder": tmp_path / "jobs"}
    sets = [f"--executor-set={name}={value}" for name, value in settings.items()]
    through_slurm = command(str(there), "--executor", "slurm", *sets)
    with subprocess.Popen(through_slurm, env=environment | {"BEGUN": str(begun[1]), "PAUSE": "0.5"}) as running:
        while not any(there.glob("*/checkpoint.pt")):
            assert running.poll() is None
            time.sleep(0.1)
        (job,) = queue.queued() or {}
        take_away(cluster, job)
        assert running.wait(300) == 0
    first, again = (int(line) for line in begun[1].read_text().split())
    assert begun[0].read_text() == "0\n" and first == 0 < again < EPOCHS
    (run,) = (folder.name for folder in here.iterdir())
    for scores in ("in", "mnist5k_3"):
        mine, theirs = (pq.read_table(store / run / "scores" / f"{scores}.parquet") for store in (here, there))
        assert mine["score"].equals(theirs["score"])


@needs_slurm
@pytest.mark.slow
def test_a_task_that_is_preempted_for_good_is_lost(cluster, folder, tmp_path, monkeypatch):
    """Where preemption cancels jobs, the accounting says so; as this cluster has none, a script answers for it."""
    (tmp_path / "sacct").write_text('#!/bin/sh\nfor last; do :; done\necho "${last#--jobs=}|PREEMPTED"\n')
    (tmp_path / "sacct").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def preempted() -> None:
        while not (tmp_path / "pulse").exists():
            time.sleep(0.1)
        queue.cancel([*(queue.queued() or {})])

    thread = threading.Thread(target=preempted)
    thread.start()
    jobs = {"a": Job(("beat", str(tmp_path / "pulse")))}
    with closing(executor(folder).work(jobs, do_as_told, None, Progress())) as ended:
        outcome = dict(ended)["a"]
    thread.join()
    assert isinstance(outcome, WorkerDied) and "Slurm says PREEMPTED" in str(outcome)


@needs_slurm
def test_a_task_that_reaches_its_time_limit_too_often_is_given_up(cluster, folder, tmp_path):
    def time_is_up() -> None:
        while not (tmp_path / "pulse").exists():
            time.sleep(0.1)
        (job,) = queue.queued() or {}
        subprocess.run(["scancel", "--signal=USR2", job], check=True)

    thread = threading.Thread(target=time_is_up)
    thread.start()
    jobs = {"a": Job(("beat", str(tmp_path / "pulse")))}
    with closing(executor(folder, requeues=0).work(jobs, do_as_told, None, Progress())) as ended:
        outcome = dict(ended)["a"]
    thread.join()
    assert isinstance(outcome, WorkerDied) and "timed-out too many times" in str(outcome)


@needs_slurm
def test_more_tasks_than_slots_run_one_after_the_other(cluster, folder, tmp_path):
    """The second waits for what the first makes, which it does not have to do long."""
    jobs = {"first": Job(("make", str(tmp_path / "made"))), "second": Job(("wait for", str(tmp_path / "made")))}
    with closing(executor(folder).work(jobs, do_as_told, 1, Progress())) as ended:
        assert [*dict(ended)] == ["first", "second"]


@needs_slurm
def test_what_slurm_refuses_is_one_line(cluster, folder):
    with pytest.raises(OODBenchError, match="Slurm takes no job: .*Invalid partition") as refusal:
        next(executor(folder, partition="none").work({"a": Job(("return", 1))}, do_as_told, None, Progress()))
    assert "\n" not in str(refusal.value)


@needs_slurm
def test_what_is_asked_of_slurm_is_in_the_script(cluster, folder):
    settings = {"partition": "all", "memory": 1.5, "minutes": 7, "options": "nice=100,--hold"}
    work = executor(folder, **settings).work({"a": Job(("return", 1))}, do_as_told, None, Progress())

    def release() -> None:
        while not (held := [job for job, state in (queue.queued() or {}).items() if state == "PENDING"]):
            time.sleep(0.1)
        (script,) = folder.glob("*/*submission.sh")
        scripts.append(script.read_text())
        subprocess.run(["scontrol", "release", held[0]], check=True)

    scripts: list[str] = []
    thread = threading.Thread(target=release)
    thread.start()
    with closing(work) as ended:
        assert dict(ended)["a"][1] == 1
    thread.join()
    for line in (
        "--partition=all",
        "--mem=1536M",
        "--time=7",
        "--nice=100",
        "--hold",
        "--requeue",
        "--cpus-per-task=1",
    ):
        assert f"#SBATCH {line}\n" in scripts[0]


def test_where_slurm_is_not_installed_it_is_one_line(folder, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(OODBenchError, match="Slurm takes no job: .*srun"):
        next(executor(folder).work({"a": Job(("return", 1))}, do_as_told, None, Progress()))


def test_a_slurm_that_does_not_answer_says_nothing_about_jobs(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert queue.queued() is None
    assert queue.accounted(["12_3"]) == {}
