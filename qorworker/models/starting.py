"""What the run form asks of the rows: what runs already, what its user ran before, where a new job stands. Web."""

from __future__ import annotations

from typing import Any

from django.db.models import Q

from qorworker.models.counting import capped_count
from qorworker.models.job import Job
from qorworker.models.job_queries import JobQuerySet
from qorworker.status import JobStatus

OWN, OWN_RUNS = 500, 40  # jobs of one person looked through, and of one type among them
SOME = 20  # running jobs of a type that are counted


def runs_of_user(user: Any, name: str) -> list[Job]:
    """The newest jobs of one type among the last ``OWN`` that *user* made, at most ``OWN_RUNS``."""
    newest = Job.objects.of_user(user).newest_first().values_list("pk", "name")[:OWN]
    mine = [pk for pk, of_type in newest if of_type == name][:OWN_RUNS]
    return list(Job.objects.filter(pk__in=mine).newest_first()) if mine else []


def running_of_type(jobs: JobQuerySet, name: str) -> list[Job]:
    """Those of *jobs* of one type that run, the newest first, at most ``SOME``."""
    return list(jobs.for_type(name).few(Q(status=JobStatus.RUNNING)).newest_first().select_related("created_by")[:SOME])


def position(job: Job) -> int:
    """Which in its queue a queued job is, up to a limit; the next to start is 1.

    One of a limited type stands in the line of those that share its limit.
    """
    before = Q(priority__gt=job.priority) | Q(priority=job.priority, pk__lt=job.pk)
    line = Job.objects.queued().filter(queue_name=job.queue_name, limit_key=job.limit_key)
    return capped_count(line.filter(before)) + 1
