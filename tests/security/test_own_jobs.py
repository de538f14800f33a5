"""With OWN_JOBS_ONLY nobody learns anything about what others did: no page, no count, no order, no search tells it."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from django.utils import timezone

from qorworker.models import Job
from qorworker.permissions import can, visible_jobs
from tests.admin.support import BASE, make_job, page_of, stored, text_of, user_with, without_tokens
from tests.security.people import READING, USING
from tests.security.walk import paths

pytestmark = [pytest.mark.django_db, pytest.mark.once]

OTHERS = "what-others-typed"


@pytest.fixture
def people(types, settings):
    settings.QORWORKER = {**settings.QORWORKER, "OWN_JOBS_ONLY": True}
    return user_with(*USING, *READING, name="ann"), user_with(*USING, *READING, name="secret-ben")


@pytest.fixture
def jobs(types, people):
    """A job of Ann's and one of Ben's, alike in type and state."""
    greet = types["greet"]
    arguments = stored(greet, subject=OTHERS)
    mine = make_job(greet, "exception", created_by=people[0], arguments=stored(greet, subject="mine"))
    return mine, make_job(greet, "exception", created_by=people[1], arguments=arguments, error=OTHERS)


@pytest.fixture
def ann(client, people):
    client.force_login(people[0])
    return client


def test_the_pages_of_others_are_not_found_like_those_of_nobody(ann, jobs):
    mine, other = jobs
    for url in paths(other):
        if f"/{other.pk}/" in url:
            ann.get(BASE)  # shows what the last page had to tell
            answer = ann.get(url)
            ann.get(BASE)
            unknown = ann.get(url.replace(f"/{other.pk}/", "/99999/"))
            assert answer.status_code == unknown.status_code, url
            shown = without_tokens(text_of(answer)).replace(str(other.pk), "99999")
            assert shown == without_tokens(text_of(unknown)).replace(str(other.pk), "99999"), url
    assert ann.get(page_of(mine)).status_code == 200


@pytest.mark.parametrize(
    "query",
    ["", "?q={other}", "?q=%23{other}", "?q=tests.greet", "?q=secret-ben", f"?q={OTHERS}", "?tab=failed", "?o=1",
     "?o=-2.3", "?job=tests.greet", "?group=Mail", "?p=2", "?q=user:secret-ben", f"?q=error:{OTHERS}",
     f"?q=subject={OTHERS}", "?user=secret-ben", "?on=finished&period=7"],
)  # fmt: skip
def test_list_counts_search_and_order_know_only_ones_own(ann, jobs, query):
    mine, other = jobs
    answer = ann.get(BASE + query.format(other=other.pk), follow=True)
    page = answer.content.decode()
    if OTHERS not in query and "secret-ben" not in query:  # what one asked for is repeated
        assert OTHERS not in page
        assert "secret-ben" not in page
    assert page_of(other, "") not in page
    assert {count.number for count in answer.context["cl"].counts.values()} <= {0, 1}
    assert answer.context["cl"].result_count <= 1


@pytest.mark.parametrize(
    "query", ["list.json", "list.json?q={other}", "list.json?user=secret-ben", "list.json?before=99999",
              "list/live/?ids={other}&newest=0", "list/live/?ids={other},{mine}&newest=0&whole=1"]
)  # fmt: skip
def test_the_list_as_data_knows_only_ones_own(ann, jobs, query):
    mine, other = jobs
    answer = ann.get(BASE + query.format(other=other.pk, mine=mine.pk))
    assert answer.status_code in (200, 400)
    body = answer.content.decode()
    assert OTHERS not in body
    assert page_of(other, "") not in body
    assert f'"id": {other.pk}' not in body
    if "user=" not in query:  # what one asked for is repeated
        assert "secret-ben" not in body


@pytest.mark.parametrize("query", ["list.json?user={}", "list.json?q=user:{}"])
def test_the_name_of_somebody_is_answered_like_that_of_nobody(ann, jobs, query):
    ben, nobody = (ann.get(BASE + query.format(name)).content.decode() for name in ("secret-ben", "secret-bob"))
    assert ben.replace("secret-ben", "secret-bob") == nobody


def test_the_catalogue_and_the_run_form_know_only_ones_own(ann, jobs):
    mine, other = jobs
    page = ann.get(BASE + "catalogue/").content.decode()
    assert page_of(mine) in page
    assert page_of(other) not in page
    form = ann.get(f"{BASE}run/tests.greet/?from={other.pk}").content.decode()
    assert OTHERS not in form
    assert "mine" in ann.get(f"{BASE}run/tests.greet/?from={mine.pk}").content.decode()


@pytest.mark.parametrize("page", ["", "list.json", "list/live/"])
def test_a_date_does_not_tell_how_many_jobs_others_had_by_then(ann, people, types, settings, page):
    settings.QORWORKER = {**settings.QORWORKER, "LIST_JOBS": 1000}
    now, day = timezone.now(), dt.timedelta(days=1)
    first = make_job(types["greet"], "done", created_by=people[0], enqueued_at=now - 30 * day)
    make_job(types["greet"], "done", id=first.pk + 8000, created_by=people[0])
    url = f"{BASE}{page}?to={(now - 10 * day).date()}"
    before = without_tokens(text_of(ann.get(url)))
    make_job(types["greet"], "done", id=first.pk + 4000, created_by=people[1], enqueued_at=now - 20 * day)
    assert without_tokens(text_of(ann.get(url))) == before


def test_a_place_in_the_queue_would_tell_how_many_others_wait(ann, jobs, people):
    Job.objects.update(status="new", finished_at=None)
    places = re.compile(r"Position: </span>([^<]+)<")
    assert places.findall(ann.get(BASE + "?tab=queued").content.decode()) == []
    assert (
        "Position"
        not in ann.get(f"{BASE}list/live/?tab=queued&ids={jobs[0].pk}").json()["parts"][f"{jobs[0].pk}-position"]
    )
    ann.force_login(user_with(*READING, "qorworker.view_all_jobs", name="chief"))
    assert places.findall(ann.get(BASE + "?tab=queued").content.decode()) == ["1", "2"]


def test_no_page_names_the_others(ann, jobs):
    for url in paths(jobs[0]):
        body = text_of(ann.get(url))
        assert "secret-ben" not in body, url
        assert OTHERS not in body, url


def test_a_repetition_by_somebody_else_is_not_told(ann, jobs, people):
    again = make_job("tests.greet", "done", created_by=people[1], rerun_of=jobs[0])
    assert not re.search(rf"#{again.pk}\b", ann.get(page_of(jobs[0])).content.decode())


def test_jobs_of_others_are_left_alone_in_bulk(ann, jobs, people):
    Job.objects.update(status="new", finished_at=None)
    for across in ("0", "1"):
        ann.post(BASE, {
            "action": "cancel", "_selected_action": [job.pk for job in jobs], "confirmed": "1", "select_across": across,
        })  # fmt: skip
    assert dict(Job.objects.values_list("pk", "status")) == {jobs[0].pk: "cancelled", jobs[1].pk: "new"}


def test_who_may_view_all_jobs_sees_all(jobs, people):
    mine, other = jobs
    assert list(visible_jobs(people[0], Job.objects.all())) == [mine]
    chief = user_with(*READING, "qorworker.view_all_jobs", name="chief")
    assert set(visible_jobs(chief, Job.objects.all())) == {mine, other}
    assert can(chief, "view", job=mine)


def test_to_be_ones_own_is_not_enough_without_the_right(types, jobs):
    nobody = user_with(name="nobody")
    job = make_job(types["greet"], created_by=nobody)
    assert not can(nobody, "view", job=job)
    assert not visible_jobs(nobody, Job.objects.all()).exists()


def test_jobs_of_nobody_are_nobodys(people, types):
    job = make_job(types["greet"])
    assert not any(can(person, "view", job=job) for person in people)


def test_without_the_setting_all_see_all(jobs, people, settings):
    settings.QORWORKER = {**settings.QORWORKER, "OWN_JOBS_ONLY": False}
    assert set(visible_jobs(people[0], Job.objects.all())) == set(jobs)
