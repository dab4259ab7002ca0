"""Every command and every Python block of the README and of the pages in ``docs`` is run, in order, in one folder; some
only made shorter.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from oodbench.plan.suite_files import SUITE_WORDS, read_suite_file

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
ORDER = (  # the others after these
    "columns",
    "index",
    "run",
    "read-numbers",
    "tune",
    "publish",
    "write-detector",
    "write-dataset",
    "write-metric",
    "write-executor",
)
PAGES = [ROOT / "docs" / f"{name}.md" for name in ORDER]
PAGES += sorted({*ROOT.glob("docs/*.md")} - {*PAGES})
"""Pages, whose commands need what those of the README and of earlier pages have made, but not the forgotten run."""
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SUITE_KEYS = (*SUITE_WORDS, "run", "rank", "groups", "executor")
INSTALLING = re.compile(r"make \w+ .*|pip install \. plugins/.*")
"""What is not run here: .ci/run and .ci/wheels do."""
EDITABLE = "pip install --editable ./"
"""Before a package that was made here: it is installed into a folder of the tests."""


def pieces(page: Path) -> list[str]:
    """Return the page's commands and Python blocks, in order."""
    found = []
    for kind, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        lines = [line for line in block.splitlines() if not INSTALLING.fullmatch(line)]
        found += [block] if kind == "python" else [line for line in lines if line.strip()]
    return found


def in_readme(piece: str) -> bool:
    return "\n" in piece and piece in pieces(README)


COMMANDS = [piece for page in (README, *PAGES) for piece in pieces(page) if not in_readme(piece)]
SUITE = """
detector = "ae"
in = "mnist5k:0,2-9"
out = ["mnist5k:1", "constant"]
preset = "quick"
set = { training.epochs = 1, width = 0.1 }
"""
SHORTER = {
    "ae": ["training.epochs=1", "width=0.1"],
    "vae": ["training.epochs=1", "width=0.1"],
    "ebae": ["pretraining.epochs=1", "epochs=1", "width=0.1", "latent_chain.steps=1", "visible_chain.steps=1"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("readme")
    (made / "digits").mkdir()
    (made / "digits" / "suite.toml").write_text(SUITE)
    holdout = Path("leaderboards", "mnist5k-holdout")
    (made / holdout).mkdir(parents=True)
    shutil.copy(ROOT / holdout / "suite.toml", made / holdout)
    (made / "pictures").mkdir()
    for number in range(12):
        Image.linear_gradient("L").rotate(30 * number).save(made / "pictures" / f"{number}.png")
    (made / "pictures" / "damaged.png").write_bytes(b"no picture")
    return made


def shortened(line: str) -> list[str]:
    words = shlex.split(line)[1:]
    if words[0] in ("run", "tune", "figure"):
        for detector in SHORTER:
            if detector in words:
                words += [word for setting in SHORTER[detector] for word in ("--set", f"{detector}.{setting}")]
    if words == ["check", "my-cluster"]:
        words += ["--only", "the_death_of_a_worker_costs_one_task"]
    return words


def test_the_readme_has_commands():
    named = {shlex.split(line)[1] for line in pieces(README) if line.startswith("oodbench ")}
    assert named == {
        *("run", "list", "show", "data", "tune", "leaderboard", "figure", "evaluate", "compare", "plot", "query"),
        *("forget", "publish", "verify", "bundle", "score", "status"),
    }


@pytest.mark.parametrize("piece", COMMANDS)
def test_command(piece, folder):
    environment = os.environ | {
        "OODBENCH_OFFLINE": "1",
        "OODBENCH_CACHE": str(folder / "cache"),
        "OODBENCH_DATA": str(folder / "data"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(folder / "site"), os.environ.get("PYTHONPATH")])),
    }
    if named := re.match(r"# (\w+\.py)\n", piece):  # a file that is to be saved
        (folder / named[1]).write_text(piece)
    done = subprocess.run(command(piece, folder), cwd=folder, env=environment, capture_output=True, text=True)
    if "cifar10" in piece:  # there is no network in the tests: it must say what to put where
        assert done.returncode == 1
        assert "put data_batch_1" in done.stderr and str(folder / "data") in done.stderr
    else:
        assert done.returncode == 0, done.stderr
    if "--output" in piece:
        assert (folder / shlex.split(piece)[-1]).stat().st_size > 1000


def command(piece: str, folder: Path) -> list[str]:
    """Return what runs a piece of a page."""
    if "\n" in piece:
        return [sys.executable, "-c", piece]
    if piece.startswith(EDITABLE):
        options = ["--quiet", "--no-deps", "--no-build-isolation", "--target", str(folder / "site")]
        return [sys.executable, "-m", "pip", "install", *options, piece.removeprefix(EDITABLE[:-2])]
    assert piece.startswith("oodbench "), f"nothing here runs {piece!r}"
    return [sys.executable, "-m", "oodbench", *shortened(piece)]


@pytest.mark.parametrize("block", [piece for piece in pieces(README) if "\n" in piece])
def test_python(block, tmp_path):
    """As it stands, but for fits of one epoch."""
    named = [detector for detector in SHORTER if f'"{detector}"' in block]
    settings = {f"{each}.{name}": value for each in named for name, value in map(pair, SHORTER[each])}
    own = {name.removeprefix("ebae."): value for name, value in settings.items() if name.startswith("ebae.")}
    shorter = block.replace('preset="quick")', f'preset="quick", params={settings})')
    shorter = shorter.replace("latent_dim=8)", f"latent_dim=8, **{own})")
    assert shorter.count("epochs") == 5
    environment = os.environ | {"OODBENCH_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", shorter], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "mnist5k:1" in done.stdout
    assert len(done.stdout.rpartition("[")[2].split()) == 8, "the scores of eight images"


def test_links_lead_to_files_of_the_repository():
    """So that they work on GitHub; ``make docs`` checks those of the site."""
    pages = [README, ROOT / "CONTRIBUTING.md", ROOT / "leaderboards" / "README.md"]
    pages += [*ROOT.glob("docs/*.md"), *ROOT.glob("plugins/*/README.md")]
    dead = []
    for page in pages:
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        targets = [target for target in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in target]
        dead += [f"{page.relative_to(ROOT)}: {target}" for target in targets if not (page.parent / target).exists()]
    assert not dead


def test_the_keys_of_a_suite_are_listed(tmp_path):
    """All of them, each in a row of the table; the suites on the page can be read."""
    section = (ROOT / "docs" / "run.md").read_text(encoding="utf-8").partition("## A suite")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`\[*(\w+)", " ".join(rows))) == sorted(SUITE_KEYS)
    suites = re.findall(r"^```toml\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    for number, suite in enumerate(suites):
        path = tmp_path / f"{number}.toml"
        path.write_text(suite)
        read_suite_file(path)
    assert len(suites) == 2


def pair(setting: str) -> tuple[str, float]:
    name, _, value = setting.partition("=")
    return name, float(value) if "." in value else int(value)


def test_the_pages_of_the_site_are_made_from_the_code(tmp_path):
    """Each detector's page, the command line and the Python reference; `make docs` checks the links."""
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", tmp_path], capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "docs" / "detectors" / "ebae.md").read_text(encoding="utf-8")
    assert "| `visible_chain.steps` |" in page and "Suppressing Outlier Reconstruction" in page
    assert "## oodbench run" in (tmp_path / "docs" / "command-line.md").read_text(encoding="utf-8")
    assert "::: oodbench.api.Detector" in (tmp_path / "docs" / "python-reference.md").read_text(encoding="utf-8")
    assert "](detectors/index.md)" in (tmp_path / "docs" / "concepts.md").read_text(encoding="utf-8")
    assert "](classifier.md)" in (tmp_path / "docs" / "detectors" / "po-knn.md").read_text(encoding="utf-8")
    assert "](write-detector.md)" in (tmp_path / "docs" / "leaderboards.md").read_text(encoding="utf-8")
    navigation = tomllib.loads((tmp_path / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    assert len(re.findall(r"[\w/-]+\.md", str(navigation))) == len([*(tmp_path / "docs").rglob("*.md")])
