"""Visits every state of the model that can be reached, the nearest first, and says how it came to a forbidden one."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from tests.model.rules import RULES
from tests.model.states import NEW, OVER, Bounds, State, beginnings
from tests.model.steps import Protocol

PATIENCE = 60  # steps in which a state without further faults has to come to an end
SAMPLE = 97  # one state in so many is followed to its end


@dataclass
class Found:
    """What a search has found."""

    states: int = 0
    seconds: float = 0.0
    wrong: str = ""  # empty: nothing
    way: list[str] = field(default_factory=list)  # the steps that lead there


def search(bounds: Bounds, without: Collection[str] = ()) -> Found:
    """Search all states. Stop at the first that must not be."""
    protocol = Protocol(RULES.keys() - set(without), bounds)
    begun = time.monotonic()
    came_from: dict[State, tuple[State, str] | None] = dict.fromkeys(beginnings(bounds))
    queue = deque(came_from)
    found = Found()
    while queue and not found.wrong:
        state = queue.popleft()
        for label, after in protocol.steps(state):
            if after in came_from:
                continue
            came_from[after] = (state, label)
            wrong = after.wrong or (len(came_from) % SAMPLE == 0 and limbo(protocol, after)) or ""
            if wrong:
                found.wrong, found.way = wrong, _way(came_from, after)
                break
            queue.append(after)
    found.states, found.seconds = len(came_from), time.monotonic() - begun
    return found


def limbo(protocol: Protocol, state: State) -> str:
    """Without further faults and requests the job ends, or waits for a claim that the bounds do not allow."""
    for _ in range(PATIENCE):
        is_out_of_claims = not state.claims and not any(_on_its_way(state))
        if state.row.status in OVER or (state.row.status == NEW and is_out_of_claims):
            return ""
        state = _next(protocol, state)
        if state.wrong:
            return state.wrong
    return "a job neither ends nor waits"


def replay(way: Sequence[str], bounds: Bounds, without: Collection[str] = ()) -> str:
    """Take these steps, and say what is wrong at their end. An empty text: nothing, or a step is not possible."""
    protocol, states = Protocol(RULES.keys() - set(without), bounds), set(beginnings(bounds))
    for label in way:
        states = {after for state in states for name, after in protocol.steps(state) if name == label}
    return next(filter(None, (state.wrong or limbo(protocol, state) for state in states)), "")


def _on_its_way(state: State) -> list[int]:
    return [
        *(token for _worker, token, _ticks in state.late),
        *(token for w in state.workers for token in (w.asked, w.answer, *dict(w.unanswered))),
    ]


def _next(protocol: Protocol, state: State) -> State:
    """The step that comes next if nothing goes wrong: time passes when nothing else is left to do."""
    steps = dict(protocol.regular(state))
    for label, after in steps.items():
        if label != "tick" and after != state and not label.endswith("hears nothing"):
            return after
    return steps["tick"]


def _way(came_from: dict[State, tuple[State, str] | None], state: State) -> list[str]:
    way = []
    while (before := came_from[state]) is not None:
        state, label = before
        way.append(label)
    return way[::-1]
