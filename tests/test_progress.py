"""Progress on stderr: the whole fit's ETA, the latest values, and a word when it is going to take long."""

from __future__ import annotations

import io

import pytest

from oodbench import progress as module
from oodbench.progress import RichProgress, duration
from oodbench.runs.estimate import Estimate


def test_the_estimate_weighs_phases_by_their_cost():
    estimate = Estimate({"short": 10.0, "long": 90.0}, now=0.0)
    estimate.advance("short", 0.0, now=0.0)
    estimate.advance("short", 0.5, now=1.0)
    assert estimate.remaining(1.0) == pytest.approx(19.0)  # 95 of cost left, at 5 a second
    estimate.advance("long", 0.5, now=10.0)
    assert estimate.remaining(10.0) == pytest.approx(10 * 45 / 55)


def test_what_an_earlier_session_did_does_not_make_this_one_look_fast():
    estimate = Estimate({"only": 1.0}, now=0.0)
    estimate.advance("only", 0.8, now=2.0)
    assert estimate.remaining(2.0) is None
    estimate.advance("only", 0.9, now=12.0)
    assert estimate.remaining(12.0) == pytest.approx(10.0)


def test_nothing_is_estimated_before_there_is_something_to_go_by():
    assert Estimate({"only": 1.0}, now=0.0).remaining(5.0) is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5000, "83 min"), (19_200, "5 h 20 min")]
)
def test_durations_are_short(seconds, text):
    assert duration(seconds) == text


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is set."""

    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def fit(progress: RichProgress, clock, seconds: float, steps: int = 10) -> None:
    progress.plan({"training": 1.0})
    start = clock.now
    for step in range(steps + 1):
        clock.now = start + seconds * step / steps
        progress.advance("training", step / steps, f"{step + 1}/{steps}", {"loss": 0.123456, "positive_energy": 1.5e-7})


def lines(progress: RichProgress) -> list[str]:
    return progress.console.file.getvalue().splitlines()


def test_where_there_is_no_terminal_a_line_comes_every_half_minute(clock):
    with RichProgress(file=io.StringIO()) as progress:
        fit(progress, clock, seconds=100)
    assert len(lines(progress)) == 3
    assert lines(progress)[0] == "training 30% ETA 70 s  epoch 4/10  loss 0.1235  positive energy 1.5e-07"


def test_a_long_fit_says_so_once_and_how_to_make_it_shorter(clock):
    with RichProgress("--preset quick", file=io.StringIO()) as progress:
        fit(progress, clock, seconds=7200)
    said = [line for line in lines(progress) if "will take" in line]
    assert said == ["This fit will take about 2 h 0 min. Shorter: --preset quick."]


def test_a_fit_of_less_than_half_an_hour_says_nothing(clock):
    with RichProgress("--preset quick", file=io.StringIO()) as progress:
        fit(progress, clock, seconds=1700)
    assert not any("will take" in line for line in lines(progress))


def test_the_next_long_fit_says_so_again(clock):
    with RichProgress(file=io.StringIO()) as progress:
        fit(progress, clock, seconds=7200)
        fit(progress, clock, seconds=3600)
    assert [line for line in lines(progress) if "will take" in line] == [
        "This fit will take about 2 h 0 min.",
        "This fit will take about 60 min.",
    ]


def test_quiet_is_silent(clock):
    with RichProgress("--preset quick", quiet=True, file=io.StringIO()) as progress:
        fit(progress, clock, seconds=7200)
        progress.message("something")
    assert lines(progress) == []


def test_in_a_terminal_there_are_bars_with_the_latest_values(clock, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    progress = RichProgress(file=io.StringIO())
    with progress:
        fit(progress, clock, seconds=100)
        (task,) = progress.bars.tasks
        assert task.completed == 1.0
        assert "loss 0.1235" in task.fields["detail"]
        progress.plan({"first": 1.0, "second": 2.0})
        progress.advance("second", 0.5, "1/2", {})
        first, second = progress.bars.tasks
        assert (first.completed, second.completed) == (1.0, 0.5)
        assert first.fields["detail"] == ""


def test_a_message_is_printed_as_it_is(clock):
    with RichProgress(file=io.StringIO()) as progress:
        progress.message("[1/2] ae on [bold]mnist:0-8[/bold]: " + "long " * 40)
    assert len(lines(progress)) == 1
    assert lines(progress)[0].startswith("[1/2] ae on [bold]mnist:0-8[/bold]: long long")


# ------------------------------------------------------------------------------ several runs at once


def test_lines_of_several_runs_begin_with_the_run(clock):
    with RichProgress(file=io.StringIO()) as progress:
        first, second = progress.for_run("[1/2] ae on mnist"), progress.for_run("[2/2] ebae on mnist")
        first.plan({"training": 1.0})
        second.plan({"pretraining": 1.0, "ebae": 3.0})
        first.message("[1/2] ae on mnist: fitting to 54,000 images")
        second.message("restarted once")
        first.advance("training", 0.0, "1/10", {})
        clock.now = 40.0
        first.advance("training", 0.5, "5/10", {"loss": 0.5})
        second.advance("ebae", 0.2, "1/5", {})
        clock.now = 50.0
        second.advance("ebae", 0.4, "2/5", {})
    assert lines(progress) == [
        "[1/2] ae on mnist: fitting to 54,000 images",
        "[2/2] ebae on mnist: restarted once",
        "[1/2] ae on mnist: training 50% ETA 40 s  epoch 5/10  loss 0.5",
        "[2/2] ebae on mnist: ebae 20% epoch 1/5",
    ]


def test_in_a_terminal_each_of_several_runs_has_one_bar_of_the_whole_fit(clock, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    progress = RichProgress(file=io.StringIO())
    with progress:
        first, second = progress.for_run("[1/2] ae"), progress.for_run("[2/2] ebae")
        first.plan({"training": 1.0})
        second.plan({"pretraining": 1.0, "ebae": 3.0})
        first.advance("training", 0.5, "5/10", {})
        second.advance("ebae", 0.5, "1/2", {"loss": 0.25})
        one, two = progress.bars.tasks
        assert [one.description, two.description] == ["[1/2] ae", "[2/2] ebae"]
        assert (one.completed, two.completed) == (0.5, 0.625)
        assert two.fields["detail"].startswith("ebae") and "loss 0.25" in two.fields["detail"]
        second.plan({"scoring noise": 100})
        second.advance("scoring noise", 0.1, "", {})
        assert two.completed == 0.1
        first.close()
        assert progress.bars.tasks == [two]


def test_quiet_is_silent_on_several_runs_too(clock):
    with RichProgress(quiet=True, file=io.StringIO()) as progress:
        run = progress.for_run("[1/2] ae")
        fit(run, clock, seconds=7200)
        run.message("something")
        run.close()
    assert lines(progress) == []
