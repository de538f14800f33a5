"""The last runs of each schedule in the list: a strip of signs, those that the badges have. Web."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.template.loader import render_to_string
from django.utils import formats, timezone
from django.utils.safestring import SafeString

from qorworker.models.job_queries import JobQuerySet
from qorworker.models.schedule_page import Run, last_runs
from qorworker.models.slot import SkipReason, SlotOutcome
from qorworker.status import JobStatus
from qorworker.templatetags.qorworker_admin import ICONS, label_of, look_of

STEP = 22  # from one sign to the next, in squares of 20


@dataclass(frozen=True)
class Sign:
    look: str
    x: int
    label: str
    told: str

    @property
    def icon(self) -> str:
        return ICONS[self.look]


def add_runs(schedules: Sequence[Any], jobs: JobQuerySet) -> None:
    """Give each its last ``runs`` among *jobs*, and its ``last_job``."""
    found = last_runs([schedule.pk for schedule in schedules], jobs)
    for schedule in schedules:
        schedule.runs = found[schedule.pk]
        made = [run.job for run in schedule.runs if run.job is not None]
        schedule.last_job = max(made, key=lambda job: job.pk, default=None)


def strip_of(runs: Sequence[Run]) -> SafeString | None:
    signs = [_sign(run, STEP * place) for place, run in enumerate(runs)]
    if not signs:
        return None
    counts = Counter(sign.label for sign in signs)
    told = ", ".join(f"{number} {label}" for label, number in counts.most_common())
    context = {"signs": signs, "told": told, "width": STEP * len(signs)}
    return render_to_string("admin/qorworker/schedule/runs.html", context)


def _sign(run: Run, x: int) -> Sign:
    if run.job is not None:
        label = label_of(run.job)
        return Sign(look_of(run.job), x, label, f"{label}, {_clock(run.at)}")
    label, why = str(SlotOutcome.SKIPPED.label), str(SkipReason(run.reason).label) if run.reason else ""
    return Sign(JobStatus.CANCELLED, x, label, f"{label}, {_clock(run.at)}: {why}".removesuffix(": "))


def _clock(moment: Any) -> str:
    local = timezone.localtime(moment) if timezone.is_aware(moment) else moment
    return str(formats.date_format(local, "SHORT_DATETIME_FORMAT"))
