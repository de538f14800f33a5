"""How SQLite finds the few jobs that wait or run, of one type or person, without statistics of the tables."""

from __future__ import annotations

import pytest
from django.db import connection
from django.db.models import Q
from django.test.utils import CaptureQueriesContext

from qorworker.models import Job
from qorworker.queries import catalogue, job_list, run_form, site
from tests.models.rows import make_job

pytestmark = pytest.mark.django_db

NARROWED = {"type": {"name": "app.job"}, "types": {"name__in": ["app.job"]}, "person": {"created_by": 1}}
narrowed = pytest.mark.parametrize("narrowed", NARROWED)


def plans_of(asked):
    """What SQLite says of each statement with jobs that *asked* makes."""
    with CaptureQueriesContext(connection) as captured:
        asked()
    made = [query["sql"] for query in captured if '"qorworker_job"' in query["sql"]]
    with connection.cursor() as cursor:
        for sql in made:
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
            yield [row[-1] for row in cursor.fetchall()]


@pytest.mark.only_on("sqlite")
@narrowed
@pytest.mark.parametrize(
    "asked",
    [
        lambda jobs: list(run_form.running_of_type(jobs, "app.job")),
        catalogue.running_by_name,
        catalogue.next_starts,
        site.situation,
        lambda jobs: [list(job_list.in_tab(jobs, tab, job_list.Window(1, 0), ["app.job"])) for tab in job_list.ACTIVE],
    ],
)
def test_not_all_jobs_of_a_type_or_a_person_are_read_to_find_those_that_wait_or_run(narrowed, asked):
    plans = list(plans_of(lambda: asked(Job.objects.filter(**NARROWED[narrowed]))))
    assert plans
    for plan in plans:
        assert not [step for step in plan if step.endswith(("(name=?)", "(created_by_id=?)"))], plan


@narrowed
def test_few_finds_what_a_filter_finds(narrowed):
    for status in ("new", "running", "done"):
        make_job(status)
        make_job(status, name="app.other")
    jobs = Job.objects.filter(**NARROWED[narrowed])
    for rule in (Q(status="new"), Q(status="running")):
        assert set(jobs.few(rule)) == set(jobs.filter(rule))
        assert set(Job.objects.few(rule)) == set(Job.objects.filter(rule))
