"""How long a job is kept: what may be said, and what is refused where it is said."""

from __future__ import annotations

import datetime as dt

import pytest

import qorworker
from qorworker import conf
from qorworker.definitions.registry import registry
from qorworker.exceptions import JobTypeError

DAY = dt.timedelta(days=1)


@pytest.mark.parametrize(
    "value", [None, DAY, "forever", {}, {"done": DAY}, {"exception": "forever", "killed": 2 * DAY}]
)
def test_a_job_type_may_say_how_long(value):
    job_type = qorworker.job(name="tests.kept", keep_for=value)(lambda: None)
    registry.unregister(job_type.name)
    assert job_type.keep_for == value


@pytest.mark.parametrize(
    "value", [30, "30d", -DAY, dt.timedelta(), {"running": DAY}, {"done": 30}, {"done": None}, [DAY]]
)
def test_anything_else_is_refused_where_it_stands(value):
    with pytest.raises(JobTypeError, match="keep_for"):
        qorworker.job(name="tests.kept", keep_for=value)(lambda: None)
    assert registry.find("tests.kept") is None


@pytest.mark.parametrize("value", [DAY, {"new": DAY}, {"done": 30}, None])
def test_a_setting_that_cannot_work_is_found_by_the_checks(value, settings):
    settings.QORWORKER = {**settings.QORWORKER, "KEEP_FOR": value}
    assert any("'KEEP_FOR'" in problem for problem in conf.problems())


def test_the_default_passes_its_own_check():
    default = conf.SETTINGS["KEEP_FOR"]
    assert default.check(default.default) == ""
