"""The log on a job's page: which lines are asked for, how they look, and what there is beside them. Web."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable
from typing import Any

from django.utils.functional import cached_property
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from qorworker.admin.ansi import line_html
from qorworker.admin.asked import LOG, Asked
from qorworker.models import Attempt, Job, LogLine, job_page
from qorworker.models.job_page import LogFilter
from qorworker.templatetags.qorworker_admin import qw_clock, qw_level

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

    def __init__(self, job: Job, asked: Asked, attempts: list[Attempt]) -> None:
        self.job, self.asked, self.attempts = job, asked, attempts
        self.times = asked.one_of("times", TIMES, "clock")
        self.before = asked.whole("before")
        self.filter = LogFilter(
            asked.one_of("level", LEVELS, 0),
            asked.text("find"),
            asked.one_of("attempt", range(1, job.attempt + 1), 0),
        )

    # What can be chosen

    @property
    def levels(self) -> Choice:
        return [(level, label, level == self.filter.level) for level, label in LEVELS.items()]

    @property
    def time_choices(self) -> Choice:
        return [(key, label, key == self.times) for key, label in TIMES.items()]

    @property
    def attempt_choices(self) -> Choice:
        """Empty if there is nothing to choose between."""
        numbers = range(self.job.attempt, 0, -1) if self.job.attempt > 1 else ()
        return [(number, _("Attempt %d") % number, number == self.filter.attempt) for number in numbers]

    @property
    def carried(self) -> list[tuple[str, str]]:
        return self.asked.others_than(LOG)

    # What is shown

    @cached_property
    def lines(self) -> list[LogLine]:
        return job_page.log_tail(self.job, self.filter, self.before) if self.job.log_lines else []

    @property
    def html(self) -> SafeString:
        return self.html_of(self.lines)

    def html_of(self, lines: Iterable[LogLine]) -> SafeString:
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
        """A match leads to its line among those around it, any other line to itself."""
        if not self.filter.find:
            return f"#L{number}"
        return self.asked.url(f"L{number}", find="", level="", before=number + job_page.LOG_LINES // 2)

    # What there is beside

    @property
    def is_narrowed(self) -> bool:
        return self.filter != LogFilter()

    @property
    def last_number(self) -> int:
        return max(self.job.log_lines, self.lines[-1].number if self.lines else 0)

    @property
    def earlier(self) -> str:
        """Where the lines before the first one shown are; empty if there are none."""
        if len(self.lines) < job_page.LOG_LINES or self.lines[0].number == 1:
            return ""
        return self.asked.url("log", before=self.lines[0].number)

    @property
    def earlier_count(self) -> int:
        """How many lines are earlier; 0 if only a search could tell."""
        return 0 if self.is_narrowed else self.lines[0].number - 1

    @property
    def newest(self) -> str:
        return self.asked.url("log", before="") if self.before is not None else ""
