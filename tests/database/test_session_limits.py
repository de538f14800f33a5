"""What a worker sets for a session on PostgreSQL that is its own."""

import pytest
from django.db import connection

from qorworker.database.connection import Database

pytestmark = [pytest.mark.only_on("postgresql"), pytest.mark.django_db(transaction=True)]


def fetched(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return [row[0] for row in cursor.fetchall()]


def test_a_plan_is_made_once_and_reads_no_whole_table_even_if_it_is_empty_then():
    database = Database("default")
    lookup = "SELECT status FROM qorworker_job WHERE id = ANY(ARRAY[1, 2])"
    with database.limited():
        assert database.call(0.0, lambda: fetched("SHOW plan_cache_mode")) == ["force_generic_plan"]
        plan = database.call(0.0, lambda: fetched(f"EXPLAIN {lookup}"))
    assert "Seq Scan" not in "".join(plan)
    assert fetched("SHOW plan_cache_mode") == ["auto"]
