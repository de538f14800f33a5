"""Queries are counted for the attempt that makes them, and nothing is left behind."""

from __future__ import annotations

import os

import pytest
from django.db import Error, connection

from qorworker.execution.queries import Tally, counted

pytestmark = [pytest.mark.django_db, pytest.mark.once]


def query(sql="SELECT 1"):
    with connection.cursor() as cursor:
        cursor.execute(sql)


def test_each_query_counts_with_its_time_also_one_that_fails():
    tally, before = Tally(1), list(connection.execute_wrappers)
    with counted(tally):
        query()
        with pytest.raises(Error):
            query("SELECT nothing_like_this")
    query()
    assert tally.count == 2
    assert tally.seconds > 0
    assert connection.execute_wrappers == before


def test_each_query_is_told():
    told = []
    tally = Tally(7, lambda *given: told.append(given))
    for _ in range(2):
        tally.add(0.5)
    assert told == [(7, 1, 0.5), (7, 2, 1.0)]


def test_what_a_handler_did_to_the_wrappers_of_its_connection_does_no_harm():
    with counted(Tally(1)):
        connection.execute_wrappers.clear()
    assert connection.execute_wrappers == []


def test_a_fork_of_the_job_counts_nothing(monkeypatch):
    tally = Tally(1)
    with counted(tally):
        monkeypatch.setattr(os, "getpid", lambda: -1)
        query()
    assert tally.count == 0
