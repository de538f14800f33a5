"""The files that a job has added, on its page and as JSON. Web."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.functional import cached_property

from qorworker.admin import links
from qorworker.models import Job, JobFile
from qorworker.queries import job_details

SHOWN = 200  # on the page; all of them are in job.json


class Files:
    """The files of one job: those of its last attempt, and those of earlier ones."""

    def __init__(self, job: Job) -> None:
        self.job = job

    @cached_property
    def _all(self) -> list[JobFile]:
        return job_details.files(self.job, SHOWN)

    @property
    def current(self) -> list[JobFile]:
        """Return the files of the last attempt."""
        return [file for file in self._all if file.attempt == self.job.attempt]

    @property
    def earlier(self) -> list[JobFile]:
        """Return the files of other attempts."""
        return [file for file in self._all if file.attempt != self.job.attempt]

    @property
    def left_out(self) -> int:
        """Return how many files are too many for the page."""
        return max(0, self.job.files_count - len(self._all))


def as_dicts(request: HttpRequest, job: Job) -> list[dict[str, Any]]:
    """Return the files of *job* as dicts, with the addresses of their downloads."""
    return [
        {
            "name": file.name,
            "size": file.size,
            "content_type": file.content_type,
            "sha256": file.sha256,
            "attempt": file.attempt,
            "url": address(request, job, file.token),
        }
        for file in (job_details.files(job) if job.files_count else ())
    ]


def address(request: HttpRequest, job: Job, token: str) -> str:
    """Return the whole address of a file of *job*."""
    return request.build_absolute_uri(links.url(request, "qorworker_job_added", job.pk, token))
