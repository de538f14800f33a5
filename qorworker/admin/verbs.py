"""The verbs that users request of a row, and the one view behind all their buttons. Only POST changes anything. Web."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.contrib import messages
from django.core.exceptions import ObjectDoesNotExist
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed, HttpResponseRedirect
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from qorworker import permissions
from qorworker.admin import access, conflicts, links, rendering, tokens
from qorworker.admin.media import MEDIA
from qorworker.admin.parameters import number
from qorworker.definitions.job_type import JobType
from qorworker.exceptions import AlreadyEnqueued, QorWorkerError
from qorworker.execution.messages import clean_text
from qorworker.models import Approval, Batch, Job, Schedule

REASON_CHARS = 200
MATCHED = gettext_lazy("a matching job already exists")
TOO_LATE = gettext_lazy("That has already been done, or cannot be done now. Nothing was changed.")
DELETED = gettext_lazy("It has been deleted in the meantime.")
Text = str | Promise


def always(row: Any) -> bool:
    """Return True, for a verb that is offered for every row."""
    return True


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One request that users can make of a job, a schedule, a worker, or a queue.

    ``perform`` is called with the request, the row and the form of the verb, which is None if it has none. What it
    returns is for the message. It raises ``NothingNew``, ``Unclear`` or a ``QorWorkerError`` if nothing was done.
    """

    name: str  # the end of its URL
    needs: tuple[str, ...]  # the actions of ``permissions.can`` that a user must be allowed, all of them
    perform: Callable[[HttpRequest, Any, Any], Any]
    offered: Callable[[Any], bool] = always  # whether it makes sense for a row
    label: Text = ""
    success: Text = ""
    question: Text = ""
    warning: Text = ""
    kind: str = ""  # of its button: "primary" or "danger"
    bulk: Text = ""  # its label as an action of a list; without one it is none
    plural: Any = ""  # the message of that action
    makes_job: bool = False
    takes_reason: bool = False

    @property
    def key(self) -> str:
        """Return its name within names of URLs and actions."""
        return self.name.replace("-", "_")

    def lacking(self, user: Any, job_type: JobType[..., Any] | None = None, job: Job | None = None) -> str:
        """Return the first right that *user* lacks to do this with *job* or *job_type*; empty if none is lacking."""
        return next((action for action in self.needs if not permissions.can(user, action, job_type, job)), "")


class NothingNew(Exception):
    """Raised if nothing was done, because it had been done before or is done by something else.

    *message* gives the user the reason, *reason* does so in a word for one of many rows, and *job* is the result of the
    same click.
    """

    def __init__(
        self, message: Text, reason: Text = "", job: Job | Batch | None = None, level: int = messages.WARNING
    ) -> None:
        self.message, self.reason, self.job, self.level = message, reason, job, level


class Unclear(Exception):
    """Raised if the *form* of the verb has errors."""

    def __init__(self, form: Any) -> None:
        self.form = form


class Reply(NamedTuple):
    """The message after a verb, and the row whose page is shown then: None if it has been deleted."""

    row: Any
    text: Text
    level: int = messages.SUCCESS


def make_once(request: HttpRequest, row: Job | Schedule, make: Callable[[], Job]) -> Job:
    """Return the job that *make* makes of *row*, once for each click.

    Raises ``NothingNew`` if this click was carried out before, or a matching job is there already.
    """
    job, is_first = tokens.repeat_once(request.user, request.POST.get("qw-token", ""), row, make)
    if job.is_existing:
        raise NothingNew(conflicts.existing_sentence(request, job), MATCHED)
    if not is_first:
        raise NothingNew(_("This run was already started."), _("done before"), job)
    return job


def reason_in(text: str) -> str:
    """Return a reason as it is stored: one line of at most ``REASON_CHARS`` characters."""
    return " ".join(clean_text(text, REASON_CHARS).split())


def seen_in(request: HttpRequest) -> Approval | None:
    """Return the request for approval that the page showed; None for a list, which shows many."""
    seen = number(request.POST.get("qw-seen", ""))
    return Approval(pk=seen) if seen is not None else None


class VerbView(ABC):
    """Permission, question, verb, message, redirect. A subclass adds what is special to one kind of rows."""

    shows_row = True  # after a verb; else the list

    def __init__(self, model_admin: Any, request: HttpRequest, verb: Verb) -> None:
        self.model_admin, self.request, self.verb = model_admin, request, verb

    @classmethod
    def view(cls, model_admin: Any, request: HttpRequest, verb: Verb, **named: Any) -> HttpResponseBase:
        """Answer the request, as a view for ``Pages.page``, with *verb* and the values that the URL names."""
        return cls(model_admin, request, verb).answer(**named)

    # For subclasses

    @abstractmethod
    def find(self, *args: Any, **named: Any) -> Any:
        """Return the row that the request names; None if it does not exist or the user may not see it."""

    def about(self, row: Any) -> dict[str, Any]:
        """Return the job or the job type by which rights to *row* are judged, as keywords of ``Verb.lacking``."""
        return {}

    def lacking(self, row: Any) -> str:
        """Return the right that the user lacks to do this with *row*; empty if none is lacking."""
        return self.verb.lacking(self.request.user, **self.about(row))

    def deny(self, row: Any, action: str) -> HttpResponseBase:
        """Refuse *action* on *row* with a page that names the missing permission."""
        return access.deny(self.model_admin, self.request, action, **self.about(row))

    def question(self, row: Any) -> str:
        """Return what to ask before the verb; empty if nothing is to be asked."""
        return ""

    def warning(self, row: Any) -> str:
        """Return what the user should know before confirming; empty if there is nothing."""
        return ""

    def form(self, row: Any) -> Any:
        """Return the form of the verb, filled from the request; None if it has none."""
        return None

    def perform(self, row: Any) -> Any:
        """Perform the verb on *row* and return its result, for ``reply``."""
        return self.verb.perform(self.request, row, self.form(row))

    def show(self, row: Any, form: Any) -> HttpResponseBase:
        """Return the page of *row* with the errors of *form*, for a verb that has one."""
        raise NotImplementedError

    @abstractmethod
    def reply(self, row: Any, result: Any) -> Reply:
        """Return the message for the *result* that the verb returned."""

    def refusal(self, row: Any, error: QorWorkerError) -> Reply:
        """Return the message for the *error* that the verb raised."""
        return Reply(row, str(error), messages.WARNING)

    # Answering a request

    def answer(self, **named: Any) -> HttpResponseBase:
        """Carry out the verb on the row that the request names.

        It answers only POST. Where the verb has a question, a page asks it unless the form says that it was answered.
        """
        if self.request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self.find(**named)
        if row is None:
            return access.not_found(self.request)
        if lacking := self.lacking(row):
            return self.deny(row, lacking)
        if "confirmed" not in self.request.POST and self.verb.offered(row) and (question := self.question(row)):
            return self._ask(row, question)
        try:
            reply = self._carry_out(row)
        except Unclear as unclear:
            return self.show(row, unclear.form)
        messages.add_message(self.request, reply.level, str(reply.text))
        return HttpResponseRedirect(self._url(reply.row))

    def _carry_out(self, row: Any) -> Reply:
        try:
            return self.reply(row, self.perform(row))
        except NothingNew as nothing:
            first = nothing.job if isinstance(nothing.job, type(row)) else row
            return Reply(first, nothing.message, nothing.level)
        except AlreadyEnqueued as error:
            return Reply(row, conflicts.sentence(self.request, error.job, error.message), messages.WARNING)
        except QorWorkerError as error:
            return self.refusal(row, error)
        except ObjectDoesNotExist:
            return Reply(None, DELETED, messages.WARNING)

    def _ask(self, row: Any, question: str) -> HttpResponseBase:
        """Return the page that asks where no script can open a dialog."""
        kind = self.model_admin.opts.model_name
        return rendering.page(
            self.request,
            f"{kind}/confirm.html",
            self.model_admin.opts,
            title=question,
            media=MEDIA,
            row=row,
            verb=self.verb,
            warning=self.warning(row),
            token=self.request.POST.get("qw-token", ""),
            seen=self.request.POST.get("qw-seen", ""),
            back=self._url(row),
        )

    def _url(self, row: Any) -> str:
        kind = self.model_admin.opts.model_name
        if row is None or not self.shows_row:
            return links.url(self.request, f"qorworker_{kind}_changelist")
        return links.url(self.request, f"qorworker_{kind}_change", row.pk)
