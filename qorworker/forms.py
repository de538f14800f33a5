"""The forms that are ours: when a job is to start. The form of a type's arguments comes from the type. Web."""

from __future__ import annotations

import datetime as dt
from typing import Any, cast

from django import forms
from django.conf import settings as django_settings
from django.contrib.admin.widgets import AdminRadioSelect, AdminSplitDateTime
from django.core.exceptions import ValidationError
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from qorworker.conf import settings

NOW, LATER = "now", "later"


class LocalMomentField(forms.SplitDateTimeField):
    """A date and a time in the current time zone; a time that the zone skips or repeats is refused, and why is said."""

    widget = AdminSplitDateTime

    def compress(self, values: Any) -> dt.datetime | None:
        if not values or values[0] in self.empty_values or values[1] in self.empty_values:
            return super().compress(values)
        if not django_settings.USE_TZ:
            return super().compress(values)
        refuse_unclear(dt.datetime.combine(*values), timezone.get_current_timezone())
        moment = cast(dt.datetime, super().compress(values))
        try:
            moment.astimezone(dt.UTC)  # as databases keep it
        except OverflowError:
            raise ValidationError(self.error_messages["invalid_date"], code="invalid_date") from None
        return moment


def refuse_unclear(naive: dt.datetime, zone: dt.tzinfo) -> None:
    """Raise ``ValidationError`` for a local time that does not exist, or exists twice, because clocks are changed."""
    first, second = naive.replace(tzinfo=zone, fold=0), naive.replace(tzinfo=zone, fold=1)
    before, after = first.utcoffset(), second.utcoffset()
    if before is None or after is None or before == after:
        return
    shown = formats.date_format(naive, "DATETIME_FORMAT")
    if after > before:
        raise ValidationError(
            _("%(time)s does not exist in %(zone)s: clocks are put forward. Choose %(earlier)s or %(later)s instead."),
            code="imaginary",
            params={
                "time": shown,
                "zone": timezone.get_current_timezone_name(),
                "earlier": formats.time_format(naive - (after - before), "TIME_FORMAT"),
                "later": formats.time_format(naive + (after - before), "TIME_FORMAT"),
            },
        )
    raise ValidationError(
        _("%(time)s happens twice in %(zone)s: clocks are put back. Choose a time before or after that hour."),
        code="ambiguous",
        params={"time": shown, "zone": timezone.get_current_timezone_name()},
    )


def starts_at_once(when: dt.datetime) -> bool:
    """Whether a chosen time is past, or so near that waiting for it makes no sense (``IMMEDIATE_WINDOW``)."""
    now = timezone.now()
    return when <= now or when < now + dt.timedelta(seconds=settings.IMMEDIATE_WINDOW)


def window_rule() -> str:
    """What ``starts_at_once`` does, as a sentence for people."""
    seconds = round(settings.IMMEDIATE_WINDOW)
    if not seconds:
        return _("A time in the past starts at once.")
    if seconds % 60:
        told = ngettext("%d second", "%d seconds", seconds) % seconds
    else:
        told = ngettext("%d minute", "%d minutes", seconds // 60) % (seconds // 60)
    return str(_("A time in the past, or less than %s ahead, starts at once.") % told)


def zone_sentence() -> str:
    return _("Time zone: %s.") % timezone.get_current_timezone_name()


class WhenForm(forms.Form):
    """Now, or later at a time. Its fields carry a prefix that no argument can have."""

    when = forms.ChoiceField(
        label=gettext_lazy("Start"),
        choices=((NOW, gettext_lazy("Now")), (LATER, gettext_lazy("Later, at the time below"))),
        initial=NOW,
        widget=AdminRadioSelect(attrs={"class": "radiolist inline"}),
    )
    at = LocalMomentField(label=gettext_lazy("Time"), required=False)

    def __init__(self, data: Any = None, **options: Any) -> None:
        super().__init__(data, prefix="qw", **options)
        self.fields["at"].help_text = f"{zone_sentence()} {window_rule()}"

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("when") == LATER and not cleaned.get("at") and "at" not in self.errors:
            self.add_error("at", ValidationError(_("Choose a date and a time, or “Now”."), code="required"))
        return cleaned

    @property
    def moment(self) -> dt.datetime | None:
        """The chosen time; None for now."""
        return self.cleaned_data["at"] if self.cleaned_data["when"] == LATER else None


class RescheduleForm(forms.Form):
    """Another time for a job that has not started."""

    at = LocalMomentField(label=gettext_lazy("Starts at"))

    def __init__(self, data: Any = None, **options: Any) -> None:
        super().__init__(data, prefix="qw", **options)
        self.fields["at"].help_text = f"{zone_sentence()} {window_rule()}"


class ConfirmForm(forms.Form):
    """The explicit yes that a job type with ``confirm`` asks for, on the same page as its arguments.

    Not on a page of its own: uploads and secrets would have to be kept somewhere between the two.
    """

    confirmed = forms.BooleanField(label=gettext_lazy("Yes, run it"))

    def __init__(self, data: Any = None, **options: Any) -> None:
        super().__init__(data, prefix="qw", **options)
