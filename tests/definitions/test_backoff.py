"""How long a failed job waits."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qorworker.definitions import backoff
from qorworker.definitions.job_type import JobType

attempts = st.integers(1, 100)


@given(attempts)
def test_exponential_waits_are_within_the_doubling_span_and_the_cap(attempt):
    delay = backoff.Exponential(base=15, cap=3600)(attempt)
    assert 0 <= delay <= min(3600, 15 * 2 ** (attempt - 1))


def test_jobs_that_failed_together_do_not_come_back_together():
    assert len({backoff.Exponential()(8) for _ in range(100)}) > 90


def test_an_endless_number_of_attempts_does_not_overflow():
    assert backoff.Exponential()(10**9) <= 3600


@given(attempts)
def test_linear_waits_grow_by_their_base(attempt):
    assert backoff.Linear(base=10, cap=300)(attempt) == min(300, 10 * attempt)


@given(attempts)
def test_constant_waits_stay(attempt):
    assert backoff.Constant(7)(attempt) == 7


@pytest.mark.parametrize(("given", "wanted"), [(0, 0.0), (1.5, 1.5), (dt.timedelta(minutes=2), 120.0)])
def test_seconds_and_timedeltas_are_delays(given, wanted):
    assert backoff.seconds(given) == wanted


@pytest.mark.parametrize("given", [-1, float("nan"), float("inf"), "5", None, True, dt.timedelta(days=400)])
def test_anything_else_is_not(given):
    with pytest.raises(ValueError):
        backoff.seconds(given)


@pytest.mark.parametrize(
    ("backoff", "wanted"),
    [("constant", 15), ("linear", 45), (lambda attempt: attempt * 2, 6), (lambda attempt: dt.timedelta(seconds=9), 9)],
)
def test_a_job_type_waits_as_it_was_told(backoff, wanted):
    assert JobType(lambda: None, {"name": "shop.job", "backoff": backoff}).retry_delay(3) == wanted


def test_the_default_is_exponential():
    delays = [JobType(lambda: None, {"name": "shop.job"}).retry_delay(20) for _ in range(50)]
    assert all(0 <= delay <= 3600 for delay in delays)
    assert len(set(delays)) > 40


@pytest.mark.parametrize("backoff", [lambda attempt: 1 / 0, lambda attempt: -1, lambda attempt: "soon"])
def test_a_strategy_that_fails_is_logged_and_the_default_is_used(backoff, caplog):
    assert 0 <= JobType(lambda: None, {"name": "shop.job", "backoff": backoff}).retry_delay(1) <= 15
    assert "shop.job" in caplog.text
