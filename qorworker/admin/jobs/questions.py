"""The questions of a job as its page shows them: with a form if they are open, else with their answer. Web."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.helpers import AdminForm, Fieldset
from django.forms import BaseForm
from django.utils.functional import cached_property
from django.utils.html import escape
from django.utils.translation import gettext as _

from qorworker.admin.display import qw_visible
from qorworker.admin.jobs import as_json
from qorworker.admin.jobs.field_limits import tell_limits
from qorworker.arguments.shown import Shown
from qorworker.models import Job, Question, QuestionState
from qorworker.text.cleaning import visible_lines

DEFAULT_CHARS = 200
PAYLOAD_CHARS = 2_000


class Asked:
    """One question of *job*, for a user who may see it."""

    def __init__(self, job: Job, question: Question, *, may_answer: bool, form: BaseForm | None = None) -> None:
        self.job, self.question, self.may_answer = job, question, may_answer
        self._form = form

    @property
    def text(self) -> str:
        """Return what is asked; for a callback what the job waits for."""
        return self.question.shown_text or _("A call from outside")

    @property
    def is_open(self) -> bool:
        """Return whether an answer still counts."""
        return self.question.is_open and not self.job.is_finished

    @cached_property
    def form(self) -> BaseForm | None:
        """Return the form for the answer; None if there is nothing to answer, or not for this user."""
        if not self.is_open or not self.may_answer or self.question.is_callback:
            return None
        return self._form or form_of(self.question)

    @property
    def fieldset(self) -> Fieldset | None:
        """Return the fields of the form; None if it has none."""
        if self.form is None or not self.form.fields:
            return None
        options: Any = {"fields": list(self.form.fields)}
        (own,) = AdminForm(self.form, [(None, options)], {})  # type: ignore[arg-type]
        return own

    @property
    def errors(self) -> Any:
        """Return the errors of the form that belong to none of its fields."""
        return self.form.non_field_errors() if self.form is not None and self.form.is_bound else ""

    @cached_property
    def answers(self) -> list[Shown]:
        """Return the values of the answer, or of the default that counted, with their labels."""
        values = self._values
        if self.question.is_callback or not isinstance(values, dict):
            return []
        return self.question.arguments.display(values)

    @property
    def default(self) -> str:
        """Return the answer that counts if nobody gives one in time, in a line; empty if it has no values."""
        question = self.question
        if not question.has_default:
            return ""
        if question.is_callback:
            line = visible_lines(as_json.line(question.default))
            return line if len(line) <= DEFAULT_CHARS else f"{line[:DEFAULT_CHARS]}…"
        return question.arguments.summary(question.default or {}, DEFAULT_CHARS)

    @cached_property
    def payload(self) -> str:
        """Return what a callback was called with, as JSON for people; empty if it was not."""
        is_called = self.question.is_callback and self._counts
        return as_json.text(self._values) if is_called else ""

    @property
    def payload_shown(self) -> str:
        """Return the part of it that the page shows."""
        return self.payload[:PAYLOAD_CHARS]

    @property
    def payload_chars(self) -> int:
        """Return how many characters it has if the page shows only a part; else 0."""
        return len(self.payload) if len(self.payload) > PAYLOAD_CHARS else 0

    @property
    def _counts(self) -> bool:
        return self.question.state == QuestionState.ANSWERED or self.is_default

    @property
    def is_default(self) -> bool:
        """Return whether its default counted, because nobody answered."""
        return self.question.state == QuestionState.EXPIRED and self.question.has_default

    @property
    def _values(self) -> Any:
        if self.is_default:
            return self.question.default
        return self.question.answer if self._counts else None

    @property
    def state(self) -> str:
        """Return the name of its state."""
        if self.question.state != QuestionState.OPEN:
            return str(self.question.get_state_display())
        if self.question.is_past:
            return str(QuestionState.EXPIRED.label)
        return _("No longer needed") if self.job.is_finished else str(QuestionState.OPEN.label)

    @property
    def who(self) -> str:
        """Return the name of the user who answered or declined; empty if it was none."""
        return qw_visible(self.question.user_name)


def form_of(question: Question, posted: Any = None) -> BaseForm:
    """Return the form of a question, filled from *posted*."""
    form: BaseForm = question.arguments.form_class(posted, auto_id=f"id_question{question.pk}_%s")
    for field in form.fields.values():
        field.help_text = escape(str(field.help_text))  # a handler may have made it of anything
    tell_limits(form)
    return form
