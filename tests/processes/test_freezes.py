"""A few rounds of the trial of workers that stand still; ``python -m tests.chaos freezes`` runs many."""

import random

import pytest

from tests.chaos.freezes import Trial


# A worker that is frozen while it writes to SQLite's file locks everybody out, this test as well.
@pytest.mark.only_on("postgresql", "mysql")
@pytest.mark.process
@pytest.mark.timeout(400)
def test_no_job_has_two_owners_although_workers_stand_still(transitions, tmp_path):
    trial = Trial(random.Random(20), tmp_path, transitions)
    trial.run(2)
    print(trial.figures())
    assert trial.violations == []
    assert trial.freezes
