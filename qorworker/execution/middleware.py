"""Middleware: code that a project and a job type put around every run of a job. Wherever a job runs.

As in Django, a factory, a function or a class, makes a middleware: it gets ``call_next`` and returns a callable for the
``JobContext``. A middleware runs around the handler alone: the arguments have been loaded, and with ``atomic=True`` the
transaction is open.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction
from django.core.exceptions import ImproperlyConfigured, MiddlewareNotUsed
from django.utils.module_loading import import_string

from qorworker.conf import settings
from qorworker.execution import coroutines
from qorworker.execution.context import JobContext

if TYPE_CHECKING:
    from qorworker.definitions.job_type import JobType

Handler = Callable[[JobContext], Any]
Factory = Callable[[Handler], Handler]

Chain = tuple[Any, Any, Handler, Handler]  # of these settings, of this function; as it is made, as it is called

_chains: dict[str, Chain] = {}


def around(job_type: JobType[..., Any]) -> Handler:
    """Return the job's function with all its middleware around it. A coroutine runs in an event loop of its own.

    It is made once for each type and process. Raises ``ImproperlyConfigured`` for middleware that cannot be made.
    """
    return _chain(job_type)[3]


def around_coroutine(job_type: JobType[..., Any]) -> Handler:
    """Return the same as a coroutine function, for a type whose jobs share an event loop."""
    return _chain(job_type)[2]


def _chain(job_type: JobType[..., Any]) -> Chain:
    chosen, function = settings.MIDDLEWARE, job_type.function
    chain = _chains.get(job_type.name)
    if chain is None or chain[0] is not chosen or chain[1] is not function:  # both may change in tests
        made = _made(job_type)
        runnable: Handler = _run_through(made) if iscoroutinefunction(made) else made
        chain = _chains[job_type.name] = (chosen, function, made, runnable)
    return chain


def problem(chosen: str | Factory, job_types: Iterable[JobType[..., Any]]) -> str:
    """Return why a middleware does not fit jobs of these types. Empty if it does."""
    try:
        factory = _loaded(chosen)
        for job_type in job_types:
            _check(chosen, factory, job_type)
    except ImproperlyConfigured as error:
        return str(error)
    return ""


def _made(job_type: JobType[..., Any]) -> Handler:
    call: Handler = _handler(job_type)
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
        if job_type.concurrency and not iscoroutinefunction(call):
            raise ImproperlyConfigured(_occupies(chosen, job_type))
    return call


def _loaded(chosen: str | Factory) -> Factory:
    if not isinstance(chosen, str):
        return chosen
    try:
        factory = import_string(chosen)
    except ImportError as error:
        raise ImproperlyConfigured(f"The middleware {chosen} cannot be imported: {error}") from error
    if not callable(factory):
        raise ImproperlyConfigured(f"The middleware {chosen} cannot be called: it is a {type(factory).__name__}.")
    return factory  # type: ignore[no-any-return]


def _check(chosen: str | Factory, factory: Factory, job_type: JobType[..., Any]) -> None:
    # The flags are Django's: see django.utils.decorators.
    if not getattr(factory, "sync_capable", True) and not inspect.iscoroutinefunction(job_type.function):
        raise ImproperlyConfigured(
            f"The middleware {_name_of(chosen)} is for coroutines only, and {job_type.place} is a plain function."
        )
    if job_type.concurrency and not getattr(factory, "async_capable", False):
        raise ImproperlyConfigured(_occupies(chosen, job_type))


def _occupies(chosen: str | Factory, job_type: JobType[..., Any]) -> str:
    return (
        f"The middleware {_name_of(chosen)} is for plain functions, and jobs of {job_type.place} share an event loop"
        " (concurrency), which it would occupy. Make it async_capable."
    )


def _name_of(chosen: str | Factory) -> str:
    return chosen if isinstance(chosen, str) else f"{chosen.__module__}.{getattr(chosen, '__qualname__', chosen)}"


def _handler(job_type: JobType[..., Any]) -> Callable[[JobContext], Any]:
    function, context_parameter = job_type.function, job_type.context_parameter

    def arguments(context: JobContext) -> dict[str, Any]:
        context.was_called = True
        given = dict(context.arguments)
        if context_parameter:
            given[context_parameter] = context
        return given

    def call(context: JobContext) -> Any:
        try:
            return function(**arguments(context))
        finally:
            context.end_loops()  # a transaction that one has open would include the middleware

    async def acall(context: JobContext) -> Any:
        try:
            return await function(**arguments(context))
        finally:
            context.end_loops()

    return acall if inspect.iscoroutinefunction(function) else call


def _run_through(call: Callable[[JobContext], Any]) -> Handler:
    """Return a coroutine function as a plain function."""

    def run(context: JobContext) -> Any:
        return coroutines.run(call(context))

    return run
