"""What ``@job(schedule=…)`` takes: when, with which arguments, and what if. Pure; read where the code is imported."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.core.files import File

from qorworker.cron import Cron
from qorworker.exceptions import InvalidSchedule
from qorworker.timetable import CAPS, At, Every, Misfire, Overlap, Rule, in_range

RULES = (Cron, Every, At)
LONGEST_JITTER = 24 * 3600
LONGEST_WAIT = 366 * 24 * 3600
LONGEST_NAME = 200


@dataclass(frozen=True)
class Plan:
    """A rule with everything else that a schedule has: ``@job(schedule=Plan(Cron("30 6 * * *"), overlap="wait"))``.

    *when* is a ``Cron``, ``Every`` or ``At``; *name* by default that of the job type; *start* and *end* are aware:
    nothing runs before the one, or from the other on, and intervals count from *start*. *misfire* is ``"latest"``,
    ``"all"`` (at most *misfire_cap* runs) or ``"skip"``; *overlap* is ``"skip"``, ``"wait"``, ``"parallel"`` or
    ``"abort"``. Each run starts up to *jitter* seconds later than planned, and is cancelled if it has not
    started *expires* seconds after its time; 0: it waits however long.

    :raises qorworker.exceptions.InvalidSchedule: if one of them cannot be.
    """

    when: Rule
    name: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    start: dt.datetime | None = None
    end: dt.datetime | None = None
    misfire: str = Misfire.LATEST
    misfire_cap: int = 10
    overlap: str = Overlap.SKIP
    jitter: int = 0
    expires: int = 0

    def __post_init__(self) -> None:
        if problem := self._problem():
            raise InvalidSchedule(problem)

    def _problem(self) -> str:
        if not isinstance(self.when, RULES):
            return f"when={self.when!r} is not a Cron, Every or At."
        if not isinstance(self.name, str) or len(self.name) > LONGEST_NAME or not self.name.isprintable():
            return f"name={self.name!r} is not a printable text of at most {LONGEST_NAME} characters."
        if not isinstance(self.arguments, Mapping):
            return "arguments must be a dict."
        for name in ("start", "end"):
            moment = getattr(self, name)
            if moment is not None and (not isinstance(moment, dt.datetime) or moment.tzinfo is None):
                return f"{name}={moment!r} is not a datetime with a time zone."
            if moment is not None:
                in_range(moment)
        if self.start and self.end and self.end <= self.start:
            return "The end is not after the start."
        if self.misfire not in Misfire.values:
            return f"misfire={self.misfire!r} is none of {', '.join(map(repr, Misfire.values))}."
        if not _whole(self.misfire_cap, *CAPS):
            return f"misfire_cap={self.misfire_cap!r} is not a whole number from {CAPS[0]} to {CAPS[1]}."
        if self.overlap not in Overlap.values:
            return f"overlap={self.overlap!r} is none of {', '.join(map(repr, Overlap.values))}."
        for name, longest in (("jitter", LONGEST_JITTER), ("expires", LONGEST_WAIT)):
            if not _whole(getattr(self, name), 0, longest):
                return f"{name}={getattr(self, name)!r} is not a whole number of seconds from 0 to {longest}."
        return ""


def _whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def plans_of(name: str, given: Any) -> list[Plan]:
    """The plans of the job type *name*: what ``schedule=`` was *given*, each with the name of its schedule."""
    many = given if isinstance(given, (list, tuple)) else [given] if given is not None else []
    plans = [one if isinstance(one, Plan) else Plan(one) for one in many]
    return [
        plan if plan.name else replace(plan, name=name if place == 1 else f"{name} {place}")
        for place, plan in enumerate(plans, 1)
    ]


def problem_of(given: Any) -> str:
    """What is wrong with what ``schedule=`` was given; empty if nothing is."""
    try:
        plans = plans_of("", given)
    except InvalidSchedule as error:
        return f"must be Cron, Every, At or Plan, or a list of them: {error}"
    if any(isinstance(value, File) for plan in plans for value in plan.arguments.values()):
        return "cannot give a file: each worker would store it anew"
    names = [plan.name for plan in plans]
    return "must not give two schedules the same name" if len(names) != len(set(names)) else ""
