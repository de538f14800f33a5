"""Samples of an attempt: when they are due, how many are kept, and what they say."""

from __future__ import annotations

import json

import pytest

from qorworker.attempts.vitals import CROWD, FIRST, INTERVAL, MOST, Vitals
from qorworker.models.job_vitals import Sample
from qorworker.system.usage import Usage

BEGUN = 1000.0


def taken(vitals, number, together=1):
    """Take so many samples, each when it is due, and return the moments."""
    moments = []
    for _ in range(number):
        now = vitals.due_at
        vitals.take(now, Usage(now, now), (0, 0.0), None, together)
        moments.append(now - BEGUN)
    return moments


def test_the_first_sample_alone_is_not_worth_storing():
    vitals = Vitals(BEGUN)
    assert vitals.take(BEGUN + 1, Usage(), (0, 0.0), None) is False
    assert vitals.take(BEGUN + 5, Usage(), (0, 0.0), None) is True


def test_samples_are_taken_every_few_seconds_of_the_attempt():
    assert taken(Vitals(BEGUN), 4) == [FIRST, INTERVAL, 2 * INTERVAL, 3 * INTERVAL]


@pytest.mark.parametrize("number", [MOST, MOST + 1, 500, 5_000])
def test_however_long_it_runs_at_most_sixty_are_kept_with_the_first_and_the_last(number):
    vitals = Vitals(BEGUN)
    moments = taken(vitals, number)
    assert MOST / 2 <= len(vitals.samples) <= MOST
    assert vitals.samples[0].seconds == FIRST
    assert vitals.samples[-1].seconds == moments[-1]
    gaps = [
        after.seconds - before.seconds for before, after in zip(vitals.samples[1:], vitals.samples[2:], strict=False)
    ]
    assert max(gaps) <= 4 * min(gaps)


def test_processor_time_counts_from_the_first_sample_on_and_never_falls():
    vitals = Vitals(BEGUN)
    for cpu in (7.0, 9.5, 6.0):
        vitals.take(vitals.due_at, Usage(0, cpu), (0, 0.0), None)
    assert [sample.cpu for sample in vitals.samples] == [0.0, 2.5, 0.0]


def test_it_is_quiet_since_the_last_sample_with_something_new():
    vitals = Vitals(BEGUN)
    for output in (1, 1, 1, 2, 2):
        vitals.take(vitals.due_at, Usage(), (0, 0.0), output)
    assert [sample.quiet for sample in vitals.samples] == [0.0, 4.0, 9.0, 0.0, 5.0]


def test_many_that_share_a_process_are_sampled_less_often():
    few, many = (taken(Vitals(BEGUN), 5, together) for together in (CROWD, 10 * CROWD))
    assert many[-1] > 5 * few[-1]


def test_they_are_stored_as_they_are_read():
    vitals = Vitals(BEGUN)
    vitals.take(BEGUN + 1.04, Usage(5, 2.0), (3, 0.25), None, 2)
    assert [Sample(*one) for one in json.loads(vitals.text(4))["samples"]] == [Sample(1.0, 5, 0.0, 3, 0.25, 1.0, 2)]
    assert json.loads(vitals.text(4))["attempt"] == 4
