"""Texts of other people in sentences of ours."""

from __future__ import annotations

import pytest

from qorworker.text.cleaning import isolated

HEBREW = "\u05e9\u05dc\u05d5\u05dd"


@pytest.mark.parametrize(
    ("text", "is_rtl", "is_isolated"),
    [
        ("Tea", True, True),
        (HEBREW, False, True),
        (f"Tea {HEBREW}", False, True),
        ("Tea", False, False),
        (HEBREW, True, False),
        ("12 / 3", True, False),
        ("", True, False),
    ],
)
def test_a_text_is_isolated_where_it_runs_against_the_sentence(text, is_rtl, is_isolated):
    assert isolated(text, is_rtl) == (f"\u2068{text}\u2069" if is_isolated else text)
