"""What messages say: never arguments, results or log, and of an error only its line, without secrets. All processes.

Mails are in the language of the project, because they are not sent to a browser that would name one.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.conf import settings as django_settings
from django.urls import NoReverseMatch, reverse
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker.conf import settings
from qorworker.definitions.registry import registry
from qorworker.messages.labels import LABELS
from qorworker.messages.rules import WATCHED
from qorworker.models import Message
from qorworker.models.clock import stored
from qorworker.models.message import DIGEST
from qorworker.models.schedule_slot import SkipReason
from qorworker.text.cleaning import visible
from qorworker.text.moments import date_and_clock, duration_text, local

SUBJECT_CHARS = 200
ERROR_CHARS = 1_000
SUMS = 50  # lines of a digest
OF_JOBS = ("status", "attempt", "error", "exception", "row_errors")  # facts that a webhook gets with the job


def mail(message: Message) -> tuple[str, str]:
    """Return the subject and the text of a mail."""
    with translation.override(django_settings.LANGUAGE_CODE):
        head = headline(message)
        parts = [head, sums(message), _error(message), _left_out(message), _link(message)]
    return _cut(head, SUBJECT_CHARS), "\n\n".join(filter(None, parts)) + "\n"


def slack(message: Message) -> dict[str, Any]:
    """Return what Slack, and services that are like it, show as a text."""
    with translation.override(django_settings.LANGUAGE_CODE):
        parts = [headline(message), sums(message), _error(message), _left_out(message)]
    return {"text": "\n".join([*map(_escaped, filter(None, parts)), *filter(None, [_link(message)])])}


def payload(message: Message) -> dict[str, Any]:
    """Return what a webhook gets as JSON. Its id is the same each time the message is sent."""
    facts = message.facts
    found: dict[str, Any] = {
        "id": message.uid,
        "event": message.event,
        "rule": message.rule,
        "at": facts.get("at", ""),
        "left_out": facts.get("left_out", 0),
        "job": _job(message) if message.job is not None else None,
    }
    if message.event in (*WATCHED, DIGEST):
        found["details"] = {key: value for key, value in facts.items() if key not in (*OF_JOBS, "at", "left_out")}
        found["url"] = _link(message)
    return found


def _job(message: Message) -> dict[str, Any]:
    facts, job = message.facts, message.job
    assert job is not None
    with translation.override(django_settings.LANGUAGE_CODE):
        title = job.title
    return {
        "id": job.pk,
        "type": job.name,
        "title": title,
        "queue": job.queue_name,
        "status": facts.get("status", ""),
        "attempt": facts.get("attempt"),
        "max_attempts": job.max_attempts,
        "row_errors": facts.get("row_errors", 0),
        "exception": facts.get("exception", ""),
        "error": _error(message),
        "url": _link(message),
    }


def headline(message: Message) -> str:
    """Return the sentence that says what a message reports."""
    text = _sentence(message.event, is_reminder=message.source.endswith(" again"))
    return text % _Words(message)


def _sentence(event: str, *, is_reminder: bool) -> str:
    match event:
        case "failed":
            return _("%(job)s has failed")
        case "attempt_failed":
            return _("Attempt %(attempt)s of %(job)s has failed; it will be tried again")
        case "worker_lost":
            return _("The worker of %(job)s was lost in attempt %(attempt)s")
        case "row_errors":
            return _("%(job)s has ended with errors in rows")
        case "aborted":
            return _("%(job)s was aborted")
        case "cancelled":
            return _("%(job)s was cancelled")
        case "longer_than_usual":
            return _("%(job)s has been running for %(duration)s; it usually takes %(usual)s")
        case "queue_older_than":
            return _("A job in the queue “%(queue)s” has been waiting for %(duration)s")
        case "schedule_missed":
            return _("The schedule “%(schedule)s” has missed a run: %(reason)s")
        case "worker_gone":
            return _("The worker %(worker)s has given no sign of life since %(seen_at)s")
        case "approval_wanted" if is_reminder:
            return _("%(what)s has been waiting for approval for %(duration)s")
        case "approval_wanted":
            return _("%(what)s waits for approval")
        case "question_asked" if is_reminder:
            return _("%(job)s has been waiting for an answer for %(duration)s")
        case "question_asked":
            return _("%(job)s asks a question")
        case "digest":
            return _("“%(rule)s”: %(number)s events from %(start)s to %(end)s")
        case "test":
            return _("This is a test of the rule “%(rule)s”")
        case _:
            return _("%(job)s is done")


class _Words(dict[str, str]):
    """The parts of a sentence, each made when it is asked for."""

    def __init__(self, message: Message) -> None:
        super().__init__()
        self.message = message

    def __missing__(self, key: str) -> str:
        facts = self.message.facts
        match key:
            case "job":
                return _title(self.message)
            case "what":
                return _title(self.message) or _("The schedule “%(schedule)s”") % self
            case "rule":
                return _line(self.message.rule)
            case "number":
                return str(sum(facts.get("sums", {}).values()))
            case "start" | "end":
                moment = facts["at" if key == "start" else "until"]
                return date_and_clock(local(stored(dt.datetime.fromisoformat(moment))))
            case "duration":
                return duration_text(facts.get("seconds", 0))
            case "usual":
                return duration_text(facts.get("usual", 0))
            case "reason":
                return str(SkipReason(facts.get("reason", SkipReason.MISSED)).label)
            case "seen_at":
                return date_and_clock(local(stored(dt.datetime.fromisoformat(facts["seen_at"]))))
            case _:
                return _line(str(facts.get(key, "")))


def sums(message: Message) -> str:
    """Return the sums that a message has, one in each line, the largest first."""
    found: dict[str, int] = message.facts.get("sums", {})
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    lines = [f"{_sum_title(key)}: {count}" for key, count in ordered[:SUMS]]
    if rest := sum(count for _key, count in ordered[SUMS:]):
        lines.append(_("and %(number)s more") % {"number": rest})
    return "\n".join(lines)


def _sum_title(key: str) -> str:
    event, _newline, subject = key.partition("\n")
    job_type = registry.find(subject)
    title = _line(str(job_type.title) if job_type is not None else subject)
    return f"{title}, {LABELS.get(event, event)}"


def _title(message: Message) -> str:
    return f"{_line(message.job.title)} #{message.job_id}" if message.job is not None else ""


def _error(message: Message) -> str:
    return _cut(_line(str(message.facts.get("error", ""))), ERROR_CHARS)


def _left_out(message: Message) -> str:
    if not (count := int(message.facts.get("left_out", 0))):
        return ""
    return (
        ngettext(
            "%d message like this was left out in the quiet period before.",
            "%d messages like this were left out in the quiet period before.",
            count,
        )
        % count
    )


def _link(message: Message) -> str:
    """Return the address of the page in the admin; empty without the setting ``BASE_URL``, or without that page."""
    if not settings.BASE_URL:
        return ""
    name, *arguments = _page(message)
    try:
        return str(settings.BASE_URL).rstrip("/") + reverse(f"admin:qorworker_{name}", args=arguments)
    except NoReverseMatch:
        return ""


def _page(message: Message) -> tuple[Any, ...]:
    if message.job_id is not None:
        return "job_change", message.job_id
    if "schedule_id" in message.facts:
        return "schedule_change", message.facts["schedule_id"]
    if message.is_test:
        return ("messagerule_changelist",)
    if message.event == DIGEST:
        return ("job_changelist",)
    return ("worker_changelist",) if message.event == "worker_gone" else ("queue_changelist",)


def _line(text: str) -> str:
    return visible(" ".join(text.split()))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _escaped(text: str) -> str:
    """Return *text* so that Slack takes nothing in it for a link, or a mention of users."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
