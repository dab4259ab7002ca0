"""How long ``oodbench --help`` takes beyond ``python -c "import click"``.

python -m benchmarks.startup
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks.machine import describe, in_turn, median, table


def measure(repetitions: int = 10) -> str:
    """A section of the page."""
    commands = {
        'python -c "import click"': [sys.executable, "-c", "import click"],
        "oodbench --help": [sys.executable, "-m", "oodbench", "--help"],
        "oodbench run --help": [sys.executable, "-m", "oodbench", "run", "--help"],
    }
    tasks = {
        name: lambda command=command: subprocess.run(command, check=True, capture_output=True)
        for name, command in commands.items()
    }
    seconds = in_turn(tasks, repetitions)
    first, *others = seconds
    more = "; ".join(f"{name}: {median(seconds[name]) - median(seconds[first]):+.3f} s" for name in others)
    return f"### Start-up\n\nWhole processes, {repetitions} rounds. Beyond click alone: {more}.\n\n" + table(
        seconds, first, "seconds"
    )


if __name__ == "__main__":
    print(describe(), measure(), sep="\n\n")
