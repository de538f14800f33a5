"""The form of a schedule: the job's own arguments, when, and what if; previewed and saved. Web."""

from __future__ import annotations

from typing import Any, cast

from django.contrib import messages
from django.contrib.admin.helpers import AdminForm
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from qorworker import permissions
from qorworker.admin import access, prefill
from qorworker.admin.asked import number
from qorworker.admin.cards import first_paragraph
from qorworker.admin.limits import tell_limits
from qorworker.admin.media import FORM_MEDIA, SCHEDULE_MEDIA
from qorworker.admin.schedule_preview import preview
from qorworker.autocomplete import limit_rows
from qorworker.exceptions import InvalidArguments, InvalidSchedule, SecretsUnavailable
from qorworker.models import Origin
from qorworker.models.schedule import Schedule
from qorworker.registry import JobType, registry
from qorworker.schedule_forms import SECTIONS, ScheduleForm

METHODS = ["GET", "HEAD", "POST"]


def manageable_types(user: Any) -> list[JobType[Any]]:
    """Those of which *user* may make schedules."""
    return [
        job_type
        for job_type in registry.all()
        if job_type.schedulable and permissions.can(user, "manage_schedule", job_type)
    ]


def add(model_admin: Any, request: HttpRequest) -> HttpResponseBase:
    """Choose a job type, then fill in the form."""
    name = request.GET.get("job")
    if name is not None:
        job_type = checked(model_admin, request, name, METHODS)
        if isinstance(job_type, HttpResponseBase):
            return job_type
        copied = copied_from(request, job_type)
        if isinstance(copied, HttpResponseBase):
            return copied
        page = SchedulePage(model_admin, request, job_type, copied=copied)
        return page.submit() if request.method == "POST" else page.show()
    types = manageable_types(request.user)
    if not types:
        return access.deny(model_admin, request, "manage_schedule")
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _("Add a schedule"),
        "opts": Schedule._meta,
        "media": SCHEDULE_MEDIA,
        "types": [(each, first_paragraph(each)) for each in types if not each.arguments.problems()],
    }
    return TemplateResponse(request, "admin/qorworker/schedule/choose.html", context)


def copied_from(request: HttpRequest, job_type: JobType[Any]) -> Schedule | HttpResponseBase | None:
    """The schedule that the form starts from, if the URL names one whose arguments the user may see."""
    if (told := request.GET.get("copy")) is None:
        return None
    pk = number(told)
    schedule = visible_schedule(request, pk) if pk is not None else None
    may_see = permissions.can(request.user, "view_arguments", job_type)
    if schedule is None or schedule.job_name != job_type.name or not may_see:
        return access.not_found(request)
    return schedule


def edit(model_admin: Any, request: HttpRequest, pk: int) -> HttpResponseBase:
    schedule = visible_schedule(request, pk)
    if schedule is None:
        return access.not_found(request)
    if schedule.job_type is None:
        messages.error(request, _("The job type of this schedule is not part of this project any more."))
        return to_schedule(schedule)
    job_type = checked(model_admin, request, schedule.job_name, METHODS)
    if isinstance(job_type, HttpResponseBase):
        return job_type
    if schedule.declared_in_code:
        messages.warning(request, _("This schedule is declared in code: change it there."))
        return to_schedule(schedule)
    if not permissions.can(request.user, "view_arguments", job_type):
        return access.deny(model_admin, request, "view_arguments", job_type=job_type)
    page = SchedulePage(model_admin, request, job_type, schedule)
    return page.submit() if request.method == "POST" else page.show()


def show_preview(model_admin: Any, request: HttpRequest, name: str) -> HttpResponseBase:
    """The preview of what is in the form now, for the script of its page."""
    job_type = checked(model_admin, request, name, ["POST"])
    if isinstance(job_type, HttpResponseBase):
        return job_type
    form, pk = ScheduleForm(request.POST), number(request.POST.get("qw-schedule", ""))
    schedule = visible_schedule(request, pk) if pk is not None else None
    told = preview(form.plan, job_type.name, schedule) if form.is_valid() else None
    errors = [
        (form[name].label, error) for name, found in form.errors.items() if name in form.fields for error in found
    ]
    html = render_to_string("admin/qorworker/schedule/preview.html", {"preview": told, "errors": errors})
    return JsonResponse({"html": html}, headers={"Cache-Control": "no-store"})


def checked(model_admin: Any, request: HttpRequest, name: str, methods: list[str]) -> JobType[Any] | HttpResponseBase:
    """The type, if the user may manage its schedules; else the answer that says why not."""
    landing = "qorworker_schedule_changelist"
    job_type = access.chosen_type(model_admin, request, name, "manage_schedule", methods, landing)
    if isinstance(job_type, JobType) and not job_type.schedulable:
        reason = _("No time can be chosen for this job.")
        return access.deny(model_admin, request, "manage_schedule", job_type=job_type, reason=reason)
    return job_type


def visible_schedule(request: HttpRequest, pk: int) -> Schedule | None:
    """The schedule, if there is one and the user may see it."""
    if pk >= 2**63:
        return None
    rows = permissions.visible_schedules(request.user, Schedule.objects.all())
    return rows.select_related("created_by", "paused_by").filter(pk=pk).first()


def to_schedule(schedule: Schedule) -> HttpResponseRedirect:
    return HttpResponseRedirect(reverse("admin:qorworker_schedule_change", args=(schedule.pk,)))


class SchedulePage:
    """The two forms on the page and what becomes of them."""

    def __init__(
        self,
        model_admin: Any,
        request: HttpRequest,
        job_type: JobType[Any],
        schedule: Schedule | None = None,
        copied: Schedule | None = None,
    ) -> None:
        self.model_admin, self.request, self.job_type = model_admin, request, job_type
        self.schedule, self.copied = schedule, copied
        posted = request.POST if request.method == "POST" else None
        self.arguments: BaseForm = job_type.arguments.form_class(posted, request.FILES if posted is not None else None)
        limit_rows(self.arguments, request, model_admin.admin_site)
        tell_limits(self.arguments)
        self.kept = prefill.keep_private(self.arguments, schedule.arguments if schedule is not None else {})
        source = schedule or copied
        if source is not None and posted is None:
            self.arguments.initial.update(job_type.arguments.initial(source.arguments))
        free = Schedule.objects.free_name(str(job_type.title)) if schedule is None else ""
        self.when = ScheduleForm(posted, schedule=source, name=free, zone=timezone.get_current_timezone_name())

    @property
    def forms(self) -> list[BaseForm]:
        return [self.when, self.arguments]

    def show(self) -> HttpResponseBase:
        has_errors = any(form.is_bound and form.errors for form in self.forms)
        schedule = self.schedule
        context = {
            **self.model_admin.admin_site.each_context(self.request),
            "title": _("Change “%s”") % schedule if schedule else _("Schedule “%s”") % self.job_type.title,
            "opts": Schedule._meta,
            "media": sum((form.media for form in self.forms), FORM_MEDIA + SCHEDULE_MEDIA),
            "job_type": self.job_type,
            "schedule": schedule,
            "copied": self.copied,
            "revision": schedule.revision if schedule else 0,
            "sections": self._sections(),
            "forms": self.forms,
            "has_errors": has_errors,
            "again": prefill.to_enter_again(self.arguments) if self.when.is_bound else [],
            "is_multipart": any(form.is_multipart() for form in self.forms),
            "preview": self._preview(),
        }
        return TemplateResponse(self.request, "admin/qorworker/schedule/form.html", context)

    def _preview(self) -> Any:
        if self.when.is_bound:
            return preview(self.when.plan, self.job_type.name, self.schedule) if self.when.is_valid() else None
        source = self.schedule or self.copied
        try:
            return preview(source.plan, self.job_type.name, self.schedule) if source else None
        except InvalidSchedule:
            return None

    def _sections(self) -> list[Any]:
        (title, first), (more, rest) = SECTIONS
        found = self._fieldset(self.when, str(title), list(first))
        if self.arguments.fields:
            found += self._fieldset(self.arguments, _("Arguments"), list(self.arguments.fields))
        return found + self._fieldset(self.when, str(more), list(rest), ["collapse"])

    def _fieldset(self, form: BaseForm, title: str, names: list[str], classes: list[str] | None = None) -> list[Any]:
        options: Any = {"fields": names, "classes": classes or []}
        return list(AdminForm(cast(Any, form), [(title, options)], {}, (), self.model_admin))

    @sensitive_variables()
    def submit(self) -> HttpResponseBase:
        valid = [form.is_valid() for form in self.forms]  # all are asked, so that all errors are told at once
        if "qw-preview" in self.request.POST or not all(valid):
            return self.show()
        schedule = self.schedule
        if schedule is not None and self.request.POST.get("qw-revision") != str(schedule.revision):
            told = _("Somebody has changed this schedule meanwhile. Save once more to replace what they did.")
            self.when.add_error(None, told)
            return self.show()
        try:
            saved = self._save()
        except InvalidArguments as error:
            for name, texts in error.errors.items():
                self.arguments.add_error(name if name in self.arguments.fields else None, texts)
            return self.show()
        except SecretsUnavailable as error:
            self.arguments.add_error(None, str(error))
            return self.show()
        except InvalidSchedule as error:
            self.when.add_error("name", str(error))
            return self.show()
        messages.success(self.request, _("“%(name)s” was saved.") % {"name": saved.name})
        return to_schedule(saved)

    @sensitive_variables()
    def _save(self) -> Schedule:
        arguments, user = self.job_type.arguments, self.request.user
        kept = prefill.left_empty(self.arguments, self.kept)
        dumped = arguments.dump(self.arguments.cleaned_data, kept)
        plan = self.when.plan
        if self.schedule is None:
            return Schedule.objects.create_dumped(self.job_type, plan, dumped, by=user, origin=Origin.ADMIN)
        changes = {name: value for name, value in vars(plan).items() if name != "arguments"}
        self.schedule.change_dumped(dumped, arguments.fingerprint, by=user, origin=Origin.ADMIN, **changes)
        return self.schedule
