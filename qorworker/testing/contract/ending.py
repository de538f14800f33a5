"""Jobs that are ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from qorworker.exceptions import UnsupportedByBackend
from qorworker.testing import jobs
from qorworker.testing.contract.ground import Ground, alive, lines_of


class Endings(Ground):
    """Jobs that are ended."""

    def test_a_job_that_looks_is_aborted(self, path: str, gate: str) -> None:
        with self.begun(jobs.wait, path, gate=gate) as job:
            if not self.backend.supports_abort:
                assert not job.can_abort
                with pytest.raises(UnsupportedByBackend):
                    job.abort()
                return
            assert job.can_abort
            job.abort(reason="a test")
            self.ended(job)
            assert (job.status, lines_of(path)[-1], Path(gate).exists()) == ("killed", "over", False)
            assert job.attempts.get().outcome == "aborted"
            assert job.error.startswith("Aborted.")

    def test_a_job_that_returns_when_it_is_asked_to_end_is_aborted(self, path: str, gate: str) -> None:
        if not self.backend.supports_abort:
            return
        with self.begun(jobs.return_when_asked, path, gate=gate) as job:
            job.abort()
            self.ended(job)
            assert (job.status, job.attempts.get().outcome) == ("killed", "aborted")
            assert job.error.startswith("Aborted. Its function then returned.")

    def test_a_job_that_does_not_look_is_ended_with_all_it_has_started(self, path: str, gate: str) -> None:
        if not self.backend.supports_kill:
            return
        with self.begun(jobs.deaf, path, gate=gate) as job:
            started = int(lines_of(path)[0].split()[2])
            job.abort()
            self.ended(job)
            assert (job.status, Path(gate).exists()) == ("killed", False)
            self.wait_until(lambda: not alive(started))
        assert self.run(jobs.story).status == "done"

    def test_an_aborted_job_is_retried_on_request(self, path: str, gate: str) -> None:
        if not self.backend.supports_abort:
            return
        with self.begun(jobs.wait, path, gate=gate) as job:
            job.abort()
            self.ended(job)
        job.retry()
        self.ended(job)
        assert (job.status, job.attempt, job.abort_requested_at) == ("done", 2, None)

    def test_a_job_over_its_time_is_ended(self, gate: str) -> None:
        if not self.backend.supports_limits:
            return
        job = self.run(jobs.too_long, gate=gate)
        assert (job.status, job.attempts.get().outcome) == ("exception", "timeout")
