"""Notes about the ends of jobs: the next page that a user opens shows each once. Web.

The session says whether there may be any, so that pages of users who have asked for none look for none.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest

from qorworker import permissions
from qorworker.actions.messaging import EVENT_OF
from qorworker.admin import links
from qorworker.maintenance.wording import headline
from qorworker.models import Message, MessageState
from qorworker.status import JobStatus

KEY = "qorworker_notes"  # in the session


@dataclass(frozen=True)
class Note:
    """What a page says, once."""

    text: str
    url: str
    kind: str


def expect(request: HttpRequest) -> None:
    """Have the pages of this browser look for notes."""
    request.session[KEY] = True


def take(request: HttpRequest) -> list[Note]:
    """Return what the page is to say, and note that it was said."""
    session = getattr(request, "session", {})
    if request.method != "GET" or not session.get(KEY):
        return []
    rows = Message.objects.notes_for(request.user).select_related("job").defer("job__arguments", "job__meta")
    waiting = list(rows)
    ended = [message for message in waiting if message.job is None or message.job.is_finished]
    if len(ended) == len(waiting):
        del session[KEY]
    return [note for message in ended if (note := _taken(request, message)) is not None]


def _taken(request: HttpRequest, message: Message) -> Note | None:
    """Return the note, unless another page is faster, or the user does not want it or may not see the job any more."""
    mine, job = Message.objects.filter(pk=message.pk), message.job
    if job is None or not permissions.can(request.user, "view", job=job):
        mine.delete()
        return None
    message.event = EVENT_OF[JobStatus(job.status)]
    if message.wanted_end not in ("ended", message.event):
        mine.delete()
        return None
    if not mine.close(MessageState.SENT, event=message.event):
        return None
    kind = "success" if message.event == "done" else "warning"
    return Note(headline(message), links.url_if_there(request, "qorworker_job_change", job.pk), kind)
