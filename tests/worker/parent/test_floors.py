"""Where the claims of a worker begin. The table and its index are a list here; tests of the models have real ones."""

from dataclasses import dataclass, replace
from itertools import groupby

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from qorworker.models.sql import WHOLE, Claim, Claimed, Heads, Position, Stretch
from qorworker.models.sql.claims import rank
from qorworker.worker.parent import floors as module
from qorworker.worker.parent.floors import Floors

TYPES = ("app.a", "app.b")
EVENTS = ("begin", "commit late", "give back", "pause", "pause", "look")


def job(pk, priority=0, queue="default", name="app.a"):
    return Claimed(pk, priority, name, queue, "{}", 1, 1, 0, 0, 0, 0, 0, 0, "")


def order(slots=1, queues=("default",), **more):
    return Claim(worker_id=1, token="", lease=1.0, queues=queues, names=TYPES, slots=slots, limit=slots, **more)


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """No slack, so that a single job makes a difference."""
    monkeypatch.setattr(module, "SLACK", 0)


@pytest.fixture
def floors():
    floors = Floors()
    floors.hold_for(TYPES, ())
    return floors


def test_a_worker_that_knows_nothing_walks_everything(floors):
    assert floors.stretches("default") is WHOLE


def test_behind_what_was_taken_a_claim_walks_on_and_so_do_other_priorities_completely(floors):
    floors.raise_for(order(2), [job(4), job(7)])
    assert floors.stretches("default") == [Stretch(WHOLE[0].high, 1), Stretch(0, 0, 8), Stretch(-1, WHOLE[0].low)]
    assert floors.stretches("mail") is WHOLE


def test_priorities_side_by_side_leave_nothing_in_between(floors):
    floors.raise_for(order(3), [job(9, 1), job(4), job(2, -2)])
    assert floors.stretches("default") == [
        Stretch(WHOLE[0].high, 2), Stretch(1, 1, 10), Stretch(0, 0, 10),
        Stretch(-1, -1), Stretch(-2, -2, 3), Stretch(-3, WHOLE[0].low),
    ]  # fmt: skip


def test_what_a_claim_did_not_come_to_stays_as_it_is(floors):
    floors.raise_for(order(2), [job(4, 1), job(2)])
    floors.raise_for(order(1), [job(9, 1)])
    assert floors.stretches("default")[1:3] == [(1, 1, 10), (0, 0, 3)]


def test_a_claim_that_found_too_little_has_seen_all(floors):
    floors.raise_for(order(2), [job(4, 1), job(9)])
    floors.raise_for(order(2), [])
    assert floors.stretches("default")[1:3] == [(1, 1, 10), (0, 0, 10)]


def test_a_claim_that_looked_whether_the_next_one_may_wait_has_seen_nothing(floors):
    floors.raise_for(order(2), [job(4), job(9)])
    before = floors.stretches("default")
    floors.raise_for(order(0), [])
    assert floors.stretches("default") == before


def test_a_walk_begins_a_little_earlier_for_what_was_committed_late(floors, monkeypatch):
    monkeypatch.setattr(module, "SLACK", 3)
    floors.raise_for(order(1), [job(9)])
    assert floors.stretches("default")[1] == Stretch(0, 0, 7)


def test_a_look_at_everything_sets_the_floors_to_what_waits(floors):
    floors.raise_for(order(3), [job(9, 1), job(11), job(6, -1)])
    floors.set_to({"default": Heads(first={0: 3, 7: 12}), "mail": Heads(first={0: 5})})
    assert [each for each in floors.stretches("default") if each.first] == [
        (7, 7, 12), (1, 1, 13), (0, 0, 3), (-1, -1, 13),
    ]  # fmt: skip
    assert Stretch(0, 0, 5) in floors.stretches("mail")


def test_what_this_worker_returned_is_taken_without_walking_to_it_once_more(floors):
    floors.raise_for(order(2), [job(4), job(9)])
    floors.give_back([Position("default", 0, 4), Position("mail", 0, 3), Position("default", 0, 12)])
    assert floors.returned(["default"]) == [4]  # the others are on the walk
    floors.raise_for(order(1, returned=[4]), [job(4)])
    assert floors.returned(["default"]) == []
    assert floors.stretches("default")[1] == Stretch(0, 0, 10)


def test_what_it_returned_stays_known_until_a_claim_has_come_past_it(floors):
    floors.raise_for(order(2), [job(4), job(9)])
    floors.give_back([Position("default", 0, 4)])
    floors.raise_for(order(1, returned=[4]), [job(11, 5)])
    assert floors.returned(["default"]) == [4]
    floors.raise_for(order(2, returned=[4]), [job(12)])
    assert floors.returned(["default"]) == []


def test_a_worker_that_may_take_other_jobs_begins_anew(floors):
    floors.raise_for(order(1), [job(4)])
    floors.hold_for(TYPES, ())
    assert floors.stretches("default") is not WHOLE
    floors.hold_for(TYPES, [3])
    assert floors.stretches("default") is WHOLE
    assert list(floors.queues) == ["default"]


def test_what_a_claim_took_that_was_made_before_teaches_nothing(floors):
    floors.hold_for(TYPES, [3])
    floors.raise_for(order(1), [job(4)])
    assert floors.stretches("default") is WHOLE


def test_a_claim_that_was_made_before_a_look_found_jobs_further_back_does_not_hide_them(floors):
    floors.raise_for(order(1), [job(4)])
    claim = order(1, stretches={"default": floors.stretches("default")})
    floors.set_to({"default": Heads(first={0: 2})})
    floors.raise_for(claim, [job(9)])
    assert floors.stretches("default")[1] == Stretch(0, 0, 2)


def test_a_claim_that_was_made_before_a_job_was_returned_does_not_hide_it(floors):
    floors.raise_for(order(2), [job(4), job(9)])
    claim = order(1)
    floors.give_back([Position("default", 0, 4)])
    floors.raise_for(claim, [])
    assert floors.returned(["default"]) == [4]


def test_the_memory_is_limited_and_keeps_the_latest(floors, monkeypatch):
    for name, most in (("PRIORITIES", 2), ("QUEUES", 1), ("RETURNED", 2)):
        monkeypatch.setattr(module, name, most)
    floors.raise_for(order(3), [job(3, 3), job(2, 2), job(1, 1)])
    assert len([each for each in floors.stretches("default") if each.first]) == 2
    floors.raise_for(order(1), [job(4, 3)])
    assert Stretch(3, 3, 5) in floors.stretches("default")
    floors.give_back([Position("default", 3, pk) for pk in (1, 2, 3)])
    assert floors.returned(["default"]) == [2, 3]
    for number in range(3):
        floors.raise_for(order(1, [f"queue{number}"]), [job(9 + number, queue=f"queue{number}")])
    floors.set_to({"mail": Heads(first={0: 20})})
    assert list(floors.queues) == ["queue2", "mail"]


# Any course of events.


@dataclass
class Row:
    pk: int
    priority: int
    queue: str
    name: str
    committed: bool
    waits: bool = True


class Table:
    """Jobs, as the transactions of several workers see them."""

    def __init__(self):
        self.rows = []

    def add(self, priority, queue, name, committed):
        self.rows.append(Row(len(self.rows) + 1, priority, queue, name, committed))

    def waiting(self, names=TYPES):
        rows = [row for row in self.rows if row.committed and row.waits and row.name in names]
        return sorted((job(row.pk, row.priority, row.queue, row.name) for row in rows), key=rank)

    def heads(self):
        first = {}
        for each in reversed(self.waiting()):
            first.setdefault(each.queue_name, {})[each.priority] = each.id
        return {queue: Heads(first=ids) for queue, ids in first.items()}

    def best(self, claim):
        """The jobs of a claim in its order: of each queue no more than its limit."""
        found = []
        for queue, jobs in groupby(
            sorted(self.waiting(claim.names), key=lambda each: each.queue_name), key=lambda each: each.queue_name
        ):
            if queue in claim.queues:
                stretches = claim.stretches.get(queue, WHOLE)
                jobs = [each for each in jobs if any(contains(stretch, each) for stretch in stretches)]
                found += sorted(jobs, key=rank)[: claim.limit]
        found += [each for each in self.waiting(claim.names) if each.id in claim.returned]
        assert len({each.id for each in found}) == len(found)
        return sorted(found, key=rank)[: claim.limit]

    def set(self, jobs, *, waits):
        for each in jobs:
            row = self.rows[each.id - 1]
            assert row.waits is not waits, "It was taken twice."
            row.waits = waits


def contains(stretch, job):
    return stretch.low <= job.priority <= stretch.high and job.id >= stretch.first


class Worker:
    def __init__(self, table):
        self.table, self.floors = table, Floors()
        self.names, self.holds, self.is_exact = TYPES, [], True

    def order(self, slots):
        plain = replace(order(slots, ["default", "mail"]), names=self.names)
        self.floors.hold_for(plain.names, plain.but)
        stretches = {queue: self.floors.stretches(queue) for queue in plain.queues}
        return plain, replace(plain, stretches=stretches, returned=self.floors.returned(plain.queues))

    def claim(self, slots):
        plain, claim = self.order(slots)
        jobs = self.table.best(claim)
        if self.is_exact:
            assert jobs == self.table.best(plain)
        self.table.set(jobs, waits=False)
        self.floors.raise_for(claim, jobs)
        self.holds += jobs
        return jobs

    def look(self):
        self.floors.set_to(self.table.heads())
        self.is_exact = True

    def give_back(self, number):
        jobs, self.holds = self.holds[:number], self.holds[number:]
        self.table.set(jobs, waits=True)
        self.floors.give_back([Position(each.queue_name, each.priority, each.id) for each in jobs])
        return jobs


class Course:
    """Things that happen to jobs and workers, in any order."""

    def __init__(self, workers):
        self.table = Table()
        self.workers = [Worker(self.table) for _ in range(workers)]

    def happen(self, kind, number, worker, priority, other):
        me = self.workers[worker % len(self.workers)]
        match kind:
            case "enqueue" | "begin":
                for _ in range(number):
                    queue, name = ("mail", "default")[other % 2], TYPES[other // 2 % 2]
                    self.table.add(priority, queue, name, committed=kind == "enqueue")
            case "commit late":
                for row in [row for row in self.table.rows if not row.committed][:number]:
                    row.committed = True
                    self.surprise()
            case "claim":
                me.claim(number)
            case "give back":
                if me.give_back(number):
                    self.surprise(me)
            case "pause":
                me.names = TYPES[: 1 + other % 2]
            case "look":
                me.look()

    def surprise(self, informed=None):
        """Something came to wait of which only one worker knows: until their next look the others may miss it."""
        for worker in self.workers:
            worker.is_exact = worker.is_exact and worker is informed


events = st.lists(
    st.tuples(
        st.sampled_from(["enqueue", "enqueue", "claim", "claim", *EVENTS]),
        st.integers(1, 5), st.integers(0, 2), st.sampled_from([-100, -1, 0, 1, 100]), st.integers(0, 3),
    ),
    max_size=60,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 3), events)
def test_every_job_is_taken_once_in_order_and_at_the_latest_after_the_next_look_at_everything(workers, events):
    """What nobody else brought back takes its turn at once, as if there were no floors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SLACK", 0)
        patch.setattr(module, "PRIORITIES", 3)
        course = Course(workers)
        for event in events:
            note(event)
            course.happen(*event)
        for row in course.table.rows:
            row.committed = True
        last = course.workers[0]
        last.names = TYPES
        last.look()
        while course.table.waiting():
            expected = course.table.best(last.order(2)[0])
            assert last.claim(2) == expected
