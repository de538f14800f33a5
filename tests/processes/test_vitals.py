"""What a worker sees of the jobs that it runs: samples of their processes, and their stacks on demand."""

import os
import signal
import time
from pathlib import Path

import pytest

from qorworker.exceptions import InvalidTransition
from qorworker.models import AuditEntry, Job
from tests.support import alive, ended, wait_until
from tests.testapp import jobs, watched

pytestmark = pytest.mark.process
MIB = 1024 * 1024


@pytest.fixture
def gate(tmp_path) -> Path:
    return tmp_path / "gate"


def begun(job_type, ledger, count=1, **arguments):
    """A job, once *count* jobs have begun."""
    job = job_type.enqueue(ledger=str(ledger), **{name: str(value) for name, value in arguments.items()})
    wait_until(lambda: sum(line[0] == "begin" for line in ledger.lines()) >= count)
    return job


def stack_of(job):
    """The answer to a request for the stack of *job*."""
    asked_at = time.monotonic()
    job.request_stack()

    def answer():
        job.refresh_from_db()
        return not job.awaits_stack and job.stack

    stack = wait_until(answer)
    print(f"stack from {stack.source} after {time.monotonic() - asked_at:.2f} s")
    assert stack.requested_at == job.stack_requested_at
    return stack


class TestSamples:
    def test_a_job_that_runs_for_longer_has_samples_of_its_processes_and_queries(self, worker, ledger, gate):
        job = begun(watched.queries_and_waits, ledger, gate=gate)

        def samples():
            job.refresh_from_db()
            return len(job.vitals) >= 3 and job.vitals

        first, *_, last = wait_until(samples)
        assert job.vitals_attempt == 1
        assert first.seconds < last.seconds
        assert last.memory > 60 * MIB
        assert 0 <= last.cpu < last.seconds
        assert 25 <= last.queries <= 30  # a few more with which Django sets up its connection
        assert 0 < last.query_seconds < last.seconds
        assert last.quiet > 0
        gate.touch()
        job = ended(job)
        assert (job.status, len(job.vitals) >= 3) == ("done", True)

    def test_a_short_job_has_none_and_costs_nothing(self, worker):
        job = ended(jobs.noop.enqueue())
        assert (job.vitals, job.samples, job.vitals_attempt) == ([], None, 0)

    def test_jobs_that_share_a_process_say_how_many(self, worker, ledger, gate):
        several = [begun(watched.awaits_together, ledger, number + 1, gate=gate) for number in range(3)]

        def samples():
            rows = Job.objects.in_bulk([job.pk for job in several]).values()
            found = [row.vitals[-1] for row in rows if row.vitals]
            return len(found) == 3 and found

        assert {sample.together for sample in wait_until(samples)} == {3}
        gate.touch()
        assert {ended(job).status for job in several} == {"done"}


class TestStacks:
    def test_the_stack_of_a_job_shows_its_function_and_threads_and_nothing_around_it(self, worker, ledger, gate):
        job = begun(watched.queries_and_waits, ledger, gate=gate)
        stack = stack_of(job)
        assert stack.source == "python"
        first, *_ = stack.text.split("\nThread")
        assert first.splitlines()[0] == "Thread MainThread (most recent call last):"
        assert f'File "{watched.__file__}"' in first.splitlines()[1]
        assert "in queries_and_waits" in first
        assert "in wait_at" in first
        assert "Thread the helper" in stack.text
        assert "execute.py" not in stack.text
        gate.touch()
        assert ended(job).status == "done"

    def test_a_job_that_keeps_the_interpreter_shows_its_stack_from_c(self, worker, ledger):
        job = begun(watched.stuck_in_c, ledger)
        stack = stack_of(job)
        assert stack.source == "c"
        assert "in stuck_in_c" in stack.text
        assert "execute.py" not in stack.text
        job.refresh_from_db()
        assert job.status == "running"

    def test_a_coroutine_shows_its_tasks(self, worker, ledger, gate):
        job = begun(watched.awaits, ledger, gate=gate)
        stack = stack_of(job)
        assert stack.source == "python"
        assert "in awaits" in stack.text
        assert "Task the inner one" in stack.text
        assert "in inner_task" in stack.text
        gate.touch()
        assert ended(job).status == "done"

    def test_of_jobs_that_share_a_process_only_the_tasks_of_this_one_are_shown(self, worker, ledger, gate):
        job, other = (begun(watched.awaits_together, ledger, number, gate=gate) for number in (1, 2))
        stack = stack_of(job)
        assert stack.source == "task"
        assert stack.text.count("in of_this_job") == 1
        assert Job.objects.get(pk=other.pk).stack is None
        gate.touch()
        assert {ended(each).status for each in (job, other)} == {"done"}

    def test_if_the_loop_that_they_share_is_blocked_it_shows_what_blocks_it(self, worker, ledger, gate):
        job = begun(watched.awaits_together, ledger, gate=gate)
        stack_of(job)
        blocking = begun(watched.blocks_the_loop, ledger, 2, gate=gate)
        stack = stack_of(blocking)
        assert stack.source == "c"
        assert "in blocks_the_loop" in stack.text
        gate.touch()
        assert {ended(each).status for each in (job, blocking)} == {"done"}

    def test_each_request_replaces_the_answer_before(self, worker, ledger, gate):
        job = begun(watched.queries_and_waits, ledger, gate=gate)
        first, second = stack_of(job), stack_of(job)
        assert first.requested_at < second.requested_at
        assert first.taken_at < second.taken_at
        entries = AuditEntry.objects.of_job(job.pk).filter(action="show the stack of")
        assert [entry.outcome for entry in entries] == ["ok", "ok"]
        gate.touch()
        assert ended(job).status == "done"

    def test_a_secret_in_a_line_of_code_is_masked(self, worker, ledger, gate):
        job = begun(watched.has_a_secret, ledger, gate=gate, word="open sesame")
        stack = stack_of(job)
        assert "in has_a_secret" in stack.text
        assert "open sesame" not in stack.text
        gate.touch()
        assert ended(job).status == "done"

    def test_a_stopped_process_says_that_it_is_stopped(self, worker, ledger, gate):
        job = begun(watched.queries_and_waits, ledger, gate=gate)
        pid = wait_until(lambda: Job.objects.get(pk=job.pk).process_id)
        os.kill(pid, signal.SIGSTOP)
        try:
            stack = stack_of(job)
            assert (stack.source, stack.text) == ("none", "T (stopped)")
        finally:
            os.kill(pid, signal.SIGCONT)
        assert alive(pid)
        gate.touch()
        assert ended(job).status == "done"

    def test_a_job_that_has_ended_has_no_stack_to_show(self, worker):
        job = ended(jobs.noop.enqueue())
        with pytest.raises(InvalidTransition):
            job.request_stack()
        assert (job.stack, job.awaits_stack) == (None, False)
