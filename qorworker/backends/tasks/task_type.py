"""The job type of a task: its card and form in the admin, its way from the row to the call. All processes."""

from __future__ import annotations

import inspect
import json
import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from math import inf
from typing import Any

from asgiref.sync import async_to_sync
from django.utils.translation import gettext as _

from qorworker.arguments import Arg, Arguments, codec, signature
from qorworker.arguments.definition import Definition
from qorworker.arguments.mapping import form_field
from qorworker.arguments.secrets import Secret
from qorworker.arguments.spec import unwrap
from qorworker.arguments.values import is_password
from qorworker.backends.tasks.context import JobTaskContext
from qorworker.compat import Task, normalize_json
from qorworker.conf import settings
from qorworker.definitions.job_type import JobType
from qorworker.definitions.options import NAMES
from qorworker.definitions.registry import registry
from qorworker.exceptions import InvalidArguments, JobTypeError
from qorworker.execution.context import JobContext

CONTEXT = "qorworker context"  # not a name that a parameter can have
POSITIONAL = "*"  # how many of the stored arguments were passed by position
CLEANED = "$cleaned"  # around what a form made of a typed argument; anything else is passed on as it was given
TAGS = (codec.SECRET, codec.MODEL, codec.FILE)


class TaskType(JobType[..., Any]):
    """A task as a job type. To call it calls the function of the task."""

    arguments: TaskArguments

    def __init__(self, task: Task[Any, Any]) -> None:
        given = {name: value for name in NAMES if (value := getattr(task, name, None)) not in (None, "")}
        chosen = {**given, "name": task.module_path, "priority": int(task.priority)}
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
                result = task.get_backend().get_result(str(context.job_id))
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
    """Return the return value of a task as JSON, or raise ``TypeError`` or ``ValueError`` if JSON cannot carry it."""
    return json.dumps(normalize_json(value), allow_nan=False, ensure_ascii=False)


class Given(dict[str, Any]):
    """Arguments as the framework passes them. They are JSON already, and stored unchanged, except for secrets."""


class TaskArguments(Arguments):
    """The arguments of a task. Code's values reach the function unchanged; values of forms, and secrets, get their
    types.
    """

    @property
    def definition(self) -> Definition:
        made = super().definition
        if made.problems and made.is_ready:  # what has no field of its own is parameters for as JSON
            parameters = inspect.signature(self.function).parameters.values()
            plain = [each.replace(annotation=Any) if each.name in made.problems else each for each in parameters]
            self.function.__signature__ = inspect.Signature(plain)  # type: ignore[attr-defined]
            made = super().definition
        made.positional = tuple(made.fields)  # of which the stand-in takes all by name
        return made

    @property
    def context_parameter(self) -> str | None:
        return CONTEXT

    def given_by(self, task: Task[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Given:
        """Return the arguments of a call by name, or raise ``TypeError`` if the function does not take them."""
        plain_args, plain_kwargs = (_normal(part) for part in (list(args), dict(kwargs)))
        bound = inspect.signature(task.func).bind(*([None] if task.takes_context else []), *plain_args, **plain_kwargs)
        if task.takes_context:
            bound.arguments.pop("context")
        given = Given(
            {name: list(value) if isinstance(value, tuple) else value for name, value in bound.arguments.items()}
        )
        if plain_args:
            given[POSITIONAL] = len(plain_args)
        return given

    def call_of(self, stored: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return the positional and the keyword arguments with which a stored task was enqueued."""
        return self.split(_opened(stored), stored.get(POSITIONAL, 0))

    def split(self, named: Mapping[str, Any], by_position: float | None = None) -> tuple[list[Any], dict[str, Any]]:
        """Return *named* as positional and keyword arguments.

        :param by_position: how many are positional; None: as few as the function allows.
        """
        parameters = _parameters(self.function)
        more = [
            value
            for name, value in named.items()
            if parameters[name].kind is inspect.Parameter.VAR_POSITIONAL and value
        ]
        by_position = (inf if more else 0) if by_position is None else by_position
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for name, parameter in parameters.items():
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

    def dump_plain(self, many: Iterable[Mapping[str, Any]]) -> None:
        """Return None: what the framework passes is stored in a way of its own."""

    def dump(
        self, cleaned: Mapping[str, Any], kept: Mapping[str, Any] | None = None, *, person: Any = None
    ) -> dict[str, Any]:
        if not isinstance(cleaned, Given):
            dumped = super().dump(cleaned, kept, person=person)
            return {name: _marked(cleaned.get(name), value) for name, value in dumped.items()}
        if (size := len(json.dumps(cleaned))) > settings.ARGUMENTS_BYTES:
            text = f"The arguments take {size} bytes, and {settings.ARGUMENTS_BYTES} are allowed."
            raise InvalidArguments(self.job_type, {"__all__": [text]})
        secret = {name: field for name, field in self.definition.fields.items() if codec.is_secret(field)}
        return {
            name: self._secret(secret[name], name, value) if name in secret else value
            for name, value in cleaned.items()
        }

    def _secret(self, field: Any, name: str, value: Any) -> Any:
        """Encrypt a secret: the only argument that is not stored as the framework passed it."""
        if value is not None and not isinstance(value, str):
            raise InvalidArguments(self.job_type, {name: [_("This secret is not a string.")]})
        return codec.dump(field, value)

    def load(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        loaded: dict[str, Any] = {}
        errors: dict[str, list[str]] = {}
        typed = {name: _open(value) for name, value in stored.items() if _is_typed(value)}
        parameters = _parameters(self.function)
        for name in stored:
            if name not in parameters and name != POSITIONAL:
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

    def change(self, stored: Mapping[str, Any], changes: Mapping[str, Any], *, person: Any = None) -> dict[str, Any]:
        return super().change(_opened(stored), changes, person=person)

    def identity(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        return super().identity(_opened(stored))

    def compare(self, fields: Mapping[str, Any], stored: Mapping[str, Any]) -> Any:
        return super().compare(fields, _opened(stored))

    def display(self, stored: Mapping[str, Any]) -> Any:
        return super().display(_opened(stored))

    def summary(self, stored: Mapping[str, Any], limit: int = 80, *, labels: bool = True) -> str:
        return super().summary(_opened(stored), limit, labels=labels)

    def initial(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        return super().initial(_opened(stored))


def _normal(value: Any) -> Any:
    """Return *value* as it will come back from the database.

    :raises TypeError: for a type that JSON cannot carry.
    :raises ValueError: for NaN and infinities.
    """
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
    except Exception:  # comparisons of other classes may fail in any way
        is_plain = False
    return dumped if is_plain else {CLEANED: dumped}


def _parameters(stand_in: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    parameters: Mapping[str, inspect.Parameter] = stand_in.parameters  # type: ignore[attr-defined]
    return parameters


def stand_in(task: Task[Any, Any]) -> Callable[..., Any]:
    """Return a function with the task's parameters as a form can have them: a type without a field becomes JSON."""
    all_parameters = inspect.signature(task.func).parameters
    given = {name: each for place, (name, each) in enumerate(all_parameters.items()) if place or not task.takes_context}

    def arguments() -> None:
        """Never called."""

    arguments.__name__, arguments.__qualname__ = task.func.__name__, task.func.__qualname__
    arguments.__module__, arguments.__doc__ = task.func.__module__, task.func.__doc__
    arguments.__wrapped__ = task.func  # type: ignore[attr-defined]
    arguments.parameters = given  # type: ignore[attr-defined]
    as_fields = [_as_field(each) for each in given.values()]
    arguments.__signature__ = inspect.Signature(as_fields)  # type: ignore[attr-defined]
    return arguments


def _as_field(parameter: inspect.Parameter) -> inspect.Parameter:
    if parameter.kind is parameter.VAR_POSITIONAL:
        parameter = parameter.replace(annotation=list, default=[], kind=parameter.KEYWORD_ONLY)
    elif parameter.kind is parameter.VAR_KEYWORD:
        parameter = parameter.replace(annotation=dict, default={}, kind=parameter.KEYWORD_ONLY)
    annotation = Any if parameter.annotation is signature.MISSING else parameter.annotation
    return parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=annotation)


def register(task: Task[Any, Any]) -> None:
    """Make a job type of a task, unless it has one already, or raise ``JobTypeError``."""
    registered = registry.find(task.module_path)
    if isinstance(registered, TaskType) and registered.task.func is task.func:
        return
    if registered is not None and not isinstance(registered, TaskType):
        raise JobTypeError(f"There is a job type called {task.module_path!r} already: {registered.place}.")
    _check_secrets(task)
    registry.unregister(task.module_path)  # its module was imported again
    registry.register(TaskType(task))


def _check_secrets(task: Task[Any, Any]) -> None:
    """Raise ``JobTypeError`` for a secret without a field of its own: in JSON it would be stored in the clear."""
    for name, parameter in inspect.signature(task.func).parameters.items():
        annotation = parameter.annotation
        with suppress(JobTypeError):  # an annotation that cannot be resolved becomes JSON
            annotation = signature.resolved(inspect.unwrap(task.func), parameter)
        if not _holds_secret(annotation):
            continue
        try:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise JobTypeError("a secret is an argument of its own")
            field = form_field(task.module_path, signature.Parameter(name, annotation, parameter.default))
            if problem := codec.secret_problem(field):
                raise JobTypeError(problem)
        except JobTypeError as error:
            raise JobTypeError(f"Argument {name!r} of {task.module_path}: {error}.") from None


def _holds_secret(annotation: Any) -> bool:
    """Return whether an annotation has a secret, or a password input, in any place."""
    if isinstance(annotation, str):
        return re.search(r"\bSecret\b", annotation) is not None
    kind, metadata = unwrap(annotation)
    widgets = [item.widget for item in metadata if isinstance(item, Arg) and item.widget is not None]
    if any(map(is_password, widgets)):
        return True
    plain = typing.get_origin(kind) or kind
    is_own = isinstance(plain, type) and issubclass(plain, Secret)
    return is_own or any(map(_holds_secret, typing.get_args(kind)))


def of_task(task: Task[Any, Any]) -> TaskType:
    job_type = registry.get(task.module_path)
    assert isinstance(job_type, TaskType)
    return job_type
