"""Handlers of every kind: coroutines, forms, and those about which a checker knows little."""

from __future__ import annotations

import datetime as dt
from typing import Any, assert_type

from django import forms
from django.core.files.uploadedfile import UploadedFile

from qorworker import Call, Job, JobContext, job
from tests.testapp.models import Shop


@job
async def fetch(context: JobContext, address: str) -> bytes:
    return address.encode()


@job(max_attempts=3)
async def fetch_again(address: str, times: int = 1) -> bytes:
    return address.encode() * times


class TransferForm(forms.Form):
    pieces = forms.IntegerField(initial=1)


@job(form=TransferForm)
def transfer(context: JobContext, arguments: dict[str, Any]) -> int:
    return 1


@job(form=Shop)
async def create(arguments: Shop) -> str:
    return str(arguments)


@job
def any_value(payload: object) -> int:
    return 1


@job
def any_json(payload: Any, times: int) -> int:
    return times


@job
def names(context: JobContext, user: str, priority: str, run_after: str = "") -> int:
    return 1


@job
def json_in_the_middle(shop: Shop, data: dict[str, Any], times: int = 1) -> int:
    return times


@job(max_attempts=2)
def any_beside_a_context(context: JobContext, shop: Shop, data: dict[str, Any]) -> int:
    return 1


async def right(context: JobContext, shop: Shop) -> None:
    assert_type(fetch.bind("example.org"), Call[bytes])
    assert_type(await fetch(context, "example.org"), bytes)
    assert_type(await fetch_again("example.org", times=3), bytes)
    assert_type(await fetch.aenqueue(address="example.org"), Job)
    assert_type(transfer.bind(pieces=3), Call[int])
    assert_type(transfer.enqueue(), Job)
    assert_type(create.bind(name="Berlin"), Call[str])
    any_value.enqueue(payload=3)
    any_json.enqueue(payload=[1, 2], times=3)
    names.enqueue(user="ann", priority="high", run_after="never")
    json_in_the_middle.enqueue(shop, data={"a": 1})
    any_beside_a_context.enqueue(shop, data={"a": 1})


@job
def loops(context: JobContext, shop: Shop) -> None:
    for throttle in (lambda: 1.5, lambda: True, lambda: None, lambda: dt.timedelta(minutes=1)):
        list(context.iterate([1], throttle=throttle))
    context.iterate([1], throttle=None)

    context.iterate([1], throttle=lambda: "5")  # error: arg-type,return-value | reportArgumentType | "throttle"
    context.iterate([1], throttle=5)  # error: arg-type | reportArgumentType | "throttle"
    context.iterate([1], throttle=lambda item: 5)  # error: arg-type,misc | reportArgumentType | "throttle"


@job
async def loops_in_a_coroutine(context: JobContext) -> None:
    async for _ in context.aiterate([1], "key", chunk=2, total=1, text="", throttle=lambda: 0):
        await context.asave_checkpoint({"page": 1})
    if await context.acheckpoint():
        return

    for _ in context.aiterate([1]):  # error: attr-defined | reportGeneralTypeIssues | "iter"
        context.aiterate([1], throttle=5)  # error: arg-type | reportArgumentType | "throttle"


async def wrong(shop: Shop) -> None:
    fetch.enqueue(adress="example.org", address="x")  # error: call-arg | reportCallIssue | "adress"
    fetch_again.enqueue("example.org", "3")  # error: arg-type | reportArgumentType | "int"
    names.enqueue(user="ann", priority=3)  # error: arg-type | reportArgumentType | "str"
    json_in_the_middle.enqueue(shop, {}, "3")  # error: arg-type | reportArgumentType | "int"
    any_beside_a_context.enqueue(shop, "x")  # error: +arg-type | reportArgumentType | "dict"


@job
def takes_a_file(context: JobContext, file: UploadedFile[Any], shop: Shop) -> dict[str, Any]:
    return {}


@job
async def any_as_the_result(context: JobContext, shop: Shop) -> Any:
    return 1


async def beside_any(shop: Shop, context: JobContext, file: UploadedFile[Any]) -> None:
    assert_type(takes_a_file.enqueue(file=file, shop=shop), Job)
    assert_type(any_as_the_result.enqueue(shop), Job)
    await any_as_the_result(context, shop)

    takes_a_file.enqueue(file, shop="7")  # error: +arg-type | reportArgumentType | "Shop"
    takes_a_file.enqueue(file)  # error: +call-arg | reportCallIssue | "shop"
    takes_a_file.enqueue(file, shop, sohp=shop)  # error: +call-arg | reportCallIssue | "sohp"
    any_as_the_result.enqueue(3)  # error: +arg-type | reportArgumentType | "Shop"
    takes_a_file.enqeue(file)  # error: attr-defined | reportAttributeAccessIssue | "enqeue"
