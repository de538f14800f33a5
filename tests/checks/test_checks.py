"""System checks: each mistake has its id and names its place; a sound project has none."""

import enum
import sqlite3
from contextlib import closing
from decimal import Decimal
from typing import Annotated, Any

import pytest
from django import forms
from django.core.checks import run_checks
from django.core.files.uploadedfile import UploadedFile
from django.db import DatabaseError, connection, router
from django.test import override_settings

from qorworker import Arg, Calendar, Cron, Every, Plan, Secret, Unique, checks, job
from qorworker.arguments import secrets
from qorworker.definitions.job_type import JobType
from qorworker.definitions.registry import Registry, registry
from tests.job_types import own_types  # noqa: F401
from tests.testapp.models import Shop

pytestmark = pytest.mark.usefixtures("own_types")


class Colour(enum.Enum):
    RED = "r"


def ids(found):
    return [message.id for message in found]


@pytest.fixture(autouse=True)
def _only_these(own_types):  # noqa: F811
    registry._types.clear()


def test_a_sound_project_has_nothing_to_report():
    @job(permission="testapp.change_shop")
    def handler(
        shop: Shop | None = None,
        file: UploadedFile | None = None,
        colour: Colour = Colour.RED,
        factor: Decimal = Decimal("1.00"),
        words: list[str] = (),
        key: Secret[str] = "",
        options: dict[str, Any] = {},  # noqa: B006
        anything: Any = None,
    ):
        pass

    own = [checks.check_settings, checks.check_names, checks.check_arguments, checks.check_permissions]
    own += [checks.check_secrets, checks.check_command, checks.check_open_types]
    assert [message for check in own for message in check()] == []


@pytest.mark.django_db
def test_every_check_is_registered():
    with override_settings(QORWORKER={"LEESE": 1}):
        assert "qorworker.E001" in ids(run_checks())


def test_e001_a_wrong_setting():
    with override_settings(QORWORKER={"LEESE": 1, "LEASE": 0}):
        assert ids(checks.check_settings()) == ["qorworker.E001"] * 2


@pytest.mark.parametrize("confused", ["Shop.Import", "shop.ïmport", "shop.import\u0301"])
def test_e002_names_that_a_database_may_confuse(confused):
    for name in ("shop.import", confused):
        registry.register(JobType(lambda: None, {"name": name}))
    (found,) = checks.check_names()
    assert found.id == "qorworker.E002"
    assert "'shop.import'" in found.msg
    assert repr(confused) in found.msg


def test_e003_an_argument_without_a_field():
    @job
    def handler(things: set, bare, fine: int):
        pass

    found = checks.check_arguments()
    assert ids(found) == ["qorworker.E003"] * 2
    assert "'things'" in found[0].msg
    assert "test_checks.py:" in found[0].msg


@pytest.mark.parametrize(
    ("annotation", "default"),
    [
        (int, None),
        (int, "three"),
        (str, None),
        (str, 5),
        (str, "\x00"),
        (Decimal, Decimal("NaN")),
        (int, "3"),
        (Colour, "r"),
        (Colour, "green"),
        (UploadedFile, None),
        (Shop, None),
        (bool, None),
        (list[str], None),
        (Any, object()),
        (Any, float("nan")),
        (dict, ()),
        (Secret[str], None),
        (float, float("inf")),
    ],
)
def test_e004_a_default_that_does_not_survive(annotation, default):
    def handler(value=default):
        pass

    handler.__annotations__ = {"value": annotation}
    job(handler)
    (found,) = checks.check_arguments()
    assert found.id == "qorworker.E004"
    assert "'value'" in found.msg


def test_e004_does_not_quote_a_default_that_is_a_secret():
    def refuse(value):
        raise forms.ValidationError(f"{value} is no good")

    def handler(value="c4n4ry"):
        pass

    handler.__annotations__ = {"value": Annotated[Secret[str], Arg(validators=[refuse])]}
    job(handler)
    (found,) = checks.check_arguments()
    assert found.id == "qorworker.E004"
    assert "is no good" in found.msg
    assert "c4n4ry" not in found.msg


def test_e006_a_backend_that_cannot_be_imported():
    queues = {"default": {"BACKEND": "qorworker.nowhere.Backend"}}
    with override_settings(QORWORKER={"QUEUES": queues}):
        (found,) = checks.check_queues()
    assert found.id == "qorworker.E006"
    assert "'default'" in found.msg


@pytest.mark.parametrize("confused", ["Mail", "máil"])
def test_e006_queues_that_a_database_may_confuse(confused):
    queue = {"BACKEND": "qorworker.backends.local.LocalBackend"}
    with override_settings(QORWORKER={"QUEUES": {"default": queue, "mail": queue, confused: queue, "mails": queue}}):
        (found,) = checks.check_queues()
    assert found.id == "qorworker.E006"
    assert f"'mail' and {confused!r}" in found.msg


def test_e006_a_backend_with_an_option_that_it_does_not_have():
    queue = {"BACKEND": "qorworker.backends.local.LocalBackend", "OPTIONS": {"COLOUR": "red"}}
    with override_settings(QORWORKER={"QUEUES": {"default": queue}}):
        (found,) = checks.check_queues()
    assert found.id == "qorworker.E006"
    assert "COLOUR" in found.msg


def test_w010_limits_that_the_backend_of_the_queue_does_not_keep():
    @job(name="test.limited", timeout=5)
    def handler():
        pass

    assert [found for found in checks.check_queues() if found.obj is handler] == []
    with override_settings(
        QORWORKER={"QUEUES": {"default": {"BACKEND": "qorworker.backends.immediate.ImmediateBackend"}}}
    ):
        (found,) = [found for found in checks.check_queues() if found.obj is handler]
    assert found.id == "qorworker.W010"
    assert "timeout" in found.msg


def test_e006_a_job_type_for_a_queue_that_does_not_exist():
    @job(queue_name="nowhere")
    def handler():
        pass

    with override_settings(QORWORKER={"QUEUES": {"default": {"BACKEND": "qorworker.backends.local.LocalBackend"}}}):
        (found,) = checks.check_queues()
    assert found.id == "qorworker.E006"
    assert "'nowhere'" in found.msg
    assert Registry


@pytest.mark.parametrize("permission", ["", "shop", "shop.", ".run", "nowhere.run", "testapp. "])
def test_e007_a_permission_that_nobody_can_have(permission):
    registry.register(JobType(lambda: None, {"name": "x", "permission": permission}))
    assert ids(checks.check_permissions()) == ["qorworker.E007"]


def test_e007_spares_callables_and_permissions_of_installed_apps():
    registry.register(JobType(lambda: None, {"name": "x", "permission": "testapp.change_shop"}))
    registry.register(JobType(lambda: None, {"name": "y", "permission": lambda user, job_type, action: True}))
    registry.register(JobType(lambda: None, {"name": "z"}))
    registry.register(JobType(lambda: None, {"name": "own", "permission": "qorworker.run_job"}))
    assert checks.check_permissions() == []


def test_w007_a_permission_that_no_model_declares():
    registry.register(JobType(lambda: None, {"name": "x", "permission": "testapp.chnage_shop"}))
    (found,) = checks.check_permissions()
    assert found.id == "qorworker.W007"
    assert "'testapp.chnage_shop'" in found.msg


def test_e008_secrets_without_the_extra(monkeypatch):
    @job
    def handler(key: Secret[str] = ""):
        pass

    assert checks.check_secrets() == []
    monkeypatch.setattr(secrets, "available", lambda: False)
    (found,) = checks.check_secrets()
    assert found.id == "qorworker.E008"
    assert "key" in found.msg
    assert "pip install qorworker[secrets]" in found.hint


def test_e009_schedules_that_cannot_be_made():
    @job(schedule=[Plan(Every(minutes=5), name="fine", arguments={"number": 1}), Cron("@daily")])
    def handler(number: int):
        pass

    (found,) = checks.check_schedules()
    assert found.id == "qorworker.E009"
    assert "number: This field is required." in found.msg
    assert __file__ in found.msg

    @job(schedule=Plan(Every(minutes=5), name="fine"))
    def other():
        pass

    assert ids(checks.check_schedules()) == ["qorworker.E009"] * 2
    assert "declares one with this name, too" in checks.check_schedules()[1].msg


@pytest.mark.django_db
def test_a_row_that_was_deleted_is_a_warning_for_those_who_ask_the_database_and_stops_no_command():
    shop = Shop.objects.create(name="Berlin")

    @job(schedule=Plan(Every(minutes=5), name="weekly", arguments={"shop": shop.pk}))
    def handler(shop: Shop):
        pass

    assert checks.check_schedule_rows(["default"]) == []
    Shop.objects.all().delete()
    assert checks.check_schedules() == []
    (found,) = checks.check_schedule_rows(["default"])
    assert (found.id, found.is_serious()) == ("qorworker.W009", False)
    assert "weekly" in found.msg
    assert checks.check_schedule_rows([]) == []


@pytest.mark.django_db
def test_a_calendar_that_does_not_exist_is_a_warning_for_those_who_ask_the_database():
    @job(schedule=Cron("@daily", calendar="bank"))
    def handler():
        pass

    (found,) = checks.check_schedule_calendars(["default"])
    assert (found.id, found.is_serious()) == ("qorworker.W019", False)
    assert "names the calendar 'bank', which does not exist" in found.msg
    assert checks.check_schedule_calendars([]) == checks.check_schedules() == []
    Calendar.objects.create(name="bank")
    assert checks.check_schedule_calendars(["default"]) == []


def test_e009_sees_an_unknown_argument_beside_one_that_needs_rows():
    @job(schedule=Plan(Every(minutes=5), arguments={"shop": 1, "shopp": 2}))
    def handler(shop: Shop):
        pass

    (found,) = checks.check_schedules()
    assert "shopp: This argument does not exist." in found.msg


@pytest.mark.django_db
def test_no_check_but_those_of_the_database_asks_for_a_row(django_assert_num_queries):
    class Asks(forms.Form):
        shop = forms.ModelChoiceField(Shop.objects.all())

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.fields["shop"].initial = Shop.objects.first()

    @job(form=Asks, schedule=Plan(Every(minutes=5), arguments={"shop": 1}))
    def given(shop):
        pass

    @job(schedule=Plan(Every(minutes=5), arguments={"shop": 1}))
    def handler(shop: Shop):
        pass

    with django_assert_num_queries(0):
        assert [m for m in run_checks() if m.id.startswith("qorworker.")] == []


def test_w001_another_app_owns_the_command(monkeypatch):
    monkeypatch.setattr(checks.project, "get_commands", lambda: {"runworker": "channels"})
    (found,) = checks.check_command()
    assert found.id == "qorworker.W001"
    assert "'channels'" in found.msg
    monkeypatch.setattr(checks.project, "get_commands", lambda: {"runworker": "qorworker"})
    assert checks.check_command() == []


@pytest.mark.once
def test_e017_a_router_that_names_no_database(monkeypatch):
    assert checks.check_router() == []
    monkeypatch.setattr(router, "db_for_write", lambda model: "gone")
    (found,) = checks.check_router()
    assert found.id == "qorworker.E017"
    assert "'gone'" in found.msg
    assert "The databases are: default" in found.hint
    assert checks.check_sqlite() == []


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"transaction_mode": "DEFERRED", "init_command": "PRAGMA journal_mode = wal"}, ["transaction_mode"]),
        ({"transaction_mode": "immediate"}, ["journal_mode=WAL"]),
        ({}, ["journal_mode=WAL", "transaction_mode"]),
    ],
)
def test_w003_sqlite_without_wal_or_immediate_without_a_query(monkeypatch, tmp_path, options, named):
    if connection.vendor != "sqlite":
        assert checks.check_sqlite() == []
        return
    assert checks.check_sqlite() == []
    monkeypatch.setitem(connection.settings_dict, "NAME", str(tmp_path / "site.sqlite3"))
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    (found,) = checks.check_sqlite()
    assert found.id == "qorworker.W003"
    assert [name for name in ("journal_mode=WAL", "transaction_mode") if name in found.hint] == named


@pytest.mark.once
def test_w003_spares_a_file_that_keeps_wal_by_itself(monkeypatch, tmp_path):
    path = tmp_path / "site.sqlite3"
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute("CREATE TABLE t (x)")
    monkeypatch.setitem(connection.settings_dict, "NAME", path)
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"transaction_mode": "IMMEDIATE"})
    assert checks.check_sqlite() == []


@pytest.mark.django_db
def test_w003_is_one_of_the_checks_of_every_command(monkeypatch):
    if connection.vendor == "sqlite":
        monkeypatch.setitem(connection.settings_dict["OPTIONS"], "transaction_mode", "DEFERRED")
        assert "qorworker.W003" in ids(run_checks())


@pytest.mark.parametrize(
    ("folder", "found"), [("", ["qorworker.E016"]), ("media", ["qorworker.W016"]), ("/srv/media", [])]
)
def test_e016_uploads_whose_folder_depends_on_where_a_process_starts(settings, folder, found):
    settings.MEDIA_ROOT = folder

    @job
    def plain(number: int):
        pass

    assert checks.check_uploads() == []

    @job
    def handler(file: UploadedFile):
        pass

    assert ids(checks.check_uploads()) == found


@pytest.mark.django_db
def test_i001_types_that_everybody_may_run_are_told_before_a_deployment():
    registry.register(JobType(lambda: None, {"name": "open"}))
    registry.register(JobType(lambda: None, {"name": "closed", "permission": "testapp.change_shop"}))
    (found,) = checks.check_open_types()
    assert found.id == "qorworker.I001"
    assert "open" in found.msg
    assert "closed" not in found.msg
    assert "qorworker.I001" not in ids(run_checks())
    assert "qorworker.I001" in ids(run_checks(include_deployment_checks=True))


@pytest.mark.django_db
def test_choices_from_a_table_that_is_missing_are_no_error():
    def rows():
        raise DatabaseError("no such table")

    class FromRows(forms.Form):
        shop = forms.ChoiceField()

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.fields["shop"].choices = rows()

    @job(form=FromRows)
    def given(shop):
        pass

    @job
    def typed(shop: Annotated[str, Arg(choices=rows)]):
        pass

    assert run_checks() == []


@pytest.mark.django_db
def test_e003_a_form_that_fails_in_any_other_way_names_its_error():
    class Failing(forms.Form):
        def __init__(self, *args, **kwargs):
            raise LookupError("no such thing")

    @job(form=Failing)
    def handler():
        pass

    (found,) = run_checks()
    assert found.id == "qorworker.E003"
    assert "no such thing" in found.msg


@pytest.mark.django_db
def test_e003_an_argument_that_would_take_the_place_of_the_pages_own_token():
    @job
    def handler(csrfmiddlewaretoken: str):
        pass

    assert ids(run_checks()) == ["qorworker.E003"]


@pytest.mark.parametrize("rule", ["shopp", ["number", "shopp"], "password"])
def test_a_key_of_what_is_no_argument_or_a_secret_is_an_error(rule):
    @job(max_concurrency=1, concurrency_key=rule)
    def handler(number: int, password: Secret[str]) -> None: ...

    (found,) = checks.check_limits()
    assert found.id == "qorworker.E014"
    assert "handler" in found.msg


@pytest.mark.parametrize("rule", ["number", ["number", "text"], lambda arguments: arguments["text"], None])
def test_a_key_of_arguments_is_none(rule):
    @job(max_concurrency=1, concurrency_key=rule)
    def handler(number: int, text: str) -> None: ...

    assert checks.check_limits() == []


@pytest.mark.parametrize(("by", "found"), [(["number", "shopp"], ["qorworker.E015"]), (["number"], []), ([], [])])
def test_a_rule_of_uniqueness_names_arguments(by, found):
    @job(unique=Unique(by=by))
    def handler(number: int) -> None: ...

    assert ids(checks.check_unique()) == found


@pytest.mark.parametrize(
    ("backend", "found"),
    [
        ("celery.CeleryBackend", ["qorworker.W018"]),
        ("immediate.ImmediateBackend", ["qorworker.W018"]),
        ("crontab.CrontabBackend", []),
        ("local.LocalBackend", []),
    ],
)
def test_w018_ageing_where_no_worker_raises_anything(settings, backend, found):
    settings.QORWORKER = {"QUEUES": {"default": {"BACKEND": f"qorworker.backends.{backend}", "AGEING": 1}}}
    assert [message.id for message in checks.check_queues() if message.id == "qorworker.W018"] == found
