"""Makes texts of users and programs safe to show: nothing in them can pretend to be something else. Pure."""

from __future__ import annotations

import re
import unicodedata

LEFT_TO_RIGHT = frozenset({"L"})  # kinds of letters, as Unicode names them
COLOUR = re.compile(r"(\x1b\[[0-9;]{0,20}m)")  # a sequence that colours what follows it in a terminal
RIGHT_TO_LEFT = frozenset({"R", "AL"})


def visible(text: str) -> str:
    """Return *text* in one line. Control and direction characters become escapes, so it cannot reorder or hide."""
    if text.isprintable():
        return text
    return "".join(char if _is_harmless(char) else f"\\u{ord(char):04x}" for char in text)


def visible_lines(text: str) -> str:
    """Do the same for a text of several lines."""
    return text if text.isprintable() else "\n".join(map(visible, text.split("\n")))


def in_terminal(text: str) -> str:
    """Return *text* as ``visible`` does, except that it keeps its colours, which end with it."""
    first, *parts = COLOUR.split(text)
    if not parts:
        return visible(text)
    coloured = (code + visible(part) for code, part in zip(parts[::2], parts[1::2], strict=True))
    return visible(first) + "".join(coloured) + "\x1b[0m"


def isolated(text: str, is_rtl: bool) -> str:
    """Return *text* so that it neither reorders the sentence around it nor is reordered by it.

    It is changed only if it has letters that run against the sentence.

    :param is_rtl: whether the sentence runs from right to left.
    """
    against = LEFT_TO_RIGHT if is_rtl else RIGHT_TO_LEFT
    runs_against = any(unicodedata.bidirectional(char) in against for char in text)
    return f"\u2068{text}\u2069" if runs_against else text


def _is_harmless(char: str) -> bool:
    """Return whether a character is a space of any width, or joins letters of Persian or parts of emoji."""
    return char.isprintable() or char in "\t\u200c\u200d" or unicodedata.category(char) == "Zs"
