"""The end of a batch: settled once, whoever ends its last jobs, and never while one of them runs."""

from functools import partial

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from qorworker import Batch
from qorworker.actions.pruning import delete_ended
from qorworker.attempts.batch_ends import BatchEnds
from qorworker.models import AuditEntry, Job, bulk, database_now
from qorworker.models.batch_ends import settle_batches, unfinished_in
from qorworker.testing.running import run_job
from tests.models.rows import leaving, race, somebody_else, token, written
from tests.testapp import jobs

pytestmark = pytest.mark.django_db


def rows():
    return Job.objects.using("default")


def enqueue(number=2, **options):
    options = {"then": jobs.noop.bind(), "otherwise": jobs.noop.bind(), **options}
    return Batch.objects.enqueue("Batch", (jobs.noop.bind() for _ in range(number)), **options)


def end(jobs, how="done"):
    """End jobs as far as their rows show."""
    jobs.update(status=how, finished_at=database_now("default"))


def status(pk):
    return rows().get(pk=pk).status


def claimed(job):
    """Let *job* run."""
    rows().filter(pk=job.pk).update(status="running", attempt_token=token(), attempt=1, worker_id=1)
    job.refresh_from_db()
    return job


def finished(job):
    """End a running job as its worker does."""
    assert written(leaving(job, "done")) == {job.pk}
    return settle_batches(rows(), [job.batch_id])


def outcome(batch):
    batch.refresh_from_db()
    return batch.outcome


def test_it_is_not_settled_while_one_of_its_jobs_has_not_ended():
    batch = enqueue()
    end(rows().filter(pk=batch.jobs.first().pk))
    assert settle_batches(rows(), [batch.pk]) == []
    assert (outcome(batch), batch.ended_at, status(batch.then_id)) == ("", None, "scheduled")


def test_it_is_settled_once():
    batch = enqueue()
    end(batch.jobs)
    settle_batches(rows(), [batch.pk])
    first = (outcome(batch), batch.ended_at)
    rows().filter(pk=batch.then_id).update(status="done")
    settle_batches(rows(), [batch.pk])
    assert (outcome(batch), batch.ended_at) == first == ("done", first[1])
    assert status(batch.then_id) == "done"


def test_the_newest_unfinished_job_is_found():
    batch, other = enqueue(3), enqueue()
    first, second, third = batch.jobs.order_by("pk")
    assert unfinished_in(rows(), batch.pk) == third.pk
    end(rows().filter(pk__in=[second.pk, third.pk]))
    assert unfinished_in(rows(), batch.pk) == first.pk
    end(rows().filter(pk=first.pk))
    assert unfinished_in(rows(), batch.pk) is None
    assert unfinished_in(rows(), other.pk) is not None


def test_what_a_kill_has_left_is_settled_later():
    batches = [enqueue() for _ in range(3)]
    for batch in batches[1:]:
        end(batch.jobs)
    ends = BatchEnds("default")
    ends.settle_missed()
    assert [outcome(batch) for batch in batches] == ["", "done", "done"]
    end(batches[0].jobs, "exception")
    ends.settle_missed()
    assert outcome(batches[0]) == "failed"


def test_very_many_open_batches_take_several_looks(monkeypatch):
    monkeypatch.setattr("qorworker.attempts.batch_ends.AT_ONCE", 1)
    batches = [enqueue() for _ in range(3)]
    end(rows().filter(batch__in=batches))
    ends = BatchEnds("default")
    ends.settle_missed(seconds=0)
    assert [outcome(batch) for batch in batches] == ["done", "", ""]
    ends.settle_missed(seconds=0)
    ends.settle_missed(seconds=0)
    assert [outcome(batch) for batch in batches] == ["done"] * 3


def test_a_look_at_a_batch_that_goes_on_reads_one_row_by_its_key(django_assert_num_queries):
    batch, ends = enqueue(5), BatchEnds("default")
    ends._settle([batch.pk])
    with django_assert_num_queries(1):
        assert not ends._settle([batch.pk])


def test_a_retry_opens_it_again():
    batch = enqueue()
    end(batch.jobs, "exception")
    settle_batches(rows(), [batch.pk])
    assert outcome(batch) == "failed"
    batch.jobs.first().retry()
    assert (outcome(batch), batch.ended_at) == ("", None)


def test_then_is_cancelled_once_what_failed_is_gone():
    batch = enqueue(otherwise=None)
    end(batch.jobs, "exception")
    settle_batches(rows(), [batch.pk])
    assert status(batch.then_id) == "scheduled"
    batch.jobs.first().delete()
    assert status(batch.then_id) == "cancelled"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "delete", [lambda job: job.delete(), lambda job: delete_ended([job], "default")], ids=["delete", "prune"]
)
def test_what_waits_for_then_is_cancelled_with_it_at_once(delete):
    batch = enqueue(otherwise=None)
    last = jobs.noop.using(after=batch.then_id).enqueue()
    end(batch.jobs, "exception")
    settle_batches(rows(), [batch.pk])
    assert status(last.pk) == "scheduled"
    delete(batch.jobs.first())
    assert (status(batch.then_id), status(last.pk)) == ("cancelled", "cancelled")


@pytest.mark.django_db(transaction=True)
def test_then_that_is_deleted_with_the_others_is_not_cancelled_before():
    batch = enqueue(otherwise=None)
    end(batch.jobs, "exception")
    settle_batches(rows(), [batch.pk])
    rows().all().delete()
    assert not AuditEntry.objects.filter(action="cancel").exists()


def test_what_is_gone_is_still_counted():
    batch = enqueue(4)
    first, second, third, _fourth = batch.jobs.order_by("pk")
    end(rows().filter(pk__in=[first.pk, second.pk]))
    rows().filter(pk=third.pk).update(status="exception", error="no such luck", finished_at=database_now("default"))
    rows().filter(batch=batch).delete()
    batch.refresh_from_db()
    assert batch.counts() == {"done": 2, "exception": 1, "deleted": 1}
    assert batch.gone["errors"] == [["no such luck", 1]]
    assert batch.progress == 100


@pytest.mark.django_db(transaction=True)
class TestAtTheSameInstant:
    def test_the_last_two_jobs_end_on_two_machines(self):
        for _round in range(10):
            batch = enqueue()
            first, second = map(claimed, batch.jobs.all())

            assert race(partial(finished, first), partial(finished, second)) == [[], []]
            assert (outcome(batch), status(batch.then_id), status(batch.otherwise_id)) == ("done", "new", "cancelled")

    def test_a_batch_that_both_find_over_is_settled_by_one(self):
        batch = enqueue(otherwise=None)
        end(batch.jobs)
        assert race(*[lambda: settle_batches(rows(), [batch.pk])] * 4) == [[]] * 4
        assert (outcome(batch), status(batch.then_id)) == ("done", "new")

    def test_a_retry_and_the_end_leave_no_batch_that_has_ended_with_a_job_that_waits(self):
        for _round in range(10):
            batch = enqueue()
            end(batch.jobs, "exception")
            race(partial(settle_batches, rows(), [batch.pk]), batch.jobs.first().retry)
            assert (outcome(batch), batch.ended_at) == ("", None)

    @pytest.mark.only_on("postgresql", "mysql")
    def test_a_batch_whose_row_is_locked_is_left_for_later(self):
        batch = enqueue()
        end(batch.jobs)
        with somebody_else() as cursor:
            cursor.execute("SELECT id FROM qorworker_batch WHERE id = %s FOR UPDATE", [batch.pk])
            assert settle_batches(rows(), [batch.pk]) == []
        assert outcome(batch) == ""
        settle_batches(rows(), [batch.pk])
        assert outcome(batch) == "done"

    @pytest.mark.only_on("postgresql", "mysql")
    @pytest.mark.parametrize("delete", [bulk.delete, delete_ended])
    def test_a_delete_locks_what_waits_for_the_batch_before_the_batch(self, delete):
        batch = enqueue(otherwise=None)
        end(batch.jobs, "exception")
        settle_batches(rows(), [batch.pk])
        with CaptureQueriesContext(connection) as queries:
            delete([batch.jobs.first()], "default")
        locked = [query["sql"] for query in queries if "FOR UPDATE" in query["sql"]]
        assert (
            str(batch.then_id) in locked[0]
        )  # as ``settle_batches`` does: what locks them the other way waits for ever
        assert ["qorworker_batch" in sql for sql in locked].index(True) > 0
        assert status(batch.then_id) == "cancelled"

    def test_a_job_that_was_retried_since_keeps_it_open(self, monkeypatch):
        batch = enqueue()
        end(batch.jobs, "exception")
        monkeypatch.setattr("qorworker.models.batch_ends.has_unfinished", lambda rows, pk: False)
        batch.jobs.first().retry()
        settle_batches(rows(), [batch.pk])
        assert (outcome(batch), batch.ended_at, status(batch.otherwise_id)) == ("", None, "scheduled")
        assert not transaction.get_connection().needs_rollback
        assert not connection.in_atomic_block


def test_a_deleted_job_counts_as_it_has_ended_however_old_the_copy_is():
    batch = Batch.objects.enqueue("Two", [jobs.noop_again.bind(number=number) for number in range(2)])
    copy = batch.jobs.order_by("pk").first()
    run_job(Job.objects.get(pk=copy.pk))
    copy.delete()
    batch.refresh_from_db()
    assert batch.counts() == {"new": 1, "done": 1}
    assert not batch.has_lost_jobs
