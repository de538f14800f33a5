"""From code to the table: the row, its time, its transaction, its audit entry, its signal."""

import asyncio
import datetime as dt
import inspect
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import UploadedFile
from django.db import DatabaseError, connection, connections, transaction
from django.db.utils import ConnectionDoesNotExist
from django.http import QueryDict
from django.test import override_settings
from django.utils import timezone

from qorworker import InvalidArguments, Job, JobContext, JobStatus, RowKeys, Secret, job
from qorworker.exceptions import UnknownJobType, UnknownQueue
from qorworker.models import AuditEntry, database_now
from qorworker.signals import job_enqueued
from tests.job_types import own_types  # noqa: F401
from tests.testapp.models import Shop

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_types")]


@pytest.fixture
def add(own_types):  # noqa: F811
    @job(name="test.add", priority=3, max_attempts=4)
    def add(first: int, second: int = 2, note: str = "", key: Secret[str] = "") -> int:
        return first + second

    return add


@pytest.fixture
def ben():
    return User.objects.create(username="ben")


@pytest.fixture
def heard():
    jobs = []

    def receiver(job, **kwargs):
        jobs.append(job)

    job_enqueued.connect(receiver)
    yield jobs
    job_enqueued.disconnect(receiver)


def test_a_job_is_a_row(add):
    before = database_now("default")
    made = add.enqueue(first=1)
    stored = Job.objects.get(pk=made.pk)
    assert (stored.name, stored.queue_name, stored.status) == ("test.add", "default", JobStatus.NEW)
    assert (stored.priority, stored.max_attempts, stored.attempt) == (3, 4, 0)
    assert (stored.created_by, stored.rerun_of, stored.started_at) == (None, None, None)
    assert stored.fingerprint == add.arguments.fingerprint
    assert before <= stored.enqueued_at == stored.run_after <= database_now("default")
    assert add.arguments.load(stored.arguments)["first"] == 1


def test_the_returned_job_is_the_stored_one(add):
    made = add.enqueue(first=1)
    stored = Job.objects.get(pk=made.pk)
    for field in Job._meta.concrete_fields:
        assert getattr(made, field.attname) == getattr(stored, field.attname), field.name


def test_values_survive_the_database(own_types, settings):  # noqa: F811
    @job(name="test.types")
    def handler(number: float, price: Decimal, at: dt.datetime, options: dict[str, Any], text: str):
        pass

    moment = dt.datetime(2026, 10, 25, 2, 30, 0, 123456, fold=1)
    values = {
        "number": 1e300,
        "price": Decimal("1.10"),
        "at": moment.replace(tzinfo=ZoneInfo("Europe/Berlin")) if settings.USE_TZ else moment.replace(fold=0),
        "options": {"ä": [1, 1.5, None, True, {"😀": ""}], "deep": [[[[[]]]]], "big": 2**70},
        "text": " ä\n\t😀\u2028",
    }
    loaded = handler.arguments.load(Job.objects.get(pk=handler.enqueue(**values).pk).arguments)
    assert loaded.pop("at").timestamp() == values.pop("at").timestamp()
    assert loaded == values


def test_invalid_arguments_store_nothing(add):
    with pytest.raises(InvalidArguments) as error:
        add.enqueue(first="x", other=1)
    assert set(error.value.errors) == {"first", "other"}
    assert not Job.objects.exists()


def test_an_unknown_queue_stores_nothing(add):
    with pytest.raises(UnknownQueue, match=r"'nowhere' in QORWORKER.*has: default"):
        add.using(queue_name="nowhere").enqueue(first=1)
    assert not Job.objects.exists()


def test_using_sets_what_it_says(add, ben):
    original = add.enqueue(first=1)
    made = add.using(
        priority=-7, queue_name="mail", max_attempts=9, user=ben, rerun_of=original, database="default"
    ).enqueue(first=1)
    assert (made.priority, made.queue_name, made.max_attempts) == (-7, "mail", 9)
    assert (made.created_by, made.rerun_of) == (ben, original)


def test_a_priority_of_zero_is_not_the_default(add):
    assert add.using(priority=0).enqueue(first=1).priority == 0


@pytest.mark.parametrize("later", [dt.timedelta(hours=1), dt.timedelta(days=400)])
def test_a_job_for_later_is_scheduled(add, later):
    made = add.using(run_after=later).enqueue(first=1)
    assert (made.status, made.run_after) == (JobStatus.SCHEDULED, made.enqueued_at + later)
    again = add.using(run_after=timezone.now() + later).enqueue(first=1)
    assert again.status == JobStatus.SCHEDULED


@pytest.mark.parametrize("past", [dt.timedelta(0), dt.timedelta(seconds=-1)])
def test_a_job_for_a_time_that_is_past_is_queued_at_once(add, past):
    assert add.using(run_after=past).enqueue(first=1).status == JobStatus.NEW
    made = add.using(run_after=timezone.now() - dt.timedelta(hours=1)).enqueue(first=1)
    assert made.status == JobStatus.NEW


def test_a_job_for_a_time_is_due_at_that_time_exactly(add):
    when = timezone.now().replace(microsecond=0) + dt.timedelta(days=1)
    assert Job.objects.get(pk=add.using(run_after=when).enqueue(first=1).pk).run_after == when


def test_many_jobs_are_stored_in_their_order_and_all_have_ids(add):
    made = add.enqueue_many([{"first": number} for number in range(300)])
    assert [row.pk for row in made] == sorted({row.pk for row in made})
    stored = [add.arguments.load(row.arguments)["first"] for row in Job.objects.order_by("pk")]
    assert stored == list(range(300))
    assert {row.status for row in made} == {JobStatus.NEW}


def test_no_jobs_are_no_error(add):
    assert add.enqueue_many([]) == []


def test_one_wrong_job_among_many_stores_none(add):
    with pytest.raises(InvalidArguments) as error:
        add.enqueue_many([{"first": 1}, {"first": "x"}, {}])
    assert list(error.value.errors) == ["[1].first", "[2].first"]
    assert not Job.objects.exists()


def test_the_number_of_statements_does_not_grow_with_the_number_of_jobs(add, django_assert_max_num_queries):
    with django_assert_max_num_queries(20):  # SQLite takes a limited number of values in each
        add.enqueue_many([{"first": number} for number in range(200)])


def test_one_job_costs_few_statements(add, django_assert_max_num_queries):
    with django_assert_max_num_queries(3):
        add.enqueue(first=1)


def test_a_user_leaves_an_audit_entry_and_code_does_not(add, ben):
    add.enqueue(first=1)
    assert not AuditEntry.objects.exists()
    made = add.using(user=ben, origin="admin").enqueue(first=1)
    (entry,) = AuditEntry.objects.all()
    assert (entry.action, entry.job_id, entry.user_name, entry.origin) == ("enqueue", made.pk, "ben", "admin")


def test_every_one_of_many_jobs_has_its_audit_entry(add, ben):
    made = add.using(user=ben).enqueue_many([{"first": 1}, {"first": 2}])
    assert {entry.job_id for entry in AuditEntry.objects.all()} == {row.pk for row in made}


def test_an_anonymous_visitor_is_nobody(add):
    assert add.using(user=AnonymousUser()).enqueue(first=1).created_by is None


def test_the_signal_is_sent_after_the_commit(add, heard, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        made = add.enqueue(first=1)
        assert heard == []
    assert heard == [made]


@pytest.mark.django_db(transaction=True)
def test_a_commit_has_nothing_to_do_where_nobody_listens(add, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks() as callbacks:
        add.enqueue(first=1)
    assert callbacks == []


def test_a_rollback_takes_the_job_and_its_signal_back(add, heard):
    def half_way():
        with transaction.atomic():
            add.enqueue(first=1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half_way()
    assert not Job.objects.exists()
    assert heard == []


@pytest.mark.django_db(transaction=True)
def test_a_receiver_that_fails_does_not_undo_the_job(add):
    def fails(**kwargs):
        raise RuntimeError

    job_enqueued.connect(fails)
    try:
        assert add.enqueue(first=1).pk
    finally:
        job_enqueued.disconnect(fails)
    assert Job.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_many_jobs_can_be_enqueued_from_async_code(add):
    async def enqueue():
        made = await add.aenqueue_many([{"first": 1}, {"first": 2}])
        await sync_to_async(connections.close_all)()
        return made

    made = asyncio.run(enqueue())
    assert list(Job.objects.order_by("pk")) == made
    assert [job.arguments["first"] for job in made] == [1, 2]


@pytest.mark.django_db(transaction=True)
def test_a_job_can_be_enqueued_from_async_code(add):
    async def enqueue():
        made = await add.aenqueue(first=1)
        await sync_to_async(connections.close_all)()
        return made

    made = asyncio.run(enqueue())
    assert Job.objects.get().pk == made.pk


def test_cleaned_values_of_the_form_are_stored(add):
    form = add.arguments.form_class({"first": "5", "second": "6", "note": " hello "})
    assert form.is_valid()
    made = add.enqueue_cleaned(form.cleaned_data)
    loaded = add.arguments.load(made.arguments)
    assert (loaded["first"], loaded["second"], loaded["note"]) == (5, 6, "hello")


def test_a_stored_job_is_enqueued_again_with_changes(add):
    original = add.enqueue(first=1, second=5)
    again = add.enqueue_stored(original, second=6)
    assert add.arguments.load(again.arguments) == {"first": 1, "second": 6, "note": "", "key": Secret("")}
    assert again.pk != original.pk


def test_running_again_keeps_everything_but_the_identity(add, ben):
    original = add.enqueue(first=1)
    again = original.rerun(by=ben)
    assert (again.rerun_of, again.created_by, again.arguments) == (original, ben, original.arguments)


def test_running_again_with_a_secret_asks_for_it(add):
    original = add.enqueue(first=1, key="hunter2")
    with pytest.raises(InvalidArguments) as error:
        original.rerun()
    assert list(error.value.errors) == ["key"]
    again = original.rerun(key="other")
    assert add.arguments.secret_values(again.arguments) == ["other"]


def test_running_again_with_a_wrong_change_stores_nothing(add):
    original = add.enqueue(first=1)
    with pytest.raises(InvalidArguments):
        original.rerun(first="x")
    with pytest.raises(InvalidArguments):
        original.rerun(other=1)
    assert Job.objects.count() == 1


def test_a_job_whose_code_is_gone_cannot_run_again(add):
    from qorworker.definitions.registry import registry

    original = add.enqueue(first=1)
    registry.unregister("test.add")
    with pytest.raises(UnknownJobType):
        original.rerun()


def test_whether_a_job_can_start_is_known_before(own_types):  # noqa: F811
    @job(name="test.shop")
    def handler(shop: Shop):
        pass

    shop = Shop.objects.create(name="Berlin")
    made = handler.enqueue(shop=shop)
    assert handler.can_start(made)
    shop.delete()
    assert not handler.can_start(made)


def test_a_secret_that_cannot_be_read_cannot_start(add):
    made = add.enqueue(first=1, key="hunter2")
    with override_settings(SECRET_KEY="another"):
        assert not add.can_start(made)


def test_an_upload_whose_job_cannot_be_stored_is_removed(own_types, settings, tmp_path, monkeypatch):  # noqa: F811
    settings.MEDIA_ROOT = str(tmp_path)

    @job(name="test.upload")
    def handler(file: UploadedFile):
        pass

    def on_disk():
        return [path for path in Path(tmp_path).rglob("*") if path.is_file()]

    def no_database(*args, **kwargs):
        raise DatabaseError("gone")

    handler.enqueue(file=ContentFile(b"x", "a.csv"))
    assert len(on_disk()) == 1
    monkeypatch.setattr("qorworker.models.storing.insert_jobs", no_database)
    with pytest.raises(DatabaseError):
        handler.enqueue(file=ContentFile(b"x", "a.csv"))
    assert len(on_disk()) == 1


@pytest.mark.django_db(transaction=True)
def test_waiting_workers_are_told_at_once_where_the_database_can(add, django_assert_num_queries):
    if connection.vendor != "postgresql":
        with django_assert_num_queries(1):
            add.enqueue(first=1)
        return
    listener = connection.copy("listener")
    try:
        with listener.cursor() as cursor:
            cursor.execute("LISTEN qorworker")
        add.enqueue(first=1)
        assert [n.channel for n in listener.connection.notifies(timeout=5, stop_after=1)] == ["qorworker"]
    finally:
        listener.close()


def test_where_a_database_does_not_tell_the_ids_of_many_rows_they_are_stored_one_by_one(add, monkeypatch):
    monkeypatch.setattr(type(connection.features), "can_return_rows_from_bulk_insert", False)
    made = add.enqueue_many([{"first": 1}, {"first": 2}])
    assert len({row.pk for row in made}) == 2
    assert None not in {row.pk for row in made}


NAMES = (
    "action", "at", "by", "changes", "clean", "cleaned", "context", "data", "errors", "fields", "files", "form",
    "initial", "job", "many", "media", "next", "origin", "prefix", "queue_name", "run_after", "self", "start", "token",
    "user", "values", "when",
)  # fmt: skip


def test_names_that_are_used_inside_can_be_names_of_arguments(own_types):  # noqa: F811
    def handler(**arguments):
        pass

    handler.__signature__ = inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=str) for name in NAMES]
    )
    job_type = job(name="test.names")(handler)
    given = {name: f"the {name}" for name in NAMES}
    made = job_type.enqueue(**given)
    assert made.arguments == given
    assert job_type.arguments.load(made.arguments) == given
    assert job_type.enqueue_many([given])[0].arguments == given
    changed = {name: f"another {name}" for name in NAMES}
    assert made.rerun(changed, origin="command").arguments == changed
    assert async_to_sync(made.arerun)({"by": "Ben"}, user="ann").arguments == {**given, "by": "Ben", "user": "ann"}


def test_a_job_of_another_database_is_run_again_in_that_database(own_types, monkeypatch):  # noqa: F811
    job_type = job(name="test.far")(lambda: None)
    made = job_type.enqueue()
    monkeypatch.setattr("qorworker.models.job_verbs.write_database", lambda row: "far")
    with pytest.raises(ConnectionDoesNotExist, match="far"):
        made.rerun()


def test_values_by_position_are_those_of_the_signature_in_its_order(add):
    made = add.enqueue(3, second=4).arguments
    assert {name: made[name] for name in ("first", "second")} == {"first": 3, "second": 4}


@pytest.mark.parametrize(
    ("values", "named", "field"),
    [((1, 2, "", "", 5), {}, "__all__"), ((1,), {"first": 2}, "first")],
)
def test_too_many_values_and_one_given_twice_are_refused_by_name(add, values, named, field):
    with pytest.raises(InvalidArguments) as error:
        add.enqueue(*values, **named)
    assert list(error.value.errors) == [field]
    assert not Job.objects.exists()


def test_what_the_function_takes_by_name_only_is_refused_by_position(own_types):  # noqa: F811
    @job(name="test.named")
    def clear(shop: str, context: JobContext, older: int = 1, *, only: RowKeys | None = None, really: bool = False):
        pass

    assert clear.enqueue("a", 2, really=True).arguments == {"shop": "a", "older": 2, "really": True}
    with pytest.raises(InvalidArguments, match=r"3 values were given by position; the job takes: shop, older\.$"):
        clear.enqueue("a", 2, True)


def test_one_given_by_position_and_by_name_names_only_itself(add):
    with pytest.raises(InvalidArguments, match=r"first: This argument was given twice\.$"):
        add.enqueue(1, first=1)
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    "sent",
    [{"first": "3", "second": 4}, {"first": 3, "second": " 4 "}, QueryDict("csrfmiddlewaretoken=x&first=3&second=4")],
)
def test_what_a_form_or_json_sends_is_cleaned(add, sent):
    made = add.enqueue_raw(sent)
    assert made.arguments == add.enqueue(first=3, second=4).arguments


def test_what_a_form_sends_for_a_row_is_its_key(own_types):  # noqa: F811
    @job(name="test.shops")
    def handler(shop: Shop, others: list[Shop], skus: list[str], paid: bool, until: dt.date | None = None):
        pass

    shop, other = Shop.objects.create(name="Berlin"), Shop.objects.create(name="Riga")
    body = f"shop={shop.pk}&others={other.pk}&others={shop.pk}&skus=a&paid=on&until="
    made = handler.enqueue_raw(QueryDict(body))
    assert made.arguments == handler.enqueue(shop, [other, shop], ["a"], True, None).arguments
    sent = {"shop": shop.pk, "others": [other.pk, shop.pk], "skus": ["a"], "paid": True}
    assert handler.enqueue_raw(sent).arguments == made.arguments


@pytest.mark.parametrize(
    ("sent", "fields"),
    [
        ({}, ["first"]),
        ({"first": "x"}, ["first"]),
        ({"first": 1, "third": 2}, ["third"]),
        ({"first": {"$gt": 0}}, ["first"]),
        ({"first": [1, 2]}, ["first"]),
        (QueryDict("first=1&first=2"), ["first"]),
        ({"first": 1, 2: 3}, [2]),
        ({"first": 1, "self": 3, "context": 4}, ["self", "context"]),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_stored(add, sent, fields):
    with pytest.raises(InvalidArguments) as error:
        add.enqueue_raw(sent)
    assert list(error.value.errors) == fields
    assert not Job.objects.exists()


@pytest.mark.parametrize("sent", [None, [("first", 1)], "first=1", 7])
def test_what_is_no_mapping_is_refused(add, sent):
    with pytest.raises(TypeError, match=f"must be a mapping, not {type(sent).__name__}"):
        add.enqueue_raw(sent)


@pytest.mark.parametrize("sent", [None, [("first", 1)], "first=1", 7])
def test_what_is_no_mapping_among_many_is_refused(add, sent):
    with pytest.raises(TypeError, match=f"must be a mapping, not {type(sent).__name__}"):
        add.enqueue_many([{"first": 1}, sent])
    assert not Job.objects.exists()


def test_many_may_come_from_forms(add):
    sent = QueryDict("first=1&second=2&csrfmiddlewaretoken=abc")
    [made, alone] = [*add.enqueue_many([sent]), add.enqueue_raw(sent)]
    assert made.arguments == alone.arguments


def test_a_secret_that_a_form_sends_is_encrypted(add):
    made = add.enqueue_raw({"first": "1", "key": "hunter2"})
    assert "hunter2" not in str(made.arguments)
    assert add.arguments.secret_values(made.arguments) == ["hunter2"]


def test_many_may_come_from_any_iterable(add):
    made = add.enqueue_many({"first": number} for number in range(3))
    assert [job.arguments["first"] for job in made] == [0, 1, 2]


def test_an_option_may_have_the_name_of_an_argument(own_types):  # noqa: F811
    @job(name="test.options")
    def handler(priority: str, run_after: str, user: str, self: str = "-"):
        pass

    made = handler.using(priority=7).enqueue("high", run_after="lunch", user="ann", self="me")
    assert (made.priority, made.created_by_id, made.status) == (7, None, JobStatus.NEW)
    assert made.arguments == {"priority": "high", "run_after": "lunch", "user": "ann", "self": "me"}
    assert handler.bind("high", "lunch", "ann", "me").enqueue().arguments == made.arguments


def test_a_coroutine_function_is_enqueued_like_any_other(own_types):  # noqa: F811
    @job(name="test.coroutine")
    async def handler(context: JobContext, number: int) -> int:
        return number

    assert handler.enqueue(5).arguments == handler.bind(number=5).enqueue().arguments == {"number": 5}
    assert asyncio.run(handler(None, 5)) == 5


def test_the_context_is_no_value_that_can_be_given():
    @job
    def handler(context: JobContext, number: int):
        pass

    assert handler.enqueue(5).arguments == {"number": 5}


META = {"ticket": "SHOP-7", "at": {"place": [1, None, "🎉"]}}


def test_data_of_the_project_is_kept_with_the_job_and_handed_on(add):
    made = add.using(meta=META).enqueue(first=1)
    many = add.using(meta=META).enqueue_many([{"first": 1}, {"first": 2}])
    again = made.rerun()
    assert [Job.objects.get(pk=job.pk).meta for job in (made, *many, again)] == [META] * 4
    assert add.enqueue(first=1).meta == {}


def test_jobs_do_not_share_their_data(add):
    first, second = add.using(meta={"a": 1}).enqueue_many([{"first": 1}, {"first": 2}])
    first.meta["a"] = 2
    assert second.meta == {"a": 1}


def test_unique_jobs_keep_data_of_the_project(add):
    made = add.using(meta=META, unique_key="one").enqueue(first=1)
    assert Job.objects.get(pk=made.pk).meta == META


@pytest.mark.parametrize("meta", ["text", [1], {"x": object()}, {"x": float("nan")}, {"x": "\0"}, {1: {(): 2}}])
def test_data_that_is_no_json_object_is_refused_by_name(add, meta):
    with pytest.raises(ValueError, match=r"test\.add\.using\(meta="):
        add.using(meta=meta)


@pytest.mark.django_db
@pytest.mark.usefixtures("own_types")
def test_json_as_deep_as_is_allowed_is_stored_everywhere():
    value = []
    for _ in range(29):
        value = [value]

    def handler(value: Any) -> None:
        pass

    job_type = job(name="test.deep")(handler)
    stored = job_type.enqueue(value=value)
    stored.refresh_from_db()
    assert stored.arguments == {"value": value}
    with pytest.raises(InvalidArguments, match="value: It is nested deeper than 30 levels"):
        job_type.enqueue(value=[value])
