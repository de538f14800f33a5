"""The page that changes a job that has not started: its arguments and its time, in the form of its run. Web."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed
from django.utils.crypto import salted_hmac
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from qorworker import permissions
from qorworker.admin import access, links
from qorworker.admin.forms import LATER, MoveForm, QueueForm, WhenForm, starts_at_once
from qorworker.admin.jobs import prefill
from qorworker.admin.jobs.run_form import RunPage
from qorworker.admin.jobs.tell import TellForm
from qorworker.admin.jobs.verb_texts import clock, refusal
from qorworker.admin.jobs.verb_views import back, gone, is_deleted
from qorworker.admin.jobs.verbs import may_choose_time
from qorworker.admin.texts import BROKEN
from qorworker.arguments import codec
from qorworker.definitions.job_type import JobType
from qorworker.exceptions import ChangedMeanwhile, InvalidTransition, UnknownJobType
from qorworker.models import Job, Origin, database_now
from qorworker.status import JobStatus

METHODS = ["GET", "HEAD", "POST"]
CHANGED = gettext_lazy("Another user has changed this job in the meantime. Save again to replace their changes.")
MOVED = gettext_lazy("Another user has moved this job to %s in the meantime. Save again to replace their changes.")


def update(model_admin: Any, request: HttpRequest, pk: int) -> HttpResponseBase:
    """Show the form at ``job/<id>/update/`` for GET, and save it for POST."""
    job = access.visible_job(request, pk)
    if job is None:
        return access.not_found(request)
    if request.method not in METHODS:
        return HttpResponseNotAllowed(METHODS)
    if not permissions.can(request.user, "update", job=job):
        return access.deny(model_admin, request, "update", job=job)
    if job.job_type is None or job.job_type.arguments.problems():
        messages.error(request, refusal(UnknownJobType(job.name), job) if job.job_type is None else BROKEN)
        return back(request, job)
    if request.method == "POST":
        return UpdatePage(model_admin, request, job.job_type, job).submit()
    if not job.can_update:
        messages.warning(request, _too_late(request, job))
        return back(request, job)
    return UpdatePage(model_admin, request, job.job_type, job).show()


def _too_late(request: HttpRequest, job: Job) -> str:
    """Say that the job has started, with a link to run it again with changes."""
    sentence = refusal(InvalidTransition(job.pk, job.status, "update"), job)
    url = f"{links.url(request, 'qorworker_job_run', job.name)}?from={job.pk}"
    return format_html('{} <a href="{}">{}</a>', sentence, url, _("Run again with changes…"))


def revision_of(job: Job) -> str:
    """Return a digest of its arguments and one of its time: each differs after a change, and reveals nothing."""
    return f"{_digest(job.arguments)}-{_digest(job.run_after.isoformat())}"


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return salted_hmac("qorworker.update", text, algorithm="sha256").hexdigest()[:16]


class UpdatePage(RunPage):
    """The run form filled from the job, whose secrets and files are kept where their fields are left empty."""

    template = "job/update.html"

    def __init__(self, model_admin: Any, request: HttpRequest, job_type: JobType[..., Any], job: Job) -> None:
        self.job, self.stored = job, prefill.stored_by(job)
        super().__init__(model_admin, request, job_type)
        self.kept = prefill.keep_private(self.arguments, self.stored, request.user)
        self.was_saving = True

    def _start(self) -> prefill.Filled:
        filled = prefill.Filled()
        prefill.from_stored(filled, self.job_type, self.arguments.fields, self.stored)
        return filled

    def _when_form(self, posted: Any) -> WhenForm | None:
        if not may_choose_time(self.request.user, self.job):
            return None
        if self.job.status == JobStatus.NEW:
            return MoveForm(posted, keeps=_("As soon as a worker is free"))
        keeps = _("Keep the time: %s") % clock(self.job.run_after)
        return MoveForm(posted, keeps=keeps, initial={"at": self.job.run_after})

    def _queue_form(self, posted: Any) -> QueueForm | None:
        return None

    def _tell_form(self, posted: Any) -> TellForm | None:
        return None

    def _button_texts(self) -> dict[str, str]:
        return dict.fromkeys(("now", "later", "at"), _("Save"))

    def _more(self) -> dict[str, Any]:
        return {"title": _("Change “%s”") % self.job, "job": self.job, "revision": revision_of(self.job)}

    def submit(self) -> HttpResponseBase:
        """Save the changes and redirect to the job, or show the form again with errors and the changes of others."""
        if self.job.was_changed_with(self.token):
            return self._saved(is_first=False)
        if not self.job.can_update:
            return self._came_too_late(InvalidTransition(self.job.pk, self.job.status, "update"))
        for sentence in self._changes():
            self.arguments.add_error(None, sentence)
        return super().submit()

    def _changes(self) -> list[str]:
        """Return what others have changed since the form was shown, in sentences."""
        arguments, time = revision_of(self.job).split("-")
        sent_arguments, _dash, sent_time = self.request.POST.get("qw-revision", "").partition("-")
        changes = [str(CHANGED)] if sent_arguments != arguments else []
        return [*changes, MOVED % clock(self.job.run_after)] if sent_time != time else changes

    def _carry_out(self) -> HttpResponseBase:
        moment = self.when.moment if self.when is not None else None
        if is_near := moment is not None and not self.job.is_paused and starts_at_once(moment):
            # By the clock that decides when it is due; what is queued has its time already.
            moment = None if self.job.status == JobStatus.NEW else database_now(self.job._state.db or "default")
        kept = prefill.left_empty(self.arguments, self.kept)
        arguments = self.job_type.arguments
        cleaned = {**self.arguments.cleaned_data, **arguments.kept_row_keys(self.stored)}
        dumped = arguments.dump(cleaned, kept, person=self.request.user)
        options: dict[str, Any] = {"by": self.request.user, "origin": Origin.ADMIN, "token": self.token}
        try:
            is_first = self.job.update_dumped(dumped, run_after=moment, **options)
        except InvalidTransition as error:
            return self._came_too_late(error)
        except ChangedMeanwhile:
            self.job.refresh_from_db()
            self.when = self._when_form(self.request.POST)  # it shows the time that is kept
            for sentence in self._changes() or [str(CHANGED)]:
                self.arguments.add_error(None, sentence)
            return self.again()
        return self._saved(is_first, is_near)

    def _saved(self, is_first: bool, is_near: bool = False) -> HttpResponseBase:
        sentence = _("“%(name)s” was saved.") % {"name": self.job}
        if not is_first:
            messages.warning(self.request, _("This change was saved already."))
        elif is_near:
            near = _("The chosen time is past or so near that it starts at once: it is queued.")
            messages.success(self.request, f"{sentence} {near}")
        else:
            messages.success(self.request, sentence)
        return back(self.request, self.job)

    def _came_too_late(self, error: InvalidTransition) -> HttpResponseBase:
        """Return the form for a new job, with the input for this one."""
        sentence = refusal(error, self.job)
        if is_deleted(error):
            messages.warning(self.request, sentence)
            return gone(self.request)
        entered = _("This form holds what you entered: it would create a new job.")
        url = links.url(self.request, "qorworker_job_change", self.job.pk)
        note = format_html('<a href="{}">#{}</a>: {} {}', url, self.job.pk, sentence, entered)
        notes = [note, *prefill.rows_left_out(self.job)]
        filled = prefill.Filled(values=self._entered(), notes=notes)
        page = RunPage(self.model_admin, self.request, self.job_type, filled)
        sent = MoveForm(self.request.POST)  # a job that has started has none of its own
        if page.when is not None and sent.is_valid() and sent.moment is not None:
            page.when.initial = {"when": LATER, "at": sent.moment}
        return page.show(status=409)

    def _entered(self) -> dict[str, Any]:
        """Return the values that fit of the form as it was sent, without secrets and files."""
        stored, fields = {}, self.arguments.fields
        self.arguments.is_valid()
        for name, value in self.arguments.cleaned_data.items():
            if name in fields and not codec.is_private(fields[name]):
                with suppress(ValidationError):
                    stored[name] = codec.dump(fields[name], value)
        return self.job_type.arguments.initial(stored)
