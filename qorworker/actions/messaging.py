"""Finds the events that rules and users want to hear of, and enqueues the jobs that send the messages.

Nobody who runs a job does anything for it: the new attempts are read from time to time, as for the sums of the
dashboard. The messages, their jobs and the mark are stored in one transaction, so that no event is lost or reported
twice, whoever is killed, and however many do this at a time. Workers, ticks of cron, Celery's beat.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import Max

from qorworker.actions.digests import over
from qorworker.actions.news import news
from qorworker.actions.reports import Reports, enqueue, group_of
from qorworker.actions.watching import LOOKS, look
from qorworker.definitions.registry import registry
from qorworker.exceptions import UnsupportedByBackend
from qorworker.messages.happening import Happening, matches
from qorworker.messages.rules import WATCHED, Rule
from qorworker.models import Attempt, AuditEntry, Message, MessageMark, MessageState, database_now
from qorworker.models.clock import aware
from qorworker.models.job_messages import SENDER, UNREPORTED
from qorworker.models.message_rule import current_rules
from qorworker.models.sql import summaries
from qorworker.models.sql.ends import End, cancelled_ones, ends
from qorworker.signals import message_failed
from qorworker.status import EXCEPTION, KILLED, RETRIED, JobStatus, Outcome
from qorworker.system.processes import monotonic

EVERY = 5.0  # seconds between two rounds
RECENT = 4.0  # seconds after a round in which no other process reads the attempts
MOST = 2_000  # attempts at a time
AT_ONCE = 200  # messages at a time that wait for an end, or were given up
OLDEST = dt.timedelta(days=1)  # an event that is older when it is found is not reported any more
EVENT_OF = {JobStatus.DONE: "done", EXCEPTION: "failed", KILLED: "aborted", JobStatus.CANCELLED: "cancelled"}


def message_if_due(using: str, seconds: float) -> None:
    """Enqueue what is to be sent. Stop after about so many *seconds*; the rest comes later."""
    if registry.find(SENDER) is None:
        return
    end = monotonic() + seconds
    settle_open(using)
    rules = current_rules(using)
    if rules and not MessageMark.is_recent(using, RECENT):
        while _one_round(using, rules) and monotonic() < end:
            pass
        if any(rule.on & WATCHED.keys() for rule in rules):
            _watch(using, rules)


def settle_open(using: str) -> None:
    """Have the messages sent that ``Job.notify`` has stored for jobs which have ended, and give others up."""
    rows = Message.objects.using(using)
    states = set(rows.open_states())
    if MessageState.WAITING in states:
        _send_waiting(using, list(rows.of_ended_jobs().select_related("job")[:AT_ONCE]))
        _send_digests(using)
    if MessageState.QUEUED in states:
        for message in rows.given_up()[:AT_ONCE]:
            give_up(message, using, message.error)


def give_up(message: Message, using: str, error: str) -> None:
    """Note that *message* is not sent any more, and why. The signal is sent by the process that is first."""
    row = Message.objects.using(using).filter(pk=message.pk, state=MessageState.QUEUED)
    text = error or "The job that was to send it ended before it did."
    if row.close(MessageState.FAILED, error=text):
        message.refresh_from_db(using=using)
        message_failed.send_robust(sender=Message, message=message)


def send_again(message: Message) -> bool:
    """Have a message sent that was given up. Return False if it was not, or somebody else was faster.

    :raises qorworker.exceptions.UnsupportedByBackend: if the project has no queue from which a job could send it.
    """
    _need_sender()
    using = str(message._state.db)
    with transaction.atomic(using=using):
        rows = Message.objects.using(using)
        if not rows.reopen(message.pk):
            return False
        enqueue([message], using)
        rows.filter(pk=message.pk).update(sender_id=message.sender_id)
    return True


def send_test(name: str, using: str) -> int:
    """Have a message sent to the receivers of the rule called *name*, and return how many will be sent.

    Those who may decide about something are not among them.

    :raises qorworker.exceptions.UnsupportedByBackend: if the project has no queue from which a job could send it.
    """
    rule = next((rule for rule in current_rules(using) if rule.name == name), None)
    if rule is None:
        return 0
    _need_sender()
    now = database_now(using)
    with transaction.atomic(using=using):
        return Reports(using, now).store_test(rule)


def _need_sender() -> None:
    if registry.find(SENDER) is None:
        raise UnsupportedByBackend("Messages are sent by jobs, and no queue has jobs that wait for a worker.")


# What users wait for.


def _send_waiting(using: str, found: Sequence[Message]) -> None:
    with transaction.atomic(using=using):
        mine = _locked(using, found)
        for message in mine:
            message.event = EVENT_OF[JobStatus(message.job.status)]  # type: ignore[union-attr] # it waits for its job
        wanted = [message for message in mine if message.wanted_end in ("ended", message.event)]
        rows = Message.objects.using(using)
        rows.filter(pk__in=[message.pk for message in mine if message not in wanted]).delete()
        for message in wanted:
            job: Any = message.job
            message.facts = _facts(job.status, job.attempt, job.error, "", job.results_errors)
            message.facts["at"] = aware(job.finished_at).isoformat() if job.finished_at else ""
            message.state = MessageState.QUEUED
        enqueue(wanted, using)
        rows.bulk_update(wanted, ["event", "facts", "state", "sender_id"])


def _send_digests(using: str) -> None:
    found = over(list(Message.objects.using(using).digests()[:AT_ONCE]), database_now(using))
    if not found:
        return
    with transaction.atomic(using=using):
        mine = _locked(using, found)
        for message in mine:
            message.state = MessageState.QUEUED
        enqueue(mine, using)
        Message.objects.using(using).bulk_update(mine, ["state", "sender_id"])


def _locked(using: str, found: Sequence[Message]) -> list[Message]:
    """Lock those of these messages that still wait, and that nobody else has locked, and return them."""
    rows = Message.objects.using(using).filter(pk__in=[each.pk for each in found], state=MessageState.WAITING)
    skips = transaction.get_connection(using).features.has_select_for_update_skip_locked
    free = set(rows.select_for_update(skip_locked=skips).values_list("pk", flat=True))
    return [message for message in found if message.pk in free]


# What rules say.


def _one_round(using: str, rules: Sequence[Rule]) -> bool:
    """Report some of what is new. Return whether there may be more."""
    mark = _mark(using)
    attempts = news(using, summaries.ATTEMPTS, mark.attempt, mark.attempt_gaps, MOST)
    entries = news(using, summaries.ENTRIES, mark.entry, mark.entry_gaps, MOST)
    if attempts.is_empty and entries.is_empty:
        return False
    wanted = frozenset().union(*(rule.on for rule in rules))
    found: list[End] = []
    if attempts.ranges:
        found += ends(using, attempts.ranges, _unwanted(wanted))
    if entries.ranges and "cancelled" in wanted:
        found += cancelled_ones(using, entries.ranges)
    mark.attempt, mark.attempt_gaps = attempts.last, attempts.gaps
    mark.entry, mark.entry_gaps = entries.last, entries.gaps
    now = database_now(using)
    young = [end for end in found if end.name not in UNREPORTED and aware(now) - end.at < OLDEST]
    with transaction.atomic(using=using):
        # First of all: it locks the row until the end, and on SQLite the database.
        if mark.move_on(using):
            Reports(using, now).store(matches(map(_happening, young), rules))
    return attempts.may_have_more or entries.may_have_more


def _watch(using: str, rules: Sequence[Rule]) -> None:
    """Report what is so now, and was not at the last look."""
    mark, now = _mark(using), database_now(using)
    if mark.looked_at is not None and abs((now - mark.looked_at).total_seconds()) < LOOKS:
        return
    found = look(using, mark, rules, now)
    with transaction.atomic(using=using):
        if mark.move_on(using):
            Reports(using, now).store(found)


def _mark(using: str) -> MessageMark:
    """Return the mark. The first time it stands at the end: what happened before is not reported."""
    marks = MessageMark.objects.using(using)
    if (mark := marks.filter(pk=1).first()) is not None:
        return mark
    last = [rows.objects.using(using).aggregate(last=Max("pk"))["last"] or 0 for rows in (Attempt, AuditEntry)]
    return marks.get_or_create(pk=1, defaults={"attempt": last[0], "entry": last[1]})[0]


def _unwanted(events: frozenset[str]) -> list[str]:
    """Return the outcomes of attempts that need not be read for these events."""
    return [] if events & {"done", "row_errors"} else [Outcome.DONE.value]


def events_of(end: End) -> frozenset[str]:
    """Return all events that *end* is."""
    events = {EVENT_OF[JobStatus(end.status)]} if end.status else set()
    if not end.status and end.outcome in RETRIED:
        events.add("attempt_failed")
    if end.outcome == Outcome.LOST:
        events.add("worker_lost")
    if end.status in (JobStatus.DONE, EXCEPTION) and (end.row_errors or end.outcome == Outcome.ROW_ERRORS):
        events.add("row_errors")
    return frozenset(events)


def _happening(end: End) -> Happening:
    return Happening(
        source=end.source,
        events=events_of(end),
        at=end.at,
        alike=f"{end.name}\n{end.exception_class or end.outcome}",
        facts=_facts(end.status, end.attempt, end.error, end.exception_class, end.row_errors),
        job_id=end.job_id,
        name=end.name,
        group=group_of(end.name),
        queues=(end.queue_name,),
    )


def _facts(status: str, attempt: int, error: str, exception_class: str, row_errors: int) -> dict[str, object]:
    return {
        "status": str(status), "attempt": attempt, "error": error, "exception": exception_class,
        "row_errors": row_errors,
    }  # fmt: skip
