"""``job_of_command``: management commands as job types, and how their jobs run. Wherever a job runs.

The command runs in the process of the attempt. It gets streams of its own, whose lines go to the job's log.
"""

from __future__ import annotations

import logging
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Unpack

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError
from django.utils.translation import gettext as _

from qorworker.arguments.commands import CONTEXT, Chosen, CommandArguments, load, parser_of
from qorworker.definitions import options
from qorworker.definitions.job_type import JobType
from qorworker.definitions.options import JobOptions
from qorworker.definitions.registry import registry
from qorworker.exceptions import CommandFailed, JobTypeError
from qorworker.execution.context import JobContext
from qorworker.execution.output import Capture, LogStream
from qorworker.text.storable import text_of


class CommandType(JobType[..., None, None]):
    """A management command as a job type. To call it runs the command, which then prints where it always does."""

    arguments: CommandArguments

    def __init__(self, chosen: Chosen, function: Callable[..., Any], given: dict[str, Any]) -> None:
        super().__init__(function, given)
        self.arguments = CommandArguments(self.name, function, chosen)
        self.function = self._runner()

    def __call__(self, /, *args: Any, **kwargs: Any) -> None:
        context = args[0] if args and isinstance(args[0], JobContext) else None
        values = self.arguments.named(args[1:] if context is not None else args, kwargs)
        self.function(**self.arguments.clean(values), **{CONTEXT: context})

    def _runner(self) -> Callable[..., None]:
        declared, arguments = self.function, self.arguments

        def run(**cleaned: Any) -> None:
            context: JobContext | None = cleaned.pop(CONTEXT)
            try:
                words = arguments.words(cleaned)
            except ValidationError as error:
                raise CommandFailed(" ".join(error.messages)) from None
            run_command(arguments.chosen.command, words, context)

        run.__name__, run.__qualname__, run.__module__ = declared.__name__, declared.__qualname__, declared.__module__
        run.__wrapped__ = declared  # type: ignore[attr-defined]
        return run


def job_of_command(
    command: str,
    *,
    arguments: Sequence[str] = (),
    fields: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    secrets: Sequence[str] = (),
    **chosen: Unpack[JobOptions],
) -> JobType[..., None, None]:
    """Make a management command a job type, with a form that its parser makes.

    :param command: the name of the command, as behind ``manage.py``. It is loaded when its form is first needed.
    :param arguments: words of its command line that every job has. What they set is not asked for.
    :param fields: the arguments for which the form asks, in this order; None (the default): all.
    :param exclude: arguments for which the form does not ask.
    :param secrets: arguments that are never shown, and encrypted at rest.
    :param chosen: the options of ``@job``, except for ``form``. By default ``name`` is ``"<app label>.<command>"`` with
        the app that declares the job type, and ``title`` is made from the name of the command.
    :raises qorworker.exceptions.JobTypeError: for an unknown option, a wrong value, or a name that is taken. What is
        wrong with the command itself is reported by ``manage.py check``.

    In ``fields``, ``exclude`` and ``secrets`` an argument has one of its options as its name, ``"--loop"``, or its name
    in code, ``"loop"``.

    Example::

        send_reports = job_of_command("sendreports", group="Mail", arguments=["--loop"])
    """
    declared = _declared(command, sys._getframe(1))
    if "form" in chosen:
        raise JobTypeError(f"{declared.__qualname__} has no option form: the parser of the command makes it.")
    parts = {"arguments": arguments, "fields": fields or (), "exclude": exclude, "secrets": secrets}
    for name, part in parts.items():
        if isinstance(part, str) or not all(isinstance(each, str) for each in part):
            raise JobTypeError(f"{declared.__qualname__}: {name} must be a list of texts, not {part!r}.")
    given = {"name": options.default_name(declared), "title": _title(command), **chosen}
    job_type = CommandType(Chosen(command, arguments, fields, exclude, secrets), declared, given)
    registry.register(job_type)
    return job_type


def _declared(command: str, frame: types.FrameType) -> Callable[..., None]:
    """Return a function that stands for the line that declares the job type, in messages and in the registry."""

    def declared() -> None:
        """Never called."""

    code = declared.__code__.replace(co_filename=frame.f_code.co_filename, co_firstlineno=frame.f_lineno)
    function = types.FunctionType(code, {})
    function.__name__, function.__qualname__ = command, f"job_of_command({command!r})"
    function.__module__ = frame.f_globals.get("__name__", "")
    return function


def _title(command: str) -> str:
    return command.strip("_").replace("_", " ").replace("-", " ").capitalize()


def run_command(name: str, words: Sequence[str], context: JobContext | None = None) -> None:
    """Run a command as ``call_command`` does, without system checks and colours.

    :param words: its command line, behind its name.
    :param context: the attempt whose log gets what the command prints; None: it prints where it always does.
    :raises qorworker.exceptions.CommandFailed: if it ends with an error of its own, or with an exit code.
    """
    with _ending(), _streams(context) as streams:
        command = load(name)
        given = vars(parser_of(command, name).parse_args(list(words)))
        args = given.pop("args", ())
        command.execute(*args, **{**given, "skip_checks": True, "no_color": True, **streams})


@contextmanager
def _ending() -> Iterator[None]:
    """Turn the ways in which commands end with an error into one."""
    try:
        yield
    except CommandError as error:
        raise _failed(str(error).strip(), error.returncode) from error
    except SystemExit as error:
        if error.code in (None, 0):
            return
        is_number = isinstance(error.code, int)
        raise _failed("" if is_number else text_of(error.code), error.code if is_number else 1) from error


def _failed(text: str, returncode: Any) -> CommandFailed:
    values = {"text": text, "code": returncode}
    sentence = _("%(text)s (exit code %(code)s)") if text else _("The command ended with exit code %(code)s.")
    return CommandFailed(sentence % values, returncode)


@contextmanager
def _streams(context: JobContext | None) -> Iterator[dict[str, Any]]:
    """Yield streams to the log of a job, as options of a command."""
    if context is None:
        yield {}
        return
    capture = Capture()  # of its own: the streams of the process stay as they are
    capture.context = context
    stdout, stderr = LogStream(capture, logging.INFO, 1), LogStream(capture, logging.WARNING, 2)
    try:
        yield {"stdout": stdout, "stderr": stderr}
    finally:
        stdout.finish()
        stderr.finish()
