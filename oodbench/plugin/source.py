"""Which code a plugin runs: its distribution, and a fingerprint of the source where that is not fixed by a release.

A released distribution is identified by its name and version, as long as its files match its RECORD. Any other
code (an editable or local installation, a module on the path, edited files) may change while name and version stay. So
it also has a fingerprint: a hash of the syntax trees of the plugin's own modules, and of all other local modules that
these import, ``oodbench.nn`` among them where oodbench itself is not a release. Comments, docstrings and layout do not
count.
"""

from __future__ import annotations

import ast
import base64
import csv
import hashlib
import importlib
import importlib.util
import json
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path

LIBRARY = "oodbench.nn"
"""The part of oodbench that detectors are built from. The rest of the core does not affect what they compute."""

CLOCKS_DIFFER = 600
"""Seconds that the clock of a file server may be ahead of this machine's."""


@dataclass(frozen=True)
class Source:
    """Where a plugin's code comes from.

    Args:
        distribution: name of the distribution that has the plugin; empty where there is none.
        version: of the distribution.
        fingerprint: 16 hexadecimal digits; empty for a released distribution whose files are as released.
        file: the plugin's module; None for code without a file.
        changed: when the fingerprinted code was last changed, in seconds since the epoch; 0 for a release.
    """

    distribution: str
    version: str
    fingerprint: str
    file: Path | None
    changed: float = 0.0

    @property
    def code_version(self) -> str:
        """The version, followed by the fingerprint if there is one: ``0.1.1+5a85784f027a4875``."""
        if not self.fingerprint:
            return self.version
        return f"{self.version}{'.' if '+' in self.version else '+'}{self.fingerprint}"


def source_of(module: str, distribution: metadata.Distribution | None) -> Source:
    """Return the source of a plugin, given the name of its (imported) module."""
    package = _package_of(module)
    name = distribution.metadata["Name"] if distribution else ""
    version = distribution.version if distribution else "unknown"
    if distribution is not None and _is_released(distribution):
        return Source(name, version, "", _origin(package))
    fingerprint, changed = _fingerprint(package)
    return Source(name, version, fingerprint, _origin(package), changed)


# ----------------------------------------------------------------------------------------- releases


def _is_released(distribution: metadata.Distribution) -> bool:
    """Whether the distribution was installed from a package index and nobody has edited its files since."""
    if distribution.read_text("direct_url.json"):  # a folder, a file or a repository
        return False
    record = distribution.read_text("RECORD")
    if not record:
        return False
    for path, digest, _ in csv.reader(record.splitlines()):
        if path.endswith(".py") and not _is_recorded(Path(str(distribution.locate_file(path))), digest):
            return False
    return True


def _is_recorded(path: Path, digest: str) -> bool:
    algorithm, _, expected = digest.partition("=")
    if algorithm not in hashlib.algorithms_guaranteed:
        return False
    try:
        found = hashlib.new(algorithm, path.read_bytes()).digest()
    except OSError:
        return False
    return base64.urlsafe_b64encode(found).rstrip(b"=").decode() == expected


# ------------------------------------------------------------------------------------- fingerprints


def _fingerprint(package: str) -> tuple[str, float]:
    """Hash the syntax trees of all modules of the package, and of the local modules that they import.

    Returns the hash, and the latest time at which one of these files was changed.
    """
    pending, seen, changed = list(_modules_below(package)), dict[str, str](), 0.0
    while pending:
        module = pending.pop()
        path = _origin(module)
        if module in seen or path is None or path.suffix != ".py":
            continue
        seen[module] = _tree_hash(path)
        changed = max(changed, _changed(path))
        pending += _local_imports(module, path, package)
    return hashlib.sha256(json.dumps(sorted(seen.items())).encode()).hexdigest()[:16], changed


def _changed(path: Path) -> float:
    """Return when the file was changed; 0 where its time is so far in the future that it must be wrong."""
    time_of_change = path.stat().st_mtime
    return time_of_change if time_of_change <= time.time() + CLOCKS_DIFFER else 0.0


def _package_of(module: str) -> str:
    """Return a module's outermost package; namespaces above it have no code, and their members share nothing."""
    parts = module.split(".")
    names = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return next((name for name in names if _origin(name) is not None), module)


def _modules_below(package: str) -> Iterator[str]:
    origin = _origin(package)
    yield package
    if origin and origin.name == "__init__.py":
        for path in sorted(origin.parent.rglob("*.py")):
            parts = path.relative_to(origin.parent).with_suffix("").parts
            yield ".".join([package, *(part for part in parts if part != "__init__")])


def _is_local(module: str, package: str) -> bool:
    """Whether the code of a module that the plugin imports may change while all names and versions stay the same."""
    top = module.partition(".")[0]
    if module == package or module.startswith(f"{package}."):
        return True
    if top == "oodbench" and module != LIBRARY and not module.startswith(f"{LIBRARY}."):
        return False
    return top not in sys.stdlib_module_names and not _in_libraries(module)


def _in_libraries(module: str) -> bool:
    """Whether a module belongs to an installed release, in one of Python's folders or anywhere else on the path."""
    origin = _origin(module)
    places = _folders(module) if origin is None else [origin]
    homes = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    if all(any(place.is_relative_to(home) for home in homes) for place in places):
        return True
    releases = [
        Path(str(distribution.locate_file("")))
        for distribution in map(metadata.distribution, _packages().get(module.partition(".")[0], []))
        if distribution.read_text("RECORD") and not distribution.read_text("direct_url.json")
    ]
    return all(any(place.is_relative_to(home) for home in releases) for place in places)


@cache
def _packages() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def _origin(module: str) -> Path | None:
    """Return the file of a module; None where it has none or cannot be found. Nothing is imported to find it."""
    loaded = sys.modules.get(module)
    file = getattr(loaded, "__file__", None)
    if file:
        return Path(file)
    parent, _, name = module.rpartition(".")
    if not parent:
        spec = _spec(module)
        return Path(spec.origin) if spec and spec.origin and spec.has_location else None
    places = (place for folder in _folders(parent) for place in (folder / name / "__init__.py", folder / f"{name}.py"))
    return next((place for place in places if place.is_file()), None)


def _folders(package: str) -> list[Path]:
    """Return the folders of the modules of a package; a namespace, which has no ``__init__.py``, may have several."""
    origin = _origin(package)
    if origin is not None:
        return [origin.parent] if origin.name == "__init__.py" else []
    parent, _, name = package.rpartition(".")
    if parent:
        return [folder / name for folder in _folders(parent) if (folder / name).is_dir()]
    spec = _spec(package)
    return [Path(folder) for folder in (spec.submodule_search_locations if spec else None) or ()]


def _spec(module: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None


def _local_imports(module: str, path: Path, package: str) -> Iterator[str]:
    """Yield every local module that a module's code may import, wherever in the code the import is."""
    own_package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if _is_local(alias.name, package):
                    yield from _modules_below(LIBRARY) if alias.name == LIBRARY else _run_by(alias.name, package)
        elif isinstance(node, ast.ImportFrom):
            parents = own_package.split(".")
            parents = parents[: len(parents) - node.level + 1] if node.level else []
            source = ".".join([*parents, *([node.module] if node.module else [])])
            if _is_local(source, package):
                yield from ([] if source == LIBRARY else _run_by(source, package))
                yield from (_home(source, alias.name) for alias in node.names)


def _run_by(module: str, package: str) -> Iterator[str]:
    """Yield the modules that importing a local module runs: itself, and the local packages that it is in."""
    yield module
    while module := module.rpartition(".")[0]:
        if module != LIBRARY and _is_local(module, package):
            yield module


def _home(source: str, name: str) -> str:
    """Return the module that an imported name is, or that defines it where a package only re-exports it."""
    if _origin(f"{source}.{name}") is not None:
        return f"{source}.{name}"
    value = getattr(importlib.import_module(source), name, None) if source == LIBRARY else None
    return getattr(value, "__module__", None) or source


@cache
def _tree(path: Path) -> ast.Module:
    """Parse a file, once per process: a process runs the code that it has loaded, even if the file changes later."""
    return ast.parse(path.read_bytes())


@cache
def _tree_hash(path: Path) -> str:
    """Hash a module's syntax tree without docstrings."""
    return hashlib.sha256(repr(_plain(_tree(path))).encode()).hexdigest()


def forget_trees() -> None:
    """Clear the cached syntax trees, as some of the files are about to be loaded again."""
    _tree.cache_clear()
    _tree_hash.cache_clear()


def _plain(node: object) -> object:
    """Return a syntax tree as nested tuples, without docstrings and empty fields (which Python versions add)."""
    if isinstance(node, list):
        return [_plain(each) for each in node]
    if not isinstance(node, ast.AST):
        return node
    fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, [])}
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
        fields["body"] = node.body[1:]
    return type(node).__name__, [(name, _plain(value)) for name, value in fields.items()]
