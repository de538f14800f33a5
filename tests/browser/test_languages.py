"""Longer words, and words from the right: no page gets wider than a narrow screen."""

from __future__ import annotations

import pytest

from qorworker import pause_queue
from tests.admin.support import in_state, page_of, stored, superuser
from tests.browser import missing_browser
from tests.browser.test_walk import addresses, site, types  # noqa: F401

pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())]


@pytest.mark.parametrize("code", ["de", "fr", "ar"])
def test_no_page_scrolls_sideways_in_another_language(site, page, screen, settings, code):  # noqa: F811
    settings.LANGUAGE_CODE = code
    found = []
    for name, url in addresses(site).items():
        page.open(url)
        assert page.driver.find_element("tag name", "html").get_attribute("lang") == code
        screen.look(360, "light")
        screen.shoot(f"{name}-360-{code}")
        found += [f"{name}: {what}" for what in screen.overflow()]
    assert found == []


# The text of an element as it is seen, from the left to the right of its first line.
SEEN = """
    const places = [];
    const walker = document.createTreeWalker(arguments[0], NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        [...walker.currentNode.data].forEach((char, at) => {
            if ("\\u2068\\u2069".includes(char)) return; // they have no width
            const range = document.createRange();
            range.setStart(walker.currentNode, at);
            range.setEnd(walker.currentNode, at + 1);
            places.push([range.getBoundingClientRect().left, char]);
        });
    }
    return places.sort((a, b) => a[0] - b[0]).map(([, char]) => char).join("");
"""


def sign_in(page):
    """By the names of the fields, whose labels are in another language."""
    page.open("/admin/login/?next=/admin/")
    for name, text in (("username", "root"), ("password", "pw")):
        page.driver.find_element("name", name).send_keys(text)
    page.driver.find_element("css selector", "#login-form [type=submit]").click()
    page.wait(lambda: "/login/" not in page.driver.current_url, "the login to be accepted")


@pytest.fixture
def arabic(page, types, settings):  # noqa: F811
    """A running job whose values could be taken for punctuation of a page that runs from the right."""
    settings.LANGUAGE_CODE = "ar"
    superuser()
    arguments = stored(types["greet"], subject="Hello <b>world</b>")
    job = in_state(types["greet"], "running", arguments=arguments, progress_text="(tea) at 5!")
    pause_queue("reports", reason="Out of paper (A4)!")
    sign_in(page)
    return job


def test_values_on_a_page_from_the_right_read_as_they_were_written(page, arabic):
    page.open(page_of(arabic))

    def seen(selector):
        found = page.driver.find_elements("css selector", selector)
        return [" ".join(page.driver.execute_script(SEEN, one).split()) for one in found]

    assert "Hello <b>world</b>" in seen(".qw-arguments .qw-value")
    assert seen(".qw-text") == ["(tea) at 5!"]
    assert "1 of 1" in seen(".qw-facts dd")
    assert [text for text in seen(".qw-note p") if "Out of paper (A4)!" in text]


def test_texts_of_a_page_from_the_right_begin_at_its_right(page, arabic):
    page.open(page_of(arabic))
    assert page.driver.execute_script("""
        return [...document.querySelectorAll(".qw-top h1, .qw-card h2, .qw-facts dd")].every((element) => {
            const range = document.createRange();
            range.selectNodeContents(element);
            const [text, box] = [range, element].map((one) => one.getBoundingClientRect());
            return Math.abs(text.right - box.right) < 3;
        });
    """)
