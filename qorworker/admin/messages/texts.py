"""What the pages of messages call channels and states. Web."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from qorworker.messages.rules import MAIL, NOTE, WEBHOOK
from qorworker.models import MessageState

CHANNELS: dict[str, Any] = {MAIL: _("Mail"), WEBHOOK: _("Webhook"), NOTE: _("Note in the admin")}
STATES: dict[str, Any] = {
    MessageState.WAITING: pgettext_lazy("message", "Waiting for an end"),
    MessageState.QUEUED: pgettext_lazy("message", "To be sent"),
    MessageState.SENT: pgettext_lazy("message", "Sent"),
    MessageState.FAILED: pgettext_lazy("message", "Not sent"),
}
LOOKS = {  # of their badges
    MessageState.WAITING: "scheduled",
    MessageState.QUEUED: "running",
    MessageState.SENT: "done",
    MessageState.FAILED: "exception",
}
