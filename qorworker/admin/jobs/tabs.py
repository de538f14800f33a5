"""The tabs of the list as data: their names, columns and actions, and the sentences of empty ones. Web."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from qorworker.status import JobStatus

TABS: dict[str, Any] = {
    "all": pgettext_lazy("tab", "All"),
    "queued": JobStatus.NEW.label,
    "running": JobStatus.RUNNING.label,
    "scheduled": JobStatus.SCHEDULED.label,
    "done": JobStatus.DONE.label,
    "failed": JobStatus.EXCEPTION.label,
}
MORE_TABS: dict[str, Any] = {
    "row_errors": _("Done with row errors"),
    "will_retry": _("Will retry"),
    "paused": pgettext_lazy("job status", "Paused"),
    "asking": _("Waiting for an answer"),
    "awaiting": _("To approve"),
    "aborted": JobStatus.KILLED.label,
    "cancelled": JobStatus.CANCELLED.label,
    "not_responding": _("Not responding"),
    "not_in_code": _("Not in code"),
}
STORED: dict[str, str] = {"queued": JobStatus.NEW, "failed": JobStatus.EXCEPTION, "aborted": JobStatus.KILLED}
EMPTY: dict[str, Any] = {
    "all": _("No job has run yet."),
    "queued": _("No job is waiting for a worker."),
    "running": _("No job is running."),
    "scheduled": _("No job is scheduled."),
    "done": _("No job is done yet."),
    "failed": _("No job has failed."),
    "row_errors": _("No job has ended with errors in its rows."),
    "will_retry": _("No job waits for another attempt."),
    "paused": _("No job is paused."),
    "asking": _("No job waits for an answer."),
    "awaiting": _("No job waits for approval."),
    "aborted": _("No job was aborted."),
    "cancelled": _("No job was cancelled."),
    "not_responding": _("Every running job shows signs of life."),
    "not_in_code": _("The code of every job is part of the project."),
}

# The names of the ``Columns`` that make sense in each tab.
_USUAL = ("number", "job", "status", "arguments", "created", "duration", "by")
_ENDED = ("number", "job", "status", "arguments", "finished", "duration", "by")
_RUNNING = ("number", "job", "status", "arguments", "started", "duration", "worker", "by")
COLUMNS: dict[str, tuple[str, ...]] = {
    "queued": ("number", "position", "job", "waiting", "arguments", "queue", "by"),
    "running": _RUNNING,
    "not_responding": _RUNNING,
    "scheduled": ("number", "job", "starts", "status", "arguments", "by"),
    "will_retry": ("number", "job", "starts", "error", "attempts", "arguments", "by"),
    "paused": ("number", "job", "status", "paused", "arguments", "by"),
    "asking": ("number", "job", "question", "until", "arguments", "by"),
    "awaiting": ("number", "job", "arguments", "by", "starts", "until", "permission"),
    "done": _ENDED,
    "failed": ("number", "job", "error", "attempts", "arguments", "finished", "by"),
    "row_errors": ("number", "job", "status", "error", "arguments", "finished", "by"),
    "aborted": _ENDED,
    "cancelled": _ENDED,
}

# The names of the actions that make sense for the jobs of each tab.
_AFTER = ("run_again", "delete_finished")
ACTIONS: dict[str, tuple[str, ...]] = {
    "queued": ("cancel", "pause", "reschedule"),
    "running": ("abort", "pause", "resume"),
    "not_responding": ("mark_failed", "abort"),
    "scheduled": ("run_now", "reschedule", "pause", "cancel"),
    "will_retry": ("run_now", "reschedule", "pause", "cancel"),
    "paused": ("resume", "reschedule", "cancel"),
    "asking": ("pause", "cancel"),
    "awaiting": ("approve", "decline", "cancel"),
    "done": _AFTER,
    "failed": ("retry", *_AFTER),
    "row_errors": _AFTER,
    "aborted": ("retry", *_AFTER),
    "cancelled": _AFTER,
    "not_in_code": ("cancel", "abort", "mark_failed", "delete_finished"),
}


def columns_of(tab: str) -> tuple[str, ...]:
    """Return the names of the columns that a tab shows."""
    return COLUMNS.get(tab, _USUAL)


def tab_named(word: str) -> str | None:
    """Return the tab that a word for a status means, in its stored, shown or URL form; None if there is none."""
    folded = word.casefold().replace("-", " ").replace("_", " ")
    for tab, label in {**TABS, **MORE_TABS}.items():
        if tab != "all" and folded in (tab.replace("_", " "), str(label).casefold(), STORED.get(tab)):
            return tab
    return None
