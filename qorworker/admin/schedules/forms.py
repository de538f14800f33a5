"""The times and rules of a schedule as a form; the form of the arguments comes from the job type. Web."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from functools import cache
from typing import Any, cast

from django import forms
from django.conf import settings as django_settings
from django.contrib.admin.widgets import (
    AdminIntegerFieldWidget,
    AdminRadioSelect,
    AdminSplitDateTime,
    AdminTextInputWidget,
    AdminTimeWidget,
)
from django.utils import dates
from django.utils.functional import lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from qorworker.exceptions import InvalidSchedule
from qorworker.models import Calendar, Schedule
from qorworker.models.clock import aware
from qorworker.models.schedule_times import Kind
from qorworker.schedules import describe
from qorworker.schedules.cron import Cron, exists, first_instant, plain, zone_called
from qorworker.schedules.holidays import OnHoliday
from qorworker.schedules.plan import LONGEST_JITTER, LONGEST_NAME, LONGEST_WAIT, Plan
from qorworker.schedules.timetable import CAPS, At, Every, Misfire, Overlap, Rule

UNITS = {"minutes": 60, "hours": 3600, "days": 86_400, "weeks": 604_800, "seconds": 1}
# The fields that each shape needs.
SHAPES = {
    "every": ("number", "unit"),
    "daily": ("time",),
    "weekly": ("days", "time"),
    "monthly": ("day", "time"),
    "cron": ("expression",),
    "once": ("at",),
}
LAST_DAY = "L"
SECTIONS: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (gettext_lazy("When"), ("name", "shape", "number", "unit", "days", "day", "time", "expression", "at", "zone")),
    (
        gettext_lazy("More: start, end, what if"),
        ("start", "end", "calendar", "on_holiday", "overlap", "misfire", "misfire_cap", "jitter", "expires"),
    ),
)


class WallMomentField(forms.SplitDateTimeField):
    """A date and a time as clocks show them in a zone that another field names."""

    widget = AdminSplitDateTime

    def compress(self, data_list: Any) -> dt.datetime | None:
        if not data_list:
            return None
        if any(part in self.empty_values for part in data_list):
            return super().compress(data_list)  # raises an error that names the missing part
        return dt.datetime.combine(*data_list)


@cache
def _zone_names() -> list[str]:
    names = {name for name in zoneinfo.available_timezones() if "/" in name or name == "UTC"}
    return sorted(names | {django_settings.TIME_ZONE})


def _zones() -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the project's own zone and UTC, to which the script adds that of the browser; then all zones by region."""
    regions: dict[str, list[tuple[str, str]]] = {}
    for name in _zone_names():
        if "/" in name:
            regions.setdefault(name.partition("/")[0], []).append((name, name))
    usual = dict.fromkeys([django_settings.TIME_ZONE, "UTC"])
    return [(_("Most likely"), [(name, name) for name in usual]), *regions.items()]


def _weekdays() -> list[tuple[str, str]]:
    return [(str(day), str(dates.WEEKDAYS[day - 1])) for day in range(1, 8)]


def _month_days() -> list[tuple[str, str]]:
    return [*((str(day), str(day)) for day in range(1, 32)), (LAST_DAY, _("the last"))]


def _calendars() -> list[tuple[str, str]]:
    return [("", _("None: it runs on all days")), *((each.name, str(each)) for each in Calendar.objects.all())]


class ScheduleForm(forms.Form):
    """The form for a ``Plan``. Its fields carry a prefix that no argument can have."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=LONGEST_NAME, widget=AdminTextInputWidget)
    shape = forms.ChoiceField(
        label=gettext_lazy("Runs"),
        choices=(
            ("every", gettext_lazy("At an interval")),
            ("daily", gettext_lazy("Daily")),
            ("weekly", gettext_lazy("Weekly")),
            ("monthly", gettext_lazy("Monthly")),
            ("cron", gettext_lazy("By a cron expression")),
            ("once", pgettext_lazy("schedule", "Once")),
        ),
        initial="daily",
        widget=AdminRadioSelect(attrs={"class": "radiolist inline"}),
    )
    number = forms.IntegerField(
        label=gettext_lazy("Every"), min_value=1, max_value=100_000, initial=15, required=False,
        widget=AdminIntegerFieldWidget,
    )  # fmt: skip
    unit = forms.ChoiceField(
        label=gettext_lazy("Unit"),
        choices=(
            ("minutes", gettext_lazy("minutes")),
            ("hours", gettext_lazy("hours")),
            ("days", gettext_lazy("days")),
            ("weeks", gettext_lazy("weeks")),
            ("seconds", gettext_lazy("seconds")),
        ),
        required=False,
        help_text=gettext_lazy("In elapsed time, whatever clocks show."),
    )
    days = forms.MultipleChoiceField(
        label=gettext_lazy("On"), choices=lazy(_weekdays, list)(), initial=["1", "2", "3", "4", "5"], required=False,
        widget=forms.CheckboxSelectMultiple(attrs={"class": "radiolist inline"}),
    )  # fmt: skip
    day = forms.ChoiceField(
        label=gettext_lazy("Day of the month"), choices=lazy(_month_days, list)(), required=False,
        help_text=gettext_lazy("A month without this day is left out."),
    )  # fmt: skip
    time = forms.TimeField(label=gettext_lazy("At"), widget=AdminTimeWidget, initial=dt.time(6), required=False)
    expression = forms.CharField(
        label=gettext_lazy("Cron expression"), max_length=200, required=False, widget=AdminTextInputWidget,
        help_text=gettext_lazy("Minute, hour, day of the month, month, day of the week: “30 6 * * 1-5”."),
    )  # fmt: skip
    at = WallMomentField(label=gettext_lazy("Date and time"), required=False)
    zone = forms.ChoiceField(
        label=gettext_lazy("Time zone"),
        choices=lazy(_zones, list)(),
        help_text=gettext_lazy("All times of this schedule are in this zone."),
    )
    start = WallMomentField(label=gettext_lazy("Not before"), required=False)
    end = WallMomentField(label=gettext_lazy("Not from this time on"), required=False)
    calendar = forms.ChoiceField(
        label=gettext_lazy("Calendar"), choices=lazy(_calendars, list)(), required=False,
        help_text=gettext_lazy("Of days off."),
    )  # fmt: skip
    on_holiday = forms.ChoiceField(
        label=gettext_lazy("On a day off"), choices=OnHoliday.choices, initial=OnHoliday.SKIP.value, required=False
    )
    overlap = forms.ChoiceField(
        label=gettext_lazy("If still running"), choices=Overlap.choices, initial=Overlap.SKIP.value
    )
    misfire = forms.ChoiceField(
        label=gettext_lazy("If missed"), choices=Misfire.choices, initial=Misfire.LATEST.value,
        help_text=gettext_lazy("While no worker ran."),
    )  # fmt: skip
    misfire_cap = forms.IntegerField(
        label=gettext_lazy("Of all, at most"), min_value=CAPS[0], max_value=CAPS[1], initial=10, required=False,
        widget=AdminIntegerFieldWidget,
    )  # fmt: skip
    jitter = forms.IntegerField(
        label=gettext_lazy("Spread"), min_value=0, max_value=LONGEST_JITTER, initial=0, required=False,
        widget=AdminIntegerFieldWidget,
        help_text=gettext_lazy("Seconds by which a run may start later, so that not all start at once."),
    )  # fmt: skip

    expires = forms.FloatField(
        label=gettext_lazy("Must start within"), min_value=0, max_value=LONGEST_WAIT / 60, required=False,
        widget=AdminIntegerFieldWidget(attrs={"step": "any"}),
        help_text=gettext_lazy(
            "Minutes; if it has not started by then, it is cancelled. Empty: it waits indefinitely."
        ),
    )  # fmt: skip

    plan: Plan  # if it is valid

    def __init__(self, data: Any = None, *, schedule: Schedule | None = None, name: str = "", zone: str = "") -> None:
        initial = initial_of(schedule) if schedule is not None else {"zone": zone}
        if name:
            initial["name"] = name
        super().__init__(data, prefix="qw", initial=initial)
        calendars = cast(forms.ChoiceField, self.fields["calendar"])
        if (gone := initial.get("calendar", "")) not in dict(cast(Any, calendars.choices)):
            calendars.choices = [*_calendars(), (gone, _("%s, which does not exist") % gone)]
        zones = cast(forms.ChoiceField, self.fields["zone"])
        if initial["zone"] not in _zone_names():
            zones.choices = [(initial["zone"], initial["zone"]), *_zones()]

    def clean_calendar(self) -> str:
        """Refuse a calendar that no longer exists."""
        name: str = self.cleaned_data["calendar"]
        if name and not Calendar.objects.filter(name=name).exists():
            raise forms.ValidationError(_("The calendar “%(name)s” does not exist.") % {"name": name})
        return name

    def clean(self) -> dict[str, Any]:
        """Check only the fields that the chosen shape needs, and set ``plan`` if they are valid."""
        cleaned: dict[str, Any] = super().clean() or {}
        shape = cleaned.get("shape")
        if shape is None:
            return cleaned
        missing = [name for name in SHAPES[shape] if not cleaned.get(name) and name not in self.errors]
        for name in missing:
            self.add_error(name, forms.ValidationError(_("Fill this in."), code="required"))
        for name in set(sum(SHAPES.values(), ())) - set(SHAPES[shape]):
            self.errors.pop(name, None)  # hidden fields cannot be wrong
        if not missing and not self.errors:
            self._take(cleaned, shape)
        return cleaned

    def _take(self, cleaned: dict[str, Any], shape: str) -> None:
        place = shape if shape in ("cron", "once") else ""
        field = {"cron": "expression", "once": "at"}.get(place, "shape")
        try:
            when = self._rule(cleaned, shape)
            field = "on_holiday"
            when = _minding(when, cleaned["calendar"], cleaned["on_holiday"] or OnHoliday.SKIP)
            field = "start"
            start = self._moment(cleaned.get("start"))
            field = "end"
            self.plan = Plan(
                when,
                name=cleaned["name"],
                start=start,
                end=self._moment(cleaned.get("end")),
                misfire=cleaned["misfire"],
                misfire_cap=cleaned.get("misfire_cap") or 10,
                overlap=cleaned["overlap"],
                jitter=cleaned.get("jitter") or 0,
                expires=max(1, round(60 * cleaned["expires"])) if cleaned.get("expires") else 0,
            )
        except InvalidSchedule as error:
            self.add_error(field, str(error))

    def _rule(self, cleaned: dict[str, Any], shape: str) -> Rule:
        zone = cleaned["zone"]
        if shape == "every":
            return Every(seconds=cleaned["number"] * UNITS[cleaned["unit"]])
        if shape == "once":
            return At(cleaned["at"], zone)
        if shape == "cron":
            return Cron(" ".join(cleaned["expression"].split()), zone)
        days = {"weekly": f"* * {','.join(cleaned['days'])}", "monthly": f"{cleaned['day']} * *"}.get(shape, "* * *")
        time = cleaned["time"]
        return Cron(f"{time.minute} {time.hour} {days}", zone)

    def _moment(self, wall: dt.datetime | None) -> dt.datetime | None:
        return first_instant(wall, zone_called(self.cleaned_data["zone"])) if wall is not None else None


def _minding(when: Rule, calendar: str, on_holiday: str) -> Rule:
    """Return the same rule with the choices about days off."""
    if not calendar and on_holiday != OnHoliday.SKIP:
        raise InvalidSchedule(_("Choose a calendar for this."))
    if not calendar:
        return when
    if isinstance(when, Cron):
        return Cron(when.expression, when.zone, calendar=calendar, on_holiday=on_holiday)
    if isinstance(when, Every):
        return Every(seconds=when.interval.total_seconds(), calendar=calendar, on_holiday=on_holiday)
    raise InvalidSchedule(_("What runs once follows no calendar."))


def initial_of(schedule: Schedule) -> dict[str, Any]:
    """Return the initial values of the form for *schedule*."""
    try:
        zone = zone_called(schedule.zone)
    except InvalidSchedule:
        zone = zone_called("")

    def wall(moment: dt.datetime | None) -> dt.datetime | None:
        return aware(moment).astimezone(zone).replace(tzinfo=None) if moment is not None else None

    initial: dict[str, Any] = {
        name: getattr(schedule, name)
        for name in ("name", "zone", "overlap", "misfire", "misfire_cap", "jitter", "calendar", "on_holiday")
    }
    initial["expires"] = schedule.expires / 60 if schedule.expires else None
    initial |= {"start": wall(schedule.starts_at), "end": wall(schedule.ends_at)}
    if schedule.kind == Kind.ONCE:
        return initial | {"shape": "once", "at": wall(schedule.at)}
    if schedule.kind == Kind.EVERY and schedule.interval is not None:
        seconds = int(schedule.interval.total_seconds())
        unit = max((name for name, size in UNITS.items() if not seconds % size), key=lambda name: UNITS[name])
        return initial | {"shape": "every", "number": seconds // UNITS[unit], "unit": unit}
    return initial | _shape_of(schedule.expression)


def _shape_of(expression: str) -> dict[str, Any]:
    """Return the fields for *expression*: those of a daily, weekly or monthly time if it has that shape."""
    parts = describe.TIME.fullmatch(plain(" ".join(expression.split())))
    cron = {"shape": "cron", "expression": expression}
    if parts is None or int(parts[1]) > 59 or int(parts[2]) > 23:
        return cron
    time, rest = dt.time(int(parts[2]), int(parts[1])), parts[3]
    if rest == "* * *":
        return {"shape": "daily", "time": time}
    if days := describe.weekdays(rest):
        return {"shape": "weekly", "time": time, "days": list(map(str, days))}
    if (month := describe.MONTHLY.fullmatch(rest)) and (month[1].upper() == LAST_DAY or 1 <= int(month[1]) <= 31):
        return {"shape": "monthly", "time": time, "day": str(month[1]).upper().lstrip("0")}
    return cron


class PauseForm(forms.Form):
    """The reason for a pause, and its end."""

    reason = forms.CharField(label=gettext_lazy("Reason (optional)"), max_length=200, required=False)
    until = WallMomentField(label=gettext_lazy("Until (optional)"), required=False)

    def __init__(self, data: Any = None, *, zone: str = "") -> None:
        super().__init__(data, prefix="qw")
        self.zone = zone
        self.fields["until"].help_text = _("Time zone: %s.") % zone

    def clean_until(self) -> dt.datetime | None:
        """Return the end of the pause as an aware time, or None.

        Raises ``ValidationError`` for a time that the zone leaves out.==
        """
        until = self.cleaned_data["until"]
        if until is None:
            return None
        zone = zone_called(self.zone)
        if not exists(until, zone):
            then = first_instant(until, zone)
            raise forms.ValidationError(_("Clocks leave this time out. Choose %(then)s.") % {"then": f"{then:%H:%M}"})
        return first_instant(until, zone)
