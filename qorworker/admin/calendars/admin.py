"""``CalendarAdmin``: Django's own pages for a model, with the days of a calendar in one field. Web."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, OuterRef, Subquery
from django.http import HttpRequest
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from qorworker.admin import access
from qorworker.admin.bases import CalendarAdminBase
from qorworker.admin.calendars.forms import CalendarForm, lines_of
from qorworker.admin.media import CALENDARS_MEDIA
from qorworker.admin.pages import Pages
from qorworker.models import Calendar, Schedule
from qorworker.schedules.holidays import Span

USERS = Schedule.objects.filter(calendar=OuterRef("name")).order_by().values("calendar").annotate(all=Count("pk"))


@admin.register(Calendar)
class CalendarAdmin(Pages, CalendarAdminBase):
    """The pages of calendars. Django's permissions to view, add, change and delete them decide."""

    form = CalendarForm
    change_list_template = "admin/qorworker/calendar/list.html"
    change_form_template = "admin/qorworker/calendar/form.html"
    fields = ("name", "title", "weekdays", "dates", "ics")
    list_display = ("shown_name", "name", "number", "used_by")
    search_fields = ("name", "title")
    actions = None

    def get_urls(self) -> list[URLPattern]:
        return self.in_site(super().get_urls())

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).annotate(number=Count("days"), users=Subquery(USERS.values("all")))

    def get_fields(self, request: HttpRequest, obj: Calendar | None = None) -> Any:
        """Return no field for a file where nothing can be saved."""
        return self.fields if self._may_save(request, obj) else self.fields[:-1]

    def _may_save(self, request: HttpRequest, obj: Calendar | None) -> bool:
        return self.has_add_permission(request) if obj is None else self.has_change_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: Calendar, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        obj.add_all(form.spans, replace=True)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        with access.on_record(request):
            return super().changelist_view(request, {"title": _("Calendars"), **(extra_context or {})})

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Keep calendars that schedules name: these would make no more jobs."""
        texts, counts, perms_needed, protected = super().get_deleted_objects(objs, request)
        used = [calendar for calendar in objs if _users_of(calendar)]
        kept = [f"{calendar}: {_sentence(_users_of(calendar))}" for calendar in used]
        return texts, counts, perms_needed, [*protected, *kept]

    # The list

    @admin.display(description=_("Calendar"), ordering="title")
    def shown_name(self, calendar: Calendar) -> str:
        """Show its title."""
        return str(calendar)

    @admin.display(description=_("Days off"))
    def number(self, calendar: Any) -> int:
        """Show how many days and ranges it has."""
        return int(calendar.number)

    @admin.display(description=_("Used by"))
    def used_by(self, calendar: Any) -> str:
        """Show how many schedules name it."""
        return _sentence(calendar.users or 0)

    @admin.display(description=_("Days off"))
    def dates(self, calendar: Calendar) -> str:
        """Show its days to users who may only view it."""
        rows = calendar.days.values_list("first", "last", "title")
        return format_html('<pre class="qw-dates">{}</pre>', lines_of([Span(*row) for row in rows]))

    @property
    def media(self) -> Any:
        return super().media + CALENDARS_MEDIA


def _users_of(calendar: Calendar) -> int:
    return Schedule.objects.filter(calendar=calendar.name).count()


def _sentence(number: int) -> str:
    return ngettext("%d schedule", "%d schedules", number) % number
