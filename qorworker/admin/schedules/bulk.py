"""The verbs for many schedules at once. Web."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from qorworker.admin import access, links
from qorworker.admin.display import qw_visible
from qorworker.admin.many import Many
from qorworker.admin.schedules.forms import PauseForm
from qorworker.admin.schedules.verbs import DELETE, VERBS, question_of, refusal
from qorworker.exceptions import QorWorkerError
from qorworker.models.schedule import Schedule

BULK = {verb.key: verb for verb in (*VERBS.values(), DELETE) if verb.bulk}


class ManySchedules(Many):
    """One verb for many schedules."""

    model = Schedule

    def numbered(self, chosen: Collection[int]) -> Any:
        return self.model_admin.get_queryset(self.request).filter(pk__in=chosen).order_by("name")

    def allowed(self, row: Schedule) -> bool:
        return not self.verb.lacking(self.request.user, row.job_type)

    def state(self, row: Schedule) -> str:
        """Say in a word why *row* may be left alone: its code is missing, it is paused, declared in code, or active."""
        if row.job_type is None:
            return _("without code in the project")
        if row.is_paused:
            return pgettext("schedule", "Paused")
        if row.declared_in_code and self.verb is DELETE:  # a worker would make it again
            return _("From code")
        return pgettext("schedules", "Active")

    def shown(self, row: Schedule) -> SafeString:
        url = links.url(self.request, "qorworker_schedule_change", row.pk)
        return format_html('<a href="{}">{}</a>', url, qw_visible(row.title))

    def deny(self, row: Schedule) -> None:
        lacking = self.verb.lacking(self.request.user, row.job_type)
        access.record(self.request, lacking, access.DENIED, job_name=row.job_name, schedule=row)

    def questions(self, fitting: Sequence[Schedule]) -> list[str]:
        return sorted({question for row in fitting if (question := question_of(self.verb, row))})

    def new_form(self, data: Any) -> PauseForm | None:
        return PauseForm(data, zone=timezone.get_current_timezone_name()) if self.verb.name == "pause" else None

    def why_not(self, row: Schedule, error: QorWorkerError) -> str:
        return refusal(self.request.user, row, error)


ACTIONS = [ManySchedules.action(name, verb) for name, verb in BULK.items()]
