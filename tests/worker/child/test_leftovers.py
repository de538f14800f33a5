"""A job finds its process as the job before found it, or gets a new one."""

from __future__ import annotations

import json
import logging
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qorworker.worker.child.leftovers import Chance, Loggers
from tests.support import Ledger, ended, log_of, running_worker
from tests.testapp import jobs
from tests.testapp.bending import BENDS

pytestmark = [pytest.mark.process, pytest.mark.once]

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


def test_nothing_is_written_into_files_that_a_job_keeps_open(one_child, transactional_db, ledger, tmp_path):
    """Not even if they have the numbers of descriptors that the job has closed."""
    pid = look(ledger)[0]
    (tmp_path / "kept").touch()
    assert ended(jobs.opens_anew.enqueue(path=str(tmp_path / "kept"))).status == "done"
    assert look(ledger)[0] == pid
    assert (tmp_path / "kept").read_text() == ""


def test_a_seed_of_one_job_does_not_decide_what_another_draws(one_child, transactional_db, ledger):
    drawn = set()
    for _ in range(3):
        bend(ledger, "random")
        drawn.add(look(ledger)[1])
    assert len(drawn) == 3


DRAWS = {
    "seeded": lambda: random.seed(42),
    "drawn": random.random,
    "shuffled": lambda: random.shuffle([*range(5)]),
    "one bit": lambda: random.getrandbits(1),
    "normal": lambda: random.gauss(),
    "state of a generator": lambda: random.setstate(random.Random(42).getstate()),
}


@pytest.mark.once
@pytest.mark.parametrize("use", DRAWS.values(), ids=DRAWS)
def test_what_a_job_draws_does_not_follow_from_what_another_did(use):
    chance, drawn = Chance(), set()
    for _ in range(3):
        use()
        goes_on = random.Random()
        goes_on.setstate(random.getstate())
        chance.renew()
        assert random.gauss() != goes_on.gauss()
        drawn.add(random.random())
        chance.renew()
    assert len(drawn) == 3


@pytest.mark.once
def test_no_new_seed_is_made_after_a_job_that_drew_nothing(monkeypatch):
    chance = Chance()
    monkeypatch.setattr(random, "seed", lambda seed: pytest.fail("a new seed"))
    for _ in range(5):
        chance.renew()


@pytest.mark.once
def test_a_logger_that_computes_its_attributes_is_compared_too(monkeypatch):
    class Computing(logging.Logger):
        off = False
        disabled = property(lambda self: self.off, lambda self, value: vars(self).update(off=value))

    logger = Computing("computing")
    monkeypatch.setitem(logging.root.manager.loggerDict, logger.name, logger)
    loggers = Loggers()
    logger.disabled = True
    assert loggers.restored()
    assert logger.disabled is False


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.sampled_from(sorted(BENDS)), min_size=2, max_size=6, unique=True))
def test_many_things_at_once_are_as_they_were_for_the_next_job(one_child, transactional_db, ledger, names):
    before = look(ledger)[2]
    bend(ledger, *names)  # it may fail: one thing can be in the way of another
    assert look(ledger)[2] == before
