"""The run form of a job type: arguments, when, one submit one job. Web."""

from __future__ import annotations

from typing import Any, cast

from django.contrib import messages
from django.contrib.admin.helpers import AdminForm
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import escape, format_html
from django.utils.translation import gettext as _

from qorworker import permissions
from qorworker.admin import access, conflict, once, prefill
from qorworker.admin.cards import first_paragraph
from qorworker.admin.limits import tell_limits
from qorworker.admin.media import RUN_MEDIA
from qorworker.admin.start import starts
from qorworker.admin.verbs import clock
from qorworker.arguments import codec
from qorworker.autocomplete import JobAutocompleteView, limit_rows
from qorworker.backends import backend_of
from qorworker.conf import settings
from qorworker.exceptions import (
    AlreadyEnqueued,
    InvalidArguments,
    SecretsUnavailable,
    TooManyJobs,
    UnsupportedByBackend,
)
from qorworker.forms import ConfirmForm, QueueForm, WhenForm, starts_at_once
from qorworker.models import Job, Origin, starting
from qorworker.models.reasons import obstacles
from qorworker.registry import JobType
from qorworker.templatetags.qorworker_admin import qw_capped


def run(model_admin: Any, request: HttpRequest, name: str) -> HttpResponseBase:
    job_type = runnable(model_admin, request, name, ["GET", "HEAD", "POST"])
    if isinstance(job_type, HttpResponseBase):
        return job_type
    page = RunPage(model_admin, request, job_type)
    return page.submit() if request.method == "POST" else page.show()


def runnable(model_admin: Any, request: HttpRequest, name: str, methods: list[str]) -> JobType[Any] | HttpResponseBase:
    """The type, if its form can be shown to the user; else the answer that says why not."""
    return access.chosen_type(model_admin, request, name, "run", methods, "qorworker_job_catalogue")


def autocomplete(model_admin: Any, request: HttpRequest, name: str, field: str) -> HttpResponseBase:
    """Rows to choose from in a field of the form, for whoever may run the type."""
    job_type = access.visible_type(request, name)
    if job_type is None or not permissions.can(request.user, "run", job_type) or job_type.arguments.problems():
        return access.not_found(request)
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    view = JobAutocompleteView.as_view(admin_site=model_admin.admin_site)
    return view(request, job_type=name, field=field)


class RunPage:
    """The forms on the page and what becomes of them. With *filled* it was not sent: that is what it starts with."""

    template = "admin/qorworker/job/run.html"

    def __init__(
        self,
        model_admin: Any,
        request: HttpRequest,
        job_type: JobType[Any],
        filled: prefill.Filled | None = None,
    ) -> None:
        self.model_admin, self.request, self.job_type = model_admin, request, job_type
        posted = request.POST if request.method == "POST" and filled is None else None
        self.arguments: BaseForm = job_type.arguments.form_class(posted, request.FILES if posted is not None else None)
        limit_rows(self.arguments, request, model_admin.admin_site)
        tell_limits(self.arguments)
        self.filled = filled or prefill.Filled()
        if posted is None:
            self.filled = filled or self._start()
            self.arguments.initial.update(self.filled.values)
        self.when = self._when_form(posted)
        self.queue = self._queue_form(posted)
        self.confirm = ConfirmForm(posted, job_type.title) if job_type.confirm else None
        self.token = posted.get("qw-token", "") if posted is not None else once.new_token()
        self.was_saving = False

    def _start(self) -> prefill.Filled:
        return prefill.filled(self.request, self.job_type, self.arguments.fields)

    def _when_form(self, posted: Any) -> WhenForm | None:
        may_wait = self.job_type.schedulable and backend_of(self.job_type.queue_name).supports_schedule
        return WhenForm(posted) if may_wait and self._may("schedule") else None

    def _queue_form(self, posted: Any) -> QueueForm | None:
        return QueueForm(self.job_type, posted) if self._may("choose_queue") else None

    def _may(self, action: str) -> bool:
        return permissions.can(self.request.user, action, self.job_type)

    @property
    def forms(self) -> list[BaseForm]:
        return [form for form in (self.arguments, self.when, self.queue, self.confirm) if form is not None]

    def show(self, status: int = 200) -> HttpResponseBase:
        has_errors = any(form.is_bound and form.errors for form in self.forms)
        context = {
            **self.model_admin.admin_site.each_context(self.request),
            "opts": Job._meta,
            "media": sum((form.media for form in self.forms), RUN_MEDIA),
            "job_type": self.job_type,
            "summary": first_paragraph(self.job_type),
            "sections": self._sections(),
            "forms": self.forms,
            "has_errors": has_errors,
            "was_saving": self.was_saving,
            "again": prefill.to_enter_again(self.arguments) if has_errors else [],
            "is_multipart": any(form.is_multipart() for form in self.forms),
            "when": self.when,
            "token": self.token,
            "immediate_window": settings.IMMEDIATE_WINDOW,
            "filled": self.filled,
            **self._more(),
        }
        return TemplateResponse(self.request, self.template, context, status=status)

    def _more(self) -> dict[str, Any]:
        """What only this page shows."""
        visible = permissions.visible_jobs(self.request.user, Job.objects.all())
        running = starting.running_of_type(visible, self.job_type.name)
        return {
            "title": _("Run “%s”") % self.job_type.title,
            "starts": starts(self.request, self.job_type, self.filled),
            "can_save": any(not codec.is_private(field) for field in self.arguments.fields.values()),
            "running": running,
            "is_more_running": len(running) == starting.SOME,
            "obstacles": obstacles(self.job_type.queue_name, self.job_type.name),
            "may_view": self._may("view"),
        }

    def _sections(self) -> list[Any]:
        """The native fieldsets of the admin, so that each version and theme shows them its way."""
        found = []
        if self.arguments.fields:
            found += self._fieldset(self.arguments, _("Arguments"))
        if self.when is not None:
            found += self._fieldset(self.when, _("When"))
        if self.queue is not None:
            found += self._fieldset(self.queue, _("More: queue and priority"), classes=["collapse"])
        if self.confirm is not None:
            found += self._fieldset(self.confirm, _("Please confirm"), str(self.job_type.confirm), ["qw-asks"])
        return found

    def _fieldset(self, form: BaseForm, title: str, text: str = "", classes: list[str] | None = None) -> list[Any]:
        # The admin's template prints the description as it is.
        options: Any = {"fields": list(form.fields), "description": escape(text), "classes": classes or []}
        return list(AdminForm(cast(Any, form), [(title, options)], {}, (), self.model_admin))

    def submit(self) -> HttpResponseBase:
        # Every form is asked, so that all errors are told at once.
        wrong = [form for form in self.forms if not form.is_valid()]
        if not wrong and not once.is_token(self.token):
            self.arguments.add_error(None, _("The form was not complete. Check it and send it once more."))
        if wrong or self.arguments.errors:
            return self.again()
        try:
            return self._carry_out()
        except InvalidArguments as error:
            return self._refused(error)
        except AlreadyEnqueued as error:
            self.arguments.add_error(None, conflict.told(self.request.user, error.job, error.message))
            return self.again()
        except (SecretsUnavailable, TooManyJobs, UnsupportedByBackend) as error:
            self.arguments.add_error(None, str(error))
            return self.again()

    def _carry_out(self) -> HttpResponseBase:
        moment = self.when.moment if self.when is not None else None
        later = moment if moment is not None and not starts_at_once(moment) else None
        options: dict[str, Any] = {"user": self.request.user, "origin": Origin.ADMIN}
        if later is not None:
            options["run_after"] = later
        if self.queue is not None:
            options |= self.queue.chosen
        job, is_new = once.start_once(
            self.request.user,
            self.token,
            lambda: self.job_type.using(**options).enqueue_cleaned(self.arguments.cleaned_data),
        )
        self._tell(job, is_new, was_near=moment is not None and later is None)
        return HttpResponseRedirect(self._landing(job))

    def again(self) -> HttpResponseBase:
        """The page with what was typed, its errors, and a tick to be set anew: what it agrees to will change."""
        if not once.is_token(self.token):
            self.token = once.new_token()
        if self.confirm is not None and self.confirm.is_valid():
            self.confirm = ConfirmForm(title=self.job_type.title)
        return self.show()

    def _refused(self, error: InvalidArguments) -> HttpResponseBase:
        for field, told in error.errors.items():
            for message in told:
                self.arguments.add_error(field if field in self.arguments.fields else None, message)
        return self.again()

    def _tell(self, job: Job, is_new: bool, was_near: bool) -> None:
        if not is_new:
            messages.warning(self.request, _("This run was already started."))
            return
        if job.is_existing:
            messages.warning(self.request, conflict.told_instead(self.request.user, job))
            return
        shown = format_html("{} #{}", self.job_type.title, job.pk)
        if permissions.can(self.request.user, "view", job=job):
            url = reverse("admin:qorworker_job_change", args=(job.pk,))
            shown = format_html('<a href="{}">{}</a>', url, shown)
        if job.status == "scheduled":
            told = format_html(_("{} is scheduled for {}."), shown, clock(job.run_after))
        elif was_near:
            told = format_html(_("{} is queued: the chosen time is past or so near that it starts at once."), shown)
        elif (place := self._position(job)) > 1:
            told = format_html(
                _("{} is queued, as number {} in the queue “{}”."), shown, qw_capped(place), job.queue_name
            )
        else:
            told = format_html(_("{} is queued."), shown)
        messages.success(self.request, told)

    def _position(self, job: Job) -> int:
        """Which in its queue the job is; 0 if the user may not know what others have there."""
        return starting.position(job) if permissions.sees_all(self.request.user) else 0

    def _landing(self, job: Job) -> str:
        if permissions.can(self.request.user, "view", job=job):
            return reverse("admin:qorworker_job_change", args=(job.pk,))
        return reverse("admin:qorworker_job_catalogue")
