"""A site on the test database, a real worker beside it, and Chromium in front of it."""

from __future__ import annotations

import pytest

from tests.browser import CHROMIUM, DRIVER, csp, program
from tests.browser.page import Page
from tests.browser.screen import Screen
from tests.support import running_worker

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,1000",
    "--lang=en",
)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = program(*CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(program(*DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture
def page(chromium, live_server):
    """The browser, logged out; a script error on any page fails the test."""
    chromium.delete_all_cookies()
    csp.reports.clear()
    yield Page(chromium, live_server.url)
    chromium.get("about:blank")  # no page of a test asks the site of the next one
    assert csp.reports == []
    errors = [entry["message"] for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]
    assert [message for message in errors if not is_expected(message)] == []


@pytest.fixture
def screen(page):
    """How the pages look; it is as before after the test."""
    screen = Screen(page.driver)
    yield screen
    screen.reset()


def is_expected(message: str) -> bool:
    """Whether it says only that a page answered 403 or 404; a script or style that does is no such page."""
    return "favicon" in message or ("/admin/" in message and "/static/" not in message and "responded with" in message)


@pytest.fixture
def worker(live_server, tmp_path):
    """A ``runworker`` on the test database."""
    with running_worker(folder=tmp_path) as worker:
        yield worker
        assert worker.stop() == 0, worker.said
