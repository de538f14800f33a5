"""The forms of the app itself: when a job starts, where it waits, and the name of saved arguments. Web.

The form of the arguments themselves comes from the job type.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from typing import Any, cast

from django import forms
from django.conf import settings as django_settings
from django.contrib.admin.widgets import (
    AdminIntegerFieldWidget,
    AdminRadioSelect,
    AdminSplitDateTime,
    AdminTextInputWidget,
)
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext_lazy

from qorworker.conf import settings
from qorworker.definitions.options import PRIORITIES, EnqueueOptions
from qorworker.text.moments import clock, date_and_clock

NOW, LATER, KEEP = "now", "later", "keep"


class LocalMomentField(forms.SplitDateTimeField):
    """A date and a time in the current time zone. It refuses a time that the zone skips or repeats, and says why."""

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
    shown = date_and_clock(naive)
    if after > before:
        raise ValidationError(
            _("%(time)s does not exist in %(zone)s: clocks are put forward. Choose %(earlier)s or %(later)s instead."),
            code="imaginary",
            params={
                "time": shown,
                "zone": timezone.get_current_timezone_name(),
                "earlier": clock(naive - (after - before)),
                "later": clock(naive + (after - before)),
            },
        )
    raise ValidationError(
        _("%(time)s happens twice in %(zone)s: clocks are put back. Choose a time before or after that hour."),
        code="ambiguous",
        params={"time": shown, "zone": timezone.get_current_timezone_name(), "naive": naive},
    )


def starts_at_once(when: dt.datetime) -> bool:
    """Return whether *when* is past, or so near that waiting for it makes no sense (``IMMEDIATE_WINDOW``)."""
    now = timezone.now()
    return when <= now or when < now + dt.timedelta(seconds=settings.IMMEDIATE_WINDOW)


def window_rule() -> str:
    """Describe what ``starts_at_once`` does, as a sentence for people."""
    seconds = round(settings.IMMEDIATE_WINDOW)
    if not seconds:
        return _("A time in the past starts at once.")
    if seconds % 60:
        window = ngettext("%d second", "%d seconds", seconds) % seconds
    else:
        window = ngettext("%d minute", "%d minutes", seconds // 60) % (seconds // 60)
    return str(_("A time in the past, or less than %s ahead, starts at once.") % window)


def zone_sentence() -> str:
    """Name the current time zone in a sentence for people."""
    return _("Time zone: %s.") % timezone.get_current_timezone_name()


class WhenForm(forms.Form):
    """The choice between a start now and a later time. Its fields carry a prefix that no argument can have."""

    when = forms.ChoiceField(
        label=pgettext_lazy("when a job starts", "Start"),
        choices=((NOW, gettext_lazy("Now")), (LATER, gettext_lazy("Later"))),
        initial=NOW,
        widget=AdminRadioSelect(attrs={"class": "radiolist inline"}),
    )
    at = LocalMomentField(label=gettext_lazy("Starts at"), required=False)

    without_time: Any = gettext_lazy("Choose a date and a time, or “Now”.")

    def __init__(self, data: Any = None, **options: Any) -> None:
        super().__init__(data, prefix="qw", **options)
        self.fields["at"].help_text = f"{zone_sentence()} {window_rule()}"

    def clean(self) -> dict[str, Any]:
        """Check the time only if the start is later; let the user choose if it happens twice."""
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("when") != LATER:
            self.errors.pop("at", None)  # input left in the hidden boxes does not count
            return cleaned
        for error in self.errors.as_data().get("at", ()):
            if error.code == "ambiguous":
                self._resolve_ambiguity(cast("dict[str, Any]", error.params), cleaned)
        if not cleaned.get("at") and not self.errors.keys() & {"at", "which"}:
            self.add_error("at", ValidationError(self.without_time, code="required"))
        return cleaned

    def _resolve_ambiguity(self, params: dict[str, Any], cleaned: dict[str, Any]) -> None:
        """Let a person choose between the two moments at which clocks show the time, or use their choice."""
        zone = timezone.get_current_timezone()
        moments = {str(fold): params["naive"].replace(tzinfo=zone, fold=fold) for fold in (0, 1)}
        choices = [(fold, f"{moment:%H:%M} {moment.tzname()} (UTC{moment:%z})") for fold, moment in moments.items()]
        self.fields["which"] = forms.ChoiceField(
            label=_("Which of the two"), choices=choices, widget=AdminRadioSelect(attrs={"class": "radiolist inline"})
        )
        chosen = self.data.get(self.add_prefix("which"))
        del self.errors["at"]
        if chosen in moments:
            cleaned["at"] = moments[chosen]
        else:
            text = _("%(time)s happens twice in %(zone)s: clocks are put back. Choose below which one is meant.")
            self.add_error("which", ValidationError(text, params=params))

    @property
    def moment(self) -> dt.datetime | None:
        """Return the chosen time, or None for now."""
        return self.cleaned_data["at"] if self.cleaned_data["when"] == LATER else None


class MoveForm(WhenForm):
    """The choice to keep the time of a job that has not started, described by *keeps*, or to set another one."""

    without_time = gettext_lazy("Choose a date and a time, or leave it as it is.")

    def __init__(self, data: Any = None, *, keeps: str = "", **options: Any) -> None:
        super().__init__(data, **options)
        when = cast(forms.ChoiceField, self.fields["when"])
        when.choices, when.initial = [(KEEP, keeps), (LATER, _("Another time"))], KEEP


class RescheduleForm(forms.Form):
    """The form for another time of a job that has not started."""

    at = LocalMomentField(label=gettext_lazy("Starts at"))

    def __init__(self, data: Any = None, *, is_paused: bool = False, **options: Any) -> None:
        super().__init__(data, prefix="qw", **options)
        rule = _("It does not start before it is resumed.") if is_paused else window_rule()
        self.fields["at"].help_text = f"{zone_sentence()} {rule}"


class ConfirmForm(forms.Form):
    """The explicit yes that a job type with ``confirm`` asks for, on the same page as its arguments.

    Not on a page of its own: uploads and secrets would have to be kept somewhere between the two. And a tick takes
    two deliberate acts, with or without script, where a second page falls to a double click.
    """

    confirmed = forms.BooleanField()

    def __init__(self, data: Any = None, title: Any = "", **options: Any) -> None:
        super().__init__(data, prefix="qw", **options)
        self.fields["confirmed"].label = _("Yes, run “%s”") % title
        self.fields["confirmed"].error_messages["required"] = _("Tick this to run it.")


class QueueForm(forms.Form):
    """Queue and priority of a job, for users who may choose them; an empty field means that of the type."""

    queue_name = forms.ChoiceField(label=gettext_lazy("Queue"), required=False)
    priority = forms.IntegerField(
        label=gettext_lazy("Priority"),
        required=False,
        min_value=PRIORITIES[0],
        max_value=PRIORITIES[1],
        widget=AdminIntegerFieldWidget,
        help_text=gettext_lazy("From −100 to 100; higher runs first."),  # noqa: RUF001 - typography
    )

    def __init__(self, job_type: Any, data: Any = None) -> None:
        initial = {"queue_name": job_type.queue_name, "priority": job_type.priority}
        super().__init__(data, prefix="qw", initial=initial)
        cast(forms.ChoiceField, self.fields["queue_name"]).choices = [(name, name) for name in settings.QUEUES]

    @property
    def chosen(self) -> EnqueueOptions:
        """Return the options that the user filled in, for ``JobType.using``."""
        given = {name: value for name, value in self.cleaned_data.items() if value not in (None, "")}
        return cast(EnqueueOptions, given)


class PresetForm(forms.Form):
    """The name for saved arguments, and whether others may use them; ``taken`` holds names in lower case."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=100, widget=AdminTextInputWidget)
    is_shared = forms.BooleanField(label=gettext_lazy("Share with everybody who may run this job"), required=False)
    replace = forms.BooleanField(label=gettext_lazy("Replace what I saved under this name"), required=False)

    def __init__(self, data: Any = None, *, taken: Collection[str] = (), may_share: bool = False) -> None:
        super().__init__(data, prefix="qw")
        self.taken = taken
        if not may_share:
            del self.fields["is_shared"]
        if data is None or data.get("qw-name", "").strip().casefold() not in taken:
            del self.fields["replace"]

    def clean(self) -> dict[str, Any]:
        """Refuse a name that is taken, unless the user replaces what was saved under it."""
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("name", "").casefold() in self.taken and not cleaned.get("replace"):
            self.add_error("name", _("You have saved arguments under this name. Choose another, or replace them."))
        return cleaned
