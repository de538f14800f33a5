"""What a check found, and a list of checks that each end with a verdict, whatever happens. Command."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from django.db import Error, InterfaceError, OperationalError, connections

from qorworker.management.selftest.trial import NotInTime, Trial, WorkerEnded
from qorworker.system.processes import monotonic


class State(StrEnum):
    """How fit something is."""

    OK = "ok"
    WARNING = "warning"  # it works, but not as well as it could
    FAILED = "failed"
    SKIPPED = "skipped"  # there is no such thing here


@dataclass(frozen=True)
class Verdict:
    """What a check found, in one sentence, and what to do about it."""

    text: str
    state: State = State.OK
    remedy: str = ""
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """A name, a function, and what to do if that finds a failure and knows no better."""

    name: str
    run: Callable[[Trial], Verdict]
    remedy: str


@dataclass(frozen=True)
class Finding:
    """A verdict with the name of its check, and how long that took."""

    name: str
    verdict: Verdict
    seconds: float

    def as_json(self) -> dict[str, Any]:
        verdict = self.verdict
        return {
            "name": self.name,
            "state": verdict.state.value,
            "text": verdict.text,
            "remedy": verdict.remedy,
            "seconds": round(self.seconds, 3),
            "figures": verdict.figures,
        }


def findings(checks: Iterable[Check], trial: Trial) -> Iterator[Finding]:
    """Run the checks, one after another."""
    for check in checks:
        begun = monotonic()
        verdict = _verdict(check, trial)
        yield Finding(check.name, verdict, monotonic() - begun)


def _verdict(check: Check, trial: Trial) -> Verdict:
    if trial.seconds_left() <= 0:
        return Verdict("There was no time left for it.", State.FAILED, "Give more with --timeout.")
    try:
        verdict = check.run(trial)
    except (NotInTime, WorkerEnded) as error:
        verdict = Verdict(str(error), State.FAILED)
    except Error as error:
        text = " ".join(str(error.args[-1] if error.args else error).split())
        verdict = Verdict(f"The database did not carry out a statement: {text}", State.FAILED)
        if isinstance(error, (OperationalError, InterfaceError)):
            connections[trial.using].close()  # the next check opens a new one
    if verdict.state == State.FAILED and not verdict.remedy:
        return Verdict(verdict.text, verdict.state, check.remedy, verdict.figures)
    return verdict
