from hypothesis import given
from hypothesis import strategies as st

from qorworker.worker.parent.durations import AHEAD, FASTEST, MAX_AHEAD, MIN_ATTEMPTS, SHORT, Durations

durations = st.floats(0, 10)


def durations_of(*seconds, name="app.job"):
    durations = Durations()
    for each in seconds:
        durations.note(name, each)
    return durations


def test_a_type_is_not_short_before_it_proved_so():
    assert not durations_of().is_short("app.job")
    assert not durations_of(*[0.001] * (MIN_ATTEMPTS - 1)).is_short("app.job")
    assert durations_of(*[0.001] * MIN_ATTEMPTS).is_short("app.job")


def test_one_slow_run_ends_the_trust():
    durations = durations_of(*[0.001] * 100, SHORT + 0.01)
    assert not durations.is_short("app.job")
    assert durations.short() == []


def test_trust_comes_back():
    durations = durations_of(*[0.001] * 10, SHORT * 1.2, *[0.001] * 10)
    assert durations.is_short("app.job")


def test_jobs_with_a_single_attempt_prove_nothing_to_those_that_may_wait():
    durations = Durations()
    for _ in range(10):
        durations.note("app.job", 0.001, rerunnable=False)
    assert durations.short() == []
    assert durations.seconds("app.job") < SHORT


def test_types_are_judged_apart():
    durations = durations_of(*[0.001] * 10)
    for _ in range(10):
        durations.note("app.slow", 1.0)
    assert durations.short() == ["app.job"]
    assert durations.seconds("app.slow") == 1.0
    assert durations.seconds("app.unknown") == SHORT


def test_a_worker_that_knows_nothing_takes_little_ahead():
    assert Durations().ahead() == int(AHEAD / SHORT)


def test_slow_jobs_are_not_taken_ahead():
    assert durations_of(*[5.0] * 50).ahead() == 1


@given(st.lists(durations, max_size=50))
def test_figures_stay_in_their_limits(seconds):
    durations = durations_of(*seconds)
    assert durations.seconds("app.job") >= FASTEST
    assert 1 <= durations.ahead() <= MAX_AHEAD


@given(st.lists(st.floats(0, SHORT, exclude_max=True), min_size=MIN_ATTEMPTS, max_size=50))
def test_a_type_that_was_never_slow_is_short(seconds):
    assert durations_of(*seconds).is_short("app.job")
