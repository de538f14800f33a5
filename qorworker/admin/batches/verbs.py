"""The verbs that users request of a batch, and the view behind their buttons. Web."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, npgettext_lazy, pgettext_lazy

from qorworker import permissions
from qorworker.admin import access, links, tokens
from qorworker.admin.batches.story import BatchStory, visible_batch
from qorworker.admin.many import BUDGET
from qorworker.admin.verbs import NothingNew, Reply, Verb, VerbView, reason_in
from qorworker.exceptions import TooManyJobs
from qorworker.models import Batch, Job, Origin, bulk

RERUN_MOST = 5_000  # jobs that one click runs again: all are stored in one transaction
WAITING = ("new", "scheduled", "paused")


@dataclass(frozen=True)
class Moved:
    """For how many jobs a verb worked, and whether its time ended before it came to all of them."""

    number: int
    is_cut: bool = False


def _for_all(*steps: tuple[Callable[..., Any], str]) -> Callable[[HttpRequest, Batch, None], Moved]:
    """Return what does each of these verbs of ``bulk`` with the jobs that a method of their QuerySet returns."""

    def perform(request: HttpRequest, batch: Batch, form: None) -> Moved:
        jobs, end, number = BatchStory(request, batch).jobs, monotonic() + BUDGET, 0
        if error := request.POST.get("error"):
            jobs = jobs.with_error(error.replace("\r\n", "\n"))  # browsers send the ends of lines like this
        reason = reason_in(request.POST.get("reason", ""))
        for verb, method in steps:
            options = {"reason": reason} if reason and verb is not bulk.retry else {}
            fitting = getattr(jobs, method)()
            left = max(0.0, end - monotonic())
            number += bulk.for_all(verb, fitting, seconds=left, by=request.user, origin=Origin.ADMIN, **options)
        return Moved(number, monotonic() >= end)

    return perform


def _rerun(request: HttpRequest, batch: Batch, form: None) -> Batch | None:
    """Return the new batch, one for each click; it is found again by its first job."""
    if batch.total > RERUN_MOST:
        text = _("A batch of more than %d jobs is run again by code: batch.rerun(). Nothing was changed.") % RERUN_MOST
        raise NothingNew(text)

    def make() -> Job:
        callbacks = sum(job is not None for job in (batch.then, batch.otherwise))
        if permissions.jobs_left(request.user) < batch.total + callbacks:
            raise TooManyJobs(_("That would be more jobs than you may have waiting or running at a time."))
        return batch.rerun(by=request.user, origin=Origin.ADMIN).jobs.order_by("pk")[:1].get()

    try:
        job, is_first = tokens.repeat_once(request.user, request.POST.get("qw-token", ""), batch, make)
    except ValueError:
        raise NothingNew(_("None of its jobs can run again. Nothing was changed.")) from None
    if not is_first:
        raise NothingNew(_("This run was already started."), job=job.batch)
    return job.batch


VERBS = (
    Verb(
        name="retry-failed",
        needs=("retry",),
        perform=_for_all((bulk.retry, "ended_badly")),
        label=gettext_lazy("Retry failed jobs"),
        plural=npgettext_lazy("bulk", "%d job is queued again", "%d jobs are queued again"),
    ),
    Verb(
        name="resume",
        needs=("abort",),
        perform=_for_all((bulk.resume, "can_be_resumed")),
        label=gettext_lazy("Resume"),
        plural=npgettext_lazy("bulk", "%d job was resumed", "%d jobs were resumed"),
    ),
    Verb(
        name="pause",
        needs=("abort",),
        perform=_for_all((bulk.pause, "can_be_paused")),
        label=gettext_lazy("Pause"),
        plural=npgettext_lazy("bulk", "%d job was paused or asked to pause", "%d jobs were paused or asked to pause"),
    ),
    Verb(
        name="abort",
        needs=("cancel", "abort"),
        perform=_for_all((bulk.cancel, "waiting"), (bulk.abort, "running")),
        label=pgettext_lazy("verb", "Abort"),
        question=gettext_lazy("Abort the batch %(batch)s?"),
        warning=gettext_lazy(
            "Jobs that wait are cancelled, and the processes of those that run are ended. What they have already"
            " changed stays changed."
        ),
        plural=npgettext_lazy(
            "bulk", "%d job was cancelled or asked to stop", "%d jobs were cancelled or asked to stop"
        ),
        kind="danger",
        takes_reason=True,
    ),
    Verb(
        name="cancel",
        needs=("cancel",),
        perform=_for_all((bulk.cancel, "waiting")),
        label=pgettext_lazy("verb", "Cancel"),
        question=gettext_lazy("Cancel the jobs of the batch %(batch)s that have not started?"),
        warning=gettext_lazy("Jobs that run continue."),
        plural=npgettext_lazy("bulk", "%d job was cancelled", "%d jobs were cancelled"),
        kind="danger",
        takes_reason=True,
    ),
    Verb(
        name="rerun",
        needs=("rerun",),
        perform=_rerun,
        label=pgettext_lazy("verb", "Run again"),
        question=gettext_lazy("Run all jobs of the batch %(batch)s again?"),
        success=gettext_lazy("The new batch has the same jobs."),
        makes_job=True,
    ),
)


@dataclass(frozen=True)
class Button:
    verb: Verb
    url: str
    question: str


def buttons(request: HttpRequest, story: BatchStory) -> list[Button]:
    """Return the verbs that the user may request now."""
    return [
        Button(verb, links.url(request, f"qorworker_batch_{verb.key}", story.batch.pk), question_of(verb, story.batch))
        for verb in VERBS
        if _fits(verb, story) and not any(story.lacking(action) for action in verb.needs)
    ]


def question_of(verb: Verb, batch: Batch) -> str:
    """Return what is asked before *verb*; empty if nothing is."""
    return str(verb.question) % {"batch": batch} if verb.question else ""


def _fits(verb: Verb, story: BatchStory) -> bool:
    counts = story.counts
    waiting = sum(counts[status] for status in WAITING)
    return {
        "retry-failed": counts["exception"] + counts["killed"]
        > story.gone.get("exception", 0) + story.gone.get("killed", 0),
        "resume": counts["paused"] > 0,
        "pause": waiting > counts["paused"] or counts["running"] > 0,
        "abort": counts["running"] > 0,
        "cancel": waiting > 0,
        "rerun": story.batch.is_finished and 0 < story.batch.total <= RERUN_MOST,
    }[verb.name]


class BatchVerbView(VerbView):
    """One verb for one batch."""

    def find(self, *, pk: int) -> Batch | None:
        return visible_batch(self.request, pk)

    def lacking(self, row: Batch) -> str:
        story = BatchStory(self.request, row)
        return next((action for action in self.verb.needs if story.lacking(action)), "")

    def deny(self, row: Batch, action: str) -> HttpResponseBase:
        return access.deny(self.model_admin, self.request, action)

    def question(self, row: Batch) -> str:
        return question_of(self.verb, row)

    def warning(self, row: Batch) -> str:
        return str(self.verb.warning)

    def reply(self, row: Batch, result: Moved | Batch) -> Reply:
        if isinstance(result, Batch):
            return Reply(result, str(self.verb.success))
        if not result.number:
            return Reply(row, _("No job of the batch fits. Nothing was changed."), messages.WARNING)
        text = f"{self.verb.plural % result.number}."
        if not result.is_cut:
            return Reply(row, text)
        rest = _("Time ran out: request it again for the others.")
        return Reply(row, f"{text} {rest}", messages.WARNING)
