"""``@job`` and the registry of all job types. All processes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, Unpack, overload

from qorworker.arguments import codec
from qorworker.definitions import options
from qorworker.definitions.decorators import Anything, FormJobDecorator, JobDecorator
from qorworker.definitions.job_type import JobType
from qorworker.definitions.limits import NONE, Limits, prefix_in, prefix_of
from qorworker.definitions.options import FormJobOptions, JobOptions
from qorworker.definitions.versions import labels
from qorworker.exceptions import JobTypeError, UnknownJobType
from qorworker.text.masking import Mask
from qorworker.text.suggestion import did_you_mean

if TYPE_CHECKING:
    from qorworker.execution.context import JobContext

P = ParamSpec("P")
R = TypeVar("R")


class Registry:
    """The job types of this process, by name."""

    def __init__(self) -> None:
        self._types: dict[str, JobType[..., Any]] = {}
        self._left_out: set[str] = set()
        self._hidden: set[str] = set()

    def register(self, job_type: JobType[..., Any]) -> None:
        """Add *job_type*.

        :raises qorworker.exceptions.JobTypeError: if another function already has its name.
        """
        namesake = self._types.get(job_type.name)
        if namesake is not None and not options.same_definition(namesake, job_type):
            raise JobTypeError(
                f"Two job types are called {job_type.name!r}: {namesake.place} and {job_type.place}."
                " Give one of them another name with @job(name=…)."
            )
        self._types[job_type.name] = job_type

    def unregister(self, name: str) -> None:
        self._types.pop(name, None)

    def get(self, name: str) -> JobType[..., Any]:
        """Return the type called *name*.

        :raises qorworker.exceptions.UnknownJobType: if this process does not have it; the message suggests a similar
            name.
        """
        try:
            return self._types[name]
        except KeyError:
            raise UnknownJobType(name, did_you_mean(name, self._types)) from None

    def find(self, name: str) -> JobType[..., Any] | None:
        """Return the type called *name*; None if this process does not have it."""
        return self._types.get(name)

    def is_isolated(self, name: str) -> bool:
        """Whether each attempt at a job of the type *name* gets a new process."""
        job_type = self._types.get(name)
        return job_type is not None and job_type.isolation == "process"

    def concurrency_of(self, name: str) -> int | None:
        """Return how many jobs of the type *name* may share a child; None if each needs one for itself."""
        job_type = self._types.get(name)
        return None if job_type is None else job_type.concurrency

    def names(self) -> list[str]:
        return sorted(self._types)

    def leave_out(self, names: Iterable[str]) -> None:
        """Start no jobs of these types in this process: their definitions are wrong."""
        self._left_out.update(names)

    def startable_names(self) -> list[str]:
        """Return the names of the types whose jobs this process starts."""
        return sorted(self._types.keys() - self._left_out)

    def versions(self) -> list[str]:
        """Return the labels of the versions above the first whose jobs this process can run."""
        return labels(self._types)

    def hide(self, name: str) -> None:
        """Offer the type *name*, which the app needs for itself, nowhere."""
        self._hidden.add(name)

    def all(self) -> list[JobType[..., Any]]:
        """Return every type that is not hidden: those without a group first, then by group and title."""
        types = [job_type for name, job_type in self._types.items() if name not in self._hidden]
        return sorted(types, key=lambda t: (str(t.group).casefold(), str(t.title).casefold(), t.name))

    def with_hidden(self) -> list[JobType[..., Any]]:
        """Return every type, in no particular order."""
        return list(self._types.values())

    def ready(self) -> list[JobType[..., Any]]:
        """Return every type but those whose form reads choices from a table that does not exist yet.

        ``migrate`` runs the system checks before it creates that table.
        """
        return [job_type for job_type in self.all() if job_type.arguments.definition.is_ready]


registry = Registry()


# Those that take a function are the same as in ``JobDecorator``.
@overload
def job(function: Callable[Concatenate[Anything, P], Any], /) -> JobType[..., Any]: ...
@overload
def job(
    function: Callable[Concatenate[JobContext, P], Coroutine[Any, Any, R]], /
) -> JobType[P, R, Coroutine[Any, Any, R]]: ...
@overload
def job(function: Callable[Concatenate[JobContext, P], R], /) -> JobType[P, R, R]: ...
@overload
def job(function: Callable[P, Coroutine[Any, Any, R]], /) -> JobType[P, R, Coroutine[Any, Any, R]]: ...
@overload
def job(function: Callable[P, R], /) -> JobType[P, R, R]: ...
@overload
def job(**options: Unpack[FormJobOptions]) -> FormJobDecorator: ...
@overload
def job(**options: Unpack[JobOptions]) -> JobDecorator: ...
def job(function: Callable[..., Any] | None = None, /, **chosen: Any) -> Any:
    """Make a function a job type, with or without options.

    :param name: the key in the table, 1 to 200 characters; by default ``"<app label>.<function>"``.
    :param title: the name that people see; by default made from the function's name.
    :param group: the heading in the catalogue.
    :param form: a ``Form``, ``ModelForm`` or model class that asks for the arguments instead of the signature.
    :param queue_name: a queue of ``QORWORKER["QUEUES"]``; by default ``"default"``.
    :param priority: from -100 to 100, by default 0; jobs with a higher one start first.
    :param max_attempts: from 1 to 100, by default 1; more than 1 declares the job re-runnable.
    :param backoff: how long a failed job waits for its next attempt: ``"exponential"`` (the default), ``"linear"``,
        ``"constant"``, or a callable that takes the attempt's number and returns seconds or a timedelta.
    :param timeout: how long an attempt may take, in seconds or as a timedelta; None (the default): no limit.
    :param memory_limit: how much memory an attempt may take, in bytes; None (the default): no limit.
    :param max_queries: how many database queries one attempt may make; None (the default): no limit.
    :param max_mails: how many mails it may send; None: no limit.
    :param max_log_lines: how many lines it may add to its log; None: no limit.
    :param max_rows: how many rows it may add to its results; None: no limit.
    :param permission: who may run it: ``"app.codename"``, or a callable ``(user, job_type, action) -> bool``.
    :param approval: the permission that another user needs to approve a run before it starts: ``"app.codename"``, or a
        callable ``(user, job_type, arguments)`` that returns one, or None for a run that needs no approval.
    :param dry_run: whether it can be rehearsed: run so that its writes are rolled back, its mail is caught, and its
        page shows what would have changed; by default False.
    :param schedulable: whether people may choose a time; by default True.
    :param schedule: when it runs by itself: a ``Cron``, ``Every``, ``At`` or ``Plan``, or a list of them.
    :param isolation: ``"warm"`` (the default): attempts share a process; ``"process"``: each gets a new one.
    :param concurrency: how many jobs of this type, a coroutine that may be run again, one process may run at the same
        time, from 2 to 1,000; None (the default): one.
    :param max_concurrency: how many jobs may run at once, over all workers, from 1 to 10,000; None: no limit.
    :param rate_limit: how many jobs may start in a period, over all workers: ``"10/m"`` (units s, m, h, d), or
        ``(10, timedelta(minutes=1))``; None: no limit.
    :param concurrency_key: what these two limits count separately: the name of an argument, a list of names, or a
        callable that takes the dict of arguments and returns a key.
    :param unique: True, or a ``Unique``: no second job like another.
    :param atomic: True: the attempt's writes and its end are committed together; ``"chunk"``: so are some items of
        each ``JobContext.iterate`` and its checkpoint; by default False.
    :param confirm: a question that people answer before the job starts.
    :param on_row_errors: how a job ends whose results carry errors: ``"exception"`` (the default) or ``"done"``.
    :param middleware: factories or their dotted paths, the outermost first; they run inside those of the project.
    :param keep_for: how long a job is kept after its end: a timedelta, ``"forever"``, or a dict from final status to
        one of these; None (the default): what the setting ``KEEP_FOR`` says.
    :param version: the number of its arguments, from 1 (the default) to 32,767. Raise it with a change of them that
        code from before cannot handle: workers with that code then leave new jobs to workers with the new one.
    :param upgrade: a callable that takes arguments as they are stored, a dict of JSON, and the older version that
        stored them, and returns them as this version stores them; None: stored arguments are taken as they are.
    :raises qorworker.exceptions.JobTypeError: for an unknown option, a wrong value, or a name that is taken.

    Example::

        @job(group="Catalogue", max_attempts=3, timeout=1800)
        def import_products(context: JobContext, shop: Shop) -> None: ...
    """
    if function is None:
        return partial(_declare, chosen=chosen)
    return _declare(function, chosen)


def _declare(function: Callable[..., Any], chosen: Mapping[str, Any]) -> JobType[..., Any]:
    job_type: JobType[..., Any] = JobType(function, chosen)
    registry.register(job_type)
    return job_type


def mask_of(name: str, arguments: str) -> Mask:
    """Return a mask for the secrets of a job of the type *name* with these stored *arguments*, given as JSON."""
    job_type = registry.find(name)
    return codec.mask_of(arguments) if job_type is None else job_type.arguments.mask_of(arguments)


def limits_of(limit_key: str) -> Limits:
    """Return the limits of the jobs with this stored key; none if this process lacks their type, or it has no limit
    now.
    """
    prefix = prefix_in(limit_key)
    return next((each.limits for each in registry.all() if prefix_of(each.name) == prefix), NONE)


def limits_by_prefix(names: Any) -> dict[str, Limits]:
    """Return the limits of these types by the prefix of their stored keys."""
    return {prefix_of(name): registry.get(name).limits for name in names}
