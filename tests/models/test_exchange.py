import sys

import pytest
from django.db import DataError, OperationalError, connection, transaction

from qorworker.models import Attempt, Job, database_now
from qorworker.models.leases import Requests
from qorworker.models.sql import AttemptNote, AttemptUpdate, exchange
from tests.models.rows import columns, leaving, make_job, somebody_else, token, wanted

needs_row_locks = pytest.mark.only_on("postgresql", "mysql")  # SQLite locks the whole database


def note(job, outcome="done", error=""):
    return AttemptNote(job_id=job.pk, number=job.attempt, worker_id=1, worker_name="host:1", process_id=4711,
                       outcome=outcome, started_at=-2.5, error=error)  # fmt: skip


def status(job):
    return columns(job)["status"]


@pytest.mark.django_db
class TestTogether:
    def test_ends_are_written_and_the_next_jobs_taken(self):
        first, second = make_job("running"), make_job("running")
        waiting = [make_job() for _ in range(3)]
        result = exchange("default", [leaving(first, "done"), leaving(second, "exception", error="x")],
                          [note(first), note(second, "failed", "x")], wanted(slots=2, limit=2))  # fmt: skip
        assert (result.ours, result.busy) == ({first.pk, second.pk}, set())
        assert [job.id for job in result.claimed] == [job.pk for job in waiting[:2]]
        assert [status(job) for job in (first, second, *waiting)] == ["done", "exception", "running", "running", "new"]
        assert list(Attempt.objects.order_by("job_id").values_list("job_id", "outcome", "error")) == [
            (first.pk, "done", ""),
            (second.pk, "failed", "x"),
        ]

    def test_an_attempt_is_dated_by_the_databases_clock(self):
        job = make_job("running")
        before = database_now("default")
        exchange("default", [leaving(job, "done")], [note(job)])
        attempt = Attempt.objects.get()
        assert attempt.finished_at >= before
        assert 2.49 < attempt.duration.total_seconds() < 2.51

    def test_of_an_attempt_that_lost_its_job_nothing_is_noted(self):
        mine, lost = make_job("running"), make_job("running")
        updates = [leaving(mine, "done"), AttemptUpdate(lost.pk, token(), "done")]
        result = exchange("default", updates, [note(mine), note(lost)])
        assert (result.ours, result.busy) == ({mine.pk}, set())
        assert list(Attempt.objects.values_list("job_id", flat=True)) == [mine.pk]
        assert status(lost) == "running"

    @pytest.mark.only_on("postgresql")
    def test_what_was_claimed_is_told_although_the_next_statement_fails(self, transactional_db, monkeypatch):
        def fail(connection, updates):
            raise OperationalError("could not serialize access")

        mine, lost, waiting = make_job("running"), make_job("running"), make_job()
        updates = [leaving(mine, "done"), AttemptUpdate(lost.pk, token(), "done")]
        monkeypatch.setattr(sys.modules[exchange.__module__], "_still_held", fail)
        result = exchange("default", updates, (), wanted())
        assert [job.id for job in result.claimed] == [waiting.pk]
        assert (result.ours, result.busy) == ({mine.pk}, {lost.pk})
        with pytest.raises(OperationalError), transaction.atomic():  # in which nothing is committed yet
            exchange("default", updates, (), wanted())

    def test_what_goes_back_into_the_queue_is_not_taken_by_the_same_exchange_twice(self):
        job = make_job("running", max_attempts=3)
        result = exchange("default", [leaving(job, "new", uncounted=True)], (), wanted())
        assert result.ours == {job.pk}
        assert (columns(job)["attempt"], len(result.claimed)) in [(0, 0), (1, 1)]

    def test_nothing_at_all_is_no_query(self, django_assert_num_queries):
        with django_assert_num_queries(0):
            result = exchange("default", (), (), wanted(slots=0, limit=0))
        assert (result.ours, result.busy, result.claimed) == (set(), set(), [])

    @pytest.mark.only_on("postgresql")
    def test_it_is_one_journey(self, django_assert_num_queries):
        job = make_job("running")
        make_job()
        with django_assert_num_queries(1):
            assert exchange("default", [leaving(job, "done")], [note(job)], wanted()).claimed

    @pytest.mark.only_on("postgresql")
    @pytest.mark.django_db(transaction=True)
    def test_statements_that_are_kept_do_the_same(self):
        connection.ensure_connection()
        connection.connection.prepare_threshold = 0
        try:
            for _ in range(3):
                job, waiting = make_job("running"), make_job(arguments={"text": "grüße"})
                result = exchange("default", [leaving(job, "done")], [note(job)], wanted())
                assert (result.ours, [one.id for one in result.claimed]) == ({job.pk}, [waiting.pk])
                assert "grüße" in result.claimed[0].arguments
            with connection.cursor() as cursor:
                cursor.execute("SELECT COUNT(*) FROM pg_prepared_statements")
                assert cursor.fetchone()[0] >= 1
        finally:
            connection.close()


@pytest.mark.only_on("postgresql")  # the others store what this one refuses
@pytest.mark.django_db(transaction=True)
def test_all_or_nothing():
    good, bad, waiting = make_job("running"), make_job("running"), make_job()
    updates = [leaving(good, "done"), leaving(bad, "done", error="a NUL \0")]
    with pytest.raises(DataError):
        exchange("default", updates, [note(good), note(bad)], wanted())
    assert [status(job) for job in (good, bad, waiting)] == ["running", "running", "new"]
    assert not Attempt.objects.exists()


@needs_row_locks
@pytest.mark.django_db(transaction=True)
class TestRowsThatOthersHaveLocked:
    def lock(self, cursor, job):
        cursor.execute("SELECT id FROM qorworker_job WHERE id = %s FOR UPDATE", [job.pk])

    def test_the_other_ends_are_written_and_jobs_taken_meanwhile(self):
        locked, free, waiting = make_job("running"), make_job("running"), make_job()
        updates, notes = [leaving(locked, "done"), leaving(free, "done")], [note(locked), note(free)]
        with somebody_else() as cursor:
            self.lock(cursor, locked)
            result = exchange("default", updates, notes, wanted())
            assert (result.ours, result.busy) == ({free.pk}, {locked.pk})
            assert [job.id for job in result.claimed] == [waiting.pk]
            assert exchange("default", updates[:1], notes[:1]).busy == {locked.pk}
        assert exchange("default", updates[:1], notes[:1]).ours == {locked.pk}
        assert exchange("default", updates, notes).ours == set()
        assert sorted(Attempt.objects.values_list("job_id", flat=True)) == [locked.pk, free.pk]

    def test_a_job_that_is_lost_is_not_taken_for_a_locked_one(self):
        lost = make_job("running")
        stale = AttemptUpdate(lost.pk, token(), "done")
        with somebody_else() as cursor:
            self.lock(cursor, lost)
            result = exchange("default", [stale])
            assert (result.ours, result.busy) == (set(), set())

    def test_the_other_leases_are_renewed(self):
        locked, free = make_job("running"), make_job("running")
        tokens = {job.pk: job.attempt_token for job in (locked, free)}
        with somebody_else() as cursor:
            self.lock(cursor, locked)
            assert Job.objects.renew(tokens, 60) == 1
            assert Job.objects.requests(tokens) == {locked.pk: Requests(), free.pk: Requests()}
        assert columns(free)["lease_expires_at"] > columns(locked)["lease_expires_at"]
        assert Job.objects.renew(tokens, 60) == 2

    def test_nobody_can_hold_it_against_the_owner_that_the_lease_is_past(self):
        locked, past = make_job("running"), make_job("running")
        with somebody_else() as cursor:
            self.lock(cursor, locked)
            assert set(Job.objects.expired_leases()) == {past.pk}
        assert set(Job.objects.expired_leases()) == {locked.pk, past.pk}
