"""The page of one job, in parts; the live view sends the same parts again when they have changed. Web."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from qorworker import permissions
from qorworker.admin import access, once
from qorworker.admin.bases import PaginatorBase
from qorworker.admin.explain import Explanation, explain
from qorworker.admin.media import FORM_MEDIA, MEDIA
from qorworker.admin.verbs import BROKEN, Verb, buttons, may_choose_time, question_of
from qorworker.arguments.shown import Shown
from qorworker.forms import RescheduleForm
from qorworker.models import Attempt, AuditEntry, Job, LogLine, pages
from qorworker.registry import JobType
from qorworker.status import JobStatus

LEVELS: dict[int, Any] = {
    0: _("All levels"),
    logging.INFO: _("Info and above"),
    logging.WARNING: _("Warnings and errors"),
    logging.ERROR: _("Errors only"),
}
RESULTS_PER_PAGE = 50
PARTS = ("error", "actions", "results", "attempts", "history")  # beside the header, which is sent with every change


def detail(model_admin: Any, request: HttpRequest, object_id: str) -> HttpResponseBase:
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    pk = number(object_id)
    job = access.visible_job(request, pk) if pk is not None else None
    return access.not_found(request) if job is None else show(model_admin, request, job)


def show(
    model_admin: Any, request: HttpRequest, job: Job, form: RescheduleForm | None = None, status: int = 200
) -> HttpResponseBase:
    """The page; with *form* if another time was asked for and cannot be."""
    story = Story(request, job, form)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _("Job #%(number)s: %(title)s") % {"number": job.pk, "title": job.title},
        "opts": Job._meta,
        "media": FORM_MEDIA + story.schedule_form.media if story.schedule_form else MEDIA,
        "job": job,
        "story": story,
    }
    return TemplateResponse(request, "admin/qorworker/job/detail.html", context, status=status)


def number(object_id: str) -> int | None:
    """A job's number as it stands in a URL."""
    fits = object_id.isascii() and object_id.isdigit() and len(object_id) < 19
    return int(object_id) if fits else None


class Story:
    """Everything that the page tells about a job to one user; each part asks the database only when it is shown."""

    def __init__(self, request: HttpRequest, job: Job, form: RescheduleForm | None = None) -> None:
        self.request, self.job, self.user = request, job, request.user
        self._form = form

    # What the user may see

    @cached_property
    def may_view_log(self) -> bool:
        return permissions.can(self.user, "view_log", job=self.job)

    @cached_property
    def may_view_arguments(self) -> bool:
        return permissions.can(self.user, "view_arguments", job=self.job)

    @cached_property
    def may_delete(self) -> bool:
        return self.job.is_finished and permissions.can(self.user, "delete", job=self.job)

    # What the user may do

    @cached_property
    def buttons(self) -> list[tuple[Verb, str, str]]:
        """Each verb with its URL and the question that is asked before it, which may be empty."""
        return [
            (verb, reverse(f"admin:{verb.url_name}", args=(self.job.pk,)), question_of(verb, self.job))
            for verb in buttons(self.user, self.job)
        ]

    @cached_property
    def token(self) -> str:
        """For the button that makes a new job."""
        return once.new_token()

    @cached_property
    def can_change_and_run(self) -> bool:
        """Whether the run form can be opened with the arguments of this job."""
        return self.job_type is not None and permissions.can(self.user, "rerun", job=self.job)

    @cached_property
    def schedule_form(self) -> RescheduleForm | None:
        if self._form is not None:
            return self._form
        if not may_choose_time(self.user, self.job):
            return None
        return RescheduleForm(initial={"at": self.job.run_after})

    # What there is to tell

    @cached_property
    def job_type(self) -> JobType[Any] | None:
        return self.job.job_type

    @cached_property
    def state(self) -> str:
        """Changes whenever more of the page than its header, log and results has to change."""
        job = self.job
        return f"{job.status}.{job.attempt}.{int(job.is_aborting)}.{int(job.not_responding)}"

    @cached_property
    def is_live(self) -> bool:
        """Whether anything is still to come, and the newest of it is shown."""
        return not self.job.is_finished and self.before is None

    @cached_property
    def attempts(self) -> list[Attempt]:
        return pages.attempts(self.job)

    @cached_property
    def explanation(self) -> Explanation | None:
        return explain(self.job, self.attempts[0] if self.attempts else None) if self.may_view_log else None

    @cached_property
    def survivors(self) -> int:
        """Processes that an abort could not end."""
        return self.attempts[0].survivors if self.attempts and self.job.status == "killed" else 0

    @cached_property
    def level(self) -> int:
        known = {str(level): level for level in LEVELS}
        return known.get(self.request.GET.get("level", ""), 0)

    @property
    def levels(self) -> list[tuple[int, Any, bool]]:
        return [(level, label, level == self.level) for level, label in LEVELS.items()]

    @cached_property
    def before(self) -> int | None:
        """The log is shown up to this line only."""
        return number(self.request.GET.get("before", ""))

    @cached_property
    def log(self) -> list[LogLine]:
        if not self.may_view_log or not self.job.log_lines:
            return []
        return pages.log_tail(self.job, self.level, self.before)

    @property
    def last_line(self) -> int:
        return max(self.job.log_lines, self.log[-1].number if self.log else 0)

    @property
    def has_earlier(self) -> bool:
        return len(self.log) == pages.LOG_LINES and self.log[0].number > 1

    @cached_property
    def errors_only(self) -> bool:
        return self.request.GET.get("rows") == "errors"

    @cached_property
    def results(self) -> Any:
        """A page of the results, without counting them: the job knows how many there are."""
        if not self.may_view_log or not self.job.results_count:
            return None
        rows = pages.results(self.job, self.errors_only)
        known = self.job.results_errors if self.errors_only else self.job.results_count
        return _Counted(rows, RESULTS_PER_PAGE, known).get_page(self.request.GET.get("page"))

    @cached_property
    def columns(self) -> int:
        return max((len(row.cells) for row in self.results), default=0) if self.results else 0

    @cached_property
    def arguments(self) -> list[Shown]:
        if not self.may_view_arguments or self.job_type is None:
            return []
        shown = self.job_type.arguments.display(self.job.arguments)
        return [one if self._may_follow(one) else replace(one, url="") for one in shown]

    def _may_follow(self, shown: Shown) -> bool:
        """Whether the user may see the row that an argument names."""
        app_label, _dot, model = shown.model.partition(".")
        return any(self.user.has_perm(f"{app_label}.{verb}_{model}") for verb in ("view", "change"))

    @cached_property
    def drift(self) -> str:
        """Why the stored arguments do not fit the form of today."""
        if self.job_type is None or not self.may_view_arguments or not self.job.fingerprint:
            return ""
        if self.job_type.arguments.problems():
            return str(BROKEN)
        found = self.job_type.arguments.drift(self.job)
        return found.explain() if found else ""

    @cached_property
    def history(self) -> list[AuditEntry]:
        return pages.history(self.job)

    @cached_property
    def reruns(self) -> list[int]:
        return pages.reruns(self.job)

    @cached_property
    def lacking(self) -> str:
        """What it waits for although its time has come; empty if a worker that takes it is alive."""
        job = self.job
        is_due = job.status == JobStatus.NEW or (job.status == JobStatus.SCHEDULED and job.run_after <= timezone.now())
        return pages.lacking(job.queue_name, job.name) if is_due else ""

    def part(self, name: str) -> str:
        context = {"job": self.job, "story": self}
        return render_to_string(f"admin/qorworker/job/parts/{name}.html", context, request=self.request)


class _Counted(PaginatorBase):
    def __init__(self, rows: Any, per_page: int, known: int) -> None:
        super().__init__(rows, per_page)
        self.count = known
