"""Changing a job that waits, in a browser, as an operator does it."""

from __future__ import annotations

import pytest

from qorworker.models import Job
from tests.admin.conftest import types  # noqa: F401
from tests.admin.support import in_state, page_of, stored, user_with
from tests.browser import missing_browser
from tests.models.rows import claim_ids

pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())]


@pytest.fixture
def tea(page, types):  # noqa: F811
    user_with(
        "qorworker.view_job", "qorworker.view_job_arguments", "qorworker.run_job", "qorworker.reschedule_job",
        name="olga",
    )  # fmt: skip
    page.log_in("olga", "pw")
    return in_state(types["greet"], "scheduled", arguments=stored(types["greet"], subject="Tea"))


def test_an_operator_changes_what_it_is_given_and_when_it_starts(page, tea):
    page.open(page_of(tea))
    page.click("Change…")
    page.wait(lambda: "/update/" in page.driver.current_url, "the form")
    date, clock = (page.driver.find_element("name", name) for name in ("qw-at_0", "qw-at_1"))
    assert not date.is_displayed()
    page.driver.find_element("css selector", 'input[name="qw-when"][value="later"]').click()
    assert date.is_displayed()
    for box, text in ((date, "2099-01-02"), (clock, "09:00")):
        box.clear()
        box.send_keys(text)
    page.fill("Subject", "Coffee")
    page.click("Save")
    page.wait(lambda: "was saved." in page.text, "the message")
    assert "olga changed it: subject" in page.text
    made = Job.objects.get()
    assert (made.arguments["subject"], made.run_after.year) == ("Coffee", 2099)


def test_what_has_started_meanwhile_is_offered_as_a_new_run_with_what_was_typed(page, tea):
    page.open(page_of(tea, "update/"))
    page.fill("Subject", "Coffee")
    tea.run_now()
    assert claim_ids(names=[tea.name]) == [tea.pk]
    page.click("Save")
    page.wait(lambda: "It was already started at" in page.text, "the message")
    assert page.driver.find_element("name", "subject").get_attribute("value") == "Coffee"
    page.click("Run now")
    page.wait(lambda: "is queued" in page.text, "the new job")
    assert [made.arguments["subject"] for made in Job.objects.order_by("pk")] == ["Tea", "Coffee"]
