"""Code that asks a database where none may be asked."""

import pytest
from django.db import DatabaseError, connection

from qorworker.checks.offline import Offline, offline
from tests.testapp.models import Shop

pytestmark = pytest.mark.django_db


def test_a_query_fails_and_is_not_sent(django_assert_num_queries):
    with django_assert_num_queries(0), offline(), pytest.raises(Offline):
        Shop.objects.count()


def test_it_is_an_error_of_the_database():
    assert issubclass(Offline, DatabaseError)


def test_afterwards_queries_work_again():
    with offline(), offline():
        pass
    assert Shop.objects.count() == 0


def test_one_inside_another_ends_with_the_outer_one():
    with offline():
        with offline():
            pass
        with pytest.raises(Offline):
            connection.cursor()
    connection.cursor().close()
