"""The last runs of each schedule in the list: a strip of signs, with the icons of the badges. Web."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from qorworker.admin.display import ICONS, label_of, look_of
from qorworker.models.job import Job
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.schedule_slot import SkipReason, SlotOutcome
from qorworker.queries.schedule_list import Run, last_runs
from qorworker.status import JobStatus
from qorworker.text.moments import date_and_clock, local

STEP = 22  # from one sign to the next, in squares of 20


@dataclass(frozen=True)
class Sign:
    """One run in the strip."""

    look: str
    x: int
    label: str
    title: str
    url: str = ""  # of its job, if the site has a page of it

    @property
    def icon(self) -> str:
        """Return the icon of its look, as a path of SVG."""
        return ICONS[self.look]


def add_runs(schedules: Sequence[Any], jobs: JobQuerySet) -> None:
    """Set ``runs`` of each schedule to its last runs among *jobs*, and ``last_job`` to the newest of their jobs."""
    runs = last_runs([schedule.pk for schedule in schedules], jobs)
    for schedule in schedules:
        schedule.runs = runs[schedule.pk]
        made = [run.job for run in schedule.runs if run.job is not None]
        schedule.last_job = max(made, key=lambda job: job.pk, default=None)


def strip_of(runs: Sequence[Run], url_of: Callable[[Job], str]) -> SafeString | None:
    """Return *runs* as a row of signs, which lead to their jobs; None if there are none."""
    signs = [_sign(run, STEP * place, url_of) for place, run in enumerate(runs)]
    if not signs:
        return None
    counts = Counter(sign.label for sign in signs)
    summary = ", ".join(f"{number} {label}" for label, number in counts.most_common())
    context = {"signs": signs, "summary": summary, "width": STEP * len(signs)}
    return render_to_string("admin/qorworker/schedule/runs.html", context)


def _sign(run: Run, x: int, url_of: Callable[[Job], str]) -> Sign:
    if run.job is not None:
        label = label_of(run.job)
        return Sign(look_of(run.job), x, label, f"{label}, {date_and_clock(local(run.at))}", url_of(run.job))
    label, why = str(SlotOutcome.SKIPPED.label), str(SkipReason(run.reason).label) if run.reason else ""
    return Sign(JobStatus.CANCELLED, x, label, f"{label}, {date_and_clock(local(run.at))}: {why}".removesuffix(": "))
