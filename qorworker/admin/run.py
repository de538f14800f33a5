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
from qorworker.admin import access, once, prefill
from qorworker.admin.catalogue import first_paragraph
from qorworker.admin.media import FORM_MEDIA
from qorworker.admin.verbs import BROKEN, clock
from qorworker.autocomplete import JobAutocompleteView, limit_rows
from qorworker.exceptions import InvalidArguments, SecretsUnavailable
from qorworker.forms import ConfirmForm, WhenForm, starts_at_once
from qorworker.models import Job, Origin, pages
from qorworker.registry import JobType


def run(model_admin: Any, request: HttpRequest, name: str) -> HttpResponseBase:
    job_type = access.visible_type(request, name)
    if job_type is None:
        return access.not_found(request)
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    if not permissions.can(request.user, "run", job_type):
        return access.deny(model_admin, request, "run", job_type=job_type)
    if job_type.arguments.problems():
        messages.error(request, BROKEN)
        return HttpResponseRedirect(reverse("admin:qorworker_job_catalogue"))
    page = RunPage(model_admin, request, job_type)
    return page.submit() if request.method == "POST" else page.show()


def autocomplete(model_admin: Any, request: HttpRequest, name: str, field: str) -> HttpResponseBase:
    """Rows to choose from in a field of the form, for whoever may run the type."""
    job_type = access.visible_type(request, name)
    if job_type is None or not permissions.can(request.user, "run", job_type) or job_type.arguments.problems():
        return access.not_found(request)
    view = JobAutocompleteView.as_view(admin_site=model_admin.admin_site)
    return view(request, job_type=name, field=field)


class RunPage:
    """The forms on the page and what becomes of them."""

    def __init__(self, model_admin: Any, request: HttpRequest, job_type: JobType[Any]) -> None:
        self.model_admin, self.request, self.job_type = model_admin, request, job_type
        self.may_schedule = job_type.schedulable and permissions.can(request.user, "schedule", job_type)
        posted = request.POST if request.method == "POST" else None
        self.arguments: BaseForm = job_type.arguments.form_class(posted, request.FILES if posted is not None else None)
        limit_rows(self.arguments, request, model_admin.admin_site)
        self.filled = prefill.Filled({}, None, [])
        if posted is None:
            self.filled = prefill.filled(request, job_type, self.arguments.fields)
            self.arguments.initial.update(self.filled.values)
        self.when = WhenForm(posted) if self.may_schedule else None
        self.confirm = ConfirmForm(posted) if job_type.confirm else None
        self.token = posted.get("qw-token", "") if posted is not None else once.new_token()

    def show(self) -> HttpResponseBase:
        forms = [form for form in (self.arguments, self.when, self.confirm) if form is not None]
        has_errors = any(form.is_bound and form.errors for form in forms)
        context = {
            **self.model_admin.admin_site.each_context(self.request),
            "title": _("Run “%s”") % self.job_type.title,
            "opts": Job._meta,
            "media": sum((form.media for form in forms), FORM_MEDIA),
            "job_type": self.job_type,
            "summary": first_paragraph(self.job_type),
            "sections": self._sections(),
            "forms": forms,
            "errors": [(form, form.errors) for form in forms] if has_errors else [],
            "is_multipart": any(form.is_multipart() for form in forms),
            "loses_files": has_errors and bool(self.request.FILES),
            "confirm": self.confirm,
            "when": self.when,
            "token": self.token,
            "filled": self.filled,
            "lacking": pages.lacking(self.job_type.queue_name, self.job_type.name),
            "may_view": permissions.can(self.request.user, "view", self.job_type),
        }
        return TemplateResponse(self.request, "admin/qorworker/job/run.html", context)

    def _sections(self) -> list[Any]:
        """The native fieldsets of the admin, so that each version and theme shows them its way."""
        found = []
        if self.arguments.fields:
            found += self._admin_fieldsets(self.arguments, _("Arguments"))
        if self.when is not None:
            found += self._admin_fieldsets(self.when, _("When"))
        if self.confirm is not None:
            found += self._admin_fieldsets(self.confirm, _("Please confirm"), str(self.job_type.confirm))
        return found

    def _admin_fieldsets(self, form: BaseForm, title: str, text: str = "") -> list[Any]:
        # The admin's template prints the description as it is.
        options: Any = {"fields": list(form.fields), "description": escape(text)}
        return list(AdminForm(cast(Any, form), [(title, options)], {}, (), self.model_admin))

    def submit(self) -> HttpResponseBase:
        forms = [form for form in (self.arguments, self.when, self.confirm) if form is not None]
        # Every form is asked, so that all errors are told at once.
        wrong = [form for form in forms if not form.is_valid()]
        if wrong or not once.is_token(self.token):
            return self._again()
        moment = self.when.moment if self.when is not None else None
        later = moment if moment is not None and not starts_at_once(moment) else None
        options: dict[str, Any] = {"user": self.request.user, "origin": Origin.ADMIN}
        if later is not None:
            options["run_after"] = later
        try:
            job, is_new = once.start_once(
                self.request.user,
                self.token,
                lambda: self.job_type.using(**options).enqueue_cleaned(self.arguments.cleaned_data),
            )
        except InvalidArguments as error:
            return self._refused(error)
        except SecretsUnavailable as error:
            self.arguments.add_error(None, str(error))
            return self._again()
        self._tell(job, is_new, was_near=moment is not None and later is None)
        return HttpResponseRedirect(self._landing(job))

    def _again(self) -> HttpResponseBase:
        if not once.is_token(self.token):
            self.token = once.new_token()
        return self.show()

    def _refused(self, error: InvalidArguments) -> HttpResponseBase:
        for field, told in error.errors.items():
            for message in told:
                self.arguments.add_error(field if field in self.arguments.fields else None, message)
        return self._again()

    def _tell(self, job: Job, is_new: bool, was_near: bool) -> None:
        if not is_new:
            messages.warning(self.request, _("This run was already started."))
            return
        shown = format_html("{} #{}", self.job_type.title, job.pk)
        if permissions.can(self.request.user, "view", job=job):
            url = reverse("admin:qorworker_job_change", args=(job.pk,))
            shown = format_html('<a href="{}">{}</a>', url, shown)
        if job.status == "scheduled":
            told = format_html(_("{} is scheduled for {}."), shown, clock(job.run_after))
        elif was_near:
            told = format_html(_("{} is queued: the chosen time is past or so near that it starts at once."), shown)
        else:
            told = format_html(_("{} is queued."), shown)
        messages.success(self.request, told)

    def _landing(self, job: Job) -> str:
        if permissions.can(self.request.user, "view", job=job):
            return reverse("admin:qorworker_job_change", args=(job.pk,))
        return reverse("admin:qorworker_job_catalogue")
