"""Sends one message; declares the job of the app that does so. Processes that run jobs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.utils.translation import gettext_lazy as _

from qorworker import permissions
from qorworker.actions.messaging import give_up
from qorworker.definitions.backoff import Exponential
from qorworker.definitions.registry import job, registry
from qorworker.exceptions import SecretsUnavailable, Undeliverable
from qorworker.execution.context import JobContext
from qorworker.maintenance import wording
from qorworker.maintenance.deciders import addresses_of_deciders
from qorworker.maintenance.jobs import queue_that_waits
from qorworker.messages import webhook
from qorworker.messages.rules import DECIDED, MAIL, Rule
from qorworker.models import Message, MessageState
from qorworker.models.job_messages import SENDER
from qorworker.models.message import ERROR_CHARS
from qorworker.models.message_rule import rule_called
from qorworker.text.cleaning import visible

ATTEMPTS = 8  # within about an hour on average
BACKOFF = Exponential(base=30.0, cap=3600.0)
SECONDS = 60.0  # for one attempt
KEPT = dt.timedelta(days=7)


class Unwanted(Exception):
    """A message that can have no recipient any more, however often it is tried."""


def send_message(context: JobContext, uid: str) -> None:
    """Sends a message. It is tried several times, a test once. It changes nothing of the job that it may be about."""
    using = str(context.job._state.db)
    message = Message.objects.using(using).try_again(uid)
    if message is None:
        context.add_log("It was sent already, or it was deleted with the job that it was about.")
        return
    rows = Message.objects.using(using).filter(pk=message.pk)
    try:
        code = _deliver(message)
    except Unwanted as problem:
        give_up(message, using, str(problem))
        context.add_log(str(problem))
    except Exception as error:
        said = {"error": _line(error), "response_code": getattr(error, "code", None)}
        if message.is_test:  # somebody waits for the answer, and can repeat it
            rows.close(MessageState.FAILED, **said)
            context.add_log(said["error"])
            return
        rows.update(**said)
        raise
    else:
        rows.close(MessageState.SENT, response_code=code, error="")


def _line(error: Exception) -> str:
    text = (
        str(error)
        if isinstance(error, (Undeliverable, Unwanted, SecretsUnavailable))
        else f"{type(error).__name__}: {error}"
    )
    return visible(" ".join(text.split()))[:ERROR_CHARS]


def declare() -> None:
    """Declare the job type, if a queue can hold its jobs."""
    queue = queue_that_waits()
    registry.hide(SENDER)
    if queue is not None:
        job(
            name=SENDER,
            title=_("Send a message"),
            group=_("Maintenance"),
            queue_name=queue,
            permission=_is_for_nobody,
            schedulable=False,
            max_attempts=ATTEMPTS,
            backoff=BACKOFF,
            timeout=SECONDS,
            keep_for=KEPT,
        )(send_message)


def _is_for_nobody(user: Any, job_type: Any, action: str) -> bool:
    """Leave only what superusers may do, and what Django's permissions allow to see."""
    return False


def _deliver(message: Message) -> int | None:
    """Send *message*, and return the status code of a webhook's answer."""
    rule = _rule_of(message) if message.rule else None
    if rule is None or message.recipient:
        _mail(message, [_address_of(message)])
        return None
    if message.channel == MAIL:
        _mail_by_rule(message, rule)
        return None
    assert rule.webhook is not None  # as it is one of its channels
    payload = wording.slack if rule.webhook.format == "slack" else wording.payload
    return webhook.post(rule.webhook, payload(message), message.uid)


def _rule_of(message: Message) -> Rule:
    rule = rule_called(message.rule, str(message._state.db))
    if rule is None or not (message.recipient or message.channel in rule.channels(message.event)):
        raise Unwanted(f"There is no rule {message.rule!r} with {message.channel!r} any more.")
    return rule


def _address_of(message: Message) -> str:
    """Return where to send a message that one user wants, or somebody with an address."""
    if not message.user_id:
        return message.recipient
    users = get_user_model()._default_manager
    try:
        user: Any = users.filter(pk=message.user_id).first()
    except (ValueError, ValidationError):
        user = None
    if user is None or not _may_see(user, message):
        raise Unwanted("The user has no account any more, or may not see what it is about.")
    address = str(getattr(user, user.get_email_field_name(), "") or "")
    if not address:
        raise Unwanted("The user has no address of mail.")
    if message.job is not None and not permissions.can(user, "view_log", job=message.job):
        message.facts = {**message.facts, "error": "", "exception": ""}
    return address


def _may_see(user: Any, message: Message) -> bool:
    if message.job is not None:
        return permissions.can(user, "view", job=message.job)
    if message.is_test:
        return bool(user.is_active)
    if message.event == "worker_gone":
        return bool(user.is_active and user.has_perm("qorworker.view_worker"))
    if (number := message.facts.get("schedule_id")) is not None:
        return permissions.Visibility(user).schedules.filter(pk=number).exists()
    return permissions.Visibility(user).sees_everything


def _mail_by_rule(message: Message, rule: Rule) -> None:
    asked = addresses_of_deciders(message) if rule.deciders and message.event in DECIDED else []
    others = [address for address in asked if address not in rule.mail]
    if not rule.mail and not others:
        raise Unwanted("Nobody with an address of mail may decide about it any more, or it was decided.")
    _mail(message, rule.mail, others)


def _mail(message: Message, to: Sequence[str], hidden: Sequence[str] = ()) -> None:
    subject, body = wording.mail(message)
    EmailMessage(subject, body, to=list(to), bcc=list(hidden), headers={"X-QorWorker-Id": message.uid}).send()
