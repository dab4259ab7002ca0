"""Functions that run in a new process, started as ``python -m oodbench.testing.subprocesses FOLDER``.

Objects are sent as a pickle, which refers to a class or function by its module's name. A module that was loaded from a
file, as test modules are, is loaded from that file again.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from oodbench.testing.results import Skip

SECONDS = 300


def run_in_subprocess(work: Callable[..., None], sent: Any, module: str, folder: Path, **said: Any) -> None:
    """Run ``work(sent, folder, **said)`` in a new process, which reads from and writes to the folder.

    Args:
        sent: the object under test, sent as a pickle.
        module: name of the module that defines it.
        said: further arguments, which JSON can represent.

    Raises Skip if the object cannot be sent, AssertionError if the process fails.
    """
    try:
        (folder / "sent.pickle").write_bytes(pickle.dumps((work, sent)))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise Skip(f"another process cannot import it: {error}") from None
    file = getattr(sys.modules.get(module), "__file__", None)
    order = {"path": sys.path, "module": module, "file": file, "said": said}
    (folder / "order.json").write_text(json.dumps(order), encoding="utf-8")
    command = [sys.executable, "-m", "oodbench.testing.subprocesses", str(folder)]
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment)
    assert not done.returncode, f"in another process: {' '.join(done.stderr.strip().splitlines()[-1:])}"


def main(folder: Path) -> None:
    """Run the work that ``run_in_subprocess`` wrote to the folder."""
    order = json.loads((folder / "order.json").read_text(encoding="utf-8"))
    sys.path[:] = order["path"]
    if order["file"]:
        _import(order["module"], order["file"])
    work, sent = pickle.loads((folder / "sent.pickle").read_bytes())
    work(sent, folder, **order["said"])


def _import(name: str, file: str) -> ModuleType:
    """Return the module, imported by name, else from its file, as pytest imports tests."""
    try:
        return importlib.import_module(name)
    except ImportError:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec and spec.loader, file
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


if __name__ == "__main__":
    main(Path(sys.argv[1]))
