"""Messages to single users about the end of one job. All processes.

These functions are methods of ``Job``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from qorworker.definitions.registry import registry
from qorworker.exceptions import UnsupportedByBackend
from qorworker.messages.rules import MAIL, NOTE, is_address
from qorworker.models.alters import alters_data
from qorworker.models.clock import database_now
from qorworker.models.message import RECIPIENT_CHARS, USER, Message, MessageState
from qorworker.models.own import write_database

if TYPE_CHECKING:
    from qorworker.models.job import Job

SENDER = "qorworker.send_message"  # the job type that sends messages
SELF_TEST = "qorworker.self_test"  # the job type of ``manage.py testworkers``
UNREPORTED = (SENDER, SELF_TEST)  # no rule sends messages about jobs of these types
WHEN = ("failed", "done", "ended")


@alters_data
def notify(
    self: Job,
    to: Any,
    *,
    when: Literal["failed", "done", "ended"] = "ended",
    how: Literal["mail", "note"] = "mail",
) -> Message:
    """Send a mail when the job ends. The same call for the same recipient sends no second one.

    :param to: a user, or an address. A user gets the mail only if they may see the job then.
    :param when: ``"failed"``: if it has failed for good; ``"done"``: if it is done; ``"ended"``: in any case.
    :param how: ``"mail"``; or ``"note"``: the next page of the admin that the user opens says it once, in a browser in
        which they have asked for notes.
    :returns: the message, whose ``state`` says what became of it. It is deleted if the job ends in another way.
    :raises ValueError: if *to* is neither a user who is stored nor an address (of which a note takes only users), or
        *when* or *how* is something else.
    :raises qorworker.exceptions.UnsupportedByBackend: if the project has no queue from which a job could send it.

    Example::

        import_products.enqueue(shop=berlin).notify(request.user, when="failed")
    """
    if when not in WHEN:
        raise ValueError(f"when: must be one of {', '.join(map(repr, WHEN))}, not {when!r}.")
    if how not in (MAIL, NOTE):
        raise ValueError(f"how: must be 'mail' or 'note', not {how!r}.")
    recipient = _recipient(to)
    if how == NOTE and not recipient.startswith(USER):
        raise ValueError("to: only a user can see a note.")
    if how == MAIL and registry.find(SENDER) is None:
        raise UnsupportedByBackend("Messages are sent by jobs, and no queue has jobs that wait for a worker.")
    using = write_database(self)
    return Message.objects.using(using).get_or_create(
        job_id=self.pk,
        rule="",
        channel=how,
        source=f"job {self.pk} {when}",
        recipient=recipient,
        defaults={"state": MessageState.WAITING, "created_at": database_now(using)},
    )[0]


def _recipient(to: Any) -> str:
    if isinstance(to, str):
        if len(to) > RECIPIENT_CHARS or not is_address(to):
            raise ValueError(f"to: {to!r} is not an address of mail.")
        return to
    if getattr(to, "pk", None) is None or not hasattr(to, "get_username"):
        raise ValueError("to: must be a user who is stored, or an address of mail.")
    return f"{USER}{to.pk}"
