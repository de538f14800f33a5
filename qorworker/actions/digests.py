"""Sums instead of single messages: they are collected in one message a time and receiver. As ``reports``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence

from django.utils import timezone

from qorworker.messages.happening import Happening
from qorworker.messages.rules import Rule
from qorworker.models import Message, MessageState
from qorworker.models.clock import aware
from qorworker.models.message import DIGEST

GRACE = dt.timedelta(seconds=60)  # after its time, in which somebody may still add to it
Receivers = Callable[[Rule, str], list[tuple[str, str]]]


class Digests:
    """The messages that collect sums now. The caller's transaction keeps others from adding any at the same time."""

    def __init__(self, using: str, now: dt.datetime, receivers: Receivers) -> None:
        self.using, self.now, self.receivers = using, now, receivers
        self.of_rule: dict[str, list[Message]] = {}

    def add(self, happening: Happening, rule: Rule, event: str) -> None:
        """Count *happening* in the messages of *rule*."""
        if rule.name not in self.of_rule:
            self.of_rule[rule.name] = self._messages(rule, event)
        key = f"{event}\n{subject_of(happening)}"
        for message in self.of_rule[rule.name]:
            sums = message.facts["sums"]
            sums[key] = sums.get(key, 0) + 1

    def store(self) -> None:
        """Store what was counted."""
        messages = [message for some in self.of_rule.values() for message in some]
        rows = Message.objects.using(self.using)
        rows.bulk_create([message for message in messages if message.pk is None])
        rows.bulk_update([message for message in messages if message.pk is not None], ["facts"])

    def _messages(self, rule: Rule, event: str) -> list[Message]:
        """Return the messages of this time, one for each receiver of *rule*. New ones are not stored yet."""
        start, end = period_of(rule.digest, self.now)
        source = f"digest {int(start.timestamp())}"
        rows = Message.objects.using(self.using).digests().filter(rule=rule.name, source=source)
        known = {(row.channel, row.recipient): row for row in rows}
        facts = {"at": start.isoformat(), "until": end.isoformat()}
        return [
            known.get(receiver)
            or Message(
                rule=rule.name, channel=receiver[0], recipient=receiver[1], source=source, event=DIGEST,
                facts={**facts, "sums": {}}, state=MessageState.WAITING, created_at=self.now,
            )
            for receiver in self.receivers(rule, event)
        ]  # fmt: skip


def subject_of(happening: Happening) -> str:
    """Return what a sum is about: a job type, or else a queue, a schedule or a worker, by name."""
    facts = happening.facts
    return str(facts.get("schedule") or facts.get("queue") or facts.get("worker") or happening.name)


def period_of(digest: str, now: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    """Return the hour, or the day in the time zone of the project, to which *now* belongs: its start and its end."""
    local = aware(now).astimezone(timezone.get_default_timezone())
    if digest == "hourly":
        start = local.replace(minute=0, second=0, microsecond=0)
        return start, start + dt.timedelta(hours=1)
    start = local.replace(hour=0, minute=0, second=0, microsecond=0)
    return start, (start + dt.timedelta(days=1))


def over(messages: Sequence[Message], now: dt.datetime) -> list[Message]:
    """Return those of *messages* whose time is over."""
    return [each for each in messages if dt.datetime.fromisoformat(each.facts["until"]) + GRACE <= aware(now)]
