"""The lines of a log as HTML: colours of a terminal become attributes, and matches of a search are marked. Web."""

from __future__ import annotations

import re

from django.utils.html import conditional_escape, format_html, format_html_join
from django.utils.safestring import SafeString

from qorworker.text.cleaning import visible

COLOUR = re.compile(r"\x1b\[([0-9;]{0,20})m")
STANDARD = frozenset(range(30, 38)) | frozenset(range(90, 98))  # the colours of letters that every terminal has


def line_html(text: str, find: str = "") -> SafeString:
    """Return *text* with its colours, with matches of *find* marked, and with control characters shown as escapes."""
    if "\x1b[" not in text:
        return _marked(text, find)
    pieces = COLOUR.split(text)
    coloured = [(pieces[0], 0)]
    for codes, piece in zip(pieces[1::2], pieces[2::2], strict=True):
        coloured.append((piece, _colour(codes, coloured[-1][1])))
    return format_html_join(
        "", "{}", ((_in_colour(_marked(piece, find), colour),) for piece, colour in coloured if piece)
    )


def _colour(codes: str, before: int) -> int:
    """Return the colour after a sequence: 31 for red and so on, 0 for none."""
    for code in map(int, filter(None, (codes or "0").split(";"))):
        if code in STANDARD:
            before = code if code < 40 else code - 60
        elif code in (0, 39):
            before = 0
    return before


def _in_colour(piece: SafeString, colour: int) -> SafeString:
    return format_html('<em data-ansi="{}">{}</em>', colour, piece) if colour else piece


def _marked(text: str, find: str) -> SafeString:
    if not find:
        return conditional_escape(visible(text))
    pieces = re.split(f"({re.escape(find)})", text, flags=re.IGNORECASE)
    return format_html_join(
        "", "{}", ((format_html("<mark>{}</mark>", visible(piece)) if place % 2 else visible(piece),)
                   for place, piece in enumerate(pieces))
    )  # fmt: skip
