"""Jobs and schedules that wait for approval: who decides, what it counts for, and that nothing starts before."""

import datetime as dt

import pytest
from django.contrib.auth.models import Permission, User
from django.db import IntegrityError, transaction
from django.test import override_settings

from qorworker import Batch, Every, InvalidArguments, Unique, job
from qorworker.exceptions import InvalidSchedule, InvalidTransition, MayNotApprove
from qorworker.maintenance.expiry import expire
from qorworker.maintenance.scheduler import Scheduler
from qorworker.models import Approval, AuditEntry, Job, Schedule, database_now
from qorworker.models.sql import claim_one
from qorworker.testing import run_job
from tests.clock import Clock
from tests.job_types import own_types  # noqa: F401
from tests.models.rows import race, wanted

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_types")]
RIGHT = "testapp.change_shop"
HOUR = dt.timedelta(hours=1)


def user(name, *, may=True, **more):
    made = User.objects.create_user(name, is_staff=True, **more)
    if may:
        made.user_permissions.add(Permission.objects.get(codename="change_shop", content_type__app_label="testapp"))
    return made


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.fixture
def ann(db):
    return user("ann")


@pytest.fixture
def ben(db):
    return user("ben")


@pytest.fixture
def publish(own_types):  # noqa: F811
    calls = []

    @job(name="test.publish", approval=RIGHT, max_attempts=1)
    def publish(shop: str = "Berlin", count: int = 1) -> str:
        calls.append(shop)
        return shop

    publish.calls = calls
    return publish


@pytest.fixture
def spend(own_types):  # noqa: F811
    def approval(user, job_type, arguments):
        return RIGHT if arguments["amount"] >= 100 else None

    @job(name="test.spend", approval=approval)
    def spend(amount: int) -> None:
        pass

    return spend


def state(row):
    row.refresh_from_db()
    return row.status, row.waits_for_approval


WAITS, QUEUED = ("scheduled", True), ("new", False)


class TestWaiting:
    def test_a_job_waits_and_says_for_what(self, publish, ann):
        row = publish.using(user=ann).enqueue()
        assert state(row) == WAITS
        assert (row.awaits_approval, row.can_run_now, row.can_cancel, row.waits_for_time) == (True, False, True, False)
        [reason] = row.why_waiting()
        assert str(reason).startswith(f"It waits for approval by a user with the permission “{RIGHT}”.")
        assert (reason.kind, reason.until is not None) == ("approval", True)
        [asked] = row.approvals.all()
        assert (asked.permission, asked.asked_by_name, asked.state) == (RIGHT, "ann", "open")

    def test_nothing_starts_it_before(self, publish):
        row = publish.enqueue()
        assert Job.objects.promote_due() == 0
        assert claim_one("default", row.pk, wanted()) is None
        with pytest.raises(InvalidTransition, match=r"waits for approval, and starts only after it\. Nothing"):
            row.run_now()
        assert Job.objects.filter(pk=row.pk).run_now() == 0
        row.pause()
        row.resume()
        row.reschedule(database_now("default") - HOUR)
        assert state(row) == WAITS

    @pytest.mark.parametrize("status", ["new", "running"])
    def test_the_database_refuses_to_queue_or_start_it(self, publish, status):
        row = publish.enqueue()
        changes = {"attempt_token": "x" * 32} if status == "running" else {}
        with pytest.raises(IntegrityError), transaction.atomic():
            Job.objects.filter(pk=row.pk).update(status=status, **changes)
        assert state(row) == WAITS

    def test_the_rule_decides_by_the_arguments(self, spend):
        assert state(spend.enqueue(amount=99)) == QUEUED
        assert state(spend.enqueue(amount=100)) == WAITS
        few, many = spend.enqueue_many([{"amount": 1}, {"amount": 500}])
        assert (state(few), state(many)) == (QUEUED, WAITS)

    def test_jobs_of_a_batch_wait_too(self, spend):
        batch = Batch.objects.enqueue("Money", [spend.bind(amount=1), spend.bind(amount=500)])
        assert sorted(state(row) for row in batch.jobs) == [QUEUED, WAITS]

    def test_a_job_behind_others_waits_for_both(self, publish, spend, ben):
        first = spend.enqueue(amount=1)
        row = publish.using(after=first).enqueue()
        run_job(first)
        assert state(row) == WAITS
        row.approve(by=ben)
        assert state(row) == QUEUED
        late = publish.using(after=spend.enqueue(amount=1)).enqueue()
        late.approve(by=ben)
        assert state(late) == ("scheduled", False)
        run_job(late.parents.get())
        assert state(late) == QUEUED

    @pytest.mark.parametrize(
        ("rule", "sentence"),
        [
            (lambda user, job_type, arguments: 1 / 0, "could not be decided: ZeroDivisionError: division by zero"),
            (lambda user, job_type, arguments: True, "must return “app.codename” or None, not True"),
            (lambda user, job_type, arguments: "publish", "must return “app.codename” or None, not 'publish'"),
        ],
    )
    def test_a_rule_that_fails_stores_nothing(self, own_types, rule, sentence):  # noqa: F811
        broken = job(name="test.broken", approval=rule)(lambda: None)
        with pytest.raises(InvalidArguments, match=sentence):
            broken.enqueue()
        assert not Job.objects.exists()

    def test_one_that_is_rolled_back_asks_nobody(self, publish):
        with transaction.atomic():
            publish.enqueue()
            transaction.set_rollback(True)
        assert (Job.objects.count(), Approval.objects.count()) == (0, 0)


class TestDeciding:
    def test_another_user_approves_it(self, publish, ann, ben):
        row = publish.using(user=ann).enqueue(shop="Rome")
        row.approve(by=ben)
        assert state(row) == QUEUED
        assert run_job(row).result == "Rome"
        [decided] = row.approvals.all()
        assert (decided.state, decided.decided_by_name) == ("approved", "ben")
        assert ("approve", "ok", "ben") in AuditEntry.objects.values_list("action", "outcome", "user_name")

    def test_a_later_time_still_counts(self, publish, ben):
        row = publish.using(run_after=HOUR).enqueue()
        planned = row.run_after
        row.approve(by=ben)
        assert (*state(row), row.run_after) == ("scheduled", False, planned)

    def test_whoever_asked_cannot_approve(self, publish, ann):
        ann.is_superuser = True
        ann.save()
        row = publish.using(user=ann).enqueue()
        with pytest.raises(MayNotApprove, match="Another user than the one who asked for it must approve it"):
            row.approve(by=ann)
        assert state(row) == WAITS
        with override_settings(QORWORKER={"APPROVE_OWN": True}):
            row.approve(by=ann)
        assert state(row) == QUEUED

    def test_whoever_changed_the_arguments_cannot_either(self, publish, ann, ben):
        row = publish.using(user=ann).enqueue()
        row.update(shop="Rome", by=ben)
        for asker in (ann, ben):
            with pytest.raises(MayNotApprove):
                row.approve(by=asker)
        row.approve(by=user("cem"))
        assert state(row) == QUEUED

    @pytest.mark.parametrize(
        ("who", "sentence"),
        [
            (lambda: None, "Only a user with an active account can decide"),
            (lambda: user("dora", is_active=False), "Only a user with an active account can decide"),
            (lambda: user("dora", may=False), f"Only users with the permission “{RIGHT}” can decide"),
        ],
    )
    def test_others_cannot(self, publish, who, sentence):
        row = publish.enqueue()
        for verb in (row.approve, row.decline):
            with pytest.raises(MayNotApprove, match=sentence):
                verb(by=who() if not User.objects.filter(username="dora").exists() else User.objects.get())
        assert state(row) == WAITS

    def test_to_decline_cancels_it(self, publish, ben):
        row = publish.enqueue()
        row.decline(by=ben, reason="Too early.")
        assert state(row)[0] == "cancelled"
        [decided] = row.approvals.all()
        assert (decided.state, decided.reason, decided.decided_by_name) == ("declined", "Too early.", "ben")
        with pytest.raises(InvalidTransition, match=r"does not wait for approval\. Nothing was changed\."):
            row.approve(by=ben)

    def test_what_was_seen_must_be_what_is_approved(self, publish, ben):
        row = publish.enqueue()
        seen = row.approvals.get()
        row.update(shop="Rome")
        with pytest.raises(InvalidTransition, match="has been changed meanwhile: look at it again"):
            row.approve(by=ben, approval=seen)
        assert state(row) == WAITS

    def test_after_the_time_it_is_too_late(self, publish, ben):
        row = publish.enqueue()
        row.approvals.update(expires_at=database_now("default"))
        with pytest.raises(InvalidTransition, match="could be approved only until its time was over"):
            row.approve(by=ben)
        assert expire("default") == 1
        assert state(row)[0] == "cancelled"
        assert row.approvals.get().state == "expired"
        assert AuditEntry.objects.last_done(row.pk, "cancel").details["reason"] == "Nobody approved it in time."

    def test_a_job_that_was_changed_meanwhile_does_not_expire(self, publish):
        row = publish.enqueue()
        row.approvals.update(expires_at=database_now("default"))
        row.update(shop="Rome")
        assert expire("default") == 0
        assert state(row) == WAITS

    @pytest.mark.django_db(transaction=True)
    def test_of_two_at_the_same_moment_one_wins(self, publish, ben):
        row = publish.enqueue()

        def decide(verb):
            copy = Job.objects.get(pk=row.pk)
            try:
                getattr(copy, verb)(by=ben)
            except InvalidTransition:
                return None
            return verb

        [winner] = [each for each in race(*(lambda verb=verb: decide(verb) for verb in ("approve", "decline"))) if each]
        assert state(row)[0] == {"approve": "new", "decline": "cancelled"}[winner]


class TestChanges:
    def test_other_arguments_void_it(self, publish, ben):
        row = publish.enqueue()
        row.approve(by=ben)
        row.update(count=2)
        assert state(row) == WAITS
        assert [each.state for each in row.approvals.all()] == ["void", "open"]

    def test_another_time_does_not(self, publish, ben):
        row = publish.enqueue()
        row.approve(by=ben)
        row.update(run_after=database_now("default") + HOUR)
        assert state(row) == ("scheduled", False)
        assert [each.state for each in row.approvals.all()] == ["approved"]

    def test_arguments_that_need_none_release_it(self, spend):
        row = spend.enqueue(amount=100)
        row.update(amount=5)
        assert state(row) == QUEUED
        row.update(amount=100)
        assert state(row) == WAITS

    def test_a_unique_job_whose_arguments_are_replaced_asks_again(self, own_types, ben):  # noqa: F811
        @job(name="test.alone", approval=RIGHT, unique=Unique(by=("shop",), on_conflict="replace"))
        def alone(shop: str, count: int) -> None:
            pass

        row = alone.enqueue(shop="Rome", count=1)
        row.approve(by=ben)
        assert alone.enqueue(shop="Rome", count=2).pk == row.pk
        assert state(row) == WAITS

    def test_other_code_is_not_what_was_approved(self, publish, ben, monkeypatch):
        row = publish.enqueue()
        row.approve(by=ben)
        monkeypatch.setattr(publish, "code_digest", "other")
        result = run_job(row)
        assert (result.status, publish.calls) == ("exception", [])
        assert result.job.error == (
            "Its code has changed since it was approved. It was not started. Retry it to ask for the approval."
        )
        row.retry()
        assert state(row) == WAITS
        row.approve(by=ben)
        assert run_job(row).status == "done"

    def test_a_job_from_before_its_type_asked_for_it_does_not_run(self, publish, monkeypatch):
        monkeypatch.setitem(vars(publish), "approval", None)
        row = publish.enqueue()
        assert state(row) == QUEUED
        monkeypatch.undo()
        result = run_job(row)
        assert (result.status, publish.calls) == ("exception", [])
        assert "Nobody has approved it, and by now its code asks for that." in result.job.error

    def test_a_retry_of_the_same_needs_no_other_one(self, own_types, ben):  # noqa: F811
        fails = job(name="test.fails", approval=RIGHT)(lambda: 1 / 0)
        row = fails.enqueue()
        row.approve(by=ben)
        assert run_job(row).status == "exception"
        row.retry()
        assert state(row) == QUEUED
        Job.objects.filter(pk=row.pk).cancel()
        again = row.rerun()
        assert state(again) == WAITS


class TestSchedules:
    @pytest.fixture
    def schedule(self, clock, publish, ann):
        return Schedule.objects.create_for(publish, Every(hours=1), {"shop": "Rome"}, name="daily", by=ann)

    def test_it_makes_no_job_before(self, schedule, clock):
        clock.forward(hours=1)
        Scheduler("default").look()
        assert not Job.objects.exists()
        schedule.refresh_from_db()
        assert schedule.needs_attention == f"It waits for approval by a user with the permission “{RIGHT}”."

    def test_one_approval_counts_for_all_its_jobs(self, schedule, clock, ben):
        schedule.approve(by=ben)
        for _hour in range(2):
            clock.forward(hours=1)
            Scheduler("default").look()
            row = Job.objects.latest("pk")
            assert state(row) == QUEUED
            assert run_job(row).status == "done"

    def test_a_change_asks_again(self, schedule, clock, ann, ben):
        schedule.approve(by=ben)
        schedule.change(when=Every(hours=2), by=ann)
        clock.forward(hours=2)
        Scheduler("default").look()
        assert not Job.objects.exists()
        schedule.refresh_from_db()
        assert schedule.needs_attention.startswith("It waits for approval")

    def test_its_maker_cannot_approve_it(self, schedule, ann):
        with pytest.raises(MayNotApprove, match="Another user"):
            schedule.approve(by=ann)

    def test_declined_it_makes_nothing_until_it_is_changed(self, schedule, clock, ann, ben):
        schedule.decline(by=ben, reason="No.")
        with pytest.raises(InvalidSchedule, match=r"does not wait for approval\. Nothing was changed\."):
            schedule.approve(by=ben)
        clock.forward(hours=1)
        Scheduler("default").look()
        assert not Job.objects.exists()
        schedule.refresh_from_db()
        assert schedule.needs_attention == "A user has declined to approve it. A change of it asks again."
        schedule.change({"shop": "Oslo"}, by=ann)
        schedule.approve(by=ben)
        clock.forward(hours=1)
        Scheduler("default").look()
        assert Job.objects.count() == 1

    def test_a_run_of_it_by_a_user_asks_by_itself(self, schedule, ann, ben):
        schedule.approve(by=ben)
        assert state(schedule.run_now(by=ann)) == WAITS

    def test_its_requests_go_with_it(self, schedule):
        schedule.remove()
        assert not Approval.objects.exists()


def test_approvals_go_with_their_job(publish):
    row = publish.enqueue()
    row.delete()
    assert not Approval.objects.exists()
