"""``prunejobs``: what has ended long enough ago goes with everything of its own, and nothing else does."""

from __future__ import annotations

import datetime as dt
import os
from io import StringIO
from secrets import token_hex
from types import SimpleNamespace

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command

import qorworker
from qorworker import Every, Schedule, Unique
from qorworker.actions import pruning
from qorworker.arguments import files
from qorworker.definitions.registry import registry
from qorworker.models import (
    Attempt,
    AuditEntry,
    Batch,
    Job,
    LogLine,
    Message,
    ResultsRow,
    ScheduleSlot,
    Worker,
    database_now,
)  # fmt: skip
from qorworker.models.job_queries import JobQuerySet
from qorworker.schedules.timetable import Slot
from tests.models.rows import make_job
from tests.testapp import jobs

pytestmark = pytest.mark.django_db(transaction=True)

DAY = dt.timedelta(days=1)


def prune(*options: str) -> str:
    said = StringIO()
    call_command("prunejobs", *options, stdout=said)
    return said.getvalue()


def ended(status: str, days: float, **fields: object) -> Job:
    """A job that ended so many days ago."""
    return make_job(status, finished_at=database_now("default") - days * DAY, **fields)


@pytest.fixture
def job_type():
    made = []

    def make(**options):
        made.append(qorworker.job(name="tests.pruned", **options)(lambda: None))

    yield make
    for each in made:
        registry.unregister(each.name)


@pytest.mark.parametrize(("status", "kept_for"), [("done", 30), ("cancelled", 30), ("exception", 90), ("killed", 90)])
def test_each_end_has_its_time(status, kept_for):
    over, still = ended(status, kept_for + 0.01), ended(status, kept_for - 0.01)
    assert "1 jobs deleted" in prune()
    assert set(Job.objects.all()) == {still}
    assert AuditEntry.objects.of_job(over.pk).get().action == "prune"


@pytest.mark.parametrize("status", ["new", "scheduled", "running"])
def test_what_has_not_ended_stays_however_old_it_is(status):
    old = database_now("default") - 1000 * DAY
    job = make_job(status, enqueued_at=old, finished_at=old)
    assert "0 jobs deleted" in prune("--older-than", "1m")
    assert Job.objects.get() == job


def test_the_rule_of_the_type_comes_before_that_of_the_project(job_type, settings):
    settings.QORWORKER = {**settings.QORWORKER, "KEEP_FOR": {"done": 10 * DAY, "exception": "forever"}}
    job_type(keep_for={"done": "forever", "killed": 2 * DAY})
    kept = [ended("done", 500, name="tests.pruned"), ended("exception", 500, name="tests.pruned"), ended("done", 9)]
    gone = [ended("killed", 3, name="tests.pruned"), ended("done", 11)]
    prune()
    assert set(Job.objects.all()) == set(kept)
    assert set(AuditEntry.objects.values_list("job_id", flat=True)) == {job.pk for job in gone}


def test_what_keeps_others_away_for_a_period_stays_until_that_is_over(job_type):
    job_type(keep_for=DAY, unique=Unique(period=2 * DAY))
    first = registry.get("tests.pruned").enqueue()
    Job.objects.update(status="done", finished_at=database_now("default") - 1.5 * DAY)
    prune()
    prune("--older-than", "1m")
    assert registry.get("tests.pruned").enqueue().pk == first.pk
    Job.objects.update(unique_until=database_now("default"))
    prune()
    assert not Job.objects.exists()


def test_one_time_for_every_end(job_type):
    job_type(keep_for=DAY)
    ended("exception", 1.1, name="tests.pruned")
    left = ended("exception", 0.9, name="tests.pruned")
    prune()
    assert Job.objects.get() == left


def test_nothing_is_looked_at_if_all_is_kept_for_ever(settings, django_assert_num_queries):
    settings.QORWORKER = {**settings.QORWORKER, "KEEP_FOR": {}}
    registered = [one for one in registry.all() if one.keep_for is not None]
    assert not registered
    ended("done", 5000)
    assert "0 jobs deleted" in prune("--status", "done")
    assert Job.objects.count() == 1


def test_a_job_goes_with_its_story_and_that_of_others_stays():
    jobs = [ended("done", 31), ended("done", 29)]
    now = database_now("default")
    for job in jobs:
        Attempt.objects.create(job=job, number=1, started_at=now, finished_at=now, outcome="done")
        LogLine.objects.create(job=job, number=1, at=now, level=20, text="said", attempt=1)
        ResultsRow.objects.create(job=job, number=1, cells=[], attempt=1)
    prune()
    for model in (Attempt, LogLine, ResultsRow):
        assert [row.job_id for row in model.objects.all()] == [jobs[1].pk]


def test_a_dry_run_tells_and_changes_nothing():
    ended("done", 31)
    ended("killed", 91)
    assert prune("--dry-run") == "2 jobs would be deleted: 1 done, 1 aborted.\n"
    assert Job.objects.count() == 2
    assert not AuditEntry.objects.exists()


def test_status_and_type_narrow_it():
    ended("done", 40, name="app.one")
    left = [ended("done", 40, name="app.two"), ended("cancelled", 40, name="app.one")]
    prune("--status", "done", "--type", "app.one")
    assert set(Job.objects.all()) == set(left)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--older-than", "soon"], "'soon' is no age: give 7d, 12h or 90m"),
        (["--older-than", "999999d"], "'999999d' is no age: give 7d, 12h or 90m"),
        (["--type", "app.typo"], "--type: there is no job of the type 'app.typo'."),
        (["--status", "running"], "invalid choice: 'running'"),
    ],
)
def test_what_cannot_be_meant_deletes_nothing(options, message):
    ended("done", 500)
    with pytest.raises(CommandError, match=message.replace("(", r"\(")):
        prune(*options)
    assert Job.objects.count() == 1


def test_a_job_that_is_retried_at_that_moment_stays(monkeypatch):
    job = ended("exception", 91)
    finished = JobQuerySet.finished

    def retried_first(jobs):
        if jobs.query.where and "pk" not in retried:
            retried["pk"] = Job.objects.filter(pk=job.pk).update(status="new", finished_at=None)
        return finished(jobs)

    retried: dict[str, int] = {}
    found = list(Job.objects.all())
    monkeypatch.setattr(JobQuerySet, "finished", retried_first)
    from qorworker.actions import pruning

    assert pruning.delete_ended(found, "default") == []
    assert Job.objects.get().status == "new"


def test_many_jobs_go_in_small_transactions(django_assert_max_num_queries):
    now = database_now("default")
    Job.objects.bulk_create(
        Job(name="app.job", status="done", run_after=now, enqueued_at=now, finished_at=now - 31 * DAY)
        for _ in range(450)
    )
    with django_assert_max_num_queries(88):  # about 22 for each transaction, of 200 jobs, and what comes before
        assert "450 jobs deleted" in prune()
    assert not Job.objects.exists()


def upload(days: float) -> str:
    """The key of an upload that was stored so many days ago."""
    key = default_storage.save(f"qorworker/abcd/{token_hex(16)}", ContentFile(b"x"))
    then = dt.datetime.now().timestamp() - days * DAY.total_seconds()
    os.utime(default_storage.path(key), (then, then))
    return key


def test_uploads_that_belong_to_no_job_go_after_a_day():
    strays = [upload(1.1), upload(0.9), upload(1.2)]
    stored = {"$file": strays[2], "storage": "default", "name": "", "size": 1, "sha256": "", "content_type": ""}
    make_job("done", arguments={"file": stored})
    assert "1 uploads that belong to no job deleted" in prune()
    assert [default_storage.exists(key) for key in strays] == [False, True, True]
    for key in strays[1:]:
        default_storage.delete(key)


def test_files_in_the_folder_of_uploads_that_are_none_stay():
    key = default_storage.save("qorworker/reports/sales.csv", ContentFile(b"x"))
    then = dt.datetime.now().timestamp() - 2 * DAY.total_seconds()
    os.utime(default_storage.path(key), (then, then))
    assert "belong to no job" not in prune()
    assert default_storage.exists(key)
    default_storage.delete(key)


def test_a_very_long_time_is_as_good_as_for_ever(job_type):
    job_type(keep_for=dt.timedelta.max)
    kept = ended("done", 1000, name="tests.pruned")
    assert "0 jobs deleted" in prune()
    assert Job.objects.get() == kept


def test_uploads_of_jobs_in_another_database_stay(monkeypatch):
    key = upload(1.1)
    stored = {"$file": key, "storage": "default", "name": "", "size": 1, "sha256": "", "content_type": ""}
    make_job("done", arguments={"file": stored})
    asked = JobQuerySet.using
    monkeypatch.setattr(JobQuerySet, "using", lambda jobs, alias: jobs.none() if alias == "b" else asked(jobs, alias))
    for name in ("prune_workers", "prune_slots", "prune_batches", "prune_limits", "prune_messages"):
        monkeypatch.setattr(pruning, name, lambda *args, **options: 0)
    monkeypatch.setattr("qorworker.management.commands.prunejobs.Command.require_database", lambda command: None)
    monkeypatch.setattr("qorworker.management.base.connections", SimpleNamespace(settings=("default", "b")))
    assert "belong to no job" not in prune("--database", "b")
    assert default_storage.exists(key)
    default_storage.delete(key)


def test_uploads_of_schedules_stay_also_those_that_only_a_job_still_needs():
    keys = [upload(1.1), upload(1.1)]
    of_schedule, lent = (
        {"$file": key, "storage": "default", "name": "", "size": 1, "sha256": "", "content_type": ""} for key in keys
    )
    schedule = Schedule.objects.create_for(jobs.noop, Every(days=1))
    Schedule.objects.filter(pk=schedule.pk).update(arguments={"file": of_schedule})
    make_job("done", arguments=files.lend({"file": lent}, owner=7))
    assert "belong to no job" not in prune()
    assert [default_storage.exists(key) for key in keys] == [True, True]
    for key in keys:
        default_storage.delete(key)


def test_a_batch_goes_some_time_after_its_last_job():
    job = make_job("done")
    old = database_now("default") - 91 * DAY
    batch = Batch.objects.create(title="Mails", created_at=old, ended_at=old, outcome="done", total=1)
    Job.objects.filter(pk=job.pk).update(batch=batch)
    recent = Batch.objects.create(title="Mails", created_at=old, ended_at=old + 2 * DAY, outcome="done")
    running = Batch.objects.create(title="Mails", created_at=old)
    assert "batches" not in prune()
    Job.objects.filter(pk=job.pk).update(batch=None, callback_of=batch)
    Batch.objects.filter(pk=batch.pk).update(then=job)
    assert "batches" not in prune()
    job.delete()
    assert "1 batches whose jobs are gone would be deleted" in prune("--dry-run")
    assert "1 batches whose jobs are gone deleted" in prune()
    assert set(Batch.objects.all()) == {recent, running}


def test_what_is_recorded_of_old_times_goes_after_its_job():
    schedule = Schedule.objects.create_for(jobs.noop, Every(days=1))
    now = database_now("default")
    for key, job, age in (("a", None, 91), ("b", make_job("done"), 91), ("c", None, 89)):
        ScheduleSlot.objects.note(schedule, Slot(dt.datetime.now(dt.UTC), key), outcome="fired", job=job)
        ScheduleSlot.objects.filter(slot=key).update(fired_at=now - age * DAY)
    assert "1 old times of schedules would be deleted" in prune("--dry-run")
    assert "1 old times of schedules deleted" in prune()
    assert set(ScheduleSlot.objects.values_list("slot", flat=True)) == {"b", "c"}


def test_workers_that_are_gone_for_a_week_go_and_those_with_a_job_stay():
    now = database_now("default")
    common = {"host": "h", "process_id": 1, "version": "1", "slots": 1, "started_at": now}
    old = [Worker.objects.create(name=name, heartbeat_at=now - 8 * DAY, **common) for name in ("gone", "holds")]
    Worker.objects.create(name="lately", heartbeat_at=now - 6 * DAY, **common)
    make_job("running", worker_id=old[1].pk)
    finished = make_job("done", worker_id=old[0].pk)
    assert "1 workers that are gone deleted" in prune()
    assert set(Worker.objects.values_list("name", flat=True)) == {"holds", "lately"}
    assert Job.objects.filter(pk=finished.pk).exists()


def test_messages_about_no_job_go_after_a_month_and_others_with_their_job():
    now = database_now("default")
    for source, job, age in (("a", None, 31), ("b", make_job("done"), 31), ("c", None, 29)):
        Message.objects.create(source=source, job=job, state="sent", created_at=now - age * DAY)
    assert "1 messages that are about no job would be deleted" in prune("--dry-run")
    assert "1 messages that are about no job deleted" in prune()
    assert set(Message.objects.values_list("source", flat=True)) == {"b", "c"}
