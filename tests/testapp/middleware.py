"""Middleware as projects write it: each leaves a line in the job's log."""

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import MiddlewareNotUsed
from django.utils.decorators import async_only_middleware, sync_and_async_middleware


def outer(call_next):
    def middleware(context):
        context.add_log("outer in")
        result = call_next(context)
        print("outer out")
        return result

    return middleware


class Inner:
    def __init__(self, call_next):
        self.call_next = call_next

    def __call__(self, context):
        context.add_log("inner in")
        result = self.call_next(context)
        context.add_log("inner out")
        return result


@sync_and_async_middleware
def both(call_next):
    if not iscoroutinefunction(call_next):

        def middleware(context):
            context.add_log("plain")
            return call_next(context)

        return middleware

    async def amiddleware(context):
        context.add_log("awaited")
        return await call_next(context)

    return amiddleware


@async_only_middleware
def awaiting(call_next):
    async def middleware(context):
        context.add_log("only awaited")
        return await call_next(context)

    return middleware


class AwaitingClass:
    sync_capable, async_capable = False, True

    def __init__(self, call_next):
        self.call_next = call_next
        markcoroutinefunction(self)

    async def __call__(self, context):
        context.add_log("class awaited")
        return await self.call_next(context)


def unused(call_next):
    raise MiddlewareNotUsed


not_callable = "a text"
