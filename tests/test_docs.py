"""Every command and every Python block of the README, and every command of the pages below ``docs``, is run, in order,
in one folder; some only made shorter.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = tuple(ROOT / "docs" / f"{name}.md" for name in ("columns", "many-machines", "executors"))
"""Further pages, whose commands need what those of the README have made, but not the run that is forgotten."""
BLOCK = re.compile(r"```bash\n(.*?)```", re.DOTALL)


def commands(page: Path) -> list[str]:
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [line for block in blocks for line in block.splitlines() if line.startswith("oodbench ")]


COMMANDS = [*commands(README), *(line for page in PAGES for line in commands(page))]
SUITE = """
detector = "ae"
in = "mnist5k:0,2-9"
out = ["mnist5k:1", "constant"]
preset = "quick"
set = { training.epochs = 1, width = 0.1 }
"""
SHORTER = {
    "ae": ["training.epochs=1", "width=0.1"],
    "ebae": ["pretraining.epochs=1", "epochs=1", "width=0.1", "latent_chain.steps=1", "visible_chain.steps=1"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("readme")
    (made / "digits").mkdir()
    (made / "digits" / "suite.toml").write_text(SUITE)
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
    return words


def test_the_readme_has_commands():
    named = {shlex.split(line)[1] for line in COMMANDS}
    assert named == {
        *("run", "list", "show", "data", "tune", "leaderboard", "figure", "evaluate", "compare", "plot", "query"),
        *("forget", "publish", "verify", "bundle", "score", "status"),
    }


@pytest.mark.parametrize("line", COMMANDS)
def test_command(line, folder):
    environment = os.environ | {
        "OODBENCH_OFFLINE": "1",
        "OODBENCH_CACHE": str(folder / "cache"),
        "OODBENCH_DATA": str(folder / "data"),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "oodbench", *shortened(line)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    if "cifar10" in line:  # there is no network in the tests: it must say what to put where
        assert done.returncode == 1
        assert "put data_batch_1" in done.stderr and str(folder / "data") in done.stderr
    else:
        assert done.returncode == 0, done.stderr
    if "--output" in line:
        assert (folder / shlex.split(line)[-1]).stat().st_size > 1000


PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("block", PYTHON.findall(README.read_text(encoding="utf-8")))
def test_python(block, tmp_path):
    """As it stands, but for fits of one epoch."""
    settings = {f"{detector}.{name}": value for detector, sets in SHORTER.items() for name, value in map(pair, sets)}
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


def pair(setting: str) -> tuple[str, float]:
    name, _, value = setting.partition("=")
    return name, float(value) if "." in value else int(value)
