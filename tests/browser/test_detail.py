"""A job's page in a browser: what its script does while news come, and what it leaves alone."""

from __future__ import annotations

import pytest
from django.utils import timezone
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from qorworker.models import AuditEntry, Job, LogLine, ResultsRow
from qorworker.queries import job_details
from tests.admin.conftest import types  # noqa: F401
from tests.admin.support import LONG_AGO, make_job, page_of, superuser
from tests.browser import missing_browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(bool(missing_browser()), reason=missing_browser()),
    pytest.mark.usefixtures("types"),
]


@pytest.fixture
def job(page, types):  # noqa: F811
    """Running, with 200 lines of which every fiftieth is an error, in front of somebody who may do everything."""
    superuser()
    job = make_job(types["greet"], "running", progress=10)
    say(job, 200)
    page.log_in("root", "pw")
    return job


def say(job, count):
    start = Job.objects.get(pk=job.pk).log_lines
    LogLine.objects.bulk_create(
        LogLine(job=job, number=n, attempt=1, at=job.enqueued_at, level=40 if n % 50 == 0 else 20, text=f"line no. {n}")
        for n in range(start + 1, start + count + 1)
    )
    Job.objects.filter(pk=job.pk).update(log_lines=start + count)


def script(page, code):
    return page.driver.execute_script(f"const log = document.querySelector('#qw-lines'); return {code}")


def is_at_end(page):
    return script(page, "log.scrollHeight - log.scrollTop - log.clientHeight < 24")


def more(page):
    return page.driver.find_element(By.ID, "qw-more")


def press(page, key):
    ActionChains(page.driver).send_keys(key).perform()


def test_the_log_follows_until_somebody_scrolls_up_and_then_counts(page, job):
    page.open(page_of(job))
    assert is_at_end(page)
    say(job, 30)
    page.wait(lambda: "line no. 230" in page.text, "the new lines")
    assert is_at_end(page)
    assert not more(page).is_displayed()
    script(page, "log.scrollTop = 0")
    page.wait(lambda: not page.driver.find_element(By.ID, "qw-follow").is_selected(), "following to end")
    say(job, 7)
    page.wait(lambda: more(page).is_displayed(), "the number of new lines")
    assert more(page).text == "New lines: 7 ↓"
    assert script(page, "log.scrollTop") == 0
    more(page).click()
    page.wait(lambda: is_at_end(page) and not more(page).is_displayed(), "the end of the log")
    assert page.driver.find_element(By.ID, "qw-follow").is_selected()


def test_keys_follow_wrap_and_go_from_error_to_error(page, job):
    page.open(page_of(job))
    press(page, "f")
    assert not page.driver.find_element(By.ID, "qw-follow").is_selected()
    press(page, "w")
    assert "qw-unwrapped" in script(page, "log.className")
    for line in ("L50", "L100"):
        press(page, "e")
        assert script(page, "document.activeElement.parentNode.id") == line
    page.driver.find_element(By.NAME, "find").send_keys("few")
    assert page.driver.find_element(By.NAME, "find").get_attribute("value") == "few"


def test_a_link_to_a_line_that_is_not_on_the_page_finds_it(page, job):
    say(job, job_details.LOG_LINES)
    page.open(page_of(job) + "#L5")
    page.wait(lambda: page.driver.find_elements(By.ID, "L5"), "the line")
    assert "before=" in page.driver.current_url


def test_a_match_leads_to_its_place_among_the_other_lines(page, job):
    page.open(page_of(job) + "?find=no.+150")
    assert script(page, "log.childElementCount") == 1
    page.driver.find_element(By.CSS_SELECTOR, "#L150 a").click()
    page.wait(lambda: script(page, "log.childElementCount") > 1, "the lines around it")
    assert script(page, "document.querySelector(':target').id") == "L150"


def test_what_somebody_marks_is_left_alone_until_it_is_not_marked_any_more(page, job):
    page.open(page_of(job))
    page.driver.execute_script("getSelection().selectAllChildren(document.querySelector('#qw-header .qw-status'))")
    Job.objects.filter(pk=job.pk).update(progress=77)
    say(job, 1)
    page.wait(lambda: "line no. 201" in page.text, "the log")
    assert page.progress == 10
    page.driver.execute_script("getSelection().removeAllRanges()")
    page.wait(lambda: page.progress == 77, "the progress")


def test_an_abort_asks_in_a_dialog_for_a_reason_and_puts_the_focus_on_the_status(page, job):
    page.open(page_of(job))
    assert not page.driver.find_element(By.NAME, "reason").is_displayed()
    page.click("Abort…")
    dialog = page.driver.find_element(By.CSS_SELECTOR, "dialog.qw-dialog[open]")
    assert "What it has already changed stays changed." in dialog.text
    dialog.find_element(By.NAME, "reason").send_keys("wrong file")
    dialog.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
    page.wait(lambda: "root asked it to stop" in page.text, "the page to tell of it")
    assert "“wrong file”" in page.text
    assert AuditEntry.objects.get().details == {"reason": "wrong file"}
    assert page.driver.switch_to.active_element.get_attribute("id") == "qw-header"


def test_a_job_that_stops_responding_can_be_marked_as_failed_without_a_reload_and_says_what_that_risks(page, job):
    page.open(page_of(job))
    page.mark()
    assert "Mark as failed" not in page.text
    Job.objects.filter(pk=job.pk).update(lease_expires_at=timezone.now() - LONG_AGO)
    page.wait(lambda: "Mark as failed…" in page.text, "the button")
    assert page.is_marked
    page.click("Mark as failed…")
    dialog = page.driver.find_element(By.CSS_SELECTOR, "dialog.qw-dialog[open]")
    assert f"Mark Send greetings #{job.pk} as failed?" in dialog.text
    assert "it continues until its worker notices" in dialog.text
    dialog.find_element(By.NAME, "reason").send_keys("power cut")
    dialog.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
    page.wait(lambda: "Marked as failed by root" in page.text, "the page to tell of it")
    assert AuditEntry.objects.get().details == {"reason": "power cut"}
    assert page.driver.switch_to.active_element.get_attribute("id") == "qw-header"


def test_results_are_copied_as_a_table_without_formulas(page, types):  # noqa: F811
    superuser()
    job = make_job(types["greet"], "done", results_rows=1)
    values = ["=1+1", '"=1+1', "\uff1d1+1", "a=1"]
    cells = [*({"value": value, "error": ""} for value in values), {"value": -3, "error": "negative"}]
    ResultsRow.objects.create(job=job, number=1, attempt=1, cells=cells)
    page.log_in("root", "pw")
    page.open(page_of(job))
    allowed = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"], "origin": page.site}
    page.driver.execute_cdp_cmd("Browser.grantPermissions", allowed)
    section = page.driver.find_element(By.ID, "results")
    section.find_element(By.CSS_SELECTOR, "[data-qw-copy]").click()
    page.wait(lambda: "Copied" in section.text, "the copy")
    copied = page.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert copied.splitlines() == ["Row\t1\t2\t3\t4\t5", "1\t'=1+1\t'\"=1+1\t'\uff1d1+1\ta=1\t-3\tnegative"]


def test_the_end_is_shown_with_its_buttons_without_a_reload(page, job):
    page.open(page_of(job))
    page.mark()
    Job.objects.filter(pk=job.pk).update(
        status="exception", attempt_token=None, lease_expires_at=None, error="KeyError: 'sku'", progress=31
    )
    page.wait(lambda: "Retry" in page.text, "the button")
    assert "KeyError: 'sku'" in page.text
    assert page.is_marked
    assert page.progress == 31


def end(job, status):
    Job.objects.filter(pk=job.pk).update(status=status, attempt_token=None, lease_expires_at=None)


def test_buttons_of_a_job_that_has_ended_go_also_if_one_has_the_focus(page, job):
    page.open(page_of(job))
    page.driver.execute_script("document.querySelector('#qw-actions button').focus()")
    assert page.driver.switch_to.active_element.text == "Abort…"
    end(job, "done")
    page.wait(lambda: "Abort…" not in page.text, "the button to go")
    assert page.driver.switch_to.active_element.get_attribute("id") == "qw-header"


def test_the_focus_stays_on_a_button_that_is_still_there(page, job):
    page.open(page_of(job))
    link = "All runs"
    page.driver.execute_script("document.querySelector('#qw-actions a[href*=\"?job=\"]').focus()")
    assert page.driver.switch_to.active_element.text == link
    end(job, "done")
    page.wait(lambda: "Abort…" not in page.text, "the end")
    assert page.driver.switch_to.active_element.text == link


def test_what_is_typed_into_a_form_stays_when_the_job_changes(page, types):  # noqa: F811
    superuser()
    job = make_job(types["greet"], "scheduled", progress_text="waits")
    page.log_in("root", "pw")
    page.open(page_of(job))
    page.driver.find_element(By.ID, "id_qw-at_0").send_keys("5")
    Job.objects.filter(pk=job.pk).update(status="new", progress_text="waits no more")
    page.wait(lambda: "waits no more" in page.text, "the news")
    assert page.driver.find_element(By.ID, "id_qw-at_0").get_attribute("value").endswith("5")


def test_the_number_of_running_jobs_on_top_follows(page, job):
    page.open(page_of(job))
    assert "1 running" in page.text
    end(job, "done")
    page.wait(lambda: "1 running" not in page.text, "the number to go")


@pytest.mark.parametrize(("status", "is_end"), [("exception", True), ("killed", True), ("done", False)])
def test_the_log_of_a_job_that_failed_is_shown_at_its_end(page, job, status, is_end):
    end(job, status)
    page.open(page_of(job))
    assert is_at_end(page) is is_end
    assert (script(page, "log.scrollTop") == 0) is not is_end
