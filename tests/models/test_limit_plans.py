"""What a round costs while 100,000 jobs wait for one full key: counted by the databases themselves."""

import pytest
from django.db import connection, transaction

from qorworker.definitions.limits import Limits, prefix_of
from qorworker.models import Job, held_by
from qorworker.models.limits import free_to_start
from qorworker.models.sql import claim, claim_limited, queues_with_jobs
from tests.models.rows import make_job, wanted
from tests.models.test_plans import TOKEN, analyze, fill, forget_all, indexes, plan_of, reads_all

WAITING, RUNNING, OTHERS = 100_000, 200, 50
ENOUGH = 3_000  # rows, or hundreds of steps: many times what is needed, and a small part of what waits
KEY = prefix_of("app.job")


@pytest.fixture(scope="module", params=["cold", "fresh"])
def crowd(request, django_db_setup, django_db_blocker):
    """Of one key all that may run and 100,000 that wait before everything else; of fifty more keys one each."""
    with django_db_blocker.unblock():
        forget_all()
        lease = {"attempt_token": f"'{TOKEN}'", "lease_expires_at": "'2999-01-01 00:00:00'"}
        fill("running", RUNNING, **lease)
        fill("running", 1, limit_key=f"'{KEY}full'", **lease)
        fill("new", WAITING, limit_key=f"'{KEY}full'", priority="100")
        number = "CAST(n AS CHAR)" if connection.vendor == "mysql" else "CAST(n AS TEXT)"
        key = f"CONCAT('{KEY}k', {number})" if connection.vendor == "mysql" else f"'{KEY}k' || {number}"
        fill("new", OTHERS, limit_key=key)
        fill("new", OTHERS, priority="-100")
        if request.param == "fresh":
            analyze()
        yield
        forget_all()


def read_by(action):
    """Rows and entries of indexes that the database reads for an action; for SQLite hundreds of its machine's steps."""
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            steps = []
            connection.connection.set_progress_handler(lambda: steps.append(1) and None, 100)
            action()
            connection.connection.set_progress_handler(None, 0)
            return len(steps)
        count = {
            "mysql": "SELECT SUM(variable_value) FROM information_schema.session_status"
            " WHERE variable_name LIKE 'Handler_read%%'",
            "postgresql": "SELECT SUM(pg_stat_get_xact_tuples_returned(c.oid) + pg_stat_get_xact_tuples_fetched(c.oid))"
            " FROM pg_class c WHERE c.oid = 'qorworker_job'::regclass"
            " OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = 'qorworker_job'::regclass)",
        }[connection.vendor]
        cursor.execute(count, [])
        before = cursor.fetchone()[0]
        action()
        cursor.execute(count, [])
        return int(cursor.fetchone()[0] - before)


def plans_of(action):
    """The plans of what an action asks of the table of jobs."""
    found = []

    def explain(execute, sql, params, many, context):
        if "qorworker_job" in sql and sql.lstrip().startswith(("SELECT", "UPDATE", "WITH")):
            found.append(plan_of(sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        action()
    return "\n".join(found)


def look(slots=4):
    return claim_limited("default", wanted(slots=slots), {KEY: Limits(1)}, {"default": ""})


@pytest.mark.django_db
@pytest.mark.usefixtures("crowd")
class TestAHundredThousandOfOneFullKey:
    def test_cost_the_claim_of_other_jobs_nothing(self):
        def action():
            assert len(claim("default", wanted(slots=5, limit=5))) == 5

        assert read_by(action) < ENOUGH
        assert reads_all(plans_of(action)) == []

    def test_cost_the_look_for_jobs_that_have_a_place_next_to_nothing(self):
        def action():
            assert len(look().claimed) == 4

        assert read_by(action) < ENOUGH
        plan = plans_of(action)
        assert reads_all(plan) == []
        assert "qorworker_job_claim" in indexes(plan)
        assert not any(word in plan for word in ("filesort", "TEMP B-TREE FOR ORDER BY", "Sort Key: priority"))

    def test_cost_a_look_that_finds_none_next_to_nothing(self):
        Job.objects.exclude(limit_key=f"{KEY}full").filter(status="new").erase()

        def action():
            found = look()
            assert (found.claimed, found.wait) == ([], None)

        assert read_by(action) < ENOUGH

    def test_cost_the_question_where_jobs_wait_nothing(self):
        def action():
            assert queues_with_jobs("default")["default"].limited

        assert read_by(action) < ENOUGH
        assert reads_all(plans_of(action)) == []

    def test_cost_those_who_hand_over_next_to_nothing(self):
        def action():
            free_to_start("default", "default")

        assert read_by(action) < ENOUGH
        assert reads_all(plans_of(action)) == []

    def test_cost_who_asks_what_holds_one_nothing(self, monkeypatch):
        monkeypatch.setattr("qorworker.models.limits.limits_of", lambda key: Limits(1))
        held = make_job(limit_key=f"{KEY}full")

        def action():
            assert len(held_by(held).running) == 1

        assert read_by(action) < ENOUGH
        assert reads_all(plans_of(action)) == []
