"""Makes text from outside (names, paths, notes, files' contents) safe to show in messages."""

from __future__ import annotations

import unicodedata

LONGEST = 200
DIRECTIONS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def shorten(text: str, longest: int = LONGEST) -> str:
    """Return the text, or a prefix and its length where it is longer than ``longest`` characters."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]}… ({len(text):,} characters)"


def printable(text: str) -> str:
    """Return the text with those characters escaped that a terminal would act on instead of showing.

    These are control characters except newline and tab, so that ANSI sequences lose their effect, and characters that
    change the writing direction: ``\\x1b`` becomes the four characters ``\\\\x1b``.
    """
    return "".join(character if _is_harmless(character) else _escape(character) for character in text)


def one_line(text: str) -> str:
    """Return the printable text with every run of white space replaced by one blank."""
    return printable(" ".join(text.split()))


def printable_json(text: str) -> str:
    """Return JSON with the same characters in JSON's escapes, ``\\u001b``; its values stay the same."""
    return "".join(character if _is_harmless(character) else f"\\u{ord(character):04x}" for character in text)


def _is_harmless(character: str) -> bool:
    if character in "\n\t":
        return True
    category = unicodedata.category(character)
    if category == "Cf":  # formatting: soft hyphens and joiners belong to words, overrides of direction do not
        return unicodedata.bidirectional(character) not in DIRECTIONS
    return category not in ("Cc", "Cs")


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
