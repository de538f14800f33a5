"""Stores the messages about what rules report, and the jobs that send them. Workers, ticks of cron, Celery's beat."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from django.contrib.auth import get_user_model
from django.utils import translation

from qorworker.actions.digests import Digests
from qorworker.actions.enqueue import store_dumped
from qorworker.definitions.registry import registry
from qorworker.messages.happening import Happening, Match
from qorworker.messages.rules import MAIL, Rule
from qorworker.models import Message
from qorworker.models.clock import aware
from qorworker.models.job_messages import SENDER
from qorworker.models.message import TEST, USER, new_uid


class Reports:
    """The messages about some matches. The caller's transaction keeps others from storing any at the same time."""

    def __init__(self, using: str, now: dt.datetime) -> None:
        self.using = using
        self.now = now
        self.made: list[Message] = []
        self.newest: dict[tuple[str, str], Message] = {}  # by rule and kind
        self.users: dict[str, str] = {}  # by name
        self.digests = Digests(using, now, self._receivers)
        self.counted: set[str] = set()  # ids of stored messages after which others were left out

    def store(self, found: Iterable[Match]) -> None:
        """Store the messages about *found*, and the jobs that send them."""
        found = list(found)
        rows = Message.objects.using(self.using)
        quiet = [match for match in found if match.rule.quiet]
        if quiet:
            names, kinds = {match.rule.name for match in quiet}, {kind_of(match.happening) for match in quiet}
            self.newest = {(each.rule, each.kind): each for each in rows.newest_of(names, kinds)}
        stored_before = list(self.newest.values())
        for match in found:
            self._report(*match)
        enqueue(self.made, self.using)
        rows.bulk_create(self.made)
        self.digests.store()
        rows.bulk_update([each for each in stored_before if each.uid in self.counted], ["left_out"])

    def store_test(self, rule: Rule) -> int:
        """Store messages by which somebody tries *rule*, and the jobs that send them. Return how many these are."""
        facts = {"at": aware(self.now).isoformat()}
        source = f"{TEST} {new_uid()}"
        made = [
            Message(
                rule=rule.name, channel=channel, recipient=recipient, source=source, event=TEST, facts=facts,
                created_at=self.now,
            )
            for channel, recipient in self._receivers(rule, TEST)
        ]  # fmt: skip
        enqueue(made, self.using)
        return len(Message.objects.using(self.using).bulk_create(made))

    def _report(self, happening: Happening, rule: Rule, event: str) -> None:
        if rule.digest:
            self.digests.add(happening, rule, event)
            return
        kind = kind_of(happening) if rule.quiet else ""
        before = self.newest.get((rule.name, kind)) if rule.quiet else None
        if before is not None and (self.now - before.created_at).total_seconds() < rule.quiet:
            before.left_out += 1
            self.counted.add(before.uid)
            return
        facts = {
            **happening.facts,
            "at": happening.at.isoformat(),
            "left_out": before.left_out if before is not None else 0,
        }
        for channel, recipient in self._receivers(rule, event):
            message = Message(
                job_id=happening.job_id, rule=rule.name, channel=channel, recipient=recipient, source=happening.source,
                event=event, facts=facts, kind=kind, created_at=self.now,
            )  # fmt: skip
            self.made.append(message)
            if rule.quiet:
                self.newest[rule.name, kind] = message

    def _receivers(self, rule: Rule, event: str) -> list[tuple[str, str]]:
        """Return the channels of a rule for *event*, and the users who each get a mail of their own."""
        missing = set(rule.users) - self.users.keys()
        if missing:
            self.users.update(dict.fromkeys(missing, ""), **users_called(missing))
        users = [(MAIL, self.users[name]) for name in rule.users if self.users[name]]
        return [*((channel, "") for channel in rule.channels(event)), *users]


def users_called(names: Collection[str]) -> dict[str, str]:
    """Return the recipients that stand for the users with these names. Unknown ones are missing."""
    users: Any = get_user_model()
    found = users._default_manager.filter(**{f"{users.USERNAME_FIELD}__in": names})
    return {user.get_username(): f"{USER}{user.pk}" for user in found}


def kind_of(happening: Happening) -> str:
    """Return what tells whether two happenings are alike, in the 32 characters that its column has."""
    return hashlib.sha256(happening.alike.encode()).hexdigest()[:32]


def group_of(name: str) -> str:
    """Return the group of a job type as the code has it, in no language; empty if this process lacks the type."""
    job_type = registry.find(name)
    with translation.override(None):
        return str(job_type.group) if job_type is not None else ""


def enqueue(messages: Sequence[Message], using: str) -> None:
    """Store the jobs that send *messages*. The caller stores those, with the ids of their jobs."""
    if not messages:
        return
    jobs = store_dumped(registry.get(SENDER).using(database=using), [{"uid": each.uid} for each in messages])
    for message, job in zip(messages, jobs, strict=True):
        message.sender_id = job.pk
