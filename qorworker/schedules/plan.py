"""What ``@job(schedule=…)`` takes: when, with which arguments, and with which policies. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.core.files import File

from qorworker.exceptions import InvalidSchedule
from qorworker.schedules.cron import Cron
from qorworker.schedules.timetable import CAPS, At, Every, Misfire, Overlap, Rule, in_range

RULES = (Cron, Every, At)
LONGEST_JITTER = 24 * 3600
LONGEST_WAIT = 366 * 24 * 3600
LONGEST_NAME = 200


@dataclass(frozen=True)
class Plan:
    """A rule with all other options of a schedule: ``@job(schedule=Plan(Cron("30 6 * * *"), overlap="wait"))``.

    :param when: a ``Cron``, ``Every`` or ``At``.
    :param name: the name of the schedule; by default that of the job type.
    :param start: nothing runs before this aware time, and intervals count from it.
    :param end: nothing runs from this aware time on.
    :param misfire: for times that passed while no worker ran: run the ``"latest"``, ``"all"`` or ``"skip"`` them.
    :param misfire_cap: how many runs ``"all"`` makes at most.
    :param overlap: if an earlier run has not ended: ``"skip"``, ``"wait"``, ``"parallel"`` or ``"abort"``.
    :param jitter: each run starts up to so many seconds later than planned.
    :param expires: a run that has not started after so many seconds is cancelled; 0: never.
    :param arguments: the arguments of each run, as for ``enqueue``.
    :raises qorworker.exceptions.InvalidSchedule: for a wrong value.
    """

    when: Rule
    name: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)  # secrets may be among them
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
        if isinstance(self.when, str):
            return f"when={self.when!r} is a text; write Cron({self.when!r}) if it is a cron expression."
        if isinstance(self.when, dt.timedelta):
            return f"when={self.when!r} is a timedelta; write Every(seconds={self.when.total_seconds():g})."
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
    """Return the plans of the job type *name* from the value of ``schedule``, each with the name of its schedule."""
    many = given if isinstance(given, (list, tuple)) else [given] if given is not None else []
    plans = [one if isinstance(one, Plan) else Plan(one) for one in many]
    return [
        plan if plan.name else replace(plan, name=name if place == 1 else f"{name} {place}")
        for place, plan in enumerate(plans, 1)
    ]


def problem_of(given: Any) -> str:
    """Return what is wrong with a value of ``schedule``; empty if it is valid."""
    try:
        plans = plans_of("", given)
    except InvalidSchedule as error:
        return f"must be Cron, Every, At or Plan, or a list of them: {error}"
    if any(isinstance(value, File) for plan in plans for value in plan.arguments.values()):
        return "cannot give a file: each worker would store it anew"
    names = [plan.name for plan in plans]
    return "must not give two schedules the same name" if len(names) != len(set(names)) else ""
