"""Jobs that ask, and go on with the answer. Test processes only."""

from __future__ import annotations

import datetime as dt

from qorworker.models import Job
from qorworker.testing import jobs
from qorworker.testing.contract.ground import Ground, lines_of


class Questions(Ground):
    """Jobs that ask, and go on with the answer."""

    def test_a_job_asks_and_goes_on_with_the_answer(self, path: str) -> None:
        job = self.asked(path)
        assert (job.attempt, job.is_asking, lines_of(path)) == (0, True, ["asks"])
        self.backend.jobs_ready([job])  # a message that was on its way
        job.answer(number=7)
        assert self.ended(job).status == "done"
        assert (job.attempt, job.result, lines_of(path)) == (1, 7, ["asks", "asks", "goes on"])

    def test_a_job_goes_on_with_the_default_if_nobody_answers(self, path: str) -> None:
        job = self.asked(path, seconds=1.5)
        if self.backend.runs_in_caller:  # a worker goes on with it
            return
        assert self.ended(job).result == 1
        assert job.questions.get().state == "expired"

    def test_a_paused_job_goes_on_with_its_answer_when_it_is_resumed(self, path: str) -> None:
        job = self.asked(path)
        job.pause()
        job.answer(number=8)
        assert (job.status, lines_of(path)) == ("scheduled", ["asks"])
        job.resume()
        assert self.ended(job).result == 8

    def asked(self, path: str, seconds: float = 3600.0) -> Job:
        """Return a job that waits for its answer."""
        job = self.here(jobs.ask).enqueue(path=path, time=dt.timedelta(seconds=seconds))
        self.wait_until(Job.objects.asking().filter(pk=job.pk, attempts__outcome="suspended").exists)
        job.refresh_from_db()
        return job
