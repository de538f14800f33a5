"""The page of a job names the jobs after which it starts, and those that start after it."""

import pytest

from qorworker.models import Job
from qorworker.models.dependents import hold, lock_parents
from tests.admin.support import make_job, page_of, text_of, user_with

pytestmark = [pytest.mark.django_db, pytest.mark.once]


def held(job_type, *parents, policy="cancel", **fields):
    job = make_job(job_type, "new", **fields)
    rows = Job.objects.using("default")
    hold(rows, [job], lock_parents(rows, [parent.pk for parent in parents]), policy)
    return job


def link_to(job):
    return f'href="{page_of(job)}"'


def test_a_job_names_those_that_it_waits_for(types, visitor):
    parent = make_job(types["open"], "running")
    page = text_of(visitor.get(page_of(held(types["open"], parent))))
    assert "It waits for other jobs to end." in page
    assert "Starts after" in page
    assert page.count(link_to(parent)) == 4  # why it waits, the facts, the picture, and its list
    assert "starts today" not in page


def test_a_page_with_a_picture_has_a_link_to_it(types, visitor):
    parent = make_job(types["open"], "running")
    assert '<a href="#flow">Flow</a>' in text_of(visitor.get(page_of(held(types["open"], parent))))
    assert 'href="#flow"' not in text_of(visitor.get(page_of(make_job(types["open"], "running"))))


def test_a_parent_names_those_that_wait_for_it(types, visitor):
    parent = make_job(types["open"], "running")
    job = held(types["open"], parent)
    assert link_to(job) in text_of(visitor.get(page_of(parent)))


def test_a_job_that_waits_for_failed_ones_says_what_helps(types, visitor):
    job = held(types["open"], make_job(types["open"], "exception"), policy="wait")
    page = text_of(visitor.get(page_of(job)))
    assert "It waits for jobs that have failed." in page
    assert "It starts once they have been retried and are done." in page


def test_the_history_of_a_cancelled_one_names_the_cause(types, visitor):
    parent = make_job(types["open"], "exception")
    page = text_of(visitor.get(page_of(held(types["open"], parent))))
    assert f"A job for which it waited has failed. (#{parent.pk})" in page


def test_without_relations_nothing_is_said_of_them(types, visitor):
    page = text_of(visitor.get(page_of(make_job(types["open"], "new"))))
    assert "Starts after" not in page
    assert "qw-related" not in page


def test_a_reader_does_not_learn_of_jobs_of_others(types, client, settings):
    settings.QORWORKER = {"OWN_JOBS_ONLY": True}
    reader = user_with("qorworker.view_job")
    foreign = make_job(types["open"], "running")
    job = held(types["open"], foreign, created_by=reader)
    after_it = held(types["open"], job)
    client.force_login(reader)
    page = text_of(client.get(page_of(job)))
    assert "It waits for other jobs to end." in page
    for other in (foreign, after_it):
        assert link_to(other) not in page
        assert f"#{other.pk}" not in page


def test_a_reader_does_not_learn_which_job_of_others_was_the_cause(types, client, settings):
    settings.QORWORKER = {"OWN_JOBS_ONLY": True}
    reader = user_with("qorworker.view_job")
    foreign = make_job(types["open"], "exception")
    job = held(types["open"], foreign, created_by=reader)
    client.force_login(reader)
    page = text_of(client.get(page_of(job)))
    assert "A job for which it waited has failed." in page
    assert f"#{foreign.pk}" not in page
