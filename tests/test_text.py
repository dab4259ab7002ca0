"""Text from outside does nothing to a terminal but be shown."""

from __future__ import annotations

import pytest

from oodbench.text import printable, shorten


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ae on mnist:0-8 → 0.957 ± 0.003, ½ größer, 数字", None),
        ("two\nlines\tand a tab", None),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("nul \x00, C1 \x9b31m, delete \x7f", "nul \\x00, C1 \\x9b31m, delete \\x7f"),
        ("evil\u202egnp.exe", "evil\\u202egnp.exe"),
        ("isolate\u2066d", "isolate\\u2066d"),
        ("lone \ud800 surrogate", "lone \\ud800 surrogate"),
    ],
)
def test_what_a_terminal_would_act_on_is_escaped(text, shown):
    assert printable(text) == (text if shown is None else shown)


def test_long_text_is_cut_and_its_length_given():
    assert shorten("x" * 200) == "x" * 200
    assert shorten("x" * 100_000) == "x" * 200 + "… (100,000 characters)"
