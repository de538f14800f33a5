"""The job type that a task becomes: its card and form in the admin, its way from the row to the call. All processes."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any

from asgiref.sync import async_to_sync
from django.utils.translation import gettext as _

from qorworker.arguments import Arguments, codec, signature
from qorworker.arguments.definition import Definition
from qorworker.backends.tasks import results
from qorworker.backends.tasks.context import JobTaskContext
from qorworker.compat import Task, normalize_json
from qorworker.conf import settings
from qorworker.context import JobContext
from qorworker.exceptions import InvalidArguments, JobTypeError
from qorworker.options import NAMES
from qorworker.registry import JobType, registry

CONTEXT = "qorworker context"  # not a name that a parameter can have
POSITIONAL = "*"  # how many of the stored arguments were passed by position
CLEANED = "$cleaned"  # around what a form made of a typed argument; anything else is passed on as it was given
TAGS = (codec.SECRET, codec.MODEL, codec.FILE)


class TaskType(JobType[Any]):
    """A task as a job type. Calling it calls the task's function."""

    arguments: TaskArguments

    def __init__(self, task: Task[Any, Any]) -> None:
        chosen = {name: value for name in NAMES if (value := getattr(task, name, None)) not in (None, "")}
        chosen |= {"name": task.module_path, "priority": int(task.priority)}
        super().__init__(task.func, chosen)
        self.task = task
        self.arguments = TaskArguments(self.name, stand_in(task))
        self.function = self._runner()

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self.task.call(*args, **kwargs)

    needs_result = True

    def text_of(self, returned: Any) -> str:
        return returned_text(returned)

    def _runner(self) -> Callable[..., Any]:
        task, arguments = self.task, self.arguments

        def run(**loaded: Any) -> Any:
            context: JobContext = loaded.pop(CONTEXT)
            args, kwargs = arguments.split(loaded)
            if task.takes_context:
                result = results.find(str(context.job_id), task.backend)
                args = [JobTaskContext(task_result=result, job=context), *args]
            returned = task.func(*args, **kwargs)
            if inspect.iscoroutine(returned):
                returned = async_to_sync(_awaited)(returned)
            return returned

        run.__wrapped__ = task.func  # type: ignore[attr-defined]
        return run


async def _awaited(returned: Any) -> Any:
    return await returned


def returned_text(value: Any) -> str:
    """What a task returned as JSON. Raises ``TypeError`` or ``ValueError`` for what that cannot carry."""
    return json.dumps(normalize_json(value), allow_nan=False, ensure_ascii=False)


class Given(dict[str, Any]):
    """Arguments as the framework passes them: JSON already, to be stored and passed on as they are."""


class TaskArguments(Arguments):
    """The arguments of a task. What the framework stored reaches the function unchanged, what a form stored typed."""

    @property
    def definition(self) -> Definition:
        made = super().definition
        if made.problems and made.is_ready:  # what has no field of its own is asked for as JSON
            asked = inspect.signature(self.function).parameters.values()
            plain = [each.replace(annotation=Any) if each.name in made.problems else each for each in asked]
            self.function.__signature__ = inspect.Signature(plain)  # type: ignore[attr-defined]
            made = super().definition
        return made

    @property
    def context_parameter(self) -> str | None:
        return CONTEXT

    def given_by(self, task: Task[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Given:
        """The arguments of a call by name. Raises ``TypeError`` if the function would not take them."""
        plain_args, plain_kwargs = (_normal(part) for part in (list(args), dict(kwargs)))
        found = inspect.signature(task.func).bind(*([None] if task.takes_context else []), *plain_args, **plain_kwargs)
        if task.takes_context:
            found.arguments.pop("context")
        given = Given(
            {name: list(value) if isinstance(value, tuple) else value for name, value in found.arguments.items()}
        )
        if plain_args:
            given[POSITIONAL] = len(plain_args)
        return given

    def call_of(self, stored: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The positional and the keyword arguments with which a stored task was enqueued."""
        return self.split(_opened(stored), stored.get(POSITIONAL, 0))

    def split(self, named: Mapping[str, Any], by_position: float | None = None) -> tuple[list[Any], dict[str, Any]]:
        """*named* as a call: so many by position, else as few as the function takes."""
        known = _parameters(self.function)
        more = [
            value for name, value in named.items() if known[name].kind is inspect.Parameter.VAR_POSITIONAL and value
        ]
        by_position = (inf if more else 0) if by_position is None else by_position
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for name, parameter in known.items():
            if name not in named or parameter.kind is parameter.VAR_POSITIONAL:
                continue
            if parameter.kind is parameter.VAR_KEYWORD:
                kwargs |= named[name]
            elif parameter.kind is parameter.POSITIONAL_ONLY or (
                parameter.kind is parameter.POSITIONAL_OR_KEYWORD and len(args) < by_position
            ):
                args.append(named[name])
            else:
                kwargs[name] = named[name]
        return args + [item for items in more for item in items], kwargs

    def clean(self, values: Mapping[str, Any], files: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return values if isinstance(values, Given) else super().clean(values, files)

    def dump(self, cleaned: Mapping[str, Any], kept: Mapping[str, Any] | None = None) -> dict[str, Any]:
        if not isinstance(cleaned, Given):
            return {name: _marked(cleaned.get(name), value) for name, value in super().dump(cleaned, kept).items()}
        if (size := len(json.dumps(cleaned))) > settings.ARGUMENTS_BYTES:
            told = f"The arguments take {size} bytes, and {settings.ARGUMENTS_BYTES} are allowed."
            raise InvalidArguments(self.job_type, {"__all__": [told]})
        return dict(cleaned)

    def load(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        loaded: dict[str, Any] = {}
        errors: dict[str, list[str]] = {}
        typed = {name: _open(value) for name, value in stored.items() if _is_typed(value)}
        known = _parameters(self.function)
        for name in stored:
            if name not in known and name != POSITIONAL:
                errors[name] = [_("This argument no longer exists.")]
        if errors:
            raise InvalidArguments(self.job_type, errors)
        if typed:
            loaded = {name: codec.load(self.fields[name], name, value) for name, value in typed.items()}
        return {**{name: value for name, value in stored.items() if name != POSITIONAL}, **loaded}

    def reuse(self, stored: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        if not changes and not any(map(_is_typed, stored.values())):
            return Given(stored)
        return super().reuse(_opened(stored), changes)

    def change(self, stored: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        return super().change(_opened(stored), changes)

    def identity(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        return super().identity(_opened(stored))

    def compare(self, known: Mapping[str, Any], stored: Mapping[str, Any]) -> Any:
        return super().compare(known, _opened(stored))

    def display(self, stored: Mapping[str, Any]) -> Any:
        return super().display(_opened(stored))

    def summary(self, stored: Mapping[str, Any], limit: int = 80) -> str:
        return super().summary(_opened(stored), limit)

    def initial(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        return super().initial(_opened(stored))


def _normal(value: Any) -> Any:
    """As it will come back from the database. Raises ``TypeError``, or ``ValueError`` for NaN and infinities."""
    return json.loads(json.dumps(normalize_json(value), allow_nan=False))


def _is_typed(value: Any) -> bool:
    return isinstance(value, Mapping) and (CLEANED in value or any(tag in value for tag in TAGS))


def _open(value: Any) -> Any:
    return value[CLEANED] if isinstance(value, Mapping) and set(value) == {CLEANED} else value


def _opened(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _open(value) for name, value in stored.items() if name != POSITIONAL}


def _marked(cleaned: Any, dumped: Any) -> Any:
    if isinstance(dumped, Mapping) and any(tag in dumped for tag in TAGS):
        return dumped
    try:
        is_plain = type(cleaned) is type(dumped) and cleaned == dumped
    except Exception:  # whatever a value of somebody's own does when it is compared
        is_plain = False
    return dumped if is_plain else {CLEANED: dumped}


def _parameters(stand_in: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    parameters: Mapping[str, inspect.Parameter] = stand_in.parameters  # type: ignore[attr-defined]
    return parameters


def stand_in(task: Task[Any, Any]) -> Callable[..., Any]:
    """A function with the task's parameters as a form can ask for them: what has no field of its own is JSON."""
    found = inspect.signature(task.func).parameters
    given = {name: each for place, (name, each) in enumerate(found.items()) if place or not task.takes_context}

    def arguments() -> None:
        """Never called."""

    arguments.__name__, arguments.__qualname__ = task.func.__name__, task.func.__qualname__
    arguments.__module__, arguments.__doc__ = task.func.__module__, task.func.__doc__
    arguments.__wrapped__ = task.func  # type: ignore[attr-defined]
    arguments.parameters = given  # type: ignore[attr-defined]
    asked = [_asked(each) for each in given.values()]
    arguments.__signature__ = inspect.Signature(asked)  # type: ignore[attr-defined]
    return arguments


def _asked(parameter: inspect.Parameter) -> inspect.Parameter:
    if parameter.kind is parameter.VAR_POSITIONAL:
        parameter = parameter.replace(annotation=list, default=[], kind=parameter.KEYWORD_ONLY)
    elif parameter.kind is parameter.VAR_KEYWORD:
        parameter = parameter.replace(annotation=dict, default={}, kind=parameter.KEYWORD_ONLY)
    annotation = Any if parameter.annotation is signature.MISSING else parameter.annotation
    return parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=annotation)


def register(task: Task[Any, Any]) -> None:
    """Make a job type of a task, unless there is one already. Raises ``JobTypeError``."""
    known = registry.find(task.module_path)
    if isinstance(known, TaskType) and known.task.func is task.func:
        return
    if known is not None and not isinstance(known, TaskType):
        raise JobTypeError(f"There is a job type called {task.module_path!r} already: {known.place}.")
    registry.unregister(task.module_path)  # its module was imported anew
    registry.register(TaskType(task))


def of_task(task: Task[Any, Any]) -> TaskType:
    found = registry.get(task.module_path)
    assert isinstance(found, TaskType)
    return found
