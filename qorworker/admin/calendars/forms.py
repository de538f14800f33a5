"""The form of a calendar: its days as lines of text, and a file with more of them. Web."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget
from django.utils import dates
from django.utils.functional import lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from qorworker.exceptions import InvalidCalendar
from qorworker.models import Calendar
from qorworker.models.calendar import MOST_DAYS, TITLE_CHARS, problem_of
from qorworker.schedules import ics
from qorworker.schedules.holidays import Span

LINE = re.compile(r"(\d{4}-\d\d-\d\d)(?:\s*(?:\.\.|–|-)\s*(\d{4}-\d\d-\d\d))?(?:\s+(.*))?")  # noqa: RUF001 - people type it


def _weekdays() -> list[tuple[str, str]]:
    return [(str(day), str(dates.WEEKDAYS[day - 1])) for day in range(1, 8)]


def lines_of(spans: list[Span]) -> str:
    """Return *spans* as the lines that ``spans_in`` reads."""
    return "\n".join(
        f"{first}{'' if first == last else f'..{last}'}{f' {name}' if name else ''}" for first, last, name in spans
    )


def spans_in(text: str) -> list[Span]:
    """Return the days that are named in *text*, one or a range in each line.

    Raises ``ValidationError``, which names the line.
    """
    spans = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            spans.append(_span(line.strip()))
        except ValueError as error:
            raise forms.ValidationError(
                _("Line %(number)d: %(why)s") % {"number": number, "why": error}, code="line"
            ) from None
    if len(spans) > MOST_DAYS:
        raise forms.ValidationError(_("A calendar has at most %d dates and ranges.") % MOST_DAYS)
    return spans


def _span(line: str) -> Span:
    match = LINE.fullmatch(line)
    try:
        if match is None:
            raise ValueError
        first = dt.date.fromisoformat(match[1])
        last = dt.date.fromisoformat(match[2]) if match[2] else first
    except ValueError:
        raise ValueError(_("“%s” does not begin with a date such as 2026-12-25.") % line[:40]) from None
    if problem := problem_of(first, last):
        raise ValueError(problem)
    name = match[3] or ""
    if len(name) > TITLE_CHARS or not name.isprintable():
        raise ValueError(_("The name is too long, or has characters that are not printable."))
    return Span(first, last, name)


class CalendarForm(forms.ModelForm):  # type: ignore[type-arg]  # at run time it takes no parameter
    """A calendar with its days. ``spans`` are all of them, if it is valid."""

    weekdays = forms.MultipleChoiceField(
        label=gettext_lazy("Weekdays off"), choices=lazy(_weekdays, list)(), required=False,
        widget=forms.CheckboxSelectMultiple(attrs={"class": "radiolist inline"}),
        help_text=gettext_lazy("Days off of each week."),
    )  # fmt: skip
    dates = forms.CharField(
        label=gettext_lazy("Days off"), required=False, widget=AdminTextareaWidget(attrs={"rows": 14}),
        help_text=gettext_lazy(
            "One day or range in each line, and its name: “2026-12-25 Christmas”,"
            " “2026-12-27..2026-12-31 Works holidays”."
        ),
    )  # fmt: skip
    ics = forms.FileField(
        label=gettext_lazy("Add from a file"), required=False,
        widget=forms.ClearableFileInput(attrs={"accept": ".ics,text/calendar"}),
        help_text=gettext_lazy(
            "An iCalendar file (.ics). Its events are added to the days above; those that repeat each year, for the"
            " next ten years."
        ),
    )  # fmt: skip

    class Meta:
        model = Calendar
        fields = ("name", "title", "weekdays")

    spans: list[Span]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.spans = []
        self.initial["weekdays"] = list(self.instance.weekdays)
        if self.instance.pk:
            rows = self.instance.days.values_list("first", "last", "title")
            self.initial["dates"] = lines_of([Span(*row) for row in rows])

    def clean_weekdays(self) -> str:
        """Return the chosen days as the table has them."""
        return "".join(self.cleaned_data["weekdays"])

    def clean_dates(self) -> str:
        """Read the lines."""
        self.spans += spans_in(self.cleaned_data["dates"])
        return str(self.cleaned_data["dates"])

    def clean_ics(self) -> Any:
        """Read the events of the file."""
        file = self.cleaned_data["ics"]
        if file is None:
            return None
        if file.size > ics.LARGEST:
            raise forms.ValidationError(_("The file is larger than %d kB.") % (ics.LARGEST // 1000))
        try:
            text = file.read().decode()
        except UnicodeDecodeError:
            raise forms.ValidationError(_("This is not an iCalendar file: its text is not in UTF-8.")) from None
        try:
            known = set(self.spans)
            self.spans += [span for span in ics.read(text, dt.datetime.now(dt.UTC).year) if span not in known]
        except InvalidCalendar as error:
            raise forms.ValidationError(str(error)) from None
        return file

    def clean(self) -> dict[str, Any]:
        """Refuse more days than a calendar may have."""
        cleaned: dict[str, Any] = super().clean() or {}
        if len(set(self.spans)) > MOST_DAYS:
            self.add_error("ics", _("A calendar has at most %d dates and ranges.") % MOST_DAYS)
        return cleaned
