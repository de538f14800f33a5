"""Transactions that the server ends if their process says nothing more."""

from contextlib import suppress

import pytest
from django.db import connection, transaction

from qorworker.models.locks import limited_idling

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.only_on("postgresql", "mysql")]
NAME = {"postgresql": "idle_in_transaction_session_timeout", "mysql": "idle_transaction_timeout"}.get(connection.vendor)


def limit():
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW {NAME}" if connection.vendor == "postgresql" else f"SELECT @@SESSION.{NAME}")
        return str(cursor.fetchone()[0]).removesuffix("s")


def test_the_limit_holds_from_the_call_to_the_end_of_the_transaction():
    with limited_idling("default", 2.5) as ends, transaction.atomic():
        assert limit() == "0"
        ends()
        assert limit() == "3"
    assert limit() == "0"


def test_it_is_gone_after_a_failure():
    with suppress(ValueError), limited_idling("default", 3) as ends, transaction.atomic():
        ends()
        raise ValueError
    assert limit() == "0"


def test_a_limit_of_the_project_stays():
    with connection.cursor() as cursor:
        cursor.execute(f"SET SESSION {NAME} = {7000 if connection.vendor == 'postgresql' else 7}")
    try:
        with limited_idling("default", 3) as ends, transaction.atomic():
            ends()
            assert limit() == "7"
        assert limit() == "7"
    finally:
        connection.close()


def test_a_larger_transaction_has_none():
    with transaction.atomic():
        with limited_idling("default", 3) as ends, transaction.atomic():
            ends()
        assert limit() == "0"
