"""What type checkers know of the decorators that ``job`` returns for its options. Nothing of this runs.

A handler that takes a ``JobContext`` first is called with it by the worker, so it is no parameter of the job type.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, final, overload

if TYPE_CHECKING:
    from qorworker.definitions.job_type import JobType
    from qorworker.execution.context import JobContext

P = ParamSpec("P")
R = TypeVar("R")


@final
class Anything:
    """Stands for a type that only ``Any`` and ``object`` take: such a parameter need not be the context."""


class JobDecorator(Protocol):
    """``job`` with options: the parameters of the handler are those of the job type."""

    @overload
    def __call__(self, function: Callable[Concatenate[Anything, P], Any], /) -> JobType[..., Any]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[JobContext, P], Coroutine[Any, Any, R]], /
    ) -> JobType[P, R, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[JobContext, P], R], /) -> JobType[P, R, R]: ...
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> JobType[P, R, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> JobType[P, R, R]: ...


class FormJobDecorator(Protocol):
    """``job`` with a form: the arguments are the fields of the form, which type checkers do not know."""

    @overload
    def __call__(
        self, function: Callable[..., Coroutine[Any, Any, R]], /
    ) -> JobType[..., R, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, function: Callable[..., R], /) -> JobType[..., R, R]: ...
