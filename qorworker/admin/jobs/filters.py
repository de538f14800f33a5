"""The filters of the list of jobs: read from the address, checked, shown on the page, applied to the rows. Web."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from django.conf import settings as django_settings
from django.http import HttpRequest
from django.utils import formats, timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext

from qorworker import permissions
from qorworker.admin.jobs import tabs
from qorworker.admin.jobs.search import SearchError, Term, parse
from qorworker.admin.parameters import number
from qorworker.arguments.codec import is_secret
from qorworker.conf import settings
from qorworker.definitions.job_type import JobType
from qorworker.definitions.registry import registry
from qorworker.models import JobQuerySet
from qorworker.models.clock import stored
from qorworker.queries import job_list
from qorworker.text.moments import date_and_clock, local

PARAMETERS = ("tab", "q", "job", "group", "queue", "user", "batch", "on", "period", "from", "to", "before", "per")
ON: dict[str, tuple[str, Any]] = {
    "created": ("enqueued_at", gettext_lazy("created")),
    "finished": ("finished_at", gettext_lazy("finished")),
}
PER_PAGE = ("20", "50", "100", "200")
PERIODS: dict[str, tuple[int, Any]] = {
    "today": (0, gettext_lazy("Today")),
    "7": (7, gettext_lazy("7 days")),
    "30": (30, gettext_lazy("30 days")),
}
EXACT = ("number", "bool", "choice", "date")  # kinds of arguments that must match as a whole
MARGIN = dt.timedelta(hours=1)  # by which a job may have been created before another one with a lower number


class Filters:
    """The filters in the address of *request*.

    ``errors`` has a sentence for each parameter that could not be understood, and so narrows nothing.
    """

    def __init__(self, request: HttpRequest) -> None:
        self.user: Any = request.user
        self.errors: dict[str, str] = {}
        self.notes: list[str] = []
        self.given = {name: request.GET[name].strip() for name in PARAMETERS if request.GET.get(name, "").strip()}
        self._forget_unprintable()
        self.tab = self._one_of("tab", job_list.TABS, "all")
        self.on = self._one_of("on", ON, "created")
        self.period = self._one_of("period", PERIODS, "")
        self.per_page = int(self._one_of("per", PER_PAGE, "50"))
        self.terms = self._terms()
        self.start, self.end = self._dates()
        self.before = self._number("before")
        self.batch = self._number("batch")

    # Narrowing the rows

    def narrow(self, jobs: JobQuerySet) -> tuple[JobQuerySet, job_list.Window]:
        """Return the *jobs* that fit, and the part of the table in which to look for them."""
        window = self._window(jobs)
        for names in self._chosen_types():
            jobs = jobs.for_types(names)
        if queue := self.given.get("queue"):
            jobs = job_list.in_queue(jobs, queue)
        if user := self.given.get("user"):
            jobs = self._of_user(jobs, user)
        if self.batch is not None:
            jobs = job_list.of_batch(jobs, self.batch)
        jobs = job_list.between(jobs, ON[self.on][0], self.start, self.end)
        for term in sorted(self.terms, key=lambda term: term.qualifier == "arg"):  # terms that read rows come last
            jobs = self._fitting(jobs, term, window)
        return jobs, window

    def _window(self, jobs: JobQuerySet) -> job_list.Window:
        size = settings.LIST_JOBS
        window = job_list.window(jobs, size, self.before)
        if self.end is None or self.before is not None or not window.has_older:
            return window
        return job_list.window(jobs, size, job_list.number_at(jobs, self.end + MARGIN, 0, window.newest + 1))

    def _fitting(self, jobs: JobQuerySet, term: Term, window: job_list.Window) -> JobQuerySet:
        match term.qualifier:
            case "type":
                return jobs.for_types(self._names(term.value))
            case "queue":
                return job_list.in_queue(jobs, term.value)
            case "user":
                return self._of_user(jobs, term.value)
            case "status":
                return job_list.in_tab(jobs, tabs.tab_named(term.value) or "all", window, registry.names())
            case "error":
                return job_list.with_error(jobs, term.value, self._allowed("view_log"))
            case "arg":
                return self._with_argument(jobs, term, window)
            case _:
                return self._of_word(jobs, term)

    def _of_word(self, jobs: JobQuerySet, term: Term) -> JobQuerySet:
        """Narrow by number or type; by the class of the error if a word is neither."""
        names = self._names(term.value)
        is_number_or_type = term.job_number is not None or len(names) > 1
        return job_list.of_word(
            jobs, names, term.job_number, job_list.Types(()) if is_number_or_type else self._allowed("view_log")
        )

    def _of_user(self, jobs: JobQuerySet, name: str) -> JobQuerySet:
        return jobs.of_user(self.user) if name == "me" else job_list.of_user_named(jobs, name)

    def _allowed(self, action: str) -> job_list.Types:
        """Return the types with whose jobs the user may do *action*."""
        if permissions.can(self.user, action):
            return job_list.Types()
        return job_list.Types(tuple(job_type.name for job_type in self._types(action)))

    def _with_argument(self, jobs: JobQuerySet, term: Term, window: job_list.Window) -> JobQuerySet:
        types = {job_type.name: job_type for job_type in self._types_with(term.argument)}
        value = term.value.casefold()

        def matches(name: str, stored: Any) -> bool:
            (shown,) = types[name].arguments.display({term.argument: stored})
            text = shown.text.casefold()
            return shown.kind != "secret" and (text == value if shown.kind in EXACT else value in text)

        jobs, is_complete = job_list.with_argument(window.of(jobs.for_types(types)), term.argument, matches)
        if not is_complete:
            limits = {"read": formats.localize(job_list.ARGUMENTS_READ), "found": formats.localize(job_list.MATCHES)}
            self.notes.append(
                _("Arguments were searched in the newest %(read)s of these jobs, up to %(found)s matches.") % limits
            )
        return jobs

    # Reading the address

    def _forget_unprintable(self) -> None:
        """Drop values that some databases refuse and no name contains. The search box reports its own."""
        for name in [name for name, value in self.given.items() if name != "q" and not value.isprintable()]:
            self.errors[name] = _("“%s” has a character that names cannot have; it was left out.") % name
            del self.given[name]

    def _one_of(self, name: str, choices: Iterable[str], usual: str) -> str:
        value = self.given.get(name, usual)
        if value in choices or value == usual:
            return value
        values = {"name": name, "value": value, "known": ", ".join(choices)}
        self.errors[name] = _("%(name)s: “%(value)s” is not one of %(known)s; it was left out.") % values
        del self.given[name]
        return usual

    def _terms(self) -> list[Term]:
        try:
            terms = parse(self.given.get("q", ""))
            for term in terms:
                self._check(term)
        except SearchError as error:
            self.errors["q"] = str(error)
            return []
        return terms

    def _check(self, term: Term) -> None:
        """Raise ``SearchError`` for a value that means nothing, or that the user may not search for."""
        nothing = _("Nothing was searched for.")
        if term.qualifier == "status" and tabs.tab_named(term.value) is None:
            labels = ", ".join(str(label) for label in {**tabs.TABS, **tabs.MORE_TABS}.values())
            problem = _("“%(value)s” is not a status; the statuses are %(known)s.") % {
                "value": term.value,
                "known": labels,
            }
        elif term.qualifier == "error" and self._may_not_search("view_log"):
            problem = _("You may not see the errors of jobs, and so not search for them.")
        elif term.qualifier == "arg" and self._may_not_search("view_arguments"):
            problem = _("You may not see the arguments of jobs, and so not search for them.")
        elif term.qualifier == "arg" and not self._types_with(term.argument):
            problem = _("No job has an argument “%s” that can be searched for.") % term.argument
        else:
            return
        raise SearchError(f"{problem} {nothing}")

    def _dates(self) -> tuple[dt.datetime | None, dt.datetime | None]:
        """Return the first moment that fits and the first that no longer does."""
        if self.period:
            return _midnight(_today() - dt.timedelta(days=PERIODS[self.period][0])), None
        first, after = self._limit("from", pgettext("first day", "From")), self._limit("to", pgettext("last day", "To"))
        if first and after and first >= after:
            self.errors["to"] = _("“To” is before “From”; both were left out.")
            return None, None
        return first, after

    def _limit(self, name: str, label: str) -> dt.datetime | None:
        """Return the begin of the first day or the end of the last one. Links have moments with a zone."""
        if not (text := self.given.get(name)):
            return None
        try:
            if "T" in text:
                return stored(_with_zone(dt.datetime.fromisoformat(text)))
            day = dt.date.fromisoformat(text)
            _midnight(day - dt.timedelta(days=1)).astimezone(dt.UTC)  # at both ends of the calendar there is none
            after = _midnight(day + dt.timedelta(days=1))
        except (ValueError, OverflowError):
            values = {"field": label, "text": text}
            self.errors[name] = _("%(field)s: “%(text)s” is not a date like 2026-12-31; it was left out.") % values
            return None
        return _midnight(day) if name == "from" else after

    def _number(self, name: str) -> int | None:
        if not (text := self.given.get(name)):
            return None
        if (found := number(text)) is None:
            problems = {"before": _("“%s” is not the number of a job; it was left out.")}
            self.errors[name] = problems.get(name, _("“%s” is not the number of a batch; it was left out.")) % text
        return found

    # Types and rights

    def _chosen_types(self) -> list[list[str]]:
        chosen = [[name] for name in (self.given.get("job"),) if name]
        if group := self.given.get("group"):
            chosen.append([job_type.name for job_type in registry.all() if str(job_type.group or "") == group])
        return chosen

    def _types(self, action: str) -> list[JobType[..., Any]]:
        return [job_type for job_type in registry.all() if permissions.can(self.user, action, job_type)]

    def _names(self, text: str) -> list[str]:
        """Return the names of types with *text* in name or title, and *text*: it may be that of a type without code.

        Types that the user may not see are left out: what is found beside them would reveal their names and titles.
        """
        folded = text.casefold()
        types = self._types("view")
        names = [t.name for t in types if folded in str(t.title).casefold() or folded in t.name.casefold()]
        return [*(name for name in names if name != text), text]

    def _may_not_search(self, action: str) -> bool:
        return not permissions.can(self.user, action) and not self._types(action)

    def _types_with(self, argument: str) -> list[JobType[..., Any]]:
        """Return the types that have the argument, not as a secret, and of which the user may see it."""
        types = []
        for job_type in self._types("view_arguments"):
            field = job_type.arguments.definition.fields.get(argument)
            if field is not None and not is_secret(field):
                types.append(job_type)
        return types

    # For the template

    def url(self, **changes: str | None) -> str:
        """Return the address of the list with other values; None removes one."""
        values = {**self.given, **changes}
        return "?" + urlencode({name: values[name] for name in PARAMETERS if values.get(name)})

    @cached_property
    def is_narrowed(self) -> bool:
        """Return whether anything but the tab narrows the list."""
        return bool(self.terms or self.chips or self.period or self.before)

    @cached_property
    def chips(self) -> list[dict[str, str]]:
        """Return what narrows the list beside tab and search, each with the address of the list without it."""
        return [{"text": text, "url": self.url(**dict.fromkeys(names))} for names, text in self._chips()]

    def _chips(self) -> Iterable[tuple[tuple[str, ...], str]]:
        given = self.given
        if name := given.get("job"):
            job_type = registry.find(name)
            may_know = job_type is not None and permissions.can(self.user, "view", job_type)
            yield ("job",), _("Type: %s") % (job_type.title if job_type is not None and may_know else name)
        if group := given.get("group"):
            yield ("group",), _("Group: %s") % group
        if queue := given.get("queue"):
            yield ("queue",), _("Queue: %s") % queue
        if user := given.get("user"):
            yield ("user",), _("By: %s") % (self.user.get_username() if user == "me" else user)
        if self.batch is not None:
            yield ("batch",), _("Batch: #%d") % self.batch
        if (self.start or self.end) and not self.period:  # a period has its own links
            yield ("from", "to", "on"), self._dates_in_words()

    def _dates_in_words(self) -> str:
        what = str(ON[self.on][1])
        first = self._limit_in_words(self.start) if self.start else None
        last = self._limit_in_words(self.end, is_end=True) if self.end else None
        values = {"what": what, "first": first, "last": last}
        if first is None:
            return _("%(what)s until %(last)s") % values
        return _("%(what)s from %(first)s") % values if last is None else _("%(what)s %(first)s to %(last)s") % values

    def _limit_in_words(self, moment: dt.datetime, *, is_end: bool = False) -> str:
        """Return a day, or day and time if it is no midnight of the current zone."""
        wall = local(moment)
        if wall.time() != dt.time.min:
            return date_and_clock(wall)
        return formats.date_format(wall - dt.timedelta(days=1) if is_end else wall, "DATE_FORMAT")

    @property
    def periods(self) -> list[dict[str, Any]]:
        """Return the usual spans of time, as links."""
        spans = [(None, _("Any time")), *((key, label) for key, (_days, label) in PERIODS.items())]
        anything = self.start or self.end
        return [
            {
                "label": label,
                "url": self.url(**{"period": key, "from": None, "to": None}),
                "is_current": key == self.period if key else not anything,
            }
            for key, label in spans
        ]


def _with_zone(moment: dt.datetime) -> dt.datetime:
    """Return *moment* in UTC. Raises ``ValueError`` if it has no zone, or is at an end of the calendar."""
    if moment.tzinfo is None or not 1 < moment.year < dt.MAXYEAR:
        raise ValueError
    return moment.astimezone(dt.UTC)


def _today() -> dt.date:
    return timezone.localdate() if django_settings.USE_TZ else timezone.now().date()


def _midnight(day: dt.date) -> dt.datetime:
    moment = dt.datetime.combine(day, dt.time.min)
    return timezone.make_aware(moment) if django_settings.USE_TZ else moment
