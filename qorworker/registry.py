"""Job types: what ``@job`` makes of a function, and the one place where they are looked up. All processes."""

from __future__ import annotations

import copy
import datetime as dt
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from asgiref.sync import sync_to_async
from django.core.serializers.json import DjangoJSONEncoder
from django.views.decorators.debug import sensitive_variables

from qorworker import options, retry
from qorworker.arguments import Arguments
from qorworker.exceptions import InvalidArguments, JobTypeError, SecretsUnavailable, UnknownJobType
from qorworker.limits import Limits
from qorworker.options import Options
from qorworker.pausing import Pausable
from qorworker.plan import Plan, plans_of

if TYPE_CHECKING:
    from qorworker.models.job import Job

R = TypeVar("R")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Defaults:
    """What ``using`` may set for the jobs that are enqueued next."""

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


class JobType(Pausable, Generic[R]):
    """The definition of a kind of job. Made by ``@job``; calling it calls the function, for tests."""

    do_not_call_in_templates = True  # else {{ job_type.title }} would run the handler in the web process

    def __init__(self, function: Callable[..., R], chosen: Mapping[str, Any]) -> None:
        self.options = Options.chosen_for(function, chosen)
        self.function = function
        self.place, self.import_of = options.place_of(function), options.import_of(function)
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
        """The parameter that gets the ``JobContext``, if there is one."""
        return self.arguments.context_parameter

    @property
    def description(self) -> str:
        """The function's docstring without its list of parameters."""
        return self.arguments.description

    @cached_property
    def limits(self) -> Limits:
        """How many of its jobs may run and start: all together, or those of each key."""
        return Limits(self.options.max_concurrency, self.options.rate_limit)

    @property
    def is_limited(self) -> bool:
        return bool(self.options.max_concurrency or self.options.rate_limit)

    # Enqueueing.

    def using(self, **defaults: Any) -> JobType[R]:
        """The same type with other values for the jobs that it enqueues.

        ``run_after`` (a datetime, or a timedelta from now), ``priority``, ``queue_name``, ``max_attempts``,
        ``concurrency_key`` (instead of what the type's rule says), ``unique``, ``unique_key`` (jobs with the same one
        are alike), ``user``, ``origin``, ``rerun_of``, ``schedule``, ``database``.
        """
        options.check_defaults(self.name, defaults)
        if defaults.get("concurrency_key") and not self.is_limited:
            raise ValueError(f"{self.name}.using(concurrency_key=…): the job type has no limit.")
        other = copy.copy(self)
        other.defaults = replace(self.defaults, **defaults)
        return other

    @sensitive_variables()
    def enqueue(self, /, **arguments: Any) -> Job:
        """Store one job. Raises ``InvalidArguments`` before anything is stored if the arguments do not fit."""
        return self._store([self.arguments.clean(arguments)])[0]

    @sensitive_variables()
    async def aenqueue(self, /, **arguments: Any) -> Job:
        @sensitive_variables()
        def enqueue() -> Job:
            return self.enqueue(**arguments)

        # As a closure: what is passed along stands in the frames of asgiref, and so in reports of errors.
        return await sync_to_async(enqueue)()

    @sensitive_variables()
    def enqueue_many(self, many: Sequence[Mapping[str, Any]]) -> list[Job]:
        """Store one job for each dict of arguments: all of them or, if one does not fit, none."""
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
        @sensitive_variables()
        def enqueue_many() -> list[Job]:
            return self.enqueue_many(many)

        return await sync_to_async(enqueue_many)()

    @sensitive_variables()
    def enqueue_cleaned(self, cleaned: Mapping[str, Any]) -> Job:
        """Store one job whose arguments were cleaned by ``arguments.form_class``."""
        return self._store([cleaned])[0]

    @sensitive_variables()
    def enqueue_stored(self, job: Job, /, **changes: Any) -> Job:
        """Store a new job with the arguments of *job*, and *changes*. Secrets are not copied: they are asked for."""
        return self._store([self.arguments.clean(self.arguments.reuse(job.arguments, changes))])[0]

    def enqueue_as_stored(self, stored: Mapping[str, Any]) -> Job:
        """Store one job with arguments as they are in a table, secrets and all. The caller knows that they fit."""
        from qorworker.enqueue import store_dumped

        return store_dumped(self, [dict(stored)])[0]

    @property
    def plans(self) -> list[Plan]:
        """Its schedules that are declared in code."""
        return plans_of(self.name, self.options.schedule)

    def can_start(self, job: Job) -> bool:
        """Whether the stored arguments of *job* still fit this definition."""
        try:
            self.arguments.load(job.arguments)
        except (InvalidArguments, JobTypeError, SecretsUnavailable):
            return False
        return True

    def _store(self, many: Sequence[Mapping[str, Any]]) -> list[Job]:
        from qorworker.enqueue import store

        return store(self, many)

    # What the worker asks.

    needs_result = False  # whether a run fails if what it returns cannot be kept

    def text_of(self, returned: Any) -> str | None:
        """What is kept of what the handler returned, as JSON; None for nothing.

        Raises ``TypeError`` or ``ValueError`` for what that cannot carry.
        """
        if returned is None:
            return None
        return json.dumps(returned, cls=DjangoJSONEncoder, allow_nan=False, ensure_ascii=False)

    def retry_delay(self, attempt: int) -> float:
        """Seconds to wait after attempt number *attempt* failed. Never raises: the worker's parent calls it."""
        try:
            return retry.seconds(self.options.backoff(attempt))
        except Exception:
            logger.exception("The back-off of %s failed; the default is used instead.", self.name)
            return retry.seconds(retry.STRATEGIES["exponential"](attempt))

    if TYPE_CHECKING:
        name: str
        title: Any
        group: Any
        form: type[Any] | None
        queue_name: str
        priority: int
        max_attempts: int
        backoff: retry.Backoff
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


class Registry:
    """The job types of this process, by name."""

    def __init__(self) -> None:
        self._types: dict[str, JobType[Any]] = {}

    def register(self, job_type: JobType[Any]) -> None:
        """Add *job_type*. Raises ``JobTypeError`` if another function already has its name."""
        known = self._types.get(job_type.name)
        if known is not None and not options.same_definition(known, job_type):
            raise JobTypeError(
                f"Two job types are called {job_type.name!r}: {known.place} and {job_type.place}."
                " Give one of them another name with @job(name=…)."
            )
        self._types[job_type.name] = job_type

    def unregister(self, name: str) -> None:
        self._types.pop(name, None)

    def get(self, name: str) -> JobType[Any]:
        """The type called *name*. Raises ``UnknownJobType``."""
        try:
            return self._types[name]
        except KeyError:
            raise UnknownJobType(name) from None

    def find(self, name: str) -> JobType[Any] | None:
        return self._types.get(name)

    def names(self) -> list[str]:
        return sorted(self._types)

    def all(self) -> list[JobType[Any]]:
        """Every type, those without a group first, then by group and title."""
        return sorted(self._types.values(), key=lambda t: (str(t.group).casefold(), str(t.title).casefold(), t.name))


registry = Registry()


@overload
def job(function: Callable[..., R], /) -> JobType[R]: ...
@overload
def job(**chosen: Any) -> Callable[[Callable[..., R]], JobType[R]]: ...
def job(function: Callable[..., Any] | None = None, /, **chosen: Any) -> Any:
    """Make a function a job type: ``@job``, or ``@job(group="Catalogue", max_attempts=3)``.

    Options: ``name``, ``title``, ``group``, ``form``, ``queue_name``, ``priority``, ``max_attempts``, ``backoff``,
    ``timeout``, ``memory_limit``, ``permission``, ``schedulable``, ``schedule``, ``isolation``,
    ``max_concurrency``, ``rate_limit``, ``concurrency_key``, ``unique``, ``atomic``, ``confirm``, ``on_row_errors``,
    ``middleware``, ``keep_for``. See ``qorworker.options.Options``.
    """
    if function is None:
        return partial(_declare, chosen=chosen)
    return _declare(function, chosen)


def _declare(function: Callable[..., R], chosen: Mapping[str, Any]) -> JobType[R]:
    job_type = JobType(function, chosen)
    registry.register(job_type)
    return job_type
