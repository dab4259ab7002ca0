"""The distributions: what their wheels hold, and that they declare what they import."""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
PACKAGES = {"oodbench": ROOT} | {folder.name: folder for folder in PLUGINS}


@pytest.fixture(scope="module", params=PACKAGES)
def package(request):
    return request.param


@pytest.fixture(scope="module")
def wheel(package, tmp_path_factory):
    out = tmp_path_factory.mktemp("wheels")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, PACKAGES[package]]
    subprocess.run(build, check=True, capture_output=True)
    (path,) = out.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def project(package: str) -> dict:
    return tomllib.loads((PACKAGES[package] / "pyproject.toml").read_text())["project"]


def test_a_wheel_holds_every_module_of_its_package_and_nothing_else(package, wheel):
    module = package.replace("-", "_")
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    in_checkout = (PACKAGES[package] / module).rglob("*.py")
    assert {name for name in held if not name.startswith(f"{module}/")} == set()
    assert {path.relative_to(PACKAGES[package]).as_posix() for path in in_checkout} <= held


def test_a_plugin_s_wheel_names_its_entry_point(package, wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    text = wheel.read(name).decode()
    if package == "oodbench":
        assert "oodbench = oodbench.cli:main" in text
    else:
        short, module = package.removeprefix("oodbench-"), package.replace("-", "_")
        assert f"[oodbench]\n{short} = {module}" in text


def test_what_a_package_imports_it_declares(package):
    """A dependency that only another one brings along would vanish with it."""
    extras = [needs for name, needs in project(package).get("optional-dependencies", {}).items() if name != "dev"]
    requirements = [*project(package)["dependencies"], *itertools.chain(*extras)]
    needs = [re.match(r"[\w.-]+", requirement).group() for requirement in requirements]
    declared = {name.lower().replace("_", "-") for name in [*needs, package]}
    declared.add("pytest")  # oodbench.testing has a decorator for those who have it
    distributions = metadata.packages_distributions()
    undeclared = set()
    for path in (PACKAGES[package] / package.replace("-", "_")).rglob("*.py"):
        for module in imported(path) - sys.stdlib_module_names:
            homes = {home.lower().replace("_", "-") for home in distributions.get(module, [module])}
            if not homes & declared:
                undeclared.add((path.name, module))
    assert undeclared == set()


def imported(path: Path) -> set[str]:
    """The top-level modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found
