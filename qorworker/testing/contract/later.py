"""Jobs that wait, and their order."""

from __future__ import annotations

import datetime as dt

import pytest
from django.db import connection, transaction
from django.utils import timezone

from qorworker.exceptions import UnsupportedByBackend
from qorworker.models import Job, database_now
from qorworker.testing import jobs
from qorworker.testing.contract.ground import Ground, lines_of


class Boss:
    """A user with all permissions, whatever users the project has."""

    pk, is_active = 0, True

    def get_username(self) -> str:
        return "boss"

    def has_perm(self, name: str) -> bool:
        return True


class Waits(Ground):
    """Jobs that wait, and their order."""

    def test_a_job_waits_for_its_time(self, path: str) -> None:
        if not self.backend.supports_schedule:
            with pytest.raises(UnsupportedByBackend):
                self.here(jobs.write, run_after=dt.timedelta(hours=1)).enqueue(path=path)
            assert not Job.objects.exists()
            return
        when = database_now(connection.alias) + dt.timedelta(seconds=1.5)
        job = self.here(jobs.write, run_after=when).enqueue(path=path)
        assert (job.status, job.can_reschedule) == ("scheduled", True)
        self.ended(job)
        assert job.status == "done"
        assert job.started_at is not None
        assert job.started_at >= when

    def test_a_job_that_needs_approval_starts_only_after_it(self, path: str) -> None:
        job = self.here(jobs.approved).enqueue(path=path)
        self.backend.jobs_ready([job])  # a message that should not be there
        after = self.run(jobs.write, path=path)
        job.refresh_from_db()
        assert (job.awaits_approval, lines_of(path)) == (True, [f"{after.pk} 1 0 "])
        job.approve(by=Boss())
        assert self.ended(job).status == "done"
        assert lines_of(path)[1:] == [str(job.pk)]

    def test_a_waiting_job_is_cancelled_moved_and_run_now(self, path: str) -> None:
        if not self.backend.supports_schedule:
            return
        later = self.here(jobs.write, run_after=dt.timedelta(hours=1))
        cancelled, moved, now = (later.enqueue(path=path, text=text) for text in ("cancelled", "moved", "now"))
        cancelled.cancel()
        self.backend.jobs_ready([cancelled, moved])  # a message that was on its way
        moved.reschedule(timezone.now() - dt.timedelta(hours=1))
        now.run_now()
        assert self.ended(moved).status == self.ended(now).status == "done"
        assert self.wait_for(cancelled, "cancelled").attempt == 0
        assert {line.split()[-1] for line in lines_of(path)} == {"moved", "now"}

    def test_a_paused_job_does_not_start_until_it_is_resumed(self, path: str) -> None:
        with transaction.atomic():
            job = self.here(jobs.write).enqueue(path=path, text="paused")
            job.pause()
        self.backend.jobs_ready([job])  # a message that was on its way
        self.run(jobs.write, path=path, text="free")
        assert [line.split()[-1] for line in lines_of(path)] == ["free"]
        job.resume()
        assert self.ended(job).status == "done"
        assert lines_of(path)[-1].split()[-1] == "paused"

    def test_a_priority_is_taken_or_refused(self, path: str) -> None:
        urgent = self.here(jobs.write, priority=10)
        if self.backend.supports_priority:
            assert self.ended(urgent.enqueue(path=path)).priority == 10
            return
        with pytest.raises(UnsupportedByBackend):
            urgent.enqueue(path=path)
        assert not Job.objects.exists()
