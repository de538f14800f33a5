from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal, assert_type

from qorworker import Call, Job, JobContext, JobType, Secret, job
from tests.testapp.models import Shop


@job
def raise_prices(
    context: JobContext, shop: Shop, percent: Decimal, rounding: Literal["cents", "whole"] = "cents"
) -> int:
    return 1


@job(group="Catalogue", max_attempts=3)
def with_options(context: JobContext, shop: Shop, *, percent: Decimal) -> int:
    return 1


@job
def without_context(first: int, second: int = 2, password: Secret[str] | None = None) -> str:
    return str(first)


@job
def two_numbers(first: int, second: int) -> str:
    return str(first + second)


@job(max_attempts=2)
def no_arguments() -> None: ...


async def right(shop: Shop, context: JobContext) -> None:
    assert_type(raise_prices.enqueue(shop, Decimal(2)), Job)
    assert_type(raise_prices.enqueue(shop=shop, percent=Decimal(2), rounding="whole"), Job)
    assert_type(await raise_prices.aenqueue(shop, percent=Decimal(2)), Job)
    assert_type(with_options.enqueue(shop, percent=Decimal(2)), Job)
    assert_type(without_context.enqueue(1, password=Secret("x")), Job)
    assert_type(no_arguments.enqueue(), Job)
    assert_type(raise_prices.enqueue_raw({"shop": "7", "percent": "2.5"}), Job)
    assert_type(await raise_prices.aenqueue_raw({"shop": 7, "percent": 2.5}), Job)
    assert_type(without_context.enqueue_many({"first": number} for number in range(3)), list[Job])
    assert_type(raise_prices(context, shop, percent=Decimal(2)), int)
    assert_type(without_context(1), str)


async def right_with_calls(shop: Shop) -> None:
    call = raise_prices.using(priority=50).bind(shop, percent=Decimal(2))
    assert_type(call, Call[int])
    assert_type(call.enqueue(), Job)
    assert_type(await call.aenqueue(), Job)
    assert_type(await without_context.abind(1), Call[str])
    several: list[Call[object]] = [call, without_context.bind(3)]
    del several[0]


def takes(any_type: JobType[..., Any], of_text: JobType[..., str], two: JobType[[int, int], object]) -> None: ...


takes(raise_prices, without_context, two_numbers)
takes(raise_prices, raise_prices, two_numbers)  # error: arg-type | reportArgumentType | "JobType["


async def wrong(shop: Shop, name: str) -> None:
    raise_prices.enqueue(shop=shop, percent=Decimal(2), precent=3)  # error: call-arg | reportCallIssue | "precent"
    raise_prices.enqueue(shop=shop)  # error: call-arg | reportCallIssue | "percent"
    raise_prices.enqueue()  # error: call-arg | reportCallIssue | "shop"
    raise_prices.enqueue(shop=name, percent=Decimal(2))  # error: arg-type | reportArgumentType | "Shop"
    raise_prices.enqueue(shop, Decimal(2), "euros")  # error: arg-type | reportArgumentType | "cents"
    raise_prices.enqueue(shop, "2.5")  # error: arg-type | reportArgumentType | "Decimal"
    raise_prices.enqueue(shop, Decimal(2), "cents", 4)  # error: call-arg | reportCallIssue | "argument"
    raise_prices.enqueue(shop, Decimal(2), shop=shop)  # error: misc | reportCallIssue | "shop"
    raise_prices.enqueue(None, Decimal(2))  # error: arg-type | reportArgumentType | "None"
    await raise_prices.aenqueue(shop)  # error: call-arg | reportCallIssue | "percent"
    raise_prices.bind(shop, percent="2")  # error: arg-type | reportArgumentType | "Decimal"
    await raise_prices.abind(shop)  # error: call-arg | reportCallIssue | "percent"
    raise_prices.using(priority=5).enqueue(shop)  # error: call-arg | reportCallIssue | "percent"
    raise_prices.enqueue_raw([1])  # error: arg-type | reportArgumentType | "Mapping"
    with_options.enqueue(shop, Decimal(2))  # error: call-arg | reportCallIssue | "ositional argument"
    without_context.enqueue("1")  # error: arg-type | reportArgumentType | "int"
    without_context.enqueue(1, password="x")  # error: arg-type | reportArgumentType | "Secret"
    without_context.enqueue_many([1, 2])  # error: list-item | reportArgumentType | "int"
    no_arguments.enqueue(1)  # error: call-arg | reportCallIssue | "argument"
    raise_prices.enqeue(shop)  # error: attr-defined | reportAttributeAccessIssue | "enqeue"
    raise_prices.bind(shop, Decimal(2)).arguments["shop"] = 3  # error: index | reportIndexIssue | "Mapping"
