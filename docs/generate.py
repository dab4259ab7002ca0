"""Generator of the site's sources: the pages of this folder, and those that are made from the code.

``python docs/generate.py build`` writes build/zensical.toml and build/docs, which has the pages of this folder, the
list of leaderboards, a page for each detector (from its Params, presets and README), the command line (from click) and
the Python reference. In this folder, pages link to files of the repository, as GitHub needs it; in build/docs, such a
link leads to the page that is made from the file.
"""

from __future__ import annotations

import inspect
import json
import posixpath
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

import oodbench
from oodbench.cli import COMMANDS, main
from oodbench.plugin.description import describe_name
from oodbench.plugin.manager import FIRST_PARTY
from oodbench.plugin.registry import Registry, load_registry

HERE = Path(__file__).resolve().parent
PLUGINS = HERE.parent / "plugins"
LEADERBOARDS = HERE.parent / "leaderboards" / "README.md"
FIRST = ("index", "concepts")
LAST = ("columns", "statistics", "faq")
NOTEBOOK = "digits.ipynb"
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]*)((?:#[^)]*)?)\)")
FENCE = re.compile(r"^(```.*?^```)", re.DOTALL | re.MULTILINE)


def generate(folder: Path) -> None:
    """Write the configuration and the pages into the folder, replacing those of an earlier call."""
    shutil.rmtree(folder / "docs", ignore_errors=True)
    (folder / "docs" / "detectors").mkdir(parents=True)
    pages = {path.stem: path.read_text(encoding="utf-8") for path in sorted(HERE.glob("*.md"))}
    for file in (*HERE.glob("*.svg"), HERE / NOTEBOOK, HERE / "style.css"):
        shutil.copy(file, folder / "docs")
    registry = load_registry()
    readmes = {name: path for name in sorted(registry.detectors) if (path := _readme(name, registry))}
    detectors = [*readmes]
    written = {name: (text, "docs") for name, text in pages.items()}
    written["leaderboards"] = (LEADERBOARDS.read_text(encoding="utf-8"), "leaderboards")
    for name, path in readmes.items():
        text = detector_page(name, registry, path, folder / "docs")
        written[f"detectors/{name}"] = (text, f"plugins/{path.parent.name}")
    made = {
        "command-line": command_line(),
        "python-reference": python_reference(),
        "detectors/index": detector_index(detectors, registry),
    }
    site = _site(pages, readmes)
    for name, (text, source) in written.items():
        parts = FENCE.split(text)
        made[name] = "".join(part if FENCE.match(part) else _links(part, name, source, site) for part in parts)
    for name, text in made.items():
        (folder / "docs" / f"{name}.md").write_text(text, encoding="utf-8")
    settings = (HERE / "zensical.toml").read_text(encoding="utf-8")
    settings = settings.replace("nav = []", f"nav = {navigation([*pages], detectors)}").replace(
        "ROOT", str(HERE.parent)
    )
    (folder / "zensical.toml").write_text(settings, encoding="utf-8")


def navigation(pages: list[str], detectors: list[str]) -> str:
    """Return the navigation as TOML; pages that are not named here go to the section How to."""
    how_to = ["run", "read-numbers", "tune", "publish", "new-images", "python"]
    how_to += ["write-detector", "write-dataset", "write-metric", "write-executor"]
    how_to += [name for name in pages if name not in (*FIRST, *LAST, *how_to)]
    sections = {
        "How to": how_to,
        "Leaderboards": ["leaderboards"],
        "Reference": ["command-line", "python-reference", *LAST],
        "Detectors": ["detectors/index", *(f"detectors/{name}" for name in detectors)],
    }
    parts = [json.dumps(f"{name}.md") for name in FIRST]
    parts += [
        f"{{ {json.dumps(title)} = [{', '.join(json.dumps(f'{name}.md') for name in names)}] }}"
        for title, names in sections.items()
    ]
    return f"[{', '.join(parts)}]"


def _site(pages: Iterable[str], readmes: Mapping[str, Path]) -> dict[str, str]:
    """Return path in the repository → file of the site; for a package of several detectors, its namesake or the first.

    Args:
        pages: of this folder.
        readmes: detector → README of its package.
    """
    site = {"plugins": "detectors/index.md", "leaderboards": "leaderboards.md"}
    site |= {f"docs/{name}.md": f"{name}.md" for name in pages} | {f"docs/{NOTEBOOK}": NOTEBOOK}
    for name, path in readmes.items():
        package = path.parent.name
        if f"plugins/{package}" not in site or package == f"oodbench-{name}":
            site[f"plugins/{package}"] = f"detectors/{name}.md"
    return site | {f"{folder}/README.md": file for folder, file in site.items() if "." not in folder}


def _links(text: str, page: str, source: str, site: Mapping[str, str]) -> str:
    """Return the text with links to files of the repository turned into links to their pages on the site.

    Other links are kept; of a link to a file that is not on the site, only the text is kept.

    Args:
        page: path on the site, without its suffix.
        source: the folder of the repository that links are relative to.
        site: path in the repository → file of the site.
    """

    def link(match: re.Match[str]) -> str:
        mark, words, target, anchor = match.groups()
        if not target or "://" in target or mark:
            return match.group()
        file = site.get(posixpath.normpath(posixpath.join(source, target)))
        return f"[{words}]({posixpath.relpath(file, posixpath.dirname(page) or '.')}{anchor})" if file else words

    return LINK.sub(link, text)


# ----------------------------------------------------------------------------------------- detectors


def _readme(name: str, registry: Registry) -> Path | None:
    """Return the README of the detector's package, if that is in this repository; else None."""
    distribution = registry.source("detector", name).distribution
    path = PLUGINS / distribution / "README.md"
    return path if distribution in FIRST_PARTY and path.is_file() else None


def detector_index(names: list[str], registry: Registry) -> str:
    """Return the page that lists the detectors."""
    rows = [f"| [{name}]({name}.md) | {registry.detectors[name].summary} |" for name in names]
    return "\n".join(["# Detectors", "", "| detector | score |", "|---|---|", *rows, ""])


def detector_page(name: str, registry: Registry, path: Path, docs: Path) -> str:
    """Return a detector's page: its facts and parameters, then its package's README, whose pictures are copied."""
    facts = describe_name(name, registry)
    for picture in path.parent.glob("*.png"):
        shutil.copy(picture, docs / "detectors")
    readme = "".join(
        part if FENCE.match(part) else re.sub("^#", "##", part, flags=re.MULTILINE)
        for part in FENCE.split(path.read_text(encoding="utf-8"))
    )
    listed = ("summary", "paper", "stands on", "shapes", "plugin")
    lines = [f"# {name}", "", *(f"- **{word}:** {facts[word]}" for word in listed if facts[word])]
    lines += [f"- **known finding:** {finding}" for finding in facts["known findings"]]
    return "\n".join([*lines, "", "## Parameters", "", *_parameters(facts["parameters"]), "", readme])


def _parameters(parameters: list[Mapping[str, Any]]) -> Iterator[str]:
    if not parameters:
        yield "It has none."
        return
    yield "Where a preset is not named, it has the default."
    yield ""
    yield "| parameter | default | presets | meaning | bounds | source |"
    yield "|---|---|---|---|---|---|"
    for each in parameters:
        presets = "; ".join(f"{preset}: {value}" for preset, value in each["presets"].items())
        unit = f" ({each['unit']})" if each["unit"] else ""
        words = (f"`{each['name']}`", each["default"], presets, each["meaning"] + unit, each["bounds"], each["source"])
        yield "| " + " | ".join(str(word).replace("|", "\\|").replace("<", "&lt;") for word in words) + " |"


# ----------------------------------------------------------------------------------- command line, Python


def command_line() -> str:
    """Return the page of all core commands with their options."""
    context = click.Context(main, info_name="oodbench")
    listed = (f"- [`oodbench {name}`](#oodbench-{name}): {what}" for name, what in COMMANDS.items())
    lines = ["# Command line", "", *listed]
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None, name
        lines += ["", *_command(command, click.Context(command, info_name=name, parent=context), 2)]
    return "\n".join([*lines, ""])


def _command(command: click.Command, context: click.Context, level: int) -> Iterator[str]:
    yield f"{'#' * level} {context.command_path}"
    yield ""
    yield from (f"```text\n{context.get_usage().removeprefix('Usage: ')}\n```", "")
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        text = paragraph.replace("\b\n", "")
        yield f"```text\n{text}\n```" if paragraph.startswith("\b") else _escape(" ".join(text.split()))
        yield ""
    records = [record for parameter in command.get_params(context) if (record := parameter.get_help_record(context))]
    yield from ("| option | |", "|---|---|")
    for option, what in records:
        yield f"| `{option.replace('|', '&#124;')}` | {_escape(' '.join(what.split()))} |".replace("&#124;", "\\|")
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None, name
            yield ""
            yield from _command(below, click.Context(below, info_name=name, parent=context), level + 1)


def _escape(text: str) -> str:
    return re.sub(r"([|<*_\[])", r"\\\1", text)


def python_reference() -> str:
    """Return the page of the public names, by module; mkdocstrings fills in their documentation."""
    lines = [
        "# Python reference",
        "",
        "All of these are names of `oodbench`: `from oodbench import Detector`.",
        "",
        "Networks and training loops that detectors are made of are in `oodbench.nn`, and checks of the contract in "
        "`oodbench.testing`.",
    ]
    for module, names in sorted(oodbench._HOME.items()):
        lines += ["", f"## {module}", ""]
        lines += [f"::: {module}.{name}\n" for name in names.split()]
    lines += ["", "## oodbench.testing", "", "::: oodbench.testing\n    options:\n      members: []\n"]
    lines += ["## oodbench.nn.training", ""]
    lines += [f"::: oodbench.nn.training.{name}\n" for name in ("Phase", "train")]
    return "\n".join(lines)


if __name__ == "__main__":
    generate(Path(sys.argv[1]))
