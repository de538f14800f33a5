"""What is paused is not started, everything else is; it ends by itself or when somebody says so, and is on record."""

import datetime as dt
from typing import ClassVar

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from qorworker import pause_queue, resume_queue
from qorworker.actions.notify import hand_over
from qorworker.attempts.in_process import run_stored
from qorworker.attempts.writer import Writer
from qorworker.exceptions import InvalidPause, InvalidRequest, UnknownQueue
from qorworker.models import AuditEntry, Job, Pause, PauseKind, Worker, database_now
from qorworker.models.sql import claim
from qorworker.queues import BaseBackend
from qorworker.worker.parent.claims import Claimer
from tests.testapp import jobs

MINUTE = dt.timedelta(minutes=1)


@pytest.fixture
def claimer(db):
    return Claimer(Writer("default", 1, "host:1"), ["*"], [])


@pytest.fixture
def anna(db):
    return get_user_model().objects.create_user("anna")


def taken(claimer):
    """The jobs that a worker with much room takes now."""
    claimer.find_queues()
    return {job.id for job in claim("default", claimer.next_claim(100, 0, ()))}


def over(kind, name):
    """Let the time of a pause be over."""
    Pause.objects.filter(kind=kind, name=name).update(until=database_now("default") - MINUTE)


def test_of_a_paused_queue_nothing_is_taken_and_of_the_others_all(claimer):
    held, free = jobs.noop.using(queue_name="mail").enqueue(), jobs.noop.enqueue()
    pause_queue("mail")
    assert taken(claimer) == {free.pk}
    assert resume_queue("mail") is True
    assert taken(claimer) == {held.pk}


def test_of_a_paused_type_nothing_is_taken_in_any_queue(claimer):
    held = [jobs.noop.enqueue(), jobs.noop.using(queue_name="mail").enqueue()]
    free = jobs.noop_again.enqueue()
    jobs.noop.pause()
    assert taken(claimer) == {free.pk}
    assert jobs.noop.resume() is True
    assert taken(claimer) == {job.pk for job in held}


@pytest.mark.parametrize(("kind", "name"), [(PauseKind.QUEUE, "default"), (PauseKind.JOB_TYPE, jobs.noop.name)])
def test_a_pause_whose_time_is_over_holds_nothing(claimer, kind, name):
    job = jobs.noop.enqueue()
    Pause.objects.start(kind, name, until=timezone.now() + MINUTE)
    assert taken(claimer) == set()
    over(kind, name)
    assert taken(claimer) == {job.pk}
    assert Pause.objects.end(kind, name) is False


def test_a_busy_worker_hears_of_a_pause_between_two_looks(claimer):
    jobs.noop.enqueue()
    claimer.find_queues()
    pause_queue("default")
    claimer.refresh_pauses()
    assert claimer.waiting_queues == []


def test_what_is_paused_is_told_to_the_letter(claimer):
    jobs.noop.using(queue_name="mail").enqueue()
    Pause.objects.start(PauseKind.QUEUE, "Mail")
    assert len(taken(claimer)) == 1
    assert resume_queue("mail") is False
    assert Pause.objects.count() == 1


def test_the_look_at_pauses_is_one_query_and_none_if_no_job_waits(claimer, django_assert_num_queries):
    with django_assert_num_queries(1):
        claimer.refresh_pauses()
    jobs.noop.enqueue()
    pause_queue("default")
    assert claimer.find_queues() is False
    Job.objects.all().delete()
    Pause.objects.all().delete()
    claimer.paused = None
    claimer.find_queues()
    assert claimer.paused is None


def test_a_pause_says_who_why_and_until_when_and_both_verbs_are_on_record(anna):
    until = timezone.now() + MINUTE
    pause_queue("mail", by=anna, reason="the server is full", until=until)
    (pause,) = Pause.objects.for_people()
    assert (pause.paused_by, pause.reason, pause.until) == (anna, "the server is full", until)
    resume_queue("mail", by=anna)
    jobs.noop.pause(by=anna)
    assert [(entry.action, entry.user_name, entry.job_name) for entry in AuditEntry.objects.order_by("id")] == [
        ("pause queue", "anna", ""),
        ("resume queue", "anna", ""),
        ("pause job type", "anna", jobs.noop.name),
    ]
    assert AuditEntry.objects.earliest("id").details == {
        "queue": "mail",
        "reason": "the server is full",
        "until": until.isoformat(),
    }


def test_pausing_again_takes_the_place_of_the_earlier_pause(anna):
    pause_queue("mail", reason="first")
    pause_queue("mail", reason="second")
    assert [pause.reason for pause in Pause.objects.for_people()] == ["second"]
    assert resume_queue("mail") is True
    assert Pause.objects.for_people() == []


def test_what_is_not_paused_is_not_resumed_and_not_on_record(db):
    assert (resume_queue("mail"), jobs.noop.resume()) == (False, False)
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("pause", [lambda **more: pause_queue("mail", **more), jobs.noop.pause])
def test_a_time_that_cannot_be_is_refused_and_nothing_stored(db, pause):
    with pytest.raises(InvalidPause, match="ends in the future"):
        pause(until=timezone.now() - MINUTE)
    with pytest.raises(ValueError, match="with a zone"):
        pause(until=dt.datetime(2999, 1, 1))
    assert not Pause.objects.exists()


def test_a_queue_that_nobody_knows_is_refused_unless_jobs_wait_in_it(db):
    with pytest.raises(UnknownQueue, match="'mial'"):
        pause_queue("mial")
    Job.objects.create(name="app.job", queue_name="old", run_after=timezone.now(), enqueued_at=timezone.now())
    pause_queue("old")
    assert Pause.objects.paused().queues == {"old"}


def test_jobs_are_enqueued_and_scheduled_while_a_queue_is_paused(claimer):
    pause_queue("default")
    jobs.noop.enqueue()
    jobs.noop.using(run_after=MINUTE).enqueue()
    assert (Job.objects.queued().count(), Job.objects.scheduled().count()) == (1, 1)


# Other backends


class ToldBackend(BaseBackend):
    """Remembers of which jobs it was told."""

    told: ClassVar[list[int]] = []

    def jobs_ready(self, jobs):
        for job in jobs:
            self.told.append(job.pk)
            Job.objects.note_handed_over(job.pk)


@pytest.fixture
def queues(db, settings):
    """Beside the usual ones a queue of the backend above, and one of the caller."""
    ToldBackend.told.clear()
    more = {
        "told": {"BACKEND": f"{__name__}.ToldBackend", "OPTIONS": {}},
        "immediate": {"BACKEND": "qorworker.backends.immediate.ImmediateBackend", "OPTIONS": {}},
    }
    settings.QORWORKER = {"QUEUES": {**settings.QORWORKER["QUEUES"], **more}}


def test_in_the_caller_nothing_paused_starts_and_all_of_it_when_it_is_resumed(
    queues, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        pause_queue("immediate")
        held = jobs.noop.using(queue_name="immediate").enqueue()
    held.refresh_from_db()
    assert held.status == "new"
    with django_capture_on_commit_callbacks(execute=True):
        resume_queue("immediate")
    held.refresh_from_db()
    assert held.status == "done"


def test_a_backend_is_not_told_of_what_is_paused_and_told_when_it_is_resumed(
    queues, django_capture_on_commit_callbacks
):
    told = ToldBackend.told
    with django_capture_on_commit_callbacks(execute=True):
        job = jobs.noop.using(queue_name="told").enqueue()
    assert told == [job.pk]
    pause_queue("told")
    assert run_stored(job.pk, "default", worker_name="theirs") is None
    assert hand_over("default") == 0
    with django_capture_on_commit_callbacks(execute=True):
        resume_queue("told")
    assert told == [job.pk, job.pk]


# Workers


@pytest.fixture
def worker(db):
    return Worker.objects.start(name="web-1:7", host="web-1", process_id=7, version="1", slots=2)


def test_a_worker_is_paused_resumed_and_drained_with_who_and_why_on_record(worker, anna):
    worker.pause(by=anna, reason="too warm")
    assert (worker.request, worker.requested_by, worker.request_reason) == ("pause", anna, "too warm")
    worker.resume(by=anna)
    worker.pause()
    worker.drain(by=anna)
    assert worker.request == "drain"
    entries = AuditEntry.objects.order_by("id").values_list("action", "outcome")
    assert list(entries) == [
        ("pause worker", "ok"), ("resume worker", "ok"), ("pause worker", "ok"), ("drain worker", "ok"),
    ]  # fmt: skip
    assert AuditEntry.objects.earliest("id").details == {"worker": "web-1:7", "reason": "too warm"}


@pytest.mark.parametrize(
    ("before", "verb"),
    [
        ([], "resume"),
        (["pause"], "pause"),
        (["drain"], "pause"),
        (["drain"], "resume"),
        (["drain"], "drain"),
        (["stop"], "pause"),
        (["stop"], "drain"),
    ],
)
def test_what_a_worker_cannot_do_any_more_is_refused(worker, before, verb):
    for step in before:
        Worker.objects.stop(worker.pk) if step == "stop" else getattr(worker, step)()
    worker.refresh_from_db()
    assert not getattr(worker, f"can_{verb}")
    request = worker.request
    with pytest.raises(InvalidRequest, match="web-1:7"):
        getattr(worker, verb)()
    worker.refresh_from_db()
    assert worker.request == request
    assert AuditEntry.objects.latest("id").outcome == "too late"


def test_only_workers_of_which_nobody_asks_anything_take_jobs(worker):
    assert Worker.objects.taking().count() == 1
    worker.pause()
    assert Worker.objects.taking().count() == 0
    Worker.objects.beat(worker.pk, heeded="pause")
    worker.resume()
    assert Worker.objects.taking().count() == 0  # it has not seen it yet
    Worker.objects.beat(worker.pk, heeded="")
    assert Worker.objects.taking().count() == 1
