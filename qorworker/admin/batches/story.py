"""What the page of a batch shows to one user: only of jobs that this user may see. Web."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.db.models import Case, Count, F, Value, When
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy, pgettext_lazy

from qorworker import permissions
from qorworker.admin import links, tokens
from qorworker.admin.flow import Picture, picture_of
from qorworker.definitions.registry import registry
from qorworker.models import Batch, Job, JobQuerySet
from qorworker.models.batch import DELETED, BatchQuerySet, percent_ended
from qorworker.models.job_pause import PAUSED
from qorworker.queries import job_list
from qorworker.queries.flow import flow_of
from qorworker.status import JobStatus

SHOWN = 20  # jobs, and errors
ERROR_CHARS = 300
TABS = {
    "new": "queued", "scheduled": "scheduled", "paused": "paused", "running": "running", "done": "done",
    "exception": "failed", "killed": "aborted", "cancelled": "cancelled",
}  # fmt: skip
LABELS: dict[str, Any] = {
    **{status.value: status.label for status in JobStatus},
    "paused": pgettext_lazy("job status", "Paused"),
    DELETED: gettext_lazy("Deleted before they ended"),
}


class Figure(NamedTuple):
    """How many jobs have one status, and where they are listed."""

    look: str
    label: Any
    number: int
    url: str
    gone: int  # of them, those that were deleted since


class Failure(NamedTuple):
    """An error, and how many jobs ended with it."""

    error: str
    number: int
    gone: int


def sees(user: Any, batch: Batch) -> bool:
    """Return whether *user* may see *batch*: it is their own, or they see those of others, and one of its types."""
    if not permissions.sees_all(user) and batch.created_by_id != user.pk:
        return False
    return permissions.can(user, "view") or any(
        permissions.can(user, "view", job_type) for name in batch.names if (job_type := registry.find(name)) is not None
    )


def visible_batch(request: HttpRequest, pk: int) -> Batch | None:
    """Return the batch *pk*, or None if it does not exist or the user may not see it."""
    rows = Batch.objects.select_related("created_by", "then", "otherwise")
    batch = rows.filter(pk=pk).first() if pk < 2**63 else None
    return batch if batch is not None and sees(request.user, batch) else None


def visible_batches(user: Any) -> BatchQuerySet:
    """Return the batches that *user* may see, by the same rule as ``sees``."""
    rows = Batch.objects.select_related("created_by")
    rows = rows if permissions.sees_all(user) else rows.filter(created_by=user)
    if permissions.can(user, "view"):
        return rows
    return rows.of_types(each.name for each in registry.all() if permissions.can(user, "view", each))


class BatchStory:
    """One batch, as one user sees it."""

    def __init__(self, request: HttpRequest, batch: Batch) -> None:
        self.request, self.batch, self.user = request, batch, request.user
        self.visibility = permissions.Visibility(request.user)

    @property
    def jobs(self) -> JobQuerySet:
        """The jobs of the batch that the user may see."""
        return self.visibility.jobs.filter(batch_id=self.batch.pk)

    @cached_property
    def gone(self) -> dict[str, int]:
        """How many of its jobs were deleted, by their last status; of types that the user may not see, too."""
        return self.batch.gone_counts if permissions.can(self.user, "view") else {}

    @cached_property
    def counts(self) -> Counter[str]:
        """How many of its jobs, those that were deleted included, have each status; paused ones are apart."""
        shown = Case(When(PAUSED, then=Value("paused")), default=F("status"))
        rows = self.jobs.order_by().annotate(shown=shown).values_list("shown").annotate(number=Count("pk"))
        counts = Counter(dict(rows))
        counts.update(self.gone)
        return counts

    @property
    def total(self) -> int:
        return self.counts.total()

    @property
    def size(self) -> int:
        """How many jobs of those that the user may see were enqueued; without counting them if these are all."""
        return self.total if self.lacking("view") else self.batch.total

    @property
    def ended(self) -> int:
        """How many of its jobs have ended."""
        return sum(self.counts[status] for status in ("done", "exception", "killed", "cancelled", DELETED))

    @property
    def progress(self) -> int:
        return percent_ended(self.counts)

    @property
    def look(self) -> str:
        """The look of its badge and its bar."""
        if not self.batch.is_finished:
            return "running" if self.total > self.counts["paused"] + self.ended else "paused"
        return "done" if self.batch.outcome == "done" else "exception"

    @property
    def label(self) -> str:
        """The text of its badge."""
        return str(LABELS["paused"] if self.look == "paused" else self.batch.get_outcome_display())

    @property
    def figures(self) -> list[Figure]:
        """The numbers of jobs by status, each with the address of the list of these."""
        return [
            Figure(status, label, self.counts[status], self.list_url(TABS.get(status, "")), self.gone.get(status, 0))
            for status, label in LABELS.items()
            if self.counts[status]
        ]

    def list_url(self, tab: str = "all", search: str = "") -> str:
        """Return the address of the list of its jobs; empty for what no tab shows."""
        query = urlencode(
            {"batch": self.batch.pk, **({"tab": tab} if tab != "all" else {}), **({"q": search} if search else {})}
        )
        return f"{links.url(self.request, 'qorworker_job_changelist')}?{query}" if tab else ""

    @property
    def all_url(self) -> str:
        return self.list_url()

    @cached_property
    def failures(self) -> list[Failure]:
        """The most frequent errors with their numbers; empty if the user may not see errors."""
        if self.lacking("view_log"):
            return []
        here = self.jobs.ended_badly().errors(SHOWN)
        gone = dict(self.batch.gone.get("errors", []))
        every = Counter(here) + Counter(gone)
        return [Failure(error, number, gone.get(error, 0)) for error, number in every.most_common(SHOWN)]

    @cached_property
    def first_jobs(self) -> list[Job]:
        """The first of its jobs, with failed and running ones at the top."""
        rows = job_list.for_list(self.jobs).defer("arguments", "meta")
        urgent = [*rows.filter(status__in=["exception", "running"]).order_by("batch_id", "pk")[:SHOWN]]
        others = rows.exclude(pk__in=[job.pk for job in urgent]).order_by("batch_id", "pk")
        return [*urgent, *others[: SHOWN - len(urgent)]]

    def lacking(self, action: str) -> str:
        """Return *action* if the user may not do it with jobs of one of its types; else an empty text."""
        types = [registry.find(name) for name in self._names(action)] or [None]
        return "" if all(permissions.can(self.user, action, job_type) for job_type in types) else action

    def _names(self, action: str) -> list[str]:
        """Return the names of the types whose jobs *action* concerns: to run it again makes new callbacks, too."""
        callbacks = (self.batch.then, self.batch.otherwise) if action == "rerun" else ()
        return [*self.batch.names, *(job.name for job in callbacks if job is not None)]

    @cached_property
    def callbacks(self) -> list[tuple[str, Job]]:
        """The jobs that wait for its end, and that the user may see, each with the name of its option."""
        both = (("then", self.batch.then_id), ("otherwise", self.batch.otherwise_id))
        jobs = self.visibility.jobs.in_bulk([pk for _name, pk in both if pk is not None])
        return [(name, jobs[pk]) for name, pk in both if pk in jobs]

    @cached_property
    def spawned_by(self) -> Job | None:
        """The job that has spawned it; None if there is none, or if the user may not see it."""
        return self.visibility.jobs.filter(pk=self.batch.spawned_by_id or 0).first()

    @cached_property
    def token(self) -> str:
        """The one-time token for the button that runs it again."""
        return tokens.new_token(self.user)

    @property
    def is_live(self) -> bool:
        """Whether anything is still to come."""
        return not self.batch.is_finished or any(job.status in ("new", "running") for _name, job in self.callbacks)

    @cached_property
    def flow(self) -> Picture | None:
        """The picture of what leads to it, and of what follows."""
        flow = flow_of(self.batch, self.visibility.jobs, lambda batch: sees(self.user, batch))
        return picture_of(self.request, flow, self.batch)
