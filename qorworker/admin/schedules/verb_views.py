"""The view behind the buttons of a schedule. Web."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponseBase

from qorworker.admin import access
from qorworker.admin.schedules import detail
from qorworker.admin.schedules.form import visible_schedule
from qorworker.admin.schedules.forms import PauseForm
from qorworker.admin.schedules.verbs import lacking, question_of, refusal
from qorworker.admin.verbs import TOO_LATE, NothingNew, Reply, VerbView
from qorworker.exceptions import QorWorkerError
from qorworker.models import Schedule


class ScheduleVerbView(VerbView):
    """One verb for one schedule."""

    def find(self, *, pk: int) -> Schedule | None:
        return visible_schedule(self.request, pk)

    def about(self, row: Schedule) -> dict[str, Any]:
        return {"job_type": row.job_type}

    def lacking(self, row: Schedule) -> str:
        return lacking(self.verb, self.request.user, row)

    def deny(self, row: Schedule, action: str) -> HttpResponseBase:
        return access.deny(self.model_admin, self.request, action, **self.about(row), schedule=row)

    def question(self, row: Schedule) -> str:
        return question_of(self.verb, row)

    def form(self, row: Schedule) -> PauseForm:
        return PauseForm(self.request.POST, zone=row.zone)

    def show(self, row: Schedule, form: PauseForm) -> HttpResponseBase:
        return detail.show(self.model_admin, self.request, row, form, status=422)

    def perform(self, row: Schedule) -> Any:
        """Perform the verb on *row*. Raises ``NothingNew`` if it does not make sense any more."""
        if not self.verb.offered(row):
            raise NothingNew(TOO_LATE)
        return super().perform(row)

    def reply(self, row: Schedule, result: str) -> Reply:
        return Reply(row, result)

    def refusal(self, row: Schedule, error: QorWorkerError) -> Reply:
        return Reply(row, refusal(self.request.user, row, error), messages.ERROR)
