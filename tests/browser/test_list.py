"""The list and what all pages have in common, in a browser: rows stay live, selection stays, keys lead somewhere."""

from __future__ import annotations

import pytest
from django.contrib.sessions.models import Session
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from qorworker.models import Job
from tests.admin.conftest import types  # noqa: F401
from tests.admin.support import BASE, a_worker, in_state, make_job, superuser
from tests.browser import missing_browser
from tests.browser.screen import Screen

pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())]


@pytest.fixture
def site(page, types):  # noqa: F811
    """The browser, signed in, with what it remembers forgotten; the list looks for news every second."""
    a_worker()
    superuser()
    page.log_in("root", "pw")
    page.driver.execute_script("localStorage.clear(); localStorage.setItem('qorworker.pace', '1')")
    return page


def one(site, selector):
    return site.driver.find_element(By.CSS_SELECTOR, selector)


def press(site, keys):
    one(site, "body").send_keys(keys)


def test_the_first_row_stands_near_the_top(site, types):  # noqa: F811
    in_state(types["open"], "done")
    screen = Screen(site.driver)
    screen.look(1280, "light")
    site.open(BASE)
    top, first = (one(site, place).rect["y"] for place in ("#content", "#result_list tbody tr"))
    screen.reset()
    assert first - top <= 255  # 250 by the design; fonts differ


def test_rows_change_without_a_reload_and_what_is_selected_and_focused_stays(site, types):  # noqa: F811
    job, other = in_state(types["open"], "running", progress=10), in_state(types["open"], "new")
    site.open(BASE)
    site.mark()
    box = one(site, f'input.action-select[value="{job.pk}"]')
    box.click()
    link = site.driver.find_element(By.LINK_TEXT, f"#{job.pk}")
    site.driver.execute_script("arguments[0].focus()", link)
    Job.objects.filter(pk=job.pk).update(progress=70)
    Job.objects.filter(pk=other.pk).update(status="cancelled")
    site.wait(lambda: "70 %" in site.text and "Cancelled" in site.text, "both rows to change")
    assert site.is_marked
    assert box.is_selected()
    assert site.driver.switch_to.active_element == link
    assert one(site, "#qw-count-queued").text == "0"


def test_newer_jobs_are_told_and_shown_only_on_demand(site, types):  # noqa: F811
    make_job(types["open"])
    site.open(BASE)
    assert "newer job" not in site.text
    new = make_job(types["greet"])
    site.wait(lambda: "1 newer job" in site.text, "the new job to be told")
    assert f"#{new.pk}" not in site.text
    site.click("Show")
    site.wait(lambda: f"#{new.pk}" in site.text, "the new job")


def test_an_empty_list_tells_of_the_first_job(site, types):  # noqa: F811
    site.open(BASE + "?tab=queued")
    assert "No job is waiting for a worker." in site.text
    make_job(types["open"])
    site.wait(lambda: "1 newer job" in site.text, "the first job to be told")


def test_live_updates_can_be_switched_off_and_the_browser_remembers_that(site, types):  # noqa: F811
    job = make_job(types["open"])
    site.open(BASE)
    site.wait(lambda: one(site, "#qw-live").is_displayed(), "the control")
    press(site, "l")
    assert one(site, "#qw-live select").get_attribute("value") == "0"
    site.open(BASE)
    assert one(site, "#qw-live select").get_attribute("value") == "0"
    Job.objects.filter(pk=job.pk).update(status="cancelled")
    press(site, "r")  # but one look can be asked for
    site.wait(lambda: "Cancelled" in site.text, "the row to change")
    press(site, "l")
    assert one(site, "#qw-live select").get_attribute("value") == "1"


def test_who_was_signed_out_is_told_and_can_sign_in_again(site, types):  # noqa: F811
    make_job(types["open"])
    site.open(BASE)
    Session.objects.all().delete()
    site.wait(lambda: "You were signed out." in site.text, "the line under the navigation")
    site.click("Sign in again")
    site.wait(lambda: "/login/" in site.driver.current_url, "the login")
    site.driver.get_log("browser")  # the refusal itself is logged there


def test_keys_lead_to_places_and_the_help_tells_them(site, types):  # noqa: F811
    site.open(BASE)
    press(site, "?")
    assert one(site, "#qw-shortcuts").is_displayed()
    told = one(site, "#qw-shortcuts table").text
    assert all(text in told for text in ("Search", "Run a job", "Workers", "Refresh now"))
    press(site, Keys.ESCAPE)
    assert not one(site, "#qw-shortcuts").is_displayed()
    press(site, "gc")
    site.wait(lambda: "/catalogue/" in site.driver.current_url, "the catalogue")
    press(site, "gj")
    site.wait(lambda: site.driver.current_url.endswith(BASE), "the list")


def test_keys_are_text_where_one_types_and_nothing_once_switched_off(site, types):  # noqa: F811
    site.open(BASE)
    press(site, "/")
    field = site.driver.switch_to.active_element
    assert field.get_attribute("id") == "searchbar"
    field.send_keys("gc?")
    assert field.get_attribute("value") == "gc?"
    assert not one(site, "#qw-shortcuts").is_displayed()
    one(site, "#qw-help").click()
    one(site, "#qw-shortcuts input").click()
    site.click("Close")
    site.open(BASE)
    press(site, "?")
    assert not one(site, "#qw-shortcuts").is_displayed()
    assert one(site, "#qw-help").is_displayed()


@pytest.mark.parametrize("tab", ["all", "failed", "queued"])
def test_a_narrow_screen_does_not_scroll_sideways(site, types, tab):  # noqa: F811
    for state in ("exception", "new", "running"):
        in_state(types["open"], state, error="A very long error that goes on " * 9)
    site.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    try:
        site.open(f"{BASE}?tab={tab}")
        width = site.driver.execute_script("return document.documentElement.scrollWidth")
    finally:
        site.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert width <= 360


def test_while_the_server_does_not_answer_that_is_told_with_a_way_to_ask_again(site, types):  # noqa: F811
    make_job(types["open"])
    site.open(BASE)
    site.driver.execute_script("window.answering = window.fetch; window.fetch = () => Promise.reject(new Error())")
    site.wait(lambda: "Updates paused" in site.text, "the line that tells of it")
    new = make_job(types["greet"])
    site.driver.execute_script("window.fetch = window.answering")
    site.click("Retry now")
    site.wait(lambda: "1 newer job" in site.text, f"job {new.pk} to be told")
    assert "Updates paused" not in site.text


def test_nothing_is_asked_while_the_tab_is_hidden_and_at_once_when_it_is_seen_again(site, types):  # noqa: F811
    make_job(types["open"])
    site.open(BASE)
    site.driver.execute_script("""
        window.asked = 0;
        const fetched = window.fetch;
        window.fetch = (...given) => { window.asked += 1; return fetched(...given); };
        window.isHidden = false;
        Object.defineProperty(document, "hidden", { get: () => window.isHidden });
    """)
    site.wait(lambda: site.driver.execute_script("return window.asked") >= 1, "a first look")
    site.driver.execute_script("window.isHidden = true")
    # At most the look that was under way is finished; no other is begun.
    done = "const seen = window.asked; setTimeout(() => arguments[0](window.asked - seen), 2500)"
    assert site.driver.execute_async_script(done) <= 1
    seen = site.driver.execute_script("return window.asked")
    site.driver.execute_script("window.isHidden = false; document.dispatchEvent(new Event('visibilitychange'))")
    site.wait(lambda: site.driver.execute_script("return window.asked") > seen, "a look at once")


def test_an_empty_tab_does_not_deny_the_newer_job_that_it_tells_of(site, types):  # noqa: F811
    job = make_job(types["open"])
    site.open(BASE + "?tab=running")
    assert "No job is running" in site.text
    Job.objects.filter(pk=job.pk).update(status="running", attempt_token="t" * 32)
    site.wait(lambda: "1 newer job" in site.text, "the job to be told")
    assert "No job is running" not in site.text


def test_the_tab_that_is_open_is_on_a_narrow_screen(site, types):  # noqa: F811
    in_state(types["open"], "exception")
    screen = Screen(site.driver)
    screen.look(360, "light")
    try:
        for tab in ("all", "failed", "scheduled"):
            site.open(f"{BASE}?tab={tab}")
            box = one(site, ".qw-tabs [aria-current]").rect
            assert box["x"] >= 0, tab
            assert box["x"] + box["width"] <= 360, tab
    finally:
        screen.reset()
