"""Questions that jobs ask people, and calls from outside for which they wait. All processes.

A question is asked once: its row is found again by its key when the handler runs from the top. A flag in the row of the
job says that it waits for the answer; ``run_after`` is then the time at which it goes on without one. Whatever ends a
question is one conditional UPDATE of its row, so exactly one answer wins.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from qorworker.arguments.arguments import Arguments
from qorworker.arguments.described import annotations_of, arguments_of
from qorworker.models.attempt import Attempt
from qorworker.models.audit import Origin
from qorworker.models.clock import DatabaseNow
from qorworker.models.fields import RemarkField
from qorworker.models.indexes import PartialIndex
from qorworker.models.own import OwnQuerySet
from qorworker.status import Outcome
from qorworker.text import titles

if TYPE_CHECKING:
    from qorworker.models.job import Job

KEY_CHARS = 100
PERMISSION_CHARS = 200
TEXT_CHARS = 2_000
NOTED = "_noted_question"  # an attribute of a job that a page has read
NEVER = 100 * 366 * 24 * 3600.0  # seconds until a job goes on whose question has no end


class QuestionKind(models.TextChoices):
    """Who is asked."""

    PERSON = "person"
    CALLBACK = "callback"  # whoever has the address


class QuestionState(models.TextChoices):
    """What became of a question."""

    OPEN = "open", pgettext_lazy("question", "Open")
    ANSWERED = "answered", pgettext_lazy("question", "Answered")
    DECLINED = "declined", pgettext_lazy("question", "Declined")
    EXPIRED = "expired", pgettext_lazy("question", "Nobody answered")


class QuestionQuerySet(OwnQuerySet["Question"]):
    def open(self) -> QuestionQuerySet:
        """Return those that can still be answered, by the clock of the database."""
        in_time = Q(expires_at=None) | Q(expires_at__gt=DatabaseNow())
        return self.filter(in_time, state=QuestionState.OPEN)

    def of_jobs(self, ids: Collection[int]) -> QuestionQuerySet:
        return self.filter(job_id__in=ids)

    def newest(self, job_id: int, key: str) -> Question | None:
        """Return the question that a job has asked last with *key*; None if it has not."""
        # MariaDB's usual collations take “Mail” for “mail”.
        return next((row for row in self._alike(job_id, key) if row.key == key), None)

    def next_round(self, job_id: int, key: str) -> int:
        """Return the round of the next question of a job with *key*, or with one that the database takes for it."""
        last = self._alike(job_id, key).values_list("round", flat=True).first()
        return (last or 0) + 1

    def _alike(self, job_id: int, key: str) -> QuestionQuerySet:
        return self.filter(job_id=job_id, key=key).order_by("-round")

    def close(self, state: str, **values: Any) -> int:
        """Give these questions their end, and return how many were still to be ended."""
        return self.update(state=state, closed_at=DatabaseNow(), **values)


class Question(models.Model):
    """One question of one job, or one call for which it waits. It is deleted with its job, see ``models.bulk``."""

    job = models.ForeignKey(
        "qorworker.Job", models.DO_NOTHING, related_name="questions", db_constraint=False, db_index=False
    )
    key = models.CharField(_("key"), max_length=KEY_CHARS)
    round = models.PositiveSmallIntegerField(default=1)  # one more each time it is asked again
    kind = models.CharField(max_length=8, choices=QuestionKind.choices)
    attempt = models.PositiveSmallIntegerField(_("attempt"))
    text = models.JSONField(_("question"), default=str)  # a title, as ``text.titles`` has it
    fields = models.JSONField(default=list, encoder=DjangoJSONEncoder)  # as ``arguments.described`` has them
    # Of Django; empty: who may run the job may answer.
    permission = models.CharField(max_length=PERMISSION_CHARS, blank=True)
    default = models.JSONField(null=True, encoder=DjangoJSONEncoder)  # the answer if nobody gives one
    has_default = models.BooleanField(default=False)
    nonce = models.CharField(max_length=32, blank=True, editable=False)  # a part of the address of a callback
    asked_at = models.DateTimeField(_("asked"))
    expires_at = models.DateTimeField(_("until"), null=True, blank=True)
    state = models.CharField(_("state"), max_length=8, choices=QuestionState.choices, default=QuestionState.OPEN)
    closed_at = models.DateTimeField(_("answered"), null=True, blank=True)
    answer = models.JSONField(_("answer"), null=True, encoder=DjangoJSONEncoder)
    reason = RemarkField(_("reason"), max_length=200, blank=True)  # why it was declined
    # Copied, so that the answer outlives the account.
    user_id = models.CharField(max_length=64, blank=True)
    user_name = RemarkField(_("user"), max_length=254, blank=True)
    origin = models.CharField(_("origin"), max_length=10, choices=Origin.choices, blank=True)

    objects = QuestionQuerySet.as_manager()

    class Meta:
        verbose_name = _("question")
        verbose_name_plural = _("questions")
        default_permissions = ()
        ordering = ("id",)
        indexes = (PartialIndex(name="qorworker_question_open", fields=("job",), only=Q(state="open")),)
        constraints = (models.UniqueConstraint(fields=("job", "key", "round"), name="qorworker_question_key"),)

    def __str__(self) -> str:
        return self.shown_text

    @property
    def shown_text(self) -> str:
        """Its text, in the language of the reader."""
        return titles.shown(self.text) if titles.is_title(self.text) else ""

    @property
    def is_callback(self) -> bool:
        return self.kind == QuestionKind.CALLBACK

    @property
    def is_past(self) -> bool:
        """Whether its time is over, by the clock of this process. For display only."""
        return self.expires_at is not None and self.expires_at <= _now()

    @property
    def is_open(self) -> bool:
        """Whether it can probably still be answered. The UPDATE that answers it decides."""
        return self.state == QuestionState.OPEN and not self.is_past

    @property
    def arguments(self) -> Arguments:
        """The fields of its answer, with their form."""
        return arguments_of(f"the question of job {self.job_id}", annotations_of(self.fields))

    @property
    def ended_an_attempt(self) -> bool:
        """Whether an attempt has ended because nobody answered it: then it is asked again if the job is retried."""
        if self.state not in (QuestionState.DECLINED, QuestionState.EXPIRED):
            return False
        ended = Attempt.objects.using(self._state.db).filter(
            job_id=self.job_id, outcome=Outcome.UNANSWERED, finished_at__gte=self.closed_at
        )
        return ended.exists()


def _now() -> dt.datetime:
    return timezone.now()


def question_of(job: Job) -> Question | None:
    """Return the question whose answer *job* probably waits for: the newest open one, one for people first."""
    rows = Question.objects.using(job._state.db).filter(job_id=job.pk, state=QuestionState.OPEN)
    return rows.order_by(models.Case(models.When(kind=QuestionKind.PERSON, then=0), default=1), "-pk").first()


def note_questions(job: Job, questions: Iterable[Question]) -> None:
    """Keep with *job* which of its *questions* is open, for pages that show it more than once."""
    is_open = [question for question in questions if question.state == QuestionState.OPEN]
    is_open.sort(key=lambda question: (question.kind != QuestionKind.PERSON, -question.pk))
    vars(job)[NOTED] = next(iter(is_open), None)


def noted_question_of(job: Job) -> Question | None:
    """Return what ``note_questions`` has kept; without that, what ``question_of`` returns."""
    noted: Question | None = vars(job)[NOTED] if NOTED in vars(job) else question_of(job)
    return noted
