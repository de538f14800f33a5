"""The dashboard in a browser: its charts with the keyboard, without script, and as it refreshes itself."""

from __future__ import annotations

import datetime as dt

import pytest
from selenium.webdriver.common.by import By

from qorworker.actions.summarising import summarise
from qorworker.models import Outcome, database_now
from tests.admin.conftest import types  # noqa: F401
from tests.admin.support import BASE, a_worker, make_job, superuser
from tests.browser import missing_browser
from tests.browser.screen import missing_axe
from tests.models.rows import ended

pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())]

BOARD = BASE.replace("job/", "")
LOOKS = [(1280, "light"), (1280, "dark"), (360, "light")]


@pytest.fixture
def site(page, types):  # noqa: F811
    """Jobs that ended over a day, one with a very long name; a superuser is signed in."""
    a_worker()
    superuser()
    now = database_now("default")
    for hours in range(24):
        at = now - dt.timedelta(hours=hours)
        for outcome in (Outcome.DONE, Outcome.FAILED, Outcome.ABORTED):
            ended(outcome, name="tests.open", at=at, ran=0.1 * 3**hours, error="app.Trouble" * (outcome == "failed"))
    ended(Outcome.FAILED, name="tests.gone" + "x" * 150, error="app." + "Error" * 30)
    summarise("default")
    page.log_in("root", "pw")
    page.driver.execute_script("localStorage.clear()")
    return page


@pytest.mark.skipif(bool(missing_axe()), reason=missing_axe())
def test_no_look_has_a_fault_of_accessibility_or_is_too_wide(site, screen):
    found = []
    for path in (BOARD, BOARD + "?range=30d", BASE + "failures/"):
        site.open(path)
        for width, scheme in LOOKS:
            screen.look(width, scheme)
            found += [f"{path} {width} {scheme}: {what}" for what in (*screen.violations(), *screen.overflow())]
    assert found == []


def test_each_bar_can_be_reached_says_its_values_and_leads_to_its_jobs(site):
    site.open(BOARD)
    (bar, *_others) = site.driver.find_elements(By.CSS_SELECTOR, "[aria-labelledby=qw-ends] svg a")[::-1]
    site.driver.execute_script("arguments[0].focus()", bar)
    assert site.driver.execute_script("return document.activeElement === arguments[0]", bar)
    assert "Done: 1" in bar.get_attribute("aria-label")
    bar.send_keys("\n")
    site.wait(lambda: "on=finished" in site.driver.current_url, "the list")


def test_without_script_it_shows_all_and_the_form_works(site, screen):
    with screen.without_script():
        site.open(BOARD)
        assert site.driver.find_elements(By.CSS_SELECTOR, "[aria-labelledby=qw-ends] svg a")
        site.driver.find_element(By.CSS_SELECTOR, "[aria-labelledby=qw-ends] summary").click()
        site.wait(lambda: "Cancelled" in site.text, "the table")
        site.click("Apply")
        site.wait(lambda: "Ended jobs" in site.text, "the page")


def test_it_refreshes_itself(site):
    site.driver.execute_script("localStorage.setItem('qorworker.pace', '1')")
    site.open(BOARD)
    site.mark()
    site.wait(lambda: "0 queued" in site.text, "the figures")
    make_job("tests.open", "new")
    site.wait(lambda: "1 queued" in site.text, "the news")
    assert site.is_marked
