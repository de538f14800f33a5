"""The view behind the buttons of a question. Web."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed
from django.utils.translation import gettext as _

from qorworker import permissions
from qorworker.admin import access
from qorworker.admin.jobs import detail
from qorworker.admin.jobs.questions import Asked, form_of
from qorworker.admin.jobs.verb_views import back, gone, is_deleted
from qorworker.admin.texts import BROKEN
from qorworker.admin.verbs import DELETED, reason_in
from qorworker.exceptions import InvalidArguments, InvalidTransition
from qorworker.models import Job, Origin, Question, QuestionState
from qorworker.queries import job_details

DECLINE = "qw-decline"  # the name of the button; no field can have it


def answer(model_admin: Any, request: HttpRequest, pk: int, number: int) -> HttpResponseBase:
    """Answer a question at ``job/<id>/questions/<number>/``, or decline to, if that button was pressed."""
    job = access.visible_job(request, pk)
    question = job_details.question(job, number) if job is not None else None
    if job is None or question is None:
        return access.not_found(request)
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not permissions.may_answer(request.user, job, question):
        reason = _("Only users with the permission “%s” may answer this question.") % question.permission
        return access.deny(model_admin, request, "answer", job=job, reason=reason if question.permission else "")
    try:
        if DECLINE in request.POST:
            reason = reason_in(request.POST.get("qw-reason", ""))
            job.decline(question=question, by=request.user, reason=reason, origin=Origin.ADMIN)
            messages.success(request, _("You have declined to answer. The job goes on without an answer."))
        elif question.is_callback:
            messages.warning(request, _("Only a call from outside answers this. Nothing was changed."))
        elif (refused := _answer(request, job, question)) is not None:
            return refused
    except InvalidTransition as error:
        if is_deleted(error):
            messages.warning(request, str(DELETED))
            return gone(request)
        messages.warning(request, _too_late(job, question))
    return back(request, job)


def _answer(request: HttpRequest, job: Job, question: Question) -> HttpResponseBase | None:
    """Store the answer, and return None; or the page of the job with the errors of the form."""
    if question.arguments.problems():
        messages.error(request, BROKEN)
        return None
    form = form_of(question, request.POST)
    if form.is_valid():
        try:
            job.answer_cleaned(form.cleaned_data, question=question, by=request.user, origin=Origin.ADMIN)
        except InvalidArguments as error:
            for field, found in error.errors.items():
                form.add_error(field if field in form.fields else None, list(found))
        else:
            messages.success(request, _("Your answer was saved. The job goes on with it."))
            return None
    if not question.is_open:
        messages.warning(request, _too_late(job, question))
        return None
    return detail.show(request, job, asked=Asked(job, question, may_answer=True, form=form), status=422)


def _too_late(job: Job, question: Question) -> str:
    """Return why nothing was changed. Another user may have been faster."""
    question.refresh_from_db()
    sentences = {
        QuestionState.ANSWERED: _("%(who)s has answered this question already."),
        QuestionState.DECLINED: _("%(who)s has declined to answer this question already."),
        QuestionState.EXPIRED: _("The time to answer this question is over."),
    }
    sentence = sentences.get(QuestionState(question.state))
    if sentence is None and question.is_past:
        sentence = sentences[QuestionState.EXPIRED]
    sentence = sentence or _("The job has ended: it needs no answer any more.")
    nobody = _("Somebody")
    return " ".join((sentence % {"who": question.user_name or nobody}, _("Nothing was changed.")))
