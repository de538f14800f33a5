"""One card of the catalogue for each job type: what its user may do with it, and how its runs went. Web."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from qorworker import permissions
from qorworker.admin.display import qw_number
from qorworker.definitions.job_type import JobType
from qorworker.definitions.registry import registry
from qorworker.models import Job, Pause, PauseKind
from qorworker.queries import catalogue
from qorworker.status import JobStatus

OWN = "qorworker."  # begins the names of the types of this app


@dataclass
class Card:
    """A job type in the catalogue."""

    job_type: JobType[..., Any]
    may_run: bool
    may_view: bool
    may_repeat: bool = False
    last: Job | None = None
    running: list[Job] = field(default_factory=list)
    usual: dt.timedelta | None = None
    next_start: dt.datetime | None = None
    paused: Pause | None = None
    own: int | None = None  # the number of the user's last job of the type

    @property
    def summary(self) -> str:
        """Return the first paragraph of the description."""
        return first_paragraph(self.job_type)

    @property
    def budgets(self) -> str:
        """Return how much one attempt may do, in words; empty if it has no budget."""
        return budgets_in_words(self.job_type)

    @property
    def searched(self) -> str:
        """Return the text in which a search looks, in lower case."""
        about = self.job_type
        texts = (about.title, about.name, about.group or "", about.description or "")
        return " ".join(" ".join(str(text).split()) for text in texts).casefold()

    @property
    def is_broken(self) -> bool:
        """Return whether its definition cannot work; ``manage.py check``, which says why, may not have run here."""
        return bool(self.job_type.arguments.problems())

    @property
    def is_one_click(self) -> bool:
        """Return whether a click is enough: nothing has to be filled in or confirmed."""
        return not self.job_type.arguments.fields and not self.job_type.confirm

    @property
    def is_repeatable(self) -> bool:
        """Return whether its form can be opened with what the user chose last."""
        return self.own is not None and self.may_repeat and bool(self.job_type.arguments.fields)

    @property
    def ended(self) -> Job | None:
        """Return the last run, unless it is shown as running."""
        return self.last if self.last is not None and self.last.status != JobStatus.RUNNING else None


def first_paragraph(job_type: JobType[..., Any]) -> str:
    """Return the first paragraph of the description of *job_type*; empty if it has none."""
    return " ".join(str(job_type.description or "").strip().split("\n\n")[0].split())


def budgets_in_words(job_type: JobType[..., Any]) -> str:
    """Return how much one attempt at a job of this type may do; empty if it has no budget."""
    budgets = job_type.budgets
    texts = {
        "max_queries": ngettext("%s query", "%s queries", budgets.get("max_queries", 0)),
        "max_mails": ngettext("%s mail", "%s mails", budgets.get("max_mails", 0)),
        "max_log_lines": ngettext("%s log line", "%s log lines", budgets.get("max_log_lines", 0)),
        "max_rows": ngettext("%s row of results", "%s rows of results", budgets.get("max_rows", 0)),
    }
    most = ", ".join(texts[name] % qw_number(number) for name, number in budgets.items())
    return _("At most %s in one attempt") % most if most else ""


def cards_for(user: Any) -> list[Card]:
    """Return a card for every type that *user* may run or see, without the fields that are read from rows."""
    cards = [Card(t, permissions.can(user, "run", t), permissions.can(user, "view", t)) for t in registry.all()]
    return [card for card in cards if card.may_run or card.may_view]


def add_story(cards: Iterable[Card], user: Any, newest: dict[str, Job], own: dict[str, int]) -> None:
    """Complete the cards from the rows; *newest* has the last job of each type, *own* the number of the user's last."""
    shown = [card for card in cards if card.may_view]
    names = [card.job_type.name for card in shown if card.job_type.name in newest]
    visibility = permissions.Visibility(user)
    jobs = visibility.jobs
    usual = catalogue.usual_durations(Job.objects.all(), names, visibility.creator)
    running, starts = catalogue.running_by_name(jobs), catalogue.next_starts(jobs)
    paused = {pause.name: pause for pause in Pause.objects.for_people() if pause.kind == PauseKind.JOB_TYPE}
    for card in shown:
        name = card.job_type.name
        card.last, card.running = newest.get(name), running.get(name, [])
        card.paused = paused.get(name)
        card.usual, card.next_start, card.own = usual.get(name), starts.get(name), own.get(name)
        card.may_repeat = card.may_run and permissions.can(user, "rerun", card.job_type)


def grouped(cards: list[Card]) -> list[tuple[str, list[Card]]]:
    """Return the groups and their cards in alphabetical order.

    Types without a group follow, and then groups that have only types of this app.
    """
    of_projects = {str(card.job_type.group or "") for card in cards if not card.job_type.name.startswith(OWN)}

    def key(card: Card) -> tuple[bool, bool, str, str]:
        group = str(card.job_type.group or "")
        return (group not in of_projects, not group, group.casefold(), str(card.job_type.title).casefold())

    groups = groupby(sorted(cards, key=key), key=lambda card: str(card.job_type.group or ""))
    return [(group or pgettext("group", "Other"), list(members)) for group, members in groups]
