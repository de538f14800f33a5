"""The columns of the list, as one user may see them. Web."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from qorworker import permissions
from qorworker.admin import links
from qorworker.admin.display import qw_capped, qw_duration, qw_factor, qw_from_now, qw_moment, qw_visible
from qorworker.admin.jobs.estimate import factor_of
from qorworker.models import Approval, Job, Question
from qorworker.queries import catalogue, counting, job_details, job_list
from qorworker.status import JobStatus

NOTHING = mark_safe('<span class="qw-none">—</span>')
ARGUMENTS = 80  # characters


def named(column: Any, text: str) -> SafeString:
    """Return *text* after the name of its column, for narrow screens, where rows are cards without a head."""
    return format_html('<span class="qw-narrow">{}: </span>{}', column, text)


class Columns:
    """The columns of the list, as ``list_display`` calls them: each takes a job."""

    def __init__(self, request: HttpRequest, jobs: Iterable[Job] = ()) -> None:
        self.request = request
        self.jobs = jobs  # those of the page, for queries about all of them at once
        self.visibility = permissions.Visibility(request.user)

    def cells(self, job: Job, names: Iterable[str]) -> dict[str, str]:
        """Return the HTML of each of the columns *names*, as Django's list shows it."""
        return {name: str(conditional_escape(getattr(self, name)(job))) for name in names}

    @admin.display(description="#", ordering="pk")
    def number(self, job: Job) -> str:
        """Show the number of the job, and mark the row for the script of the list."""
        return format_html('<span data-qw-row="{}">#{}</span>', str(job.pk), str(job.pk))

    @admin.display(description=gettext_lazy("Job"))
    def job(self, job: Job) -> str:
        return job.title

    @admin.display(description=gettext_lazy("Status"))
    def status(self, job: Job) -> SafeString:
        """Show the badge of the status, with progress while the job runs."""
        return self._cell("status", job)

    @admin.display(description=gettext_lazy("Error"))
    def error(self, job: Job) -> SafeString:
        """Show the error, if the user may see the log."""
        return self._cell("error", job)

    @admin.display(description=gettext_lazy("Attempts"))
    def attempts(self, job: Job) -> str:
        """Show how many attempts were made, and how many are allowed."""
        text = _("%(number)d of %(most)d") % {"number": job.attempt, "most": job.max_attempts}
        return self._named("attempts", str(job.attempt) if job.attempt > job.max_attempts else text)

    @admin.display(description=gettext_lazy("Arguments"))
    def arguments(self, job: Job) -> str:
        """Show a summary of the arguments, if the user may see them."""
        if not self.visibility.can("view_arguments", job) or job.job_type is None:
            return NOTHING
        shown = job.job_type.arguments.summary(job.arguments, ARGUMENTS)
        return format_html('<span class="qw-clamp" title="{}">{}</span>', shown, shown) if shown else NOTHING

    @admin.display(description=gettext_lazy("Position"))
    def position(self, job: Job) -> str:
        """Show the place of a waiting job in its queue, only to users who see all jobs."""
        if job.status != "new" or not self.visibility.sees_everything:  # it would reveal how many jobs others have
            return NOTHING
        place = self._positions.get(job.pk, counting.CAP + 1)
        return self._named("position", qw_capped(place) if place is not None else NOTHING)

    @admin.display(description=gettext_lazy("Waiting"))
    def waiting(self, job: Job) -> str:
        """Show since when the job could have started."""
        return self._moment(job.run_after)  # the time from which it could start

    @admin.display(description=gettext_lazy("Queue"))
    def queue(self, job: Job) -> str:
        return self._named("queue", job.queue_name)

    @admin.display(description=gettext_lazy("Worker"))
    def worker(self, job: Job) -> str:
        return self._named("worker", job.worker.name if job.worker is not None else NOTHING)

    @admin.display(description=gettext_lazy("Created"), ordering="pk")
    def created(self, job: Job) -> str:
        return self._moment(job.enqueued_at)

    @admin.display(description=gettext_lazy("Starts at"))
    def starts(self, job: Job) -> str:
        """Show the time for which it is scheduled, or that it starts after other jobs."""
        if job.is_asking:
            return _("after an answer")
        if job.awaits_approval and not job.waits_for_jobs and job.run_after <= timezone.now():
            return _("after the approval")
        return _("after other jobs") if job.waits_for_jobs else self._moment(job.run_after)

    @admin.display(description=gettext_lazy("Question"))
    def question(self, job: Job) -> str:
        """Show what it asks, if the user may answer that or see the log, with a link to the form."""
        question = self._questions.get(job.pk)
        may_answer = question is not None and permissions.may_answer(self.request.user, job, question)
        if question is None or not (may_answer or self.visibility.can("view_log", job)):
            return NOTHING
        text = question.shown_text or _("A call from outside")
        url = links.url(self.request, "qorworker_job_change", job.pk)
        return format_html('<a href="{}#questions" class="qw-clamp">{}</a>', url, qw_visible(text))

    @admin.display(description=gettext_lazy("Until"))
    def until(self, job: Job) -> str:
        """Show until when it waits for an answer, or for approval."""
        waits_for = self._approvals.get(job.pk) if job.awaits_approval else self._questions.get(job.pk)
        return self._moment(waits_for.expires_at if waits_for is not None else None)

    @admin.display(description=gettext_lazy("Permission"))
    def permission(self, job: Job) -> str:
        """Show which permission its approval needs."""
        approval = self._approvals.get(job.pk)
        return self._named("permission", approval.permission if approval is not None else NOTHING)

    @cached_property
    def _approvals(self) -> dict[int, Approval]:
        return job_details.open_approvals(list(self.jobs))

    @cached_property
    def _questions(self) -> dict[int, Question]:
        return job_details.open_questions(list(self.jobs))

    @admin.display(description=pgettext_lazy("column", "Paused"))
    def paused(self, job: Job) -> str:
        """Show since when it is paused."""
        return self._moment(job.pause_requested_at)

    @admin.display(description=gettext_lazy("Started"))
    def started(self, job: Job) -> str:
        """Show when its last attempt started."""
        return self._moment(job.last_attempted_at)

    @admin.display(description=gettext_lazy("Finished"))
    def finished(self, job: Job) -> str:
        return self._moment(job.finished_at)

    @admin.display(description=pgettext_lazy("column", "Duration"))
    def duration(self, job: Job) -> str:
        """Show how long the job ran, and how long it waited if that was a second or more."""
        lasted = qw_duration(job.duration) or NOTHING
        if factor := self._factor(job):
            text = _("%s × slower than usual") % qw_factor(factor)  # noqa: RUF001 - typography
            lasted = format_html('{}<span class="qw-line qw-long">{}</span>', lasted, text)
        wait = job.last_attempted_at - job.run_after if job.last_attempted_at and job.duration is not None else None
        if wait is None or wait.total_seconds() < 1:
            return lasted
        return format_html('{}<span class="qw-line">{}</span>', lasted, _("waited %s") % qw_duration(wait))

    def _factor(self, job: Job) -> float | None:
        """Return how many times as long as usual a running job has taken, if that is unusual."""
        if job.status != JobStatus.RUNNING:
            return None
        return factor_of(job.duration, self._usual.get(job.name))

    @cached_property
    def _usual(self) -> dict[str, dt.timedelta]:
        names = {job.name for job in self.jobs if job.status == JobStatus.RUNNING}
        return catalogue.usual_durations(Job.objects.all(), names, self.visibility.creator)

    @admin.display(description=pgettext_lazy("column", "By"))
    def by(self, job: Job) -> str:
        """Show the name of the user who created the job."""
        return self._named("by", job.created_by.get_username() if job.created_by is not None else NOTHING)

    def _cell(self, name: str, job: Job) -> SafeString:
        url = links.url(self.request, "qorworker_job_change", job.pk)
        context = {"job": job, "url": url, "may_view_log": self.visibility.can("view_log", job)}
        return render_to_string(f"admin/qorworker/job/cells/{name}.html", context)

    def _named(self, column: str, text: str) -> str:
        return named(getattr(Columns, column).short_description, text)

    def _moment(self, moment: Any) -> str:
        if moment is None:
            return NOTHING
        return format_html('{}<span class="qw-line">{}</span>', qw_moment(moment), qw_from_now(moment))

    @cached_property
    def _positions(self) -> dict[int, int | None]:
        return job_list.positions(self.jobs)
