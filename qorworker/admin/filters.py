"""What narrows the list of jobs: read from the address, checked, told back to the person, put to the rows. Web."""

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
from qorworker.admin import tabs
from qorworker.admin.asked import number
from qorworker.admin.search import SearchError, Term, parse
from qorworker.arguments.codec import is_secret
from qorworker.conf import settings
from qorworker.models import JobQuerySet, lists
from qorworker.registry import JobType, registry

PARAMETERS = ("tab", "q", "job", "group", "queue", "user", "on", "period", "from", "to", "before", "per")
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
EXACT = ("number", "bool", "choice", "date")  # kinds of arguments of which not only a part is to be found
MARGIN = dt.timedelta(hours=1)  # by which a job may have been created before another one with a lower number


class Filters:
    """``errors`` has a sentence for each parameter that could not be understood, and so narrows nothing."""

    def __init__(self, request: HttpRequest) -> None:
        self.user: Any = request.user
        self.errors: dict[str, str] = {}
        self.notes: list[str] = []
        self.given = {name: request.GET[name].strip() for name in PARAMETERS if request.GET.get(name, "").strip()}
        self._forget_unprintable()
        self.tab = self._one_of("tab", lists.TABS, "all")
        self.on = self._one_of("on", ON, "created")
        self.period = self._one_of("period", PERIODS, "")
        self.per_page = int(self._one_of("per", PER_PAGE, "50"))
        self.terms = self._terms()
        self.start, self.end = self._dates()
        self.before = self._before()

    # To the rows

    def narrow(self, jobs: JobQuerySet) -> tuple[JobQuerySet, lists.Window]:
        """*jobs* without those that do not fit, and the part of the table in which to look for them."""
        window = self._window(jobs)
        for names in self._chosen_types():
            jobs = jobs.for_types(names)
        if queue := self.given.get("queue"):
            jobs = lists.in_queue(jobs, queue)
        if user := self.given.get("user"):
            jobs = self._of_user(jobs, user)
        jobs = lists.between(jobs, ON[self.on][0], self.start, self.end)
        for term in sorted(self.terms, key=lambda term: term.qualifier == "arg"):  # at last those that read rows
            jobs = self._fitting(jobs, term, window)
        return jobs, window

    def _window(self, jobs: JobQuerySet) -> lists.Window:
        size = settings.LIST_JOBS
        window = lists.window(jobs, size, self.before)
        if self.end is None or self.before is not None or not window.has_older:
            return window
        return lists.window(jobs, size, lists.number_at(jobs, self.end + MARGIN, 0, window.newest + 1))

    def _fitting(self, jobs: JobQuerySet, term: Term, window: lists.Window) -> JobQuerySet:
        match term.qualifier:
            case "type":
                return jobs.for_types(_names(term.value))
            case "queue":
                return lists.in_queue(jobs, term.value)
            case "user":
                return self._of_user(jobs, term.value)
            case "status":
                return lists.in_tab(jobs, tabs.tab_named(term.value) or "all", window, registry.names())
            case "error":
                return lists.with_error(jobs, term.value, self._allowed("view_log"))
            case "arg":
                return self._with_argument(jobs, term, window)
            case _:
                return self._of_word(jobs, term)

    def _of_word(self, jobs: JobQuerySet, term: Term) -> JobQuerySet:
        """By number or type; a word that is neither, by the class of the error."""
        names = _names(term.value)
        is_known = term.job_number is not None or len(names) > 1
        return lists.of_word(jobs, names, term.job_number, lists.Types(()) if is_known else self._allowed("view_log"))

    def _of_user(self, jobs: JobQuerySet, name: str) -> JobQuerySet:
        return jobs.of_user(self.user) if name == "me" else lists.of_user_named(jobs, name)

    def _allowed(self, action: str) -> lists.Types:
        """The types with whose jobs the user may do *action*."""
        if permissions.can(self.user, action):
            return lists.Types()
        return lists.Types(tuple(job_type.name for job_type in self._types(action)))

    def _with_argument(self, jobs: JobQuerySet, term: Term, window: lists.Window) -> JobQuerySet:
        types = {job_type.name: job_type for job_type in self._types_with(term.argument)}
        wanted = term.value.casefold()

        def matches(name: str, stored: Any) -> bool:
            (shown,) = types[name].arguments.display({term.argument: stored})
            text = shown.text.casefold()
            return shown.kind != "secret" and (text == wanted if shown.kind in EXACT else wanted in text)

        jobs, is_complete = lists.with_argument(window.of(jobs.for_types(types)), term.argument, matches)
        if not is_complete:
            told = {"read": formats.localize(lists.ARGUMENTS_READ), "found": formats.localize(lists.MATCHES)}
            self.notes.append(
                _("Arguments were searched in the newest %(read)s of these jobs, up to %(found)s matches.") % told
            )
        return jobs

    # From the address

    def _forget_unprintable(self) -> None:
        """Which no name has, and some databases refuse; the search box tells of it itself."""
        for name in [name for name, value in self.given.items() if name != "q" and not value.isprintable()]:
            self.errors[name] = _("“%s” has a character that no name has; it was left out.") % name
            del self.given[name]

    def _one_of(self, name: str, known: Iterable[str], usual: str) -> str:
        value = self.given.get(name, usual)
        if value in known or value == usual:
            return value
        told = {"name": name, "value": value, "known": ", ".join(known)}
        self.errors[name] = _("%(name)s: “%(value)s” is not one of %(known)s; it was left out.") % told
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
            known = ", ".join(str(label) for label in {**tabs.TABS, **tabs.MORE_TABS}.values())
            told = _("“%(value)s” is no status; there are %(known)s.") % {"value": term.value, "known": known}
        elif term.qualifier == "error" and self._may_not_search("view_log"):
            told = _("You may not see the errors of jobs, and so not search for them.")
        elif term.qualifier == "arg" and self._may_not_search("view_arguments"):
            told = _("You may not see the arguments of jobs, and so not search for them.")
        elif term.qualifier == "arg" and not self._types_with(term.argument):
            told = _("No job has an argument “%s” that can be searched for.") % term.argument
        else:
            return
        raise SearchError(f"{told} {nothing}")

    def _dates(self) -> tuple[dt.datetime | None, dt.datetime | None]:
        """The first moment that fits and the first that no longer does."""
        if self.period:
            return _midnight(_today() - dt.timedelta(days=PERIODS[self.period][0])), None
        first, last = self._date("from", pgettext("first day", "From")), self._date("to", pgettext("last day", "To"))
        if first and last and first > last:
            self.errors["to"] = _("“To” is before “From”; both were left out.")
            return None, None
        after = last + dt.timedelta(days=1) if last else None
        return _midnight(first) if first else None, _midnight(after) if after else None

    def _date(self, name: str, label: str) -> dt.date | None:
        if not (text := self.given.get(name)):
            return None
        try:
            day = dt.date.fromisoformat(text)
            _midnight(day + dt.timedelta(days=1))  # at both ends of the calendar there is no such moment
            _midnight(day - dt.timedelta(days=1)).astimezone(dt.UTC)
        except (ValueError, OverflowError):
            told = {"field": label, "text": text}
            self.errors[name] = _("%(field)s: “%(text)s” is no date like 2026-12-31; it was left out.") % told
            return None
        return day

    def _before(self) -> int | None:
        if not (text := self.given.get("before")):
            return None
        if (found := number(text)) is None:
            self.errors["before"] = _("“%s” is no number of a job; it was left out.") % text
        return found

    # What there is

    def _chosen_types(self) -> list[list[str]]:
        chosen = [[name] for name in (self.given.get("job"),) if name]
        if group := self.given.get("group"):
            chosen.append([job_type.name for job_type in registry.all() if str(job_type.group or "") == group])
        return chosen

    def _types(self, action: str) -> list[JobType[Any]]:
        return [job_type for job_type in registry.all() if permissions.can(self.user, action, job_type)]

    def _may_not_search(self, action: str) -> bool:
        return not permissions.can(self.user, action) and not self._types(action)

    def _types_with(self, argument: str) -> list[JobType[Any]]:
        """Types that have the argument, not as a secret, and of which the user may see it."""
        found = []
        for job_type in self._types("view_arguments"):
            field = job_type.arguments.definition.fields.get(argument)
            if field is not None and not is_secret(field):
                found.append(job_type)
        return found

    # For the template

    def url(self, **changes: str | None) -> str:
        """The address of the list with other values; None takes one away."""
        wanted = {**self.given, **changes}
        return "?" + urlencode({name: wanted[name] for name in PARAMETERS if wanted.get(name)})

    @cached_property
    def is_narrowed(self) -> bool:
        return bool(self.terms or self.chips or self.period or self.before)

    @cached_property
    def chips(self) -> list[dict[str, str]]:
        """What narrows the list beside tab and search, each with the address of the list without it."""
        return [{"text": text, "url": self.url(**dict.fromkeys(names))} for names, text in self._told()]

    def _told(self) -> Iterable[tuple[tuple[str, ...], str]]:
        given = self.given
        if name := given.get("job"):
            job_type = registry.find(name)
            yield ("job",), _("Type: %s") % (job_type.title if job_type is not None else name)
        if group := given.get("group"):
            yield ("group",), _("Group: %s") % group
        if queue := given.get("queue"):
            yield ("queue",), _("Queue: %s") % queue
        if user := given.get("user"):
            yield ("user",), _("By: %s") % (self.user.get_username() if user == "me" else user)
        if (self.start or self.end) and not self.period:  # which is told among the usual ones
            yield ("from", "to", "on"), self._told_dates()

    def _told_dates(self) -> str:
        what = str(ON[self.on][1])
        first = formats.date_format(self.start, "DATE_FORMAT") if self.start else None
        last = formats.date_format(self.end - dt.timedelta(days=1), "DATE_FORMAT") if self.end else None
        told = {"what": what, "first": first, "last": last}
        if first is None:
            return _("%(what)s until %(last)s") % told
        return _("%(what)s from %(first)s") % told if last is None else _("%(what)s %(first)s to %(last)s") % told

    @property
    def periods(self) -> list[dict[str, Any]]:
        """The usual spans of time, as links."""
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


def _names(text: str) -> list[str]:
    """The names of types with *text* in name or title; of types that left the code the name must be complete."""
    wanted = text.casefold()
    known = [t.name for t in registry.all() if wanted in str(t.title).casefold() or wanted in t.name.casefold()]
    return [*(name for name in known if name != text), text]


def _today() -> dt.date:
    return timezone.localdate() if django_settings.USE_TZ else timezone.now().date()


def _midnight(day: dt.date) -> dt.datetime:
    moment = dt.datetime.combine(day, dt.time.min)
    return timezone.make_aware(moment) if django_settings.USE_TZ else moment
