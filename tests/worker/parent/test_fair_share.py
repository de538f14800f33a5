"""Queues with weights: the shares they get, and that none starves or saves up."""

from collections import Counter

import pytest

from qorworker.worker.parent.fair_share import FairShare, fair_share

LOCAL = {"BACKEND": "qorworker.backends.local.LocalBackend"}


def taken(shared, rounds, queues, each=1):
    shares = Counter()
    for _ in range(rounds):
        queue = shared.next(queues)
        shared.count(queue, each)
        shares[queue] += each
    return dict(shares)


@pytest.mark.parametrize("each", [1, 7])
def test_jobs_are_taken_in_proportion_to_the_weights(each):
    assert taken(FairShare({"default": 9, "reports": 1}), 1000, ["default", "reports"], each) == {
        "default": 900 * each,
        "reports": 100 * each,
    }


def test_a_queue_without_a_weight_counts_as_one():
    assert taken(FairShare({"default": 3}), 400, ["default", "mail"]) == {"default": 300, "mail": 100}


def test_a_queue_in_which_nothing_waited_has_saved_nothing_up():
    shared = FairShare({"default": 1, "reports": 1})
    taken(shared, 1000, ["default"])
    assert taken(shared, 100, ["default", "reports"]) == {"default": 50, "reports": 50}


def test_without_any_weight_priorities_decide(settings):
    settings.QORWORKER = {"QUEUES": {"default": LOCAL, "mail": LOCAL}}
    assert fair_share() is None
    settings.QORWORKER = {"QUEUES": {"default": {**LOCAL, "WEIGHT": 9}, "mail": LOCAL}}
    assert fair_share().weights == {"default": 9}
