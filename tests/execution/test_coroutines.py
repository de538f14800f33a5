"""Loops and checkpoints in coroutines."""

import asyncio

import pytest
from django.core.exceptions import SynchronousOnlyOperation

from qorworker import JobContext, job
from qorworker.definitions.registry import registry
from qorworker.exceptions import JobAborted
from qorworker.execution.loops import AttemptSuspended
from qorworker.testing import run_job
from tests.execution.test_context import Records
from tests.execution.test_loops import checkpoint, make, resumed
from tests.testapp.models import Shop


@pytest.fixture
def records():
    return Records()


@pytest.fixture
def declare():
    before = dict(registry._types)
    yield lambda function, **options: job(name=f"test.{function.__name__}", **options)(function)
    registry._types.clear()
    registry._types.update(before)


async def all_of(loop):
    return [item async for item in loop]


def test_a_loop_goes_on_behind_the_last_item_that_was_done(records):
    async def until_the_third(context):
        async for item in context.aiterate([1, 2, 3, 4]):
            assert item != 3

    context = make(records)
    with pytest.raises(AssertionError):
        asyncio.run(until_the_third(context))
    context.flush()
    assert asyncio.run(all_of(resumed(records).aiterate([1, 2, 3, 4]))) == [3, 4]


def test_it_takes_what_iterate_takes(records):
    asked = []
    loop = make(records).aiterate(
        [1, 2], "k", chunk=1, total=4, text="{index} of {total}", throttle=lambda: asked.append(1)
    )
    assert asyncio.run(all_of(loop)) == [1, 2]
    assert len(asked) == 2
    assert checkpoint(records)["loops"]["k"][1:] == [2, True]
    assert records.of("progress")[:2] == [[None, "1 of 4"], [0, None]]


def test_after_a_break_another_loop_may_begin(records):
    async def two(context):
        async for _ in context.aiterate([1, 2], "a"):
            break
        return await all_of(context.aiterate([3], "b"))

    assert asyncio.run(two(make(records))) == [3]


@pytest.mark.parametrize(
    ("requests", "error"),
    [({"suspend_requested": lambda: True}, AttemptSuspended), ({"abort_requested": lambda: True}, JobAborted)],
)
def test_it_ends_between_two_items(records, requests, error):
    with pytest.raises(error):
        asyncio.run(all_of(make(records, **requests).aiterate([1])))


def test_an_item_whose_wait_was_cancelled_is_not_left_out(records):
    async def impatient(context):
        loop = context.aiterate([1, 2, 3])
        items = [await anext(loop)]
        waiting = asyncio.ensure_future(anext(loop))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return items + await all_of(loop)

    assert asyncio.run(impatient(make(records))) == [1, 2, 3]


def test_two_coroutines_cannot_share_it(records):
    async def shared(context):
        loop = context.aiterate([1, 2, 3])
        return await asyncio.gather(anext(loop), anext(loop), return_exceptions=True)

    first, second = asyncio.run(shared(make(records)))
    assert first == 1
    assert isinstance(second, RuntimeError)
    assert "two coroutines at once" in str(second)


def test_an_error_of_the_loop_is_raised_at_each_step(records):
    async def twice(loop):
        for _ in range(2):
            with pytest.raises(TypeError, match="cannot go on in the middle of a set"):
                await anext(loop)

    asyncio.run(twice(make(records).aiterate({1, 2})))


@pytest.mark.parametrize(
    ("verb", "instead"),
    [
        (lambda context: context.iterate([1]), "aiterate"),
        (lambda context: context.checkpoint, "acheckpoint"),
        (lambda context: context.save_checkpoint(1), "asave_checkpoint"),
    ],
)
def test_what_reads_the_database_says_what_to_use_instead(records, verb, instead):
    async def handler(context):
        verb(context)

    with pytest.raises(SynchronousOnlyOperation, match=f"in a coroutine: use .*{instead}"):
        asyncio.run(handler(make(records)))


def test_a_checkpoint_of_the_handler_is_there_in_the_next_attempt(records):
    async def handler(context):
        before = await context.acheckpoint()
        await context.asave_checkpoint({"page": 2})
        return before, await context.acheckpoint()

    assert asyncio.run(handler(make(records))) == (None, {"page": 2})
    assert asyncio.run(resumed(records).acheckpoint()) == {"page": 2}


@pytest.mark.django_db(transaction=True)
def test_rows_are_gone_over_and_the_next_attempt_goes_on(declare):
    Shop.objects.bulk_create(Shop(name=name) for name in "abcd")
    failed = []

    async def mark(context: JobContext) -> None:
        async for shop in context.aiterate(Shop.objects, chunk=2):
            if shop.name == "c" and not failed:
                failed.append(shop)
                raise ZeroDivisionError
            shop.name += "!"
            await shop.asave()

    mark_shops = declare(mark, max_attempts=2)
    first = run_job(mark_shops)
    assert first.status == "scheduled"
    assert run_job(first.job).status == "done"
    assert list(Shop.objects.order_by("pk").values_list("name", flat=True)) == ["a!", "b!", "c!", "d!"]
