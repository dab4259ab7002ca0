"""How long help, a list and a completion take beyond ``python -c "import click"``.

python -m benchmarks.startup
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

from benchmarks.machine import describe, in_turn, median, table


def measure(repetitions: int = 10) -> str:
    """Return a section of the page. The first round, which is not counted, saves the catalogue of the plugins."""
    commands = {
        'python -c "import click"': ["-c", "import click"],
        "oodbench list detectors": ["-m", "oodbench", "list", "detectors"],
        "oodbench --help": ["-m", "oodbench", "--help"],
        "oodbench run --help": ["-m", "oodbench", "run", "--help"],
        "completing oodbench run --detector": ["-m", "oodbench"],
    }
    completing = {"_OODBENCH_COMPLETE": "bash_complete", "COMP_WORDS": "oodbench run --detector ", "COMP_CWORD": "3"}

    def start(name: str) -> None:
        environment = os.environ | (completing if name.startswith("completing") else {})
        subprocess.run([sys.executable, *commands[name]], check=True, capture_output=True, env=environment)

    tasks = {name: partial(start, name) for name in commands}
    seconds = in_turn(tasks, repetitions)
    first, *others = seconds
    more = "; ".join(f"{name}: {median(seconds[name]) - median(seconds[first]):+.3f} s" for name in others)
    return f"### Start-up\n\nWhole processes, {repetitions} rounds. Beyond click alone: {more}.\n\n" + table(
        seconds, first, "seconds"
    )


if __name__ == "__main__":
    print(describe(), measure(), sep="\n\n")
