"""*Tell me when it ends*: the choice in the run form, and the buttons on the page of a job. Web."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.widgets import AdminRadioSelect
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from qorworker.admin import access, links, notes
from qorworker.definitions.registry import registry
from qorworker.messages.rules import MAIL, NOTE
from qorworker.models import Job, Message, MessageState
from qorworker.models.job_messages import SENDER

FIELD = "qw-tell"


def ways(user: Any) -> dict[str, str]:
    """Return how *user* can be told: by a note, and by mail if they have an address and a job can send it."""
    address = str(getattr(user, user.get_email_field_name(), "") or "")
    can_mail = bool(address) and registry.find(SENDER) is not None
    mail = {MAIL: _("By mail to %(address)s") % {"address": address}} if can_mail else {}
    return {NOTE: _("On the next page that I open"), **mail}


class TellForm(forms.Form):
    """How the user who starts a job wants to hear of its end."""

    tell = forms.ChoiceField(
        label=gettext_lazy("Tell me when it ends"), required=False, initial="",
        widget=AdminRadioSelect(attrs={"class": "radiolist inline"}),
    )  # fmt: skip

    def __init__(self, user: Any, data: Any = None) -> None:
        super().__init__(data, prefix="qw")
        self.fields["tell"].choices = [("", _("No")), *ways(user).items()]  # type: ignore[attr-defined]

    @property
    def how(self) -> str:
        """The chosen way; empty if it is none."""
        return str(self.cleaned_data.get("tell") or "")


@dataclass(frozen=True)
class Telling:
    """What the page of a job offers."""

    ways: dict[str, str]
    waits: bool  # the user will be told already

    @classmethod
    def of(cls, user: Any, job: Job, known: Collection[Message]) -> Telling | None:
        """Return what is offered to *user*; None for a job that has ended.

        :param known: the messages about the job.
        """
        if job.is_finished:
            return None
        mine = (each for each in known if each.user_id == str(user.pk) and not each.rule)
        return cls(ways(user), any(each.state == MessageState.WAITING for each in mine))


def ask_for(request: HttpRequest, job: Job, how: str) -> None:
    """Have the user of *request* told of the end of *job*."""
    job.notify(request.user, how=how)  # type: ignore[arg-type]
    if how == NOTE:
        notes.expect(request)


def tell_me(model_admin: Any, request: HttpRequest, pk: int) -> HttpResponseBase:
    """Carry out the buttons at ``job/<id>/tell-me/``."""
    job = access.visible_job(request, pk)
    if job is None:
        return access.not_found(request)
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    how = request.POST.get(FIELD, "")
    if not how:
        Message.objects.wanted_by(request.user, job).delete()
        messages.success(request, _("You will not be told when it ends."))
    elif job.is_finished:
        messages.warning(request, _("It has already ended."))
    elif how in ways(request.user):
        ask_for(request, job, how)
        messages.success(request, _("You will be told when it ends."))
    else:
        messages.warning(request, _("You cannot be told in this way. Nothing was changed."))
    return HttpResponseRedirect(links.url(request, "qorworker_job_change", job.pk))
