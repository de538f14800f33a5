"""A running attempt as its worker knows it."""

import pytest

from qorworker import Secret, job
from qorworker.attempts.attempt import RunningAttempt
from qorworker.models.sql import Claimed
from tests.job_types import own_types  # noqa: F401

pytestmark = pytest.mark.usefixtures("own_types")


@pytest.mark.parametrize(("stored", "shown"), [("{}", "••••••"), ('{"password": {"$secret": ""}}', "c4n4ry")])
def test_output_is_masked_by_the_default_of_a_secret_only_where_the_job_has_none(stored, shown):
    @job(name="app.older")
    def older(password: Secret[str] = "c4n4ry") -> None: ...

    claimed = Claimed(1, 0, "app.older", "default", stored, 1, 1, 0, 0, 0, 0, 0, 0, "t")
    assert RunningAttempt(claimed, "default").masked("c4n4ry") == shown
