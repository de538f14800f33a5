"""How long the last runs took: on the page of a job type and of a schedule, only of jobs that the user may see."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from qorworker.models import Job
from qorworker.queries import last_runs
from tests.admin.support import BASE, make_job, page_of, text_of, user_with
from tests.admin.test_schedules import made, url_of

pytestmark = [pytest.mark.django_db, pytest.mark.once]
RUN = BASE + "run/tests.open/"


def took(job_type, *seconds, status="done", **fields):
    start = timezone.now() - dt.timedelta(hours=1)
    return [
        make_job(job_type, status, last_attempted_at=start, finished_at=start + dt.timedelta(seconds=each), **fields)
        for each in seconds
    ]


def marks_of(page):
    return re.findall(r'<a href="([^"]+)" aria-label="([^"]+)">\s*<title>', text_of(page))


def test_each_run_is_a_mark_with_its_end_and_duration_that_leads_to_the_job(types, visitor):
    done = took(types["open"], 60, 70, 80, 90, 100)
    [failed] = took(types["open"], 3, status="exception")
    took(types["greet"], 5, 6)
    marks = marks_of(visitor.get(RUN))
    assert [url for url, _label in marks] == [page_of(job) for job in (*done, failed)]
    assert re.fullmatch(rf"#{done[0].pk}, .+: Done, 1 min", marks[0][1])
    assert re.fullmatch(rf"#{failed.pk}, .+: Failed, 3 s", marks[-1][1])


def test_the_band_is_where_half_of_the_successes_lie(types, visitor):
    took(types["open"], 60, 70, 80, 90, 100)
    took(types["open"], 1, 2, 3, status="killed")
    page = text_of(visitor.get(RUN))
    assert "8 runs. Half of those that were done took between 1 min 10 s and 1 min 30 s." in page
    assert 'class="qw-band"' in page


def test_a_few_successes_make_no_band_and_a_single_run_no_chart(types, visitor):
    took(types["open"], 60)
    assert "qw-chart" not in text_of(visitor.get(RUN))
    took(types["open"], 60)
    page = text_of(visitor.get(RUN))
    assert ("qw-chart" in page, 'class="qw-band"' in page) == (True, False)


def test_each_kind_of_end_has_a_symbol_of_its_own(types, visitor):
    for status in ("done", "exception", "killed"):
        took(types["open"], 10, status=status)
    shapes = re.findall(r'<path d="([^"]+)" class="qw-symbol" data-kind="(\w+)"', text_of(visitor.get(RUN)))
    forms = {kind: re.sub(r"[\d.\- ]", "", path) for path, kind in shapes}
    assert len(set(forms.values())) == 3


def test_at_most_a_hundred_of_the_newest_are_shown_at_the_cost_of_one_query(types):
    jobs = took(types["open"], *range(1, 121))
    took(types["open"], 5, status="cancelled")
    make_job(types["open"], "new")
    with CaptureQueriesContext(connection) as captured:
        runs = last_runs.of_type(Job.objects.all(), "tests.open")
    assert [run.pk for run in runs] == [job.pk for job in jobs[20:]]
    assert len(captured) == 1


@pytest.mark.parametrize(("own_only", "number"), [(False, 4), (True, 2)])
def test_who_sees_only_their_own_jobs_sees_only_their_runs(types, client, settings, own_only, number):
    settings.QORWORKER = {**settings.QORWORKER, "OWN_JOBS_ONLY": own_only}
    user = user_with("qorworker.view_job", "qorworker.run_job")
    client.force_login(user)
    own = took(types["open"], 10, 20, created_by=user)
    took(types["open"], 30, 40)
    urls = [url for url, _label in marks_of(client.get(RUN))]
    assert urls[:2] == [page_of(job) for job in own]
    assert len(urls) == number


def test_who_may_run_a_type_and_not_see_its_jobs_sees_no_runs(types, client):
    took(types["open"], 10, 20)
    client.force_login(user_with("qorworker.run_job"))
    page = client.get(RUN)
    assert (page.status_code, marks_of(page)) == (200, [])


def test_the_page_of_a_schedule_shows_only_its_runs(types, visitor):
    schedule = made(types)
    jobs = took(types["open"], 10, 20, schedule=schedule)
    took(types["open"], 30)
    page = visitor.get(url_of(schedule))
    assert [url for url, _label in marks_of(page)] == [page_of(job) for job in jobs]
