"""A job is run once, in its transaction."""

from __future__ import annotations

from contextlib import suppress

from django.db import transaction

from qorworker.testing import jobs
from qorworker.testing.contract.ground import Ground, lines_of, log_of


class Life(Ground):
    """A job is run once, in its transaction."""

    def test_a_job_is_run_once_and_ends_as_done(self, path: str) -> None:
        job = self.run(jobs.write, path=path, text="hello", number=7)
        assert lines_of(path) == [f"{job.pk} 1 7 hello"]
        assert (job.status, job.attempt, job.error) == ("done", 1, "")
        [attempt] = job.attempts.all()
        assert (attempt.number, attempt.outcome, attempt.error) == (1, "done", "")

    def test_the_row_of_an_ended_job_says_when_and_belongs_to_nobody(self, path: str) -> None:
        job = self.run(jobs.write, path=path)
        assert job.started_at is not None
        assert job.finished_at is not None
        assert job.enqueued_at <= job.started_at <= job.finished_at
        assert job.started_at == job.last_attempted_at
        assert (job.attempt_token, job.lease_expires_at, job.queue_name) == (None, None, self.queue_name)

    def test_many_jobs_run_once_each(self, path: str) -> None:
        made = self.here(jobs.write).enqueue_many([{"path": path, "number": number} for number in range(20)])
        for job in made:
            assert self.ended(job).status == "done"
        assert sorted(int(line.split()[2]) for line in lines_of(path)) == list(range(20))

    def test_a_job_takes_part_in_the_transaction(self, path: str) -> None:
        with transaction.atomic():
            job = self.here(jobs.write).enqueue(path=path)
            assert lines_of(path) == []
            assert job.status == "new"
        assert self.ended(job).status == "done"

    def test_a_job_whose_transaction_rolls_back_never_was(self, path: str) -> None:
        with suppress(ZeroDivisionError), transaction.atomic():
            self.here(jobs.write).enqueue(path=path)
            raise ZeroDivisionError
        self.run(jobs.write, path=path, text="another")
        assert [line.split()[-1] for line in lines_of(path)] == ["another"]

    def test_whoever_is_told_twice_runs_it_once(self, path: str) -> None:
        job = self.here(jobs.write).enqueue(path=path)
        self.backend.jobs_ready([job])
        self.ended(job)
        self.backend.jobs_ready([job])
        self.run(jobs.write, path=path)
        assert len(lines_of(path)) == 2

    def test_jobs_that_may_share_a_process_run_once_each_together_or_one_after_another(self, path: str) -> None:
        made = self.here(jobs.together).enqueue_many([{"path": path, "number": number} for number in range(12)])
        for number, job in enumerate(made):
            job = self.ended(job)
            assert (job.status, job.attempt, job.result) == ("done", 1, number)
            assert [line.text for line in log_of(job)] == [f"number {number}"]
        assert sorted(int(line.split()[2]) for line in lines_of(path)) == list(range(12))
