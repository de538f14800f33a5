"""For tests of definitions: types that disappear again, and the way of a value to the table and back."""

import json

import pytest
from django.test import override_settings

from qorworker.arguments import Arguments
from qorworker.definitions.registry import registry


@pytest.fixture
def own_types():
    """Job types that a test declares are gone after it."""
    known = dict(registry._types)
    yield
    registry._types.clear()
    registry._types.update(known)


@pytest.fixture(scope="module")
def with_zones():
    """A project with USE_TZ, whatever this run of the tests has; for tests that ask no database."""
    with override_settings(USE_TZ=True):
        yield


def stored_form(function, values, form=None):
    """What the table keeps of *values*."""
    arguments = Arguments("test.job", function, form)
    return json.loads(json.dumps(arguments.dump(arguments.clean(values)), allow_nan=False))


def round_trip(function, form=None, /, **values):
    """What the handler gets after *values* went to the table and back."""
    return Arguments("test.job", function, form).load(stored_form(function, values, form))


def taking(annotation, *default):
    """A handler with one argument called ``value``."""

    def handler(value):
        pass

    handler.__annotations__ = {"value": annotation}
    handler.__defaults__ = default or None
    return handler


def there_and_back(annotation, value):
    return round_trip(taking(annotation), value=value)["value"]
