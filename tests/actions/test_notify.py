"""Backends are notified of jobs, and a slow one does not keep the process that notifies it from its other work."""

import pytest

from qorworker.actions import notify
from qorworker.actions.notify import hand_over
from qorworker.models import Job
from tests.backends.told import ToldBackend
from tests.testapp import jobs

pytestmark = pytest.mark.django_db
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


def test_all_are_handed_over_in_one_call_without_a_limit_of_time(waiting):
    numbers = waiting(SlowBackend)
    assert hand_over("default") == 100
    assert ToldBackend.told == numbers


def test_within_a_limit_of_time_the_rest_comes_with_the_next_calls(waiting):
    numbers = waiting(SlowBackend)
    assert [hand_over("default", 2 * SECONDS) for _ in range(4)] == [40, 40, 20, 0]
    assert ToldBackend.told == numbers


def test_a_backend_that_is_slower_than_the_limit_is_notified_of_some_at_each_call(waiting):
    waiting(SlowBackend)
    assert [hand_over("default", SECONDS / 2) for _ in range(2)] == [20, 20]


def test_a_broker_that_is_down_is_tried_once_in_each_call(waiting):
    waiting(DownBackend)
    assert hand_over("default") == 0
    assert len(ToldBackend.told) == 1
