"""Answers the questions of jobs in tests. Test processes only."""

from __future__ import annotations

from enum import Enum
from typing import Any

from qorworker.models import DatabaseNow, Job
from qorworker.models.question import question_of


class NoAnswer(Enum):
    """What may happen to a question instead of an answer."""

    NOBODY = "nobody answers in time"
    DECLINED = "somebody declines"


NOBODY, DECLINED = NoAnswer.NOBODY, NoAnswer.DECLINED


def answer(job: Job, given: Any) -> None:
    """Give the open question of a job an answer, or ``NOBODY``, or ``DECLINED``. Raises ``ValueError`` without one."""
    question = question_of(job)
    if question is None:
        raise ValueError(f"{job} is {job.status} and has no open question: {given!r} answers nothing.")
    if given is DECLINED:
        job.decline(question=question)
    elif given is NOBODY:
        type(question).objects.using(job._state.db).filter(pk=question.pk).update(expires_at=DatabaseNow())
        Job.objects.using(job._state.db).filter(pk=job.pk).update(run_after=DatabaseNow())
        Job.objects.using(job._state.db).filter(pk=job.pk).promote_due()
        job.refresh_from_db()
    else:
        job.answer(given, question=question)
