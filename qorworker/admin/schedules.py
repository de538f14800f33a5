"""``ScheduleAdmin``: the list of schedules, and which page answers which URL. Web."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext, pgettext_lazy
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from qorworker import permissions, words
from qorworker.admin import access, schedule_bulk, schedule_calendar, schedule_detail, schedule_form, schedule_verbs
from qorworker.admin.asked import number
from qorworker.admin.bases import ScheduleAdminBase
from qorworker.admin.columns import NOTHING, named
from qorworker.admin.many import NumberedActions
from qorworker.admin.media import SCHEDULE_MEDIA
from qorworker.admin.schedule_strip import add_runs, strip_of
from qorworker.exceptions import InvalidSchedule
from qorworker.models import Job, Origin
from qorworker.models.schedule import Schedule
from qorworker.templatetags.qorworker_admin import qw_badge, qw_from_now, qw_moment, qw_visible

View = Callable[..., HttpResponseBase]
TABS: dict[str, Any] = {
    "": pgettext_lazy("schedules", "All"),
    "active": pgettext_lazy("schedules", "Active"),
    "paused": pgettext_lazy("schedules", "Paused"),
    "attention": pgettext_lazy("schedules", "Need attention"),
}


def in_tab(schedules: Any, tab: str) -> Any:
    if tab == "active":
        return schedules.active()
    if tab == "paused":
        return schedules.paused()
    return schedules.in_need() if tab == "attention" else schedules


class ScheduleChangeList(ChangeList):
    def __init__(self, request: HttpRequest, *args: Any, **options: Any) -> None:
        asked = request.GET.get("tab", "")
        self.tab = asked if asked in TABS else ""
        super().__init__(request, *args, **options)

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        return {}  # the tab and the search are all there is; anything else in a URL means nothing here

    def get_queryset(self, request: HttpRequest, *args: Any, **options: Any) -> Any:
        return in_tab(super().get_queryset(request, *args, **options), self.tab)

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        every = self.root_queryset
        self.tabs = [
            {"name": name, "label": label, "count": in_tab(every, name).count(), "is_current": name == self.tab}
            for name, label in TABS.items()
        ]
        self.result_list = list(self.result_list)
        add_runs(self.result_list, permissions.visible_jobs(request.user, Job.objects.all()))


@admin.register(Schedule)
class ScheduleAdmin(NumberedActions, ScheduleAdminBase):
    change_list_template = "admin/qorworker/schedule/list.html"
    list_display = ("shown_name", "state", "job", "when", "next", "last", "runs")
    search_fields = ("name", "job_name")
    list_per_page = 50
    actions = tuple(schedule_bulk.ACTIONS)

    # URLs

    def get_urls(self) -> list[URLPattern]:
        own = [
            self._page("calendar/", "calendar", schedule_calendar.calendar),
            self._page("preview/<str:name>/", "preview", schedule_form.show_preview),
            self._page("<int:pk>/edit/", "edit", schedule_form.edit),
            *(
                self._page(f"<int:pk>/{name}/", name.replace("-", "_"), schedule_verbs.verb, name)
                for name in schedule_verbs.VERBS
            ),
        ]
        return own + super().get_urls()

    def _page(self, route: str, name: str, view: View, *given: Any) -> URLPattern:
        @sensitive_variables()
        def page(request: HttpRequest, **options: Any) -> HttpResponseBase:
            with access.on_record(request):
                return view(self, request, *given, **options)

        wrapped: View = self.admin_site.admin_view(sensitive_post_parameters()(update_wrapper(page, view)))
        if name == "preview":
            wrapped = access.for_scripts(self.admin_site, wrapped)
        return path(route, wrapped, name=f"qorworker_schedule_{name}")

    @sensitive_variables()
    def add_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        with access.on_record(request):
            return schedule_form.add(self, request)

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> Any:
        return schedule_detail.detail(self, request, object_id)

    def history_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> Any:
        if (pk := number(object_id)) is None or schedule_form.visible_schedule(request, pk) is None:
            return access.not_found(request)
        return HttpResponseRedirect(reverse("admin:qorworker_schedule_change", args=(pk,)) + "#history")

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        with access.on_record(request):
            return super().delete_view(request, *args, **kwargs)

    # Who may do what with Django's own pages

    def has_module_permission(self, request: HttpRequest) -> bool:
        return permissions.can_view_any(request.user)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(schedule_form.manageable_types(request.user))

    def has_change_permission(self, request: HttpRequest, obj: Schedule | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Schedule | None = None) -> bool:
        if obj is None:
            return permissions.can_view_any(request.user)
        return permissions.visible_schedules(request.user, Schedule.objects.all()).filter(pk=obj.pk).exists()

    def has_delete_permission(self, request: HttpRequest, obj: Schedule | None = None) -> bool:
        if obj is None:
            return bool(request.user.has_perm(permissions.PERMISSIONS["manage_schedule"]))
        if not schedule_verbs.DELETE.offered(obj):
            return False
        return permissions.can(request.user, "manage_schedule", obj.job_type)

    # The list

    def get_queryset(self, request: HttpRequest) -> Any:
        return permissions.visible_schedules(request.user, Schedule.objects.all()).next_first()

    def get_ordering(self, request: HttpRequest) -> Any:
        return ("place", "next_slot", "name")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return ScheduleChangeList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return False

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> dict[str, Any]:
        """Ours, for those who may manage the schedules of some type; who asks for more is refused, and written down."""
        # Django 6.1 asks for the place of the actions; the list is the usual one, and the only one before.
        actions = super().get_actions(request, *([] if action_location is None else [action_location]))
        actions.pop("delete_selected", None)
        return actions if request.method == "POST" or schedule_form.manageable_types(request.user) else {}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        with access.on_record(request):
            return self._list(request, extra_context)

    def _list(self, request: HttpRequest, extra_context: dict[str, Any] | None) -> Any:
        return super().changelist_view(request, {"title": _("Schedules"), **(extra_context or {})})

    @admin.display(description=_("Name"))
    def shown_name(self, schedule: Schedule) -> str:
        return qw_visible(schedule.title)

    @admin.display(description=pgettext_lazy("schedule", "State"))
    def state(self, schedule: Schedule) -> SafeString:
        return render_to_string("admin/qorworker/schedule/state.html", {"schedule": schedule})

    @admin.display(description=_("Job"))
    def job(self, schedule: Schedule) -> str:
        return str(schedule.job_type.title) if schedule.job_type is not None else schedule.job_name

    @admin.display(description=pgettext_lazy("schedule", "When"))
    def when(self, schedule: Schedule) -> str:
        try:
            return words.describe(schedule.rule)
        except InvalidSchedule:
            return schedule.expression or "—"

    @admin.display(description=pgettext_lazy("schedule", "Next"))
    def next(self, schedule: Schedule) -> Any:
        if schedule.next_slot is None:
            return NOTHING
        told = format_html("{}<br>{}", qw_from_now(schedule.next_slot), qw_moment(schedule.next_slot))
        return named(pgettext("schedule", "Next"), told)

    @admin.display(description=pgettext_lazy("schedule", "Last"))
    def last(self, schedule: Any) -> Any:
        job = schedule.last_job
        if job is None:
            return NOTHING
        badge = render_to_string("admin/qorworker/badge.html", qw_badge(job))
        url = reverse("admin:qorworker_job_change", args=(job.pk,))
        told = format_html('<a href="{}">{}</a><br>{}', url, badge, qw_moment(job.enqueued_at))
        return named(pgettext("schedule", "Last"), told)

    @admin.display(description=_("Last runs"))
    def runs(self, schedule: Any) -> SafeString | str:
        return strip_of(schedule.runs) or NOTHING

    # Deleting

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Without its record, which can be long; its jobs stay."""
        schedules = list(objs)
        kept = [str(schedule) for schedule in schedules if not self.has_delete_permission(request, schedule)]
        names = [str(schedule) for schedule in schedules]
        return names, {Schedule._meta.verbose_name_plural: len(names)}, set(), kept

    def delete_model(self, request: HttpRequest, obj: Schedule) -> None:
        obj.remove(by=request.user, origin=Origin.ADMIN)

    def response_delete(self, request: HttpRequest, obj_display: str, obj_id: int) -> HttpResponse:
        super().response_delete(request, obj_display, obj_id)  # says what was deleted
        return HttpResponseRedirect(reverse("admin:qorworker_schedule_changelist"))

    @property
    def media(self) -> Any:
        return super().media + SCHEDULE_MEDIA
