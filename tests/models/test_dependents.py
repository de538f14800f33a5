"""Jobs that wait for others: they are held, released and cancelled."""

from datetime import timedelta

import pytest
from django.db import transaction

from qorworker.actions.pruning import delete_ended, prune
from qorworker.exceptions import InvalidTransition
from qorworker.models import AuditEntry, Dependency, Job, database_now
from qorworker.models import dependents as module
from qorworker.models.dependents import resolve, resolve_missed
from qorworker.queries.reasons import Why
from tests.models.rows import columns, leaving, make_job, race, somebody_else, written
from tests.testapp import jobs

pytestmark = pytest.mark.django_db

NOT_DONE = ("exception", "killed", "cancelled")


def rows():
    return Job.objects.using("default")


def after(*parents, policy=None, **options):
    return jobs.noop.using(after=parents, after_failure=policy, **options).enqueue()


def status(job):
    return columns(job)["status"]


def ended(job, how="done"):
    """End a job that waits, as far as its row shows."""
    Job.objects.filter(pk=job.pk).update(status=how, finished_at=database_now("default"))
    return job


def resolved(*parents):
    resolve(rows(), [parent.pk for parent in parents])


class TestHeld:
    def test_a_job_waits_for_an_unfinished_one(self):
        parent = make_job("running")
        job = after(parent)
        assert (job.status, job.waits_for_jobs) == ("scheduled", True)
        assert rows().promote_due() == 0
        assert columns(parent)["has_dependents"]

    def test_it_is_not_among_the_jobs_that_are_due(self):
        job = after(make_job())
        assert not rows().due().exists()
        assert job in rows().waiting()

    @pytest.mark.parametrize(
        "form", [lambda job: job, lambda job: job.pk, lambda job: [job, job.pk], lambda job: {job}]
    )
    def test_parents_are_jobs_or_ids_one_or_several(self, form):
        parent = make_job()
        job = jobs.noop.using(after=form(parent)).enqueue()
        assert list(job.parents) == [parent]
        parent.refresh_from_db()
        assert list(parent.dependents) == [job]

    def test_an_iterator_of_parents_serves_all_jobs_of_a_type(self):
        parents = [make_job(), make_job()]
        job_type = jobs.noop.using(after=(parent for parent in parents))
        assert [list(job_type.enqueue().parents) for _ in range(2)] == [parents, parents]

    def test_many_jobs_wait_for_the_same_parents(self):
        parents = [make_job(), make_job("done")]
        made = jobs.noop.using(after=parents).enqueue_many([{}] * 7)
        assert {job.status for job in made} == {"scheduled"}
        assert Dependency.objects.open().count() == 7

    def test_a_job_after_one_that_is_done_waits_for_nothing(self):
        job = after(make_job("done"))
        assert (job.status, job.waits_for_jobs) == ("new", False)

    def test_one_after_a_done_job_still_waits_for_its_time(self):
        job = after(make_job("done"), run_after=timedelta(hours=1))
        assert (job.status, job.waits_for_jobs) == ("scheduled", False)
        assert not rows().due().exists()

    @pytest.mark.parametrize("how", NOT_DONE)
    def test_a_job_after_one_that_has_failed_is_cancelled_at_once(self, how):
        parent = make_job(how)
        job = after(parent)
        assert job.status == "cancelled"
        assert AuditEntry.objects.get(job_id=job.pk, action="cancel").details["parent"] == parent.pk

    def test_without_parents_it_is_as_any_other(self):
        assert after().status == "new"
        assert not Dependency.objects.exists()

    def test_nothing_is_stored_if_a_parent_does_not_exist(self):
        with pytest.raises(ValueError, match=r"after: there is no job 12345 in the database 'default'"):
            after(make_job(), 12345)
        assert Job.objects.count() == 1

    def test_nothing_is_stored_if_a_parent_was_pruned(self):
        parent = make_job("done")
        number = parent.pk
        assert len(delete_ended([Job.objects.get(pk=number)], "default", action="prune")) == 1
        for given in (parent, number):
            with pytest.raises(ValueError, match=f"after: there is no job {number} in the database"):
                jobs.noop.using(after=given).enqueue()
        assert not Job.objects.exists()
        assert not Dependency.objects.exists()

    def test_nothing_is_stored_if_a_parent_is_in_another_database(self):
        foreign = make_job()
        foreign._state.db = "archive"
        with pytest.raises(ValueError, match=r"after: job #\d+ is in the database 'archive'"):
            after(foreign)

    @pytest.mark.parametrize("wrong", ["7", 0, -1, 2**63, True, 1.5, [None], [["x"]], object()])
    def test_what_is_no_job_is_refused_by_name(self, wrong):
        with pytest.raises(ValueError, match="after: must be a job, the id of one, or several"):
            jobs.noop.using(after=wrong)

    def test_a_job_that_is_not_stored_is_refused(self):
        with pytest.raises(ValueError, match="after: the job is not stored"):
            jobs.noop.using(after=Job())

    def test_too_many_parents_are_refused(self):
        with pytest.raises(ValueError, match="after: a job can wait for 1000 jobs, not for 1001"):
            jobs.noop.using(after=range(1, 1002))

    def test_an_unknown_policy_is_refused_by_name(self):
        with pytest.raises(ValueError, match=r"after_failure='ignore'\): must be one of 'cancel', 'run', 'wait'"):
            jobs.noop.using(after_failure="ignore")

    def test_the_option_of_other_queues_is_explained(self):
        with pytest.raises(TypeError, match="after"):
            jobs.noop.using(depends_on=make_job())

    @pytest.mark.django_db(transaction=True)
    def test_a_rollback_takes_the_dependency_back(self):
        parent = make_job()
        with transaction.atomic():
            after(parent)
            transaction.set_rollback(True)
        assert not Dependency.objects.exists()
        assert not columns(parent)["has_dependents"]


class TestReleased:
    def test_it_starts_once_all_parents_are_done(self):
        first, second = make_job(), make_job()
        job = after(first, second)
        resolved(ended(first))
        assert status(job) == "scheduled"
        resolved(ended(second))
        assert status(job) == "new"
        assert not Dependency.objects.open().exists()

    def test_one_with_a_later_time_then_waits_for_that(self):
        parent = make_job()
        job = after(parent, run_after=timedelta(hours=1))
        resolved(ended(parent))
        assert (status(job), columns(job)["waits_for_jobs"]) == ("scheduled", False)

    def test_a_parent_that_has_not_ended_releases_nothing(self):
        parent = make_job("running")
        job = after(parent)
        resolved(parent)
        assert status(job) == "scheduled"

    def test_the_end_that_a_worker_writes_is_enough_for_any_worker(self):
        parent = make_job("running")
        job = after(parent)
        written(leaving(parent, "done"))
        resolve_missed(rows())
        assert status(job) == "new"

    def test_run_now_does_not_wait(self):
        parent = make_job()
        job = after(parent)
        job.run_now()
        assert (job.status, job.waits_for_jobs) == ("new", False)
        resolved(ended(parent, "exception"))
        assert status(job) == "new"

    def test_run_now_of_many_does_not_wait(self):
        job = after(make_job())
        assert rows().filter(pk=job.pk).run_now() == 1
        assert (status(job), columns(job)["waits_for_jobs"]) == ("new", False)

    def test_another_time_does_not_release_it(self):
        parent = make_job()
        job = after(parent)
        job.reschedule(database_now("default") - timedelta(hours=1))
        assert (job.status, job.waits_for_jobs) == ("scheduled", True)
        resolved(ended(parent))
        assert status(job) == "new"

    def test_more_dependents_than_one_transaction_takes_are_all_settled(self, monkeypatch):
        monkeypatch.setattr(module, "AT_ONCE", 3)
        parents = [make_job() for _ in range(4)]
        made = jobs.noop.using(after=parents).enqueue_many([{}] * 5)
        resolved(*map(ended, parents))
        assert {status(job) for job in made} == {"new"}

    def test_what_time_does_not_allow_is_left_for_the_next_look(self, monkeypatch):
        monkeypatch.setattr(module, "AT_ONCE", 3)
        parent = make_job()
        made = jobs.noop.using(after=parent).enqueue_many([{}] * 5)
        resolve(rows(), [ended(parent).pk], seconds=0)
        assert {status(job) for job in made} == {"scheduled"}
        resolve_missed(rows())
        assert {status(job) for job in made} == {"new"}


class TestAfterAFailure:
    @pytest.mark.parametrize("how", NOT_DONE)
    def test_the_usual_policy_cancels_it_with_the_reason(self, how):
        parent = make_job()
        job = after(parent, make_job())
        resolved(ended(parent, how))
        assert status(job) == "cancelled"
        details = AuditEntry.objects.get(job_id=job.pk, action="cancel").details
        assert details["parent"] == parent.pk
        assert details["reason"].startswith("A job for which it waited")
        assert not Dependency.objects.open().filter(job=job).exists()

    def test_those_that_wait_for_a_cancelled_one_follow_it(self):
        parent = make_job()
        chain = [parent]
        for _ in range(5):
            chain.append(after(chain[-1]))
        resolved(ended(parent, "exception"))
        assert {status(job) for job in chain[1:]} == {"cancelled"}

    @pytest.mark.parametrize("how", NOT_DONE)
    def test_with_run_it_runs_all_the_same(self, how):
        parent = make_job()
        job = after(parent, policy="run")
        resolved(ended(parent, how))
        assert status(job) == "new"

    def test_with_wait_it_is_cancelled_if_that_one_was(self):
        parent = make_job()
        job = after(parent, policy="wait")
        resolved(ended(parent, "cancelled"))
        assert status(job) == "cancelled"

    @pytest.mark.parametrize("how", ["exception", "killed"])
    def test_with_wait_it_waits_until_that_one_is_done(self, how):
        parent = make_job()
        job = after(parent, policy="wait")
        resolved(ended(parent, how))
        resolve_missed(rows())
        assert status(job) == "scheduled"
        resolved(ended(parent, "done"))
        assert status(job) == "new"

    @pytest.mark.parametrize(("policy", "then"), [("cancel", "cancelled"), ("wait", "cancelled"), ("run", "new")])
    def test_a_deleted_parent_counts_as_failed(self, policy, then):
        parent = make_job()
        job = after(parent, policy=policy)
        parent.delete()
        resolve_missed(rows())
        assert status(job) == then

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("verb", [lambda job: job.delete(), lambda job: rows().filter(pk=job.pk).delete()])
    def test_a_delete_takes_the_dependents_along_without_a_worker(self, verb):
        parent = make_job()
        job = after(Job.objects.get(pk=parent.pk))
        verb(parent)
        assert status(job) == "cancelled"

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("verb", [lambda job: job.cancel(), lambda job: rows().filter(pk=job.pk).cancel()])
    def test_a_cancel_takes_the_dependents_along(self, verb):
        parent = make_job()
        job = after(Job.objects.get(pk=parent.pk))
        verb(parent)  # this copy does not know of the other job
        assert status(job) == "cancelled"

    def test_many_are_cancelled_in_as_many_statements_as_one(self, django_assert_max_num_queries):
        parent = make_job()
        made = jobs.noop.using(after=parent).enqueue_many([{}] * 50)
        ended(parent, "exception")
        with django_assert_max_num_queries(20):
            resolved(parent)
        assert {status(job) for job in made} == {"cancelled"}

    @pytest.mark.parametrize("again", ["new", "done"])
    def test_a_parent_that_was_retried_before_the_lock_cancels_nothing(self, again):
        parent = make_job()
        job = after(parent)
        ended(parent, "exception")
        due = list(Dependency.objects.due())
        Job.objects.filter(pk=parent.pk).update(status=again)
        module._resolve(rows(), due)
        assert status(job) == ("new" if again == "done" else "scheduled")
        resolved(ended(parent))
        assert status(job) == "new"

    def test_a_cancelled_dependent_cannot_be_cancelled_again(self):
        job = after(make_job("exception"))
        with pytest.raises(InvalidTransition):
            job.cancel()

    def test_a_job_that_was_cancelled_by_hand_is_left_alone(self):
        parent = make_job()
        job = after(parent)
        job.cancel()
        resolved(ended(parent))
        assert status(job) == "cancelled"
        assert not Dependency.objects.open().exists()


class TestMissed:
    def test_only_ends_that_nobody_has_settled_are_looked_at(self):
        after(make_job())
        after(make_job("exception"), policy="wait")
        assert not Dependency.objects.due().exists()

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.only_on("postgresql", "mysql")
    def test_parents_that_end_at_the_same_moment_release_it_once(self):
        for _ in range(10):
            parents = [make_job("running"), make_job("running")]
            job = after(*parents)

            def end(parent):
                written(leaving(parent, "done"))
                resolved(parent)

            outcomes = race(*(lambda parent=parent: end(parent) for parent in parents))
            assert outcomes == [None, None]
            assert status(job) == "new"

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.only_on("postgresql", "mysql")
    def test_one_stored_while_its_parent_ends_is_released(self):
        for _ in range(10):
            parent, made = make_job("running"), []

            def end(parent=parent):
                written(leaving(parent, "done"))
                resolved(parent)

            race(end, lambda parent=parent, made=made: made.append(after(parent)))
            if status(parent) == "running":  # its row was locked: a worker writes it once more
                end()
            resolve_missed(rows())
            assert status(made[0]) == "new"


@pytest.mark.django_db(transaction=True)
@pytest.mark.only_on("postgresql", "mysql")
class TestLocked:
    """A row that another transaction has locked for long holds neither a worker nor other jobs up."""

    @pytest.fixture
    def locked(self):
        parent = make_job()
        job, other = after(parent), after(parent)
        ended(parent)
        with somebody_else() as cursor:
            cursor.execute("SELECT id FROM qorworker_job WHERE id = %s FOR UPDATE", [job.pk])
            yield parent, job, other

    def test_the_end_of_a_parent_leaves_it_for_later(self, locked):
        parent, job, _ = locked
        resolved(parent)
        assert status(job) == "scheduled"

    def test_a_worker_settles_all_others(self, locked):
        _, job, other = locked
        resolve_missed(rows())
        assert (status(job), status(other)) == ("scheduled", "new")

    def test_a_new_job_after_the_same_one_is_stored_at_once(self, locked):
        parent, job, other = locked
        assert after(parent).status == "new"
        assert status(other) == "scheduled"

    def test_jobs_that_are_stored_at_the_same_time_do_not_deadlock(self):
        parents = [make_job("done") for _ in range(5)]

        def store():
            for place in range(25):
                jobs.noop.using(after=parents[place % 5]).enqueue_many([{}] * 3)

        assert race(store, store, store) == [None] * 3

    def test_it_is_settled_once_its_lock_is_gone(self):
        parent = make_job()
        job = after(parent)
        ended(parent)
        with somebody_else() as cursor:
            cursor.execute("SELECT id FROM qorworker_job WHERE id = %s FOR UPDATE", [job.pk])
            resolved(parent)
        resolve_missed(rows())
        assert status(job) == "new"


class TestAfterwards:
    def test_a_new_run_starts_after_the_same_jobs_even_if_they_have_failed(self):
        done, failed = make_job("done"), make_job("exception")
        job = after(done, failed)
        again = job.rerun()
        assert (again.status, list(again.parents)) == ("new", [done, failed])

    def test_a_new_run_waits_for_those_that_have_not_ended(self):
        job = after(make_job("running"))
        assert job.rerun().waits_for_jobs

    def test_why_it_waits_names_its_parents(self):
        first, second = make_job(), make_job("done")
        [reason] = after(first, second).why_waiting()
        assert (reason.kind, reason.parents, reason.is_obstacle) == (Why.JOBS, (first.pk,), False)
        assert str(reason) == f"It waits for other jobs to end. #{first.pk}."

    def test_a_failed_one_that_has_to_be_retried_is_an_obstacle(self):
        failed = make_job("exception")
        [reason] = after(failed, policy="wait").why_waiting()
        assert (reason.kind, reason.parents, reason.is_obstacle) == (Why.FAILED_JOBS, (failed.pk,), True)

    def test_a_reader_is_told_of_jobs_only_that_they_may_see(self):
        hidden, seen = make_job(), make_job()
        [reason] = after(hidden, seen).why_waiting(Job.objects.filter(pk=seen.pk))
        assert reason.parents == (seen.pk,)
        assert "2" not in reason.text

    def test_a_job_is_kept_as_long_as_one_waits_for_it(self):
        parent, other = make_job("done"), make_job()
        job = after(parent, other)
        past = database_now("default") - timedelta(days=9)
        Job.objects.filter(pk=parent.pk).update(finished_at=past)
        day = timedelta(days=1)
        assert list(prune(rows(), lambda job: day, day)) == []
        Job.objects.filter(pk=job.pk).update(status="done", finished_at=past)
        assert set(prune(rows(), lambda job: day, day)) == {parent, job}
