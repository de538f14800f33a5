"""A paused job does not start, whatever happens, until it is resumed; and no pause outlives the end of its job."""

from datetime import timedelta

import pytest

from qorworker.attempts.in_process import run_stored
from qorworker.exceptions import InvalidTransition, UnsupportedByBackend
from qorworker.models import AuditEntry, Job, Origin, database_now
from qorworker.models.sql import claim_one
from qorworker.queues import BaseBackend
from qorworker.status import WAITING
from tests.models.rows import STATUSES, claim_ids, columns, leaving, make_job, race, wanted, written
from tests.testapp import jobs

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)
UNFINISHED = ("new", "scheduled", "running")


@pytest.fixture
def user(django_user_model):
    return django_user_model.objects.create_user("lou", "lou@example.com")


def running(**fields):
    """A job that runs and can be paused: it has an attempt left."""
    return make_job("running", **{"max_attempts": 2, **fields})


def later():
    return make_job("scheduled", run_after=database_now("default") + HOUR)


def due():
    return make_job("scheduled", run_after=database_now("default") - HOUR)


def history(job):
    return list(AuditEntry.objects.of_job(job.pk).values_list("action", "outcome"))


class TestRequest:
    @pytest.mark.parametrize("status", sorted(WAITING))
    def test_a_job_that_waits_is_scheduled_and_paused(self, status, user):
        job = make_job(status)
        assert (job.can_pause, job.can_resume, job.is_paused) == (True, False, False)
        job.pause(by=user, reason="stocktaking", origin=Origin.ADMIN)
        assert (job.status, job.is_paused, job.can_pause, job.can_resume) == ("scheduled", True, False, True)
        assert job.pause_requested_at <= database_now("default")
        entry = AuditEntry.objects.of_job(job.pk).get()
        assert (entry.action, entry.outcome, entry.user_name, entry.origin) == ("pause", "ok", "lou", "admin")
        assert entry.details == {"reason": "stocktaking"}

    def test_a_running_job_only_gets_the_request(self):
        job = running()
        before = columns(job)
        job.pause()
        after = columns(job)
        assert {name for name in after if after[name] != before[name]} == {"pause_requested_at"}
        assert (job.is_paused, job.is_pausing, job.can_pause, job.can_resume) == (False, True, False, True)

    @pytest.mark.parametrize("status", UNFINISHED)
    def test_a_second_request_changes_nothing_and_is_no_error(self, status):
        job = make_job(status, max_attempts=2)
        job.pause()
        before = columns(job)
        job.pause()
        assert columns(job) == before
        assert history(job) == [("pause", "ok")]

    def test_a_job_in_its_last_attempt_is_paused_once_it_has_come_to_a_loop(self):
        job = running(max_attempts=1)
        assert not job.can_pause
        with pytest.raises(InvalidTransition, match=r"Job \d+ has not come to a loop with context.iterate\(\)"):
            job.pause()
        assert Job.objects.all().pause() == 0
        assert columns(job)["pause_requested_at"] is None
        Job.objects.filter(pk=job.pk).update(checkpoint="{}")
        job.refresh_from_db()
        assert job.can_pause
        assert Job.objects.without_return_value().get(pk=job.pk).can_pause
        job.pause()
        assert job.is_pausing

    @pytest.mark.parametrize("status", sorted(set(STATUSES) - set(UNFINISHED)))
    def test_a_job_that_has_ended_is_neither_paused_nor_resumed(self, status):
        job = make_job(status)
        before = columns(job)
        assert (job.can_pause, job.can_resume) == (False, False)
        with pytest.raises(InvalidTransition, match=f"Job {job.pk} is {status}: it is not possible to pause it"):
            job.pause()
        with pytest.raises(InvalidTransition, match=f"Job {job.pk} is not paused"):
            job.resume()
        assert columns(job) == before
        assert history(job) == [("pause", "too late"), ("resume", "too late")]

    @pytest.mark.parametrize("status", UNFINISHED)
    def test_a_job_that_is_not_paused_is_not_resumed(self, status):
        job = make_job(status)
        with pytest.raises(InvalidTransition, match=f"Job {job.pk} is not paused"):
            job.resume()

    def test_a_job_that_is_being_aborted_is_not_paused(self):
        job = running()
        job.abort()
        assert not job.can_pause
        with pytest.raises(InvalidTransition, match=f"Job {job.pk} is being aborted"):
            job.pause()
        assert columns(job)["pause_requested_at"] is None

    def test_a_job_that_is_being_aborted_is_not_resumed(self):
        job = running()
        job.pause()
        job.abort()
        assert not job.can_resume
        with pytest.raises(InvalidTransition, match=f"Job {job.pk} is being aborted"):
            job.resume()
        assert Job.objects.all().resume() == 0
        assert columns(job)["pause_requested_at"] is not None

    @pytest.mark.django_db(transaction=True)
    def test_two_requests_are_one(self):
        job = running()
        assert race(*[lambda: Job.objects.get(pk=job.pk).pause()] * 2) == [None, None]
        assert history(job) == [("pause", "ok")]

    def test_no_template_pauses_a_job(self):
        assert Job.pause.alters_data
        assert Job.resume.alters_data


class DoesNotPause(BaseBackend):
    supports_pause = False


class TestBackend:
    @pytest.fixture(autouse=True)
    def queue(self, settings):
        settings.QORWORKER = {"QUEUES": {"default": {"BACKEND": f"{__name__}.DoesNotPause"}}}

    def test_one_that_cannot_pause_refuses_only_running_jobs_and_says_so(self):
        begun, waiting = running(), make_job()
        assert (begun.can_pause, waiting.can_pause) == (False, True)
        with pytest.raises(UnsupportedByBackend, match="The queue “default” cannot pause running jobs"):
            begun.pause()
        waiting.pause()
        assert (columns(begun)["pause_requested_at"], waiting.is_paused) == (None, True)

    def test_of_many_jobs_it_skips_the_running_ones(self):
        begun, waiting = running(), make_job()
        assert Job.objects.all().pause() == 1
        assert set(Job.objects.paused()) == {waiting}
        assert history(begun) == []


class TestWhilePaused:
    """Nothing starts it."""

    @pytest.mark.parametrize("make", [make_job, due])
    def test_no_claim_and_no_look_for_due_jobs_finds_it(self, make):
        job, other = make(), due()
        job.pause()
        assert Job.objects.promote(1.0).promoted == 1
        assert claim_ids() == [other.pk]
        assert not Job.objects.startable(["default"]).filter(pk=job.pk).exists()
        later = database_now("default") + HOUR
        assert not Job.objects.startable_until(later, retries=True).filter(pk=job.pk).exists()

    @pytest.mark.parametrize("job_type", [jobs.in_order, jobs.walk_alone])
    def test_it_is_not_claimed_by_its_number_either(self, job_type):
        job = job_type.enqueue("a file", "a text")
        job.pause()
        assert claim_one("default", job.pk, wanted(), early=True) is None
        assert columns(job)["status"] == "scheduled"
        job.resume()
        assert claim_one("default", job.pk, wanted(), early=True).id == job.pk

    def test_it_does_not_run_where_jobs_run_in_the_caller(self):
        job = jobs.noop.enqueue()
        job.pause()
        assert run_stored(job.pk, "default", worker_name="test", early=True) is None
        job.resume()
        assert run_stored(job.pk, "default", worker_name="test", early=True) == "done"

    def test_it_cannot_be_run_now(self):
        job = later()
        job.pause()
        assert not job.can_run_now
        with pytest.raises(InvalidTransition):
            job.run_now()
        assert Job.objects.all().run_now() == 0

    def test_it_takes_another_time_and_stays_paused(self):
        job = later()
        job.pause()
        for when in (database_now("default") + 2 * HOUR, database_now("default") - HOUR):
            job.reschedule(when)
            assert (job.status, job.run_after, job.is_paused) == ("scheduled", when, True)

    def test_it_takes_other_arguments_and_stays_paused(self):
        job = jobs.in_order.enqueue(ledger="a file", name="before")
        job.pause()
        job.update(name="after", run_after=database_now("default"))
        assert (job.arguments["name"], job.is_paused) == ("after", True)

    def test_it_is_cancelled_and_that_is_final(self):
        job = make_job()
        job.pause()
        job.cancel()
        assert (job.status, job.is_paused, job.can_resume) == ("cancelled", False, False)

    def test_it_keeps_its_unique_key(self):
        job = jobs.noop.using(unique_key="nightly").enqueue()
        job.pause()
        again = jobs.noop.using(unique_key="nightly").enqueue()
        assert (again.pk, again.is_existing) == (job.pk, True)

    def test_it_is_among_the_paused_and_among_no_others_that_wait_for_a_time(self):
        job, other = later(), later()
        job.pause()
        assert set(Job.objects.paused()) == {job}
        assert set(Job.objects.scheduled()) == {other}
        assert set(Job.objects.waiting()) == {job, other}
        failed = make_job("scheduled", attempt=1)
        failed.pause()
        assert not Job.objects.will_retry().exists()
        assert not failed.will_retry


@pytest.mark.django_db(transaction=True)
def test_a_pause_that_meets_a_claim_keeps_the_job_or_is_a_request_to_it():
    for _ in range(12):
        job = make_job(max_attempts=2)
        paused, claimed = race(Job.objects.get(pk=job.pk).pause, claim_ids)
        row = columns(job)
        assert paused is None
        assert row["pause_requested_at"] is not None
        assert row["status"] == ("running" if claimed else "scheduled")
        Job.objects.filter(pk=job.pk).erase()


class TestResume:
    def test_a_job_that_was_due_is_queued_and_waits_only_from_now_on(self):
        job = due()
        job.pause()
        before = database_now("default")
        job.resume()
        assert (job.status, job.pause_requested_at) == ("new", None)
        assert job.run_after >= before
        assert claim_ids() == [job.pk]
        assert history(job) == [("pause", "ok"), ("resume", "ok")]

    def test_a_job_whose_time_is_to_come_waits_for_it(self):
        job = later()
        when = job.run_after
        job.pause()
        job.resume()
        assert (job.status, job.run_after, job.is_paused) == ("scheduled", when, False)
        assert claim_ids() == []

    def test_a_request_that_has_not_come_about_is_withdrawn(self):
        job = running()
        before = columns(job)
        job.pause()
        job.resume()
        assert columns(job) == before
        assert written(leaving(job, "new", uncounted=True)) == {job.pk}
        assert columns(job)["status"] == "new"

    def test_the_checkpoint_and_the_limits_of_attempts_stay(self):
        job = make_job(checkpoint='{"loops":{}}', attempt=1, max_attempts=3)
        job.pause()
        job.resume()
        assert (job.checkpoint, job.attempt, job.max_attempts) == ('{"loops":{}}', 1, 3)


class TestEndOfAnAttempt:
    """Of a running job whose pause was requested."""

    @pytest.fixture
    def job(self):
        job = make_job("running", max_attempts=3, limit_key="app.job/")
        job.pause()
        return job

    def test_a_suspended_one_or_one_handed_back_is_paused(self, job):
        update = leaving(job, "new", uncounted=True)
        assert written(update) == {job.pk}
        row = columns(job)
        assert (update.status, row["status"], row["attempt"], row["attempt_token"]) == (
            "scheduled",
            "scheduled",
            0,
            None,
        )
        assert Job.objects.get(pk=job.pk).is_paused
        assert not Job.objects.holding("app.job/").exists()

    def test_one_that_failed_waits_until_it_is_resumed(self, job):
        assert written(leaving(job, "scheduled", delay=0.0)) == {job.pk}
        assert Job.objects.promote(1.0).promoted == 0
        job.refresh_from_db()
        assert (job.is_paused, job.attempt) == (True, 1)
        job.resume()
        assert job.status == "new"

    @pytest.mark.parametrize("status", ["done", "exception", "killed"])
    def test_one_that_ends_the_job_ends_it(self, job, status):
        assert written(leaving(job, status)) == {job.pk}
        job.refresh_from_db()
        assert (job.status, job.is_paused, job.is_pausing, job.can_resume) == (status, False, False, False)
        assert not Job.objects.paused().exists()

    @pytest.mark.parametrize("status", ["new", "scheduled"])
    def test_an_abort_comes_first(self, job, status):
        job.abort()
        assert job.status == "running"
        update = leaving(job, status, uncounted=status == "new")
        assert written(update) == {job.pk}
        assert update.status == columns(job)["status"] == "killed"

    def test_a_retry_forgets_the_request(self, job):
        written(leaving(job, "exception"))
        job.refresh_from_db()
        job.retry()
        assert (job.status, job.pause_requested_at) == ("new", None)

    def test_a_job_without_a_request_is_queued_in_the_same_batch(self, job):
        other = running()
        assert written(leaving(job, "new"), leaving(other, "new")) == {job.pk, other.pk}
        assert (columns(job)["status"], columns(other)["status"]) == ("scheduled", "new")


@pytest.mark.django_db(transaction=True)
def test_a_pause_and_an_end_make_one_of_both():
    for target in ("done", "new", "scheduled") * 4:
        job = running()
        update = leaving(job, target, uncounted=target == "new", delay=0.0 if target == "scheduled" else None)

        def end(update=update):
            while not written(update):
                pass

        paused, _ = race(job.pause, end)
        row = columns(job)
        if target == "done":
            assert row["status"] == "done"
            assert paused is None or isinstance(paused, InvalidTransition)
        else:
            assert paused is None
            assert row["status"] == "scheduled"
            assert row["pause_requested_at"] is not None
        Job.objects.filter(pk=job.pk).erase()


class Told(BaseBackend):
    """Remembers of which jobs it was told."""

    told: list[tuple[str, int]] = []

    def jobs_ready(self, jobs):
        self.told += [("ready", job.pk) for job in jobs]

    def jobs_waiting(self, jobs):
        self.told += [("waiting", job.pk) for job in jobs]


class TestMany:
    def test_all_that_have_not_ended_are_paused_and_resumed_with_an_entry_each(self, user):
        rows = {status: make_job(status, max_attempts=2) for status in STATUSES}
        assert Job.objects.all().pause(by=user, reason="full") == 3
        assert set(Job.objects.paused()) == {rows["new"], rows["scheduled"]}
        assert set(Job.objects.pausing()) == {rows["running"]}
        assert Job.objects.all().pause(by=user) == 0
        entries = AuditEntry.objects.filter(action="pause")
        assert {(entry.job_id, entry.user_name, entry.details["reason"]) for entry in entries} == {
            (rows[status].pk, "lou", "full") for status in UNFINISHED
        }
        assert Job.objects.all().resume(by=user) == 3
        assert set(Job.objects.queued()) == {rows["new"], rows["scheduled"]}
        assert not Job.objects.pausing().exists()
        assert Job.objects.all().resume(by=user) == 0

    def test_many_take_a_few_statements(self, django_assert_max_num_queries):
        for _ in range(30):
            make_job()
        with django_assert_max_num_queries(20):
            assert Job.objects.all().pause() == 30
        with django_assert_max_num_queries(20):
            assert Job.objects.all().resume() == 30
        assert Job.objects.queued().count() == 30

    @pytest.mark.parametrize("resume", [lambda job: job.resume(), lambda job: Job.objects.paused().resume()])
    def test_a_backend_is_told_of_those_that_wait_for_their_time_too(
        self, resume, settings, monkeypatch, django_capture_on_commit_callbacks
    ):
        settings.QORWORKER = {"QUEUES": {"default": {"BACKEND": f"{__name__}.Told"}}}
        monkeypatch.setattr(Told, "told", [])
        job = later()
        job.pause()
        with django_capture_on_commit_callbacks(execute=True):
            resume(job)
        assert Told.told == [("waiting", job.pk)]
