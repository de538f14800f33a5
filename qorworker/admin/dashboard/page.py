"""The dashboard: what is now, what needs attention, and how jobs have ended lately. Web."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.template.loader import render_to_string
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from qorworker.admin import links, live, navigation
from qorworker.admin.dashboard import charts
from qorworker.admin.dashboard.choice import LABELS, Choice, title_of
from qorworker.admin.dashboard.errors import error_name, search_of
from qorworker.admin.display import qw_capped, qw_duration, qw_from_now, qw_number
from qorworker.models import Job, Schedule, database_now
from qorworker.models.clock import stored
from qorworker.models.histogram import quantile
from qorworker.models.summary import DAY, QUARTER, Sums
from qorworker.queries import dashboard as queries
from qorworker.queries.dashboard import Figures, Newest, Now
from qorworker.status import JobStatus
from qorworker.text.moments import clock, local

MOST = 5  # rows of each small list
ERRORS = 3  # that are named for each type
SHARES = (("p50", 0.5), ("p95", 0.95))
KINDS = (
    ("done", JobStatus.DONE.label),
    ("failed", JobStatus.EXCEPTION.label),
    ("aborted", JobStatus.KILLED.label),
    ("cancelled", JobStatus.CANCELLED.label),
)


def board(request: HttpRequest) -> dict[str, Any]:
    """Return what the template of the dashboard shows, for the admin site of *request*."""
    choice = Choice(request)
    jobs, schedules = choice.visibility.jobs, choice.visibility.schedules
    now = database_now(jobs.db)
    newest = queries.newest_ends(jobs.db, choice.scope)
    figures = queries.figures(jobs.db, choice.scope, choice.range, now, newest)
    present = queries.present(jobs, schedules)
    return {
        "choice": choice,
        "now": list(now_facts(choice, present)),
        "attention": list(attention(choice, present, figures, newest)),
        "charts": _charts(choice, figures),
        "failures": _failures(choice, figures),
        "failures_url": links.url_if_there(request, "qorworker_job_failures") + choice.url(range=""),
        "slowest": _slowest(choice, figures),
        "upcoming": _upcoming(choice),
        "mine": queries.newest_of_user(jobs, request.user),
        "mine_url": choice.list_url(user="me"),
        "zone": timezone.get_current_timezone_name(),
        "only_own": choice.scope.own is not None,
        "most_own": qw_number(queries.OWN),
    }


def live_board(model_admin: Any, request: HttpRequest) -> HttpResponseBase:
    """Return the dashboard as it is now, for the page that shows it."""
    html = render_to_string("admin/qorworker/dashboard/board.html", {"board": board(request)}, request=request)
    return live.answer(live.News(parts={"board": html, **navigation.parts(request)}))


# What is now


@dataclass(frozen=True)
class Fact:
    """A short text with an address, if there is more to see."""

    text: str
    url: str = ""


def now_facts(choice: Choice, present: Now) -> Iterator[Fact]:
    """Yield what waits and runs now."""
    queued = _("%s queued") % qw_capped(present.queued)
    if present.since is not None:
        queued += " " + _("(the oldest due %s)") % qw_from_now(present.since)
    yield Fact(queued, choice.list_url(tab="queued", job="", queue=""))
    running = _("%s running") % qw_capped(present.running)
    yield Fact(running, choice.list_url(tab="running", job="", queue=""))
    scheduled = _("%s scheduled") % qw_capped(present.scheduled)
    if present.next_at is not None:
        scheduled += " " + _("(the next %s)") % qw_from_now(present.next_at)
    yield Fact(scheduled, choice.list_url(tab="scheduled", job="", queue=""))
    if choice.user.has_perm("qorworker.view_worker"):
        workers = ngettext("%s worker", "%s workers", present.workers) % qw_number(present.workers)
        slots = ngettext("%s slot", "%s slots", present.slots) % qw_number(present.slots)
        yield Fact(f"{workers}, {slots}", links.url_if_there(choice.request, "qorworker_worker_changelist"))


def attention(choice: Choice, present: Now, figures: Figures, newest: Newest) -> Iterator[Fact]:
    """Yield what somebody should look at. What is paused, and a lack of workers, is at the top of every page."""
    if present.silent:
        text = ngettext("%s job is not responding", "%s jobs are not responding", present.silent)
        yield Fact(text % qw_capped(present.silent), choice.list_url(tab="not_responding", job="", queue=""))
    if failed := figures.ends["failed"]:
        text = ngettext("%(number)s job failed (%(range)s)", "%(number)s jobs failed (%(range)s)", failed)
        url = choice.ended_url(figures.start, tab="failed")
        yield Fact(text % {"number": qw_number(failed), "range": LABELS[choice.key]}, url)
    if present.in_need:
        text = ngettext("%s schedule needs attention", "%s schedules need attention", present.in_need)
        yield Fact(text % present.in_need, links.url_if_there(choice.request, "qorworker_schedule_changelist"))
    if not newest.is_complete:
        yield Fact(lagging_text())


def lagging_text() -> str:
    """Return what is said while the sums lack more ends than a page would read."""
    text = _("The figures lag behind: more than %s attempts that have ended are not counted yet. Workers count them.")
    return text % qw_number(queries.UNSUMMED)


# The charts


def _charts(choice: Choice, figures: Figures) -> list[charts.Chart]:
    spans = list(_spans(choice, figures))
    ends = [[span.ends[kind] for kind, _label in KINDS] for span in figures.spans]
    kinds = [(kind, str(label)) for kind, label in KINDS]
    total = figures.ends
    summary = ngettext("%s job has ended.", "%s jobs have ended.", total.total()) % qw_number(total.total())
    parts = ", ".join(f"{label}: {qw_number(total[kind])}" for kind, label in kinds if total[kind])
    drawn = [charts.bars("ends", _("Ended jobs"), f"{summary} {parts}".strip(), kinds, spans, ends, qw_number)]
    shares = [("p50", _("Half took at most (p50)")), ("p95", _("95 of 100 took at most (p95)"))]
    for key, title in (("waits", _("Waiting time")), ("runs", _("Run time"))):
        cases = [getattr(span, key) for span in figures.spans]
        values = [[quantile(each, share) for _key, share in SHARES] for each in cases]
        together = sum(cases, type(cases[0])())
        told = [
            f"{name}: {_seconds(quantile(together, share))}"
            for (_k, name), (_key, share) in zip(shares, SHARES, strict=True)
        ]
        drawn.append(charts.lines(key, title, ", ".join(told) if together else "", shares, spans, values, _seconds))
    return drawn


def _spans(choice: Choice, figures: Figures) -> Iterator[charts.Span]:
    seconds = figures.range.seconds
    for place in range(figures.range.spans):
        start = figures.start + place * seconds
        begun, ended = (local(stored(dt.datetime.fromtimestamp(each, dt.UTC))) for each in (start, start + seconds))
        day = formats.date_format(begun, "MONTH_DAY_FORMAT")
        label = _("%(start)s to %(end)s") % {"start": clock(begun), "end": clock(ended)}
        if seconds >= QUARTER:
            label = f"{day}, {label}" if seconds < DAY else day
        yield charts.Span(label, _tick(place, figures.range, begun, day), choice.ended_url(start, start + seconds))


def _tick(place: int, chosen: queries.Range, begun: dt.datetime, day: str) -> str:
    """Return the label below a span: a few are enough."""
    every = {12: 3, 24: 6, 28: 8, 30: 8}[chosen.spans]
    if place % every:
        return ""
    return clock(begun) if chosen.seconds < QUARTER else day


def _seconds(value: float | None) -> str:
    return qw_duration(dt.timedelta(seconds=value)) if value is not None else "—"


# The small lists


@dataclass(frozen=True)
class TypeFailures:
    """The failures of one job type, with those of its errors that the user may see."""

    title: str
    number: int
    url: str
    errors: list[Fact]


def _failures(choice: Choice, figures: Figures) -> list[TypeFailures]:
    failing = [(name, sums) for name, sums in figures.types.items() if sums.ends["failed"]]
    failing.sort(key=lambda item: (-item[1].ends["failed"], item[0]))
    return [_failures_of(choice, figures, name, sums) for name, sums in failing[:MOST]]


def _failures_of(choice: Choice, figures: Figures, name: str, sums: Sums) -> TypeFailures:
    def url(search: str = "") -> str:
        return choice.ended_url(figures.start, tab="failed", job=name, q=search)

    errors = sums.errors.most_common(ERRORS) if choice.may_see_errors(name) else []
    facts = [Fact(f"{error_name(error)}: {qw_number(number)}", url(search_of(error))) for error, number in errors]
    return TypeFailures(title_of(name), sums.ends["failed"], url(), facts)


@dataclass(frozen=True)
class Slow:
    """A job type that takes long."""

    title: str
    p50: str
    p95: str
    url: str


def _slowest(choice: Choice, figures: Figures) -> list[Slow]:
    times = [(name, quantile(sums.runs, 0.5), quantile(sums.runs, 0.95)) for name, sums in figures.types.items()]
    slow = sorted(((p95, p50, name) for name, p50, p95 in times if p50 is not None and p95 is not None), reverse=True)
    return [
        Slow(title_of(name), _seconds(p50), _seconds(p95), choice.ended_url(figures.start, job=name))
        for p95, p50, name in slow[:MOST]
    ]


@dataclass(frozen=True)
class Upcoming:
    """What starts next: a job, or the job of a schedule."""

    at: dt.datetime
    title: str
    url: str
    what: str


def _upcoming(choice: Choice) -> list[Upcoming]:
    rows = [_coming_job(choice, job) for job in queries.upcoming_jobs(choice.visibility.jobs)]
    schedules = queries.upcoming_schedules(choice.visibility.schedules)
    rows += [_coming_schedule(choice, each, moment) for each in schedules if (moment := each.next_run) is not None]
    return sorted(rows, key=lambda row: row.at)[:MOST]


def _coming_job(choice: Choice, job: Job) -> Upcoming:
    url = links.url(choice.request, "qorworker_job_change", job.pk)
    return Upcoming(job.run_after, job.title, url, f"#{job.pk}")


def _coming_schedule(choice: Choice, schedule: Schedule, moment: dt.datetime) -> Upcoming:
    url = links.url_if_there(choice.request, "qorworker_schedule_change", schedule.pk)
    return Upcoming(moment, title_of(schedule.job_name), url, pgettext("what starts a job", "schedule"))
