"""What is found out about due schedules before their rows are locked."""

from __future__ import annotations

import datetime as dt

import pytest
from django.contrib.auth import get_user_model
from django.db import connection

from qorworker import At, Every
from qorworker.maintenance.candidates import candidates
from tests.maintenance.support import made

pytestmark = pytest.mark.django_db
PAST = At(dt.datetime(2020, 1, 1, tzinfo=dt.UTC))


def test_they_come_in_their_order_and_one_that_is_not_due_is_told():
    rules = {"a": PAST, "b": Every(days=1), "c": PAST, "d": PAST}
    due, later, paused, gone = (made(when, name=name) for name, when in rules.items())
    paused.pause()
    ids = [gone.pk, paused.pk, later.pk, due.pk]
    gone.remove()
    found = list(candidates(ids, "default"))
    assert [pk for pk, _candidate in found] == ids
    assert [candidate and candidate.schedule for _pk, candidate in found] == [None, None, None, due]


def test_the_users_of_many_are_read_by_one_statement():
    users = [get_user_model().objects.create(username=name, is_superuser=True) for name in "abc"]
    schedules = [made(PAST, name=user.username, by=user, origin="admin") for user in users]
    statements = []

    def note(execute, sql, *more):
        statements.append(sql)
        return execute(sql, *more)

    with connection.execute_wrapper(note):
        found = list(candidates([schedule.pk for schedule in schedules], "default"))
    assert [candidate.person for _pk, candidate in found] == users
    assert {candidate.problem for _pk, candidate in found} == {""}
    assert len(statements) == 2
