"""Titles of columns keep what is needed to translate them when they are shown."""

import json

import pytest
from django.utils import translation
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy, ngettext_lazy, pgettext_lazy

from qorworker.text.titles import is_title, shown, title_of


def reopened(value):
    """A title as it is read from the table."""
    return json.loads(json.dumps(title_of(value)))


def test_a_lazy_translation_is_stored_as_its_message_and_shown_in_the_language_of_the_reader():
    with translation.override("fr"):
        stored = reopened(gettext_lazy("Yes"))
    assert stored == ["Yes"]
    assert shown(stored) == "Yes"
    with translation.override("de"):
        assert shown(stored) == "Ja"


def test_a_context_of_a_translation_is_kept():
    stored = reopened(pgettext_lazy("alt. month", "March"))
    assert stored == ["March", "alt. month"]
    with translation.override("de"):
        assert shown(stored) == "März"


@pytest.mark.parametrize(
    ("value", "stored"),
    [("SKU", "SKU"), ("Yes", "Yes"), ("", ""), (2026, "2026"), (None, "None"), ("two\nlines\t", "two lines"),
     ("x" * 201, "x" * 199 + "…")],
)  # fmt: skip
def test_anything_else_is_one_line_of_text_that_is_not_translated(value, stored):
    assert reopened(value) == stored
    with translation.override("de"):
        assert shown(stored) == stored


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (gettext_lazy(""), ""),
        (gettext_lazy(message="Yes"), "Yes"),
        (format_lazy("{}: {}", gettext_lazy("Yes"), 7), "Yes: 7"),
        (ngettext_lazy("%d year", "%d years", 2), "%d years"),
        (ngettext_lazy("%d year", "%d years"), ""),
    ],
)
def test_what_no_message_can_make_again_is_translated_at_once(value, text):
    assert reopened(value) == text


@pytest.mark.parametrize(("value", "fits"), [("a", True), (["a"], True), (["a", "b"], True), ([], False), (7, False),
                                             (["a", "b", "c"], False), ([7], False), (None, False)])  # fmt: skip
def test_the_form_of_a_stored_title(value, fits):
    assert is_title(value) is fits
