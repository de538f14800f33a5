"""The list of messages: to whom each goes, and what became of it. Web."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages as notes
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.utils.translation import gettext as _

from qorworker import permissions
from qorworker.actions.messaging import send_again
from qorworker.admin import access, links, rendering
from qorworker.admin.media import SCHEDULE_MEDIA
from qorworker.admin.messages.texts import CHANNELS, LOOKS, STATES
from qorworker.admin.parameters import number
from qorworker.exceptions import UnsupportedByBackend
from qorworker.maintenance.wording import headline
from qorworker.models import Message, MessageState
from qorworker.models.message import DIGEST

PER_PAGE = 50


@dataclass(frozen=True)
class Delivery:
    """One message of the list."""

    message: Message
    text: str
    receiver: str
    job_url: str = ""

    @property
    def state(self) -> str:
        return str(STATES[self.message.state])

    @property
    def look(self) -> str:
        return LOOKS[MessageState(self.message.state)]

    @property
    def channel(self) -> str:
        return str(CHANNELS[self.message.channel])

    @property
    def answer(self) -> str:
        """What the receiver answered, or why there is no answer."""
        code = self.message.response_code
        return self.message.error or (str(code) if code is not None else "")

    @property
    def can_be_sent_again(self) -> bool:
        return self.message.state == MessageState.FAILED and not self.message.is_test


def messages(model_admin: Any, request: HttpRequest) -> HttpResponseBase:
    """Show ``message/``, the newest first; for users who may only see the rules, lead to these."""
    if not permissions.can(request.user, "view_message"):
        if permissions.sees_rules(request.user):
            return HttpResponseRedirect(links.url(request, "qorworker_messagerule_changelist"))
        return access.deny(model_admin, request, "view_message")
    state, before = request.GET.get("state", ""), number(request.GET.get("before", ""))
    rows = Message.objects.select_related("job").defer("job__arguments", "job__meta").order_by("-pk")
    if state in MessageState.values:
        rows = rows.filter(state=state)
    if before is not None:
        rows = rows.filter(pk__lt=before)
    found = list(rows[: PER_PAGE + 1])
    return rendering.page(
        request,
        "message/list.html",
        Message._meta,
        title=_("Messages"),
        media=SCHEDULE_MEDIA,
        shown=_deliveries(request, found[:PER_PAGE]),
        states=[
            ("", _("All messages"), not state),
            *((each.value, STATES[each], each == state) for each in MessageState),
        ],
        state=state if state in MessageState.values else "",
        older=found[PER_PAGE - 1].pk if len(found) > PER_PAGE else None,
        may_manage=permissions.can(request.user, "manage_rule"),
        may_see_rules=permissions.sees_rules(request.user),
    )


def _deliveries(request: HttpRequest, rows: Sequence[Message]) -> list[Delivery]:
    """Return what is shown of *rows*. Those about jobs that the user may not see are left out."""
    visible = permissions.Visibility(request.user).job_numbers(message.job_id for message in rows)
    names = _names(rows)
    shown = []
    for message in rows:
        if message.job_id is None or (message.job_id in visible and message.job is not None):
            url = links.url_if_there(request, "qorworker_job_change", message.job_id) if message.job_id else ""
            shown.append(Delivery(message, text_of(message), _receiver(message, names), url))
    return shown


def text_of(message: Message) -> str:
    """Return what a message says, or of one that waits, for what."""
    if message.state == MessageState.WAITING and message.event != DIGEST:
        return _("Waits for the end of %(job)s") % {"job": message.job}
    return headline(message)


def _receiver(message: Message, names: dict[str, str]) -> str:
    """Return to whom it goes; empty if these are the receivers of its rule."""
    if message.user_id:
        return names.get(message.user_id, _("An account that was deleted"))
    return message.recipient


def _names(rows: Sequence[Message]) -> dict[str, str]:
    """Return the names of the users to whom *rows* go, by id."""
    ids = {message.user_id for message in rows if message.user_id}
    users = get_user_model()._default_manager
    try:
        return {str(user.pk): user.get_username() for user in users.filter(pk__in=ids)} if ids else {}
    except (ValueError, ValidationError):  # the ids of accounts have become others
        return {}


def again(model_admin: Any, request: HttpRequest, pk: int) -> HttpResponseBase:
    """Have a message sent again that was given up."""
    if not (permissions.can(request.user, "manage_rule") and permissions.can(request.user, "view_message")):
        return access.deny(model_admin, request, "manage_rule")
    message = Message.objects.filter(pk=pk).first() if pk < 2**63 else None
    visible = permissions.Visibility(request.user).job_numbers([message.job_id] if message is not None else [])
    if message is None or (message.job_id is not None and message.job_id not in visible):
        return access.not_found(request)
    try:
        is_queued = not message.is_test and send_again(message)
    except UnsupportedByBackend as error:
        notes.error(request, str(error))
        is_queued = None
    if is_queued:
        access.record(request, "send message again", "ok", message=message.uid)
        notes.success(request, _("The message will be sent again."))
    elif is_queued is not None:
        notes.warning(request, _("This message cannot be sent again. Nothing was changed."))
    return HttpResponseRedirect(links.url(request, "qorworker_message_changelist"))
