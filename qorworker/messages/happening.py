"""What rules may report: the end of a job, or anything else that somebody should hear of. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from qorworker.messages.rules import Rule


@dataclass(frozen=True)
class Happening:
    """Something that has happened, or begun to be so."""

    source: str  # what says so: no two happenings have the same one
    events: frozenset[str]  # all events that it is
    at: dt.datetime  # in UTC
    alike: str  # the same for those of which a quiet period leaves the later ones out
    facts: dict[str, Any] = field(default_factory=dict)
    job_id: int | None = None
    name: str = ""  # of the job type; empty if it is about none
    group: str = ""
    queues: tuple[str, ...] = ()


class Match(NamedTuple):
    """A rule that reports something, as one of the events that it is."""

    happening: Happening
    rule: Rule
    event: str


def matches(found: Iterable[Happening], rules: Iterable[Rule]) -> Iterator[Match]:
    """Yield which of *rules* reports what of *found*."""
    rules = list(rules)
    for happening in found:
        for rule in rules:
            event = rule.event_among(happening.events)
            is_new = rule.since is None or happening.at >= rule.since
            if event and is_new and rule.covers(happening.name, happening.group, *happening.queues):
                yield Match(happening, rule, event)
