"""Which jobs wait for which other ones. All processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils.translation import gettext_lazy as _

from qorworker.models.indexes import PartialIndex
from qorworker.models.own import OwnQuerySet
from qorworker.status import FINISHED, UNFINISHED, JobStatus

if TYPE_CHECKING:
    from qorworker.models.job import Job
    from qorworker.models.job_queries import JobQuerySet


class AfterFailure(models.TextChoices):
    """What becomes of a job if one that it waits for fails, is aborted or is cancelled."""

    CANCEL = "cancel"  # it is cancelled, too
    RUN = "run"
    WAIT = "wait"  # until that one has been retried and is done


class DependencyQuerySet(OwnQuerySet["Dependency"]):
    def open(self) -> DependencyQuerySet:
        """Return those that still keep their job from starting."""
        return self.filter(is_open=True)

    def due(self) -> DependencyQuerySet:
        """Return the open ones that can be resolved: the parent has ended, or is gone."""
        jobs: Any = self.model._meta.get_field("parent").related_model  # that module imports this one
        parent = jobs.objects.using(self.db).filter(pk=OuterRef("parent_id"))
        ended = Exists(parent.filter(status__in=FINISHED)) | ~Exists(parent)
        may_be_done_yet = parent.exclude(status__in=[JobStatus.DONE, JobStatus.CANCELLED])
        may_be_retried = Q(after_failure=AfterFailure.WAIT) & Exists(may_be_done_yet)
        return self.open().filter(ended).exclude(may_be_retried)


class Dependency(models.Model):
    """That a job starts only after another one, its parent."""

    job = models.ForeignKey("qorworker.Job", models.CASCADE, related_name="+", db_constraint=False, db_index=False)
    # Kept when the parent is deleted: the page of the job still names it.
    parent = models.ForeignKey(
        "qorworker.Job", models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    after_failure = models.CharField(max_length=6, choices=AfterFailure.choices, default=AfterFailure.CANCEL)
    is_open = models.BooleanField(default=True)

    objects = DependencyQuerySet.as_manager()

    class Meta:
        verbose_name = _("dependency")
        verbose_name_plural = _("dependencies")
        default_permissions = ()
        ordering = ("id",)
        indexes = (
            models.Index(name="qorworker_dependency_parent", fields=("parent",)),
            PartialIndex(name="qorworker_dependency_open", fields=("parent",), only=Q(is_open=True)),
        )
        constraints = (models.UniqueConstraint(fields=("job", "parent"), name="qorworker_dependency_job"),)

    def __str__(self) -> str:
        return f"#{self.job_id} after #{self.parent_id}"


def parents_of(job: Job, jobs: JobQuerySet) -> JobQuerySet:
    """Return those of *jobs* for which *job* waits or has waited, the oldest first."""
    own = Dependency.objects.using(jobs.db).filter(job_id=job.pk)
    return jobs.filter(pk__in=own.values("parent_id")).order_by("pk")


def unresolved_parents_of(job: Job, jobs: JobQuerySet) -> JobQuerySet:
    """Return those of *jobs* for which *job* still waits, the oldest first."""
    own = Dependency.objects.using(jobs.db).open().filter(job_id=job.pk)
    return jobs.filter(pk__in=own.values("parent_id")).order_by("pk")


def dependents_of(job: Job, jobs: JobQuerySet) -> JobQuerySet:
    """Return those of *jobs* that wait or have waited for *job*, the oldest first."""
    others = Dependency.objects.using(jobs.db).filter(parent_id=job.pk)
    return jobs.filter(pk__in=others.values("job_id")).order_by("pk")


def with_unfinished_dependents() -> Q:
    """Return the condition that jobs wait for a job, or run after it."""
    unfinished = Dependency.objects.filter(parent_id=OuterRef("pk"), job__status__in=UNFINISHED)
    return Q(Exists(unfinished), has_dependents=True)
