import datetime as dt

import pytest
from django.contrib.auth import get_user_model
from django.test import override_settings
from django.utils import timezone

from qorworker import Batch, Secret, job
from qorworker.exceptions import InvalidArguments, JobTypeError, NotRehearsed, UnsupportedByBackend
from qorworker.models import AuditEntry, Job
from qorworker.queries.catalogue import usual_durations
from tests.job_types import own_types  # noqa: F401

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_types")]


@pytest.fixture
def ann():
    return get_user_model().objects.create_superuser("ann")


def rehearsable(**options):
    @job(name="tests.relabel", dry_run=True, **options)
    def relabel(prefix: str):
        pass

    return relabel


def finished(rehearsal, status="done", **values):
    Job.objects.filter(pk=rehearsal.pk).update(status=status, attempt=1, finished_at=timezone.now(), **values)
    rehearsal.refresh_from_db()
    return rehearsal


class TestEnqueueing:
    def test_a_rehearsal_is_marked_in_its_row_and_attempted_once(self):
        rehearsal = rehearsable(max_attempts=5).using(dry_run=True).enqueue(prefix="New")

        rehearsal.refresh_from_db()
        assert (rehearsal.is_dry_run, rehearsal.max_attempts, rehearsal.rehearsal) == (True, 1, None)

    def test_a_usual_job_is_none(self):
        usual = rehearsable(max_attempts=5).enqueue(prefix="New")

        usual.refresh_from_db()
        assert (usual.is_dry_run, usual.max_attempts) == (False, 5)

    def test_many_at_once_keep_what_they_are(self):
        relabel = rehearsable()
        calls = [relabel.using(dry_run=True).bind(prefix="a"), relabel.bind(prefix="b")]
        batch = Batch.objects.enqueue("Both", calls)

        assert {each.arguments["prefix"]: each.is_dry_run for each in batch.jobs} == {"a": True, "b": False}

    def test_the_type_has_to_allow_it(self):
        @job(name="tests.usual")
        def usual():
            pass

        with pytest.raises(ValueError, match="the job type has to allow that"):
            usual.using(dry_run=True)

    @pytest.mark.parametrize("value", [1, "yes"])
    def test_a_wrong_value_is_refused(self, value):
        with pytest.raises(ValueError, match="must be True or False"):
            rehearsable().using(dry_run=value)
        with pytest.raises(JobTypeError, match="must be True or False"):
            job(dry_run=value)(lambda: None)

    def test_a_schedule_makes_none(self):
        with pytest.raises(ValueError, match="jobs of a schedule are no rehearsals"):
            rehearsable().using(dry_run=True, schedule=5)

    def test_jobs_that_share_a_process_cannot_be_rehearsed(self):
        async def handler():
            pass

        with pytest.raises(JobTypeError, match="cannot have dry_run"):
            job(dry_run=True, concurrency=5, max_attempts=2)(handler)

    def test_other_backends_refuse_it(self):
        queues = {"default": {"BACKEND": "qorworker.backends.immediate.ImmediateBackend"}}
        refused = pytest.raises(UnsupportedByBackend, match="The queue “default” cannot rehearse jobs")
        with override_settings(QORWORKER={"QUEUES": queues}), refused:
            rehearsable().using(dry_run=True).enqueue(prefix="New")
        assert not Job.objects.exists()

    def test_it_needs_no_approval_and_its_run_for_real_does(self, ann):
        rehearsal = rehearsable(approval="auth.change_user").using(dry_run=True).enqueue(prefix="New")
        assert not rehearsal.awaits_approval

        assert finished(rehearsal).run_for_real(by=ann).awaits_approval

    def test_it_knows_no_unique_jobs(self):
        relabel = rehearsable(unique=True)
        usual = relabel.enqueue(prefix="New")
        first, second = (relabel.using(dry_run=True).enqueue(prefix="New") for _ in range(2))

        assert len({usual.pk, first.pk, second.pk}) == 3
        assert relabel.enqueue(prefix="New").is_existing


class TestRunForReal:
    def test_it_has_the_same_arguments_and_an_entry_in_the_audit(self, ann):
        rehearsal = finished(rehearsable(max_attempts=3).using(dry_run=True, user=ann).enqueue(prefix="New"))

        new = rehearsal.run_for_real(by=ann)

        new.refresh_from_db()
        assert (new.is_dry_run, new.arguments, new.rerun_of_id) == (False, rehearsal.arguments, rehearsal.pk)
        assert (new.created_by, new.max_attempts) == (ann, 3)
        (entry,) = AuditEntry.objects.filter(action="run for real")
        assert (entry.job_id, entry.user_name, entry.details) == (rehearsal.pk, "ann", {"job_made": new.pk})

    @pytest.mark.parametrize("status", ["new", "exception", "killed", "cancelled"])
    def test_only_a_success_can_be_run(self, ann, status):
        rehearsal = rehearsable().using(dry_run=True).enqueue(prefix="New")
        Job.objects.filter(pk=rehearsal.pk).update(status=status)

        with pytest.raises(NotRehearsed):
            rehearsal.run_for_real(by=ann)
        assert Job.objects.count() == 1

    def test_a_usual_job_cannot(self, ann):
        usual = finished(rehearsable().enqueue(prefix="New"))

        with pytest.raises(NotRehearsed):
            usual.run_for_real(by=ann)

    def test_a_secret_must_be_entered_again(self, ann):
        @job(name="tests.secret", dry_run=True)
        def secret(key: Secret[str]):
            pass

        rehearsal = finished(secret.using(dry_run=True).enqueue(key="hunter22"))
        with pytest.raises(InvalidArguments):
            rehearsal.run_for_real(by=ann)
        assert Job.objects.count() == 1

    def test_running_it_again_rehearses_again(self, ann):
        rehearsal = finished(rehearsable().using(dry_run=True).enqueue(prefix="New"))

        assert rehearsal.rerun(by=ann).is_dry_run
        Job.objects.filter(pk=rehearsal.pk).rerun(by=ann)
        assert Job.objects.filter(is_dry_run=True).count() == 3

    def test_so_does_running_a_batch_again(self):
        batch = Batch.objects.enqueue("Both", [rehearsable().using(dry_run=True).bind(prefix="a")])
        for each in batch.jobs:
            finished(each)

        assert [each.is_dry_run for each in batch.rerun().jobs] == [True]


def test_it_does_not_count_for_the_usual_duration():
    relabel, now = rehearsable(), timezone.now()
    times = {"started_at": now - dt.timedelta(hours=1), "last_attempted_at": now - dt.timedelta(hours=1)}
    finished(relabel.using(dry_run=True).enqueue(prefix="New"), **times)
    assert usual_durations(Job.objects.all(), ["tests.relabel"]) == {}

    finished(relabel.enqueue(prefix="New"), **times)
    assert usual_durations(Job.objects.all(), ["tests.relabel"])["tests.relabel"] >= dt.timedelta(minutes=59)


@pytest.mark.parametrize("text", ["", "[]", "{}", "nonsense", '{"models": 5}', '{"models": [], "more": 1}'])
def test_a_report_that_is_none_is_no_report(text):
    assert Job(rehearsal_report=text).rehearsal is None
