"""The one setting of the project: read lazily, checked key by key."""

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from qorworker import conf
from qorworker.conf import SETTINGS, settings


@pytest.mark.parametrize("name", list(SETTINGS))
def test_every_default_passes_its_own_check(name):
    with override_settings(QORWORKER={}):
        assert getattr(settings, name) == SETTINGS[name].default
    assert SETTINGS[name].check(SETTINGS[name].default) == ""
    assert SETTINGS[name].reason.endswith(".")


def test_the_value_of_the_project_is_read_each_time():
    with override_settings(QORWORKER={"LEASE": 30}):
        assert settings.LEASE == 30
    with override_settings(QORWORKER={"LEASE": 31}):
        assert settings.LEASE == 31


def test_a_setting_that_does_not_exist_is_an_error():
    with pytest.raises(AttributeError, match="NONSENSE"):
        settings.NONSENSE  # noqa: B018


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("QUEUES", {}),
        ("QUEUES", []),
        ("QUEUES", {"": {"BACKEND": "x"}}),
        ("QUEUES", {"a": {}}),
        ("QUEUES", {"a": {"BACKEND": "x", "EXTRA": 1}}),
        ("QUEUES", {"a": {"BACKEND": "x", "OPTIONS": []}}),
        ("QUEUES", {"a": {"BACKEND": "x", "WEIGHT": 0}}),
        ("QUEUES", {"a": {"BACKEND": "x", "WEIGHT": "3"}}),
        ("QUEUES", {"a": {"BACKEND": "x", "AGEING": -1}}),
        ("QUEUES", {"a": {"BACKEND": "x", "AGEING": "1"}}),
        ("QUEUES", {"a" * 101: {"BACKEND": "x"}}),
        ("IMMEDIATE_WINDOW", -1),
        ("IMMEDIATE_WINDOW", "120"),
        ("LEASE", 0),
        ("LEASE", True),
        ("LEASE", float("nan")),
        ("LEASE", float("inf")),
        ("ARGUMENTS_BYTES", 10),
        ("ARGUMENTS_BYTES", 1.5e6),
        ("UPLOAD_STORAGE", ""),
        ("FILE_BYTES", 0),
        ("FILES", -1),
        ("LOG_LINES", None),
        ("MESSAGES", {}),
        ("MESSAGES", [{"name": "a", "on": ["done"]}]),
        ("SECRET_KEYS", "one text"),
        ("SECRET_KEYS", [""]),
    ],
)
def test_a_value_that_cannot_work_is_told_with_its_name(name, value):
    with override_settings(QORWORKER={name: value}):
        with pytest.raises(ImproperlyConfigured, match=name):
            getattr(settings, name)
        (problem,) = conf.problems()
    assert name in problem


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEYS", "hunter2"),
        ("MESSAGES", [{"name": "a", "on": [], "webhook": {"url": "https://x.example/", "secret": "hunter2"}}]),
        ("QUEUES", {"mail": {"BACKEND": "x", "WEIGHT": 0, "OPTIONS": {"url": "redis://:hunter2@queue/0"}}}),
    ],
)
def test_keys_and_passwords_are_not_repeated_in_the_message(name, value):
    with override_settings(QORWORKER={name: value}):
        (problem,) = conf.problems()
        with pytest.raises(ImproperlyConfigured) as raised:
            getattr(settings, name)
    assert "hunter2" not in problem + str(raised.value)
    assert name in problem


def test_an_unknown_key_is_told_with_the_known_ones():
    with override_settings(QORWORKER={"LEESE": 5}):
        (problem,) = conf.problems()
    assert "LEESE" in problem
    assert "LEASE" in problem


def test_a_setting_that_is_no_dict_is_told():
    with override_settings(QORWORKER=["LEASE"]):
        assert conf.problems() == ["QORWORKER must be a dict, not list."]
        with pytest.raises(ImproperlyConfigured, match="must be a dict"):
            settings.LEASE  # noqa: B018


def test_a_project_without_the_setting_has_the_defaults(settings):
    del settings.QORWORKER
    assert conf.problems() == []
    assert SETTINGS["LEASE"].default == conf.settings.LEASE


def test_an_unknown_key_names_the_closest_one():
    with override_settings(QORWORKER={"leese": 1, "WHATEVER": 2}):
        first, second = conf.problems()
    assert "Did you mean 'LEASE'?" in first
    assert "Did you mean" not in second
