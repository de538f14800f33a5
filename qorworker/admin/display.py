"""How statuses, times and durations look on the pages of the admin. Web."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import django
from django import template
from django.forms import BoundField, MultiWidget, RadioSelect
from django.utils import formats, timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import get_language_bidi, gettext_lazy, ngettext, pgettext_lazy
from django.utils.translation import gettext as _

from qorworker.models import Job
from qorworker.queries import counting
from qorworker.status import JobStatus
from qorworker.text.cleaning import isolated, visible, visible_lines
from qorworker.text.moments import clock

register = template.Library()

# The icon of each look, drawn with a line in a square of 16.
CIRCLE = "M8 1.5a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13"
ICONS: dict[str, str] = {
    JobStatus.NEW: f"{CIRCLE}M8 4.5V8l2.5 1.5",
    JobStatus.SCHEDULED: "M2 3.5h12V14H2zM2 7h12M5.5 1.5v3M10.5 1.5v3",
    JobStatus.RUNNING: "M4.5 2.5v11l9-5.5z",
    JobStatus.DONE: "M2.5 8.5 6 12l7.5-8",
    JobStatus.EXCEPTION: "m3.5 3.5 9 9M12.5 3.5l-9 9",
    JobStatus.KILLED: "M3.5 3.5h9v9h-9z",
    JobStatus.CANCELLED: f"{CIRCLE}M3.5 12.5l9-9",
    "row_errors": "M2.5 4h11M2.5 8h5M2.5 12h5M10 8.5l4 4M14 8.5l-4 4",
    "retrying": "M13.5 8a5.5 5.5 0 1 1-1.6-3.9M13.5 1.5V5H10",
    "aborting": "M3.5 3.5h9v9h-9z",
    "paused": "M5.5 3v10M10.5 3v10",
    "pausing": "M5.5 3v10M10.5 3v10",
    "asking": "M5 6a3 3 0 1 1 4.5 2.6C8.4 9.2 8 9.7 8 10.8M8 13.2v.6",
    "awaiting": f"{CIRCLE}M5 8.2 7.2 10.5 11 5.8",
    "silent": "M8 2l6.5 12h-13zM8 6.5V10M8 12v.5",
}
LABELS: dict[str, Any] = {
    "row_errors": gettext_lazy("Done with row errors"),
    "retrying": gettext_lazy("Will retry"),
    "aborting": gettext_lazy("Aborting"),
    "paused": pgettext_lazy("job status", "Paused"),
    "pausing": pgettext_lazy("job status", "Pausing"),
    "asking": gettext_lazy("Waiting for an answer"),
    "awaiting": gettext_lazy("Waiting for approval"),
    "silent": gettext_lazy("Not responding"),
}


@register.filter("qw_look")
def look_of(job: Job) -> str:
    """Return the status as people see it: the stored one, or one that follows from more than the status."""
    if job.is_paused:
        return "paused"
    if job.is_asking:
        return "asking"
    if job.awaits_approval:
        return "awaiting"
    if job.will_retry:
        return "retrying"
    if job.is_aborting:
        return "aborting"
    if job.not_responding:
        return "silent"
    if job.is_pausing:
        return "pausing"
    if job.is_done_with_row_errors:
        return "row_errors"
    return job.status


def label_of(job: Job) -> str:
    """Return the name of the status that ``look_of`` returns."""
    return str(LABELS.get(look_of(job)) or job.get_status_display())


@register.inclusion_tag("admin/qorworker/badge.html")
def qw_badge(job: Job) -> dict[str, Any]:
    """Return what the template of a badge needs for the status of *job*."""
    look = look_of(job)
    return {"look": look, "icon": ICONS[look], "label": label_of(job)}


@register.inclusion_tag("admin/qorworker/icon.html")
def qw_icon(look: str) -> dict[str, str]:
    """Show the icon of a look as inline SVG."""
    return {"icon": ICONS[look]}


@register.filter
def qw_level(level: int) -> str:
    """Return the name of the highest level of ``logging`` that is not above *level*."""
    names = {50: "critical", 40: "error", 30: "warning", 20: "info"}
    return next((name for limit, name in names.items() if level >= limit), "debug")


@register.filter
def qw_visible(text: str) -> str:
    """Isolate a name or another foreign value, so that it is safe in a sentence of the page's language."""
    return isolated(visible(text), get_language_bidi())


qw_lines = register.filter("qw_lines")(visible_lines)


@register.filter
def qw_cell(value: Any) -> Any:
    """Show the value of a results cell: an address of the web as a link, other text as text, a number as it is."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return _("Yes") if value else _("No")
    if not isinstance(value, str):
        return value
    shown = visible_lines(value)
    if shown == value and re.fullmatch(r"https?://[^\s<>\"]+", value):
        return format_html('<a href="{}" rel="noopener noreferrer">{}</a>', value, value)
    return shown


@register.filter
def qw_duration(value: dt.timedelta | None) -> str:
    """Show a duration in the two largest units that matter, such as "1 min 20 s"; empty for None."""
    if value is None:
        return ""
    seconds = max(value.total_seconds(), 0)
    if seconds < 1:
        return _("%d ms") % round(seconds * 1000)
    if seconds < 10:
        tenths = round(seconds, 1)
        return _("%s s") % formats.number_format(tenths, 0 if tenths.is_integer() else 1)
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    units = ((_("%d d"), days), (_("%d h"), hours), (_("%d min"), minutes), (_("%d s"), rest))
    first = next(index for index, (_unit, number) in enumerate(units) if number)
    return " ".join(unit % number for unit, number in units[first : first + 2] if number)


@register.filter
def qw_moment(value: dt.datetime | None, seconds: str = "") -> SafeString | str:
    """Show a point in time: of today only the clock, else also the date; the tooltip has all of it, with its zone.

    It is in the current time zone. Where another zone is named beside it, ``qw_other_zone`` follows.
    """
    if value is None:
        return "—"
    local = timezone.localtime(value) if timezone.is_aware(value) else value
    today = (timezone.localtime() if timezone.is_aware(value) else timezone.now()).date()
    time = local.strftime("%H:%M:%S" if seconds else "%H:%M")
    if local.date() == today:
        shown = _("today %s") % time
    elif local.date() == today + dt.timedelta(days=1):
        shown = _("tomorrow %s") % time
    elif local.date() == today - dt.timedelta(days=1):
        shown = _("yesterday %s") % time
    else:
        shown = f"{formats.date_format(local, 'DATE_FORMAT')} {time}"
    full = f"{local:%Y-%m-%d %H:%M:%S} {local.tzname() or ''}".strip()
    return format_html('<time datetime="{}" title="{}">{}</time>', local.isoformat(), full, shown)


@register.filter
def qw_other_zone(beside: str) -> str:
    """Show the current time zone in brackets, unless it is *beside*: the zone of the other times that stand there."""
    zone = timezone.get_current_timezone_name()
    return "" if zone == beside else f" ({zone})"


@register.filter
def qw_clock(value: dt.datetime) -> str:
    """Show the time of a log line, such as "14:03:59"."""
    return (timezone.localtime(value) if timezone.is_aware(value) else value).strftime("%H:%M:%S")


@register.filter
def qw_wall(moment: dt.datetime) -> str:
    """Show the time of day in the zone that *moment* has."""
    return clock(moment)


@register.simple_tag
def qw_calendar_url(choice: Any, **changes: str) -> str:
    """Return the address of the calendar of schedules with *changes* of what was chosen."""
    return str(choice.url(**changes))


@register.filter
def qw_from_now(value: dt.datetime | None) -> str:
    """Show how far a time is from now, such as "in 17 h" or "12 min ago"; empty for None."""
    if value is None:
        return ""
    ahead = round((value - timezone.now()).total_seconds())
    exact = max(abs(ahead), 10)
    unit = 1 if exact < 600 else 60 if exact < 86_400 else 3600  # seconds do not matter for distant times
    duration = qw_duration(dt.timedelta(seconds=exact // unit * unit))
    return _("in %s") % duration if ahead > 0 else _("%s ago") % duration


@register.filter
def qw_anchor(field: BoundField) -> str:
    """Return the id of a field's first input, also where a field is a group of inputs without a common label."""
    if isinstance(field.field.widget, (MultiWidget, RadioSelect)):  # ticks are drawn like radio buttons
        return f"{field.auto_id}_0"
    return field.id_for_label


@register.filter
def qw_capped(number: int) -> str:
    """Show a count that stops at a limit, such as "10,000+"."""
    if number > counting.CAP:
        return qw_number(counting.CAP) + "+"
    return qw_number(number)


@register.filter
def qw_number(number: int) -> str:
    """Show a number with the separators of the language, such as "1,204"."""
    return formats.number_format(number, use_l10n=True, force_grouping=True)


@register.filter
def qw_factor(number: float) -> str:
    """Show how many times as much something is, such as "2.8"."""
    return formats.number_format(number, 0 if number >= 10 else 1, use_l10n=True, force_grouping=True)


@register.filter
def qw_seconds(value: dt.timedelta | None) -> int:
    """Return whole seconds, for the script that lets the clock tick."""
    return max(int(value.total_seconds()), 0) if value is not None else 0


@register.filter
def qw_jobs(number: int) -> str:
    """Show a number of jobs in words, such as "12 jobs"."""
    return ngettext("%s job", "%s jobs", number) % qw_capped(number)


@register.simple_tag
def qw_breadcrumbs(*pairs: Any) -> SafeString:
    """Show the rest of the breadcrumbs, from *label, URL* pairs, in the markup of the running version of Django."""
    return breadcrumbs(list(zip(pairs[::2], pairs[1::2], strict=True)))


def breadcrumbs(steps: list[tuple[Any, str]]) -> SafeString:
    """Return breadcrumbs of *steps*, pairs of label and URL, in the markup of the running version of Django."""
    *before, (here, _url) = steps
    links = [(format_html('<a href="{}">{}</a>', url, label),) for label, url in before]
    if django.VERSION >= (6, 1):
        items = format_html_join("\n", "<li>{}</li>", links)
        return format_html('<ol class="breadcrumbs">{}\n<li aria-current="page">{}</li></ol>', items, here)
    trail = format_html_join(" \u203a ", "{}", [*links, (here,)])
    return format_html('<div class="breadcrumbs">{}</div>', trail)
