"""The notebook of ``docs`` runs from top to bottom in a kernel of its own, only shorter, and ends in a figure."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs").glob("*.ipynb"))
SHORTER = {
    '{"epochs": 4}': '{"epochs": 1}, width=0.1',
    '{"training.epochs": 4}': '{"training.epochs": 1, "width": 0.1}',
}


def figures(cell: nbformat.NotebookNode) -> list[str]:
    return [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("default")  # of the client's own libraries
def test_a_notebook_runs_and_ends_in_a_figure(path, tmp_path, monkeypatch):
    monkeypatch.setenv("OODBENCH_CACHE", str(tmp_path / "cache"))
    notebook = nbformat.read(path, 4)
    kept = notebook.cells[-1]
    assert figures(kept), "as it is read by whoever does not run it"
    for cell in notebook.cells:
        for long, short in SHORTER.items():
            cell.source = cell.source.replace(long, short)
    sources = "".join(cell.source for cell in notebook.cells)
    assert all(short in sources for short in SHORTER.values())
    NotebookClient(notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    assert figures(notebook.cells[-1])
    assert (tmp_path / "results").is_dir()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_names_no_place_of_a_machine(path):
    assert os.path.expanduser("~") not in path.read_text(encoding="utf-8")
    for cell in nbformat.read(path, 4).cells:
        assert not [output for output in cell.get("outputs", ()) if output.get("name") == "stderr"]
