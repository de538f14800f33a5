"""The matrix of rights: every action, every kind of type, with exactly what it needs and with everything else."""

from __future__ import annotations

from itertools import product

import pytest

from qorworker.models import Job
from qorworker.permissions import can, can_view_any, required_permission, visible_jobs
from tests.admin.support import make_job, superuser, user_with

pytestmark = [pytest.mark.django_db, pytest.mark.once]

EVERYTHING = {
    f"qorworker.{codename}"
    for codename in (
        "view_job", "delete_job", "run_job", "abort_job", "reschedule_job", "retry_job", "view_job_arguments",
        "view_job_log", "choose_job_queue", "share_preset",
    )
}  # fmt: skip
# What each action with an existing job needs, for a type without a permission of its own.
NEEDED = {
    "view": {"view_job"},
    "run": {"run_job", "view_job"},
    "schedule": {"run_job", "view_job"},
    "rerun": {"run_job", "view_job", "view_job_arguments"},
    "abort": {"abort_job", "view_job"},
    "cancel": {"abort_job", "view_job"},
    "reschedule": {"reschedule_job", "view_job"},
    "retry": {"retry_job", "view_job"},
    "update": {"reschedule_job", "run_job", "view_job", "view_job_arguments"},
    "view_arguments": {"view_job_arguments", "view_job"},
    "view_log": {"view_job_log", "view_job"},
    "delete": {"delete_job", "view_job"},
    "choose_queue": {"choose_job_queue", "run_job", "view_job"},
    "share": {"share_preset", "run_job", "view_job"},
}
DOING = ("run", "schedule", "rerun", "abort", "cancel", "reschedule", "retry", "update")
LOOKING = ("view", "view_arguments", "view_log")


@pytest.mark.parametrize("action", NEEDED)
def test_the_named_permissions_are_enough_for_a_type_without_its_own(types, action):
    user = user_with(*(f"qorworker.{name}" for name in NEEDED[action]))
    assert can(user, action, job=make_job(types["open"]))


@pytest.mark.parametrize(("action", "missing"), [(a, m) for a, needed in NEEDED.items() for m in sorted(needed)])
def test_without_one_of_them_everything_else_is_not_enough(types, action, missing):
    user = user_with(*(EVERYTHING - {f"qorworker.{missing}"}), "testapp.change_shop")
    assert not can(user, action, job=make_job(types["open"]))


@pytest.mark.parametrize("action", [*DOING, *LOOKING])
def test_the_types_own_permission_alone_allows_its_use_and_a_look_at_its_jobs(types, action):
    assert can(user_with("testapp.change_shop"), action, job=make_job(types["by_name"]))


@pytest.mark.parametrize("action", DOING)
def test_the_permissions_of_django_do_not_replace_the_types_own(types, action):
    assert not can(user_with(*EVERYTHING), action, job=make_job(types["by_name"]))


@pytest.mark.parametrize("action", LOOKING)
def test_the_permissions_of_django_allow_looking_at_jobs_of_any_type(types, action):
    assert can(user_with(*EVERYTHING), action, job=make_job(types["by_name"]))


@pytest.mark.parametrize("action", ["delete", "choose_queue", "share"])
def test_the_types_own_permission_does_not_allow_what_needs_that_of_django(types, action):
    assert not can(user_with("testapp.change_shop"), action, job=make_job(types["by_name"]))


@pytest.mark.parametrize(("action", "codename"), [("choose_queue", "choose_job_queue"), ("share", "share_preset")])
def test_the_types_own_permission_and_that_of_django_together_are_enough(types, action, codename):
    assert can(user_with("testapp.change_shop", f"qorworker.{codename}"), action, types["by_name"])


def test_the_types_own_permission_says_nothing_about_other_types(types):
    user = user_with("testapp.change_shop")
    assert not any(can(user, action, job=make_job(types["open"])) for action in NEEDED)


@pytest.mark.parametrize(("asked", "granted"), list(product(("run", "abort", "retry", "cancel"), repeat=2)))
def test_a_callable_is_asked_about_the_action(types, asked, granted):
    assert can(user_with(name=f"may-{granted}"), asked, types["by_code"]) is (asked == granted)


@pytest.mark.parametrize("action", NEEDED)
def test_superusers_may_everything_and_inactive_ones_nothing(types, action):
    user = superuser()
    assert can(user, action, types["by_code"])
    user.is_active = False
    assert not can(user, action, types["by_code"])


def test_jobs_of_types_one_may_neither_use_nor_view_are_not_listed(types):
    mine, other = make_job(types["by_name"]), make_job(types["open"])
    gone = make_job("tests.gone")
    assert list(visible_jobs(user_with("testapp.change_shop", name="a"), Job.objects.all())) == [mine]
    assert set(visible_jobs(user_with("qorworker.view_job", name="b"), Job.objects.all())) == {mine, other, gone}
    assert not visible_jobs(user_with(name="c"), Job.objects.all()).exists()


def test_there_is_nothing_for_staff_without_any_right(types):
    assert not can_view_any(user_with(name="a"))
    assert can_view_any(user_with("qorworker.run_job", name="b"))


def test_the_missing_permission_is_named(types):
    assert required_permission(types["open"], "abort") == "qorworker.abort_job"
    assert required_permission(types["by_name"], "abort") == "testapp.change_shop"
    assert required_permission(types["by_code"], "abort") == ""
