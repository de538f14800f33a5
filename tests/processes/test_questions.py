"""Jobs that wait for an answer, in real workers: no process waits, and whatever is killed, one answer counts once."""

import pytest

from qorworker.models import Job, Question
from tests.support import ended, wait_until, with_status
from tests.testapp import jobs

pytestmark = pytest.mark.process
QUICK = {"LEASE": 3, "OBSERVATION": 1}


@pytest.fixture
def gate(tmp_path):
    return tmp_path / "gate"


def words(ledger):
    return [line[0] for line in ledger.lines()]


def asking(job):
    wait_until(lambda: Job.objects.asking().filter(pk=job.pk).exists(), 60)
    job.refresh_from_db()
    return job


def test_no_process_waits_and_the_worker_may_be_another_one(start, ledger, gate):
    gate.touch()
    worker = start(processes=1)
    job = asking(jobs.ask_and_die.enqueue(ledger=str(ledger), gate=str(gate)))
    other = jobs.write.enqueue(ledger=str(ledger))
    assert ended(other).status == "done"  # the only process is free
    assert worker.stop() == 0
    job.answer(number=5)
    assert job.status == "new"
    start("--batch").exit_status()
    assert ended(job).result == 5
    assert (job.attempt, words(ledger).count("asks")) == (1, 2)


def test_a_process_that_is_killed_after_the_question_was_stored_costs_nothing(start, ledger, gate, transitions):
    start(processes=1)
    job = asking(jobs.ask_and_die.enqueue(ledger=str(ledger), gate=str(gate), dies=True))
    assert job.max_attempts == 1
    assert job.attempts.get().outcome == "crashed"
    job.answer(number=6)
    assert ended(job).result == 6
    assert Question.objects.count() == 1
    assert words(ledger) == ["asks", "suspended", "asks", "goes"]


def test_so_does_a_worker_that_is_killed_then(start, ledger, gate):
    worker = start(processes=1, **QUICK)
    job = jobs.ask_and_die.enqueue(ledger=str(ledger), gate=str(gate))
    ledger.wait(2)
    worker.kill()
    wait_until(lambda: not worker.census(), 10)
    start(processes=1, **QUICK)
    job = asking(job)
    assert job.attempts.get().outcome == "lost"
    job.answer(number=7)
    assert ended(job).result == 7
    assert Question.objects.count() == 1


def test_an_answer_that_comes_before_the_attempt_has_ended_counts(start, ledger, gate):
    start(processes=1)
    job = jobs.ask_and_die.enqueue(ledger=str(ledger), gate=str(gate))
    ledger.wait(2)
    job = with_status(job, "running")
    job.answer(number=8)
    gate.touch()
    assert ended(job).result == 8
    assert [attempt.outcome for attempt in job.attempts.order_by("id")] == ["suspended", "done"]


def test_an_abort_before_the_attempt_has_ended_ends_the_job(start, ledger, gate):
    start(processes=1)
    job = jobs.ask_and_die.enqueue(ledger=str(ledger), gate=str(gate))
    ledger.wait(2)
    job = with_status(job, "running")
    job.abort()
    job = ended(job)
    assert (job.status, job.waits_for_answer) == ("killed", False)


def test_a_process_that_is_killed_after_the_answer_hears_it_again(start, ledger):
    start(processes=1)
    job = asking(jobs.die_after_the_answer.enqueue(ledger=str(ledger)))
    job.answer(number=9)
    assert ended(job).result == 9
    assert words(ledger) == ["9", "9"]
    assert Question.objects.get().answer == {"number": 9}
