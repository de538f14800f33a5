"""Statements that are sent again and again, and what fits into one."""

import pytest
from django.db import connection

from qorworker.models.sql.parts import fetch, marked, numbered, portions, weight


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("SELECT 1", "SELECT 1"),
        ("SELECT %s", "SELECT $1"),
        ("SELECT %s, %s WHERE a LIKE '%%x'", "SELECT $1, $2 WHERE a LIKE '%x'"),
    ],
)
def test_placeholders_are_numbered_and_doubled_signs_are_single(given, sent):
    assert numbered(given) == sent


def test_sqlite_gets_its_own_placeholders():
    assert marked("SELECT %s, '%%Y', %s") == "SELECT ?, '%Y', ?"


@pytest.mark.django_db
def test_a_statement_longer_than_drivers_keep_returns_its_rows():
    marks = ", ".join(["%s"] * 900)
    names = [f"name {number}" for number in range(900)]
    sql = f"SELECT COUNT(*) FROM qorworker_job WHERE name IN ({marks}) AND name <> %s"
    assert [fetch(connection, sql, [*names, "100 %"]) for _ in range(2)] == [[(0,)], [(0,)]]


@pytest.mark.parametrize("text", ["", "a", "'" * 100, "é" * 100, "\N{GRINNING FACE}" * 100])
def test_a_text_never_weighs_less_than_its_bytes(text):
    assert weight([text, 1, None]) >= len(text.encode()) + 2


@pytest.mark.django_db
def test_portions_hold_all_items_in_order():
    items = list(range(1234))
    assert [item for portion in portions(connection, items, lambda item: 1000) for item in portion] == items
