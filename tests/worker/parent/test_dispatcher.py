"""What a parent makes of the messages and the ends of its children; step by step, with no process."""

import logging
import math
import os
import secrets
import socket
from contextlib import suppress
from datetime import timedelta

import pytest
from django.db import InternalError, OperationalError

from qorworker.attempts import rescue
from qorworker.attempts.attempt import RunningAttempt
from qorworker.attempts.writer import Writer
from qorworker.execution.messages import encode
from qorworker.models import Job, database_now
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.sql import Claim, claim_one
from qorworker.system.processes import monotonic
from qorworker.worker.parent.channels import READS
from qorworker.worker.parent.pool import Exit
from qorworker.worker.parent.watchdog import Watchdog
from tests.support import log_of
from tests.testapp import jobs, sharing
from tests.worker.parent.support import end, flushed, given

KILLED = Exit(-9, 0, 0)


class TestJobsBehindOneThatTakesLong:
    @pytest.fixture
    def three(self, dispatcher, child, monkeypatch):
        three = [jobs.noop_again.enqueue() for _ in range(3)]
        given(dispatcher, child, *three)
        child.begun = True
        monkeypatch.setattr(dispatcher.pool.channels, "_hear", lambda child: 0)
        return three

    def leave(self, dispatcher, child):
        dispatcher.free_waiting(monotonic() + 60)
        assert dispatcher.pool.fork_server.sent == [{"leave": child.number}]
        assert not dispatcher.pool.available

    def test_are_handed_back_by_a_process_that_is_to_be_replaced_after_them_too(self, dispatcher, child, three):
        """It has had its share of jobs."""
        dispatcher.pool.retire(child)
        self.leave(dispatcher, child)
        dispatcher.on_record(child, ["leaving", 1])
        assert flushed(dispatcher, *three) == [("running", 1), ("new", 0), ("new", 0)]

    def test_are_handed_back_if_no_process_has_them_yet_either(self, dispatcher, child, three):
        """The one that was to get them is to be replaced after what it has."""
        dispatcher.pool.retire(child)
        more = [jobs.noop_again.enqueue() for _ in range(2)]
        for job in more:
            assert dispatcher.intake.claim_one(job.pk) == 1
        now = monotonic()
        for seconds in (0.0, 1.0):
            dispatcher.dispatch(now + seconds)
            dispatcher.free_waiting(now + seconds)
            assert flushed(dispatcher, *more) == [("running", 1)] * 2
        dispatcher.dispatch(now + 3.0)
        dispatcher.free_waiting(now + 3.0)
        assert flushed(dispatcher, *more) == [("new", 0)] * 2

    def test_are_handed_back_and_it_goes_on(self, dispatcher, child, three):
        self.leave(dispatcher, child)
        dispatcher.on_record(child, ["leaving", 1])
        assert flushed(dispatcher, *three) == [("running", 1), ("new", 0), ("new", 0)]
        dispatcher.on_record(child, ["log", 1, 0.0, 20, "still here"])
        dispatcher.on_record(child, end(three[0]))
        assert flushed(dispatcher, *three) == [("done", 1), ("new", 0), ("new", 0)]
        assert three[0].log.get().text == "still here"

    def test_that_have_begun_by_then_are_kept(self, dispatcher, child, three):
        self.leave(dispatcher, child)
        dispatcher.on_record(child, end(three[0]))
        dispatcher.on_record(child, ["leaving", 2])
        assert flushed(dispatcher, *three) == [("done", 1), ("running", 1), ("new", 0)]
        dispatcher.on_record(child, end(three[1]))
        assert flushed(dispatcher, *three) == [("done", 1), ("done", 1), ("new", 0)]

    def test_are_all_handed_back_if_none_has_begun_by_then(self, dispatcher, child, three):
        self.leave(dispatcher, child)
        dispatcher.on_record(child, end(three[0]))
        dispatcher.on_record(child, ["leaving", 1])
        assert flushed(dispatcher, *three) == [("done", 1), ("new", 0), ("new", 0)]
        assert not child.attempts

    def test_are_handed_back_before_it_can_say_so(self, dispatcher, child, three):
        """A driver in C waits for its database, so no handler of a signal runs."""
        self.leave(dispatcher, child)
        dispatcher.pool._on_news({"asked": child.number}, 0.0)
        assert flushed(dispatcher, *three) == [("running", 1), ("new", 0), ("new", 0)]
        dispatcher.on_record(child, ["leaving", 1])
        dispatcher.on_record(child, end(three[0]))
        assert flushed(dispatcher, *three) == [("done", 1), ("new", 0), ("new", 0)]
        assert dispatcher.pool.fork_server.sent == [{"leave": child.number}]

    def test_that_had_begun_when_it_was_asked_are_kept(self, dispatcher, child, three, monkeypatch):
        def hear(child):
            dispatcher.on_record(child, end(three[0]))
            return 1

        self.leave(dispatcher, child)
        monkeypatch.setattr(dispatcher.pool.channels, "_hear", hear)
        dispatcher.pool._on_news({"asked": child.number}, 0.0)
        assert flushed(dispatcher, *three) == [("done", 1), ("running", 1), ("new", 0)]
        dispatcher.on_record(child, ["leaving", 1])
        assert flushed(dispatcher, *three) == [("done", 1), ("new", 0), ("new", 0)]

    def test_are_not_started_by_a_process_whose_job_has_taken_the_signal_away(self, dispatcher, child, three):
        self.leave(dispatcher, child)
        dispatcher.pool._on_news({"asked": child.number}, 0.0)
        dispatcher.on_record(child, end(three[0]))
        assert flushed(dispatcher, *three) == [("done", 1), ("new", 0), ("new", 0)]
        assert dispatcher.pool.fork_server.sent[-1] == {"stop": child.number, "grace": 0}

    def test_are_not_started_by_such_a_process_if_its_job_was_stopped_in_vain(self, dispatcher, child, three):
        self.leave(dispatcher, child)
        dispatcher.pool._on_news({"asked": child.number}, 0.0)
        dispatcher.stopping.stop(attempt := child.attempts[0], "aborted", "Aborted.", 10)
        dispatcher.on_record(child, end(three[0], returned_at=attempt.asked_to_end_at + 0.001))
        assert dispatcher.pool.fork_server.sent[-1] == {"stop": child.number, "grace": 0}

    @pytest.mark.parametrize(("muted", "messages"), [(True, 0), (False, READS)])
    def test_are_kept_until_it_says_so_if_later_ends_may_be_unheard(
        self, dispatcher, child, three, monkeypatch, muted, messages
    ):
        self.leave(dispatcher, child)
        monkeypatch.setattr(dispatcher.pool.channels, "_hear", lambda child: messages)
        dispatcher.pool.channels.muted = muted
        dispatcher.pool._on_news({"asked": child.number}, 0.0)
        assert flushed(dispatcher, *three) == [("running", 1)] * 3

    def test_make_no_crash_of_it_an_attempt_that_never_began(self, dispatcher, child, three):
        self.leave(dispatcher, child)
        dispatcher.on_record(child, ["leaving", 1])
        del dispatcher.pool.children[1]
        dispatcher.on_exit(child, KILLED)
        assert flushed(dispatcher, *three) == [("scheduled", 1), ("new", 0), ("new", 0)]

    @pytest.mark.parametrize(("seconds", "begun"), [(1.0, True), (60.0, False)])
    def test_stay_where_they_are_for_a_moment_or_until_the_process_has_begun(
        self, dispatcher, child, three, monkeypatch, seconds, begun
    ):
        monkeypatch.setattr(dispatcher.pool.channels, "has_begun", lambda child: begun)
        dispatcher.free_waiting(monotonic() + seconds)
        assert dispatcher.pool.fork_server.sent == []

    def test_stay_where_they_are_if_its_end_is_only_heard_now(self, dispatcher, child, three, monkeypatch):
        """The parent has waited for its database for that long."""

        def hear(child):
            dispatcher.on_record(child, end(three[0]))
            return 1

        monkeypatch.setattr(dispatcher.pool.channels, "_hear", hear)
        dispatcher.active.of_job(three[0].pk).begun -= 60
        dispatcher.free_waiting(monotonic())
        assert dispatcher.pool.fork_server.sent == []

    @pytest.mark.parametrize(("muted", "messages"), [(True, 0), (False, READS)])
    def test_stay_where_they_are_if_its_end_may_still_be_unheard(
        self, dispatcher, child, three, monkeypatch, muted, messages
    ):
        monkeypatch.setattr(dispatcher.pool.channels, "_hear", lambda child: messages)
        dispatcher.pool.channels.muted = muted
        dispatcher.free_waiting(monotonic() + 60)
        assert dispatcher.pool.fork_server.sent == []

    def test_a_job_with_none_behind_it_takes_as_long_as_it_needs(self, dispatcher, child):
        given(dispatcher, child, jobs.noop_again.enqueue())
        child.begun = True
        dispatcher.free_waiting(monotonic() + 60)
        assert dispatcher.pool.fork_server.sent == []


class TestJobsBehindTwoThatShareAProcess:
    @pytest.fixture
    def four(self, dispatcher, child, monkeypatch):
        four = [sharing.limited.enqueue(seconds=1.0) for _ in range(4)]
        for job in four:
            assert dispatcher.intake.claim_one(job.pk) == 1
        monkeypatch.setattr(dispatcher.pool.channels, "push", lambda child: None)
        for _ in range(3):
            dispatcher.sharing.durations.note(sharing.limited.name, 0.01)
        dispatcher.dispatch(monotonic())
        child.unsent.clear()
        child.begun = True
        monkeypatch.setattr(dispatcher.pool.channels, "_hear", lambda child: 0)
        for number, job in enumerate(four, 1):
            job.number = number
        return four

    def leave(self, dispatcher, child):
        dispatcher.free_waiting(monotonic() + 60)
        assert dispatcher.pool.fork_server.sent[-1] == {"leave": child.number}

    def test_are_handed_back_before_it_can_say_so(self, dispatcher, child, four):
        """One of the two blocks the loop in C, so no handler of a signal runs."""
        self.leave(dispatcher, child)
        dispatcher.pool._on_news({"asked": child.number}, 0.0)
        assert flushed(dispatcher, *four) == [("running", 1)] * 2 + [("new", 0)] * 2
        dispatcher.on_record(child, ["leaving", 2])
        dispatcher.on_record(child, end(four[0]))
        assert flushed(dispatcher, *four) == [("done", 1), ("running", 1), ("new", 0), ("new", 0)]
        assert not any("stop" in order for order in dispatcher.pool.fork_server.sent)

    def test_are_handed_back_by_a_process_that_is_to_be_replaced_after_them_too(self, dispatcher, child, four):
        dispatcher.pool.retire(child)
        self.leave(dispatcher, child)
        dispatcher.pool._on_news({"asked": child.number}, 0.0)
        assert flushed(dispatcher, *four) == [("running", 1)] * 2 + [("new", 0)] * 2

    def test_that_had_begun_when_it_was_asked_are_kept(self, dispatcher, child, four, monkeypatch):
        def hear(child):
            dispatcher.on_record(child, end(four[1]))
            return 1

        self.leave(dispatcher, child)
        monkeypatch.setattr(dispatcher.pool.channels, "_hear", hear)
        dispatcher.pool._on_news({"asked": child.number}, 0.0)
        assert flushed(dispatcher, *four) == [("running", 1), ("done", 1), ("running", 1), ("new", 0)]

    def test_are_handed_back_even_if_they_could_have_begun_but_were_not_read(self, dispatcher, child, four):
        """One of them blocks the loop."""
        child.unsent += b"." * sum(list(child.lengths)[1:])
        self.leave(dispatcher, child)
        dispatcher.pool._on_news({"asked": child.number}, 0.0)
        assert flushed(dispatcher, *four) == [("running", 1)] + [("new", 0)] * 3
        dispatcher.intake.stuck_since, dispatcher.pool.fork_server.sent[:] = None, []
        dispatcher.free_waiting(monotonic() + 120)
        assert dispatcher.pool.fork_server.sent == []

    def test_are_asked_for_again_if_later_ends_may_be_unheard(self, dispatcher, child, four, monkeypatch):
        self.leave(dispatcher, child)
        monkeypatch.setattr(dispatcher.pool.channels, "_hear", lambda child: READS)
        dispatcher.pool._on_news({"asked": child.number}, 0.0)
        assert flushed(dispatcher, *four) == [("running", 1)] * 4
        monkeypatch.setattr(dispatcher.pool.channels, "_hear", lambda child: 0)
        self.leave(dispatcher, child)
        assert dispatcher.pool.fork_server.sent.count({"leave": child.number}) == 2

    def test_are_not_started_by_a_process_that_never_says_so(self, dispatcher, child, four):
        self.leave(dispatcher, child)
        dispatcher.pool._on_news({"asked": child.number}, 0.0)
        for job in four[:2]:
            dispatcher.on_record(child, end(job))
        assert flushed(dispatcher, *four) == [("done", 1)] * 2 + [("new", 0)] * 2
        assert dispatcher.pool.fork_server.sent[-1] == {"stop": child.number, "grace": 0}


def test_what_an_earlier_attempt_of_the_same_job_says_is_not_heard(dispatcher, child):
    job = jobs.noop_again.enqueue()
    given(dispatcher, child, job)
    stale = job.number
    dispatcher.on_record(child, end(job, "failed", delay=0.0))
    flushed(dispatcher, job)
    [attempt] = given(dispatcher, child, job)
    for record in (
        ["log", stale, 0.0, 20, "a late line"],
        ["progress", stale, 50, "late"],
        ["end", stale, {"outcome": "done"}],
    ):
        dispatcher.on_record(child, record)
    assert (attempt.log, attempt.progress, list(child.attempts)) == ([], None, [attempt])


class TestAJobThatEndedInItsOwnTransaction:
    """The parent may hear of that late, or never."""

    def committed(self, dispatcher, child):
        job = jobs.atomic.enqueue(name="kept")
        [attempt] = given(dispatcher, child, job)
        attempt.apply(["log", job.pk, 0.0, 20, "a line"])
        assert Job.objects.end_in_transaction(job.pk, 1, attempt.job.token, 1.5)
        return job, attempt

    def assert_whole(self, job):
        assert job.status == "done"
        assert [line.text for line in job.log.all()] == ["a line"]
        note = job.attempts.get()
        assert (note.outcome, note.worker_name, note.process_id) == ("done", "host:1", 4711)
        assert round(note.duration.total_seconds(), 1) == 1.5

    def test_it_goes_on_until_its_child_says_so(self, dispatcher, child):
        job, attempt = self.committed(dispatcher, child)
        Watchdog(dispatcher, dispatcher.pool).check_requests(0.0)
        assert dispatcher.writer.flush([attempt]) == []
        assert not child.stopping
        dispatcher.on_record(child, end(job, committed=True))
        flushed(dispatcher, job)
        self.assert_whole(job)

    @pytest.mark.parametrize("reason", ["", "aborted", "timeout", "interrupted"])
    def test_a_child_that_ends_before_it_says_so_changes_nothing(self, dispatcher, child, reason):
        job, attempt = self.committed(dispatcher, child)
        attempt.stop_reason = reason
        del dispatcher.pool.children[1]
        dispatcher.on_exit(child, KILLED)
        flushed(dispatcher, job)
        self.assert_whole(job)

    def test_an_error_after_the_commit_changes_nothing(self, dispatcher, child):
        """As when the answer to the commit is lost: the handler's process takes it for failed."""
        job, attempt = self.committed(dispatcher, child)
        dispatcher.on_record(child, end(job, "failed", error="the connection is closed"))
        flushed(dispatcher, job)
        self.assert_whole(job)

    def test_an_end_that_is_written_twice_is_noted_once(self, dispatcher, child, monkeypatch):
        job, _attempt = self.committed(dispatcher, child)
        dispatcher.on_record(child, end(job, committed=True))
        [late] = dispatcher.writer.ends
        flushed(dispatcher, job)
        dispatcher.writer.end(late)
        flushed(dispatcher, job)
        self.assert_whole(job)

    def test_whose_row_is_locked_is_not_written_before_that_is_known(self, dispatcher, child, monkeypatch):
        """The lock may go between two statements of the transaction that writes the end."""
        job, _attempt = self.committed(dispatcher, child)
        dispatcher.on_record(child, end(job, "failed", error="the connection is closed"))
        with monkeypatch.context() as patch:
            patch.setattr(JobQuerySet, "unlocked", JobQuerySet.none)
            dispatcher.writer.flush(())
            assert [held.attempt.job.id for held in dispatcher.writer.deferred] == [job.pk]
            job.refresh_from_db()
            assert job.error == ""
        flushed(dispatcher, job)
        self.assert_whole(job)

    def test_that_was_taken_away_is_not_tried_again(self, dispatcher, child):
        job, attempt = self.committed(dispatcher, child)
        dispatcher.on_record(child, end(job, "failed"))
        Job.objects.filter(pk=job.pk).update(attempt_token="e" * 32)
        dispatcher.writer.flush(())
        assert attempt.lost
        assert not dispatcher.writer.deferred

    def test_whose_worker_is_gone_is_done_all_the_same(self, dispatcher, child):
        job, attempt = self.committed(dispatcher, child)
        Job.objects.filter(pk=job.pk).update(lease_expires_at=database_now("default") - timedelta(seconds=60))
        seized = rescue.take_over("default", job.pk, attempt.job.token)
        assert rescue.end_lost("default", seized, None, "The worker is gone.") == 1
        job.refresh_from_db()
        assert (job.status, job.error) == ("done", "")
        assert job.attempts.get().outcome == "done"


class TestAJobThatDidNotEndInItsOwnTransaction:
    @pytest.mark.parametrize(("reason", "status"), [("", "exception"), ("aborted", "killed"), ("timeout", "exception")])
    def test_never_does_once_its_end_is_written(self, dispatcher, child, reason, status):
        job = jobs.atomic.enqueue(name="late")
        [attempt] = given(dispatcher, child, job)
        attempt.stop_reason = reason
        del dispatcher.pool.children[1]
        dispatcher.on_exit(child, KILLED)
        flushed(dispatcher, job)
        assert job.status == status
        Job.objects.filter(pk=job.pk).update(status="running", attempt_token=attempt.job.token)  # a token seen too late
        assert not Job.objects.end_in_transaction(job.pk, 1, attempt.job.token)
        assert job.attempts.get().outcome == (reason or "crashed")

    def test_is_run_again_under_the_same_number_after_a_shutdown(self, dispatcher, child):
        job = jobs.atomic.using(max_attempts=3).enqueue(name="again")
        [attempt] = given(dispatcher, child, job)
        attempt.stop_reason = "interrupted"
        del dispatcher.pool.children[1]
        dispatcher.on_exit(child, KILLED)
        assert flushed(dispatcher, job) == [("new", 0)]
        [again] = given(dispatcher, child, job)
        assert Job.objects.end_in_transaction(job.pk, 1, again.job.token)
        dispatcher.on_record(child, end(job, committed=True))
        flushed(dispatcher, job)
        noted = [(each.number, each.outcome) for each in job.attempts.order_by("id")]
        assert noted == [(1, "interrupted"), (1, "done")]

    def test_one_that_was_taken_away_is_stopped(self, dispatcher, child):
        job = jobs.atomic.enqueue(name="late")
        [attempt] = given(dispatcher, child, job)
        Job.objects.filter(pk=job.pk).update(attempt_token="another")
        Watchdog(dispatcher, dispatcher.pool).check_requests(0.0)
        assert (attempt.lost, child.stopping) == (True, True)


def test_the_writer_knows_when_the_next_attempt_is_due(dispatcher, child):
    first, second, third = (jobs.noop_again.enqueue() for _ in range(3))
    given(dispatcher, child, first, second, third)
    before = monotonic()
    dispatcher.on_record(child, end(first, "failed", delay=60))
    dispatcher.on_record(child, end(second, "failed", delay=20))
    dispatcher.on_record(child, end(third))
    assert dispatcher.writer.next_retry == math.inf
    assert flushed(dispatcher, first, second, third) == [("scheduled", 1), ("scheduled", 1), ("done", 1)]
    assert before + 20 <= dispatcher.writer.next_retry <= monotonic() + 20


def test_a_job_that_was_given_to_a_child_just_forked_learns_the_number_of_its_process(dispatcher, child):
    child.pid = None
    given(dispatcher, child, job := jobs.noop.enqueue())
    flushed(dispatcher, job)
    assert job.process_id is None
    dispatcher.pool._on_news({"forked": 1, "pid": 4711}, 0.0)
    flushed(dispatcher, job)
    assert job.process_id == 4711


def test_a_child_that_is_faster_than_the_news_of_its_fork_is_heard_after_it(dispatcher, selector, monkeypatch):
    descriptors = []
    monkeypatch.setattr(dispatcher.pool.fork_server, "send", lambda order, given=(): descriptors.extend(given))
    child = dispatcher.pool._fork()
    work, records, output, board = descriptors
    given(dispatcher, child, job := jobs.noop.enqueue())
    with socket.socket(fileno=records) as end_of_child:
        end_of_child.send(encode([end(job)]))
        hear(selector)
        dispatcher.pool._on_news({"forked": child.number, "pid": 4711}, 0.0)
        hear(selector)
    assert flushed(dispatcher, job) == [("done", 1)]
    assert job.attempts.get().process_id == 4711
    dispatcher.pool.channels.close(child)
    for descriptor in (work, output, board):
        os.close(descriptor)


def test_output_that_a_leaving_child_could_not_wait_for_is_in_the_log_of_its_job(dispatcher, selector, monkeypatch):
    """The parent was busy, and hears the end first."""
    descriptors = []
    monkeypatch.setattr(dispatcher.pool.fork_server, "send", lambda order, given=(): descriptors.extend(given))
    child = dispatcher.pool._fork()
    work, records, output, board = descriptors
    given(dispatcher, child, job := jobs.noop.enqueue())
    child.begun = True
    os.write(output, b"by a subprocess\nand half a line")
    with socket.socket(fileno=records) as end_of_child:
        end_of_child.send(encode([end(job, leftovers=True), ["left", job.number]]))
        dispatcher.pool.channels.catch_up(child)
    assert flushed(dispatcher, job) == [("done", 1)]
    assert log_of(job) == ["by a subprocess", "and half a line"]
    dispatcher.pool.channels.close(child)
    for descriptor in (work, output, board):
        os.close(descriptor)


def hear(selector):
    for key, _ in selector.select(0):
        key.data(monotonic())


def test_a_job_whose_process_nobody_heard_of_counts_as_started(dispatcher, child):
    job = jobs.noop.enqueue()
    given(dispatcher, child, job)
    child.pid = None
    del dispatcher.pool.children[1]
    dispatcher.on_exit(child, KILLED)
    assert flushed(dispatcher, job) == [("exception", 1)]


def test_a_job_whose_process_could_not_be_made_is_queued_again(dispatcher, child):
    job = jobs.noop.enqueue()
    given(dispatcher, child, job)
    child.pid = None
    del dispatcher.pool.children[1]
    child.untouched = True
    dispatcher.on_exit(child, Exit(1, 0, 0, "no room"))
    assert flushed(dispatcher, job) == [("new", 0)]


def test_an_end_with_an_impossible_duration_is_written(dispatcher, child):
    job = jobs.noop.enqueue()
    given(dispatcher, child, job)
    dispatcher.on_record(child, end(job, duration=4e18, delay=4e18))
    assert flushed(dispatcher, job) == [("done", 1)]


def test_a_stale_end_and_a_new_attempt_of_the_same_job_are_written_one_after_the_other(dispatcher, child):
    job = jobs.noop_again.enqueue()
    [stale] = given(dispatcher, child, job)
    dispatcher.writer.hand_back(stale)
    ends = list(dispatcher.writer.ends)
    dispatcher.writer.flush(())
    child.attempts.clear()
    dispatcher.active.discard(stale)
    given(dispatcher, child, job)
    dispatcher.writer.ends = ends  # the answer to the first flush was lost
    dispatcher.on_record(child, end(job))
    flushed(dispatcher, job)
    assert flushed(dispatcher, job) == [("done", 1)]
    assert dispatcher.writer.ends == []


@pytest.mark.only_on("postgresql")  # the others store what this one refuses
@pytest.mark.django_db(transaction=True)
def test_an_end_with_a_character_that_is_refused_is_stored_without_it(dispatcher, child):
    good, bad = jobs.noop_again.enqueue(), jobs.noop_again.enqueue()
    given(dispatcher, child, good, bad)
    dispatcher.on_record(child, end(good))
    dispatcher.on_record(child, end(bad, "failed", error="no"))
    dispatcher.writer.ends[1].update.error = "a NUL \0"
    assert flushed(dispatcher, good, bad) == [("done", 1), ("scheduled", 1)]
    assert bad.error == "a NUL \N{SYMBOL FOR NULL}"


class TestAFailureAfterAWrite:
    """It says nothing about the jobs that were claimed with the write."""

    @pytest.fixture
    def fail(self):
        class Answer(Exception):
            sqlstate = "55P03"

        def fail(*args):
            raise OperationalError("canceling statement due to lock timeout") from Answer()

        return fail

    @pytest.fixture
    def exchange(self, dispatcher, child, tmp_path):
        """``exchange(break_it)``: write the end of a limited job and claim another; which that was, and what runs."""

        def exchange(break_it):
            [attempt] = given(dispatcher, child, first := jobs.alone.enqueue(ledger=str(tmp_path / "ledger")))
            job = jobs.noop.enqueue()
            dispatcher.pool.fork_server.ready = True
            dispatcher.claimer.find_queues()
            dispatcher.on_record(child, end(first))
            break_it(attempt)
            with suppress(OperationalError):
                dispatcher.intake.exchange(dispatcher.intake.next_claim())
            dispatcher.intake.recover()
            return job.pk, [attempt.job.id for attempt in dispatcher.active]

        return exchange

    def test_that_nobody_can_be_told_of_a_free_place_takes_no_claim_away(self, exchange, fail, monkeypatch):
        job, running = exchange(lambda attempt: monkeypatch.setattr("qorworker.attempts.writer.wake", fail))
        assert running == [job]

    def test_that_a_handler_of_the_projects_cannot_log_takes_no_claim_away(self, exchange, fail, monkeypatch):
        """One that writes to the database, for example, or a filter."""
        logger = logging.getLogger("qorworker.signals")
        monkeypatch.setattr(logger, "level", logging.INFO)
        monkeypatch.setattr(logger, "filters", [fail])
        logger.manager._clear_cache()
        job, running = exchange(lambda attempt: None)
        logger.manager._clear_cache()
        assert running == [job]

    def test_that_a_lost_end_cannot_be_looked_for_takes_no_claim_away(self, exchange, fail, monkeypatch):
        def lose(attempt):
            Job.objects.filter(pk=attempt.job.id).update(attempt_token="another")
            monkeypatch.setattr(JobQuerySet, "ended_as", fail)

        job, running = exchange(lose)
        assert running == [job]


@pytest.mark.django_db(transaction=True)
class TestAFailureInTheMiddleOfAWrite:
    """The jobs that were claimed with the write are known to their worker, or still wait."""

    @pytest.fixture
    def exchange(self, dispatcher):
        """``exchange()``: write the ends, claim another job, and return the ids of what runs and of what is known."""

        def exchange():
            jobs.noop.enqueue()
            dispatcher.pool.fork_server.ready = True
            dispatcher.claimer.find_queues()
            claim = dispatcher.intake.next_claim()
            with pytest.raises(OperationalError):
                dispatcher.intake.exchange(claim)
            dispatcher.intake.recover()
            running = Job.objects.filter(attempt_token=claim.token).values_list("pk", flat=True)
            return list(running), [attempt.job.id for attempt in dispatcher.active]

        return exchange

    def test_that_completes_the_note_of_a_job_that_committed_its_end(self, dispatcher, child, exchange, monkeypatch):
        [attempt] = given(dispatcher, child, job := jobs.atomic.enqueue(name="kept"))
        assert Job.objects.end_in_transaction(job.pk, 1, attempt.job.token)
        dispatcher.on_record(child, end(job, committed=True))
        monkeypatch.setattr("django.db.models.query.QuerySet.bulk_update", refuse)
        running, known = exchange()
        assert running == known

    def test_that_stores_what_a_job_returned(self, dispatcher, child, exchange, monkeypatch):
        [attempt] = given(dispatcher, child, job := jobs.noop.enqueue())
        attempt.apply(["row", job.pk, [["a value", "an error"]]])
        dispatcher.writer.flush([attempt])
        dispatcher.on_record(child, end(job, "row_errors"))
        monkeypatch.setattr("django.db.models.query.QuerySet.bulk_update", refuse)
        running, known = exchange()
        assert running == known


def refuse(*args, **more):
    """Fail as a database does that has refused a statement."""
    error = OperationalError("canceling statement due to lock timeout")
    error.__cause__ = Exception()
    error.__cause__.sqlstate = "55P03"
    raise error


def test_progress_that_could_not_be_written_is_written_later(dispatcher, child, monkeypatch):
    [attempt] = given(dispatcher, child, job := jobs.noop.enqueue())
    attempt.apply(["progress", job.pk, 40, None])

    def refused(writer, ends, progressed, claim=None):
        assert [each.update().progress for each in progressed] == [40]
        raise InternalError("terminating connection")

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "_write", refused)
        with pytest.raises(InternalError):
            flushed(dispatcher, job)
    flushed(dispatcher, job)
    assert job.progress == 40


def test_a_child_blots_out_the_secrets_of_the_attempts_that_it_has_and_of_no_earlier_one(dispatcher, child):
    dispatcher.pool.channels.push = lambda child: child.unsent.clear()

    def dispatch(*passwords):
        for password in passwords:
            job = jobs.secretive.enqueue(password=password)
            claimed = claim_one("default", job.pk, Claim(worker_id=1, token=secrets.token_hex(16), lease=15.0))
            dispatcher.intake.ready.append(RunningAttempt(claimed, "default"))
            dispatcher._child_for = lambda attempt, is_alone, is_shared: child
        dispatcher.dispatch(monotonic())
        return child.mask.secrets

    assert dispatch("opensesame", "closesesame") == {"opensesame", "closesesame"}
    child.attempts.popleft()
    assert dispatch("hunter2") == {"closesesame", "hunter2"}
    child.attempts.clear()
    assert dispatch("swordfish") == {"swordfish"}
    child.has_left = True  # a thread of its last attempt may still print
    child.attempts.clear()
    child.unsent += b"given too late"
    assert dispatch() == {"swordfish"}


def test_what_a_job_has_returned_is_kept_up_to_its_limit_whatever_the_child_sends(dispatcher, child):
    (attempt,) = given(dispatcher, child, jobs.noop_again.enqueue())
    for _ in range(20):
        dispatcher.on_record(child, ["return", 1, "x" * 100_000])
    assert len(attempt.returned) == 1_000_000
