"""Messages: what is to be sent, and what became of it. All processes.

A row is stored once for each rule, channel and event, or by ``Job.notify``. A job of an internal type sends it.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Iterable
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Exists, F, Max, OuterRef
from django.utils.translation import gettext_lazy as _

from qorworker.messages.rules import EVENTS, MAIL, NAME_CHARS, NOTE, WEBHOOK
from qorworker.models.clock import DatabaseNow
from qorworker.models.fields import RemarkField
from qorworker.models.mark import Mark
from qorworker.models.own import OwnQuerySet
from qorworker.status import FINISHED, UNFINISHED

RECIPIENT_CHARS = 254
ERROR_CHARS = 500
TEST = "test"  # the event of a message by which somebody tries a rule
DIGEST = "digest"  # the event of a message that has the sums of others; it waits until its time is over
USER = "user:"  # begins the recipient if it is a user, by the id; no address has a colon there


class MessageState(models.TextChoices):
    """What became of a message."""

    WAITING = "waiting"  # for the end of its job
    QUEUED = "queued"  # a job is to send it
    SENT = "sent"
    FAILED = "failed"  # no attempt is left


def new_uid() -> str:
    """Return the id of a new message."""
    return uuid.uuid4().hex


class MessageQuerySet(OwnQuerySet["Message"]):
    def open_states(self) -> Iterable[str]:
        """Return the states of those to be sent that have no end yet, each once."""
        states = (MessageState.WAITING, MessageState.QUEUED)
        return self.filter(state__in=states).exclude(channel=NOTE).order_by().values_list("state", flat=True).distinct()

    def of_ended_jobs(self) -> MessageQuerySet:
        """Return those to be sent that wait for the end of a job which has ended."""
        return self.filter(state=MessageState.WAITING, job__status__in=FINISHED).exclude(channel=NOTE)

    def digests(self) -> MessageQuerySet:
        """Return those that still collect sums, or wait to be sent with them."""
        return self.filter(state=MessageState.WAITING, event=DIGEST)

    def notes_for(self, user: Any) -> MessageQuerySet:
        """Return those that a page is to show to *user* when their jobs have ended."""
        return self.filter(rule="", channel=NOTE, recipient=f"{USER}{user.pk}", state=MessageState.WAITING)

    def wanted_by(self, user: Any, job: Any) -> MessageQuerySet:
        """Return those by which *user* wants to hear of the end of *job*, and that wait for it."""
        return self.filter(job=job, rule="", recipient=f"{USER}{user.pk}", state=MessageState.WAITING)

    def forgettable(self, before: dt.datetime) -> MessageQuerySet:
        """Return those about no job that are older than *before*."""
        return self.filter(job=None, created_at__lt=before)

    def reopen(self, pk: int) -> int:
        """Take up one that was given up, and return 0 if it was not. Its sender comes in the same transaction."""
        return self.filter(pk=pk, state=MessageState.FAILED).update(state=MessageState.QUEUED, closed_at=None)

    def given_up(self) -> MessageQuerySet:
        """Return those that no job is going to send any more, because it has failed, or is gone."""
        jobs: Any = self.model._meta.get_field("job").related_model  # that module imports this one
        sending = jobs.objects.using(self.db).filter(pk=OuterRef("sender_id"), status__in=UNFINISHED)
        return self.filter(state=MessageState.QUEUED).exclude(Exists(sending))

    def newest_of(self, rules: Collection[str], kinds: Collection[str]) -> Iterable[Message]:
        """Return the newest message of each of these rules and kinds."""
        groups = self.filter(rule__in=rules, kind__in=kinds).order_by().values("rule", "kind")
        return self.in_bulk([group["last"] for group in groups.annotate(last=Max("pk"))]).values()

    def try_again(self, uid: str) -> Message | None:
        """Count one more attempt at a message that has not arrived, and return it; None if there is none."""
        mine = self.filter(uid=uid).exclude(state=MessageState.SENT)
        if not mine.update(attempts=F("attempts") + 1):
            return None
        message = mine.select_related("job").first()
        is_orphan = message is not None and message.job_id is not None and message.job is None
        return None if is_orphan else message

    def close(self, state: str, **values: Any) -> int:
        """Give these messages their end, and return how many were not sent before."""
        return self.exclude(state=MessageState.SENT).update(state=state, closed_at=DatabaseNow(), **values)


class Message(models.Model):
    """One message to one recipient, or to those of one rule and channel.

    It is deleted with its job; one that is about no job, some time after it was made.
    """

    uid = models.CharField(max_length=32, unique=True, default=new_uid)  # the same each time it is sent
    job = models.ForeignKey(  # null: it is about no job
        "qorworker.Job", models.CASCADE, null=True, related_name="messages", db_constraint=False, db_index=False
    )
    rule = models.CharField(max_length=NAME_CHARS, blank=True)  # its name; empty for ``Job.notify``
    channel = models.CharField(max_length=7, choices=[(each, each) for each in (MAIL, WEBHOOK, NOTE)], default=MAIL)
    # An address, or a user; empty for those of the rule, which may be secrets and are not stored.
    recipient = models.CharField(max_length=RECIPIENT_CHARS, blank=True)
    source = models.CharField(max_length=40)  # what it reports; or the job whose end it waits for, and which end
    event = models.CharField(max_length=20, choices=[(event, event) for event in (*EVENTS, TEST, DIGEST)], blank=True)
    facts = models.JSONField(default=dict, encoder=DjangoJSONEncoder)  # about the job, as it was then
    kind = models.CharField(max_length=32, blank=True)  # of event, if the rule has a quiet period
    left_out = models.PositiveIntegerField(default=0)  # messages of its kind in the quiet period after it
    state = models.CharField(max_length=7, choices=MessageState.choices, default=MessageState.QUEUED)
    sender_id = models.BigIntegerField(null=True)  # the job that sends it
    attempts = models.PositiveSmallIntegerField(default=0)
    response_code = models.PositiveSmallIntegerField(null=True)  # of the last answer of a webhook
    error = RemarkField(max_length=ERROR_CHARS, blank=True)  # of the last attempt
    created_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)  # when it was sent or given up

    objects = MessageQuerySet.as_manager()

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        default_permissions = ("view",)
        ordering = ("id",)
        indexes = (
            models.Index(name="qorworker_message_job", fields=("job",)),
            models.Index(name="qorworker_message_state", fields=("state", "id")),
            models.Index(name="qorworker_message_kind", fields=("rule", "kind")),
        )
        constraints = (
            models.UniqueConstraint(fields=("rule", "channel", "source", "recipient"), name="qorworker_message_once"),
        )

    def __str__(self) -> str:
        return f"{self.channel} about {self.source}: {self.event}"

    @property
    def wanted_end(self) -> str:
        """The end of its job for which it waits: one of ``job_messages.WHEN``."""
        return self.source.rpartition(" ")[2]

    @property
    def is_test(self) -> bool:
        """Whether it reports nothing, and was sent to try a rule."""
        return self.event == TEST

    @property
    def user_id(self) -> str:
        """The id of the user who gets it; empty if it goes to no user."""
        return self.recipient.removeprefix(USER) if self.recipient.startswith(USER) else ""


class MessageMark(Mark):
    """The only row: up to where the events have their messages, and what held at the last look."""

    MOVED = (*Mark.MOVED, "slot", "slot_gaps", "looked_at", "holding")

    slot = models.BigIntegerField(null=True)  # the last id of a time of a schedule; null: none was looked for
    slot_gaps = models.JSONField(default=list)
    looked_at = models.DateTimeField(null=True)
    holding = models.JSONField(default=dict)  # what is so -> whether it was reported, or is to be seen once more before

    objects: models.Manager[MessageMark] = OwnQuerySet.as_manager()
