"""Which jobs a worker takes in, and which it hands back at once."""

import pytest

from qorworker.models import Job
from qorworker.worker.parent.channels import Child
from qorworker.worker.parent.pool import Exit
from tests.testapp import jobs
from tests.worker.parent.support import flushed, given

KILLED = Exit(-9, 0, 0)


class TestTheSameJobTwiceOnOneWorker:
    """The worker stood still for so long that another one took its job, ended that attempt and queued the job again."""

    @pytest.fixture
    def stale(self, dispatcher, child):
        """An attempt that a process here still runs although it was lost, of a job that waits again."""
        [attempt] = given(dispatcher, child, jobs.noop_again.enqueue())
        Job.objects.filter(pk=attempt.job.id).update(status="new", attempt_token=None, lease_expires_at=None)
        dispatcher.pool.fork_server.ready = dispatcher.claimer.has_more = True
        dispatcher.pool.size, dispatcher.pool.children[2] = 2, Child(2, -1, None, -1, pid=4712)
        dispatcher.claimer.find_queues()
        return attempt

    def take(self, dispatcher):
        dispatcher.intake.exchange(dispatcher.intake.next_claim())
        dispatcher.writer.flush(())
        return Job.objects.get()

    def test_is_not_started_beside_the_attempt_that_was_lost(self, dispatcher, child, stale):
        job = self.take(dispatcher)
        assert (job.status, job.attempt) == ("new", 1)
        assert stale.lost
        assert child.stopping
        assert (list(dispatcher.active), list(dispatcher.intake.ready)) == ([stale], [])

    def test_is_left_to_others_as_long_as_the_lost_attempt_has_a_process(self, dispatcher, stale):
        self.take(dispatcher)
        dispatcher.claimer.find_queues()
        assert dispatcher.intake.next_claim().but == [stale.job.id]
        assert self.take(dispatcher).status == "new"
        assert not dispatcher.claimer.has_more  # it does not ask again and again

    def test_is_taken_when_that_process_has_ended(self, dispatcher, child, stale):
        self.take(dispatcher)
        del dispatcher.pool.children[1]
        dispatcher.on_exit(child, KILLED)
        dispatcher.claimer.find_queues()
        job = self.take(dispatcher)
        assert (job.status, job.attempt) == ("running", 2)
        [attempt] = dispatcher.active
        assert (attempt.job.token, attempt.lost) == (job.attempt_token, False)

    def test_another_job_is_taken_meanwhile(self, dispatcher, stale):
        dispatcher.stopping.abandon(stale)
        other = jobs.noop_again.enqueue()
        dispatcher.intake.exchange(dispatcher.intake.next_claim())
        assert [attempt.job.id for attempt in dispatcher.intake.ready] == [other.pk]

    def test_is_not_taken_by_its_number_either(self, dispatcher, stale):
        assert dispatcher.intake.claim_one(stale.job.id) == 0

    def test_an_attempt_that_had_no_process_yet_makes_room_at_once(self, dispatcher, child, stale):
        child.attempts.clear()
        dispatcher.intake.ready.append(stale)
        assert self.take(dispatcher).status == "running"
        [attempt] = dispatcher.active
        assert list(dispatcher.intake.ready) == [attempt]
        assert attempt is not stale

    def test_the_end_of_the_old_attempt_does_not_touch_the_new_one(self, dispatcher, child, stale):
        dispatcher.stopping.abandon(stale)
        dispatcher.active.discard(stale)
        other = Child(3, -1, None, -1, pid=4713)
        [attempt] = given(dispatcher, other, Job.objects.get())
        dispatcher.on_exit(child, KILLED)
        assert list(dispatcher.active) == [attempt]
        assert flushed(dispatcher, job := Job.objects.get()) == [("running", 2)]
        assert job.attempt_token == attempt.job.token
