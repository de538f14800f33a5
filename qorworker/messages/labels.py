"""What people read for the events. Pure."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

LABELS: dict[str, Any] = {
    "failed": _("A job has failed, and is not tried again"),
    "attempt_failed": _("An attempt has failed, and the job is tried again"),
    "worker_lost": _("An attempt ended because its worker was gone"),
    "row_errors": _("A job has ended with errors in rows"),
    "aborted": _("A job was aborted"),
    "cancelled": _("A job was cancelled before it started"),
    "done": _("A job is done"),
    "longer_than_usual": _("A job takes longer than usual"),
    "queue_older_than": _("A job in a queue waits too long"),
    "schedule_missed": _("A schedule has missed a run"),
    "worker_gone": _("A worker gives no sign of life any more"),
    "approval_wanted": _("Something waits for approval"),
    "question_asked": _("A job asks a question"),
}
