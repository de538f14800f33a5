"""Times and durations in pages and messages: a 24-hour clock in every language, dates as the language has them."""

from __future__ import annotations

import datetime as dt

from django.utils import formats, timezone
from django.utils.translation import gettext as _


def clock(time: dt.time | dt.datetime) -> str:
    """Return “06:30”, with seconds unless it is a full minute."""
    return f"{time:%H:%M:%S}" if time.second else f"{time:%H:%M}"


def date_and_clock(wall: dt.datetime) -> str:
    """Return date and time as clocks show them, without a conversion to another time zone."""
    return f"{formats.date_format(wall, 'DATE_FORMAT')} {clock(wall)}"


def local(moment: dt.datetime) -> dt.datetime:
    """Return *moment* in the current time zone, if it has a zone at all."""
    return timezone.localtime(moment) if timezone.is_aware(moment) else moment


def duration_text(seconds: float) -> str:
    """Return a limit in words: “1 h 30 min”, “45 s”."""
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    parts = [_("%d h") % hours] * bool(hours) + [_("%d min") % minutes] * bool(minutes)
    return " ".join(parts + [_("%s s") % formats.number_format(f"{rest:g}")] * bool(rest or not parts))
