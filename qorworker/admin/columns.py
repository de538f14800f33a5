"""The columns of the list, as one user may see them. Web."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.template.loader import render_to_string
from django.utils.functional import cached_property
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from qorworker import permissions
from qorworker.models import Job, counting, lists
from qorworker.templatetags.qorworker_admin import qw_capped, qw_duration, qw_from_now, qw_moment

NOTHING = mark_safe('<span class="qw-none">—</span>')
ARGUMENTS = 80  # characters


def named(column: Any, text: str) -> SafeString:
    """With the name of the column before it, for narrow screens, where rows are cards without a head."""
    return format_html('<span class="qw-narrow">{}: </span>{}', column, text)


class Columns:
    def __init__(self, user: Any, jobs: Iterable[Job] = ()) -> None:
        self.user = user
        self.jobs = jobs  # those of the page, for what is asked about all at once
        self.answers = permissions.Answers(user)

    def cells(self, job: Job, names: Iterable[str]) -> dict[str, str]:
        """The HTML of each column, as Django's list shows it."""
        return {name: str(conditional_escape(getattr(self, name)(job))) for name in names}

    @admin.display(description="#", ordering="pk")
    def number(self, job: Job) -> str:
        return format_html('<span data-qw-row="{}">#{}</span>', str(job.pk), str(job.pk))

    @admin.display(description=gettext_lazy("Job"))
    def job(self, job: Job) -> str:
        return job.title

    @admin.display(description=gettext_lazy("Status"))
    def status(self, job: Job) -> SafeString:
        context = {"job": job, "may_view_log": self.answers.can("view_log", job)}
        return render_to_string("admin/qorworker/job/cells/status.html", context)

    @admin.display(description=gettext_lazy("Error"))
    def error(self, job: Job) -> SafeString:
        context = {"job": job, "may_view_log": self.answers.can("view_log", job)}
        return render_to_string("admin/qorworker/job/cells/error.html", context)

    @admin.display(description=gettext_lazy("Attempts"))
    def attempts(self, job: Job) -> str:
        told = _("%(number)d of %(most)d") % {"number": job.attempt, "most": job.max_attempts}
        return self._named("attempts", str(job.attempt) if job.attempt > job.max_attempts else told)

    @admin.display(description=gettext_lazy("Arguments"))
    def arguments(self, job: Job) -> str:
        if not self.answers.can("view_arguments", job) or job.job_type is None:
            return NOTHING
        shown = job.job_type.arguments.summary(job.arguments, ARGUMENTS)
        return format_html('<span class="qw-clamp" title="{}">{}</span>', shown, shown) if shown else NOTHING

    @admin.display(description=gettext_lazy("Position"))
    def position(self, job: Job) -> str:
        if job.status != "new" or not permissions.sees_all(self.user):  # else it tells how many others have
            return NOTHING
        return self._named("position", qw_capped(self._positions.get(job.pk, counting.CAP + 1)))

    @admin.display(description=gettext_lazy("Waiting"))
    def waiting(self, job: Job) -> str:
        return self._moment(job.run_after)  # since its time came

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
        return self._moment(job.run_after)

    @admin.display(description=gettext_lazy("Started"))
    def started(self, job: Job) -> str:
        return self._moment(job.last_attempted_at)

    @admin.display(description=gettext_lazy("Finished"))
    def finished(self, job: Job) -> str:
        return self._moment(job.finished_at)

    @admin.display(description=pgettext_lazy("column", "Duration"))
    def duration(self, job: Job) -> str:
        lasted = qw_duration(job.duration) or NOTHING
        wait = job.last_attempted_at - job.run_after if job.last_attempted_at and job.duration is not None else None
        if wait is None or wait.total_seconds() < 1:
            return lasted
        return format_html('{}<span class="qw-line">{}</span>', lasted, _("waited %s") % qw_duration(wait))

    @admin.display(description=pgettext_lazy("column", "By"))
    def by(self, job: Job) -> str:
        return self._named("by", job.created_by.get_username() if job.created_by is not None else NOTHING)

    def _named(self, column: str, text: str) -> str:
        return named(getattr(Columns, column).short_description, text)

    def _moment(self, moment: Any) -> str:
        if moment is None:
            return NOTHING
        return format_html('{}<span class="qw-line">{}</span>', qw_moment(moment), qw_from_now(moment))

    @cached_property
    def _positions(self) -> dict[int, int]:
        return lists.positions(self.jobs)
