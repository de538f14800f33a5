"""No second job like another: the rule, its doors, and what enqueueing comes to."""

import traceback
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.test import override_settings

from qorworker import InvalidArguments, Job, Secret, Unique, job
from qorworker.exceptions import AlreadyEnqueued, JobTypeError
from qorworker.models import AuditEntry, DatabaseNow, database_now
from qorworker.signals import job_enqueued
from tests.job_types import own_types  # noqa: F401
from tests.testapp.models import Shop

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_types"), pytest.mark.once]


def declare(unique=True, **options):
    @job(**({"name": "test.unique", "unique": unique} | options))
    def handler(shop: int = 1, mode: str = "add"):
        pass

    return handler


# The rule.


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"by": 3}, "by must be"),
        ({"by": [""]}, "by must be"),
        ({"by": [1]}, "by must be"),
        ({"among": "running"}, "among='running'"),
        ({"period": 3}, "period=3"),
        ({"period": timedelta()}, "above 0"),
        ({"period": timedelta(1), "among": "waiting"}, "not both"),
        ({"on_conflict": "ignore"}, "on_conflict='ignore'"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_by_name(options, told):
    with pytest.raises(JobTypeError, match=told):
        Unique(**options)


@pytest.mark.parametrize("given", ["yes", 1, ["shop"]])
def test_the_decorator_and_using_take_nothing_but_a_rule(given):
    with pytest.raises(JobTypeError, match=r"unique=.*must be True, False or a Unique"):
        declare(given)
    with pytest.raises(ValueError, match=r"unique=.*must be True, False or a Unique"):
        declare().using(unique=given)


@pytest.mark.parametrize("key", ["", "x" * 201, 7, b"nightly"])
def test_a_key_is_a_text_of_some_length(key):
    with pytest.raises(ValueError, match=r"using\(unique_key=.*1 to 200"):
        declare().using(unique_key=key)


# Who is alike.


def test_without_a_rule_jobs_may_be_alike():
    handler = declare(None)
    assert handler.enqueue() != handler.enqueue()
    assert not Job.objects.exclude(unique_key=None, unique_place=None).exists()


def test_a_second_job_with_the_same_arguments_is_the_first_one():
    handler = declare()
    first, second = handler.enqueue(shop=1), handler.enqueue(shop="1", mode="add")
    assert (first.is_existing, second.is_existing) == (False, True)
    assert first.pk == second.pk
    assert handler.enqueue(shop=2).is_existing is False
    assert Job.objects.count() == 2


def test_only_the_chosen_arguments_count():
    handler = declare(Unique(by=["shop"]))
    first = handler.enqueue(shop=1, mode="add")
    assert handler.enqueue(shop=1, mode="replace").pk == first.pk
    assert handler.enqueue(shop=2, mode="add").pk != first.pk


def test_one_name_may_stand_for_itself_and_an_empty_list_for_the_type():
    by_shop, alone = declare(Unique(by="shop")), declare(Unique(by=[]), name="test.alone")
    assert by_shop.enqueue(mode="a").pk == by_shop.enqueue(mode="b").pk
    assert alone.enqueue(shop=1).pk == alone.enqueue(shop=2).pk


def test_a_callable_chooses_from_what_the_handler_gets():
    seen = []

    def tens(arguments):
        seen.append(arguments)
        return arguments["shop"] // 10

    handler = declare(Unique(by=tens))
    assert handler.enqueue(shop=11).pk == handler.enqueue(shop=19).pk
    assert handler.enqueue(shop=20).is_existing is False
    assert seen[0] == {"shop": 11, "mode": "add"}


@pytest.mark.parametrize("by", [lambda arguments: 1 / 0, lambda arguments: object()])
def test_a_callable_that_fails_stores_nothing(by):
    with pytest.raises(InvalidArguments) as error:
        declare(Unique(by=by)).enqueue()
    assert "unique" in error.value.errors["__all__"][0]
    assert not Job.objects.exists()


def test_a_callable_that_fails_tells_no_secret():
    def by(arguments):
        raise ValueError(f"not {arguments['password'].get_secret_value()}")

    @job(name="test.secret", unique=Unique(by=by))
    def handler(password: Secret[str]):
        pass

    password = "hunter2"  # here, for the traceback shows the line of the call
    with pytest.raises(InvalidArguments, match="ValueError: not •") as error:
        handler.enqueue(password=password)
    assert password not in "".join(traceback.format_exception(error.value))


def test_a_name_that_is_no_argument_stores_nothing():
    with pytest.raises(JobTypeError, match="no argument: shopp"):
        declare(Unique(by=["shopp"])).enqueue()
    assert not Job.objects.exists()


def test_an_explicit_key_stands_for_the_arguments():
    handler = declare(None)
    first = handler.using(unique_key="nightly").enqueue(shop=1)
    assert handler.using(unique_key="nightly").enqueue(shop=2).pk == first.pk
    assert handler.using(unique_key="hourly").enqueue(shop=1).pk != first.pk
    assert handler.enqueue(shop=1).pk != first.pk
    assert declare(None, name="test.other").using(unique_key="nightly").enqueue().is_existing is False


def test_a_key_is_no_argument_that_reads_the_same():
    handler = declare(Unique(by="mode"))
    assert handler.enqueue(mode="nightly").pk != handler.using(unique_key="nightly").enqueue(mode="x").pk


def test_one_call_may_go_without_the_rule_or_by_another():
    handler = declare()
    first = handler.enqueue()
    assert handler.using(unique=False).enqueue().pk != first.pk
    assert handler.using(unique=Unique(by=[])).enqueue(shop=5).is_existing is False


def test_rows_secrets_files_and_numbers_are_alike_by_what_they_are(settings):
    @job(name="test.values", unique=True)
    def handler(shop: Shop, password: Secret[str], file: UploadedFile, price: Decimal):
        pass

    shop = Shop.objects.create(name="Berlin")

    def enqueue(**changes):
        given = {"shop": shop, "password": "hush", "price": Decimal("1.0")}
        given["file"] = ContentFile(b"sku,price", "tea.csv")
        return handler.enqueue(**(given | changes))

    first = enqueue()
    kept = sorted(storages["default"].listdir("qorworker/")[0])
    assert "hush" not in first.unique_key
    Shop.objects.update(name="Bonn")
    shop.refresh_from_db()
    assert enqueue(price=Decimal("1.00")).pk == first.pk
    for other in ({"password": "other"}, {"file": ContentFile(b"sku", "tea.csv")}, {"price": "2"}):
        assert enqueue(**other).is_existing is False
    assert kept[0] in storages["default"].listdir("qorworker/")[0]
    with override_settings(SECRET_KEY="another", SECRET_KEY_FALLBACKS=[settings.SECRET_KEY]):
        assert enqueue().unique_key != first.unique_key  # nobody can try out secrets on a copy of the table


def test_the_upload_of_a_job_that_was_there_is_not_kept():
    @job(name="test.upload", unique=Unique(by=[]))
    def handler(file: UploadedFile):
        pass

    def uploads():
        return {key for row in Job.objects.values_list("arguments", flat=True) for key in [row["file"]["$file"]]}

    before = set(_stored())
    handler.enqueue(file=ContentFile(b"1", "a"))
    assert handler.enqueue(file=ContentFile(b"2", "b")).is_existing
    assert set(_stored()) - before == uploads()


def _stored():
    from qorworker.arguments import files

    try:
        return list(files.stored(storages["default"]))
    except FileNotFoundError:
        return []


# What becomes of the second.


def test_the_stored_job_is_the_returned_one():
    for rule in (Unique(), Unique(among="waiting"), Unique(period=timedelta(hours=1))):
        made = declare(rule).using(run_after=timedelta(hours=2)).enqueue(mode=rule.scope)
        stored = Job.objects.get(pk=made.pk)
        for field in Job._meta.concrete_fields:
            assert getattr(made, field.attname) == getattr(stored, field.attname), field.name


def test_a_conflict_can_be_an_error_that_names_the_job():
    handler = declare(Unique(on_conflict="raise"))
    first = handler.enqueue()
    with pytest.raises(AlreadyEnqueued, match=f"already waiting as job #{first.pk}") as error, transaction.atomic():
        handler.enqueue()
    assert error.value.job.pk == first.pk
    Job.objects.filter(pk=first.pk).transition("running", attempt_token="f" * 32)
    with pytest.raises(AlreadyEnqueued, match="already running"):
        handler.enqueue()
    assert Job.objects.count() == 1


def test_a_conflict_can_replace_the_arguments_of_the_job_that_waits():
    handler, ben = declare(Unique(by="shop", on_conflict="replace")), User.objects.create(username="ben")
    first = handler.using(priority=5, run_after=timedelta(days=1)).enqueue(mode="old")
    again = handler.using(priority=9, user=ben).enqueue(mode="new")
    stored = Job.objects.get()
    assert (again.pk, again.is_existing) == (first.pk, True)
    assert again.arguments["mode"] == stored.arguments["mode"] == "new"
    assert (stored.priority, stored.run_after) == (5, first.run_after)
    assert [entry.action for entry in AuditEntry.objects.of_job(first.pk)] == ["replace arguments"]


def test_a_job_that_has_started_keeps_its_arguments():
    handler = declare(Unique(by="shop", on_conflict="replace"))
    first = handler.enqueue(mode="old")
    Job.objects.filter(pk=first.pk).transition("running", attempt_token="f" * 32)
    with pytest.raises(AlreadyEnqueued, match="keeps its arguments"):
        handler.enqueue(mode="new")
    assert Job.objects.get().arguments["mode"] == "old"


def test_the_upload_that_was_replaced_goes_with_the_commit(django_capture_on_commit_callbacks):
    @job(name="test.replaced", unique=Unique(by=[], on_conflict="replace"))
    def handler(file: UploadedFile):
        pass

    before = set(_stored())
    handler.enqueue(file=ContentFile(b"1", "a"))
    with django_capture_on_commit_callbacks(execute=True):
        handler.enqueue(file=ContentFile(b"2", "b"))
        assert len(set(_stored()) - before) == 2
    assert set(_stored()) - before == {Job.objects.get().arguments["file"]["$file"]}


def test_only_new_jobs_are_announced(django_capture_on_commit_callbacks):
    heard, handler = [], declare()

    def receiver(job, **kwargs):
        heard.append(job.pk)

    job_enqueued.connect(receiver)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            made = handler.enqueue_many([{"shop": 1}, {"shop": 1}])
            handler.enqueue(shop=1)
    finally:
        job_enqueued.disconnect(receiver)
    assert heard == [made[0].pk]


def test_after_the_period_there_may_be_another_whatever_became_of_the_first():
    handler = declare(Unique(period=timedelta(hours=1)))
    first = handler.enqueue()
    assert timedelta(minutes=59) < first.unique_until - database_now("default") <= timedelta(hours=1)
    first.cancel()
    assert handler.enqueue().pk == first.pk
    Job.objects.update(unique_until=DatabaseNow(-1))
    assert handler.enqueue().pk != first.pk
    assert Job.objects.filter(unique_place=0).count() == 1


def test_a_conflict_leaves_the_transaction_of_the_caller_whole():
    for on_conflict in ("return", "replace", "raise"):
        handler = declare(Unique(on_conflict=on_conflict))
        with transaction.atomic():
            Shop.objects.create(name=on_conflict)
            try:
                handler.enqueue(mode=on_conflict)
                handler.enqueue(mode=on_conflict)
            except AlreadyEnqueued:
                pass
            Shop.objects.create(name=f"{on_conflict} again")
    assert Shop.objects.count() == 6
    assert Job.objects.count() == 3


def test_it_works_from_async_code():
    handler = declare()

    async def twice():
        return [await handler.aenqueue(), await handler.aenqueue()]

    first, second = async_to_sync(twice)()
    assert (first.pk, second.is_existing) == (second.pk, True)


# Many at once.


def test_of_a_batch_each_is_stored_once(django_assert_max_num_queries):
    handler = declare()
    handler.enqueue(shop=3)
    many: list[dict[str, Any]] = [{"shop": number} for number in (1, 2, 1, 3, 4, 4)]
    with django_assert_max_num_queries(4):  # the savepoint, who is there, those who are not
        made = handler.enqueue_many(many)
    assert [each.is_existing for each in made] == [False, False, True, True, False, True]
    assert [each.arguments["shop"] for each in made] == [1, 2, 1, 3, 4, 4]
    assert made[0].pk == made[2].pk < made[1].pk < made[4].pk
    assert Job.objects.count() == 4


def test_more_than_one_statement_takes():
    handler = declare()
    handler.enqueue_many([{"shop": number} for number in range(0, 1200, 2)])
    made = handler.enqueue_many([{"shop": number} for number in range(1200)])
    assert [each.is_existing for each in made] == [number % 2 == 0 for number in range(1200)]
    assert Job.objects.count() == 1200


def test_the_last_of_a_batch_gives_the_arguments_if_they_are_replaced():
    handler = declare(Unique(by="shop", on_conflict="replace"))
    handler.enqueue(shop=1, mode="before")
    handler.enqueue_many([{"shop": shop, "mode": mode} for shop, mode in ((1, "a"), (2, "b"), (1, "c"), (2, "d"))])
    assert {row["shop"]: row["mode"] for row in Job.objects.values_list("arguments", flat=True)} == {1: "c", 2: "d"}


@pytest.mark.parametrize("many", [[1, 2, 1], [5, 6, 3]])
def test_a_batch_with_one_too_many_stores_none(many):
    handler = declare(Unique(on_conflict="raise"))
    handler.enqueue(shop=3)
    with pytest.raises(AlreadyEnqueued), transaction.atomic():
        handler.enqueue_many([{"shop": number} for number in many])
    assert Job.objects.count() == 1


# Other doors.


def test_running_again_follows_the_rule():
    handler = declare()
    first = handler.enqueue()
    assert first.rerun().pk == first.pk
    first.cancel()
    assert first.rerun().is_existing is False


def test_without_numbers_of_many_rows_each_is_stored_by_itself(monkeypatch):
    """As on MySQL."""
    from django.db import connection

    monkeypatch.setattr(type(connection.features), "can_return_rows_from_bulk_insert", False)
    handler = declare(Unique(period=timedelta(hours=1)))
    made = handler.enqueue_many([{"shop": 1}, {"shop": 1}])
    assert [each.is_existing for each in made] == [False, True]
    assert handler.enqueue().pk == made[0].pk
