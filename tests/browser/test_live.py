"""What has changed is shown without a reload, in a browser, on every page that asks for it; what is in use waits."""

from __future__ import annotations

import pytest
from django.urls import reverse
from selenium.webdriver.common.by import By

from qorworker.actions.pausing import pause_queue
from qorworker.models import Job, Worker
from tests.admin.conftest import types  # noqa: F401
from tests.admin.support import BASE, a_worker, in_state, make_job, page_of, superuser
from tests.browser import missing_browser

pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())]
QUEUES, WORKERS = (reverse(f"admin:qorworker_{kind}_changelist") for kind in ("queue", "worker"))


@pytest.fixture
def site(page, types):  # noqa: F811
    """The browser, signed in; open pages look for news every second."""
    superuser()
    page.log_in("root", "pw")
    page.driver.execute_script("localStorage.clear(); localStorage.setItem('qorworker.pace', '1')")
    return page


def one(site, selector):
    return site.driver.find_element(By.CSS_SELECTOR, selector)


def focus(site, selector):
    site.driver.execute_script("document.querySelector(arguments[0]).focus()", selector)


def focused(site):
    return site.driver.switch_to.active_element


def seen(site, number):
    """Wait until the page has asked this often."""
    site.driver.execute_script("""
        window.seen = 0;
        const fetched = window.fetch;
        window.fetch = async (...given) => { const answer = await fetched(...given); window.seen += 1; return answer; };
    """)
    site.wait(lambda: site.driver.execute_script("return window.seen") > number, f"{number} answers")


def test_the_cards_of_workers_follow(site):
    worker = a_worker()
    site.open(WORKERS)
    site.mark()
    assert "Pausing…" not in site.text
    worker.pause()
    site.wait(lambda: "Pausing…" in site.text, "the request")
    assert site.is_marked


def test_a_form_that_is_open_on_a_card_stays_and_the_news_come_once_it_is_closed(site):
    worker = a_worker()
    site.open(WORKERS)
    one(site, ".qw-requests details summary").click()
    one(site, ".qw-requests details[open] input[name=reason]").send_keys("upda")
    Worker.objects.filter(pk=worker.pk).update(version="9.9.9")
    seen(site, 1)
    assert "9.9.9" not in site.text
    one(site, ".qw-requests details[open] input[name=reason]").send_keys("te")
    assert one(site, ".qw-requests details[open] input[name=reason]").get_attribute("value") == "update"
    one(site, ".qw-requests details[open] summary").click()
    site.wait(lambda: "9.9.9" in site.text, "the news")


def test_the_focus_stays_with_the_button_of_its_own_worker(site):
    a_worker()
    second = a_worker()
    site.open(WORKERS)
    drain = f'form[action$="/{second.pk}/drain/"]'
    site.driver.execute_script("document.querySelector(arguments[0]).closest('details').children[0].focus()", drain)
    Worker.objects.update(version="9.9.9")
    site.wait(lambda: "9.9.9" in site.text, "the news")
    assert focused(site).text == "Drain…"
    # By one look: other news may replace the card between two.
    has_it = "return document.querySelector(arguments[0]).closest('details').contains(document.activeElement)"
    assert site.driver.execute_script(has_it, drain)


def test_the_table_of_queues_follows_and_counts_on_top_too(site, types):  # noqa: F811
    site.open(QUEUES)
    site.mark()
    pause_queue("default", reason="moving house")
    in_state(types["open"], "running")
    site.wait(lambda: "moving house" in site.text and "1 running" in site.text, "the pause and the count")
    assert site.is_marked


def test_a_row_that_was_deleted_is_marked_as_deleted(site, types):  # noqa: F811
    kept, deleted = make_job(types["open"]), make_job(types["greet"])
    site.open(BASE)
    number = deleted.pk
    deleted.delete()
    site.wait(lambda: one(site, f"#qw-{number}").get_attribute("title") == "Deleted", "the mark")
    assert one(site, f"#qw-{kept.pk}").get_attribute("title") == ""


def test_a_cell_in_which_text_is_marked_waits_and_the_others_do_not(site, types):  # noqa: F811
    job, other = in_state(types["open"], "running", progress=10), in_state(types["open"], "running", progress=20)
    site.open(BASE)
    cell = f"#qw-{job.pk}-status"
    mark = "getSelection().selectAllChildren(document.querySelector(arguments[0]))"
    site.driver.execute_script(mark, cell)
    Job.objects.filter(pk=job.pk).update(progress=70)
    Job.objects.filter(pk=other.pk).update(progress=80)
    site.wait(lambda: "80 %" in site.text, "the other row")
    assert "10 %" in one(site, cell).text
    site.driver.execute_script("getSelection().removeAllRanges()")
    site.wait(lambda: "70 %" in one(site, cell).text, "the row")


def test_the_end_of_a_job_is_shown_after_the_field_that_was_typed_into_is_left(site, types):  # noqa: F811
    job = make_job(types["greet"], "scheduled")
    site.open(page_of(job))
    one(site, "#id_qw-at_0").send_keys("5")
    Job.objects.filter(pk=job.pk).update(status="cancelled")
    site.wait(lambda: "Cancelled" in site.text, "the header")
    assert one(site, "#id_qw-at_0").get_attribute("value").endswith("5")
    focus(site, "#qw-header")
    site.wait(lambda: not site.driver.find_elements(By.ID, "id_qw-at_0"), "the form to go")
    site.wait(lambda: not one(site, "#qw-live").is_displayed(), "the last question")


def test_the_preview_of_a_schedule_follows_what_is_chosen(site):
    site.open(f"{reverse('admin:qorworker_schedule_add')}?job=tests.greet")
    site.mark()
    site.driver.find_element(By.CSS_SELECTOR, 'input[name="qw-shape"][value="cron"]').click()
    field = site.driver.find_element(By.NAME, "qw-expression")
    field.clear()
    field.send_keys("30 4 * * 1")
    site.wait(lambda: "Monday" in one(site, "#qw-preview").text, "the preview")
    assert "04:30" in one(site, "#qw-preview").text
    assert site.is_marked
