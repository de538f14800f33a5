"""Who has asked for a job, and what an approval counts for as jobs are changed, retried and deployed anew."""

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from qorworker import Every, Unique, job
from qorworker.exceptions import ChangedMeanwhile, InvalidTransition, MayNotApprove
from qorworker.maintenance import candidates
from qorworker.maintenance.expiry import expire
from qorworker.maintenance.scheduler import Scheduler
from qorworker.models import Approval, AuditEntry, Job, Schedule, bulk, database_now
from qorworker.testing import run_job
from tests.clock import Clock
from tests.job_types import own_types  # noqa: F401
from tests.models.rows import race

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_types")]
RIGHT = "testapp.change_shop"


def user(name, **more):
    made = User.objects.create_user(name, **more)
    made.user_permissions.add(Permission.objects.get(codename="change_shop", content_type__app_label="testapp"))
    return made


@pytest.fixture
def people(db):
    return [user(name) for name in ("ann", "ben", "cem", "dora")]


@pytest.fixture
def publish(own_types):  # noqa: F811
    @job(name="test.publish", approval=RIGHT, max_attempts=1)
    def publish(shop: str = "Berlin", count: int = 1) -> str:
        if shop == "Nowhere":
            raise ValueError(shop)
        return f"{shop} {count}"

    return publish


@pytest.fixture
def people_only(own_types):  # noqa: F811
    """Needs an approval if a user asks for it, who is no superuser; none for code."""

    def rule(asks, job_type, arguments):
        return RIGHT if asks is not None and not asks.is_superuser else None

    @job(name="test.people_only", approval=rule, max_attempts=1)
    def people_only(shop: str = "Berlin") -> str:
        return shop

    return people_only


def state(row):
    row.refresh_from_db()
    return row.status, row.waits_for_approval


WAITS, QUEUED = ("scheduled", True), ("new", False)


class TestWhoHasAsked:
    def test_who_retries_it_does_not_hide_who_has_chosen_its_arguments(self, publish, people, monkeypatch):
        ann, ben, cem, dora = people
        row = publish.using(user=ann).enqueue()
        row.update(shop="Nowhere", by=dora)
        row.approve(by=ben)
        assert run_job(row).status == "exception"
        monkeypatch.setattr(publish, "code_digest", "other")
        row.retry(by=cem)
        assert state(row) == WAITS
        for asker in (ann, cem, dora):
            with pytest.raises(MayNotApprove, match="Another user"):
                Job.objects.get(pk=row.pk).approve(by=asker)
        row.approve(by=ben)
        assert state(row) == QUEUED

    def test_a_second_change_does_not_hide_the_first(self, publish, people):
        ann, ben, cem, _dora = people
        row = publish.enqueue()
        row.update(shop="Rome", by=ann)
        row.update(count=2, by=ben)
        for asker in (ann, ben):
            with pytest.raises(MayNotApprove, match="Another user"):
                row.approve(by=asker)
        row.approve(by=cem)
        assert state(row) == QUEUED

    def test_who_replaces_the_arguments_of_a_unique_job_has_asked(self, own_types, people):  # noqa: F811
        ann, ben, cem, _dora = people

        @job(name="test.alone", approval=RIGHT, unique=Unique(by=("shop",), on_conflict="replace"))
        def alone(shop: str, count: int) -> None:
            pass

        row = alone.using(user=ann).enqueue(shop="Rome", count=1)
        alone.using(user=ben).enqueue(shop="Rome", count=2)
        for asker in (ann, ben):
            with pytest.raises(MayNotApprove, match="Another user"):
                row.approve(by=asker)
        row.approve(by=cem)
        assert state(row) == QUEUED

    def test_an_account_that_is_gone_and_made_anew_is_another_one(self, publish, people):
        ann, ben, *_rest = people
        row = publish.using(user=ann).enqueue()
        ann.delete()
        with pytest.raises(MayNotApprove, match="active account"):
            row.approve(by=ann)
        row.refresh_from_db()
        row.approve(by=ben)
        assert run_job(row).status == "done"


class TestRule:
    """It is asked about the same users as the job is stored and as it starts."""

    @pytest.fixture
    def failed(self, people_only, people, monkeypatch):
        ann, ben, *_rest = people
        row = people_only.using(user=ann).enqueue()
        row.approve(by=ben)
        monkeypatch.setattr(people_only, "code_digest", "other")
        assert "Its code has changed" in run_job(row).job.error
        return row

    @pytest.mark.parametrize("who", ["code", "superuser"])
    def test_a_retry_asks_again_whoever_retries(self, failed, people, who):
        failed.retry(by=None if who == "code" else User.objects.create_superuser("boss"))
        assert state(failed) == WAITS
        failed.approve(by=people[2])
        assert run_job(failed).status == "done"

    def test_many_that_are_retried_ask_again(self, failed, people):
        assert Job.objects.filter(pk=failed.pk).retry() == 1
        assert state(failed) == WAITS

    def test_a_change_by_code_does_not_release_it(self, people_only, people):
        row = people_only.using(user=people[0]).enqueue()
        row.update(shop="Rome")
        assert state(row) == WAITS
        row.approve(by=people[1])
        assert run_job(row).result == "Rome"

    def test_code_needs_none(self, people_only):
        assert run_job(people_only.enqueue()).status == "done"

    def test_one_that_fails_holds_up_no_other_job(self, own_types, publish, people):  # noqa: F811
        answers = {"broken": None}

        @job(name="test.broken", approval=lambda user, job_type, arguments: answers["broken"], max_attempts=1)
        def broken() -> None:
            raise ValueError

        rows = [broken.enqueue(), publish.enqueue(shop="Nowhere")]
        rows[1].approve(by=people[0])
        assert [run_job(row).status for row in rows] == ["exception"] * 2
        answers["broken"] = 1
        assert [row.pk for row in bulk.retry(rows, "default")] == [rows[1].pk]
        assert [state(row) for row in rows] == [("exception", False), QUEUED]


class TestSchedules:
    @pytest.fixture
    def clock(self, monkeypatch):
        return Clock(monkeypatch)

    def fire(self, clock):
        clock.forward(hours=1)
        Scheduler("default").look()

    def test_jobs_of_an_approved_one_start_even_if_the_rule_spares_code(self, people_only, people, clock):
        ann, ben, *_rest = people
        schedule = Schedule.objects.create_for(people_only, Every(hours=1), name="hourly", by=ann, origin="admin")
        User.objects.filter(pk=ann.pk).update(is_staff=True)
        ann.user_permissions.add(Permission.objects.get(codename="run_job"))
        schedule.approve(by=ben)
        self.fire(clock)
        schedule.refresh_from_db()
        assert schedule.needs_attention == ""
        assert run_job(Job.objects.get()).status == "done"

    def test_one_that_has_asked_waits_even_if_its_rule_spares_its_jobs(self, people_only, people, clock):
        schedule = Schedule.objects.create_for(people_only, Every(hours=1), name="hourly", by=people[0])
        assert schedule.open_approval is not None
        self.fire(clock)
        assert not Job.objects.exists()
        schedule.decline(by=people[1])
        self.fire(clock)
        assert not Job.objects.exists()

    def test_a_look_at_an_older_revision_voids_no_approval(self, publish, people, clock, monkeypatch):
        schedule = Schedule.objects.create_for(publish, Every(hours=1), name="hourly")
        schedule.approve(by=people[0])
        monkeypatch.setattr(publish, "code_digest", "other")

        def meanwhile(*arguments):
            schedule.change(when=Every(minutes=30), by=people[0])
            schedule.approve(by=people[1])
            monkeypatch.undo()
            monkeypatch.setattr(publish, "code_digest", "other")
            return RIGHT

        monkeypatch.setattr(candidates, "approval_right", meanwhile)
        stale = Schedule.objects.get()
        assert candidates._lacks_approval(stale, publish, None)
        schedule.refresh_from_db()
        assert candidates._lacks_approval(schedule, publish, None) == ""

    def test_two_workers_ask_once(self, publish, people, clock, monkeypatch):
        schedule = Schedule.objects.create_for(publish, Every(hours=1), name="hourly")
        schedule.approve(by=people[0])
        monkeypatch.setattr(publish, "code_digest", "other")
        for _worker in range(2):
            assert "It waits for approval" in candidates._lacks_approval(schedule, publish, None)
        assert list(schedule.approvals.values_list("state", flat=True)) == ["approved", "open"]

    def test_two_versions_of_the_code_each_go_on_by_their_own_approval(self, publish, people, clock, monkeypatch):
        schedule = Schedule.objects.create_for(publish, Every(hours=1), name="hourly")
        versions = [publish.code_digest, "other"]
        for version in versions:
            monkeypatch.setattr(publish, "code_digest", version)
            self.fire(clock)  # the other version asks here
            schedule.refresh_from_db()
            schedule.approve(by=people[0])
        for version in versions:
            monkeypatch.setattr(publish, "code_digest", version)
            self.fire(clock)
            assert run_job(Job.objects.latest("pk")).status == "done"
        assert list(schedule.approvals.values_list("state", flat=True)[:2]) == ["approved"] * 2
        monkeypatch.setattr(publish, "code_digest", "a third")
        assert candidates._lacks_approval(schedule, publish, None)
        schedule.change(when=Every(minutes=30))
        for version in versions:
            monkeypatch.setattr(publish, "code_digest", version)
            assert candidates._lacks_approval(schedule, publish, None)


def test_a_job_that_is_cancelled_leaves_no_open_request(publish, people):
    one, *many = publish.enqueue_many([{"count": number} for number in range(3)])
    one.cancel()
    Job.objects.filter(pk__in=[row.pk for row in many]).cancel()
    approved = publish.enqueue()
    approved.approve(by=people[0])
    approved.cancel()
    assert list(Approval.objects.order_by("pk").values_list("state", flat=True)) == ["void"] * 3 + ["approved"]
    assert not Approval.objects.open().exists()


def test_so_does_one_whose_predecessor_has_failed(publish, own_types):  # noqa: F811
    fails = job(name="test.fails", max_attempts=1)(lambda: 1 / 0)
    first = fails.enqueue()
    row = publish.using(after=first).enqueue()
    run_job(first)
    assert state(row)[0] == "cancelled"
    assert row.approvals.get().state == "void"


class TestEnqueueing:
    def test_behind_a_job_that_has_failed_it_is_cancelled_and_asks_nobody(self, publish, own_types):  # noqa: F811
        fails = job(name="test.fails", max_attempts=1)(lambda: 1 / 0)
        first = fails.enqueue()
        run_job(first)
        row = publish.using(after=first).enqueue()
        assert (row.status, row.waits_for_approval) == ("cancelled", False)
        assert state(row) == ("cancelled", False)
        assert not Approval.objects.exists()

    def test_many_need_as_many_statements_as_few(self, publish):
        def statements(count):
            with CaptureQueriesContext(connection) as queries:
                publish.enqueue_many([{"count": number} for number in range(count)])
            return [each["sql"] for each in queries if "qorworker_approval" in each["sql"]]

        assert len(statements(50)) == len(statements(2))

    def test_jobs_without_one_need_no_statement_more(self, own_types):  # noqa: F811
        plain = job(name="test.plain", max_attempts=1)(lambda: 1 / 0)
        with CaptureQueriesContext(connection) as queries:
            row, *_rest = plain.enqueue_many([{}] * 3)
            run_job(row)
            row.retry()
            row.cancel()
            row.delete()
        assert not [each["sql"] for each in queries if "qorworker_approval" in each["sql"]]


class TestRaces:
    pytestmark = pytest.mark.django_db(transaction=True)

    def attempt(self, action):
        def contender():
            try:
                action()
            except (ChangedMeanwhile, InvalidTransition):
                return False
            return True

        return contender

    def test_what_is_changed_at_the_moment_of_its_approval_is_not_approved(self, publish, people):
        for number in range(5):
            row = publish.enqueue()
            seen = row.approvals.get()
            copies = [Job.objects.get(pk=row.pk) for _each in range(2)]
            approved, changed = race(
                self.attempt(lambda copies=copies, seen=seen: copies[0].approve(by=people[0], approval=seen)),
                self.attempt(lambda copies=copies: copies[1].update(shop="Rome")),
            )
            assert (approved, changed) in [(True, True), (False, True)], number
            assert state(row) == WAITS
            assert [each.state for each in row.approvals.all()] == ["void", "open"]

    @pytest.mark.parametrize("other", ["cancel", "expire", "decline"])
    def test_of_an_approval_and_an_end_one_wins(self, publish, people, other):
        for _number in range(5):
            row = publish.enqueue()
            copies = [Job.objects.get(pk=row.pk) for _each in range(2)]
            ends = {
                "cancel": copies[1].cancel,
                "decline": lambda copies=copies: copies[1].decline(by=people[1]),
                "expire": lambda row=row: (
                    Approval.objects.filter(job=row).update(expires_at=database_now("default")),
                    expire("default"),
                ),
            }
            outcomes = race(
                self.attempt(lambda copies=copies: copies[0].approve(by=people[0])), self.attempt(ends[other])
            )
            assert set(outcomes) <= {True, False}
            [asked] = row.approvals.all()
            done = AuditEntry.objects.filter(job_id=row.pk, action="approve", outcome="ok").exists()
            assert done == (asked.state == "approved") == outcomes[0]
            status, waits = state(row)
            if status == "new":
                assert (waits, asked.state) == (False, "approved")
            else:
                assert status in ("cancelled", "scheduled")
                assert status == "cancelled" or waits

    @pytest.mark.only_on("mysql")
    def test_in_an_older_snapshot_nothing_is_approved_that_has_changed(self, publish, people):
        row = publish.enqueue()
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        try:
            with transaction.atomic():
                seen = Job.objects.get(pk=row.pk).approvals.get()
                [changed] = race(lambda: Job.objects.get(pk=row.pk).update(shop="Rome"))
                assert changed is None
                with pytest.raises(InvalidTransition, match="has been changed meanwhile"):
                    row.approve(by=people[0], approval=seen)
        finally:
            connection.close()
        assert state(row) == WAITS
        assert [each.state for each in row.approvals.all()] == ["void", "open"]
