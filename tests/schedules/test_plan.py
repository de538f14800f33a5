"""What ``@job(schedule=…)`` takes, and what it refuses where the code is imported."""

import datetime as dt

import pytest
from django.core.files.base import ContentFile

from qorworker import At, Cron, Every, Plan, job
from qorworker.exceptions import InvalidSchedule, JobTypeError
from tests.job_types import own_types  # noqa: F401

pytestmark = pytest.mark.usefixtures("own_types")


def declared(schedule):
    @job(name="app.declared", schedule=schedule)
    def handler(number: int = 0):
        pass

    return handler.plans


def test_one_rule_is_a_plan_with_the_name_of_the_type():
    assert declared(Every(minutes=5)) == [Plan(Every(minutes=5), name="app.declared")]
    assert declared(None) == []


def test_several_are_numbered_or_named():
    plans = declared(
        [Every(minutes=5), Plan(Cron("@daily"), name="nightly"), At(dt.datetime(2030, 1, 1, tzinfo=dt.UTC))]
    )
    assert [plan.name for plan in plans] == ["app.declared", "nightly", "app.declared 3"]


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ("* * * * *", "must be Cron, Every, At or Plan"),
        ([Every(minutes=5), 7], "must be Cron, Every, At or Plan"),
        ([Plan(Every(minutes=5), name="a"), Plan(Every(minutes=9), name="a")], "the same name"),
        (Plan(Every(minutes=5), arguments={"file": ContentFile(b"x", "x")}), "cannot give a file"),
    ],
)
def test_what_is_none_is_refused_where_it_stands(wrong, text):
    with pytest.raises(JobTypeError, match=text) as refused:
        declared(wrong)
    assert "schedule=" in str(refused.value)


def test_a_rule_that_cannot_be_is_refused_where_it_stands():
    with pytest.raises(InvalidSchedule, match="Hour: “25” does not exist"):
        Cron("0 25 * * *")
    with pytest.raises(InvalidSchedule, match="does not exist"):
        Cron("0 5 * * *", zone="Europe/Atlantis")


def test_without_a_zone_the_one_of_the_project_is_meant(settings):
    settings.TIME_ZONE = "Asia/Tokyo"
    assert Cron("0 5 * * *").zone.key == "Asia/Tokyo"


def test_what_it_prints_has_no_arguments():
    plan = Plan(Every(hours=1), name="nightly", arguments={"password": "c4n4ry"})
    assert "nightly" in repr(plan)
    assert "c4n4ry" not in repr(plan)
