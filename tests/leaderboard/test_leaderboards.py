"""The committed leaderboards: every page is what its own folder says, and every suite can be run."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from oodbench.cli import main
from oodbench.data.loading import Loader
from oodbench.leaderboard.suites import Suite, open_suite
from oodbench.plan.tasks import plan
from oodbench.plugin.registry import Registry, load_registry

LEADERBOARDS = Path(__file__).parents[2] / "leaderboards"
SUITES = sorted(path.parent for path in LEADERBOARDS.glob("*/suite.toml"))

pytestmark = pytest.mark.parametrize("folder", SUITES, ids=lambda folder: folder.name)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


def planned(suite: Suite, registry: Registry, tmp_path: Path) -> dict[tuple[str, str, str], str]:
    """(detector, preset, in-data set) of the suite's runs, with their out-data sets."""
    tasks = plan(suite.requests, registry, Loader(registry, tmp_path, tmp_path))
    return {(task.run.detector, task.run.preset, task.run.in_dataset): " ".join(task.out_datasets) for task in tasks}


def test_every_number_is_what_its_scores_give(folder):
    """Values, intervals, tests, page, and the images where they are here."""
    if not (folder / "results.parquet").exists():
        pytest.skip(f"{folder.name} has no results of ours yet")
    made = CliRunner().invoke(main, ["verify", str(folder), "-q"])
    assert made.exit_code == 0, made.stdout


def test_a_page_of_reported_figures_is_what_its_folder_renders_to(folder, tmp_path):
    if (folder / "results.parquet").exists():
        pytest.skip("it is verified with its results")
    if not (folder / "reported.toml").exists():
        pytest.skip(f"{folder.name} has neither results.parquet nor reported.toml to render it from")
    made = CliRunner().invoke(main, ["leaderboard", str(folder), "--store", str(tmp_path / "empty")])
    assert made.exit_code == 0, made.stderr
    assert (folder / "README.md").read_text(encoding="utf-8") == made.stdout, (
        f"make it again: oodbench leaderboard leaderboards/{folder.name} --store empty --output README.md"
    )


def test_every_word_of_the_suite_is_known(folder, registry, tmp_path):
    suite = open_suite(folder)
    assert suite.title
    assert planned(suite, registry, tmp_path)


def test_reported_figures_speak_of_what_the_suite_runs(folder, registry, tmp_path):
    """A figure for a preset or an out-set that the suite does not have would never stand beside ours."""
    suite = open_suite(folder)
    runs = planned(suite, registry, tmp_path)
    for figure in suite.reported or []:
        assert figure.metric in registry.metrics
        out_datasets = [
            {*names.split(), *suite.groups}
            for (detector, preset, in_dataset), names in runs.items()
            if (detector, in_dataset) == (figure.detector, figure.in_dataset) and figure.preset in ("", preset)
        ]
        if any(figure.detector == detector for detector, _, _ in runs):
            assert any(figure.out_dataset in names for names in out_datasets), figure
        else:
            assert figure.detector in ("", *registry.detectors)


def test_the_index_names_the_suite(folder):
    assert f"[{folder.name}]({folder.name})" in (LEADERBOARDS / "README.md").read_text(encoding="utf-8")
