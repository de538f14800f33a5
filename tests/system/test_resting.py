"""How often a query is repeated that costs more with every finished job."""

from qorworker.system.resting import rest_after


def test_a_quick_query_hardly_rests():
    assert rest_after(0.0005) == 0.01


def test_a_slow_one_takes_a_twentieth_of_the_time():
    assert rest_after(0.25) == 5.0


def test_nothing_waits_for_more_than_half_a_minute():
    assert rest_after(60.0) == 30.0
