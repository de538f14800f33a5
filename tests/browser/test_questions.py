"""Answering the question of a job, in a browser, with and without scripts."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import pytest

from qorworker import Arg, JobContext, job
from qorworker.models import Question
from qorworker.testing import run_job
from tests.admin.support import page_of, user_with
from tests.browser import missing_browser
from tests.browser.screen import SHOTS, Screen
from tests.job_types import own_types  # noqa: F401

pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())]


@pytest.fixture
def asking(page, own_types):  # noqa: F811
    """A job that waits for the answer of olga."""

    def publish(context: JobContext) -> str:
        context.add_results_row("TEA-01", "4.80", "5.04")
        answer = context.ask(
            "Publish 1,204 prices?",
            publish=Annotated[bool, Arg(help="The new prices are in the results.")],
            note=Annotated[str, Arg(max_length=200)],
            day=dt.date | None,
            expires=dt.timedelta(days=2),
            default={"publish": False},
        )
        return f"{answer.publish} {answer.note}"

    user_with("qorworker.view_job", "qorworker.view_job_log", "qorworker.run_job", "qorworker.abort_job", name="olga")
    page.log_in("olga", "pw")
    return run_job(job(name="test.publish", title="Publish prices")(publish)).job


def shoot(page, name):
    if not SHOTS:
        return
    screen = Screen(page.driver)
    for width in (1280, 360):
        for scheme in ("light", "dark"):
            screen.look(width, scheme)
            height = page.driver.execute_script("return document.documentElement.scrollHeight")
            metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            page.driver.save_screenshot(f"{SHOTS}/{name}-{width}-{scheme}.png")
    screen.reset()


def test_a_person_answers_on_the_page(page, asking):
    page.open(page_of(asking))
    assert "Publish 1,204 prices?" in page.text
    shoot(page, "question")
    page.driver.find_element("name", "publish").click()
    page.fill("Note", "Checked by two of us.")
    page.click("Answer")
    page.wait(lambda: "Your answer was saved." in page.text, "the message")
    assert Question.objects.get().answer == {"publish": True, "note": "Checked by two of us.", "day": None}
    asking.refresh_from_db()
    assert run_job(asking).result == "True Checked by two of us."
    page.open(page_of(asking))
    assert "olga answered its question" in page.text
    shoot(page, "answered")


def test_a_person_declines_without_scripts(page, asking):
    with Screen(page.driver).without_script():
        page.open(page_of(asking))
        page.driver.find_element("css selector", ".qw-decline summary").click()
        page.driver.find_element("name", "qw-reason").send_keys("Not before Monday.")
        page.driver.find_element("name", "qw-decline").click()
        page.wait(lambda: "You have declined to answer." in page.text, "the message")
    assert Question.objects.get().reason == "Not before Monday."


def test_what_was_typed_is_there_after_an_error(page, asking):
    page.open(page_of(asking))
    page.driver.find_element("name", "day").send_keys("tomorrow")
    page.fill("Note", "kept")
    page.click("Answer")
    page.wait(lambda: "Enter a valid date." in page.text, "the error")
    assert page.driver.find_element("name", "note").get_attribute("value") == "kept"
    shoot(page, "wrong")


def test_the_tab_of_the_list_leads_to_the_question(page, asking):
    page.open("/admin/qorworker/job/?tab=asking")
    shoot(page, "list")
    page.click("Publish 1,204 prices?")
    page.wait(lambda: "#questions" in page.driver.current_url, "the page of the job")
