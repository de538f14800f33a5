"""Middleware: what a project and a job type put around every run of a job. Wherever a job runs.

As in Django, a middleware is made by a factory, a function or a class: it is given ``call_next`` and returns what is
called with the ``JobContext``. It runs around the handler and nothing else: the arguments have been loaded, and with
``atomic=True`` the transaction is open.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction
from django.core.exceptions import ImproperlyConfigured, MiddlewareNotUsed
from django.utils.module_loading import import_string

from qorworker.conf import settings
from qorworker.context import JobContext

if TYPE_CHECKING:
    from qorworker.registry import JobType

Handler = Callable[[JobContext], Any]
Factory = Callable[[Handler], Handler]

_chains: dict[str, tuple[Any, Any, Handler]] = {}


def around(job_type: JobType[Any]) -> Handler:
    """The job's function with all its middleware around it: called with the context, it returns what that returns.

    Made once for each type and process. Raises ``ImproperlyConfigured`` for middleware that cannot be made.
    """
    chosen, function = settings.MIDDLEWARE, job_type.function
    known = _chains.get(job_type.name)
    if known is None or known[0] is not chosen or known[1] is not function:  # they change, as they do in tests
        known = _chains[job_type.name] = (chosen, function, _made(job_type))
    return known[2]


def problem(chosen: str | Factory, job_types: Iterable[JobType[Any]]) -> str:
    """Why a middleware cannot be around jobs of these types; empty if it can."""
    try:
        factory = _loaded(chosen)
        for job_type in job_types:
            _check(chosen, factory, job_type)
    except ImproperlyConfigured as error:
        return str(error)
    return ""


def _made(job_type: JobType[Any]) -> Handler:
    call: Any = _handler(job_type)
    for chosen in reversed((*settings.MIDDLEWARE, *job_type.middleware)):
        factory = _loaded(chosen)
        _check(chosen, factory, job_type)
        if iscoroutinefunction(call) and not getattr(factory, "async_capable", False):
            call = _run_through(call)
        try:
            outer = factory(call)
        except MiddlewareNotUsed:
            continue
        if not callable(outer):
            raise ImproperlyConfigured(f"The middleware {_name_of(chosen)} returned {outer!r}, which cannot be called.")
        call = outer
    return _run_through(call) if iscoroutinefunction(call) else call


def _loaded(chosen: str | Factory) -> Factory:
    if not isinstance(chosen, str):
        return chosen
    try:
        found = import_string(chosen)
    except ImportError as error:
        raise ImproperlyConfigured(f"The middleware {chosen} cannot be imported: {error}") from error
    if not callable(found):
        raise ImproperlyConfigured(f"The middleware {chosen} cannot be called: it is a {type(found).__name__}.")
    return found  # type: ignore[no-any-return]


def _check(chosen: str | Factory, factory: Factory, job_type: JobType[Any]) -> None:
    # The flags are Django's: see django.utils.decorators.
    if not getattr(factory, "sync_capable", True) and not inspect.iscoroutinefunction(job_type.function):
        raise ImproperlyConfigured(
            f"The middleware {_name_of(chosen)} is for coroutines only, and {job_type.place} is a plain function."
        )


def _name_of(chosen: str | Factory) -> str:
    return chosen if isinstance(chosen, str) else f"{chosen.__module__}.{getattr(chosen, '__qualname__', chosen)}"


def _handler(job_type: JobType[Any]) -> Callable[[JobContext], Any]:
    function, context_parameter = job_type.function, job_type.context_parameter

    def arguments(context: JobContext) -> dict[str, Any]:
        context.was_called = True
        given = dict(context.arguments)
        if context_parameter:
            given[context_parameter] = context
        return given

    def call(context: JobContext) -> Any:
        return function(**arguments(context))

    async def acall(context: JobContext) -> Any:
        return await function(**arguments(context))

    return acall if inspect.iscoroutinefunction(function) else call


def _run_through(call: Callable[[JobContext], Any]) -> Handler:
    """A coroutine function as a plain one."""

    def run(context: JobContext) -> Any:
        return asyncio.run(call(context))

    return run
