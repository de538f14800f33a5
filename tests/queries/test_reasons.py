"""Why a job has not started: each reason where it holds, and not where it does not."""

import datetime as dt

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from qorworker import pause_queue
from qorworker.definitions.registry import job, registry
from qorworker.models import Job, Worker, database_now
from qorworker.queries.job_list import positions
from qorworker.queries.reasons import Why
from qorworker.queries.run_form import position
from tests.testapp import jobs

pytestmark = pytest.mark.django_db
MINUTE = dt.timedelta(minutes=1)


def a_worker(**fields):
    made = {"name": "web-1:7", "host": "web-1", "process_id": 7, "version": "1", "slots": 1, "queues": ["default"]}
    return Worker.objects.start(**{**made, "job_types": registry.names(), **fields})


def why(waiting):
    return [reason.kind for reason in Job.objects.get(pk=waiting.pk).why_waiting()]


def running(worker, job_type=jobs.noop, **fields):
    now = database_now("default")
    defaults = {"attempt": 1, "attempt_token": "t" * 32, "lease_expires_at": now + MINUTE, "last_attempted_at": now}
    return Job.objects.create(
        name=job_type.name, status="running", worker=worker, run_after=now, enqueued_at=now, **(defaults | fields)
    )


def done(job_type, seconds, times=3):
    """Let so many jobs of a type have taken so long."""
    end = database_now("default")
    for _number in range(times):
        Job.objects.create(
            name=job_type.name, status="done", attempt=1, run_after=end, enqueued_at=end, finished_at=end,
            started_at=end, last_attempted_at=end - dt.timedelta(seconds=seconds),
        )  # fmt: skip


@pytest.fixture
def queue(settings):
    """Makes a queue called "elsewhere" with another backend."""

    def make(name, **options):
        backend = {"BACKEND": f"qorworker.backends.{name}", "OPTIONS": options}
        settings.QORWORKER = {"QUEUES": {**settings.QORWORKER["QUEUES"], "elsewhere": backend}}
        return jobs.noop.using(queue_name="elsewhere")

    return make


def test_a_paused_job_waits_for_a_person_whatever_else_is_in_its_way():
    anna = get_user_model().objects.create_user("anna")
    job = jobs.noop.using(run_after=MINUTE).enqueue()
    job.pause(by=anna, reason="stocktaking")
    (reason,) = job.why_waiting()
    assert (reason.kind, reason.by, reason.comment) == (Why.PAUSED, "anna", "stocktaking")
    assert (reason.since, reason.is_obstacle) == (job.pause_requested_at, True)
    assert str(reason).startswith("It is paused. Since ")
    job.resume()
    assert why(job) == [Why.TIME]


def test_what_has_started_or_was_withdrawn_waits_for_nothing():
    worker = a_worker()
    withdrawn = jobs.noop.enqueue()
    withdrawn.cancel()
    assert why(running(worker)) == why(withdrawn) == []


def test_a_job_waits_for_its_time_whatever_else_is_in_its_way():
    pause_queue("default")
    later = jobs.noop.using(run_after=MINUTE).enqueue()
    (reason,) = later.why_waiting()
    assert (reason.kind, reason.until, reason.is_obstacle) == (Why.TIME, later.run_after, False)
    Job.objects.filter(pk=later.pk).update(attempt=1)
    later.refresh_from_db()
    assert later.why_waiting()[0].text == "It failed and waits for its next attempt."


def test_a_job_whose_time_has_come_waits_for_what_a_queued_one_does():
    late = jobs.noop.using(run_after=MINUTE).enqueue()
    Job.objects.filter(pk=late.pk).update(run_after=database_now("default") - MINUTE)
    assert why(late) == [Why.NO_WORKER]


@pytest.mark.parametrize("pause", [pause_queue, lambda name, **more: jobs.noop.pause(**more)])
def test_a_pause_is_told_with_who_why_and_until_when(pause):
    a_worker(queues=["default", "mail"])
    waiting, other = jobs.noop.enqueue(), jobs.noop_again.using(queue_name="mail").enqueue()
    until = timezone.now() + MINUTE
    pause("default", by=get_user_model().objects.create_user("anna"), reason="full", until=until)
    (reason,) = waiting.why_waiting()
    assert reason.kind == (Why.QUEUE_PAUSED if pause is pause_queue else Why.TYPE_PAUSED)
    assert (reason.by, reason.comment, reason.until) == ("anna", "full", until)
    assert all(part in str(reason) for part in ("is paused.", "By anna.", "full"))
    assert why(other) == [Why.LINE]


def test_what_is_paused_and_without_a_worker_says_both():
    waiting = jobs.noop.enqueue()
    pause_queue("default")
    jobs.noop.pause()
    assert why(waiting) == [Why.QUEUE_PAUSED, Why.TYPE_PAUSED, Why.NO_WORKER]


def test_workers_have_to_have_the_version_of_the_job():
    waiting = jobs.noop.enqueue()
    Job.objects.update(version=2)
    waiting.refresh_from_db()
    a_worker()
    assert why(waiting) == [Why.UNKNOWN_TYPE]
    a_worker(versions=[f"2 {jobs.noop.name}"])
    assert why(waiting) == [Why.LINE]


def test_workers_have_to_serve_the_queue_know_the_type_and_take_jobs():
    waiting = jobs.noop.enqueue()
    a_worker(queues=["mail"])
    assert why(waiting) == [Why.NO_WORKER]
    a_worker(job_types=[jobs.write.name])
    assert why(waiting) == [Why.UNKNOWN_TYPE]
    paused, drained = a_worker(), a_worker()
    assert why(waiting) == [Why.LINE]
    paused.pause()
    drained.drain()
    assert why(waiting) == [Why.WORKERS_PAUSED]
    paused.resume()
    assert why(waiting) == [Why.LINE]
    Worker.objects.stop(paused.pk)
    assert why(waiting) == [Why.WORKERS_PAUSED]


def test_a_limit_names_those_that_hold_it_and_a_rate_the_time():
    worker = a_worker(slots=5)

    @job(name="waiting.one", max_concurrency=1)
    def one() -> None: ...

    @job(name="waiting.rated", rate_limit="1/m")
    def rated() -> None: ...

    try:
        Worker.objects.filter(pk=worker.pk).update(job_types=registry.names())
        first, second = one.enqueue(), one.enqueue()
        assert why(second) == [Why.LINE]
        holder = running(worker, one, limit_key=first.limit_key)
        (reason,) = second.why_waiting()
        assert (reason.kind, reason.jobs, reason.is_obstacle) == (Why.LIMIT, (holder.pk,), False)
        assert f"#{holder.pk}" in str(reason)
        assert why(rated.enqueue()) == [Why.LINE]
    finally:
        registry.unregister("waiting.one")
        registry.unregister("waiting.rated")


def test_a_job_of_another_backend_waits_for_that_and_for_no_worker(queue):
    waiting = queue("immediate.ImmediateBackend").enqueue()
    (reason,) = waiting.why_waiting()
    assert (reason.kind, reason.is_obstacle) == (Why.BACKEND, False)
    pause_queue("elsewhere")
    assert why(waiting) == [Why.QUEUE_PAUSED, Why.BACKEND]


def test_a_job_for_celery_says_whether_it_was_handed_over(queue):
    pytest.importorskip("celery")
    waiting = queue("celery.CeleryBackend").enqueue()
    assert "No worker of Celery serves" in waiting.why_waiting()[0].text
    a_worker(queues=["elsewhere"], kind="celery")
    (reason,) = waiting.why_waiting()
    assert (reason.text, reason.since) == ("Celery has not been notified of it yet.", None)
    Job.objects.note_handed_over(waiting.pk)
    waiting.refresh_from_db()
    (reason,) = waiting.why_waiting()
    assert reason.since == waiting.handed_over_at
    assert "handed over to Celery" in str(reason)


def test_a_job_for_cron_waits_for_the_next_tick_or_says_that_cron_is_silent(queue):
    waiting = queue("crontab.CrontabBackend", PROCESSES=1).enqueue()
    (silent,) = waiting.why_waiting()
    assert (silent.kind, silent.is_obstacle) == (Why.BACKEND, True)
    Worker.objects.tick("here", ["elsewhere"])
    (next_tick,) = waiting.why_waiting()
    assert (next_tick.kind, next_tick.is_obstacle) == (Why.BACKEND, False)
    a_worker(queues=["elsewhere"])
    assert why(waiting) == [Why.LINE]


# In line


def test_the_place_counts_what_is_claimed_before_it_and_can_start():
    a_worker()
    jobs.noop_again.enqueue()
    first = jobs.noop.enqueue()
    waiting = jobs.noop.enqueue()
    jobs.noop.enqueue()
    jobs.noop.using(priority=5).enqueue()
    jobs.noop.using(queue_name="mail").enqueue()
    assert [found.why_waiting()[0].place for found in (first, waiting)] == [3, 4]
    jobs.noop_again.pause()
    assert [found.why_waiting()[0].place for found in (first, waiting)] == [2, 3]


def test_the_place_does_not_count_jobs_of_types_that_no_living_worker_knows():
    unknown = jobs.noop_again.enqueue()
    a_worker(job_types=[jobs.noop.name])
    gone = a_worker(name="web-2:7", process_id=8)
    waiting = jobs.noop.enqueue()
    assert waiting.why_waiting()[0].place == position(waiting) == 2
    assert positions([unknown, waiting]) == {unknown.pk: 1, waiting.pk: 2}
    Worker.objects.filter(pk=gone.pk).update(stopped_at=database_now("default"))
    assert waiting.why_waiting()[0].place == position(waiting) == 1
    assert waiting.why_waiting()[0].starts_in == dt.timedelta()
    assert positions([unknown, waiting]) == {unknown.pk: None, waiting.pk: 1}


def test_without_a_worker_every_job_counts():
    first, second = jobs.noop_again.enqueue(), jobs.noop.enqueue()
    assert positions([first, second]) == {first.pk: 1, second.pk: 2}
    assert position(second) == 2


def test_with_a_free_slot_it_starts_at_once():
    a_worker(slots=2)
    waiting, next_one, third = jobs.noop.enqueue(), jobs.noop.enqueue(), jobs.noop.enqueue()
    assert waiting.why_waiting()[0].starts_in == next_one.why_waiting()[0].starts_in == dt.timedelta()
    assert third.why_waiting()[0].starts_in is None  # how long the others take is not known


def test_an_estimate_is_what_is_usual_for_those_before_it_shared_by_the_slots():
    worker = a_worker(slots=2)
    done(jobs.noop, 60)
    done(jobs.noop_again, 30)
    now = database_now("default")
    running(worker, last_attempted_at=now - dt.timedelta(seconds=40))  # 20 s are left
    running(worker, last_attempted_at=now - dt.timedelta(seconds=90))  # longer than usual: any moment
    jobs.noop.enqueue()
    jobs.noop_again.enqueue()
    waiting = jobs.noop.enqueue()
    (reason,) = waiting.why_waiting()
    assert reason.place == 3
    assert (20 + 60 + 30) / 2 - 5 < reason.starts_in.total_seconds() <= (20 + 60 + 30) / 2
    running(worker, jobs.write)
    assert waiting.why_waiting()[0].starts_in is None


def test_three_queries_tell_all_while_nothing_is_paused(django_assert_max_num_queries):
    worker = a_worker()
    running(worker)
    for _number in range(20):
        waiting = jobs.noop.enqueue()
    with django_assert_max_num_queries(5):
        assert waiting.why_waiting()[0].place == 20
    Worker.objects.filter(pk=worker.pk).update(slots=50)
    with django_assert_max_num_queries(2):
        waiting.why_waiting()


@pytest.mark.parametrize(
    ("base", "said"),
    [
        (None, "Its priority rises by 1.5 each minute that it waits."),
        (0, "Its priority has risen from 0 to 45, because it has waited."),
    ],
)
def test_a_job_says_what_waiting_does_to_its_priority_where_the_queue_ages(settings, base, said):
    waiting = jobs.noop.enqueue()
    Job.objects.filter(pk=waiting.pk).update(base_priority=base, priority=45)
    running(a_worker())
    waiting.refresh_from_db()
    assert "Its priority" not in " ".join(map(str, waiting.why_waiting()))
    queues = settings.QORWORKER["QUEUES"]
    settings.QORWORKER = {**settings.QORWORKER, "QUEUES": {**queues, "default": {**queues["default"], "AGEING": 1.5}}}
    assert said in " ".join(map(str, waiting.why_waiting()))
