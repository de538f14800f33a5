"""Looks for what rules report though no row says that it has begun. Workers, ticks of cron, Celery's beat.

The mark of the messages keeps which conditions hold. So each condition is reported once when it begins to hold, even if
several processes look for it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from django.db.models import Q

from qorworker.actions.news import news
from qorworker.actions.reports import group_of
from qorworker.conf import settings
from qorworker.messages.happening import Happening, Match, matches
from qorworker.messages.rules import Rule
from qorworker.models import Approval, Job, MessageMark, Question, QuestionKind, Schedule, ScheduleSlot, Worker
from qorworker.models.clock import aware
from qorworker.models.job_messages import UNREPORTED
from qorworker.models.schedule_slot import SkipReason
from qorworker.queries import figures
from qorworker.queries.catalogue import usual_durations

LOOKS = 10.0  # seconds between two looks
MOST = 500  # rows of each kind at a time, the oldest first
GONE_FOR = 600.0  # seconds for which a worker that is gone is news
NOBODY_WANTED = (SkipReason.MISSED, SkipReason.UNFIT, SkipReason.LIMIT)  # why a time of a schedule made no job
SLOTS = ScheduleSlot._meta.db_table


class Condition(NamedTuple):
    """Something that holds now, and the rules that report that."""

    key: str  # the same as long as it holds
    matches: Sequence[Match]
    is_sure: bool = True  # or it must hold at two looks


def look(using: str, mark: MessageMark, rules: Sequence[Rule], now: dt.datetime) -> list[Match]:
    """Return what is to be reported, and note in *mark*, which is not stored here, what holds.

    :param now: the time of the database.
    """
    found, held = list[Match](), mark.holding
    mark.holding, mark.looked_at = {}, now
    for condition in _conditions(using, rules, aware(now)):
        before = held.get(condition.key)  # True: reported; False: seen once; None: new
        is_news = not before and (condition.is_sure or before is False)
        mark.holding[condition.key] = bool(before) or is_news
        found += condition.matches if is_news else ()
    return [*found, *matches(_missed(using, mark, _that_report("schedule_missed", rules)), rules)]


def _conditions(using: str, rules: Sequence[Rule], now: dt.datetime) -> Iterator[Condition]:
    for event, find in FINDERS.items():
        if those := _that_report(event, rules):
            yield from find(using, those, now)


def _that_report(event: str, rules: Sequence[Rule]) -> list[Rule]:
    return [rule for rule in rules if event in rule.on]


def _seconds(since: dt.datetime, now: dt.datetime) -> int:
    return round((now - aware(since)).total_seconds())


def _late_queues(using: str, rules: Sequence[Rule], now: dt.datetime) -> Iterator[Condition]:
    backlogs = figures.backlogs(Job.objects.using(using), settings.QUEUES)
    for name, backlog in sorted(backlogs.items()):
        seconds = _seconds(backlog.since, now) if backlog.since is not None else 0
        for rule in rules:
            if rule.covers("", "", name) and seconds > rule.older_than:
                yield Condition(f"{rule.name}\nqueue {name}", [_late_queue(rule, name, seconds, now)])


def _late_queue(rule: Rule, name: str, seconds: int, now: dt.datetime) -> Match:
    event, digest = "queue_older_than", hashlib.sha256(name.encode()).hexdigest()[:16]
    source = f"queue {digest} {int(now.timestamp())}"
    facts = {"queue": name, "seconds": seconds}
    return Match(Happening(source, frozenset({event}), now, f"{event}\n{name}", facts, queues=(name,)), rule, event)


def _long_jobs(using: str, rules: Sequence[Rule], now: dt.datetime) -> Iterator[Condition]:
    rows = Job.objects.using(using).running().filter(last_attempted_at__isnull=False).exclude(name__in=UNREPORTED)
    running = list(rows.order_by("pk").only("name", "queue_name", "attempt", "last_attempted_at")[:MOST])
    groups = {name: group_of(name) for name in {job.name for job in running}}
    covered = {job.name for job in running for rule in rules if rule.covers(job.name, groups[job.name], job.queue_name)}
    usual = usual_durations(Job.objects.using(using), sorted(covered))
    for job in running:
        for rule in rules:
            typical = usual[job.name].total_seconds() if job.name in usual else 0.0
            seconds = _seconds(job.last_attempted_at, now)  # type: ignore[arg-type]
            is_long = typical and seconds > rule.times * typical
            if is_long and rule.covers(job.name, groups[job.name], job.queue_name):
                facts = {"status": "running", "attempt": job.attempt, "seconds": seconds, "usual": round(typical, 1)}
                happening = _of_job("longer_than_usual", f"long {job.pk}.{job.attempt}", job, now, facts)
                yield Condition(f"{rule.name}\n{happening.source}", [Match(happening, rule, "longer_than_usual")])


def _of_job(event: str, source: str, job: Job, at: dt.datetime, facts: dict[str, Any]) -> Happening:
    group = group_of(job.name)
    return Happening(
        source, frozenset({event}), at, f"{event}\n{job.name}", facts, job.pk, job.name, group, (job.queue_name,)
    )


def _gone_workers(using: str, rules: Sequence[Rule], now: dt.datetime) -> Iterator[Condition]:
    for worker in Worker.objects.using(using).lately_gone(GONE_FOR).order_by("pk")[:MOST]:
        seen = aware(worker.heartbeat_at)
        happening = Happening(
            source=f"worker {worker.pk} {int(seen.timestamp())}",
            events=frozenset({"worker_gone"}),
            at=now,
            alike=f"worker_gone\n{worker.host}",
            facts={"worker": worker.name, "seen_at": seen.isoformat(), "seconds": _seconds(seen, now)},
            queues=tuple(worker.queues),
        )
        yield Condition(happening.source, list(matches([happening], rules)), is_sure=worker.found_dead)


def _approvals(using: str, rules: Sequence[Rule], now: dt.datetime) -> Iterator[Condition]:
    rows = Approval.objects.using(using).open().select_related("job", "schedule").defer("job__arguments", "job__meta")
    for approval in rows.order_by("pk")[:MOST]:
        source, until = f"approval {approval.pk}", _moment(approval.expires_at)
        if approval.job is not None and approval.job.awaits_approval:
            facts = _waiting_facts(approval.job, until)
            happening = _of_job("approval_wanted", source, approval.job, aware(approval.asked_at), facts)
        elif approval.schedule is not None and approval.schedule.revision == approval.revision:
            facts = {**_schedule_facts(approval.schedule), "until": until}
            happening = _of_schedule("approval_wanted", source, approval.schedule, aware(approval.asked_at), facts)
        else:
            continue
        yield from _undecided(happening, rules, now)


def _questions(using: str, rules: Sequence[Rule], now: dt.datetime) -> Iterator[Condition]:
    rows = Question.objects.using(using).open().filter(kind=QuestionKind.PERSON)
    for question in rows.select_related("job").defer("job__arguments", "job__meta").order_by("pk")[:MOST]:
        if question.job is not None and question.job.is_asking:
            facts = _waiting_facts(question.job, _moment(question.expires_at))
            source, at = f"question {question.pk}", aware(question.asked_at)
            yield from _undecided(_of_job("question_asked", source, question.job, at, facts), rules, now)


def _waiting_facts(job: Job, until: str) -> dict[str, Any]:
    return {"status": str(job.status), "attempt": job.attempt, "until": until}


def _moment(value: dt.datetime | None) -> str:
    return aware(value).isoformat() if value is not None else ""


def _undecided(happening: Happening, rules: Sequence[Rule], now: dt.datetime) -> Iterator[Condition]:
    """Yield that something waits for a decision and, for each rule that reminds of it, that it has waited long."""
    found = list(matches([happening], rules))
    yield Condition(happening.source, found)
    for _happening, rule, event in found:
        if rule.remind and (now - happening.at).total_seconds() > rule.remind:
            again = replace(
                happening,
                source=f"{happening.source} again",
                alike=f"{happening.alike}\nagain",
                facts={**happening.facts, "seconds": _seconds(happening.at, now)},
            )
            yield Condition(f"{rule.name}\n{again.source}", [Match(again, rule, event)])


# Times of schedules have rows, with an order.


def _missed(using: str, mark: MessageMark, rules: Sequence[Rule]) -> Iterator[Happening]:
    """Yield the times of schedules since the last look that made no job, though no policy and no user wanted that."""
    if not rules:
        mark.slot, mark.slot_gaps = None, []
        return
    rows = ScheduleSlot.objects.using(using)
    if mark.slot is None:
        mark.slot, mark.slot_gaps = rows.order_by("-pk").values_list("pk", flat=True).first() or 0, []
        return
    new = news(using, SLOTS, mark.slot, mark.slot_gaps, MOST)
    mark.slot, mark.slot_gaps = new.last, new.gaps
    if new.ranges:
        among = Q(*(Q(pk__range=each) for each in new.ranges), _connector=Q.OR)
        for slot in rows.filter(among, reason__in=NOBODY_WANTED).select_related("schedule").order_by("pk"):
            if slot.schedule is not None:
                facts = {**_schedule_facts(slot.schedule), "planned_at": _moment(slot.planned_at),
                         "reason": slot.reason, "missed": max(slot.missed, 1)}  # fmt: skip
                at = aware(slot.fired_at)
                yield _of_schedule("schedule_missed", f"slot {slot.pk}", slot.schedule, at, facts)


def _schedule_facts(schedule: Schedule) -> dict[str, Any]:
    return {"schedule": schedule.name, "schedule_id": schedule.pk}


def _of_schedule(event: str, source: str, schedule: Schedule, at: dt.datetime, facts: dict[str, Any]) -> Happening:
    job_type, name = schedule.job_type, schedule.job_name
    queues = (job_type.queue_name,) if job_type is not None else ()
    alike = f"{event}\n{schedule.pk}"
    return Happening(source, frozenset({event}), at, alike, facts, None, name, group_of(name), queues)


FINDERS = {
    "queue_older_than": _late_queues,
    "longer_than_usual": _long_jobs,
    "worker_gone": _gone_workers,
    "approval_wanted": _approvals,
    "question_asked": _questions,
}
