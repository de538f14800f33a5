"""The helpers as methods of a ``TestCase``. Test processes only."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from qorworker.definitions.job_type import JobType
from qorworker.models import Job
from qorworker.testing.enqueued import assert_enqueued, capture_jobs, refute_enqueued
from qorworker.testing.running import JobRun, drain, immediate_jobs, run_job


class JobTestMixin:
    """``class OrderTests(JobTestMixin, TestCase)``: the helpers of ``qorworker.testing``, named as in unittest."""

    def assertEnqueued(self, job_type: JobType[..., Any], arguments: Any = None, **more: Any) -> list[Job]:
        return assert_enqueued(job_type, arguments, **more)

    def assertNotEnqueued(self, job_type: JobType[..., Any], arguments: Any = None, **more: Any) -> None:
        refute_enqueued(job_type, arguments, **more)

    def captureJobs(self) -> AbstractContextManager[list[Job]]:
        return capture_jobs()

    def immediateJobs(self) -> AbstractContextManager[None]:
        return immediate_jobs()

    def runJob(self, what: JobType[..., Any] | Job, /, **arguments: Any) -> JobRun:
        return run_job(what, **arguments)

    def drainJobs(self, **options: Any) -> list[JobRun]:
        return drain(**options)
