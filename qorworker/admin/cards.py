"""One card of the catalogue for each job type: what its user may do with it, and how its runs went. Web."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from django.utils.translation import pgettext

from qorworker import permissions
from qorworker.models import Job, Pause, PauseKind, catalogue
from qorworker.registry import JobType, registry
from qorworker.status import JobStatus


@dataclass
class Card:
    job_type: JobType[Any]
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
        """The first paragraph of the description."""
        return first_paragraph(self.job_type)

    @property
    def searched(self) -> str:
        """What a search looks through, in lower case."""
        about = self.job_type
        texts = (about.title, about.name, about.group or "", about.description or "")
        return " ".join(" ".join(str(text).split()) for text in texts).casefold()

    @property
    def is_broken(self) -> bool:
        """Its definition cannot work; ``manage.py check`` says why, but not every deployment runs that."""
        return bool(self.job_type.arguments.problems())

    @property
    def is_one_click(self) -> bool:
        """Nothing to fill in and nothing to confirm: a click is enough."""
        return not self.job_type.arguments.fields and not self.job_type.confirm

    @property
    def is_repeatable(self) -> bool:
        """Whether its form can be opened with what the user chose last."""
        return self.own is not None and self.may_repeat and bool(self.job_type.arguments.fields)

    @property
    def ended(self) -> Job | None:
        """The last run, unless it is told of as running."""
        return self.last if self.last is not None and self.last.status != JobStatus.RUNNING else None


def first_paragraph(job_type: JobType[Any]) -> str:
    return " ".join(str(job_type.description or "").strip().split("\n\n")[0].split())


def cards_for(user: Any) -> list[Card]:
    """A card for every type that *user* may run or see, without what only rows can tell."""
    cards = [Card(t, permissions.can(user, "run", t), permissions.can(user, "view", t)) for t in registry.all()]
    return [card for card in cards if card.may_run or card.may_view]


def add_story(cards: Iterable[Card], user: Any, newest: dict[str, Job], own: dict[str, int]) -> None:
    """Complete the cards with what the rows tell; of types that the user may not see only what is their own."""
    shown = [card for card in cards if card.may_view]
    names = [card.job_type.name for card in shown if card.job_type.name in newest]
    usual = catalogue.usual_durations(Job.objects.all(), names)
    jobs = Job.objects.all() if permissions.sees_all(user) else Job.objects.of_user(user)
    running, starts = catalogue.running_by_name(jobs), catalogue.next_starts(jobs)
    paused = {pause.name: pause for pause in Pause.objects.for_people() if pause.kind == PauseKind.JOB_TYPE}
    for card in shown:
        name = card.job_type.name
        card.last, card.running = newest.get(name), running.get(name, [])
        card.paused = paused.get(name)
        card.usual, card.next_start, card.own = usual.get(name), starts.get(name), own.get(name)
        card.may_repeat = card.may_run and permissions.can(user, "rerun", card.job_type)


def grouped(cards: list[Card]) -> list[tuple[str, list[Card]]]:
    """By group, in the order of the alphabet; types without a group at the end."""

    def key(card: Card) -> tuple[bool, str, str]:
        group = str(card.job_type.group or "")
        return (not group, group.casefold(), str(card.job_type.title).casefold())

    groups = groupby(sorted(cards, key=key), key=lambda card: str(card.job_type.group or ""))
    return [(group or pgettext("group", "Other"), list(members)) for group, members in groups]
