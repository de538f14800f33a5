"""Figures of queues, workers and durations, as they stand in rows that a test wrote."""

import datetime as dt

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from qorworker import metrics
from qorworker.models import Attempt, Job, Worker, database_now
from qorworker.models.clock import DatabaseNow
from qorworker.queries import figures
from tests.models.rows import make_job
from tests.testapp import jobs

pytestmark = pytest.mark.django_db
SECOND, MINUTE = dt.timedelta(seconds=1), dt.timedelta(minutes=1)


def ago(**spans):
    return database_now("default") - dt.timedelta(**spans)


def make_worker(**fields):
    defaults = {"name": "web-1", "host": "web-1", "process_id": 1, "version": "1", "slots": 4, "queues": ["default"]}
    return Worker.objects.start(**(defaults | fields))


def test_every_queue_of_the_settings_and_every_used_one_has_figures():
    make_job("done", queue_name="left_the_settings")  # nothing of it waits, runs or has failed
    make_job("new", queue_name="also_left")
    assert list(metrics.queues()) == ["also_left", "default", "mail", "other", "reports"]
    assert metrics.queues()["mail"] == metrics.QueueFigures("mail", workers=[])


def test_jobs_are_counted_by_queue_and_state():
    for status in ("new", "new", "scheduled", "running", "running", "running", "exception", "done", "killed"):
        make_job(status, run_after=database_now("default") + MINUTE * (status == "scheduled"))
    make_job("new", queue_name="mail")
    default, mail = metrics.queues()["default"], metrics.queues()["mail"]
    assert (default.queued, default.scheduled, default.running, default.failed) == (2, 1, 3, 1)
    assert (mail.queued, mail.scheduled, mail.running, mail.failed) == (1, 0, 0, 0)


def test_latency_is_the_age_of_the_job_that_has_waited_longest():
    make_job("new", run_after=ago(seconds=20), priority=50)
    make_job("new", run_after=ago(minutes=3))
    make_job("new", run_after=ago(seconds=40), queue_name="mail")
    make_job("running", run_after=ago(hours=5))
    found = metrics.queues()
    assert 3 * MINUTE <= found["default"].latency < 4 * MINUTE
    assert 40 * SECOND <= found["mail"].latency < 100 * SECOND
    assert found["reports"].latency == dt.timedelta()


def test_a_job_whose_time_has_come_waits_also_if_no_worker_has_queued_it():
    make_job("scheduled", run_after=ago(minutes=2))
    make_job("scheduled", run_after=database_now("default") + MINUTE)
    for run_after in (ago(minutes=9), database_now("default") + MINUTE):
        make_job("scheduled", run_after=run_after, pause_requested_at=database_now("default"))
    found = metrics.queues()["default"]
    assert (found.queued, found.scheduled, found.paused) == (1, 1, 2)
    assert 2 * MINUTE <= found.latency < 3 * MINUTE


def test_a_long_line_does_not_hide_those_who_starve_behind_it(monkeypatch):
    monkeypatch.setattr(figures, "CAP", 2)
    monkeypatch.setattr(figures, "LINE", 2)
    for _ in range(5):
        make_job("new", priority=9)
    make_job("new", priority=0)
    make_job("new", priority=-5, run_after=ago(hours=1))
    found = metrics.queues()["default"]
    assert found.queued == 3  # "more than two"
    assert found.latency >= 60 * MINUTE


def test_queues_name_the_workers_that_serve_them():
    alive = make_worker(queues=["default", "mail"])
    make_worker(stopped_at=DatabaseNow())
    Worker.objects.filter(pk=make_worker().pk).update(heartbeat_at=DatabaseNow(-60))
    found = metrics.queues()
    assert (found["default"].workers, found["mail"].workers, found["reports"].workers) == ([alive], [alive], [])


def test_the_figures_of_all_queues_take_few_statements():
    for queue in ("default", "mail", "reports", "other"):
        make_job("new", queue_name=queue)
    with CaptureQueriesContext(connection) as captured:
        metrics.queues()
    assert len(captured) <= (4 if connection.vendor != "mysql" else 8)


def test_workers_tell_what_they_are_busy_with():
    busy, idle = make_worker(slots=2), make_worker(name="web-2")
    make_worker(stopped_at=DatabaseNow())
    job = make_job("running", worker_id=busy.pk)
    assert [(each.worker, each.jobs, each.idle) for each in metrics.workers()] == [(idle, [], 4), (busy, [job], 1)]


def finished(seconds, status="done", name="app.job", **fields):
    now = database_now("default")
    took = dt.timedelta(seconds=seconds)
    return make_job(status, name=name, last_attempted_at=now - took, finished_at=now, **fields)


def test_durations_are_those_of_the_last_successful_runs():
    for seconds in range(1, 21):
        finished(seconds)
    finished(1000, status="exception")
    finished(1000, name="app.other")
    found = metrics.durations("app.job")
    assert found.count == 20
    assert found.median.total_seconds() == pytest.approx(10.5, abs=0.01)
    assert found.p95.total_seconds() == pytest.approx(19, abs=0.01)


def test_a_type_is_named_or_given_and_has_no_durations_before_its_first_run():
    assert metrics.durations(jobs.noop) is None
    finished(2, name=jobs.noop.name)
    assert metrics.durations(jobs.noop) == metrics.durations(jobs.noop.name)
    assert metrics.durations(jobs.noop).median.total_seconds() == pytest.approx(2, abs=0.01)


def ended(job, waited, outcome="done", **fields):
    defaults = {"number": job.attempt, "started_at": job.run_after + dt.timedelta(seconds=waited)}
    defaults["finished_at"] = defaults["started_at"] + SECOND
    return Attempt.objects.create(job=job, outcome=outcome, **(defaults | fields))


def test_activity_tells_rate_failures_and_waits_of_each_queue():
    for waited in (1, 2, 9):
        ended(make_job("done", run_after=ago(minutes=1)), waited)
    ended(make_job("exception", run_after=ago(minutes=1), queue_name="mail"), 4, outcome="failed")
    ended(make_job("done", run_after=ago(hours=1)), 1)  # too long ago
    found = metrics.activity()
    assert set(found) == {"default", "mail"}
    assert (found["default"].finished, found["default"].failed) == (3, 0)
    assert found["default"].per_minute == pytest.approx(0.6)
    assert found["default"].waits == metrics.Durations(3, 2 * SECOND, 9 * SECOND)
    assert (found["mail"].finished, found["mail"].failed) == (1, 1)


@pytest.mark.parametrize(
    ("outcome", "failed"), [("failed", 1), ("timeout", 1), ("aborted", 0), ("interrupted", 0), ("suspended", 0)]
)
def test_an_attempt_that_was_ended_on_purpose_has_not_failed(outcome, failed):
    ended(make_job("new", run_after=ago(minutes=1)), 4, outcome=outcome)
    assert metrics.activity()["default"].failed == failed


def test_an_attempt_whose_job_was_retried_since_tells_nothing_of_waiting():
    job = make_job("done", run_after=ago(minutes=1), attempt=2)
    ended(job, -30, outcome="failed", number=1)
    ended(job, 5)
    assert metrics.activity()["default"].waits == metrics.Durations(1, 5 * SECOND, 5 * SECOND)


def test_of_many_attempts_the_last_ones_tell_the_rate(monkeypatch):
    monkeypatch.setattr(figures, "ENDED", 10)
    for number in range(20):
        ended(make_job("done", run_after=ago(seconds=30 - number)), 0)
    found = metrics.activity()["default"]
    assert found.finished == 10
    assert found.per_minute > 20  # ten within less than half a minute


def test_jobs_of_queues_and_times_are_found_by_name():
    early = make_job("done", enqueued_at=ago(days=2), finished_at=ago(days=1))
    late = make_job("new", queue_name="mail")
    assert list(Job.objects.on_queue("mail")) == [late]
    assert set(Job.objects.on_queue("mail", "default")) == {early, late}
    assert list(Job.objects.enqueued_between(end=ago(days=1))) == [early]
    assert list(Job.objects.enqueued_between(ago(days=1))) == [late]
    assert list(Job.objects.finished_between(ago(days=2), ago(hours=1))) == [early]
    assert list(Job.objects.finished_between()) == [early]
