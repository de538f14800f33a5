from hypothesis import given
from hypothesis import strategies as st

from qorworker.worker.pace import AHEAD, FASTEST, MOST, PROOFS, SHORT, Pace

durations = st.floats(0, 10)


def noted(*seconds, name="app.job"):
    pace = Pace()
    for each in seconds:
        pace.note(name, each)
    return pace


def test_a_type_is_not_short_before_it_proved_so():
    assert not noted().is_short("app.job")
    assert not noted(*[0.001] * (PROOFS - 1)).is_short("app.job")
    assert noted(*[0.001] * PROOFS).is_short("app.job")


def test_one_slow_run_ends_the_trust():
    pace = noted(*[0.001] * 100, SHORT + 0.01)
    assert not pace.is_short("app.job")
    assert pace.short() == []


def test_trust_comes_back():
    pace = noted(*[0.001] * 10, SHORT * 1.2, *[0.001] * 10)
    assert pace.is_short("app.job")


def test_jobs_with_a_single_attempt_prove_nothing_to_those_that_may_wait():
    pace = Pace()
    for _ in range(10):
        pace.note("app.job", 0.001, again=False)
    assert pace.short() == []
    assert pace.seconds("app.job") < SHORT


def test_types_are_judged_apart():
    pace = noted(*[0.001] * 10)
    for _ in range(10):
        pace.note("app.slow", 1.0)
    assert pace.short() == ["app.job"]
    assert pace.seconds("app.slow") == 1.0
    assert pace.seconds("app.unknown") == SHORT


def test_a_worker_that_knows_nothing_takes_little_ahead():
    assert Pace().ahead() == int(AHEAD / SHORT)


def test_slow_jobs_are_not_taken_ahead():
    assert noted(*[5.0] * 50).ahead() == 1


@given(st.lists(durations, max_size=50))
def test_figures_stay_in_their_limits(seconds):
    pace = noted(*seconds)
    assert pace.seconds("app.job") >= FASTEST
    assert 1 <= pace.ahead() <= MOST


@given(st.lists(st.floats(0, SHORT, exclude_max=True), min_size=PROOFS, max_size=50))
def test_a_type_that_was_never_slow_is_short(seconds):
    assert noted(*seconds).is_short("app.job")
