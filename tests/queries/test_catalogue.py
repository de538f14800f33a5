"""What the catalogue asks of the rows, and what that costs the databases while there are many."""

import pytest
from django.db import connection

from qorworker.models import Job
from qorworker.models.clock import now_sql
from qorworker.queries.catalogue import LOOKED_AT, SAMPLE, last_durations
from tests.models.test_limit_plans import read_by
from tests.models.test_plans import analyze, fill, forget_all

MANY = 50_000
ENOUGH = 8_000  # rows, or hundreds of steps: many times what is needed, and a small part of what there is


@pytest.fixture(scope="module")
def crowd(django_db_setup, django_db_blocker):
    """A type whose many runs are all older than those of another one, and a rare type."""
    with django_db_blocker.unblock():
        forget_all()
        times = {"last_attempted_at": now_sql(connection), "finished_at": now_sql(connection, "2")}
        fill("done", 3, name="'app.rare'", **times)
        fill("done", MANY, name="'app.earlier'", **times)
        fill("done", MANY, name="'app.now'", **times)
        analyze()
        yield
        forget_all()


@pytest.mark.django_db
@pytest.mark.usefixtures("crowd")
def test_usual_durations_cost_a_few_rows_of_each_type_whatever_ran_since():
    names = ["app.rare", "app.earlier", "app.now", "app.never"]

    def action():
        durations = last_durations(Job.objects.all(), names, sample=SAMPLE, looked_at=LOOKED_AT)
        assert {name: len(seconds) for name, seconds in durations.items()} == {
            "app.rare": 3, "app.earlier": SAMPLE, "app.now": SAMPLE,
        }  # fmt: skip
        assert {round(value) for seconds in durations.values() for value in seconds} == {2}

    assert read_by(action) < ENOUGH
