"""Changing a job that has not started: its arguments and its time, in the form with which it was run. Web."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed
from django.urls import reverse
from django.utils.crypto import salted_hmac
from django.utils.html import format_html
from django.utils.translation import gettext as _

from qorworker import permissions
from qorworker.admin import access, prefill
from qorworker.admin.run import RunPage
from qorworker.admin.verb_view import back, gone, is_deleted
from qorworker.admin.verbs import BROKEN, clock, may_choose_time, refusal
from qorworker.arguments import codec
from qorworker.exceptions import ChangedMeanwhile, InvalidTransition, UnknownJobType
from qorworker.forms import LATER, MoveForm, QueueForm, WhenForm, starts_at_once
from qorworker.models import Job, Origin, database_now
from qorworker.registry import JobType
from qorworker.status import JobStatus

METHODS = ["GET", "HEAD", "POST"]


def update(model_admin: Any, request: HttpRequest, pk: int) -> HttpResponseBase:
    job = access.visible_job(request, pk)
    if job is None:
        return access.not_found(request)
    if request.method not in METHODS:
        return HttpResponseNotAllowed(METHODS)
    if not permissions.can(request.user, "update", job=job):
        return access.deny(model_admin, request, "update", job=job)
    if job.job_type is None or job.job_type.arguments.problems():
        messages.error(request, refusal(UnknownJobType(job.name), job) if job.job_type is None else BROKEN)
        return back(job)
    if request.method == "POST":
        return UpdatePage(model_admin, request, job.job_type, job).submit()
    if not job.can_update:
        messages.warning(request, _too_late(job))
        return back(job)
    return UpdatePage(model_admin, request, job.job_type, job).show()


def _too_late(job: Job) -> str:
    """That it has started, with a link to run it again with changes."""
    told = refusal(InvalidTransition(job.pk, job.status, "update"), job)
    url = f"{reverse('admin:qorworker_job_run', args=(job.name,))}?from={job.pk}"
    return format_html('{} <a href="{}">{}</a>', told, url, _("Run again with changes…"))


def revision_of(job: Job) -> str:
    """Another one if the job was given other arguments; it tells nothing of them."""
    text = json.dumps(job.arguments, sort_keys=True, default=str)
    return salted_hmac("qorworker.update", text, algorithm="sha256").hexdigest()[:16]


class UpdatePage(RunPage):
    """The run form, filled from the job, whose secrets and files stay where their fields are left empty."""

    template = "admin/qorworker/job/update.html"

    def __init__(self, model_admin: Any, request: HttpRequest, job_type: JobType[Any], job: Job) -> None:
        self.job = job
        super().__init__(model_admin, request, job_type)
        self.kept = prefill.keep_private(self.arguments, job.arguments, is_own=job.created_by_id == request.user.pk)
        self.was_saving = True

    def _start(self) -> prefill.Filled:
        found = prefill.Filled()
        prefill.from_stored(found, self.job_type, self.arguments.fields, self.job.arguments)
        return found

    def _when_form(self, posted: Any) -> WhenForm | None:
        if not may_choose_time(self.request.user, self.job):
            return None
        if self.job.status == JobStatus.NEW:
            return MoveForm(posted, keeps=_("As soon as a worker is free"))
        keeps = _("Keep the time: %s") % clock(self.job.run_after)
        return MoveForm(posted, keeps=keeps, initial={"at": self.job.run_after})

    def _queue_form(self, posted: Any) -> QueueForm | None:
        return None

    def _more(self) -> dict[str, Any]:
        return {"title": _("Change “%s”") % self.job, "job": self.job, "revision": revision_of(self.job)}

    def submit(self) -> HttpResponseBase:
        if self.token and self.job.meta.get("update_token") == self.token:
            return self._saved(is_first=False)
        if not self.job.can_update:
            return self._came_too_late(InvalidTransition(self.job.pk, self.job.status, "update"))
        if self.request.POST.get("qw-revision") != revision_of(self.job):
            self._tell_changed()
        return super().submit()

    def _tell_changed(self) -> None:
        told = _("Somebody has changed this job meanwhile. Save once more to replace what they did.")
        self.arguments.add_error(None, told)

    def _carry_out(self) -> HttpResponseBase:
        moment = self.when.moment if self.when is not None else None
        if is_near := moment is not None and starts_at_once(moment):
            # By the clock that decides when it is due; what is queued has its time already.
            moment = None if self.job.status == JobStatus.NEW else database_now(self.job._state.db or "default")
        kept = prefill.left_empty(self.arguments, self.kept)
        dumped = self.job_type.arguments.dump(self.arguments.cleaned_data, kept)
        asked: dict[str, Any] = {"by": self.request.user, "origin": Origin.ADMIN, "token": self.token}
        try:
            is_first = self.job.update_dumped(dumped, run_after=moment, **asked)
        except InvalidTransition as error:
            return self._came_too_late(error)
        except ChangedMeanwhile:
            self.job.refresh_from_db()
            self._tell_changed()
            return self.again()
        return self._saved(is_first, is_near)

    def _saved(self, is_first: bool, is_near: bool = False) -> HttpResponseBase:
        told = _("“%(name)s” was saved.") % {"name": self.job}
        if not is_first:
            messages.warning(self.request, _("This change was saved already."))
        elif is_near:
            near = _("The chosen time is past or so near that it starts at once: it is queued.")
            messages.success(self.request, f"{told} {near}")
        else:
            messages.success(self.request, told)
        return back(self.job)

    def _came_too_late(self, error: InvalidTransition) -> HttpResponseBase:
        """The form for a new job, with what was entered for this one."""
        told = refusal(error, self.job)
        if is_deleted(error):
            messages.warning(self.request, told)
            return gone()
        entered = _("What you entered is in this form: it would make a new job.")
        url = reverse("admin:qorworker_job_change", args=(self.job.pk,))
        note = format_html('<a href="{}">#{}</a>: {} {}', url, self.job.pk, told, entered)
        filled = prefill.Filled(values=self._entered(), notes=[note])
        page = RunPage(self.model_admin, self.request, self.job_type, filled)
        sent = MoveForm(self.request.POST)  # a job that has started has none of its own
        if page.when is not None and sent.is_valid() and sent.moment is not None:
            page.when.initial = {"when": LATER, "at": sent.moment}
        return page.show(status=409)

    def _entered(self) -> dict[str, Any]:
        """What fits of the form as it was sent; no secret, no file."""
        stored, fields = {}, self.arguments.fields
        self.arguments.is_valid()
        for name, value in self.arguments.cleaned_data.items():
            if name in fields and not codec.is_private(fields[name]):
                with suppress(ValidationError):
                    stored[name] = codec.dump(fields[name], value)
        return self.job_type.arguments.initial(stored)
