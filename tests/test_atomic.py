"""Files appear whole or not at all, and what killed writers left goes away."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from oodbench.atomic import has_ended, is_left_behind, sweep, write_atomically, write_output

KILLED = """
import os, signal, sys
from pathlib import Path
from oodbench.atomic import write_atomically

def write(file):
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)

write_atomically(Path(sys.argv[1]), write)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "page.md"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"new")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_atomically(path, fail)
    assert names(tmp_path) == ["page.md"] and path.read_bytes() == b"old"


def test_what_a_killed_writer_left_is_swept_and_nobody_else_s(tmp_path):
    path = tmp_path / "page.md"
    subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    (left,) = names(tmp_path)
    assert is_left_behind(left)
    mine = f".page.md.{os.getpid()}.{left.rpartition('.')[2]}"  # of a process that runs
    elsewhere = f".page.md.999999999.{'0' * 32}"  # of another machine, whose processes nobody here knows
    other = left.replace("page.md", "other.md")
    for name in (mine, elsewhere, other, ".page.md.swp"):
        (tmp_path / name).touch()
    sweep(tmp_path, "page.md.")
    assert names(tmp_path) == sorted([mine, elsewhere, other, ".page.md.swp"])
    day_ago = time.time() - 90_000
    os.utime(tmp_path / elsewhere, (day_ago, day_ago))
    sweep(tmp_path)
    assert names(tmp_path) == sorted([mine, ".page.md.swp"])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says so")
def test_a_process_that_its_parent_has_not_asked_for_has_ended_too():
    """As the first process of many a container asks for none."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert not has_ended(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has asked how
        os.kill(process.pid, 0)
        assert has_ended(process.pid)
    assert has_ended(process.pid)
    assert not has_ended(os.getpid())


def test_the_next_output_removes_what_a_killed_one_left(tmp_path):
    path = tmp_path / "page.md"
    subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    write_output(path, b"new")
    assert names(tmp_path) == ["page.md"]


def test_an_output_follows_links_and_writes_into_pipes(tmp_path):
    target, link = tmp_path / "real.md", tmp_path / "link.md"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_output(link, b"new")
    assert link.is_symlink() and target.read_bytes() == b"new"
    write_output(tmp_path / "null", b"x")
    device = tmp_path / "device"
    device.symlink_to(os.devnull)
    write_output(device, b"x")
    assert device.is_symlink() and not os.path.isfile(os.devnull)
