"""What the page of a job shows of the samples of its process: figures and charts. Web."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from itertools import pairwise

from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from qorworker.admin.dashboard.charts import Chart, Span, curve
from qorworker.admin.display import qw_duration, qw_factor, qw_number
from qorworker.models import Job
from qorworker.models.job_vitals import Sample
from qorworker.queries.catalogue import Usual

QUIET = 10.0  # seconds without a sign of the job that are worth telling
UNUSUAL = 1.5  # times the usual memory
MIB = 1024 * 1024


class Vitals:
    """The samples of the last attempt that ran for longer."""

    def __init__(self, job: Job, usual: Callable[[], Usual]) -> None:
        self.job = job
        self._usual = usual
        self.samples: list[Sample] = job.vitals

    @property
    def stamp(self) -> str:
        """Return a text that changes with each sample."""
        return f"{self.job.vitals_attempt}-{self.samples[-1].seconds}"

    @property
    def attempt(self) -> int:
        """Return the number of the attempt, if the job has made several; else 0."""
        return self.job.vitals_attempt if self.job.attempt > 1 else 0

    @property
    def is_current(self) -> bool:
        """Return whether the attempt still runs."""
        return self.job.status == "running" and self.job.vitals_attempt == self.job.attempt

    @property
    def together(self) -> int:
        """Return how many jobs shared the process, and so its memory and processor time."""
        return self.samples[-1].together

    @property
    def facts(self) -> Iterator[str]:
        """Yield short texts about the last sample, or about all of them if the attempt is over."""
        last, most = self.samples[-1], max(sample.memory for sample in self.samples)
        if self.is_current:
            yield _("%s of memory") % filesizeformat(last.memory)
        if not self.is_current or most > last.memory:
            yield _("%s of memory at most") % filesizeformat(most)
        if usual := self._usual().memory:
            factor = most / usual
            usually = filesizeformat(usual)
            if factor > UNUSUAL:
                texts = {"factor": qw_factor(round(factor, 1)), "memory": usually}
                yield _("%(factor)s × as much as usual (usually %(memory)s)") % texts  # noqa: RUF001 - typography
            else:
                yield _("usually %s") % usually
        if last.queries:
            text = ngettext("%(number)s query in %(time)s", "%(number)s queries in %(time)s", last.queries)
            yield text % {"number": qw_number(last.queries), "time": _time(last.query_seconds)}
        if self.is_current and last.quiet >= QUIET:
            yield _("no output for %s") % _time(last.quiet)

    @property
    def charts(self) -> list[Chart]:
        """Return the charts of memory and of processor time, which say all that samples tell."""
        spans, samples = list(self._spans()), self.samples
        most = max(1.0, *(sample.memory / MIB for sample in samples))
        top = _round_up(most)
        memory = curve(
            "memory", _("Memory"), _("%s of memory at most") % filesizeformat(int(most * MIB)),
            ("memory", _("Memory")), spans, [sample.memory / MIB for sample in samples], _mebibytes, top,
        )  # fmt: skip
        shares = self._shares()
        more = (
            (_("Queries"), [qw_number(sample.queries) for sample in samples]),
            (_("Time of queries"), [_time(sample.query_seconds) for sample in samples]),
            (_("Without output"), [_time(sample.quiet) for sample in samples]),
        )
        cores = max(1.0, *(share for share in shares if share is not None), 0.0)
        processor = curve(
            "processor", _("Processor"), _("%s at most") % _per_cent(max((s for s in shares if s), default=0.0)),
            ("cpu", _("Processor")), spans, shares, _per_cent, float(-(-cores // 1)), more,
        )  # fmt: skip
        return [memory, processor]

    def _shares(self) -> list[float | None]:
        """Return the share of a processor that was used before each sample, since the one before it."""
        used = [
            (after.cpu - before.cpu) / (after.seconds - before.seconds) if after.seconds > before.seconds else 0.0
            for before, after in pairwise(self.samples)
        ]
        return [None, *(max(0.0, share) for share in used)]

    def _spans(self) -> Iterator[Span]:
        last = len(self.samples) - 1
        labelled = {0, last // 2, last} if last > 4 else {0, last}
        for place, sample in enumerate(self.samples):
            after = _time(sample.seconds)
            text = pgettext("time since the start", "after %s") % after
            yield Span(text, after if place in labelled else "", "")


def _time(seconds: float) -> str:
    return qw_duration(dt.timedelta(seconds=seconds))


def _per_cent(share: float | None) -> str:
    return "—" if share is None else f"{round(share * 100)} %"


def _mebibytes(number: float | None) -> str:
    if number is None:
        return "—"
    return re.sub(r"[.,]0(?=\D)", "", filesizeformat(int(number * MIB)))  # there is little room beside the lines


def _round_up(number: float) -> float:
    """Return the first of 1, 2, 4, 8 and so on that is not below *number*: halves of it are whole numbers, too."""
    top = 2.0
    while top < number:
        top *= 2
    return top
