"""Calendars of days off, by which schedules leave out or move their slots. All processes."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils import dates
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from qorworker.exceptions import InvalidCalendar
from qorworker.models.alters import alters_data
from qorworker.models.own import OwnQuerySet, write_database
from qorworker.schedules import ics
from qorworker.schedules.holidays import LONGEST_NAME, Holidays, Span

MOST_DAYS = 2000  # rows of one calendar, which a worker reads each time that one of its schedules fires
LONGEST_SPAN = 366  # days
TITLE_CHARS = 100
MOST_NAMED = 5  # schedules in one sentence


class CalendarQuerySet(OwnQuerySet["Calendar"]):
    def holidays(self, names: Iterable[str]) -> dict[str, Holidays]:
        """Return the days off of the calendars with these names, by name. Those that do not exist are missing."""
        calendars = {calendar.pk: calendar for calendar in self.filter(name__in=set(names))}
        spans: dict[int, list[Span]] = defaultdict(list)
        rows = Holiday.objects.using(self.db).filter(calendar__in=calendars)
        for pk, first, last, title in rows.values_list("calendar_id", "first", "last", "title"):
            spans[pk].append(Span(first, last, title))
        return {each.name: Holidays(each.title or each.name, spans[pk], each.off) for pk, each in calendars.items()}


class Calendar(models.Model):
    """Days on which schedules that name it run nothing, or run on the working day before or after."""

    name = models.SlugField(
        _("name"), max_length=LONGEST_NAME, unique=True, help_text=_("Schedules in code name it: calendar=“…”.")
    )
    title = models.CharField(
        _("title"), max_length=TITLE_CHARS, blank=True, help_text=_("The name of its days that have none of their own.")
    )
    weekdays = models.CharField(
        _("weekdays off"),
        max_length=7,
        blank=True,
        help_text=_("Days of each week, from 1 for Monday to 7 for Sunday: “67”."),
    )

    objects = CalendarQuerySet.as_manager()

    class Meta:
        verbose_name = _("calendar")
        verbose_name_plural = _("calendars")
        ordering = ("name",)

    def __str__(self) -> str:
        return self.title or self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save it. Schedules that use it follow, also to another name.

        :raises qorworker.exceptions.InvalidCalendar: if its name changes and schedules in code have the old one.
        """
        using = kwargs.get("using") or write_database(self)
        stored = type(self).objects.using(using).filter(pk=self.pk).values_list("name", flat=True)
        with transaction.atomic(using=using):
            before = None if self._state.adding else stored.select_for_update().first()
            super().save(*args, **kwargs)
            is_renamed = before is not None and stored.first() != before
            if is_renamed:
                self._rename(str(before), using)
            self._follow(is_new=before is None or is_renamed)

    def _rename(self, before: str, using: str) -> None:
        if problem := self._problem_of_renaming(before, using):
            raise InvalidCalendar(problem)
        _schedules(using).filter(calendar=before).update(calendar=self.name)

    def _problem_of_renaming(self, before: str, using: str) -> str:
        declared = _schedules(using).filter(calendar=before).declared().exclude(declaration="")
        names = ", ".join(declared.values_list("name", flat=True)[:MOST_NAMED])
        return str(_("Schedules in code name this calendar: %s. Its name cannot change.")) % names if names else ""

    def clean(self) -> None:
        using = write_database(self)
        before = type(self).objects.using(using).filter(pk=self.pk).values_list("name", flat=True).first()
        if before not in (None, self.name) and (problem := self._problem_of_renaming(str(before), using)):
            raise ValidationError({"name": problem})
        if set(self.weekdays) - set("1234567"):
            raise ValidationError({"weekdays": _("Name weekdays by the digits from 1 to 7.")})
        if len(self.off) == 7:
            raise ValidationError({"weekdays": _("One day of the week has to be a working day.")})

    @property
    def off(self) -> list[int]:
        """The days off of each week, from 1 for Monday to 7 for Sunday."""
        return sorted({int(digit) for digit in self.weekdays})

    @property
    def weekday_names(self) -> list[str]:
        """The names of the days off of each week."""
        return [str(dates.WEEKDAYS[day - 1]) for day in self.off]

    @alters_data
    def add(self, first: dt.date, last: dt.date | None = None, title: str = "") -> bool:
        """Add a day off, or all days from *first* to *last*. Schedules that use this calendar follow.

        :param first: the first day.
        :param last: the last day; None: *first* alone.
        :param title: the name of the day, for people.
        :returns: False if the calendar had exactly this before.
        :raises qorworker.exceptions.InvalidCalendar: for days that cannot be, or if the calendar is full.
        """
        return bool(self.add_all([Span(first, last or first, title)]))

    @alters_data
    def add_all(self, spans: Sequence[Span], *, replace: bool = False) -> int:
        """Add days off, or only those.

        :param spans: the days; ranges may overlap.
        :param replace: whether the days that the calendar has now are deleted.
        :returns: how many of them the calendar did not have before.
        :raises qorworker.exceptions.InvalidCalendar: for days that cannot be, or if the calendar is full.
        """
        for span in spans:
            if problem := problem_of(span.first, span.last):
                raise InvalidCalendar(problem)
        using = write_database(self)
        with transaction.atomic(using=using):
            type(self).objects.using(using).select_for_update().get(pk=self.pk)  # two imports come one after the other
            rows = Holiday.objects.using(using).filter(calendar=self)
            known = {Span(*row) for row in rows.values_list("first", "last", "title")}
            wanted = list(dict.fromkeys(span._replace(name=span.name[:TITLE_CHARS]) for span in spans))
            if len(wanted if replace else known.union(wanted)) > MOST_DAYS:
                raise InvalidCalendar(
                    ngettext(
                        "A calendar has at most %d date or range.",
                        "A calendar has at most %d dates and ranges.",
                        MOST_DAYS,
                    )
                    % MOST_DAYS
                )
            if replace:
                rows.delete()
            new = [span for span in wanted if replace or span not in known]
            Holiday.objects.using(using).bulk_create(
                [Holiday(calendar=self, first=span.first, last=span.last, title=span.name) for span in new]
            )
            self.follow()
        return len([span for span in wanted if span not in known])

    @alters_data
    def import_ics(self, text: str, *, replace: bool = False) -> int:
        """Add the events of an iCalendar file. One that repeats each year is added for the next ten years.

        :param text: the content of the file.
        :param replace: whether the days that the calendar has now are deleted.
        :returns: how many dates and ranges the calendar did not have before.
        :raises qorworker.exceptions.InvalidCalendar: if it cannot be read; the text names the line.

        Example::

            calendar.import_ics(Path("holidays.ics").read_text())
        """
        return self.add_all(ics.read(text, dt.datetime.now(dt.UTC).year), replace=replace)

    @alters_data
    def follow(self) -> None:
        """Let the schedules that use this calendar wait for their next slots by its days as they are now.

        ``add``, ``add_all``, ``import_ics`` and the admin do so themselves; call it after you have changed rows.
        """
        self._follow(is_new=False)

    def _follow(self, is_new: bool) -> None:
        _schedules(write_database(self)).follow_calendar(self.name, is_new)


def _schedules(using: str) -> Any:
    model: Any = apps.get_model("qorworker", "Schedule")  # whose module imports this one
    return model.objects.using(using)


class HolidayQuerySet(OwnQuerySet["Holiday"]):
    """The days off of all calendars."""


class Holiday(models.Model):
    """A day off, or several in a row."""

    calendar = models.ForeignKey(Calendar, models.CASCADE, related_name="days", verbose_name=_("calendar"))
    first = models.DateField(_("first day"))
    last = models.DateField(_("last day"), blank=True, help_text=_("Empty: the first day alone."))
    title = models.CharField(_("name"), max_length=TITLE_CHARS, blank=True)

    objects = HolidayQuerySet.as_manager()

    class Meta:
        verbose_name = _("holiday")
        verbose_name_plural = _("holidays")
        default_permissions = ()
        ordering = ("first", "id")

    def __str__(self) -> str:
        return self.title or str(self.first)

    def clean(self) -> None:
        if self.last is None:
            self.last = self.first
        if self.first and (problem := problem_of(self.first, self.last)):
            raise ValidationError({"last": problem})


def problem_of(first: dt.date, last: dt.date) -> str:
    """Return why days off cannot be from *first* to *last*; empty if they can."""
    if isinstance(first, dt.datetime) or not isinstance(first, dt.date) or not isinstance(last, dt.date):
        return str(_("Days are dates, without a time."))
    if last < first:
        return str(_("The last day is before the first one."))
    if (last - first).days >= LONGEST_SPAN:
        return ngettext("A range has at most %d day.", "A range has at most %d days.", LONGEST_SPAN) % LONGEST_SPAN
    return ""
