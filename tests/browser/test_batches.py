"""The page of a batch in a browser: it moves by itself, and its picture has links."""

from __future__ import annotations

import pytest
from django.urls import reverse

from qorworker.models import Batch, Job
from tests.admin.conftest import types  # noqa: F401
from tests.admin.support import a_worker, make_job, page_of, superuser
from tests.browser import missing_browser

pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())]


@pytest.fixture
def site(page, types):  # noqa: F811
    a_worker()
    superuser()
    page.log_in("root", "pw")
    page.driver.execute_script("localStorage.clear(); localStorage.setItem('qorworker.pace', '1')")
    return page


def test_the_page_of_a_batch_moves_by_itself(site, types):  # noqa: F811
    spawner, then, otherwise = (make_job(types["greet"], status) for status in ("done", "scheduled", "scheduled"))
    batch = Batch.objects.create(
        title="Spring mailing", created_at=then.enqueued_at, total=4, names=["tests.open"], then=then,
        otherwise=otherwise, spawned_by=spawner, spawn_key="x",
    )  # fmt: skip
    Job.objects.filter(pk__in=[then.pk, otherwise.pk]).update(callback_of=batch, waits_for_jobs=True)
    for status in ("done", "running", "exception", "new"):
        make_job(types["open"], status, batch=batch, error="ValueError: no such luck" if status == "exception" else "")
    site.open(reverse("admin:qorworker_batch_change", args=[batch.pk]))
    site.mark()
    assert "2 of 4 jobs have ended" in site.text
    assert site.driver.find_elements("css selector", f".qw-flow svg a[href='{page_of(then)}']")
    batch.jobs.queued().update(status="cancelled")
    site.wait(lambda: "3 of 4 jobs have ended" in site.text, "the bar moves")
    assert site.is_marked
