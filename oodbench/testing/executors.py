"""Checks of an executor, such as that a lost process costs one task, and a lost machine none.

In a plugin's tests, with pytest::

    @pytest.mark.parametrize("check", EXECUTOR_CHECKS)
    def test_contract(check, tmp_path):
        check(ExecutorCase(lambda: MyExecutor(MyExecutor.Params()), tmp_path))
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oodbench.api import Executor, Job, Perform, Progress
from oodbench.errors import OODBenchError, WorkerDied
from oodbench.testing.results import Skip

BEAT = 0.1
"""Seconds between two heartbeats, or two looks, of a task that waits."""
STEPS = 40
"""Number of steps of the task that counts: enough for its machine to be lost meanwhile."""


@dataclass
class ExecutorCase:
    """An executor to be checked, with room for two tasks at once.

    Args:
        executor: returns a new one at each call.
        folder: an empty folder that both this process and the workers see.
        lose_node: called with a process id, ends that process's machine, as a power cut would; None where there is only
            this machine, or no permission to end another.
        patience: seconds within which a task that may start must start, and a closed executor's tasks must end.
    """

    executor: Callable[[], Executor]
    folder: Path
    lose_node: Callable[[int], None] | None = None
    patience: float = 120.0

    def outcomes(self, jobs: Mapping[str, Job], progress: Progress | None = None, open_: Any = None) -> dict[str, Any]:
        """Return title → outcome, in the order in which the tasks ended."""
        with closing(self.executor().work(jobs, open_ or do_as_told, 2, progress or Progress())) as ended:
            return dict(ended)

    def wait_for(self, due: Callable[[], Any], what: str) -> Any:
        """Return what ``due`` returns once it is true. Raises AssertionError where that takes too long."""
        end = time.monotonic() + self.patience
        while not (found := due()):
            assert time.monotonic() < end, f"not within {self.patience:.0f} s: {what}"
            time.sleep(BEAT)
        return found


class Heard(Progress):
    """A progress that records its calls."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.runs: dict[str, Heard] = {}
        self.closed = 0

    def plan(self, phases: Mapping[str, float]) -> None:
        self.events.append(("plan", dict(phases)))

    def advance(self, phase: str, share: float, epoch: str, values: Mapping[str, float]) -> None:
        self.events.append(("advance", phase, share, epoch, dict(values)))

    def message(self, text: str) -> None:
        self.events.append(("message", text))

    def for_run(self, run: str) -> Progress:
        return self.runs.setdefault(run, Heard())

    def close(self) -> None:
        self.closed += 1


# ------------------------------------------------------------------------------ where the tasks are worked on


def do_as_told(progress: Progress, slot: int) -> Perform:
    """Return a function that does what a task's arguments say; called in the workers."""

    def perform(title: str, what: str, *more: Any) -> Any:
        progress.message(f"{title} begins")
        return TASKS[what](progress, *more)

    return perform


def refuse(progress: Progress, slot: int) -> Perform:
    """Raise an error, like a worker that has other code."""
    raise OODBenchError("other code:\ninstall the same")


def _return(progress: Progress, value: Any) -> tuple[int, Any]:
    return os.getpid(), value


def _die(progress: Progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _raise(progress: Progress) -> None:
    raise ValueError("two\nlines")


def _tell(progress: Progress) -> str:
    progress.plan({"first": 1.0, "second": 2.0})
    progress.advance("first", 1.0, "3/3", {"loss": 0.5})
    progress.advance("second", 1.0, "", {})
    progress.message("all done")
    return "told"


def _wait_for(progress: Progress, file: str) -> float:
    while not Path(file).exists():
        time.sleep(BEAT)
    return time.time()


def _make(progress: Progress, file: str) -> float:
    Path(file).touch()
    return time.time()


def _beat(progress: Progress, file: str) -> None:
    for _ in range(round(600 / BEAT)):
        Path(file).write_text(str(time.time()), encoding="utf-8")
        time.sleep(BEAT)


def _count(progress: Progress, folder: str) -> list[int]:
    """Count up, with a checkpoint after each step; return where each attempt began."""
    counted, begun = Path(folder, "counted"), Path(folder, "begun")
    first = int(counted.read_text() or 0) if counted.exists() else 0
    with begun.open("a") as file:
        file.write(f"{first}\n")
    for step in range(first, STEPS):
        written = Path(folder, f"counted.{os.getpid()}")
        written.write_text(str(step + 1))
        written.replace(counted)
        Path(folder, "process").write_text(str(os.getpid()))
        time.sleep(2 * BEAT)
    return [int(line) for line in begun.read_text().split()]


TASKS: dict[str, Callable[..., Any]] = {
    "return": _return,
    "die": _die,
    "raise": _raise,
    "tell": _tell,
    "wait for": _wait_for,
    "make": _make,
    "beat": _beat,
    "count": _count,
}


# ------------------------------------------------------------------------------ the checks


def every_task_is_done_in_another_process(case: ExecutorCase) -> None:
    """Check that each task's own value comes back, from another process, and that its progress is closed once."""
    heard = Heard()
    outcomes = case.outcomes({f"task {number}": Job(("return", number)) for number in range(4)}, heard)
    values = {title: outcome[1] for title, outcome in outcomes.items()}
    assert values == {f"task {number}": number for number in range(4)}, f"four tasks gave {outcomes}"
    assert os.getpid() not in {process for process, _ in outcomes.values()}, "a task was worked on in this process"
    closed = {title: each.closed for title, each in heard.runs.items()}
    assert closed == dict.fromkeys(outcomes, 1), f"close the progress of each task once: {closed}"


def the_death_of_a_worker_costs_one_task(case: ExecutorCase) -> None:
    """Check that a task that kills its process yields WorkerDied, and that the others are done."""
    jobs = {"a": Job(("return", 1)), "b": Job(("die",)), "c": Job(("return", 3)), "d": Job(("return", 4), after="b")}
    outcomes = case.outcomes(jobs)
    assert isinstance(outcomes.get("b"), WorkerDied), f"a task that killed its process gave {outcomes.get('b')!r}"
    line = str(outcomes["b"])
    assert line and "\n" not in line, f"WorkerDied says in one line what happened, not {line!r}"
    others = [outcomes.get(title) for title in "acd"]
    values = [each[1] for each in others if isinstance(each, tuple)]
    assert values == [1, 3, 4], f"beside a task that died, the others gave {others}"


def an_exception_arrives_as_its_one_line(case: ExecutorCase) -> None:
    """Check that an exception of a task is raised here as OODBenchError with one line."""
    _raises("ValueError: two lines", lambda: case.outcomes({"a": Job(("raise",))}))


def a_worker_that_refuses_is_heard(case: ExecutorCase) -> None:
    """Check that an exception of ``open_`` is raised here as OODBenchError with one line."""
    _raises("other code: install the same", lambda: case.outcomes({"a": Job(("return", 1))}, open_=refuse))


def progress_arrives(case: ExecutorCase) -> None:
    """Check that everything that a task reports arrives, in order, at the progress of that task."""
    heard = Heard()
    case.outcomes({"a": Job(("tell",)), "b": Job(("return", 1))}, heard)
    expected = [
        ("message", "a begins"),
        ("plan", {"first": 1.0, "second": 2.0}),
        ("advance", "first", 1.0, "3/3", {"loss": 0.5}),
        ("advance", "second", 1.0, "", {}),
        ("message", "all done"),
    ]
    told = [event for event in heard.runs["a"].events if event in expected]
    assert told == expected, f"of what a task said this arrived: {heard.runs['a'].events}"
    assert ("message", "b begins") in heard.runs["b"].events, "what another task said did not arrive at its progress"


def progress_arrives_while_a_task_is_worked_on(case: ExecutorCase) -> None:
    """Check that progress arrives before the task ends."""
    heard, file = Heard(), case.folder / "heard"

    def answer() -> None:
        case.wait_for(lambda: "a" in heard.runs and heard.runs["a"].events, "progress of a task that is worked on")
        file.touch()

    thread = threading.Thread(target=answer)
    thread.start()
    case.outcomes({"a": Job(("wait for", str(file)))}, heard)
    thread.join()


def the_order_of_completion_does_not_matter(case: ExecutorCase) -> None:
    """Check that tasks that end in another order than they began are yielded as they end, each with its value."""
    file = case.folder / "second is known to have ended"
    jobs = {"first": Job(("wait for", str(file))), "second": Job(("make", str(case.folder / "second")))}
    at_last = threading.Timer(case.patience, file.touch)  # so that an executor that waits for the first one fails
    at_last.start()
    with closing(case.executor().work(jobs, do_as_told, 2, Progress())) as ended:
        title, made = next(ended)
        assert title == "second", f"yield tasks as they end: the second, which is done, before the {title}"
        file.touch()
        title, seen = next(ended)
    at_last.cancel()
    assert title == "first" and made <= seen, "the values of two tasks were mixed up"


def a_task_waits_for_the_one_before_it(case: ExecutorCase) -> None:
    """Check that a task with ``after`` begins only when the task named there has ended."""
    file, jobs = case.folder / "base", {"upon": Job(("make", str(case.folder / "upon")), after="base")}
    jobs["base"] = Job(("wait for", str(file)))

    def release() -> None:
        time.sleep(1.0)
        file.touch()

    threading.Thread(target=release).start()
    outcomes = case.outcomes(jobs)
    assert outcomes["upon"] >= outcomes["base"], "a task began before the one that it must wait for had ended"


def closing_leaves_nothing_behind(case: ExecutorCase) -> None:
    """Check that closing ends running tasks, and that waiting tasks are never begun."""
    pulse, begun = case.folder / "pulse", case.folder / "never"
    jobs = {
        "a": Job(("wait for", str(pulse))),
        "b": Job(("beat", str(pulse))),
        "c": Job(("make", str(begun)), after="b"),
    }
    ended = case.executor().work(jobs, do_as_told, 2, Progress())
    title, _ = next(ended)
    assert title == "a"
    ended.close()
    case.wait_for(lambda: _stands_still(pulse), "a task that was worked on ends when its executor is closed")
    assert not begun.exists(), "a task that waited was begun by closing"


def _stands_still(pulse: Path) -> bool:
    before = pulse.read_bytes()
    time.sleep(15 * BEAT)
    return pulse.read_bytes() == before


def a_lost_machine_costs_no_task(case: ExecutorCase) -> None:
    """Check that the task of a lost machine is begun again elsewhere, and resumes from its checkpoint."""
    if case.lose_node is None:
        raise Skip("no other machine can be ended here: in the plugin's tests, give the case its lose_node")
    lost, process = case.lose_node, case.folder / "process"

    def lose() -> None:
        case.wait_for(lambda: process.exists() and process.read_text(), "a task that counts")
        lost(int(process.read_text()))

    thread = threading.Thread(target=lose)
    thread.start()
    outcomes = case.outcomes({"counting": Job(("count", str(case.folder)))})
    thread.join()
    begun = outcomes["counting"]
    assert isinstance(begun, list) and len(begun) == 2, f"one machine was lost, and the task gave {begun!r}"
    assert begun[0] == 0 < begun[1] < STEPS, f"the attempts of the task began at {begun}: its checkpoint was not used"


def _raises(line: str, call: Callable[[], object]) -> None:
    try:
        outcome = call()
    except OODBenchError as error:
        raised = str(error)
    else:
        raise AssertionError(f"an exception in a worker was not raised here: {outcome!r}")
    assert raised == line, f"an exception arrives as its one line, {line!r}, not as {raised!r}"


EXECUTOR_CHECKS: list[Callable[[ExecutorCase], None]] = [
    every_task_is_done_in_another_process,
    the_death_of_a_worker_costs_one_task,
    an_exception_arrives_as_its_one_line,
    a_worker_that_refuses_is_heard,
    progress_arrives,
    progress_arrives_while_a_task_is_worked_on,
    the_order_of_completion_does_not_matter,
    a_task_waits_for_the_one_before_it,
    closing_leaves_nothing_behind,
    a_lost_machine_costs_no_task,
]
