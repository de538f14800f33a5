import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection, connections, transaction
from django.utils import timezone

from qorworker.attempts import rescue
from qorworker.exceptions import InvalidTransition
from qorworker.models import Attempt, AuditEntry, Job, Origin, Worker, database_now
from qorworker.models.sql import claim
from tests.models.rows import STATUSES, claim_ids, columns, leaving, make_job, race, token, wanted, written
from tests.support import wait_until

pytestmark = pytest.mark.django_db
LATER = datetime(2099, 1, 2, 3, 4, 5, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)

VERBS = {
    "cancel": (lambda job, **by: job.cancel(**by), {"new", "scheduled"}, "cancelled"),
    "reschedule": (lambda job, **by: job.reschedule(LATER, **by), {"new", "scheduled"}, "scheduled"),
    "run now": (lambda job, **by: job.run_now(**by), {"scheduled"}, "new"),
    "abort": (lambda job, **by: job.abort(**by), {"running"}, "running"),
    "mark failed": (lambda job, **by: job.mark_failed(**by), {"running"}, "exception"),
    "retry": (lambda job, **by: job.retry(**by), {"exception", "killed"}, "new"),
    "show the stack of": (lambda job, **by: job.request_stack(**by), {"running"}, "running"),
}
OFFERED = {"show the stack of": "can_request_stack"}
PAIRS = [(verb, status) for verb in VERBS for status in STATUSES]
POSSIBLE = [(verb, status) for verb, status in PAIRS if status in VERBS[verb][1]]
FORBIDDEN = [(verb, status) for verb, status in PAIRS if status not in VERBS[verb][1]]


@pytest.fixture
def user(django_user_model):
    return django_user_model.objects.create_user("lou", "lou@example.com")


@pytest.mark.parametrize(("verb", "status"), POSSIBLE)
def test_a_verb_moves_the_job_and_is_on_record(verb, status, user):
    job = make_job(status)
    act, _, target = VERBS[verb]
    act(job, by=user, origin=Origin.ADMIN)
    assert job.status == columns(job)["status"] == target
    entry = AuditEntry.objects.of_job(job.pk).get()
    assert (entry.action, entry.outcome, entry.origin) == (verb, "ok", "admin")
    assert (entry.job_name, entry.user_id, entry.user_name) == ("app.job", str(user.pk), "lou")


@pytest.mark.parametrize(("verb", "status"), FORBIDDEN)
def test_a_verb_that_comes_too_late_changes_nothing_and_says_so(verb, status, user):
    job = make_job(status)
    before = columns(job)
    with pytest.raises(InvalidTransition, match=f"Job {job.pk} is {status}: it is not possible to {verb} it") as caught:
        VERBS[verb][0](job, by=user)
    assert (caught.value.job_id, caught.value.status, caught.value.verb) == (job.pk, status, verb)
    assert columns(job) == before
    entry = AuditEntry.objects.of_job(job.pk).get()
    assert (entry.action, entry.outcome, entry.user_name) == (verb, "too late", "lou")


@pytest.mark.parametrize(("verb", "status"), PAIRS)
def test_what_is_offered_is_what_works(verb, status):
    job = make_job(status)
    offered = OFFERED.get(verb, f"can_{verb.replace(' ', '_')}")
    assert getattr(job, offered) is (status in VERBS[verb][1])


@pytest.mark.parametrize("verb", VERBS)
def test_the_row_decides_not_the_copy_in_memory(verb):
    act, possible, _ = VERBS[verb]
    job = make_job(min(possible))
    Job.objects.filter(pk=job.pk).update(status="done", attempt_token=None)
    before = columns(job)
    with pytest.raises(InvalidTransition):
        act(job)
    assert columns(job) == before
    assert job.status == "done"


@pytest.mark.parametrize("verb", VERBS)
def test_a_job_that_was_deleted_is_said_to_be(verb):
    act, possible, _ = VERBS[verb]
    job = make_job(min(possible))
    Job.objects.filter(pk=job.pk).delete()
    with pytest.raises(InvalidTransition, match="is deleted"):
        act(job)


class TestCancel:
    def test_the_end_is_dated_and_the_reason_kept(self):
        job = make_job()
        before = database_now("default")
        job.cancel(reason="sent twice")
        assert before <= job.finished_at <= database_now("default")
        assert AuditEntry.objects.of_job(job.pk).get().details == {"reason": "sent twice"}
        assert claim_ids() == []


class TestReschedule:
    @pytest.mark.parametrize("status", ["new", "scheduled"])
    def test_the_old_and_the_new_time_are_on_record(self, status):
        job = make_job(status)
        old = job.run_after
        job.reschedule(LATER)
        assert job.run_after == LATER
        details = AuditEntry.objects.of_job(job.pk).get().details
        assert details == {"before": old.isoformat(), "after": LATER.isoformat()}

    @pytest.mark.parametrize("status", ["new", "scheduled"])
    def test_a_time_that_is_past_makes_it_due_at_once(self, status):
        job, other = make_job(status), make_job("scheduled")
        past = datetime(2001, 1, 1, tzinfo=UTC)
        job.reschedule(past)
        assert (job.status, job.run_after) == ("new", past)
        assert columns(other)["status"] == "scheduled"

    def test_a_time_without_a_zone_is_refused(self):
        job = make_job()
        before = columns(job)
        with pytest.raises(ValueError, match="zone"):
            job.reschedule(datetime(2099, 1, 1))
        assert columns(job) == before
        assert not AuditEntry.objects.exists()


class TestRunNow:
    def test_it_is_due_now_not_at_its_old_time(self):
        job = make_job("scheduled", run_after=LATER)
        job.run_now()
        assert job.run_after <= database_now("default")
        assert claim_ids() == [job.pk]


class TestAbort:
    def test_the_request_is_dated_and_the_job_goes_on(self):
        job = make_job("running")
        job.abort(reason="wrong file")
        assert job.abort_requested_at <= database_now("default")
        assert job.is_aborting
        assert AuditEntry.objects.of_job(job.pk).get().details == {"reason": "wrong file"}

    def test_to_ask_again_is_no_error_and_changes_nothing(self):
        job = make_job("running")
        job.abort()
        before = columns(job)
        job.abort()
        assert columns(job) == before
        assert AuditEntry.objects.of_job(job.pk).count() == 1

    def test_nothing_shows_how_far_the_last_attempt_came(self):
        job = make_job("exception", attempt=1, progress=40, progress_text="row 40")
        job.retry()
        assert (columns(job)["progress"], columns(job)["progress_text"]) == (None, "")

    def test_the_next_attempt_is_not_aborted_for_the_last_ones_request(self):
        job = make_job("running")
        update = leaving(job, "killed")
        job.abort()
        written(update)
        job.refresh_from_db()
        job.retry()
        claim("default", wanted())
        assert columns(job)["abort_requested_at"] is None


class TestMarkFailed:
    """The lease of a running job of these tests is past."""

    @property
    def since(self):
        return f"{timezone.localtime(LONG_AGO):%Y-%m-%d %H:%M:%S}"

    def test_the_attempt_is_lost_and_says_who_gave_it_up_and_why(self, user):
        worker = Worker.objects.start(name="web-1:7", host="web-1", process_id=7, version="1", slots=2, queues=[])
        job = make_job("running", worker_id=worker.pk, process_id=4711, lease_expires_at=LONG_AGO, log_lines=3)
        before = database_now("default")
        job.mark_failed(by=user, reason="it was switched off")
        attempt = Attempt.objects.get()
        told = f"Marked as failed by lou: its worker had not answered since {self.since}. (it was switched off)"
        assert (job.status, job.error) == ("exception", told)
        assert (job.attempt_token, job.lease_expires_at, job.log_lines) == (None, None, 3)
        assert before <= job.finished_at <= database_now("default")
        assert (attempt.number, attempt.outcome, attempt.error) == (1, "lost", told)
        assert (attempt.worker_id, attempt.worker_name, attempt.process_id) == (worker.pk, "web-1:7", 4711)
        assert AuditEntry.objects.get().details == {"reason": "it was switched off"}

    def test_code_that_names_nobody_is_told_as_nobody(self):
        job = make_job("running", lease_expires_at=LONG_AGO)
        job.mark_failed()
        assert job.error == f"Marked as failed: its worker had not answered since {self.since}."

    def test_attempts_that_are_left_are_not_used(self):
        job = make_job("running", max_attempts=5, crashes=2)
        job.mark_failed()
        assert (job.status, job.attempt, job.max_attempts) == ("exception", 1, 5)
        assert "not tried again" not in job.error
        assert claim_ids() == []
        job.retry()
        assert claim_ids() == [job.pk]

    def test_an_abort_that_nobody_carried_out_does_not_make_it_an_aborted_one(self):
        job = make_job("running", max_attempts=5, abort_requested_at=LONG_AGO)
        job.mark_failed()
        assert (job.status, Attempt.objects.get().outcome) == ("exception", "lost")

    def test_its_unique_key_and_its_place_within_a_limit_are_free(self):
        job = make_job("running", unique_key="k", unique_place=1, unique_among="waiting", limit_key="app.job")
        job.mark_failed()
        assert job.unique_place is None
        assert not Job.objects.holding("app.job").exists()

    @pytest.mark.parametrize("way", ["renewed", "next attempt", "another owner"])
    def test_a_worker_that_answers_after_all_keeps_the_job(self, way):
        seen = make_job("running")
        tokens = {seen.pk: seen.attempt_token if way == "renewed" else token()}
        Job.objects.filter(pk=seen.pk).update(attempt_token=tokens[seen.pk])
        if way == "renewed":
            assert Job.objects.renew(tokens, 15) == 1
        before = columns(seen)
        with pytest.raises(InvalidTransition, match="is running: it is not possible to mark failed it"):
            seen.mark_failed()
        assert columns(seen) == before
        assert not Attempt.objects.exists()
        assert AuditEntry.objects.get().outcome == "too late"

    @pytest.mark.parametrize("end", ["done", "exception", "scheduled", "new", "killed"])
    def test_a_worker_that_comes_back_later_does_not_end_it_again(self, end):
        job = make_job("running", max_attempts=3)
        late, tokens = leaving(job, end, error="late"), {job.pk: job.attempt_token}
        job.mark_failed()
        before = columns(job)
        assert written(late) == set()
        assert Job.objects.renew(tokens, 15) == 0
        assert Job.objects.requests(tokens) == {}
        assert Job.objects.end_in_transaction(job.pk, 1, tokens[job.pk]) is False
        assert columns(job) == before

    def test_what_is_rolled_back_leaves_the_job_to_its_worker(self):
        job = make_job("running")
        before = columns(job)
        with transaction.atomic():
            job.mark_failed()
            transaction.set_rollback(True)
        assert columns(job) == before
        assert not Attempt.objects.exists()


class TestRetry:
    def test_what_the_last_attempt_returned_is_forgotten(self):
        job = make_job("exception", return_value="7", results_rows=1, results_errors=1)
        assert job.is_done_with_row_errors
        job.retry()
        job.refresh_from_db()
        assert (job.return_value, job.is_done_with_row_errors) == (None, False)

    @pytest.mark.parametrize("status", ["exception", "killed"])
    def test_it_starts_afresh_and_keeps_its_attempts(self, status):
        job = make_job(status, error="no", crashes=3, attempt=4, abort_requested_at=LATER, run_after=LATER)
        job.retry()
        assert (job.status, job.error, job.crashes, job.attempt) == ("new", "", 0, 4)
        assert (job.finished_at, job.abort_requested_at) == (None, None)
        assert job.run_after <= database_now("default")
        (again,) = claim("default", wanted())
        assert again.attempt == 5


class TestAudit:
    def test_code_without_a_user_is_on_record_too(self):
        job = make_job()
        job.cancel()
        entry = AuditEntry.objects.of_job(job.pk).get()
        assert (entry.origin, entry.user_id, entry.user_name) == ("code", "", "")

    def test_an_anonymous_user_is_nobody(self):
        job = make_job()
        job.cancel(by=AnonymousUser())
        assert AuditEntry.objects.of_job(job.pk).get().user_id == ""

    def test_without_its_entry_nothing_happens(self, monkeypatch):
        job = make_job()

        def fail(*args, **kwargs):
            raise RuntimeError("no disk")

        monkeypatch.setattr("qorworker.models.audit.AuditQuerySet.record", fail)
        with pytest.raises(RuntimeError):
            job.cancel()
        assert columns(job)["status"] == "new"

    def test_what_is_rolled_back_leaves_no_entry(self):
        job = make_job()
        with transaction.atomic():
            job.cancel()
            transaction.set_rollback(True)
        assert columns(job)["status"] == "new"
        assert not AuditEntry.objects.exists()


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    @pytest.mark.parametrize(
        ("verb", "status"), [pair for pair in POSSIBLE if pair[0] in ("cancel", "run now", "mark failed", "retry")]
    )
    def test_of_two_people_one_is_first_and_the_other_hears_it(self, verb, status):
        job = make_job(status)
        outcomes = race(*[lambda: VERBS[verb][0](Job.objects.get(pk=job.pk))] * 2)
        assert sorted(map(type, outcomes), key=str) == [type(None), InvalidTransition]
        assert sorted(AuditEntry.objects.values_list("outcome", flat=True)) == ["ok", "too late"]

    def test_two_abort_requests_are_one(self):
        job = make_job("running")
        assert race(*[lambda: Job.objects.get(pk=job.pk).abort()] * 2) == [None, None]
        assert AuditEntry.objects.count() == 1

    def test_a_cancelled_job_never_starts_and_a_started_one_is_never_cancelled(self):
        for _ in range(12):
            job = make_job()
            cancelled, started = race(Job.objects.get(pk=job.pk).cancel, claim_ids)
            if cancelled is None:
                assert (started, columns(job)["status"]) == ([], "cancelled")
            else:
                assert isinstance(cancelled, InvalidTransition)
                assert (started, columns(job)["status"]) == ([job.pk], "running")

    def test_an_abort_and_an_end_make_exactly_one_end(self):
        for _ in range(12):
            job = make_job("running")
            update = leaving(job, "scheduled", delay=60.0)
            # While the abort has the row locked the end is put off.
            aborted, ended = race(job.abort, lambda: wait_until(lambda: written(update)))  # noqa: B023
            assert ended == {job.pk}
            status = columns(job)["status"]
            assert status == update.status == ("killed" if aborted is None else "scheduled")

    def test_a_worker_that_renews_and_a_person_that_gives_it_up_have_one_winner(self):
        for _ in range(12):
            job = make_job("running")
            tokens = {job.pk: job.attempt_token}
            marked, renewed = race(job.mark_failed, lambda: Job.objects.renew(tokens, 15))  # noqa: B023
            if marked is None:
                assert (renewed, columns(job)["status"]) == (0, "exception")
            else:
                assert isinstance(marked, InvalidTransition)
                assert (renewed, columns(job)["attempt_token"]) == (1, tokens[job.pk])
            assert Attempt.objects.filter(job=job.pk).count() == (marked is None)

    def test_a_person_that_gives_it_up_and_an_end_make_exactly_one_end(self):
        for _ in range(12):
            job = make_job("running")
            update = leaving(job, "done")
            marked, ended = race(job.mark_failed, lambda: written(update))  # noqa: B023
            assert columns(job)["status"] == ("exception" if marked is None else "done")
            assert ended == (set() if marked is None else {job.pk})

    def test_of_a_person_and_a_worker_that_takes_it_over_one_gets_it(self):
        for _ in range(12):
            job = make_job("running", max_attempts=3)
            seize = partial(rescue.take_over, "default", job.pk, job.attempt_token)
            marked, seized = race(job.mark_failed, seize)
            assert (marked is None) is (seized is None)
            assert columns(job)["status"] == ("exception" if marked is None else "running")

    def test_two_reschedules_both_succeed_one_after_the_other(self):
        job = make_job()
        times = [LATER, LATER + timedelta(days=1)]
        outcomes = race(*[lambda when=when: Job.objects.get(pk=job.pk).reschedule(when) for when in times])
        assert outcomes == [None, None]
        assert columns(job)["run_after"] in times

    @pytest.mark.only_on("postgresql")
    def test_idle_workers_are_told_when_it_is_committed(self):
        job = make_job("scheduled")
        listener = connection.copy()
        listener.cursor().execute("LISTEN qorworker")
        with transaction.atomic():
            job.run_now()
            assert list(listener.connection.notifies(timeout=0)) == []
        told = list(listener.connection.notifies(timeout=5, stop_after=1))
        listener.close()
        assert [notice.channel for notice in told] == ["qorworker"]


def test_users_that_are_gone_stay_named():
    user = User.objects.create_user("mia")
    job = make_job(created_by=user)
    job.cancel(by=user)
    user.delete()
    job.refresh_from_db()
    assert job.created_by is None
    assert AuditEntry.objects.of_job(job.pk).get().user_name == "mia"


@pytest.mark.django_db(transaction=True)
def test_every_verb_has_an_asynchronous_twin():
    async def all_of_them(jobs):
        await jobs[0].acancel(reason="x")
        await jobs[1].areschedule(LATER)
        await jobs[2].arun_now()
        await jobs[3].aabort()
        await jobs[4].aretry()
        await jobs[5].amark_failed()
        await jobs[6].apause()
        await jobs[7].aresume()
        with pytest.raises(InvalidTransition):
            await jobs[0].acancel()
        await sync_to_async(connections.close_all)()  # those of the thread that did the work

    statuses = ("new", "new", "scheduled", "running", "exception", "running", "new", "scheduled")
    jobs = [make_job(status) for status in statuses]
    jobs[7].pause()
    asyncio.run(all_of_them(jobs))
    after = ["cancelled", "scheduled", "new", "running", "new", "exception", "scheduled", "new"]
    assert [columns(job)["status"] for job in jobs] == after
    assert columns(jobs[3])["abort_requested_at"] is not None
