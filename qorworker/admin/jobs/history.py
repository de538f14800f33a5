"""The history of a job, in sentences and in order: the requests of users and code, and its attempts. Web."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.utils.dateparse import parse_datetime
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from qorworker.admin.display import qw_duration, qw_moment, qw_visible
from qorworker.admin.jobs.attempts import Try
from qorworker.admin.messages.texts import CHANNELS
from qorworker.models import AuditEntry, Job, Message, MessageState, Origin

DONE: dict[str, Any] = {
    "enqueue": gettext_lazy("%(who)s created it"),
    "replace arguments": gettext_lazy("%(who)s asked for the same job: it has the new arguments since then"),
    "update": gettext_lazy("%(who)s changed it"),
    "upgrade": gettext_lazy("%(who)s upgraded its arguments to those of newer code"),
    "cancel": gettext_lazy("%(who)s cancelled it"),
    "reschedule": gettext_lazy("%(who)s moved it to another time"),
    "run now": gettext_lazy("%(who)s queued it without waiting for its time"),
    "abort": gettext_lazy("%(who)s asked it to stop"),
    "pause": gettext_lazy("%(who)s paused it"),
    "resume": gettext_lazy("%(who)s resumed it"),
    "answer": gettext_lazy("%(who)s answered its question"),
    "decline": gettext_lazy("%(who)s declined to answer its question"),
    "approve": gettext_lazy("%(who)s approved it"),
    "decline to approve": gettext_lazy("%(who)s declined to approve it"),
    "expire": gettext_lazy("Nobody answered its question in time"),
    "mark failed": gettext_lazy("%(who)s marked it as failed"),
    "retry": gettext_lazy("%(who)s queued it for one more attempt"),
    "run for real": gettext_lazy("%(who)s had it run for real"),
    "delete": gettext_lazy("%(who)s deleted it"),
}
DENIED: dict[str, Any] = {
    "run": gettext_lazy("%(who)s tried to run it without permission"),
    "rerun": gettext_lazy("%(who)s tried to run it again without permission"),
    "update": gettext_lazy("%(who)s tried to change it without permission"),
    "cancel": gettext_lazy("%(who)s tried to cancel it without permission"),
    "reschedule": gettext_lazy("%(who)s tried to change its time without permission"),
    "abort": gettext_lazy("%(who)s tried to abort it without permission"),
    "retry": gettext_lazy("%(who)s tried to retry it without permission"),
    "answer": gettext_lazy("%(who)s tried to answer its question without permission"),
    "approve": gettext_lazy("%(who)s tried to decide about its approval without permission"),
    "delete": gettext_lazy("%(who)s tried to delete it without permission"),
}
TOO_LATE: dict[str, Any] = {
    "update": gettext_lazy("%(who)s tried to change it, but it was too late"),
    "cancel": gettext_lazy("%(who)s tried to cancel it, but it was too late"),
    "reschedule": gettext_lazy("%(who)s tried to change its time, but it was too late"),
    "run now": gettext_lazy("%(who)s tried to queue it, but it was no longer scheduled"),
    "abort": gettext_lazy("%(who)s tried to abort it, but it was no longer running"),
    "pause": gettext_lazy("%(who)s tried to pause it, but it was too late"),
    "resume": gettext_lazy("%(who)s tried to resume it, but it was not paused"),
    "mark failed": gettext_lazy("%(who)s tried to mark it as failed, but it was too late"),
    "answer": gettext_lazy("%(who)s tried to answer its question, but it was too late"),
    "decline": gettext_lazy("%(who)s tried to decline its question, but it was too late"),
    "approve": gettext_lazy("%(who)s tried to approve it, but it was too late"),
    "decline to approve": gettext_lazy("%(who)s tried to decline to approve it, but it was too late"),
    "retry": gettext_lazy("%(who)s tried to retry it, but it had not failed"),
    "delete": gettext_lazy("%(who)s tried to delete it, but it had not ended"),
}
TAKEN: dict[str, Any] = {
    "update": gettext_lazy("%(who)s tried to change it, but a matching job already existed"),
    "retry": gettext_lazy("%(who)s tried to retry it, but a matching job already existed"),
}
SENTENCES = {"ok": DONE, "denied": DENIED, "too late": TOO_LATE, "taken": TAKEN}
MESSAGES: dict[str, Any] = {
    MessageState.WAITING: gettext_lazy("A message is sent when it ends (%(how)s)"),
    MessageState.QUEUED: gettext_lazy("A message is about to be sent (%(how)s)"),
    MessageState.SENT: gettext_lazy("A message was sent (%(how)s)"),
    MessageState.FAILED: gettext_lazy("A message could not be sent (%(how)s)"),
}
NOBODY: dict[str, Any] = {
    Origin.ADMIN: gettext_lazy("Somebody"),
    Origin.CODE: gettext_lazy("The program"),
    Origin.COMMAND: gettext_lazy("The command line"),
    Origin.WORKER: gettext_lazy("A worker"),
    Origin.CALLBACK: gettext_lazy("A call from outside"),
}


@dataclass(frozen=True)
class Event:
    """One line of the history."""

    at: dt.datetime
    text: str
    door: str = ""  # through which the request came, if a user is named
    change: SafeString | str = ""
    reason: str = ""


def events_of(
    job: Job,
    audit: list[AuditEntry],
    tries: list[Try],
    visible: Collection[int] = (),
    messages: Collection[Message] = (),
) -> list[Event]:
    """Return the events of *job*, oldest first.

    :param messages: those about the job. Their receivers and answers are not shown.
    :param visible: the ids of those jobs that may be named as the cause of an event.
    """
    events = [_request_event(entry, visible) for entry in audit]
    if not any(entry.action == "enqueue" for entry in audit):
        events.insert(0, Event(job.enqueued_at, _("It was created")))  # it is also first among events of one moment
    for one in tries:
        events += _attempt_events(one)
    events += map(_message_event, messages)
    return sorted(events, key=lambda event: event.at)


def requester_of(entry: AuditEntry) -> str:
    """Return the name of the user who did it, or what acted in place of a user."""
    return entry.user_name or str(NOBODY.get(entry.origin, entry.origin))


def _request_event(entry: AuditEntry, visible: Collection[int]) -> Event:
    who, details = requester_of(entry), entry.details
    sentence = SENTENCES.get(entry.outcome, {}).get(entry.action)
    text = sentence % {"who": who} if sentence else f"{who}: {entry.action_label} ({entry.outcome_label})"
    door = entry.door if entry.user_name else ""
    before, after = (_moment(details.get(key)) for key in ("before", "after"))
    changes = [(qw_visible(name),) for name in details.get("arguments") or ()]
    changes += [(format_html("{} → {}", before, after),)] if before and after else []
    change = format_html_join(", ", "{}", changes)
    reason = str(details.get("reason") or "")
    if (parent := details.get("parent")) in visible:
        reason += f" (#{parent})"
    return Event(entry.at, text, door, change, reason)


def _message_event(message: Message) -> Event:
    how = str(CHANNELS[message.channel])
    if message.rule:
        how = _("%(channel)s, rule “%(rule)s”") % {"channel": how, "rule": message.rule}
    return Event(message.closed_at or message.created_at, MESSAGES[message.state] % {"how": how})


def _moment(value: Any) -> SafeString | str:
    try:
        moment = parse_datetime(str(value)) if value else None
    except ValueError:
        moment = None
    return qw_moment(moment, "seconds" if moment.second else "") if moment is not None else ""


def _attempt_events(one: Try) -> list[Event]:
    start = {"number": one.number, "worker": one.worker}
    started = _("Attempt %(number)d started on %(worker)s") if one.worker else _("Attempt %(number)d started")
    events = [Event(one.started_at, started % start)]
    if one.ended is not None:
        end = {"number": one.number, "outcome": one.ended.get_outcome_display(), "time": qw_duration(one.duration)}
        events.append(Event(one.ended.finished_at, _("Attempt %(number)d ended after %(time)s: %(outcome)s") % end))
    return events
