"""Durations in buckets: sums of parts are the whole, and the median of the whole is nearly right."""

import random
import statistics
from collections import Counter

import pytest

from qorworker.models.histogram import BOUNDS, bucket_of, quantile


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [
        (0, 0),
        (0.0009, 0),
        (0.001, 1),
        (0.0014, 1),
        (0.00142, 2),
        (1.0, 20),
        (BOUNDS[-1], len(BOUNDS)),
        (1e9, len(BOUNDS)),
    ],
)
def test_a_duration_is_in_the_bucket_that_begins_at_or_before_it(seconds, bucket):
    assert bucket_of(seconds) == str(bucket)


def filled(durations):
    return Counter(bucket_of(each) for each in durations)


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_quantiles_of_the_sum_of_parts_are_nearly_those_of_all_cases(share):
    chance = random.Random(7)
    durations = [chance.lognormvariate(0, 2) for _ in range(5_000)]
    parts = [filled(durations[start::7]) for start in range(7)]
    exact = statistics.quantiles(durations, n=100)[round(100 * share) - 1]
    assert quantile(sum(parts, Counter()), share) == pytest.approx(exact, rel=0.17)


def test_without_cases_there_is_no_quantile():
    assert quantile({}, 0.5) is None
    assert quantile({"3": 0}, 0.5) is None


def test_cases_beyond_the_last_bound_count_as_the_last_bound():
    assert quantile({"61": 3}, 0.95) == BOUNDS[-1]
