"""The log on a job's page: the lines to show, their look, and the choices beside them. Web."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable
from typing import Any

from django.utils.functional import cached_property
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from qorworker.admin.display import qw_clock, qw_level
from qorworker.admin.jobs.ansi import line_html
from qorworker.admin.parameters import LOG, Parameters
from qorworker.models import Attempt, Job, LogLine
from qorworker.queries import job_details
from qorworker.queries.job_details import LogFilter
from qorworker.status import JobStatus

LEVELS: dict[int, Any] = {
    0: _("All levels"),
    logging.INFO: _("Info and above"),
    logging.WARNING: _("Warnings and errors"),
    logging.ERROR: _("Errors only"),
}
TIMES: dict[str, Any] = {"clock": _("Time of day"), "start": _("Time since start"), "off": _("No times")}
LINE = '<div id="L{}" data-level="{}"><a href="{}">{}</a>{}<b>{}</b><span>{}</span></div>'
Choice = list[tuple[Any, Any, bool]]


class Log:
    """The part of a log that one user looks at. ``attempts`` are those that have ended."""

    def __init__(self, job: Job, parameters: Parameters, attempts: list[Attempt]) -> None:
        self.job, self.parameters, self.attempts = job, parameters, attempts
        self.times = parameters.one_of("times", TIMES, "clock")
        self.before = parameters.whole("before")
        self.filter = LogFilter(
            parameters.one_of("level", LEVELS, 0),
            parameters.text("find"),
            parameters.one_of("attempt", range(1, job.attempt + 1), 0),
        )

    # Choices

    @property
    def levels(self) -> Choice:
        """Return the choices of the lowest level: value, label, and whether it is the current one."""
        return [(level, label, level == self.filter.level) for level, label in LEVELS.items()]

    @property
    def time_choices(self) -> Choice:
        """Return the choices how the times of lines are shown: value, label, and whether it is the current one."""
        return [(key, label, key == self.times) for key, label in TIMES.items()]

    @property
    def attempt_choices(self) -> Choice:
        """Return the choices of an attempt; empty if there is only one."""
        numbers = range(self.job.attempt, 0, -1) if self.job.attempt > 1 else ()
        return [(number, _("Attempt %d") % number, number == self.filter.attempt) for number in numbers]

    @property
    def carried(self) -> list[tuple[str, str]]:
        """Return the parameters that the form of the log has to carry along."""
        return self.parameters.others_than(LOG)

    # Lines

    @cached_property
    def lines(self) -> list[LogLine]:
        """Return the lines to show: the last ones that fit the filter."""
        return job_details.log_tail(self.job, self.filter, self.before) if self.job.log_lines else []

    @property
    def html(self) -> SafeString:
        """Return the lines to show as HTML."""
        return self.html_of(self.lines)

    def html_of(self, lines: Iterable[LogLine]) -> SafeString:
        """Return *lines* as HTML, as the page shows them."""
        return format_html_join("", LINE, map(self._cells, lines))

    def _cells(self, line: LogLine) -> tuple[Any, ...]:
        level, time = qw_level(line.level), self._time(line)
        return line.number, level, self._place(line.number), line.number, time, level, self._text(line)

    def _text(self, line: LogLine) -> SafeString:
        return line_html(line.text, self.filter.find)

    def _time(self, line: LogLine) -> SafeString:
        if self.times == "off":
            return SafeString("")
        shown = self._since_start(line) if self.times == "start" else qw_clock(line.at)
        return SafeString(f"<i>{shown}</i>")  # digits and colons

    def _since_start(self, line: LogLine) -> str:
        start = self._starts.get(line.attempt)
        seconds = max(int((line.at - start).total_seconds()), 0) if start else 0
        minutes, rest = divmod(seconds, 60)
        return f"+{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"+{minutes}:{rest:02}"

    @cached_property
    def _starts(self) -> dict[int, dt.datetime | None]:
        ended = {attempt.number: attempt.started_at for attempt in self.attempts}
        return {self.job.attempt: self.job.last_attempted_at, **ended}

    def _place(self, number: int) -> str:
        """Return the address of a line: that of a match is among the lines around it."""
        if not self.filter.find:
            return f"#L{number}"
        return self.parameters.url(f"L{number}", find="", level="", before=number + job_details.LOG_LINES // 2)

    # Links and counts beside the lines

    @property
    def is_narrowed(self) -> bool:
        """Return whether the filter leaves out any lines."""
        return self.filter != LogFilter()

    @property
    def last_number(self) -> int:
        """Return the number of the newest line; 0 if there is none."""
        return max(self.job.log_lines, self.lines[-1].number if self.lines else 0)

    @property
    def ends_badly(self) -> bool:
        """Return whether its last lines are the ones that matter first; not if a person chose other lines."""
        return self.job.status in (JobStatus.EXCEPTION, JobStatus.KILLED) and not (self.before or self.filter.find)

    @property
    def earlier(self) -> str:
        """Return the address of the lines before the first one shown; empty if there are none."""
        if len(self.lines) < job_details.LOG_LINES or self.lines[0].number == 1:
            return ""
        return self.parameters.url("log", before=self.lines[0].number)

    @property
    def earlier_count(self) -> int:
        """Return how many lines are earlier; 0 if only a search could find out."""
        return 0 if self.is_narrowed else self.lines[0].number - 1

    @property
    def newest(self) -> str:
        """Return the address of the newest lines; empty if these are shown."""
        return self.parameters.url("log", before="") if self.before is not None else ""
