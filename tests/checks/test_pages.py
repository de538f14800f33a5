"""Hints lead to pages of the documentation that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.checks import Error, Warning

from qorworker import checks, conf
from qorworker.checks.pages import PAGES, with_pages
from qorworker.text import documentation
from tests.support import ROOT

pytestmark = pytest.mark.once

SEE = re.compile(r"""\bsee\(["']([\w/.#-]+)["']\)""")


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def mentioned() -> set[str]:
    """The pages that the code names."""
    sources = [path.read_text() for path in (ROOT / "qorworker").rglob("*.py")]
    return {page for source in sources for page in SEE.findall(source)} | set(PAGES.values())


def test_code_names_pages_and_headings_that_exist():
    assert len(mentioned()) > 15
    for mention in mentioned():
        page, _, anchor = mention.partition("#")
        assert not anchor or anchor in anchors(ROOT / documentation.PLACE / page), mention
        assert (ROOT / documentation.PLACE / page).is_file(), mention


def test_no_other_code_names_a_page():
    found = {
        f"{path.name}: {text}"
        for path in (ROOT / "qorworker").rglob("*.py")
        for text in re.findall(r"docs/[\w/]+\.md", path.read_text())
    }
    assert found == set()


def test_each_page_belongs_to_a_check_that_the_reference_has():
    reference = (ROOT / "docs/reference/checks.md").read_text()
    assert [name for name in PAGES if f"`{name}`" not in reference] == []


@pytest.mark.parametrize(
    ("hint", "shown"),
    [
        ("Do this.", "Do this. See docs/howto/uploads.md."),
        ("Do this", "Do this. See docs/howto/uploads.md."),
        (None, "See docs/howto/uploads.md."),
    ],
)
def test_a_hint_ends_with_the_page(hint, shown):
    (message,) = with_pages([Error("Wrong.", hint=hint, id="qorworker.E016")])
    assert message.hint == shown


def test_a_message_without_a_page_stays():
    (message,) = with_pages([Warning("Wrong.", hint="Do this.", id="qorworker.W001")])
    assert message.hint == "Do this."


def test_a_wrong_setting_is_corrected_in_the_settings_of_the_project(monkeypatch):
    monkeypatch.setattr(conf, "problems", lambda: ["QORWORKER has an unknown key."])
    (found,) = checks.check_settings()
    assert found.hint == "Correct it in tests.settings. See docs/reference/settings.md."
