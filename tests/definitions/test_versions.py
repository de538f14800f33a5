"""Versions of a job type: their options, and what ``upgrade`` may do with stored arguments."""

from __future__ import annotations

import sys

import pytest
from django.db import OperationalError

from qorworker import job
from qorworker.definitions.registry import registry
from qorworker.definitions.versions import upgraded
from qorworker.exceptions import InvalidArguments, JobTypeError
from tests.job_types import own_types  # noqa: F401

pytestmark = [pytest.mark.usefixtures("own_types"), pytest.mark.once]


def declare(**options):
    @job(**{"name": "app.job", **options})
    def handler(address: str) -> None:
        pass

    return handler


def test_a_type_has_the_first_version_unless_it_says_more():
    assert declare().version == 1
    assert registry.versions() == []


def test_code_knows_all_versions_up_to_its_own():
    declare(version=3)
    assert registry.versions() == ["2 app.job", "3 app.job"]


@pytest.mark.parametrize("version", [0, -1, 32_768, 1.5, "2", True, None])
def test_a_version_is_a_whole_number_from_one(version):
    with pytest.raises(JobTypeError, match="version"):
        declare(version=version)


async def wait(arguments, version):
    pass


@pytest.mark.parametrize("upgrade", ["shop.upgrade", 7, wait])
def test_upgrade_is_a_plain_callable(upgrade):
    with pytest.raises(JobTypeError, match=r"plain callable \(arguments, version\)"):
        declare(version=2, upgrade=upgrade)


@pytest.mark.parametrize("options", [{}, {"version": 1}])
def test_upgrade_needs_a_version_to_which_it_upgrades(options):
    with pytest.raises(JobTypeError, match="needs a version above 1"):
        declare(upgrade=lambda arguments, version: arguments, **options)


def test_older_arguments_pass_through_upgrade_with_their_version():
    seen = []

    def upgrade(arguments, version):
        seen.append(version)
        return {"address": arguments["to"]}

    job_type = declare(version=3, upgrade=upgrade)
    assert upgraded(job_type, {"to": "a@example.com"}, 2) == {"address": "a@example.com"}
    assert seen == [2]


def test_arguments_of_this_version_stay():
    stored = {"address": "a@example.com"}
    assert upgraded(declare(version=3, upgrade=lambda arguments, version: {}), stored, 3) is stored


@pytest.mark.parametrize("upgrade", [None, lambda arguments, version: arguments])
def test_what_newer_code_has_stored_is_not_taken_for_arguments_of_this_code(upgrade):
    with pytest.raises(InvalidArguments, match=r"of version 4 could not be upgraded: This code has version 3\."):
        upgraded(declare(version=3, upgrade=upgrade), {"address": "a@example.com"}, 4)


def test_upgrade_cannot_change_what_is_stored():
    def upgrade(arguments, version):
        arguments["list"].append(2)
        return arguments

    stored = {"list": [1]}
    assert upgraded(declare(version=2, upgrade=upgrade), stored, 1) == {"list": [1, 2]}
    assert stored == {"list": [1]}


def fail(arguments, version):
    return arguments["gone"]


@pytest.mark.parametrize(
    ("upgrade", "why"),
    [
        (fail, "KeyError: 'gone'"),
        (lambda arguments, version: sys.exit(0), "SystemExit: 0"),
        (lambda arguments, version: None, "must return a dict, not NoneType"),
        (lambda arguments, version: {"address": object()}, "not JSON serializable"),
        (lambda arguments, version: {"address": float("nan")}, "Out of range float"),
    ],
)
def test_what_upgrade_does_wrong_is_an_error_of_the_arguments(upgrade, why):
    with pytest.raises(InvalidArguments, match=f"of version 1 could not be upgraded: .*{why}"):
        upgraded(declare(version=2, upgrade=upgrade), {}, 1)


def test_a_database_that_does_not_answer_is_no_error_of_the_arguments():
    def upgrade(arguments, version):
        raise OperationalError("gone away")

    with pytest.raises(OperationalError):
        upgraded(declare(version=2, upgrade=upgrade), {}, 1)
