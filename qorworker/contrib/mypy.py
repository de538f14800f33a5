"""A plugin for mypy: the parameters of a job type, also of a function with ``Any`` in its types. Only mypy runs it.

An argument with ``Any`` in it may match several overloads, and then mypy does not choose. Whether a function takes a
context would decide between those of ``job``, so without this plugin mypy accepts all arguments of such a job type.
"""

from __future__ import annotations

from collections.abc import Callable

from mypy.nodes import ArgKind
from mypy.plugin import FunctionContext, MethodContext, Plugin
from mypy.types import AnyType, CallableType, Instance, Parameters, Type, get_proper_type

JOB = "qorworker.definitions.registry.job"
DECORATOR = "qorworker.definitions.decorators.JobDecorator.__call__"
JOB_TYPE = "qorworker.definitions.job_type.JobType"
CONTEXT = "qorworker.execution.context.JobContext"
COROUTINES = ("typing.Coroutine", "types.CoroutineType")


class QorWorkerPlugin(Plugin):
    def get_function_hook(self, fullname: str) -> Callable[[FunctionContext], Type] | None:
        return made_of_function if fullname == JOB else None

    def get_method_hook(self, fullname: str) -> Callable[[MethodContext], Type] | None:
        return made_of_function if fullname == DECORATOR else None


def made_of_function(context: FunctionContext | MethodContext) -> Type:
    """Return the job type that is made of a function; for any other call of ``job`` what mypy says."""
    made = get_proper_type(context.default_return_type)
    actual = get_proper_type(context.arg_types[0][0]) if context.arg_types and context.arg_types[0] else None
    if not isinstance(made, Instance) or made.type.fullname != JOB_TYPE:
        return context.default_return_type
    if not isinstance(actual, CallableType) or actual.variables:
        return context.default_return_type
    return made.copy_modified(args=[_parameters(actual), _result(actual.ret_type), actual.ret_type])


def _parameters(function: CallableType) -> Parameters:
    """Return the parameters without that for the context, wherever it stands."""
    kept = [place for place in range(len(function.arg_types)) if not _is_context(function, place)]
    return Parameters(
        [function.arg_types[place] for place in kept],
        [function.arg_kinds[place] for place in kept],
        [function.arg_names[place] for place in kept],
        is_ellipsis_args=function.is_ellipsis_args,
    )


def _is_context(function: CallableType, place: int) -> bool:
    given = get_proper_type(function.arg_types[place])
    if function.arg_kinds[place] in (ArgKind.ARG_STAR, ArgKind.ARG_STAR2):
        return False
    if isinstance(given, AnyType):
        return function.arg_names[place] == "context"
    return isinstance(given, Instance) and given.type.fullname == CONTEXT


def _result(returned: Type) -> Type:
    """Return what a coroutine returns in the end; any other type unchanged."""
    proper = get_proper_type(returned)
    is_coroutine = isinstance(proper, Instance) and proper.type.fullname in COROUTINES
    return proper.args[2] if is_coroutine and isinstance(proper, Instance) else returned


def plugin(version: str) -> type[Plugin]:
    """What mypy calls to get the plugin."""
    return QorWorkerPlugin
