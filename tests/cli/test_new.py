"""``oodbench new`` on the command line; what it writes is tested in tests/scaffold."""

from __future__ import annotations

import pytest


def test_it_writes_a_package_and_says_what_comes_next(oodbench, here):
    lines = oodbench("new", "detector", "my-method").stdout.splitlines()
    assert lines == [
        "oodbench-my-method/ has a detector that works. Next:",
        "  pip install --editable ./oodbench-my-method",
        "  # edit oodbench-my-method/oodbench_my_method/detector.py",
        "  oodbench check my-method",
        "  oodbench run --detector my-method --in mnist5k:0,2-9 --out mnist5k:1 --preset quick",
    ]
    assert (here / "oodbench-my-method" / "oodbench_my_method" / "detector.py").is_file()


def test_a_base_a_network_and_a_folder_can_be_chosen(oodbench, here):
    oodbench("new", "detector", "one", "--base", "mean-distance", "--output", "sub/one")
    assert 'base = "mean-distance"' in (here / "sub" / "one" / "oodbench_one" / "detector.py").read_text()
    oodbench("new", "detector", "two", "--network")
    assert "NetworkDetector" in (here / "oodbench-two" / "oodbench_two" / "detector.py").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("metric", "my_metric", "--network"), "--base and --network are for detectors"),
        (("detector", "mine", "--network", "--base", "mean-distance"), "give --base or --network, not both"),
        (("detector", "My Method"), "'My Method' cannot be the name of a detector"),
        (("detector", "mine", "--base", "nothing"), "unknown detector 'nothing'"),
    ],
)
def test_bad_words_are_refused_in_one_line(invoke, toys, here, words, message):
    from click.testing import CliRunner

    from oodbench.cli import main

    result = CliRunner().invoke(main, ["new", *words])
    assert result.exit_code in (1, 2) and message in result.stderr.splitlines()[-1]
    assert [*here.iterdir()] == []


def test_a_folder_that_is_there_is_refused(oodbench, here, refusal):
    (here / "oodbench-mine").mkdir()
    (here / "oodbench-mine" / "a").touch()
    line = refusal(oodbench("new", "detector", "mine", code=1))
    assert line == ("Error: oodbench-mine is there already and is not an empty folder; --output names another")
