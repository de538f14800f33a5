"""The verbs that end a question of a job: somebody answers it, or declines to. All processes.

These functions are methods of ``Job``. They lock the job before its question, as everything does that ends one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.db.models import Case, F, When
from django.utils.translation import gettext as _

from qorworker.exceptions import InvalidArguments, InvalidTransition
from qorworker.models.alters import alters_data, begins_again
from qorworker.models.audit import Origin, account_of
from qorworker.models.clock import DatabaseNow
from qorworker.models.job_verbs import changing, row_of
from qorworker.models.own import write_database
from qorworker.models.question import Question, QuestionState, question_of
from qorworker.status import UNFINISHED

if TYPE_CHECKING:
    from qorworker.models.job import Job

NONE: Any = object()  # no values, where None is JSON
LOGGED_CHARS = 200  # of a question in the audit


@alters_data
@begins_again
def answer(
    self: Job,
    values: Any = NONE,
    /,
    *,
    question: Question | None = None,
    by: Any = None,
    origin: str = Origin.CODE,
    **more: Any,
) -> None:
    """Answer the question of a job, which then goes on with the answer. The first answer counts.

    :param values: the values of the fields by name; for a callback what was called with, any JSON.
    :param question: which of its ``questions``; None: the one that is open.
    :param by: the user who answers, for pages and the audit.
    :param origin: where the answer comes from, for pages and the audit.
    :param more: the same as *values*, as keyword arguments.
    :raises qorworker.exceptions.InvalidArguments: with the errors of each field. Nothing is stored then.
    :raises qorworker.exceptions.InvalidTransition: if there is no open question, or an answer came before.

    Example::

        job.answer(by=request.user, publish=True, note="Checked by Ann.")
    """
    chosen = question or question_of(self)
    if chosen is None:
        raise _nothing_open(self, "answer")
    if chosen.is_callback:
        stored = more if values is NONE else values
    else:
        if values is not NONE and not isinstance(values, Mapping):
            raise InvalidArguments(chosen.arguments.job_type, {"__all__": [_("The values must be a dict, by field.")]})
        stored = _checked(chosen, {**({} if values is NONE else values), **more})
    _close(self, "answer", chosen, QuestionState.ANSWERED, by, origin, {"answer": stored})


@alters_data
@begins_again
def decline(
    self: Job, *, question: Question | None = None, by: Any = None, reason: str = "", origin: str = Origin.CODE
) -> None:
    """Decline to answer the question of a job. Its handler gets ``NotAnswered``, even if there is a default.

    :param question: which of its ``questions``; None: the one that is open.
    :param by: the user who declines, for pages and the audit.
    :param reason: the reason, for the handler, pages and the audit.
    :param origin: where the request comes from, for pages and the audit.
    :raises qorworker.exceptions.InvalidTransition: if there is no open question, or an answer came before.
    """
    chosen = question or question_of(self)
    if chosen is None:
        raise _nothing_open(self, "decline")
    _close(self, "decline", chosen, QuestionState.DECLINED, by, origin, {"reason": reason[:200]})


@alters_data
@begins_again
def answer_cleaned(
    self: Job, cleaned: dict[str, Any], /, *, question: Question, by: Any = None, origin: str = Origin.CODE
) -> None:
    """Do what ``answer`` does, with values that the form of the question has cleaned."""
    stored = question.arguments.dump(cleaned)
    _close(self, "answer", question, QuestionState.ANSWERED, by, origin, {"answer": stored})


def _checked(question: Question, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of an answer as they are stored. Raises ``InvalidArguments``."""
    arguments = question.arguments
    return arguments.dump(arguments.clean(values))


def go_on(job: Job) -> bool:
    """Let a job go on whose question has ended: at once, if it waits for that. Return whether it has not ended itself.

    In the transaction that ends the question.
    """
    rows = row_of(job)
    # MariaDB assigns from left to right, and the time depends on the flag as it was.
    run_after = Case(When(waits_for_answer=True, then=DatabaseNow()), default=F("run_after"))
    if not rows.filter(status__in=UNFINISHED).update(run_after=run_after, waits_for_answer=False):
        return False
    rows.promote_due()
    return True


def _close(job: Job, verb: str, question: Question, state: str, by: Any, origin: str, values: dict[str, Any]) -> None:
    reason = {"reason": values["reason"]} if values.get("reason") else {}
    about = {"question": question.shown_text[:LOGGED_CHARS], **reason}
    number, name = account_of(by)
    who = {"user_id": number, "user_name": name, "origin": origin}
    rows = Question.objects.using(write_database(job)).filter(pk=question.pk, job_id=job.pk)
    with changing(job, verb, by, origin, **about) as result:
        list(row_of(job).select_for_update().values_list("pk"))
        result.moved = rows.open().close(state, **values, **who)
        if result.moved and not go_on(job):
            status = row_of(job).values_list("status", flat=True).first()
            raise InvalidTransition(job.pk, status or "deleted", verb)
        if not result.moved:
            result.message = _why_not(job, rows.first())


def _why_not(job: Job, question: Question | None) -> str:
    """Return why a question cannot be answered any more."""
    if question is None:
        return f"The question of job {job.pk} does not exist any more. Nothing was changed."
    ends = {
        QuestionState.ANSWERED: "has been answered already",
        QuestionState.DECLINED: "has been declined already",
    }
    why = ends.get(QuestionState(question.state), "could be answered only until its time was over")
    return f"The question of job {job.pk} {why}. Nothing was changed."


def _nothing_open(job: Job, verb: str) -> InvalidTransition:
    text = f"Job {job.pk} has no open question. Nothing was changed."
    return InvalidTransition(job.pk, job.status, verb, text)
