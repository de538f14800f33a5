"""The catalogues of translations: complete, in step with the source, true to its placeholders, in Django's words."""

from __future__ import annotations

import gettext
import io
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import polib
import pytest
from django.utils.translation import get_language_info, to_language

import qorworker
from tests.__main__ import missing_gettext

PACKAGE = Path(qorworker.__file__).parent
LOCALE = PACKAGE / "locale"
DJANGO = Path(find_spec("django").origin).parent
DJANGO_LOCALES = ("conf/locale", "contrib/admin/locale", "contrib/auth/locale")
QUOTES = {
    "de": "„“", "es": "«»", "fr": "«»", "it": "«»", "ja": "「」", "nl": "“”", "pl": "„”", "pt_BR": "“”",
    "zh_Hans": "“”",
}  # fmt: skip
ALL = {0, 1, 2, 5, 1_000_000}
SINGULAR = {language: {1} for language in QUOTES} | {"fr": {0, 1}, "pt_BR": {0, 1}, "ja": ALL, "zh_Hans": ALL}
TO_BE_REVIEWED = {"it", "ja", "nl", "pl", "pt_BR"}  # by a native speaker
PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]|%[a-z%]|\{\w*\}|</?\w[^>]*>")

language = pytest.mark.parametrize("language", sorted(QUOTES))


@cache
def catalogue(language):
    return polib.pofile(str(LOCALE / language / "LC_MESSAGES/django.po"), wrapwidth=0)


def texts(entry):
    """What it says in the other language, in each of its forms."""
    return list(entry.msgstr_plural.values()) or [entry.msgstr]


def ids(entries):
    return {(entry.msgctxt, entry.msgid, entry.msgid_plural) for entry in entries}


def test_every_language_is_one_that_django_knows():
    assert {folder.name for folder in LOCALE.iterdir()} == set(QUOTES)
    assert [get_language_info(to_language(name))["bidi"] for name in QUOTES] == [False] * len(QUOTES)


@language
def test_nothing_is_untranslated_or_in_doubt_or_left_over(language):
    found = catalogue(language)
    assert ids(found.untranslated_entries()) == set()
    assert ids(found.fuzzy_entries()) == set()
    assert ids(found.obsolete_entries()) == set()
    assert not found.metadata_is_fuzzy
    assert ids(entry for entry in found if entry.previous_msgid or entry.previous_msgid_plural) == set()
    assert found.metadata["Language"] == language


@language
def test_a_catalogue_says_whether_it_is_to_be_reviewed(language):
    assert ("To be reviewed" in catalogue(language).header) == (language in TO_BE_REVIEWED)


@language
def test_a_translation_has_the_placeholders_and_tags_of_its_original(language):
    wrong = [
        text
        for entry in catalogue(language)
        for text in texts(entry)
        if Counter(PLACEHOLDER.findall(text)) != Counter(PLACEHOLDER.findall(entry.msgid_plural or entry.msgid))
    ]
    assert wrong == []


@language
def test_every_plural_has_the_forms_of_its_language(language):
    found = catalogue(language)
    number, rule = re.fullmatch(r"nplurals=(\d); plural=(.+);", found.metadata["Plural-Forms"]).groups()
    form = gettext.c2py(rule)
    assert {count for count in ALL if form(count) == 0} == SINGULAR[language]
    forms = {tuple(entry.msgstr_plural) for entry in found if entry.msgid_plural}
    assert forms == {tuple(range(int(number)))}


@language
def test_the_typography_is_that_of_the_language(language):
    opening, closing = QUOTES[language]
    foreign = set("\"'“”„«»‹›‘") - {opening, closing}
    for entry in catalogue(language):
        for text in texts(entry):
            plain = PLACEHOLDER.sub("", re.sub("<code>.*?</code>", "", text))
            assert not foreign & set(plain), text
            assert plain.count(opening) == plain.count(closing), text
            assert text.endswith("…") == entry.msgid.endswith("…"), text
            assert "..." not in text, text


@pytest.mark.parametrize("mark", [":", ";", "?", "!", "»"])
def test_french_keeps_its_marks_on_the_line(mark):
    loose = [text for entry in catalogue("fr") for text in texts(entry) if f" {mark}" in text or "« " in text]
    assert loose == []


@language
def test_what_is_read_is_what_was_written(language):
    compiled = (LOCALE / language / "LC_MESSAGES/django.mo").read_bytes()
    meant, read = (messages(binary) for binary in (catalogue(language).to_binary(), compiled))
    assert read == meant


@language
def test_a_text_that_django_has_too_reads_as_it_does_there(language):
    """All catalogues of a project are one: another translation would show up on the pages of other apps."""
    theirs = {}
    for place in DJANGO_LOCALES:
        compiled = DJANGO / place / language / "LC_MESSAGES/django.mo"
        theirs |= messages(compiled.read_bytes())
    ours = messages(catalogue(language).to_binary())
    assert {key: text for key, text in ours.items() if key and theirs.get(key, text) != text} == {}


def messages(compiled):
    return gettext.GNUTranslations(io.BytesIO(compiled))._catalog


@pytest.mark.gettext
@pytest.mark.skipif(bool(missing_gettext()), reason=missing_gettext())
def test_the_catalogues_have_the_texts_of_the_source_and_no_others(tmp_path):
    source = tmp_path / "qorworker"
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("locale", "__pycache__"))
    (source / "locale").mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    # -P: the package has modules that are called like some of Python's.
    command = [sys.executable, "-P", "-m", "django", "makemessages", "--locale=en", "--no-location", "--no-wrap"]
    made = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True)
    assert (made.returncode, made.stderr) == (0, "")
    there = ids(polib.pofile(str(source / "locale/en/LC_MESSAGES/django.po")))
    for language in QUOTES:
        known = ids(catalogue(language))
        assert (there - known, known - there) == (set(), set())


def test_no_text_is_translated_inside_of_an_f_string():
    """There xgettext does not see it."""
    hidden = re.compile(r"\{\s*(_|n?p?gettext(_lazy)?)\(")
    assert [path.name for path in PACKAGE.rglob("*.py") if hidden.search(path.read_text())] == []


def test_quotes_on_pages_are_part_of_what_is_translated():
    """Each language has its own."""
    tags = re.compile(r"\{% blocktranslate\b.*?\{% endblocktranslate %\}|\{%.*?%\}", re.DOTALL)
    pages = sorted(PACKAGE.rglob("templates/**/*.html"))
    assert pages
    assert [page.name for page in pages if set("“”") & set(tags.sub("", page.read_text()))] == []
