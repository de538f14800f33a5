"""A job finds its process as the job before found it, or gets a new one."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import Ledger, ended, log_of, running_worker
from tests.testapp import jobs
from tests.testapp.bending import BENDS

pytestmark = pytest.mark.process

REPLACED = {
    "hard limit", "processor time", "thread", "daemon thread", "work in an executor", "closed output", "other output",
    "other input", "closed like a daemon", "leaked descriptors", "process",
}  # fmt: skip


@pytest.fixture(scope="module")
def one_child(open_database, tmp_path_factory):
    with running_worker(folder=tmp_path_factory.mktemp("worker"), processes=1) as worker:
        yield worker


def look(ledger: Ledger) -> tuple[str, str, dict]:
    """The process that the next job gets: its number, a number drawn by lot, and how it looks."""
    job = ended(jobs.look.enqueue(ledger=str(ledger)))
    assert job.status == "done", job.error
    assert log_of(job) == ["seen"]
    _, pid, drawn, state = ledger.lines()[-1]
    return pid, drawn, json.loads(bytes.fromhex(state))


def bend(ledger: Ledger, *names: str) -> tuple[str, str]:
    """The process in which a job did these things, and how that job ended."""
    job = ended(jobs.bend.enqueue(ledger=str(ledger), names=",".join(names)))
    return ledger.lines()[-1][1], job.status


@pytest.mark.parametrize("name", BENDS)
def test_each_thing_is_as_it_was_for_the_next_job(one_child, transactional_db, ledger, name):
    before = look(ledger)[2]
    bent, status = bend(ledger, name)
    pid, _, state = look(ledger)
    assert state == before
    assert status == "done"
    assert (pid != bent) == (name in REPLACED)


def test_a_seed_of_one_job_does_not_decide_what_another_draws(one_child, transactional_db, ledger):
    drawn = set()
    for _ in range(3):
        bend(ledger, "random")
        drawn.add(look(ledger)[1])
    assert len(drawn) == 3


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.sampled_from(sorted(BENDS)), min_size=2, max_size=6, unique=True))
def test_many_things_at_once_are_as_they_were_for_the_next_job(one_child, transactional_db, ledger, names):
    before = look(ledger)[2]
    bend(ledger, *names)  # it may fail: one thing can be in the way of another
    assert look(ledger)[2] == before
