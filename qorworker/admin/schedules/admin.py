"""``ScheduleAdmin``: the list of schedules, and the page behind each URL. Web."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, URLPattern
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, pgettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_safe

from qorworker import permissions
from qorworker.admin import access, links
from qorworker.admin.bases import ScheduleAdminBase
from qorworker.admin.display import qw_badge, qw_from_now, qw_moment, qw_other_zone, qw_visible
from qorworker.admin.jobs.columns import NOTHING, named
from qorworker.admin.many import NumberedActions
from qorworker.admin.media import SCHEDULES_MEDIA, without_boxes
from qorworker.admin.pages import READING, Pages
from qorworker.admin.parameters import number
from qorworker.admin.schedules import bulk, calendar, detail, form
from qorworker.admin.schedules.absence import no_schedule
from qorworker.admin.schedules.strip import add_runs, strip_of
from qorworker.admin.schedules.verb_views import ScheduleVerbView
from qorworker.admin.schedules.verbs import ALL_VERBS, DELETE
from qorworker.exceptions import InvalidSchedule
from qorworker.models import Job, Origin
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.schedule import Schedule
from qorworker.models.schedule_queries import with_holidays
from qorworker.schedules import describe

TABS: dict[str, Any] = {
    "": pgettext_lazy("schedules", "All"),
    "active": pgettext_lazy("schedules", "Active"),
    "paused": pgettext_lazy("schedules", "Paused"),
    "attention": pgettext_lazy("schedules", "Need attention"),
}


def in_tab(schedules: Any, tab: str, jobs: JobQuerySet) -> Any:
    """Return the *schedules* that *tab* shows. Only the ends of *jobs* count."""
    if tab == "active":
        return schedules.active()
    if tab == "paused":
        return schedules.paused()
    return schedules.in_need(jobs) if tab == "attention" else schedules


class ScheduleChangeList(ChangeList):
    """A page of schedules, with its tabs and the last runs of each."""

    def __init__(self, request: HttpRequest, *args: Any, **options: Any) -> None:
        tab = request.GET.get("tab", "")
        self.tab = tab if tab in TABS else ""
        super().__init__(request, *args, **options)

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        return {}  # the tab and the search are all there is; anything else in a URL means nothing here

    def get_queryset(self, request: HttpRequest, *args: Any, **options: Any) -> Any:
        return in_tab(
            super().get_queryset(request, *args, **options), self.tab, permissions.Visibility(request.user).jobs
        )

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        every, jobs = self.root_queryset, permissions.Visibility(request.user).jobs
        self.tabs = [
            {"name": name, "label": label, "count": in_tab(every, name, jobs).count(), "is_current": name == self.tab}
            for name, label in TABS.items()
        ]
        self.result_list = with_holidays(self.result_list)
        narrowed = self.result_list or self.query or self.tab
        self.nothing = "" if narrowed else no_schedule(request.user)
        add_runs(self.result_list, jobs)


@admin.register(Schedule)
class ScheduleAdmin(Pages, NumberedActions, ScheduleAdminBase):
    """The pages of schedules."""

    change_list_template = "admin/qorworker/schedule/list.html"
    list_display = ("shown_name", "state", "job", "when", "next", "last", "runs")
    search_fields = ("name", "job_name")
    list_per_page = 50
    actions = tuple(bulk.ACTIONS)

    # URLs

    def get_urls(self) -> list[URLPattern]:
        own = [
            self.page("calendar/", "calendar", calendar.calendar, methods=READING, viewers_only=True),
            self.page("preview/<str:name>/", "preview", form.show_preview, for_scripts=True),
            self.page("<int:pk>/edit/", "edit", form.edit),
            *(self.page(f"<int:pk>/{verb.name}/", verb.key, ScheduleVerbView.view, verb) for verb in ALL_VERBS),
        ]
        return self.in_site(own + super().get_urls())

    @sensitive_variables()
    def add_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        with access.on_record(request):
            return form.add(self, request)

    @method_decorator(require_safe)
    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> Any:
        return detail.detail(self, request, object_id)

    def history_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> Any:
        """Redirect to the history on the page of the schedule, or answer 404 if the user may not see it."""
        if (pk := number(object_id)) is None or form.visible_schedule(request, pk) is None:
            return access.not_found(request)
        return HttpResponseRedirect(links.url(request, "qorworker_schedule_change", pk) + "#history")

    def delete_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> Any:
        """Delete the schedule after a question; a refusal is recorded, as that of any other verb."""
        with access.on_record(request):
            schedule = form.visible_schedule(request, pk) if (pk := number(object_id)) is not None else None
            if schedule is not None and (lacking := DELETE.lacking(request.user, schedule.job_type)):
                return access.deny(self, request, lacking, job_type=schedule.job_type, schedule=schedule)
            return super().delete_view(request, object_id, *args, **kwargs)

    # Rights on Django's own pages

    def has_module_permission(self, request: HttpRequest) -> bool:
        return permissions.can_view_any(request.user)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(form.manageable_types(request.user))

    def has_change_permission(self, request: HttpRequest, obj: Schedule | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Schedule | None = None) -> bool:
        if obj is None:
            return permissions.can_view_any(request.user)
        return permissions.Visibility(request.user).schedules.filter(pk=obj.pk).exists()

    def has_delete_permission(self, request: HttpRequest, obj: Schedule | None = None) -> bool:
        """Return whether the user may delete *obj*: never one that code declares; None stands for any."""
        if obj is None:
            return bool(request.user.has_perm(permissions.PERMISSIONS["manage_schedule"]))
        if not DELETE.offered(obj):
            return False
        return permissions.can(request.user, "manage_schedule", obj.job_type)

    # The list

    def get_queryset(self, request: HttpRequest) -> Any:
        return permissions.Visibility(request.user).schedules.next_first()

    def get_ordering(self, request: HttpRequest) -> Any:
        return ("place", "next_slot", "name")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return ScheduleChangeList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return False

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> dict[str, Any]:
        """Return the app's actions, if the user may manage schedules of any type.

        A POST without that right gets them, too, so that the refusal is recorded.
        """
        # Django 6.1 asks for the place of the actions; the list is the usual one, and the only one before.
        actions = super().get_actions(request, *([] if action_location is None else [action_location]))
        actions.pop("delete_selected", None)
        return actions if request.method == "POST" or form.manageable_types(request.user) else {}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        with access.on_record(request):
            return self._list(request, extra_context)

    def _list(self, request: HttpRequest, extra_context: dict[str, Any] | None) -> Any:
        may_see = permissions.may_see_calendars(request.user)
        calendars_url = links.url_if_there(request, "qorworker_calendar_changelist") if may_see else ""
        context = {"title": _("Schedules"), "calendars_url": calendars_url, **(extra_context or {})}
        return super().changelist_view(request, context)

    @admin.display(description=_("Name"))
    def shown_name(self, schedule: Schedule) -> str:
        """Show the title of *schedule*."""
        return qw_visible(schedule.title)

    @admin.display(description=pgettext_lazy("schedule", "State"))
    def state(self, schedule: Schedule) -> SafeString:
        """Show its state, such as active, paused or in need of attention."""
        return render_to_string("admin/qorworker/schedule/state.html", {"schedule": schedule})

    @admin.display(description=_("Job"))
    def job(self, schedule: Schedule) -> str:
        """Show the title of the job type, as a link to its jobs, or its name; mark schedules that code declares."""
        title = schedule.job_name
        if schedule.job_type is not None:
            title = str(schedule.job_type.title)
            if url := self._url("qorworker_job_changelist"):
                title = format_html('<a href="{}?{}">{}</a>', url, urlencode({"job": schedule.job_name}), title)
        if not (schedule.declared_in_code and schedule.enabled):
            return title
        return format_html('{}<span class="qw-line">{}</span>', title, gettext("From code"))

    @admin.display(description=pgettext_lazy("schedule", "When"))
    def when(self, schedule: Schedule) -> str:
        """Show the rule in words, or its expression if it is not valid."""
        try:
            return describe.describe(schedule.rule)
        except InvalidSchedule:
            return schedule.expression or "—"

    @admin.display(description=pgettext_lazy("schedule", "Next"))
    def next(self, schedule: Schedule) -> Any:
        """Show the next time in the current time zone, and how far it is from now."""
        if (time := schedule.next_run) is None:
            return NOTHING
        moment, zone = qw_moment(time), qw_other_zone(schedule.zone)
        content = format_html("{}<br>{}{}", qw_from_now(time), moment, zone)
        return named(pgettext("schedule", "Next"), content)

    @admin.display(description=pgettext_lazy("schedule", "Last"))
    def last(self, schedule: Any) -> Any:
        """Show the status of the newest run that the user may see, as a link to its job."""
        job = schedule.last_job
        if job is None:
            return NOTHING
        badge = render_to_string("admin/qorworker/badge.html", qw_badge(job))
        if not (url := self._job_url(job)):
            return named(pgettext("schedule", "Last"), format_html("{}<br>{}", badge, qw_moment(job.enqueued_at)))
        content = format_html('<a href="{}">{}</a><br>{}', url, badge, qw_moment(job.enqueued_at))
        return named(pgettext("schedule", "Last"), content)

    @admin.display(description=_("Last runs"))
    def runs(self, schedule: Any) -> SafeString | str:
        """Show the last runs as a strip of signs."""
        return strip_of(schedule.runs, self._job_url) or NOTHING

    def _job_url(self, job: Job) -> str:
        """Return the address of the page of *job*; empty if the site has no pages of jobs."""
        return self._url("qorworker_job_change", job.pk)

    def _url(self, name: str, *args: Any) -> str:
        """Return the address of a page; empty if the site does not have it."""
        try:
            return links.url_in(self.admin_site, name, *args)
        except NoReverseMatch:
            return ""

    # Deleting

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Name the schedules only: their records can be long, and their jobs stay."""
        schedules = list(objs)
        kept = [str(schedule) for schedule in schedules if not self.has_delete_permission(request, schedule)]
        names = [str(schedule) for schedule in schedules]
        return names, {Schedule._meta.verbose_name_plural: len(names)}, set(), kept

    def delete_model(self, request: HttpRequest, obj: Schedule) -> None:
        obj.remove(by=request.user, origin=Origin.ADMIN)

    def response_delete(self, request: HttpRequest, obj_display: str, obj_id: int) -> HttpResponse:
        super().response_delete(request, obj_display, obj_id)  # says what was deleted
        return HttpResponseRedirect(links.url(request, "qorworker_schedule_changelist"))

    @property
    def media(self) -> Any:
        return without_boxes(super().media) + SCHEDULES_MEDIA
