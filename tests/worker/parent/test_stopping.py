"""What becomes of attempts that are stopped, and of those behind them."""

from qorworker.models import Job
from qorworker.worker.parent.pool import Exit
from tests.testapp import jobs
from tests.worker.parent.support import end, flushed, given

KILLED = Exit(-9, 0, 0)


class TestTheJobBehindOneThatIsStopped:
    def test_hit_by_the_signal_that_was_meant_for_the_first_it_is_queued_again(self, dispatcher, child):
        first, second = jobs.noop_again.enqueue(), jobs.noop_again.enqueue()
        attempt, _ = given(dispatcher, child, first, second)
        dispatcher.stopping.stop(attempt, "aborted", "Aborted.", 10)
        dispatcher.on_record(child, end(first))
        dispatcher.on_record(child, end(second, "aborted"))
        dispatcher.on_record(child, ["left", second.number])
        del dispatcher.pool.children[1]
        dispatcher.on_exit(child, Exit(0, 0, 0))
        assert flushed(dispatcher, first, second) == [("done", 1), ("new", 0)]

    def test_ended_without_a_word_it_did_not_crash(self, dispatcher, child):
        first, second = jobs.noop_again.enqueue(), jobs.noop_again.enqueue()
        attempt, _ = given(dispatcher, child, first, second)
        dispatcher.stopping.stop(attempt, "timeout", "Stopped.", 10)
        dispatcher.on_record(child, end(first))
        del dispatcher.pool.children[1]
        dispatcher.on_exit(child, KILLED)
        assert flushed(dispatcher, first, second) == [("done", 1), ("new", 0)]
        assert second.crashes == 0

    def test_a_process_that_nobody_stopped_has_crashed(self, dispatcher, child):
        first, second = jobs.noop_again.enqueue(), jobs.noop_again.enqueue()
        given(dispatcher, child, first, second)
        dispatcher.on_record(child, end(first))
        del dispatcher.pool.children[1]
        dispatcher.on_exit(child, KILLED)
        assert flushed(dispatcher, first, second) == [("done", 1), ("scheduled", 1)]
        assert second.crashes == 1

    def test_taken_away_while_it_waited_it_is_stopped_when_its_turn_comes(self, dispatcher, child):
        first, second = jobs.noop_again.enqueue(), jobs.noop_again.enqueue()
        _, attempt = given(dispatcher, child, first, second)
        dispatcher.stopping.abandon(attempt)
        assert not child.stopping
        dispatcher.on_record(child, end(first))
        assert child.stopping


class TestAHandlerThatReturnsWhileItIsStopped:
    def stopped(self, dispatcher, child, *many, grace=10):
        [attempt, *_] = given(dispatcher, child, *many)
        dispatcher.stopping.stop(attempt, "aborted", "Aborted.", grace)
        return attempt

    def leave(self, dispatcher, child):
        del dispatcher.pool.children[1]
        dispatcher.on_exit(child, Exit(0, 0, 0))

    def test_after_it_was_asked_to_was_aborted(self, dispatcher, child):
        attempt = self.stopped(dispatcher, child, job := jobs.noop.enqueue())
        dispatcher.on_record(child, end(job, returned_at=attempt.asked_to_end_at + 0.001))
        assert flushed(dispatcher, job) == [("running", 1)]  # some of its processes may still live
        self.leave(dispatcher, child)
        assert flushed(dispatcher, job) == [("killed", 1)]
        assert job.error == "Aborted. Its function then returned. All its processes have ended."
        assert job.attempts.get().outcome == "aborted"

    def test_before_the_request_could_reach_it_is_done(self, dispatcher, child):
        attempt = self.stopped(dispatcher, child, job := jobs.noop.enqueue())
        dispatcher.on_record(child, end(job, returned_at=attempt.asked_to_end_at - 0.001))
        assert flushed(dispatcher, job) == [("done", 1)]

    def test_before_it_was_killed_without_being_asked_is_done(self, dispatcher, child):
        self.stopped(dispatcher, child, job := jobs.noop.enqueue(), grace=0)
        dispatcher.on_record(child, end(job, returned_at=1e9))
        assert flushed(dispatcher, job) == [("done", 1)]

    def test_with_its_loop_suspended_before_the_request_goes_on_later(self, dispatcher, child):
        [attempt] = given(dispatcher, child, job := jobs.noop.enqueue())
        dispatcher.stopping.stop(attempt, "interrupted", "Interrupted because the worker was stopped.", 10)
        dispatcher.on_record(child, end(job, "suspended", returned_at=attempt.asked_to_end_at - 0.001))
        assert flushed(dispatcher, job) == [("new", 0)]

    def test_with_its_loop_suspended_after_the_request_was_interrupted(self, dispatcher, child):
        [attempt] = given(dispatcher, child, job := jobs.noop.enqueue())
        dispatcher.stopping.stop(attempt, "interrupted", "Interrupted because the worker was stopped.", 10)
        dispatcher.on_record(child, end(job, "suspended", returned_at=attempt.asked_to_end_at + 0.001))
        self.leave(dispatcher, child)
        assert flushed(dispatcher, job) == [("exception", 1)]

    def test_with_errors_in_its_rows_was_aborted_too(self, dispatcher, child):
        attempt = self.stopped(dispatcher, child, job := jobs.noop.enqueue())
        dispatcher.on_record(child, end(job, "row_errors", returned_at=attempt.asked_to_end_at + 1))
        self.leave(dispatcher, child)
        assert flushed(dispatcher, job) == [("killed", 1)]

    def test_with_its_end_committed_is_done(self, dispatcher, child):
        attempt = self.stopped(dispatcher, child, job := jobs.atomic.enqueue(name="kept"))
        assert Job.objects.end_in_transaction(job.pk, 1, attempt.job.token)
        dispatcher.on_record(child, end(job, committed=True, returned_at=attempt.asked_to_end_at + 1))
        assert flushed(dispatcher, job) == [("done", 1)]

    def test_leaves_the_job_behind_it_to_another_process(self, dispatcher, child):
        first, second = jobs.noop_again.enqueue(), jobs.noop_again.enqueue()
        attempt = self.stopped(dispatcher, child, first, second)
        dispatcher.on_record(child, end(first, returned_at=attempt.asked_to_end_at + 1))
        assert {"stop": 1, "grace": 0} in dispatcher.pool.fork_server.sent
        dispatcher.on_record(child, end(second, returned_at=attempt.asked_to_end_at + 2))
        self.leave(dispatcher, child)
        assert flushed(dispatcher, first, second) == [("killed", 1), ("new", 0)]
