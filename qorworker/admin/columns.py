"""The columns of the list, as one user may see them. Web."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from qorworker import permissions
from qorworker.models import Job
from qorworker.templatetags.qorworker_admin import qw_duration, qw_moment

NOTHING = "—"


class Columns:
    def __init__(self, user: Any) -> None:
        self.user = user
        self._answers: dict[tuple[str, str], bool] = {}

    @admin.display(description="#", ordering="pk")
    def number(self, job: Job) -> str:
        return f"#{job.pk}"

    @admin.display(description=_("Job"), ordering="name")
    def job(self, job: Job) -> str:
        return job.title

    @admin.display(description=_("Status"))
    def status(self, job: Job) -> SafeString:
        context = {"job": job, "may_view_log": self._can("view_log", job)}
        return render_to_string("admin/qorworker/job/cells/status.html", context)

    @admin.display(description=_("Arguments"))
    def arguments(self, job: Job) -> str:
        if not self._can("view_arguments", job) or job.job_type is None:
            return NOTHING
        shown = job.job_type.arguments.summary(job.arguments)
        return format_html('<span class="qw-clamp" title="{}">{}</span>', shown, shown) if shown else NOTHING

    @admin.display(description=_("Created"), ordering="pk")
    def created(self, job: Job) -> str:
        return qw_moment(job.enqueued_at)

    @admin.display(description=_("Starts at"), ordering="run_after")
    def starts(self, job: Job) -> str:
        return qw_moment(job.run_after)

    @admin.display(description=_("Duration"))
    def duration(self, job: Job) -> str:
        return qw_duration(job.duration) or NOTHING

    @admin.display(description=_("By"))
    def by(self, job: Job) -> str:
        return job.created_by.get_username() if job.created_by is not None else NOTHING

    def _can(self, action: str, job: Job) -> bool:
        # One question for each type on the page, not for each row: the rule looks at nothing else of a visible job.
        key = (action, job.name)
        if key not in self._answers:
            self._answers[key] = permissions.can(self.user, action, job=job)
        return self._answers[key]
