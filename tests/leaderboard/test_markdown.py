"""Pages show what comes from outside as it is, and do nothing else with it."""

from __future__ import annotations

import pytest

from oodbench.leaderboard.markdown import escape


@pytest.mark.parametrize(
    "text",
    ["ebae, reduced (preset quick)", "mnist5k:0,2-9", "visible_chain.steps=25", "folder:/home/me/Cats", "0.5 ± 0.1"],
)
def test_plain_names_stay_as_they_are(text):
    assert escape(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a | b", "a \\| b"),
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"),
        ("[click](javascript:alert(1))", "\\[click\\](javascript:alert(1))"),
        ("[^1]: not a footnote", "\\[^1\\]: not a footnote"),
        ("two\nlines | and\r\n# a heading", "two lines \\| and # a heading"),
        ("# a heading", "\\# a heading"),
        ("**bold** and `code`", "\\*\\*bold\\*\\* and \\`code\\`"),
        ("_emphasis_", "\\_emphasis\\_"),
        ("\x1b[2Jgone", "\\\\x1b\\[2Jgone"),
    ],
)
def test_markup_is_shown_not_done(text, shown):
    assert escape(text) == shown
