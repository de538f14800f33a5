"""Longer words, and words from the right: no page gets wider than a narrow screen."""

from __future__ import annotations

import pytest

from tests.browser import missing_browser
from tests.browser.test_walk import addresses, screen, site, types  # noqa: F401

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
