"""The queries of the run form: what runs already, what its user ran before, where a new job stands. Web."""

from __future__ import annotations

from typing import Any

from django.db.models import Q

from qorworker.models.job import Job
from qorworker.models.job_queries import JobQuerySet
from qorworker.queries.reasons import Line
from qorworker.status import JobStatus

OWN, OWN_RUNS = 500, 40  # jobs of one user that are read, and of one type among them
SOME = 20  # running jobs of a type that are counted


def runs_of_user(user: Any, name: str) -> list[Job]:
    """Return the newest jobs of one type among the last ``OWN`` that *user* made, at most ``OWN_RUNS``."""
    newest = Job.objects.of_user(user).newest_first().values_list("pk", "name")[:OWN]
    ids = [pk for pk, of_type in newest if of_type == name][:OWN_RUNS]
    return list(Job.objects.filter(pk__in=ids).newest_first()) if ids else []


def running_of_type(jobs: JobQuerySet, name: str) -> list[Job]:
    """Return those of *jobs* of one type that run, the newest first, at most ``SOME``."""
    return list(jobs.for_type(name).few(Q(status=JobStatus.RUNNING)).newest_first().select_related("created_by")[:SOME])


def position(job: Job) -> int:
    """Return the place of a queued job in its queue, up to a limit; the next to start is 1. Its page counts the same
    way.
    """
    return Line(job.queue_name, job.name, job, job.version).ahead + 1
