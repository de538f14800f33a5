"""The page of one job, in parts; the live view sends the same parts again when they have changed. Web."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from qorworker import permissions
from qorworker.admin import access, as_json, events, once
from qorworker.admin.asked import Asked, number
from qorworker.admin.conflict import rule_in_words
from qorworker.admin.downloads import has_xlsx
from qorworker.admin.estimate import Estimate, estimate, rounded
from qorworker.admin.explain import Explanation, explain
from qorworker.admin.log_view import Log
from qorworker.admin.media import DETAIL_MEDIA, FORM_MEDIA
from qorworker.admin.results_view import Results
from qorworker.admin.tries import Piece, Try, strip_of, tries_of
from qorworker.admin.verbs import BROKEN, Button, buttons, may_choose_time
from qorworker.arguments import shown
from qorworker.arguments.shown import Shown
from qorworker.backends import backend_of
from qorworker.conf import settings
from qorworker.forms import RescheduleForm
from qorworker.models import Attempt, AuditEntry, Job, JobQuerySet, job_page
from qorworker.models.reasons import Reason, Why
from qorworker.registry import JobType
from qorworker.status import JobStatus

PARTS = ("error", "actions", "results", "attempts", "history")  # beside the header, which is sent with every change
ALIKE = dt.timedelta(days=7)
RETURNED_CHARS = 20_000  # of what a job returned; all of it is in job.json


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
        "media": FORM_MEDIA + DETAIL_MEDIA + story.schedule_form.media if story.schedule_form else DETAIL_MEDIA,
        "job": job,
        "story": story,
    }
    return TemplateResponse(request, "admin/qorworker/job/detail.html", context, status=status)


class Story:
    """Everything that the page tells about a job to one user; each part asks the database only when it is shown."""

    def __init__(self, request: HttpRequest, job: Job, form: RescheduleForm | None = None) -> None:
        self.request, self.job, self.user = request, job, request.user
        self.asked = Asked(request)
        self._form = form

    # What the user may see

    @cached_property
    def may_view_log(self) -> bool:
        return permissions.can(self.user, "view_log", job=self.job)

    @cached_property
    def may_view_arguments(self) -> bool:
        return permissions.can(self.user, "view_arguments", job=self.job)

    @property
    def _visible_jobs(self) -> JobQuerySet:
        return permissions.visible_jobs(self.user, Job.objects.all())

    @cached_property
    def may_delete(self) -> bool:
        return self.job.is_finished and permissions.can(self.user, "delete", job=self.job)

    @property
    def failure_look(self) -> str:
        """An abort that went as it was meant to is no mishap."""
        return "killed" if self.job.status == JobStatus.KILLED and not self.survivors else "exception"

    # What the user may do

    @cached_property
    def buttons(self) -> list[Button]:
        return buttons(self.user, self.job)

    @cached_property
    def token(self) -> str:
        """For the button that makes a new job."""
        return once.new_token()

    @cached_property
    def can_change_and_run(self) -> bool:
        """Whether the run form can be opened with the arguments of this job."""
        return self.job_type is not None and permissions.can(self.user, "rerun", job=self.job)

    @cached_property
    def can_update(self) -> bool:
        """Whether the form to change it can be opened."""
        arguments = self.job_type.arguments if self.job.can_update and self.job_type is not None else None
        if arguments is None or arguments.problems() or not (arguments.fields or self.job.arguments):
            return False
        return permissions.can(self.user, "update", job=self.job)

    @cached_property
    def schedule_form(self) -> RescheduleForm | None:
        if self._form is not None:
            return self._form
        if not may_choose_time(self.user, self.job):
            return None
        return RescheduleForm(initial={"at": self.job.run_after})

    # Where it stands

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
        return not self.job.is_finished and self.log.before is None

    @cached_property
    def estimate(self) -> Estimate:
        if self.job.status in (JobStatus.EXCEPTION, JobStatus.KILLED, JobStatus.CANCELLED):
            return Estimate()
        return estimate(self.job, job_page.usual_duration(self.job.name))

    @property
    def limit(self) -> dt.timedelta | None:
        seconds = self.job_type.timeout if self.job_type is not None else None
        return dt.timedelta(seconds=seconds) if seconds else None

    @property
    def unique(self) -> str:
        return rule_in_words(self.job)

    @cached_property
    def abort(self) -> AuditEntry | None:
        """Who asked it to stop, and why; also of an abort that was carried out."""
        if not self.job.is_aborting and self.job.status != JobStatus.KILLED:
            return None
        asked = (entry for entry in reversed(self.audit) if (entry.action, entry.outcome) == ("abort", "ok"))
        return next(asked, None)

    @property
    def aborted_at(self) -> dt.datetime | None:
        return self.abort.at if self.abort is not None else self.job.abort_requested_at

    @property
    def aborted_by(self) -> str:
        return events.who_asked(self.abort) if self.abort is not None else ""

    @property
    def abort_reason(self) -> str:
        return str(self.abort.details.get("reason", "")) if self.abort is not None else ""

    @property
    def forced_at(self) -> dt.datetime | None:
        """When its processes are ended by force, if they do not end by themselves; None if they are not."""
        asked = self.job.abort_requested_at if backend_of(self.job.queue_name).supports_kill else None
        return asked + dt.timedelta(seconds=settings.ABORT_GRACE) if asked is not None else None

    @cached_property
    def waiting(self) -> list[Reason]:
        """Why it has not started."""
        return self.job.why_waiting()

    @property
    def waiting_as_shown(self) -> list[Any]:
        """That without what changes from second to second."""
        return [self.starts_in, *(replace(reason, starts_in=None) for reason in self.waiting)]

    @property
    def obstacles(self) -> list[Reason]:
        """Of these what is in its way."""
        return [reason for reason in self.waiting if reason.is_obstacle]

    @property
    def line(self) -> Reason | None:
        """Where it stands, or what has to happen yet, if nothing is in its way; its time is told elsewhere."""
        first = self.waiting[0] if self.waiting else None
        return first if first is not None and not first.is_obstacle and first.kind != Why.TIME else None

    @property
    def starts_in(self) -> dt.timedelta | None:
        """An estimate; None also if it starts at once."""
        expected = self.line.starts_in if self.line is not None else None
        return rounded(expected) if expected else None

    # What went wrong

    @cached_property
    def explanation(self) -> Explanation | None:
        return explain(self.job, self.attempts[0] if self.attempts else None) if self.may_view_log else None

    @cached_property
    def survivors(self) -> int:
        """Processes that an abort could not end."""
        return self.attempts[0].survivors if self.attempts and self.job.status == JobStatus.KILLED else 0

    @cached_property
    def alike(self) -> int:
        """How often the same error came lately, this time included."""
        kind = self.explanation.kind if self.explanation is not None else ""
        if not kind or self.job.status != JobStatus.EXCEPTION:
            return 0
        return job_page.alike_errors(self._visible_jobs, self.job.name, kind, timezone.now() - ALIKE)

    @property
    def alike_url(self) -> str:
        kind = self.explanation.kind if self.explanation is not None else ""
        name = f'"{self.job.name}"' if " " in self.job.name else self.job.name
        query = urlencode({"tab": "failed", "q": f"type:{name} error:{kind}"})
        return f"{reverse('admin:qorworker_job_changelist')}?{query}"

    # What it said and made

    @cached_property
    def log(self) -> Log:
        return Log(self.job, self.asked, self.attempts if self.asked.given.get("times") == "start" else [])

    @cached_property
    def results(self) -> Results | None:
        """None if there are none, or if the user may not see them."""
        return Results(self.job, self.asked) if self.may_view_log and self.job.results_count else None

    @cached_property
    def returned(self) -> str:
        """What the handler has returned, as JSON for people; empty if that was nothing, or not for this user."""
        if not self.may_view_log or self.job.return_value is None:
            return ""
        text = as_json.text(self.job.result)
        return text if len(text) <= RETURNED_CHARS else f"{text[:RETURNED_CHARS]}…"

    has_xlsx = staticmethod(has_xlsx)

    # What it was given

    @cached_property
    def arguments(self) -> list[Shown]:
        if not self.may_view_arguments:
            return []
        arguments = self.job_type.arguments if self.job_type is not None else None
        known = arguments.display(self.job.arguments) if arguments else shown.display({}, self.job.arguments)
        return [one if self._may_follow(one) else replace(one, url="") for one in known]

    def _may_follow(self, shown: Shown) -> bool:
        """Whether the user may see the row that an argument names."""
        app_label, _dot, model = shown.model.partition(".")
        return any(self.user.has_perm(f"{app_label}.{verb}_{model}") for verb in ("view", "change"))

    @property
    def arguments_json(self) -> str:
        return as_json.text(as_json.masked(self.job))

    @cached_property
    def drift(self) -> str:
        """Why the stored arguments do not fit the form of today."""
        if self.job_type is None or not self.may_view_arguments or not self.job.fingerprint:
            return ""
        if self.job_type.arguments.problems():
            return str(BROKEN)
        found = self.job_type.arguments.drift(self.job)
        return found.explain() if found else ""

    # How it went

    @cached_property
    def attempts(self) -> list[Attempt]:
        """Those that have ended."""
        return job_page.attempts(self.job)

    @cached_property
    def tries(self) -> list[Try]:
        return tries_of(self.job, self.attempts)

    @property
    def strip(self) -> list[Piece]:
        return strip_of(self.job, self.tries)

    @cached_property
    def audit(self) -> list[AuditEntry]:
        return job_page.history(self.job)

    @property
    def history(self) -> list[events.Event]:
        return events.events_of(self.job, self.audit, self.tries)

    @cached_property
    def reruns(self) -> list[int]:
        return job_page.reruns(self._visible_jobs, self.job)

    def part(self, name: str) -> str:
        context = {"job": self.job, "story": self}
        return render_to_string(f"admin/qorworker/job/parts/{name}.html", context, request=self.request)
