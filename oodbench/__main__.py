"""``python -m oodbench``: the same as the command ``oodbench``."""

from oodbench.cli import main

main(prog_name="oodbench")
