"""Bound calls: what ``bind`` cleans, what is stored when they are enqueued, and what they never reveal."""

import asyncio
import copy
import dataclasses
import datetime as dt
import pickle
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django import forms
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import UploadedFile
from django.db import connections

from qorworker import Call, InvalidArguments, Job, JobContext, JobStatus, Secret, Unique, job
from qorworker.exceptions import AlreadyEnqueued, JobTypeError, UnknownQueue
from tests.job_types import own_types  # noqa: F401
from tests.testapp.models import Shop

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_types")]


@pytest.fixture
def sell(own_types):  # noqa: F811
    @job(name="test.sell", priority=3)
    def sell(context: JobContext, shop: Shop, price: Decimal, note: str = "-", key: Secret[str] | None = None) -> str:
        return f"{shop} {price} {note}"

    return sell


@pytest.fixture
def berlin():
    return Shop.objects.create(name="Berlin")


def test_a_bound_call_has_cleaned_arguments_and_stores_nothing(sell, berlin):
    call = sell.bind(berlin, price="2.50")
    assert isinstance(call, Call)
    assert call.job_type is sell
    assert dict(call.arguments) == {"shop": berlin, "price": Decimal("2.50"), "note": "-", "key": None}
    assert not Job.objects.exists()


def test_each_time_it_is_enqueued_it_makes_the_job_that_enqueue_makes(sell, berlin):
    call = sell.bind(berlin, Decimal("2.50"), note="today")
    made = [call.enqueue(), call.enqueue(), sell.enqueue(berlin, Decimal("2.50"), note="today")]
    assert len({job.pk for job in made}) == 3
    assert [Job.objects.get(pk=job.pk).arguments for job in made] == [made[0].arguments] * 3
    assert {job.fingerprint for job in made} == {sell.arguments.fingerprint}


def test_it_has_the_options_of_using(sell, berlin):
    call = sell.using(priority=50, queue_name="mail", run_after=dt.timedelta(hours=1)).bind(berlin, price=Decimal(1))
    made = call.enqueue()
    assert (made.priority, made.queue_name, made.status) == (50, "mail", JobStatus.SCHEDULED)
    assert made.run_after == made.enqueued_at + dt.timedelta(hours=1)


@pytest.mark.parametrize(
    ("values", "named", "fields"),
    [
        ((), {}, ["shop", "price"]),
        ((), {"price": "dear", "shop": 0}, ["shop", "price"]),
        ((), {"price": 1, "shop": None}, ["shop"]),
        ((), {"price": 1, "shop": Shop(name="new")}, ["shop"]),
        ((), {"pricce": 1}, ["pricce", "shop", "price"]),
        ((1, 2, "", None, 5), {}, ["__all__"]),
        ((1,), {"shop": 2}, ["shop"]),
    ],
)
def test_wrong_arguments_are_named_and_no_call_is_made(sell, values, named, fields):
    for method in (sell.bind, sell.enqueue):
        with pytest.raises(InvalidArguments) as error:
            method(*values, **named)
        assert sorted(error.value.errors) == sorted(fields)
    assert not Job.objects.exists()


def test_the_context_cannot_be_bound(sell, berlin):
    with pytest.raises(InvalidArguments, match="context: This argument does not exist"):
        sell.bind(berlin, Decimal(1), context=None)


def test_an_unknown_queue_is_found_when_it_is_enqueued(sell, berlin):
    call = sell.using(queue_name="nowhere").bind(berlin, Decimal(1))
    with pytest.raises(UnknownQueue):
        call.enqueue()
    assert not Job.objects.exists()


def test_arguments_that_are_too_large_are_refused_when_it_is_enqueued(sell, berlin, settings):
    settings.QORWORKER = {**settings.QORWORKER, "ARGUMENTS_BYTES": 2000}
    call = sell.bind(berlin, Decimal(1), note="x" * 3000)
    with pytest.raises(InvalidArguments, match=r"note: The arguments take"):
        call.enqueue()
    assert not Job.objects.exists()


def test_a_row_that_is_gone_by_then_fails_the_job_and_not_the_call(sell, berlin):
    call = sell.bind(berlin, Decimal(1))
    Shop.objects.all().delete()
    assert not sell.can_start(call.enqueue())


def test_a_unique_job_stays_unique():
    @job(name="test.once", unique=Unique(by=["number"], on_conflict="raise"))
    def once(number: int) -> None: ...

    call = once.bind(3)
    call.enqueue()
    with pytest.raises(AlreadyEnqueued):
        call.enqueue()
    assert once.using(unique=False).bind(number=3).enqueue().pk


def test_an_upload_is_kept_when_it_is_enqueued_and_each_time_in_full(settings, tmp_path):
    settings.MEDIA_ROOT = str(tmp_path)

    @job(name="test.upload")
    def upload(file: UploadedFile) -> None: ...

    def on_disk():
        return [path.read_bytes() for path in Path(tmp_path).rglob("*") if path.is_file()]

    call = upload.bind(file=ContentFile(b"sku;price", "a.csv"))
    assert on_disk() == []
    call.enqueue()
    call.enqueue()
    assert on_disk() == [b"sku;price"] * 2


def test_an_upload_that_is_closed_by_then_is_named_and_nothing_is_stored(settings, tmp_path):
    settings.MEDIA_ROOT = str(tmp_path / "media")
    (tmp_path / "a.csv").write_text("sku;price")

    @job(name="test.upload")
    def upload(file: UploadedFile, other: UploadedFile) -> None: ...

    with (tmp_path / "a.csv").open("rb") as file:
        call = upload.bind(file, ContentFile(b"x", "b.csv"))
    with pytest.raises(InvalidArguments, match=r"file: This file is closed\.$"):
        call.enqueue()
    assert not Job.objects.exists()
    assert not (tmp_path / "media").exists()


def test_a_form_of_the_project_cleans_it_as_a_whole():
    class TransferForm(forms.Form):
        source = forms.ModelChoiceField(Shop.objects.all())
        pieces = forms.IntegerField(initial=5)

        def clean(self) -> dict[str, Any]:
            if (self.cleaned_data.get("pieces") or 0) > 10:
                raise forms.ValidationError("Too many pieces.")
            return self.cleaned_data

    @job(name="test.transfer", form=TransferForm)
    def transfer(arguments: dict[str, Any]) -> int:
        return arguments["pieces"]

    shop = Shop.objects.create(name="Riga")
    call = transfer.bind(source=str(shop.pk))
    assert dict(call.arguments) == {"source": shop, "pieces": 5}
    assert call.enqueue().arguments == transfer.enqueue(source=shop).arguments
    with pytest.raises(InvalidArguments, match="Too many pieces"):
        transfer.bind(source=shop, pieces=11)


@pytest.mark.parametrize("show", [repr, str, "{!r}".format])
def test_it_never_shows_a_value(sell, berlin, show):
    call = sell.bind(berlin, Decimal("19.47"), note="canary", key="swordfish")
    text = show(call)
    assert text == "<Call of test.sell, with shop, price, note, key>"
    assert call.enqueue().arguments["key"] != "swordfish"


def test_without_arguments_it_says_so():
    @job(name="test.nothing")
    def nothing() -> None: ...

    assert repr(nothing.bind()) == "<Call of test.nothing, with no arguments>"
    assert nothing.bind().enqueue().arguments == {}


def test_it_is_frozen(sell, berlin):
    call = sell.bind(berlin, Decimal(1))
    with pytest.raises(dataclasses.FrozenInstanceError):
        call.job_type = None
    with pytest.raises(TypeError):
        call.arguments["price"] = 0


def test_it_is_copied_as_itself_and_never_pickled(sell, berlin):
    call = sell.bind(berlin, Decimal(1), key="swordfish")
    assert copy.copy(call) is copy.deepcopy([call])[0] is call
    with pytest.raises(TypeError, match="is never pickled") as error:
        pickle.dumps(call)
    assert "swordfish" not in str(error.value)


def test_a_definition_with_a_problem_is_named():
    @job(name="test.wrong")
    def wrong(number: int, /, *rest: int) -> None: ...

    for method in (wrong.bind, wrong.enqueue):
        with pytest.raises(JobTypeError, match=r"number: .*positional-only; rest: .*\*args"):
            method(3)
    with pytest.raises(JobTypeError, match="positional-only"):
        wrong.enqueue_raw({"number": 3})
    assert not Job.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_coroutines_bind_and_enqueue(sell, berlin):
    async def enqueue():
        call = await sell.abind(berlin, price=Decimal(1))
        made = [await call.aenqueue(), await sell.aenqueue_raw({"shop": berlin.pk, "price": "1"})]
        await sync_to_async(connections.close_all)()
        return made

    made = asyncio.run(enqueue())
    assert list(Job.objects.order_by("pk")) == made
    assert made[0].arguments == made[1].arguments


@pytest.mark.django_db(transaction=True)
def test_wrong_arguments_are_named_to_coroutines_too(sell):
    with pytest.raises(InvalidArguments) as error:
        asyncio.run(sell.abind(price=[1], shop="1", nothing=2))
    assert {"price", "nothing"} <= set(error.value.errors)
