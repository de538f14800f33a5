"""The job type that ``@job`` makes of a function: its options, its arguments, and how its jobs are enqueued.

All processes.
"""

from __future__ import annotations

import copy
import datetime as dt
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Unpack

from asgiref.sync import sync_to_async
from django.views.decorators.debug import sensitive_variables

from qorworker.arguments import Arguments
from qorworker.arguments.signature import place_of
from qorworker.definitions import backoff, options
from qorworker.definitions.limits import Limits
from qorworker.definitions.options import EnqueueOptions, JobOptions, Options
from qorworker.exceptions import InvalidArguments, JobTypeError, SecretsUnavailable
from qorworker.schedules.plan import Plan, plans_of
from qorworker.text.storable import json_of

if TYPE_CHECKING:
    from qorworker.models.job import Job

R = TypeVar("R")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Defaults:
    """The options that ``using`` sets for the next jobs."""

    run_after: dt.datetime | dt.timedelta | None = None
    priority: int | None = None
    queue_name: str | None = None
    max_attempts: int | None = None
    concurrency_key: str | None = None
    unique: Any = None
    unique_key: str | None = None
    user: Any = None
    origin: str = "code"
    rerun_of: Any = None
    schedule: Any = None
    database: str | None = None
    meta: Mapping[str, Any] | None = None


DEFAULTS = frozenset(option.name for option in fields(Defaults))


class JobType(Generic[R]):
    """The definition of a kind of job, as ``@job`` makes it. To call it calls the function, for tests."""

    do_not_call_in_templates = True  # else {{ job_type.title }} would run the handler in the web process

    def __init__(self, function: Callable[..., R], chosen: JobOptions) -> None:
        self.options = Options.chosen_for(function, chosen)
        self.function = function
        self.place, self.import_of = place_of(function), options.import_of(function)
        self.defaults = Defaults()
        self.arguments = Arguments(self.options.name, function, self.options.form)
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self.__module__ = function.__module__
        self.__wrapped__ = function

    def __getattr__(self, name: str) -> Any:
        # The options read as attributes: job_type.title, job_type.timeout …
        if name in options.NAMES:
            return getattr(self.options, name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<JobType {self.name}>"

    def __call__(self, /, *args: Any, **kwargs: Any) -> R:
        return self.function(*args, **kwargs)

    @property
    def context_parameter(self) -> str | None:
        """The parameter that gets the ``JobContext``; None if the function has none."""
        return self.arguments.context_parameter

    @property
    def description(self) -> str:
        """The function's docstring without its list of parameters."""
        return self.arguments.description

    @cached_property
    def limits(self) -> Limits:
        """How many of its jobs may run and start: all together, or separately for each key."""
        return Limits(self.options.max_concurrency, self.options.rate_limit)

    @property
    def is_limited(self) -> bool:
        return bool(self.options.max_concurrency or self.options.rate_limit)

    # Enqueueing.

    def using(self, **defaults: Unpack[EnqueueOptions]) -> JobType[R]:
        """Return the same type with other options for the jobs that it enqueues.

        None stands for what ``@job`` says. A second ``using`` adds to the first.

        :param run_after: when the job may start: a datetime, or a timedelta from now.
        :param priority: from -100 to 100; jobs with a higher one start first.
        :param queue_name: a queue of ``QORWORKER["QUEUES"]``.
        :param max_attempts: from 1 to 100; more than 1 declares the job re-runnable.
        :param concurrency_key: the key by which the jobs share the type's limits, instead of its ``concurrency_key``.
        :param unique: True, or a ``Unique``, instead of the type's rule; False for no rule.
        :param unique_key: a text of 1 to 200 characters; jobs of this type with the same key count as alike.
        :param user: the user for whom the job is enqueued. An audit entry then names the user.
        :param origin: where the request comes from, for the audit: a value of ``Origin``.
        :param rerun_of: the ``Job``, or its id, of which the new job is another run.
        :param schedule: the ``Schedule``, or its id, that makes the job.
        :param database: the alias of the database in which the job is stored.
        :param meta: a JSON object that the project keeps with the job, in clear text.
        :raises TypeError: for an unknown option.
        :raises ValueError: for a wrong value.

        Example::

            import_products.using(run_after=timedelta(hours=1), priority=50).enqueue(shop=berlin)
        """
        options.check_defaults(self.name, defaults, DEFAULTS)
        if defaults.get("concurrency_key") and not self.is_limited:
            raise ValueError(f"{self.name}.using(concurrency_key=…): the job type has no limit.")
        other = copy.copy(self)
        other.defaults = replace(self.defaults, **defaults)
        return other

    @sensitive_variables()
    def enqueue(self, /, *values: Any, **arguments: Any) -> Job:
        """Store one job, which takes part in the transaction that is open.

        :param values: arguments by position, in the order of the signature.
        :param arguments: arguments by name, as the function takes them.
        :returns: the job; for a unique job type perhaps the one that exists already (``job.is_existing``).
        :raises qorworker.exceptions.InvalidArguments: with the field errors if they do not fit; nothing is stored.
        :raises qorworker.exceptions.AlreadyEnqueued: if it is unique, and its rule refuses a second job.
        :raises qorworker.exceptions.UnknownQueue: if the settings do not have its queue.

        Example::

            job = import_products.enqueue(file=upload, shop=berlin)
        """
        return self._store([self.arguments.clean(self.arguments.named(values, arguments))])[0]

    @sensitive_variables()
    async def aenqueue(self, /, *values: Any, **arguments: Any) -> Job:
        """Do what ``enqueue`` does, for coroutines."""

        @sensitive_variables()
        def enqueue() -> Job:
            return self.enqueue(*values, **arguments)

        # As a closure: what is passed along stands in the frames of asgiref, and so in reports of errors.
        return await sync_to_async(enqueue)()

    @sensitive_variables()
    def enqueue_many(self, many: Sequence[Mapping[str, Any]]) -> list[Job]:
        """Store one job for each dict of arguments: all of them, or none if one does not fit.

        :param many: dicts of arguments, as for ``enqueue``.
        :returns: the jobs, in the same order.
        :raises qorworker.exceptions.InvalidArguments: with the errors of all dicts, by place and field.

        Example::

            import_products.enqueue_many([{"shop": shop} for shop in Shop.objects.all()])
        """
        cleaned, errors = [], {}
        for place, arguments in enumerate(many):
            try:
                cleaned.append(self.arguments.clean(arguments))
            except InvalidArguments as error:
                errors.update({f"[{place}].{field}": messages for field, messages in error.errors.items()})
        if errors:
            raise InvalidArguments(self.name, errors)
        return self._store(cleaned)

    @sensitive_variables()
    async def aenqueue_many(self, many: Sequence[Mapping[str, Any]]) -> list[Job]:
        """Do what ``enqueue_many`` does, for coroutines."""

        @sensitive_variables()
        def enqueue_many() -> list[Job]:
            return self.enqueue_many(many)

        return await sync_to_async(enqueue_many)()

    @sensitive_variables()
    def enqueue_cleaned(self, cleaned: Mapping[str, Any]) -> Job:
        """Store one job.

        :param cleaned: arguments that ``arguments.form_class`` has cleaned.
        """
        return self._store([cleaned])[0]

    @sensitive_variables()
    def enqueue_stored(self, job: Job, /, **changes: Any) -> Job:
        """Store a new job with the arguments of *job*, and *changes*. Secrets are not copied: they must be in the
        changes.
        """
        return self._store([self.arguments.clean(self.arguments.reuse(job.arguments, changes))])[0]

    def enqueue_as_stored(self, stored: Mapping[str, Any]) -> Job:
        """Store one job with arguments as a table has them, secrets included.

        :param stored: arguments that fit; this is not checked again.
        """
        from qorworker.actions.enqueue import store_dumped  # noqa: PLC0415 - stands above the definitions

        return store_dumped(self, [dict(stored)])[0]

    @property
    def plans(self) -> list[Plan]:
        """The schedules that code declares for it."""
        return plans_of(self.name, self.options.schedule)

    def can_start(self, job: Job) -> bool:
        """Return whether the stored arguments of *job* still fit this definition."""
        try:
            self.arguments.load(job.arguments)
        except (InvalidArguments, JobTypeError, SecretsUnavailable):
            return False
        return True

    # Pausing.

    def pause(
        self, *, by: Any = None, reason: str = "", until: dt.datetime | None = None, origin: str = "code"
    ) -> None:
        """Start no more jobs of this type, in any queue, until it is resumed.

        :param by: the user who pauses it; shown where jobs wait.
        :param reason: a sentence for users; shown where jobs wait.
        :param until: when the pause ends by itself; None: never.
        :param origin: where the request comes from, for the audit.
        :raises qorworker.exceptions.InvalidPause: if *until* is past.

        Example::

            import_products.pause(by=request.user, reason="The supplier sends wrong prices.")
        """
        from qorworker.actions import pausing  # noqa: PLC0415 - stands above the definitions

        pausing.pause_job_type(self.name, by=by, reason=reason, until=until, origin=origin)

    def resume(self, *, by: Any = None, origin: str = "code") -> bool:
        """End the pause of this type: its waiting jobs start in their turn.

        :param by: the user who resumes it, for the audit.
        :param origin: where the request comes from, for the audit.
        :returns: False if it was not paused.
        """
        from qorworker.actions import pausing  # noqa: PLC0415 - stands above the definitions

        return pausing.resume_job_type(self.name, by=by, origin=origin)

    def _store(self, many: Sequence[Mapping[str, Any]]) -> list[Job]:
        from qorworker.actions.enqueue import store  # noqa: PLC0415 - stands above the definitions

        return store(self, many)

    # What the worker asks.

    needs_result = False  # whether a run fails if what it returns cannot be kept

    def text_of(self, returned: Any) -> str | None:
        """Return the handler's return value as JSON; None for None.

        :raises TypeError: for a type that JSON cannot carry.
        :raises ValueError: for a value that JSON cannot carry.
        """
        if returned is None:
            return None
        return json_of(returned)

    def retry_delay(self, attempt: int) -> float:
        """Return the seconds to wait after attempt number *attempt* failed. This never raises: the parent calls it."""
        try:
            return backoff.seconds(self.options.backoff(attempt))
        except Exception:
            logger.exception("The back-off of %s failed; the default is used instead.", self.name)
            return backoff.seconds(backoff.STRATEGIES["exponential"](attempt))

    if TYPE_CHECKING:
        name: str
        title: Any
        group: Any
        form: type[Any] | None
        queue_name: str
        priority: int
        max_attempts: int
        backoff: backoff.Backoff
        timeout: float | None
        memory_limit: int | None
        permission: str | Callable[[Any, JobType[Any], str], bool] | None
        schedulable: bool
        schedule: Any
        isolation: str
        max_concurrency: int | None
        rate_limit: Any
        concurrency_key: Any
        unique: Any
        atomic: bool
        confirm: Any
        on_row_errors: str
        middleware: Sequence[Any]
