"""Jobs that fail, wrong input, attempts that lost their job."""

from __future__ import annotations

import datetime as dt

import pytest

from qorworker.exceptions import InvalidArguments, InvalidTransition
from qorworker.models import Job, database_now
from qorworker.testing import jobs
from qorworker.testing.contract.ground import Ground, alive, lines_of, log_of


class Failures(Ground):
    """Jobs that fail, wrong input, attempts that lost their job."""

    def test_a_failed_job_keeps_what_it_said(self) -> None:
        job = self.run(jobs.fail, message="no such luck")
        assert (job.status, job.error, job.progress) == ("exception", "ValueError: no such luck", 40)
        assert [line.text for line in log_of(job)] == ["said inside a transaction that is rolled back"]
        [attempt] = job.attempts.all()
        assert (attempt.outcome, attempt.error) == ("failed", "ValueError: no such luck")
        assert "Traceback" in attempt.traceback
        assert "no such luck" in attempt.traceback

    def test_a_job_that_leaves_has_failed(self) -> None:
        job = self.run(jobs.leave)
        assert job.status == "exception"
        assert "sys.exit(3)" in job.error

    def test_a_failed_attempt_is_followed_by_another(self, path: str) -> None:
        job = self.run(jobs.fail_until, path=path, good=3)
        assert (job.status, job.attempt, lines_of(path)) == ("done", 3, ["1", "2", "3"])
        assert [attempt.outcome for attempt in job.attempts.order_by("number")] == ["failed", "failed", "done"]

    def test_after_the_last_attempt_it_has_failed(self, path: str) -> None:
        job = self.run(jobs.fail_until, path=path, good=9)
        assert (job.status, job.attempt, job.error) == ("exception", 3, "ValueError: attempt 3")

    def test_a_failed_job_is_retried_on_request(self, path: str) -> None:
        job = self.run(jobs.fail_until, path=path, good=4)
        job.retry()
        assert self.ended(job).status == "done"
        assert (job.attempt, job.error, lines_of(path)) == (4, "", ["1", "2", "3", "4"])

    def test_an_ended_job_is_run_again_as_a_new_one(self, path: str) -> None:
        job = self.run(jobs.write, path=path, number=5)
        new = self.ended(job.rerun())
        assert (new.status, new.rerun_of_id, new.arguments) == ("done", job.pk, job.arguments)
        assert [line.split()[2] for line in lines_of(path)] == ["5", "5"]

    def test_a_done_job_takes_no_other_verb(self, path: str) -> None:
        job = self.run(jobs.write, path=path)
        for verb in (job.cancel, job.retry, job.run_now, *([job.abort] if self.backend.supports_abort else [])):
            with pytest.raises(InvalidTransition):
                verb()
        job.refresh_from_db()
        assert (job.status, len(lines_of(path))) == ("done", 1)

    def test_wrong_arguments_store_nothing(self, path: str) -> None:
        with pytest.raises(InvalidArguments) as caught:
            self.here(jobs.write).enqueue(path=path, number="many", more=1)
        assert set(caught.value.errors) == {"number", "more"}
        assert not Job.objects.exists()

    def test_stored_arguments_that_no_longer_fit_are_refused(self, path: str) -> None:
        row = Job(name=jobs.write.name, queue_name=self.queue_name, arguments={"path": path, "number": "many"})
        Job.objects.all().enqueue_rows([row])
        self.backend.jobs_ready([row])
        job = self.ended(row)
        assert (job.status, lines_of(path)) == ("exception", [])
        assert job.attempts.get().outcome == "refused"
        assert "number" in job.error

    def test_an_attempt_that_lost_its_job_writes_no_more(self, path: str, gate: str) -> None:
        with self.begun(jobs.wait, path, gate=gate) as job:
            later = database_now(job._state.db or "default") + dt.timedelta(hours=1)
            Job.objects.filter(pk=job.pk).update(attempt_token="another", lease_expires_at=later, process_id=None)
            self.wait_until(lambda: "over" in lines_of(path) or not alive(int(lines_of(path)[0].split()[1])))
        self.run(jobs.write, path=path)
        job.refresh_from_db()
        assert (job.status, job.attempt_token, job.attempts.count()) == ("running", "another", 0)
