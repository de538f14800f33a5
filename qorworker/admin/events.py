"""What happened to a job, in sentences and in order: what people and code asked for, and how its attempts went. Web."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.utils.dateparse import parse_datetime
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from qorworker.admin.tries import Try
from qorworker.models import AuditEntry, Job, Origin
from qorworker.templatetags.qorworker_admin import qw_duration, qw_moment, qw_visible

DONE: dict[str, Any] = {
    "enqueue": gettext_lazy("%(who)s created it"),
    "replace arguments": gettext_lazy("%(who)s asked for the same job: it has the new arguments since then"),
    "update": gettext_lazy("%(who)s changed it"),
    "cancel": gettext_lazy("%(who)s cancelled it"),
    "reschedule": gettext_lazy("%(who)s moved it to another time"),
    "run now": gettext_lazy("%(who)s queued it without waiting for its time"),
    "abort": gettext_lazy("%(who)s asked it to stop"),
    "mark failed": gettext_lazy("%(who)s marked it as failed"),
    "retry": gettext_lazy("%(who)s queued it for one more attempt"),
    "delete": gettext_lazy("%(who)s deleted it"),
}
DENIED: dict[str, Any] = {
    "run": gettext_lazy("%(who)s tried to run it, without the right to"),
    "rerun": gettext_lazy("%(who)s tried to run it again, without the right to"),
    "update": gettext_lazy("%(who)s tried to change it, without the right to"),
    "cancel": gettext_lazy("%(who)s tried to cancel it, without the right to"),
    "reschedule": gettext_lazy("%(who)s tried to change its time, without the right to"),
    "abort": gettext_lazy("%(who)s tried to abort it, without the right to"),
    "retry": gettext_lazy("%(who)s tried to retry it, without the right to"),
    "delete": gettext_lazy("%(who)s tried to delete it, without the right to"),
}
TOO_LATE: dict[str, Any] = {
    "update": gettext_lazy("%(who)s tried to change it, but it was too late"),
    "cancel": gettext_lazy("%(who)s tried to cancel it, but it was too late"),
    "reschedule": gettext_lazy("%(who)s tried to change its time, but it was too late"),
    "run now": gettext_lazy("%(who)s tried to queue it, but it was not scheduled any more"),
    "abort": gettext_lazy("%(who)s tried to abort it, but it was not running any more"),
    "mark failed": gettext_lazy("%(who)s tried to mark it as failed, but it was too late"),
    "retry": gettext_lazy("%(who)s tried to retry it, but it had not failed"),
    "delete": gettext_lazy("%(who)s tried to delete it, but it had not ended"),
}
TAKEN: dict[str, Any] = {
    "update": gettext_lazy("%(who)s tried to change it, but another job like it was there"),
    "retry": gettext_lazy("%(who)s tried to retry it, but another job like it was there"),
}
SENTENCES = {"ok": DONE, "denied": DENIED, "too late": TOO_LATE, "taken": TAKEN}
NOBODY: dict[str, Any] = {
    Origin.ADMIN: gettext_lazy("Somebody"),
    Origin.CODE: gettext_lazy("The program"),
    Origin.COMMAND: gettext_lazy("The command line"),
    Origin.WORKER: gettext_lazy("A worker"),
}


@dataclass(frozen=True)
class Event:
    at: dt.datetime
    text: str
    door: str = ""  # through which it came, if somebody is named
    change: SafeString | str = ""
    reason: str = ""


def events_of(job: Job, audit: list[AuditEntry], tries: list[Try]) -> list[Event]:
    """Oldest first."""
    found = [_asked(entry) for entry in audit]
    if not any(entry.action == "enqueue" for entry in audit):
        found.append(Event(job.enqueued_at, _("It was created")))
    for one in tries:
        found += _attempted(one)
    return sorted(found, key=lambda event: event.at)


def who_asked(entry: AuditEntry) -> str:
    return entry.user_name or str(NOBODY.get(entry.origin, entry.origin))


def _asked(entry: AuditEntry) -> Event:
    who, details = who_asked(entry), entry.details
    sentence = SENTENCES.get(entry.outcome, {}).get(entry.action)
    told = sentence % {"who": who} if sentence else f"{who}: {entry.action_label} ({entry.outcome_label})"
    door = entry.door if entry.user_name else ""
    before, after = (_moment(details.get(key)) for key in ("before", "after"))
    changes = [(qw_visible(name),) for name in details.get("arguments") or ()]
    changes += [(format_html("{} → {}", before, after),)] if before and after else []
    change = format_html_join(", ", "{}", changes)
    return Event(entry.at, told, door, change, str(details.get("reason") or ""))


def _moment(told: Any) -> SafeString | str:
    try:
        moment = parse_datetime(str(told)) if told else None
    except ValueError:
        moment = None
    return qw_moment(moment, "seconds" if moment.second else "") if moment is not None else ""


def _attempted(one: Try) -> list[Event]:
    place = {"number": one.number, "worker": one.worker}
    started = _("Attempt %(number)d started on %(worker)s") if one.worker else _("Attempt %(number)d started")
    found = [Event(one.started_at, started % place)]
    if one.ended is not None:
        told = {"number": one.number, "outcome": one.ended.get_outcome_display(), "time": qw_duration(one.duration)}
        found.append(Event(one.ended.finished_at, _("Attempt %(number)d ended after %(time)s: %(outcome)s") % told))
    return found
