"""The immediate backend keeps the contract, in the process that enqueues."""

import datetime as dt

import pytest
from django.db import InterfaceError, OperationalError, connections, transaction
from django.test import TestCase, override_settings

from qorworker.backends.inprocess import Attendant
from qorworker.exceptions import UnsupportedByBackend
from qorworker.models import Job
from qorworker.models.sql import Claimed
from qorworker.testing import jobs
from qorworker.testing.backends import BackendContract
from qorworker.worker.attempt import RunningAttempt
from qorworker.worker.writer import Writer
from tests.support import ended
from tests.testapp import jobs as app_jobs

QUEUES = {
    "default": {"BACKEND": "qorworker.backends.local.LocalBackend"},
    "now": {"BACKEND": "qorworker.backends.immediate.ImmediateBackend"},
}


class TestImmediateBackend(BackendContract):
    queue_name = "now"

    @pytest.fixture
    def running(self, settings):
        settings.QORWORKER = {"QUEUES": QUEUES}

    def test_the_caller_has_the_job_as_it_ended(self):
        job = self.here(jobs.story).enqueue()
        assert (job.status, job.progress) == ("done", 100)

    def test_retry_returns_when_the_attempt_has_ended(self, path):
        job = self.here(jobs.fail_until).enqueue(path=path, good=4)
        assert job.status == "exception"
        job.retry()
        assert job.status == "done"

    def test_ctrl_c_fails_the_job_and_reaches_the_caller(self, monkeypatch):
        def interrupted(context):
            raise KeyboardInterrupt

        monkeypatch.setattr(jobs.story, "function", interrupted)
        with pytest.raises(KeyboardInterrupt):
            self.here(jobs.story).enqueue()
        assert Job.objects.get().status == "exception"

    def test_a_handler_that_fails_leaves_the_connection_usable(self):
        with transaction.atomic():
            job = self.here(jobs.fail).enqueue(message="no")
            assert Job.objects.count() == 1
        assert (job.status, Job.objects.count()) == ("exception", 1)

    def test_what_the_handler_returns_is_kept_without_secrets(self):
        job = self.here(app_jobs.gives_back).enqueue(password="open sesame", number=7)
        assert job.result == {"number": 7, "password": "••••••"}
        assert self.here(jobs.story).enqueue().result is None

    def test_the_job_of_a_later_time_is_refused_in_words(self):
        with pytest.raises(UnsupportedByBackend, match="“now” cannot keep a job for a later time"):
            self.here(jobs.story, run_after=dt.timedelta(days=1)).enqueue()
        assert not Job.objects.exists()


@override_settings(QORWORKER={"QUEUES": QUEUES})
class InsideATestCase(TestCase):
    def test_jobs_run_where_commits_are_captured(self):
        with self.captureOnCommitCallbacks(execute=True):
            job = jobs.story.using(queue_name="now").enqueue()
            assert job.status == "new"
        assert job.status == "done"
        assert job.log.count() == 4


@pytest.mark.process
def test_a_job_that_its_caller_left_behind_is_run_by_a_worker(start, settings):
    settings.QORWORKER = {"QUEUES": QUEUES}
    left, fresh = (Job(name=jobs.story.name, queue_name="now", arguments={}) for _ in range(2))
    Job.objects.enqueue_rows([left, fresh])  # as if their process had died before it ran them
    Job.objects.filter(pk=left.pk).update(run_after=left.run_after - dt.timedelta(minutes=2))
    start(QUEUES=QUEUES)
    assert ended(left).status == "done"
    fresh.refresh_from_db()
    assert fresh.status == "new"


@pytest.mark.django_db
@pytest.mark.parametrize("error", [InterfaceError("connection closed"), OperationalError("server has gone away")])
def test_a_lost_connection_does_not_end_the_thread_that_keeps_the_lease(monkeypatch, error):
    def fail(attendant):
        raise error

    seen = []
    attempt = RunningAttempt(Claimed(1, 0, jobs.story.name, "now", "{}", 1, 1, 0, 0, 0, 0, 0, 0, "f" * 32), "default")
    attendant = Attendant(attempt, Writer("default", None, "a test"), seen.append)
    monkeypatch.setattr(Attendant, "_look", fail)
    monkeypatch.setattr(connections["default"], "close", lambda: None)  # it belongs to the test
    attendant._round()
    assert seen == [attendant]
