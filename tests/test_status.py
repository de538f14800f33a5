import itertools

import pytest

from qorworker.status import ENDED_BADLY, FINISHED, TRANSITIONS, WAITING, JobStatus, can_move, sources_of

# The design's table, written down a second time on purpose.
ALLOWED = {
    ("new", "running"),
    ("new", "scheduled"),
    ("new", "cancelled"),
    ("new", "exception"),
    ("scheduled", "new"),
    ("scheduled", "cancelled"),
    ("scheduled", "exception"),
    ("running", "done"),
    ("running", "exception"),
    ("running", "scheduled"),
    ("running", "new"),
    ("running", "killed"),
    ("exception", "new"),
    ("killed", "new"),
}
STATUSES = ("new", "scheduled", "running", "done", "exception", "killed", "cancelled")
PAIRS = list(itertools.product(STATUSES, repeat=2))


def test_there_are_the_seven_statuses_of_the_design():
    assert tuple(JobStatus.values) == STATUSES


def test_people_see_words_of_their_own():
    assert [str(status.label) for status in JobStatus] == [
        "Queued", "Scheduled", "Running", "Done", "Failed", "Aborted", "Cancelled",
    ]  # fmt: skip


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_move_is_possible_exactly_if_the_table_has_it(source, target):
    assert can_move(source, target) is ((source, target) in ALLOWED)


@pytest.mark.parametrize("target", STATUSES)
def test_the_sources_of_a_status_are_those_of_the_table(target):
    assert sources_of(target) == {source for source, to in ALLOWED if to == target}


def test_every_status_has_its_moves_and_every_move_its_cause():
    assert set(TRANSITIONS) == set(JobStatus)
    assert all(cause for targets in TRANSITIONS.values() for cause in targets.values())


def test_the_groups_of_statuses():
    assert {"new", "scheduled"} == WAITING
    assert {"done", "exception", "killed", "cancelled"} == FINISHED
    assert sources_of("new") & FINISHED == ENDED_BADLY
    assert {"running"} == set(STATUSES) - WAITING - FINISHED


@pytest.mark.parametrize("question", [lambda: can_move("new", "paused"), lambda: can_move("lost", "new")])
def test_an_unknown_status_is_an_error_not_a_no(question):
    with pytest.raises(ValueError):
        question()
