"""The verbs for many schedules at once. Web."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from qorworker import permissions
from qorworker.admin import access
from qorworker.admin.many import Many
from qorworker.admin.schedule_verbs import DELETE, VERBS, NothingNew
from qorworker.exceptions import QorWorkerError, TooManyJobs
from qorworker.models.schedule import Schedule
from qorworker.schedule_forms import PauseForm
from qorworker.templatetags.qorworker_admin import qw_visible

BULK = {verb.name.replace("-", "_"): verb for verb in (*VERBS.values(), DELETE) if verb.plural}


class ManySchedules(Many):
    model = Schedule

    def numbered(self, chosen: Collection[int]) -> Any:
        return self.model_admin.get_queryset(self.request).filter(pk__in=chosen).order_by("name")

    def allowed(self, row: Schedule) -> bool:
        return permissions.can(self.request.user, "manage_schedule", row.job_type)

    def state(self, row: Schedule) -> str:
        if row.job_type is None:
            return _("without code in the project")
        if row.is_paused:
            return pgettext("schedule", "Paused")
        return _("From code") if row.declared_in_code else pgettext("schedules", "Active")

    def shown(self, row: Schedule) -> SafeString:
        url = reverse("admin:qorworker_schedule_change", args=(row.pk,))
        return format_html('<a href="{}">{}</a>', url, qw_visible(row.title))

    def deny(self, row: Schedule) -> None:
        access.record(self.request, "manage_schedule", access.DENIED, job_name=row.job_name, schedule=row)

    def new_form(self, data: Any) -> PauseForm | None:
        return PauseForm(data, zone=timezone.get_current_timezone_name()) if self.verb.name == "pause" else None

    def perform(self, rows: Sequence[Schedule], left: Counter[str]) -> int:
        return sum(self._one(schedule, left) for schedule in rows)

    def _one(self, schedule: Schedule, left: Counter[str]) -> int:
        try:
            self.verb.perform(self.request, schedule, self.form)
        except Schedule.DoesNotExist:
            left[_("deleted meanwhile")] += 1
        except TooManyJobs:
            left[_("you have as many unfinished jobs as are allowed")] += 1
        except NothingNew as nothing:
            left[nothing.reason] += 1
        except QorWorkerError as error:
            left[str(error)] += 1
        else:
            return 1
        return 0


ACTIONS = [ManySchedules.action(name, verb) for name, verb in BULK.items()]
