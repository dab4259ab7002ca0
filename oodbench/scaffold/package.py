"""A new package of a plugin: its name is checked, its templates are filled in, and it is written as a whole."""

from __future__ import annotations

import builtins
import keyword
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import oodbench
from oodbench.atomic import write_atomically
from oodbench.errors import OODBenchError
from oodbench.plugin.manager import FIRST_PARTY
from oodbench.plugin.registry import check_dataset_name
from oodbench.text import shorten

if TYPE_CHECKING:
    from oodbench.plugin.registry import Registry

Kind = Literal["detector", "dataset", "metric", "executor"]
WORDS = {"detector": "a detector", "dataset": "a data set", "metric": "a metric", "executor": "an executor"}
NAMES = {
    "detector": (r"[a-z][a-z0-9]*(-[a-z0-9]+)*", "small letters, digits and '-', as in my-method"),
    "dataset": (r"[a-z][a-z0-9]*(-[a-z0-9]+)*", "small letters, digits and '-', as in my-images"),
    "metric": (r"[a-z][a-z0-9]*(_[a-z0-9]+)*", "small letters, digits and '_', as in my_metric"),
    "executor": (r"[a-z][a-z0-9]*(-[a-z0-9]+)*", "small letters, digits and '-', as in my-cluster"),
}
LONGEST = 40
IMPORTED = {"Any", "Connection", "Generator", "Mapping", "NetworkDetector", "Path", "Phase", "Self", "Worker"}
"""Names that templates have beside oodbench's own: no class may be called so."""
FUNCTION_TAKEN = {"annotations", "np", "register_metrics"}
"""Names that the template of a metric has beside Python's own: no metric may be called so."""
TEMPLATES = Path(__file__).parent / "templates"
FILES: dict[Kind, dict[str, str]] = {
    "detector": {"detector.py": "detector/{variant}.py.jinja"},
    "dataset": {"images.py": "dataset/images.py.jinja"},
    "metric": {"metric.py": "metric/metric.py.jinja"},
    "executor": {"executor.py": "executor/executor.py.jinja"},
}
"""Module of the package → its template."""
SHARED = {
    "pyproject.toml": "pyproject.toml.jinja",
    "README.md": "{kind}/README.md.jinja",
    ".gitignore": "gitignore.jinja",
    ".github/workflows/check.yml": "check.yml.jinja",
    "{module}/__init__.py": "{kind}/__init__.py.jinja",
    "tests/test_contract.py": "{kind}/test_contract.py.jinja",
}


@dataclass(frozen=True)
class NewPackage:
    """A package to be written.

    Args:
        name: that the detector, data set, metric or executor is registered under.
        base: the detector that a detector stands on; empty for none.
        base_distribution: the package that offers the base.
        network: whether a detector trains a network.
    """

    kind: Kind
    name: str
    base: str = ""
    base_distribution: str = ""
    network: bool = False

    @property
    def entry_point(self) -> str:
        return self.name.replace("_", "-")

    @property
    def distribution(self) -> str:
        return f"oodbench-{self.entry_point}"

    @property
    def module(self) -> str:
        return self.distribution.replace("-", "_")

    @property
    def class_name(self) -> str:
        return "".join(part.capitalize() for part in self.entry_point.split("-"))

    @property
    def main_file(self) -> str:
        """The file that its author edits first, below the package's folder."""
        return f"{self.module}/{next(iter(FILES[self.kind]))}"

    @property
    def variant(self) -> str:
        """Which template of a detector it is."""
        if self.base:
            return "on_classifier" if self.base == "classifier" else "on_base"
        return "network" if self.network else "plain"


def new_package(kind: Kind, name: str, registry: Registry, base: str = "", network: bool = False) -> NewPackage:
    """Return a package to be written.

    Raises OODBenchError where the name is invalid or taken, or no plugin offers the base.
    """
    if base:
        registry.detector(base)
    package = NewPackage(kind, name, base, registry.source("detector", base).distribution if base else "", network)
    _check_name(package, registry)
    return package


def _check_name(package: NewPackage, registry: Registry) -> None:
    pattern, advice = NAMES[package.kind]
    name = package.name
    if not re.fullmatch(pattern, name) or len(name) > LONGEST:
        what = WORDS[package.kind]
        raise OODBenchError(f"{shorten(repr(name))} cannot be the name of {what}: use at most {LONGEST} {advice}")
    if package.class_name in {*oodbench.__all__, *IMPORTED} or keyword.iskeyword(package.class_name):
        raise OODBenchError(
            f"{name} would be the class {package.class_name}, and its code has another of this name: choose another"
        )
    if package.kind == "metric" and (keyword.iskeyword(name) or name in {*dir(builtins), *FUNCTION_TAKEN}):
        raise OODBenchError(f"{name} would be a function, and this name has a meaning in its code: choose another")
    if package.kind == "dataset":
        check_dataset_name(name)
    for (kind, taken), plugin in registry.plugin_of.items():
        if taken == name:
            raise OODBenchError(f"plugin {plugin} has the {kind} {name} already: choose another name")
    if package.distribution in FIRST_PARTY or _is_installed(package):
        raise OODBenchError(f"there is a package {package.distribution} already: choose another name")


def _is_installed(package: NewPackage) -> bool:
    try:
        metadata.distribution(package.distribution)
    except metadata.PackageNotFoundError:
        return find_spec(package.module) is not None
    return True


def write_package(package: NewPackage, folder: Path) -> list[Path]:
    """Write the package into a folder that is new or empty, all of it or nothing. Returns its files.

    Raises OODBenchError where something is there already or nothing can be written.
    """
    where = shorten(str(folder))
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OODBenchError(f"{where} is there already and is not an empty folder; --output names another")
        unfinished = folder.parent / f".{folder.name}-{os.getpid()}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            names = []
            for name, text in render(package).items():
                (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
                write_atomically(unfinished / name, lambda file, text=text: file.write(text.encode()))  # type: ignore[misc]
                names.append(folder / name)
            if folder.exists():  # the same folder is kept, as a shell may stand in it
                for entry in [*unfinished.iterdir()]:
                    entry.rename(folder / entry.name)
            else:
                unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise OODBenchError(f"{where} cannot be written: {error.strerror or error}") from None
    return names


def render(package: NewPackage) -> Mapping[str, str]:
    """Return the package's files: path below its folder → content."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True
    )
    major, minor = metadata.version("oodbench").split(".")[:2]
    values = {
        "package": package, "title": package.entry_point.replace("-", " "), "oodbench_version": f"{major}.{minor}"
    }  # fmt: skip
    return {path: environment.get_template(template).render(values) for path, template in _files(package)}


def _files(package: NewPackage) -> Iterator[tuple[str, str]]:
    words = {"kind": package.kind, "module": package.module, "variant": package.variant}
    own = {f"{{module}}/{name}": template for name, template in FILES[package.kind].items()}
    for path, template in {**SHARED, **own}.items():
        yield path.format(**words), template.format(**words)
