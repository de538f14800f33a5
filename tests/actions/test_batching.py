"""Batches: what is stored, what is refused, and what runs at their end."""

import gc
import tracemalloc
import weakref
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction

from qorworker import Batch, Call, InvalidArguments, job
from qorworker.actions import batching
from qorworker.arguments import files
from qorworker.conf import settings
from qorworker.exceptions import AlreadyEnqueued
from qorworker.models import AuditEntry, Dependency, Job
from qorworker.testing.running import drain, run_job
from tests.job_types import own_types  # noqa: F401
from tests.models.rows import make_job
from tests.testapp import jobs

pytestmark = pytest.mark.django_db


def calls(*numbers):
    return (jobs.noop_again.bind(number=number) for number in numbers)


def enqueue(what=(1, 2, 3), title="Spring mailing", **options):
    return Batch.objects.enqueue(title, calls(*what), **options)


def status(pk):
    return Job.objects.get(pk=pk).status


class TestStored:
    def test_each_call_becomes_a_job_of_the_batch_in_their_order(self):
        batch = enqueue(range(5))
        assert [job.arguments["number"] for job in batch.jobs.order_by("pk")] == [0, 1, 2, 3, 4]
        assert (batch.title, batch.total, batch.outcome, batch.is_finished) == ("Spring mailing", 5, "", False)
        assert Batch.objects.get() == batch

    def test_calls_of_several_types_keep_their_order(self):
        mixed = [jobs.noop.bind(), *calls(1), jobs.noop.bind(), *calls(2)]
        batch = Batch.objects.enqueue("Mixed", mixed)
        assert [job.name for job in batch.jobs.order_by("pk")] == [call.job_type.name for call in mixed]

    def test_more_than_one_portion_is_stored(self, monkeypatch):
        monkeypatch.setattr(batching, "AT_ONCE", 3)
        batch = enqueue(range(10))
        assert (batch.total, batch.jobs.count()) == (10, 10)

    def test_each_call_keeps_its_options(self):
        later = jobs.noop.using(run_after=timedelta(hours=1), priority=7, queue_name="mail", meta={"a": 1}).bind()
        batch = Batch.objects.enqueue("Options", [later, *calls(1)])
        first, second = batch.jobs.order_by("-priority")
        assert (first.priority, first.queue_name, first.meta, first.status) == (7, "mail", {"a": 1}, "scheduled")
        assert (second.priority, second.status) == (0, "new")

    def test_calls_that_start_after_other_jobs_do_so(self):
        parent = make_job()
        batch = Batch.objects.enqueue("After", [jobs.noop.using(after=parent).bind()])
        assert batch.jobs.get().waits_for_jobs
        assert Dependency.objects.get().parent == parent

    def test_it_belongs_to_its_user_and_the_history_of_each_job_says_so(self):
        user = get_user_model().objects.create(username="ada")
        batch = enqueue(by=user, then=jobs.noop.bind())
        assert batch.created_by == user
        assert {job.created_by for job in Job.objects.all()} == {user}
        assert AuditEntry.objects.filter(action="enqueue", user_name="ada").count() == 4

    def test_a_unique_job_that_exists_already_is_no_part_of_it(self):
        unique = jobs.noop_again.using(unique_key="one", unique=True)
        existing = unique.enqueue()
        batch = Batch.objects.enqueue("Unique", [unique.bind(), *calls(1)])
        assert batch.total == 1
        existing.refresh_from_db()
        assert existing.batch is None

    def test_a_coroutine_can_enqueue_it(self):
        batch = async_to_sync(Batch.objects.aenqueue)("From a coroutine", list(calls(1)))
        assert batch.total == 1

    @pytest.mark.django_db(transaction=True)
    def test_a_rollback_takes_all_of_it_back(self):
        with transaction.atomic():
            enqueue(then=jobs.noop.bind())
            transaction.set_rollback(True)
        assert not Batch.objects.exists()
        assert not Job.objects.exists()

    @pytest.mark.once
    def test_memory_stays_small_however_many_calls_there_are(self):
        def most(number):
            tracemalloc.start()
            enqueue(range(number))
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return peak

        most(10)
        assert most(8_000) < 2 * most(2_000)


class TestRefused:
    @pytest.fixture(autouse=True)
    def nothing_is_stored(self):
        yield
        assert not Batch.objects.exists()
        assert not Job.objects.exists()

    @pytest.mark.parametrize("title", ["", "  ", "x" * 201, "a\nb", None, 7])
    def test_a_title_that_cannot_be_one(self, title):
        with pytest.raises(ValueError, match="title: must be a printable text of 1 to 200 characters"):
            enqueue(title=title)

    @pytest.mark.parametrize("wrong", [None, "send", 7, {"a": 1}])
    def test_calls_that_are_not_several(self, wrong):
        with pytest.raises(TypeError, match="calls: must be calls, as bind"):
            Batch.objects.enqueue("Wrong", wrong)

    @pytest.mark.parametrize("wrong", [None, jobs.noop, {}, "noop"])
    def test_what_is_no_call_is_named_by_its_place(self, wrong):
        with pytest.raises(TypeError, match=r"calls\[2\]: must be a call, as bind\(\) returns it"):
            Batch.objects.enqueue("Wrong", [*calls(1, 2), wrong])

    def test_wrong_arguments_in_the_middle_are_named_by_their_place(self):
        with pytest.raises(InvalidArguments) as error:
            enqueue([1, 2, "many", 4])
        assert list(error.value.errors) == ["calls[2].number"]

    def test_arguments_that_cannot_be_stored_are_named_by_their_place(self):
        large = Call(jobs.fail, {"message": "x" * (settings.ARGUMENTS_BYTES + 1)})
        with pytest.raises(InvalidArguments) as error:
            Batch.objects.enqueue("Large", [*calls(1), large])
        assert [name.partition(".")[0] for name in error.value.errors] == ["calls[1]"]

    @pytest.mark.parametrize("name", ["then", "otherwise"])
    @pytest.mark.parametrize("wrong", [jobs.noop, "noop", [], 7])
    def test_a_callback_that_is_no_call(self, name, wrong):
        with pytest.raises(TypeError, match=rf"{name}: must be a call, as bind\(\) returns it"):
            enqueue(**{name: wrong})

    @pytest.mark.parametrize("option", [{"run_after": timedelta(hours=1)}, {"after": 1}])
    def test_a_callback_with_a_start_of_its_own(self, option):
        with pytest.raises(ValueError, match=rf"then: using\({next(iter(option))}=…\) does not fit"):
            enqueue(then=jobs.noop.using(**option).bind())

    def test_a_callback_whose_arguments_cannot_be_stored(self):
        large = Call(jobs.fail, {"message": "x" * (settings.ARGUMENTS_BYTES + 1)})
        with pytest.raises(InvalidArguments) as error:
            enqueue(otherwise=large)
        assert all(name.startswith("otherwise.") for name in error.value.errors)

    def test_a_call_for_another_database(self):
        with pytest.raises(ValueError, match=r"calls\[1\]: its job belongs into the database 'archive'"):
            Batch.objects.enqueue("Foreign", [*calls(1), jobs.noop.using(database="archive").bind()])

    def test_an_error_of_the_generator_leaves_nothing(self):
        def broken():
            yield from calls(*range(5))
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            Batch.objects.enqueue("Broken", broken())


def test_a_callback_that_exists_already_is_refused():
    unique = jobs.noop_again.using(unique_key="one", unique=True)
    unique.enqueue()
    with pytest.raises(AlreadyEnqueued, match="then: "):
        enqueue(then=unique.bind())
    assert not Batch.objects.exists()


class TestEnds:
    def test_then_runs_once_all_are_done(self):
        batch = enqueue(then=jobs.noop.bind(), otherwise=jobs.noop.bind())
        then, otherwise = Job.objects.get(pk=batch.then_id), Job.objects.get(pk=batch.otherwise_id)
        assert {(job.status, job.waits_for_jobs, job.callback_of_id) for job in (then, otherwise)} == {
            ("scheduled", True, batch.pk)
        }
        assert [run.job.pk for run in drain()][-1] == batch.then_id
        batch.refresh_from_db()
        assert (batch.outcome, batch.is_finished, batch.progress) == ("done", True, 100)
        assert batch.counts() == {"done": 3}
        assert (status(batch.then_id), status(batch.otherwise_id)) == ("done", "cancelled")
        entry = AuditEntry.objects.get(job_id=batch.otherwise_id, action="cancel")
        assert entry.details == {"reason": "All jobs of its batch are done.", "batch": batch.pk}

    def test_otherwise_runs_if_some_are_not_done_and_then_waits_for_a_retry(self):
        batch = Batch.objects.enqueue(
            "Fails", [jobs.noop.bind(), jobs.fail.bind()], then=jobs.noop.bind(), otherwise=jobs.noop.bind()
        )
        drain()
        batch.refresh_from_db()
        assert (batch.outcome, batch.counts()) == ("failed", {"done": 1, "exception": 1})
        assert (status(batch.then_id), status(batch.otherwise_id)) == ("scheduled", "done")

    def test_retries_that_succeed_let_then_run_after_otherwise(self, tmp_path):
        gate = tmp_path / "gate"
        batch = Batch.objects.enqueue(
            "Retried", [jobs.needs_file.bind(path=str(gate))], then=jobs.noop.bind(), otherwise=jobs.noop.bind()
        )
        drain()
        assert (status(batch.then_id), status(batch.otherwise_id)) == ("scheduled", "done")
        gate.touch()
        assert batch.retry_failed() == 1
        batch.refresh_from_db()
        assert (batch.outcome, batch.is_finished) == ("", False)
        drain()
        batch.refresh_from_db()
        assert (batch.outcome, status(batch.then_id)) == ("done", "done")
        assert Job.objects.get(pk=batch.otherwise_id).attempt == 1

    def test_a_failure_with_an_attempt_left_is_no_end(self, ledger):
        batch = Batch.objects.enqueue("Fails twice", [jobs.fail_twice.bind(ledger=ledger)], then=jobs.noop.bind())
        assert run_job(batch.jobs.get()).status == "scheduled"
        batch.refresh_from_db()
        assert not batch.is_finished
        drain(retries=True)
        batch.refresh_from_db()
        assert (batch.outcome, status(batch.then_id)) == ("done", "done")

    @pytest.fixture
    def ledger(self, tmp_path):
        return str(tmp_path / "ledger")


@pytest.mark.django_db(transaction=True)
class TestEndsOfVerbs:
    def test_an_empty_batch_ends_at_once(self):
        batch = enqueue((), then=jobs.noop.bind(), otherwise=jobs.noop.bind())
        batch.refresh_from_db()
        assert (batch.outcome, batch.progress) == ("done", 100)
        assert (status(batch.then_id), status(batch.otherwise_id)) == ("new", "cancelled")

    def test_a_cancelled_batch_never_runs_then(self):
        batch = enqueue(then=jobs.noop.bind(), otherwise=jobs.noop.bind())
        assert batch.cancel(reason="No.") == 3
        batch.refresh_from_db()
        assert (batch.outcome, batch.counts()) == ("failed", {"cancelled": 3})
        assert (status(batch.then_id), status(batch.otherwise_id)) == ("cancelled", "new")
        assert "never all be done" in AuditEntry.objects.get(job_id=batch.then_id, action="cancel").details["reason"]

    def test_the_cancellation_of_its_last_job_ends_it(self):
        batch = enqueue([1], otherwise=jobs.noop.bind())
        batch.jobs.get().cancel()
        assert status(batch.otherwise_id) == "new"

    def test_a_dependent_that_is_cancelled_with_its_parent_ends_its_batch(self):
        parent = make_job()
        batch = Batch.objects.enqueue("After", [jobs.noop.using(after=parent).bind()], otherwise=jobs.noop.bind())
        Job.objects.get(pk=parent.pk).cancel()
        assert status(batch.otherwise_id) == "new"

    @pytest.mark.parametrize("delete", [lambda job: job.delete(), lambda job: Job.objects.filter(pk=job.pk).delete()])
    def test_the_deletion_of_its_last_job_ends_it(self, delete):
        batch = enqueue([1], then=jobs.noop.bind(), otherwise=jobs.noop.bind())
        delete(batch.jobs.get())
        batch.refresh_from_db()
        assert (batch.outcome, batch.counts()) == ("failed", {"deleted": 1})
        assert (status(batch.then_id), status(batch.otherwise_id)) == ("cancelled", "new")

    def test_what_waits_for_a_callback_that_never_runs_is_cancelled_too(self):
        batch = enqueue(then=jobs.noop.bind())
        last = jobs.noop.using(after=batch.then_id).enqueue()
        batch.cancel()
        assert status(last.pk) == "cancelled"

    def test_a_callback_that_a_person_has_started_is_not_started_again(self):
        batch = enqueue(then=jobs.noop.bind())
        Job.objects.get(pk=batch.then_id).run_now()
        drain()
        assert Job.objects.get(pk=batch.then_id).attempt == 1

    def test_all_its_jobs_are_paused_and_resumed(self):
        batch = enqueue()
        assert batch.pause() == 3
        assert batch.jobs.paused().count() == 3
        assert batch.resume() == 3
        assert batch.counts() == {"new": 3}

    def test_an_abort_withdraws_what_waits_too(self):
        batch = enqueue()
        running = make_job("running", batch=batch)
        assert batch.abort() == 4
        running.refresh_from_db()
        assert running.is_aborting
        assert batch.counts() == {"cancelled": 3, "running": 1}

    def test_it_runs_again_as_a_new_batch(self):
        batch = enqueue(then=jobs.noop.bind(), otherwise=jobs.fail.bind(message="alarm"))
        drain()
        again = batch.rerun()
        assert (again.title, again.total, again.rerun_of) == (batch.title, 3, batch)
        assert [job.rerun_of.batch_id for job in again.jobs.all()] == [batch.pk] * 3
        assert Job.objects.get(pk=again.otherwise_id).arguments == {"message": "alarm"}
        drain()
        again.refresh_from_db()
        assert (again.outcome, status(again.then_id)) == ("done", "done")

    def test_a_batch_without_jobs_does_not_run_again(self):
        batch = enqueue([1])
        batch.jobs.get().delete()
        with pytest.raises(ValueError, match="has no job that can run again"):
            batch.rerun()
        assert Batch.objects.count() == 1

    def test_its_end_can_be_waited_for(self):
        batch = enqueue([1])
        with pytest.raises(TimeoutError, match="still has jobs that have not ended"):
            batch.wait(timeout=0.05)
        drain()
        batch.wait(timeout=5)
        assert batch.is_finished

    def test_it_cannot_be_waited_for_inside_a_transaction(self):
        batch = enqueue([1])
        with transaction.atomic(), pytest.raises(transaction.TransactionManagementError, match="cannot be waited for"):
            batch.wait(timeout=5)


def test_uploads_of_a_batch_that_is_not_stored_are_deleted(own_types, monkeypatch):  # noqa: F811
    @job(name="test.takes_file")
    def takes_file(file: UploadedFile) -> None: ...

    monkeypatch.setattr(batching, "AT_ONCE", 1)
    storage = storages[settings.UPLOAD_STORAGE]
    before = set(files.stored(storage))
    with pytest.raises(TypeError):
        Batch.objects.enqueue("Uploads", [takes_file.bind(file=ContentFile(b"x", name="a.txt")), None])
    assert set(files.stored(storage)) == before


def test_calls_with_options_of_their_own_take_little_memory_too(monkeypatch):
    monkeypatch.setattr(batching, "AT_ONCE", 2)
    alive = weakref.WeakSet()

    def calls():
        for number in range(20):
            call = jobs.noop_again.using(priority=number).bind(number=number)
            alive.add(call.job_type)
            yield call
            del call
            gc.collect()
            assert len(alive) <= 6

    batch = Batch.objects.enqueue("Many", calls())
    assert sorted(batch.jobs.values_list("priority", flat=True)) == [*range(20)]
