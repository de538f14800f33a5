"""Decorators for methods that change rows. All processes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.views.decorators.debug import sensitive_variables

from qorworker.models.locks import begin_again
from qorworker.models.own import write_database

P = ParamSpec("P")
R = TypeVar("R")
Method = TypeVar("Method", bound=Callable[..., Any])


def alters_data(method: Method) -> Method:
    """Keep templates from calling *method*: ``{{ job.cancel }}`` would cancel whenever the page is shown."""
    method.alters_data = True  # type: ignore[attr-defined]
    return method


def begins_again(method: Method) -> Method:
    """Let ``begin_again`` call a verb of one row."""

    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return begin_again(partial(method, self, *args, **kwargs), write_database(self))

    return call  # type: ignore[return-value]


def queryset_verb(method: Method) -> Method:
    """Do the same for a verb of a QuerySet. Managers do not offer it: ``all()`` has to be written to name all rows."""
    method.queryset_only = True  # type: ignore[attr-defined]
    return alters_data(method)


def asynchronous(method: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Make a coroutine of a method that changes rows: ``await job.acancel()`` does what ``job.cancel()`` does."""

    @alters_data
    @wraps(method)
    @sensitive_variables()
    async def coroutine(*args: P.args, **kwargs: P.kwargs) -> R:
        # As a closure: what is passed along stands in the frames of asgiref, and so in reports of errors.
        @sensitive_variables()
        def call() -> R:
            return method(*args, **kwargs)

        return await sync_to_async(call)()

    coroutine.__name__ = f"a{method.__name__}"
    return coroutine
