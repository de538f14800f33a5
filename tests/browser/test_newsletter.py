from __future__ import annotations

import pytest

from example_project.demo import data
from example_project.newsletter.models import Subscriber
from qorworker.models import Job
from tests.browser import missing_browser

pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())]


@pytest.fixture
def admin(page):
    """The browser, with the administrator logged in and a few subscribers to write to."""
    data.make_users()
    data.make_rows()
    page.log_in("admin", "admin")
    return page


def start_newsletter(page, pause: str) -> Job:
    page.open("/admin/qorworker/job/catalogue/")
    page.click("Send newsletter")
    page.fill("Subject", "Tea")
    page.fill("Content", "It is ready.")
    page.fill("Send password", "letters")
    page.fill("Pause", pause)
    page.click("Run now")
    page.wait(lambda: Job.objects.exists(), "the job to be stored")
    return Job.objects.get()


def test_the_newsletter_is_run_and_its_progress_moves_without_a_reload(admin, worker):
    job = start_newsletter(admin, pause="0.3")
    admin.wait(lambda: f"#{job.pk}" in admin.text, "the page of the job")
    admin.mark()
    seen = set()

    def is_done() -> bool:
        seen.add(admin.progress)
        return "Done" in admin.text

    admin.wait(is_done, "Done")
    assert len(seen - {None, 0, 100}) >= 2
    assert admin.is_marked
    admin.wait(lambda: "Finished sending" in admin.text, "the last line of the log")
    assert f"Sent to {Subscriber.objects.first()}" in admin.text
    assert "letters" not in admin.driver.page_source
    job.refresh_from_db()
    assert job.status == "done"


def test_a_running_newsletter_is_aborted(admin, worker):
    job = start_newsletter(admin, pause="1")
    admin.wait(lambda: (admin.progress or 0) > 0, "progress")
    admin.click("Abort…")
    admin.click("Abort")
    admin.wait(lambda: "Aborted" in admin.text, "Aborted")
    # Its password was erased when it ended, so it can only be run again with a new one.
    admin.wait(lambda: "Run again with changes…" in admin.text, "the offer to run it again")
    assert "Retry" not in admin.text
    job.refresh_from_db()
    assert job.status == "killed"
    assert job.progress < 100


def test_the_operator_is_offered_the_import_but_not_the_newsletter(page):
    data.make_users()
    page.log_in("operator", "operator")
    page.open("/admin/qorworker/job/catalogue/")
    assert page.driver.find_elements("link text", "Import products")
    assert not page.driver.find_elements("link text", "Send newsletter")
