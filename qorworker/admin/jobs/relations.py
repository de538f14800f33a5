"""The other jobs and the batches that belong to a job, as far as the user may see them. Web."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.functional import cached_property

from qorworker import permissions
from qorworker.admin.batches.story import sees
from qorworker.admin.flow import Picture, picture_of
from qorworker.models import Batch, Job
from qorworker.queries import job_details
from qorworker.queries.flow import flow_of


class Relations:
    """A base for the story of a job."""

    request: HttpRequest
    user: Any
    job: Job

    @cached_property
    def visibility(self) -> permissions.Visibility:
        """Return which other jobs and schedules the user may see."""
        return permissions.Visibility(self.user)

    @cached_property
    def parents(self) -> list[Job]:
        """Return the jobs after which it starts or has started and that the user may see."""
        return job_details.parents(self.visibility.jobs, self.job)

    @cached_property
    def dependents(self) -> list[Job]:
        """Return the jobs that start or have started after it and that the user may see."""
        return job_details.dependents(self.visibility.jobs, self.job)

    @cached_property
    def batch(self) -> Batch | None:
        """Return the batch to which it belongs, or for whose end it waits; None if the user may not see it."""
        pk = self.job.batch_id or self.job.callback_of_id
        batch = Batch.objects.filter(pk=pk).first() if pk is not None else None
        return batch if batch is not None and sees(self.user, batch) else None

    @cached_property
    def spawned(self) -> list[Batch]:
        """Return the batches that it has enqueued and that the user may see, at most 20."""
        if not getattr(self.job, "has_spawned", False):
            return []
        return [batch for batch in Batch.objects.spawned_by(self.job.pk)[:20] if sees(self.user, batch)]

    @cached_property
    def flow(self) -> Picture | None:
        """Return the picture of the jobs and batches before it and behind it; None if it stands alone."""
        job = self.job
        if not (job.has_parents or job.has_dependents or job.callback_of_id or self.spawned):
            return None
        flow = flow_of(job, self.visibility.jobs, lambda batch: sees(self.user, batch))
        return picture_of(self.request, flow, job)

    @cached_property
    def reruns(self) -> list[int]:
        """Return the numbers of the jobs that repeat this one and that the user may see."""
        return job_details.reruns(self.visibility.jobs, self.job)
