"""The form of a schedule: the job's own arguments, its times, and its rules for exceptions; with a preview. Web."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib import messages
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from qorworker import permissions
from qorworker.admin import access, links, rendering
from qorworker.admin.forms import ConfirmForm
from qorworker.admin.jobs import prefill
from qorworker.admin.jobs.autocomplete import limit_rows
from qorworker.admin.jobs.cards import first_paragraph
from qorworker.admin.jobs.field_limits import tell_limits
from qorworker.admin.live import News, answer
from qorworker.admin.media import SCHEDULE_FORM_MEDIA, SCHEDULE_MEDIA
from qorworker.admin.pages import READING
from qorworker.admin.parameters import number
from qorworker.admin.schedules.forms import SECTIONS, ScheduleForm
from qorworker.admin.schedules.preview import preview
from qorworker.definitions.job_type import JobType
from qorworker.definitions.registry import registry
from qorworker.exceptions import InvalidArguments, InvalidSchedule, SecretsUnavailable
from qorworker.models import Origin
from qorworker.models.schedule import Schedule

METHODS = ["GET", "HEAD", "POST"]


def manageable_types(user: Any) -> list[JobType[..., Any]]:
    """Return the job types of which *user* may make schedules."""
    return [
        job_type
        for job_type in registry.all()
        if job_type.schedulable and permissions.can(user, "manage_schedule", job_type)
    ]


def add(model_admin: Any, request: HttpRequest) -> HttpResponseBase:
    """Let the user choose a job type, then fill in the form."""
    name = request.GET.get("job")
    if name is not None:
        job_type = checked(model_admin, request, name, METHODS)
        if isinstance(job_type, HttpResponseBase):
            return job_type
        copied = copied_from(request, job_type)
        if isinstance(copied, HttpResponseBase):
            return copied
        page = SchedulePage(model_admin, request, job_type, copied=copied)
        return page.submit() if request.method == "POST" and not page.is_from_run else page.show()
    types = manageable_types(request.user)
    if not types:
        return access.deny(model_admin, request, "manage_schedule")
    if request.method not in READING:
        return HttpResponseNotAllowed(READING)
    return rendering.page(
        request,
        "schedule/choose.html",
        Schedule._meta,
        title=_("Add a schedule"),
        media=SCHEDULE_MEDIA,
        types=[(each, first_paragraph(each)) for each in types if not each.arguments.problems()],
    )


def copied_from(request: HttpRequest, job_type: JobType[..., Any]) -> Schedule | HttpResponseBase | None:
    """Return the schedule that ``?copy=`` names, None without it, or a 404 if the user may not see its arguments."""
    if (text := request.GET.get("copy")) is None:
        return None
    pk = number(text)
    schedule = visible_schedule(request, pk) if pk is not None else None
    may_see = permissions.can(request.user, "view_arguments", job_type)
    if schedule is None or schedule.job_name != job_type.name or not may_see:
        return access.not_found(request)
    return schedule


def edit(model_admin: Any, request: HttpRequest, pk: int) -> HttpResponseBase:
    """Show the form at ``schedule/<id>/edit/`` for GET, and save it for POST."""
    schedule = visible_schedule(request, pk)
    if schedule is None:
        return access.not_found(request)
    if schedule.job_type is None:
        messages.error(request, _("The job type of this schedule is no longer part of this project."))
        return to_schedule(request, schedule)
    job_type = checked(model_admin, request, schedule.job_name, METHODS)
    if isinstance(job_type, HttpResponseBase):
        return job_type
    if schedule.declared_in_code:
        messages.warning(request, _("This schedule is declared in code: change it there."))
        return to_schedule(request, schedule)
    if not permissions.can(request.user, "view_arguments", job_type):
        return access.deny(model_admin, request, "view_arguments", job_type=job_type)
    page = SchedulePage(model_admin, request, job_type, schedule)
    return page.submit() if request.method == "POST" else page.show()


def show_preview(model_admin: Any, request: HttpRequest, name: str) -> HttpResponseBase:
    """Return the preview of what is in the form now, for the script of its page."""
    job_type = checked(model_admin, request, name, ["POST"])
    if isinstance(job_type, HttpResponseBase):
        return job_type
    form, pk = ScheduleForm(request.POST), number(request.POST.get("qw-schedule", ""))
    schedule = visible_schedule(request, pk) if pk is not None else None
    visible = permissions.Visibility(request.user).schedules
    shown = preview(form.plan, job_type.name, schedule, visible=visible) if form.is_valid() else None
    errors = [
        (form[name].label, error)
        for name, errors_of_field in form.errors.items()
        if name in form.fields
        for error in errors_of_field
    ]
    html = render_to_string("admin/qorworker/schedule/preview.html", {"preview": shown, "errors": errors})
    return answer(News(parts={"preview": html}, final=True))


def checked(
    model_admin: Any, request: HttpRequest, name: str, methods: list[str]
) -> JobType[..., Any] | HttpResponseBase:
    """Return the job type *name* if the user may manage its schedules; else the answer that explains the refusal."""
    landing = "qorworker_schedule_changelist"
    job_type = access.chosen_type(model_admin, request, name, "manage_schedule", methods, landing)
    if isinstance(job_type, JobType) and not job_type.schedulable:
        reason = _("No time can be chosen for this job.")
        return access.deny(model_admin, request, "manage_schedule", job_type=job_type, reason=reason)
    return job_type


def visible_schedule(request: HttpRequest, pk: int) -> Schedule | None:
    """Return the schedule *pk*; None if it does not exist or the user may not see it."""
    if pk >= 2**63:
        return None
    rows = permissions.Visibility(request.user).schedules
    return rows.select_related("created_by", "paused_by").filter(pk=pk).first()


def to_schedule(request: HttpRequest, schedule: Schedule) -> HttpResponseRedirect:
    """Redirect to the page of *schedule*."""
    return HttpResponseRedirect(links.url(request, "qorworker_schedule_change", schedule.pk))


class SchedulePage:
    """The forms on the page of a new or a stored schedule, and what a submit does with them."""

    def __init__(
        self,
        model_admin: Any,
        request: HttpRequest,
        job_type: JobType[..., Any],
        schedule: Schedule | None = None,
        copied: Schedule | None = None,
    ) -> None:
        self.model_admin, self.request, self.job_type = model_admin, request, job_type
        self.schedule, self.copied = schedule, copied
        # A run form was sent here, to fill in this one.
        self.is_from_run = request.method == "POST" and schedule is None and "qw-from-run" in request.POST
        posted = request.POST if request.method == "POST" and not self.is_from_run else None
        self.arguments: BaseForm = job_type.arguments.form_class(posted, request.FILES if posted is not None else None)
        limit_rows(self.arguments, request, model_admin.admin_site)
        tell_limits(self.arguments)
        source = schedule or copied
        self.stored = prefill.stored_by(source) if source is not None else {}
        self.kept = prefill.keep_private(self.arguments, self.stored if schedule is not None else {}, request.user)
        if posted is None:
            self.arguments.initial.update(job_type.arguments.initial(self.stored))
        self.notes: list[str] = []
        if self.is_from_run:
            filled = prefill.from_run(job_type.arguments.form_class(request.POST, request.FILES))
            self.arguments.initial.update(filled.values)
            self.notes = filled.notes
        visible = permissions.Visibility(request.user).schedules  # the number in a name would reveal others
        free = visible.free_name(str(job_type.title)) if schedule is None else ""
        self.when = ScheduleForm(posted, schedule=source, name=free, zone=timezone.get_current_timezone_name())
        self.confirm = ConfirmForm(posted, job_type.title) if job_type.confirm else None

    @property
    def forms(self) -> list[BaseForm]:
        """Return all forms of the page, in the order in which they are validated."""
        return [form for form in (self.when, self.arguments, self.confirm) if form is not None]

    def show(self) -> HttpResponseBase:
        """Return the page with its forms, their errors, and the preview."""
        has_errors = any(form.is_bound and form.errors for form in self.forms)
        schedule = self.schedule
        return rendering.page(
            self.request,
            "schedule/form.html",
            Schedule._meta,
            title=_("Change “%s”") % schedule if schedule else _("Schedule “%s”") % self.job_type.title,
            media=sum((form.media for form in self.forms), SCHEDULE_FORM_MEDIA),
            job_type=self.job_type,
            schedule=schedule,
            copied=self.copied,
            is_from_run=self.is_from_run,
            notes=self.notes,
            revision=schedule.revision if schedule else 0,
            sections=self._sections(),
            forms=self.forms,
            has_errors=has_errors,
            again=prefill.to_enter_again(self.arguments) if self.when.is_bound else [],
            is_multipart=any(form.is_multipart() for form in self.forms),
            preview=self._preview(),
        )

    def _preview(self) -> Any:
        source = self.schedule or self.copied
        visible = permissions.Visibility(self.request.user).schedules
        try:
            if self.when.is_bound:
                plan = self.when.plan if self.when.is_valid() else None
            else:
                plan = source.plan if source else None
            return preview(plan, self.job_type.name, self.schedule, visible=visible) if plan else None
        except InvalidSchedule:
            return None

    def _sections(self) -> list[Any]:
        section = partial(rendering.fieldset, self.model_admin)
        (title, first), (more, rest) = SECTIONS
        sections = [section(self.when, str(title), first)]
        if self.arguments.fields:
            sections.append(section(self.arguments, _("Arguments")))
        sections.append(section(self.when, str(more), rest, classes=["collapse"]))
        if self.confirm is not None:
            question = str(self.job_type.confirm)
            sections.append(section(self.confirm, _("Please confirm"), classes=["qw-asks"], description=question))
        return sections

    @sensitive_variables()
    def submit(self) -> HttpResponseBase:
        """Save the schedule and redirect to its page, or show the page again with the errors or the preview."""
        valid = [form.is_valid() for form in self.forms]  # of all forms, so that all errors are shown at once
        if "qw-preview" in self.request.POST or not all(valid):
            return self.show()
        schedule = self.schedule
        if schedule is not None and self.request.POST.get("qw-revision") != str(schedule.revision):
            message = _("Another user has changed this schedule in the meantime. Save again to replace their changes.")
            self.when.add_error(None, message)
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
        messages.success(self.request, _("“%(name)s” was saved.") % {"name": saved.title})
        return to_schedule(self.request, saved)

    @sensitive_variables()
    def _save(self) -> Schedule:
        arguments, user = self.job_type.arguments, self.request.user
        kept = prefill.left_empty(self.arguments, self.kept)
        keys = arguments.kept_row_keys(self.stored)
        dumped = arguments.dump({**self.arguments.cleaned_data, **keys}, kept, person=user)
        plan = self.when.plan
        if self.schedule is None:
            return Schedule.objects.create_dumped(self.job_type, plan, dumped, by=user, origin=Origin.ADMIN)
        changes = {name: value for name, value in vars(plan).items() if name != "arguments"}
        self.schedule.change_dumped(dumped, arguments.fingerprint, by=user, origin=Origin.ADMIN, **changes)
        return self.schedule
