"""Backends are notified of jobs, and a slow one does not keep the process that notifies it from its other work."""

import pytest

from qorworker.actions import notify
from qorworker.actions.notify import hand_over, hand_over_to
from qorworker.models import DatabaseNow, Job, Worker
from qorworker.models.worker import SILENT_AFTER
from qorworker.queues import backend_of
from tests.backends.told import ToldBackend
from tests.models.rows import somebody_else
from tests.testapp import jobs

pytestmark = pytest.mark.django_db(transaction=True)
SECONDS = 0.25  # that a notification takes


class SlowBackend(ToldBackend):
    def jobs_ready(self, jobs):
        clock[0] += SECONDS
        super().jobs_ready(jobs)


class DownBackend(ToldBackend):
    def jobs_ready(self, jobs):
        self.told.append(len(jobs))
        raise ConnectionError("the broker does not answer")


clock = [0.0]


@pytest.fixture
def waiting(settings, monkeypatch):
    """``waiting(backend)``: make 100 jobs for a backend, which has not been notified of them."""
    local = {"BACKEND": "qorworker.backends.local.LocalBackend"}
    monkeypatch.setattr(notify, "monotonic", lambda: clock[0])
    monkeypatch.setattr(ToldBackend, "told", [])

    def make(backend):
        path = f"{backend.__module__}.{backend.__name__}"
        settings.QORWORKER = {"QUEUES": {"default": local, "told": {"BACKEND": path}}}
        rows = [Job(name=jobs.noop.name, queue_name="told", arguments={}) for _ in range(100)]
        return [job.pk for job in Job.objects.enqueue_rows(rows)]

    return make


def handed_over(seconds):
    return hand_over_to(backend_of("told"), "default", seconds)


def test_all_are_handed_over_in_one_call_without_a_limit_of_time(waiting):
    numbers = waiting(SlowBackend)
    assert hand_over("default") == 100
    assert ToldBackend.told == numbers


def test_within_a_limit_of_time_the_rest_comes_with_the_next_calls(waiting):
    numbers = waiting(SlowBackend)
    assert [handed_over(2 * SECONDS) for _ in range(4)] == [40, 40, 20, 0]
    assert ToldBackend.told == numbers


def test_a_backend_that_is_slower_than_the_limit_is_notified_of_some_at_each_call(waiting):
    waiting(SlowBackend)
    assert [handed_over(SECONDS / 2) for _ in range(2)] == [20, 20]


def test_a_broker_that_is_down_is_tried_once_in_each_call(waiting):
    waiting(DownBackend)
    assert hand_over("default") == 0
    assert len(ToldBackend.told) == 1


@pytest.mark.only_on("postgresql", "mysql")
def test_a_locked_job_holds_up_no_other_and_is_handed_over_once_it_is_free(waiting):
    locked, *others = waiting(ToldBackend)
    with somebody_else() as cursor:
        cursor.execute("SELECT 1 FROM qorworker_job WHERE id = %s FOR UPDATE", [locked])
        assert [hand_over("default") for _ in range(2)] == [len(others), 0]
        assert ToldBackend.told == others
        assert Job.objects.note_handed_over(locked) == 0  # it does not wait for the lock, which may last
    assert hand_over("default") == 1
    assert ToldBackend.told == [*others, locked]


@pytest.mark.only_on("postgresql", "mysql")
def test_a_backend_is_not_called_for_nothing(waiting):
    locked, *others = waiting(DownBackend)
    Job.objects.filter(pk__in=others).delete()
    with somebody_else() as cursor:
        cursor.execute("SELECT 1 FROM qorworker_job WHERE id = %s FOR UPDATE", [locked])
        assert hand_over("default") == 0
    assert ToldBackend.told == []


class TestLostMessages:
    """A worker that dies takes the messages with it that it has fetched from the broker."""

    @pytest.fixture
    def worker(self, waiting):
        """Of the queue, alive; everything was handed over before it gives its next sign of life."""
        self.numbers = waiting(ToldBackend)
        assert hand_over("default") == 100
        ToldBackend.told.clear()
        return Worker.objects.start(name="w", host="h", process_id=1, version="1", slots=2, queues=["told"])

    def test_are_sent_again_once_after_a_worker_was_found_dead(self, worker):
        Worker.objects.stop_dead(worker.pk)
        assert [hand_over("default") for _ in range(6)] == [20, 20, 20, 20, 20, 0]
        assert ToldBackend.told == self.numbers

    def test_are_sent_again_once_after_a_worker_fell_silent(self, worker):
        Worker.objects.update(heartbeat_at=DatabaseNow(-2 * SILENT_AFTER))
        Job.objects.update(handed_over_at=DatabaseNow(-2 * SILENT_AFTER), run_after=DatabaseNow(-3 * SILENT_AFTER))
        assert [hand_over("default") for _ in range(6)] == [20, 20, 20, 20, 20, 0]

    def test_are_not_sent_again_and_again_after_the_clock_went_back(self, worker):
        Worker.objects.stop_dead(worker.pk)
        Worker.objects.update(stopped_at=DatabaseNow(3600))
        Job.objects.update(run_after=DatabaseNow(3600))
        assert hand_over("default") == 0

    def test_a_broker_that_is_down_is_tried_once_in_a_call_after_a_death(self, worker, monkeypatch):
        Worker.objects.stop_dead(worker.pk)
        Job.objects.filter(pk__in=self.numbers[:50]).update(handed_over_at=None)
        monkeypatch.setattr(ToldBackend, "jobs_ready", DownBackend.jobs_ready)
        assert hand_over("default") == 0
        assert ToldBackend.told == [20]

    def test_what_was_sent_since_then_is_not_sent_again(self, worker):
        Worker.objects.update(heartbeat_at=DatabaseNow(-2 * SILENT_AFTER))
        assert hand_over("default") == 0

    def test_a_worker_that_lives_or_has_stopped_as_it_should_has_lost_none(self, worker):
        assert hand_over("default") == 0
        Worker.objects.stop(worker.pk)
        Worker.objects.update(heartbeat_at=DatabaseNow(-2 * SILENT_AFTER))
        Job.objects.update(handed_over_at=DatabaseNow(-2 * SILENT_AFTER), run_after=DatabaseNow(-3 * SILENT_AFTER))
        assert hand_over("default") == 0

    def test_the_worker_of_another_queue_had_none(self, worker):
        Worker.objects.update(queues=["default"])
        Worker.objects.stop_dead(worker.pk)
        assert hand_over("default") == 0
