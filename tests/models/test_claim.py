import json
import os
import subprocess
import sys
from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection

from qorworker.models import Job, database_now
from qorworker.models.sql import Stretch, claim, claim_one, claims_mysql, queues_with_jobs
from tests.models.rows import STATUSES, claim_ids, columns, make_job, race, somebody_else, wanted


@pytest.fixture(autouse=True, params=["", "by key"] if connection.vendor == "mysql" else [""])
def way(request, monkeypatch):
    """MariaDB and MySQL have two ways to claim."""
    if request.param:
        monkeypatch.setattr(claims_mysql, "monotonic", lambda: -1.0)  # before the time until which it goes by key


needs_floors = pytest.mark.only_on("postgresql", "mysql")  # on SQLite a claim walks all of its queues
needs_row_locks = pytest.mark.only_on("postgresql", "mysql")  # SQLite locks the whole database


@pytest.mark.django_db
class TestClaim:
    def test_the_higher_priority_goes_first_then_the_older(self):
        low, first, second, high = (make_job(priority=priority) for priority in (-100, 0, 0, 100))
        assert claim_ids() == [high.pk, first.pk, second.pk, low.pk]

    def test_priority_counts_across_queues(self):
        low = make_job(queue_name="mail", priority=1)
        high = make_job(queue_name="reports", priority=2)
        assert claim_ids(queues=["mail", "reports"], slots=1, limit=1) == [high.pk]
        assert claim_ids(queues=["mail", "reports"], slots=1, limit=1) == [low.pk]

    def test_age_counts_across_queues(self):
        jobs = [make_job(queue_name=name) for name in ("mail", "default", "mail", "reports")]
        assert claim_ids(queues=["default", "mail", "reports"]) == [job.pk for job in jobs]

    def test_other_queues_are_left_alone(self):
        other, mine = make_job(queue_name="other"), make_job(queue_name="mail")
        assert claim_ids(queues=["mail"]) == [mine.pk]
        assert columns(other)["status"] == "new"

    def test_jobs_that_are_left_to_others_do_not_hold_up_those_behind(self):
        first, second, third = (make_job() for _ in range(3))
        assert claim_ids(but=[first.pk, second.pk], slots=1, limit=1) == [third.pk]
        assert [columns(job)["status"] for job in (first, second)] == ["new", "new"]

    def test_jobs_of_unknown_types_are_left_alone(self):
        unknown, mine = make_job(name="gone.job", priority=100), make_job()
        assert claim_ids() == [mine.pk]
        assert columns(unknown)["status"] == "new"

    def test_jobs_of_a_newer_version_are_left_to_code_that_has_it(self):
        newer, mine = make_job(version=3, priority=100), make_job()
        older, other = make_job(version=2), make_job(version=2, name="app.other")
        both = {"names": ["app.job", "app.other"], "versions": ["2 app.job"]}
        assert claim_ids(**both) == [mine.pk, older.pk]
        assert {columns(job)["status"] for job in (newer, other)} == {"new"}
        assert claim_ids(**both | {"versions": ["2 app.job", "3 app.job", "2 app.other"]}) == [newer.pk, other.pk]

    def test_no_newer_version_holds_up_the_jobs_behind_it(self):
        for _ in range(3):
            make_job(version=2, priority=5)
        mine = make_job()
        assert claim_ids(slots=1, limit=1) == [mine.pk]

    def test_a_particular_job_of_a_newer_version_is_not_claimed(self):
        newer = make_job(version=2)
        before = columns(newer)
        assert claim_one("default", newer.pk, wanted()) is None
        assert columns(newer) == before
        assert claim_one("default", newer.pk, wanted(versions=["2 app.job"])).version == 2

    @pytest.mark.parametrize("fields", [{"name": "App.Job"}, {"queue_name": "Default"}, {"name": "app.job "}])
    def test_names_are_compared_to_the_letter(self, fields):
        make_job(**fields)
        assert claim_ids() == []

    @pytest.mark.parametrize("status", [status for status in STATUSES if status != "new"])
    def test_only_queued_jobs_are_taken(self, status):
        job = make_job(status)
        before = columns(job)
        assert claim_ids() == []
        assert columns(job) == before

    @pytest.mark.parametrize("nothing", [{"queues": []}, {"names": []}, {"slots": 0}, {"limit": 0}])
    def test_who_wants_nothing_asks_nothing(self, nothing, django_assert_num_queries):
        make_job()
        with django_assert_num_queries(0):
            assert claim_ids(**nothing) == []

    def test_the_worker_gets_what_it_needs_to_run_the_job(self):
        made = make_job(
            arguments={"text": "grüße 🚀", "count": 3}, priority=5, attempt=2, max_attempts=4, crashes=1, log_lines=6,
            log_bytes=7, log_dropped=8, results_rows=9, results_errors=2,
        )  # fmt: skip
        order = wanted()
        (job,) = claim("default", order)
        assert json.loads(job.arguments) == {"text": "grüße 🚀", "count": 3}
        assert (job.id, job.priority, job.name, job.queue_name) == (made.pk, 5, "app.job", "default")
        assert (job.attempt, job.max_attempts, job.crashes) == (3, 4, 1)
        assert (job.log_lines, job.log_bytes, job.log_dropped) == (6, 7, 8)
        assert (job.results_rows, job.results_errors) == (9, 0)  # rows are counted on, errors are this attempt's
        made.refresh_from_db()
        assert (made.results_before, made.results_count) == (9, 0)
        assert job.token == order.token

    def test_the_row_says_who_owns_it_until_when_by_the_databases_clock(self):
        job = make_job("exception", progress=40, progress_text="row 4", error="no", process_id=5)
        job.retry()
        before = database_now("default")
        order = wanted(lease=30.0)
        claim("default", order)
        after = database_now("default")
        job.refresh_from_db()
        assert (job.status, job.attempt, job.attempt_token, job.worker_id) == ("running", 2, order.token, 7)
        assert before <= job.last_attempted_at <= after
        assert before + timedelta(seconds=30) <= job.lease_expires_at <= after + timedelta(seconds=30)
        assert (job.progress, job.progress_text, job.error, job.process_id) == (None, "", "", None)

    def test_the_first_start_is_kept_over_all_attempts(self):
        job = make_job("exception")
        first = job.started_at
        job.retry()
        claim_ids()
        job.refresh_from_db()
        assert job.started_at == first
        assert job.last_attempted_at > first

    def test_what_was_taken_is_not_there_for_the_next(self):
        jobs = [make_job() for _ in range(5)]
        assert claim_ids(slots=2, limit=2) == [job.pk for job in jobs[:2]]
        assert claim_ids() == [job.pk for job in jobs[2:]]
        assert claim_ids() == []


@pytest.mark.django_db
class TestHowManyAreTaken:
    def test_single_attempt_jobs_fill_the_free_slots_only(self):
        jobs = [make_job() for _ in range(5)]
        assert claim_ids(slots=2, limit=5, short=["app.job"]) == [job.pk for job in jobs[:2]]

    def test_short_jobs_that_may_run_again_are_taken_ahead(self):
        jobs = [make_job(max_attempts=2) for _ in range(6)]
        assert claim_ids(slots=2, limit=5, short=["app.job"]) == [job.pk for job in jobs[:5]]

    def test_jobs_that_are_not_short_are_not_taken_ahead(self):
        jobs = [make_job(max_attempts=2) for _ in range(5)]
        assert claim_ids(slots=2, limit=5) == [job.pk for job in jobs[:2]]
        assert claim_ids(slots=2, limit=5, short=["other.job"]) == [job.pk for job in jobs[2:4]]

    def test_without_a_slot_only_jobs_that_can_wait_are_taken(self):
        first, must_start, behind = make_job(max_attempts=2), make_job(), make_job(max_attempts=2)
        assert claim_ids(slots=0, limit=5, short=["app.job"]) == [first.pk]
        assert {columns(must_start)["status"], columns(behind)["status"]} == {"new"}

    def test_nothing_is_taken_ahead_of_a_job_that_must_start(self):
        start = make_job(max_attempts=2)
        must_start = make_job()
        make_job(max_attempts=2)
        assert claim_ids(slots=1, limit=5, short=["app.job"]) == [start.pk]
        assert columns(must_start)["status"] == "new"

    def test_a_job_that_must_start_in_a_slot_ends_the_taking_ahead(self):
        must_start = make_job()
        second = make_job(max_attempts=2)
        make_job(max_attempts=2)
        assert claim_ids(slots=2, limit=5, short=["app.job"]) == [must_start.pk, second.pk]

    def test_the_limit_counts_over_all_queues(self):
        jobs = [make_job(max_attempts=2, queue_name=name) for name in ("mail", "other") * 5]
        order = {"queues": ["mail", "other"], "slots": 2, "limit": 6, "short": ["app.job"]}
        assert claim_ids(**order) == [job.pk for job in jobs[:6]]


@pytest.mark.django_db(transaction=True)
class TestManyAskAtOnce:
    def test_threads_never_get_the_same_job(self):
        jobs = [make_job(priority=number % 3) for number in range(120)]

        def worker():
            mine = []
            while batch := claim_ids(slots=7, limit=7):
                mine += batch
            return mine

        taken = race(*[worker] * 4)
        assert sorted(pk for mine in taken for pk in mine) == [job.pk for job in jobs]
        assert set(Job.objects.values_list("status", "attempt")) == {("running", 1)}

    def test_processes_never_get_the_same_job(self):
        jobs = [make_job() for _ in range(150)]
        program = (
            "import django; django.setup()\n"
            "from tests.models.rows import claim_ids\n"
            "print('ready', flush=True); input()\n"
            "while batch := claim_ids(slots=3, limit=3): print(*batch, flush=True)\n"
        )
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": os.environ["DJANGO_SETTINGS_MODULE"],
            "QORWORKER_TEST_RUNNING_DATABASE": str(connection.settings_dict["NAME"]),
        }
        command = [sys.executable, "-c", program]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        workers = [subprocess.Popen(command, env=environment, **pipes) for _ in range(3)]
        assert [worker.stdout.readline() for worker in workers] == ["ready\n"] * 3
        taken = [worker.communicate("go\n", timeout=60)[0].split() for worker in workers]
        assert [worker.returncode for worker in workers] == [0, 0, 0]
        assert Counter(int(pk) for mine in taken for pk in mine) == Counter(job.pk for job in jobs)

    @needs_row_locks
    def test_a_row_that_somebody_else_has_locked_is_passed_over(self):
        locked, free = make_job(priority=9), make_job()
        with somebody_else() as cursor:
            cursor.execute("SELECT id FROM qorworker_job WHERE id = %s FOR UPDATE", [locked.pk])
            assert claim_ids() == [free.pk]
        assert claim_ids() == [locked.pk]

    @pytest.mark.parametrize("status", ["new", "scheduled"])
    def test_one_of_two_gets_a_certain_job(self, status):
        job = make_job(status)
        outcomes = race(*[lambda: claim_one("default", job.pk, wanted())] * 2)
        assert sum(outcome is not None for outcome in outcomes) == 1
        assert columns(job)["attempt"] == 1


@pytest.mark.django_db
class TestClaimOne:
    @pytest.mark.parametrize("status", ["new", "scheduled"])
    def test_a_job_that_waits_is_taken_due_or_not(self, status):
        job = make_job(status, run_after=database_now("default") + timedelta(days=1), queue_name="elsewhere")
        order = wanted()
        taken = claim_one("default", job.pk, order)
        job.refresh_from_db()
        assert (taken.id, taken.attempt, taken.token) == (job.pk, 1, order.token)
        assert (job.status, job.attempt_token, job.worker_id) == ("running", order.token, 7)

    @pytest.mark.parametrize("status", [status for status in STATUSES if status not in ("new", "scheduled")])
    def test_a_job_that_does_not_wait_is_not_taken(self, status):
        job = make_job(status)
        before = columns(job)
        assert claim_one("default", job.pk, wanted()) is None
        assert columns(job) == before

    def test_a_job_that_is_not_there_is_not_taken(self):
        assert claim_one("default", 987654321, wanted()) is None

    def test_a_process_without_a_worker_row_can_own_a_job(self):
        job = make_job()
        assert claim_one("default", job.pk, wanted(worker_id=None)).token
        assert columns(job)["worker_id"] is None


@pytest.mark.django_db
class TestQueuesWithJobs:
    def test_each_queue_with_a_waiting_job_is_named_once(self):
        for name in ("mail", "default", "mail", "reports"):
            make_job(queue_name=name)
        assert list(queues_with_jobs("default")) == ["default", "mail", "reports"]

    def test_queues_in_which_nothing_waits_are_not_named(self):
        for status in STATUSES:
            make_job(status, queue_name=status)
        assert list(queues_with_jobs("default")) == ["new"]

    def test_without_jobs_there_is_none(self):
        assert queues_with_jobs("default") == {}

    @pytest.mark.parametrize("key", ["", "app.job/"])
    def test_a_job_with_a_limit_is_mentioned(self, key):
        make_job(queue_name="mail", limit_key=key)
        make_job(queue_name="default")
        limited = {queue: heads.limited for queue, heads in queues_with_jobs("default").items()}
        assert limited == {"mail": bool(key), "default": False}

    @needs_floors
    def test_the_first_job_of_each_priority_is_named(self):
        for queue in ("mail", "default"):
            make_job("done", queue_name=queue)
            for priority in (0, 100, 0, -100):
                make_job(queue_name=queue, priority=priority)
            make_job(queue_name=queue, limit_key="app.job/", priority=7)
        make_job(queue_name="other", limit_key="app.job/")
        first = {}
        for job in Job.objects.queued().filter(limit_key="").order_by("-pk"):
            first.setdefault(job.queue_name, {})[job.priority] = job.pk
        assert queues_with_jobs("default", to_claim=True) == {
            "default": (True, first["default"]), "mail": (True, first["mail"]), "other": (True, {}),
        }  # fmt: skip


@needs_floors
@pytest.mark.django_db
class TestAClaimThatBeginsFurtherOn:
    def test_takes_what_is_on_its_way_in_the_usual_order(self):
        jobs = [make_job(priority=priority) for priority in (0, 5, 0, 5, -3, 0)]
        stretches = [
            Stretch(100, 6),
            Stretch(5, 5, jobs[2].pk),
            Stretch(4, 1),
            Stretch(0, 0, jobs[1].pk),
            Stretch(-1, -100),
        ]
        assert claim_ids(stretches={"default": stretches}) == [jobs[number].pk for number in (3, 2, 5, 4)]

    def test_takes_in_other_queues_what_comes_first(self):
        first, _, third = make_job(queue_name="mail"), make_job(), make_job()
        stretches = {"default": [Stretch(0, 0, third.pk)]}
        assert claim_ids(queues=["default", "mail"], stretches=stretches) == [first.pk, third.pk]

    def test_takes_returned_jobs_in_their_turn(self):
        jobs = [make_job(priority=priority) for priority in (0, 0, 7, 0)]
        stretches = {"default": [Stretch(100, 1), Stretch(0, 0, jobs[3].pk)]}
        order = {"stretches": stretches, "returned": [jobs[1].pk], "slots": 2, "limit": 2}
        assert claim_ids(**order) == [jobs[2].pk, jobs[1].pk]
        assert claim_ids(**order) == [jobs[3].pk]

    def test_counts_a_returned_job_once_if_it_is_on_its_way_too(self):
        """Its priority has changed since."""
        jobs = [make_job(priority=5), make_job()]
        assert claim_ids(returned=[jobs[0].pk], slots=2, limit=2) == [job.pk for job in jobs]

    @pytest.mark.parametrize(
        "fields", [{"queue_name": "mail"}, {"name": "app.other"}, {"limit_key": "app.job/"}, {"status": "scheduled"}]
    )
    def test_takes_no_returned_job_that_it_may_not_take(self, fields):
        job = make_job(**fields)
        assert claim_ids(returned=[job.pk]) == []

    def test_leaves_returned_jobs_that_others_are_to_have(self):
        job = make_job()
        assert claim_ids(returned=[job.pk], but=[job.pk], stretches={"default": [Stretch(0, 0, job.pk + 1)]}) == []
