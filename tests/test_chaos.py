"""The catalogue of faults is complete, and the harness finds what is wrong."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from qorworker.models import Attempt, Job, database_now
from tests.chaos.__main__ import TRIALS
from tests.chaos.faults import FAULTS
from tests.chaos.harms import HARMS
from tests.chaos.oracle import Figures, Oracle
from tests.chaos.points import Control, Hook, around
from tests.models.rows import make_job
from tests.testapp import mixture

TESTS = Path(__file__).parent


@pytest.mark.once
def test_no_fault_is_forgotten():
    assert list(FAULTS) == [f"F{number:02}" for number in range(1, 79)]


@pytest.mark.once
@pytest.mark.parametrize("number", FAULTS)
def test_every_fault_is_injected_or_says_why_it_cannot_be(number):
    fault = FAULTS[number]
    assert bool(fault.storms or fault.trials or fault.tests) != bool(fault.not_here)
    assert set(fault.storms) <= set(HARMS)
    assert set(fault.trials) <= set(TRIALS)
    for test in fault.tests:
        file, name = test.split("::")
        assert re.search(rf"^\s*(async )?def {name}\(", (TESTS / file).read_text(), re.MULTILINE), test


@pytest.mark.once
class TestACrashPoint:
    def test_is_before_and_after_each_call_of_the_package_and_no_other(self, tmp_path):
        Control(tmp_path)
        hook, calls = Hook(tmp_path), []
        hooked = around(hook, "send", calls.append)
        hooked(1)
        exec("def send(): hooked(2)", {"__name__": "qorworker.worker.parent.x", "hooked": hooked}, own := {})
        own["send"]()
        assert calls == [1, 2]
        assert hook.seen() == {f"{when} send in worker.parent.x.send (parent)" for when in ("before", "after")}

    def test_kills_only_what_comes_to_one_that_is_not_spared(self, tmp_path, monkeypatch):
        control, kills = Control(tmp_path), []
        monkeypatch.setattr("os.kill", lambda pid, signal: kills.append(pid))
        monkeypatch.setattr("random.random", lambda: 0.0)
        hook = Hook(tmp_path)
        hook.reach("a")
        control.arm(1, ["a"])
        hook.reach("a")
        assert (kills, control.victim(1)) == ([], None)
        hook.reach("b")
        hook.reach("b")
        assert len(kills) == 1
        assert control.victim(1)[1] == "b"
        control.disarm()
        hook.reach("c")
        assert len(kills) == 1


@pytest.mark.django_db
class TestTheOracle:
    @pytest.fixture
    def oracle(self, tmp_path):
        (tmp_path / "spans").mkdir()
        return Oracle(tmp_path, SimpleNamespace(all=lambda: self.moves))

    moves = ()

    def wrong(self, oracle):
        oracle.look()
        return oracle.figures.wrong()

    def begin(self, oracle, job, number=1, word="begin"):
        with (oracle.folder / "spans" / str(job.pk)).open("a") as file:
            file.write(f"{word} 1 {number} 7 0.0\n")

    def noted(self, job, number):
        now = database_now("default")
        Attempt.objects.create(job=job, number=number, outcome="done", started_at=now, finished_at=now)

    def done(self, oracle, job_type=mixture.plain, **values):
        job = make_job("done", name=job_type.name, **values)
        self.moves = ((job.pk, "running", "done"),)
        self.begin(oracle, job)
        self.noted(job, 1)
        return job

    def test_finds_nothing_where_nothing_is_wrong(self, oracle):
        self.done(oracle)
        assert self.wrong(oracle) == {}

    def test_finds_a_job_that_was_accepted_and_is_not_there(self, oracle):
        (oracle.folder / "accepted").write_text("accepted 999\n")
        assert self.wrong(oracle) == {"lost": 1}

    def test_finds_a_job_that_is_done_and_never_began(self, oracle):
        job = self.done(oracle)
        (oracle.folder / "spans" / str(job.pk)).unlink()
        assert self.wrong(oracle) == {"lost": 1}

    def test_finds_a_second_start_of_a_job_that_may_start_once(self, oracle):
        job = self.done(oracle, mixture.once, max_attempts=1)
        self.noted(job, 2)
        self.begin(oracle, job, 2)
        assert self.wrong(oracle) == {"dup_start": 1}

    def test_finds_a_second_end(self, oracle):
        job = self.done(oracle)
        self.moves *= 2
        assert self.wrong(oracle) == {"dup_done": 1}
        assert Counter(pk for pk, _, _ in self.moves) == {job.pk: 2}

    def test_finds_two_attempts_at_once(self, oracle):
        self.begin(oracle, self.done(oracle), word="overlap")
        assert self.wrong(oracle) == {"overlap": 1}

    def test_finds_a_job_that_never_ends(self, oracle):
        make_job(name=mixture.plain.name)
        assert self.wrong(oracle) == {"limbo": 1}
        assert Job.objects.count() == 1

    def test_finds_lines_that_are_missing(self, oracle):
        self.done(oracle, mixture.loop)
        assert self.wrong(oracle) == {"log_gap": mixture.LOOP}

    def test_finds_a_start_before_its_time(self, oracle):
        job = self.done(oracle)
        (oracle.folder / "due").write_text(f"{job.pk} 1.0\n")
        assert self.wrong(oracle) == {"early": 1}

    def test_finds_a_failure_of_which_nobody_heard_and_one_that_was_told_twice(self, oracle):
        job = self.done(oracle)
        Job.objects.update(status="exception", attempt=1)
        self.moves = ((job.pk, "running", "exception"),)
        Attempt.objects.update(outcome="failed")
        oracle.payloads = []
        assert self.wrong(oracle) == {"untold": 1}
        about = {"job": {"id": job.pk, "attempt": 1}, "at": "x"}
        oracle.payloads, oracle.figures = [{**about, "id": "a"}, {**about, "id": "a"}], Figures()
        assert self.wrong(oracle) == {}
        oracle.payloads, oracle.figures = [{**about, "id": "a"}, {**about, "id": "b"}], Figures()
        assert self.wrong(oracle) == {"untold": 1}
