"""``oodbench new``: names that are refused, what is written, and that it works as it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

from oodbench.errors import OODBenchError
from oodbench.plugin import catalogue_cache
from oodbench.plugin.registry import load_registry
from oodbench.scaffold.package import NewPackage, new_package, render, write_package

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "plain": NewPackage("detector", "first-method"),
    "network": NewPackage("detector", "second-method", network=True),
    "on_classifier": NewPackage("detector", "third-method", base="classifier", base_distribution="oodbench-classifier"),
    "on_base": NewPackage("detector", "fourth-method", base="ae", base_distribution="oodbench-ae"),
    "dataset": NewPackage("dataset", "my-images"),
    "metric": NewPackage("metric", "my_metric"),
    "executor": NewPackage("executor", "my-cluster"),
}
ESSENTIAL = {
    "detector": ("one_finite", "noise_scores", "evaluation_mode", "parameters_round_trip"),
    "executor": ("death_of_a_worker", "before_the_command", "of_its_own", "is_gone"),
}
"""Checks that share one fit of a detector, or need few processes of an executor; the slow test runs all."""


def run(*command, cwd: Path, **environment: str) -> str:
    limits = {"OMP_NUM_THREADS": "1", "OODBENCH_CACHE": str(cwd / "cache")}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=os.environ | limits | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("package", PACKAGES.values(), ids=PACKAGES)
def test_what_is_written_is_a_whole_package_in_order(package, tmp_path):
    folder = tmp_path / package.distribution
    files = write_package(package, folder)
    assert {path.relative_to(folder).as_posix() for path in files} == {
        *("pyproject.toml", "README.md", ".gitignore", ".github/workflows/check.yml", "tests/test_contract.py"),
        *(f"{package.module}/__init__.py", package.main_file),
    }
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert (project["name"], project["entry-points"]["oodbench"]) == (
        package.distribution,
        {package.entry_point: package.module},
    )
    assert not package.base or package.base_distribution in project["dependencies"]
    readme = (folder / "README.md").read_text()
    assert ("**not kept**" if package.kind == "executor" else "reproduced") in readme
    assert "**TODO: write " in readme.partition("\n> ")[0]
    assert package.kind != "detector" or "presets = {" in (folder / package.main_file).read_text()
    assert not [path for path in files if "{{" in path.read_text().replace("${{ matrix.python }}", "")]
    linted = ("--config", ROOT / "pyproject.toml", ".")
    run(sys.executable, "-m", "ruff", "format", "--check", *linted, cwd=folder)
    run(
        sys.executable, "-m", "ruff", "check", "--ignore", "I001,TID253", *linted, cwd=folder
    )  # there, oodbench is a third party's


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in ("on_base", "network") else ()) for name in PACKAGES]
)
def test_it_keeps_its_contract_as_it_is(name, tmp_path):
    package, folder = PACKAGES[name], tmp_path / "package"
    write_package(package, folder)
    few = ("-k", " or ".join(ESSENTIAL[package.kind])) if package.kind in ESSENTIAL else ()
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    out = run(sys.executable, "-m", "pytest", "-q", *few, cwd=folder, PYTHONPATH=path)
    assert " passed" in out and " failed" not in out


@pytest.mark.slow
@pytest.mark.parametrize("name", PACKAGES)
def test_it_is_installed_checked_and_run_in_an_environment_of_its_own(name, tmp_path):
    """With the wheels of the core and of this package, and what they need from the environment of the tests."""
    package, wheels = PACKAGES[name], tmp_path / "wheels"
    write_package(package, tmp_path / "package")
    bases = [ROOT / "plugins" / package.base_distribution] if package.base else [ROOT / "plugins" / "oodbench-ae"]
    for source in (ROOT, tmp_path / "package", *bases):
        run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", wheels, source, cwd=tmp_path)
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path, PYTHONPATH="")
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", *wheels.glob("*.whl"), cwd=tmp_path, PYTHONPATH="")
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    (Path(site.strip()) / "libraries.pth").write_text("\n".join(libraries))

    def oodbench(*words: str) -> str:
        plugins = ",".join([package.entry_point, *(base.name.removeprefix("oodbench-") for base in bases)])
        return run(
            python, "-m", "oodbench", *words, cwd=tmp_path, PYTHONPATH="", OODBENCH_PLUGINS=plugins,
            OODBENCH_OFFLINE="1",
        )  # fmt: skip

    assert "site-packages" in run(
        python, "-c", "import oodbench; print(oodbench.__file__)", cwd=tmp_path, PYTHONPATH=""
    )
    quick = ("--set", "classifier.width=0.1") if package.base == "classifier" else ()
    shape = ("--shape", "1x28x28") if package.kind == "detector" else ()
    rows = json.loads(oodbench("check", package.name, *shape, *quick, "--json"))
    assert rows and {row["outcome"] for row in rows} <= {"passed", "skipped"}
    detector, out = {"detector": (package.name, "constant"), "dataset": ("ae", package.name)}.get(
        package.kind, ("ae", "constant")
    )
    short = ("--set", "ae.training.epochs=1") if "ae" in (detector, package.base) else quick
    through = ("--executor", package.name, "--seeds", "2", "--jobs", "2") if package.kind == "executor" else ()
    words = ("--detector", detector, "--in", "mnist5k:0,1", "--out", out, "--preset", "quick", *short, *through)
    rows = json.loads(oodbench("run", *words, "--json", "-q"))
    assert rows and all(row["out_dataset"] == out for row in rows)
    assert package.kind != "metric" or package.name in {row["metric"] for row in rows}
    assert {row["seed"] for row in rows} == ({0, 1} if through else {0})


# ------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("detector", "My-Method", "'My-Method' cannot be the name of a detector: use at most 40 small letters"),
        ("detector", "my_method", "as in my-method"),
        ("detector", "3d", "cannot be the name"),
        ("detector", "my-", "cannot be the name"),
        ("detector", "../up", "cannot be the name"),
        ("detector", "m" * 41, "at most 40"),
        ("dataset", "my images", "cannot be the name of a data set"),
        ("metric", "my-metric", "as in my_metric"),
        ("executor", "my_cluster", "cannot be the name of an executor: use at most 40 small .* as in my-cluster"),
        ("executor", "worker", "would be the class Worker, and its code has another of this name"),
        ("metric", "lambda", "lambda would be a function, and this name has a meaning in its code"),
        ("metric", "np", "np would be a function"),
        ("metric", "float", "float would be a function"),
        ("detector", "true", "would be the class True, and its code has another of this name"),
        ("dataset", "in", "a data set cannot be called 'in'"),
        ("executor", "local", "plugin builtin-local has the executor local already"),
        ("detector", "image-set", "would be the class ImageSet, and its code has another of this name"),
        ("detector", "mean-distance", "plugin toys has the detector mean-distance already"),
        ("dataset", "mean-distance", "plugin toys has the detector mean-distance already"),
        ("metric", "auroc", "plugin builtin-metrics has the metric auroc already"),
        ("detector", "ebae", "there is a package oodbench-ebae already"),
        ("detector", "toys", "there is a package oodbench-toys already"),
    ],
)
def test_a_name_that_is_invalid_or_taken_is_refused(toys, kind, name, message):
    with pytest.raises(OODBenchError, match=message):
        new_package(kind, name, load_registry())


def test_the_name_of_a_detector_that_is_not_loaded_is_taken_too(toys):
    catalogue_cache.save(load_registry(), catalogue_cache.cache_key())
    registry = load_registry()
    assert "mean-distance" in registry.waiting
    with pytest.raises(OODBenchError, match="plugin toys has the detector mean-distance already"):
        new_package("dataset", "mean-distance", registry)


def test_a_base_that_is_not_installed_is_refused(toys):
    with pytest.raises(OODBenchError, match="unknown detector 'mean-distanc'; did you mean mean-distance"):
        new_package("detector", "my-method", load_registry(), base="mean-distanc")
    package = new_package("detector", "my-method", load_registry(), base="mean-distance")
    assert '"oodbench-toys"]' in render(package)["pyproject.toml"]


@pytest.mark.parametrize("there", ["file", "folder", "link"])
def test_what_is_there_already_is_left_alone(tmp_path, there):
    folder = tmp_path / "mine"
    if there == "file":
        folder.write_text("precious")
    else:
        target = folder if there == "folder" else tmp_path / "elsewhere"
        target.mkdir()
        (target / "precious.txt").write_text("precious")
        if there == "link":
            folder.symlink_to(target)
    with pytest.raises(OODBenchError, match="is there already and is not an empty folder; --output names another"):
        write_package(PACKAGES["plain"], folder)
    kept = folder if there == "file" else folder / "precious.txt"
    assert kept.read_text() == "precious"


def test_the_folder_that_one_stands_in_is_filled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = write_package(PACKAGES["plain"], Path())
    assert Path("pyproject.toml") in names
    assert sorted(str(path) for path in Path().rglob("*") if path.is_file()) == sorted(map(str, names))


def test_an_empty_folder_is_filled_and_what_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    write_package(PACKAGES["plain"], tmp_path / "empty")
    assert (tmp_path / "empty" / "pyproject.toml").is_file()
    (tmp_path / "file").write_text("")
    with pytest.raises(OODBenchError, match="below cannot be written: "):
        write_package(PACKAGES["plain"], tmp_path / "file" / "below")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file"]
