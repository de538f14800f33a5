"""The job type that ``@job`` makes of a function: its options, its arguments, and how its jobs are enqueued.

All processes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from types import GenericAlias, MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar, Unpack, overload

from asgiref.sync import sync_to_async
from django.views.decorators.debug import sensitive_variables

from qorworker.arguments import Arguments, raw
from qorworker.arguments.signature import place_of
from qorworker.definitions import approval, backoff, options, versions
from qorworker.definitions.budgets import budgets_of
from qorworker.definitions.call import Call
from qorworker.definitions.dependencies import parents_in
from qorworker.definitions.limits import Limits
from qorworker.definitions.options import EnqueueOptions, Options
from qorworker.exceptions import InvalidArguments, JobTypeError, SecretsUnavailable
from qorworker.schedules.plan import Plan, plans_of
from qorworker.text.storable import json_of
from qorworker.text.suggestion import did_you_mean

P = ParamSpec("P")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)
if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    from qorworker.execution.context import JobContext
    from qorworker.models.job import Job

    # What calling the handler returns: of a coroutine function, a coroutine that returns R.
    Called_co = TypeVarWithDefault("Called_co", default=Any, covariant=True)
    OptionsAsAttributes = Options
else:
    Called_co = TypeVar("Called_co", covariant=True)
    OptionsAsAttributes = object


class NoSuchAttribute(AttributeError):
    """Names the closest attribute once the error is read. Code that only asks for an attribute pays nothing for it."""

    def __str__(self) -> str:
        names = [each for each in dir(JobType) if each[0] != "_"]
        return super().__str__() + did_you_mean(self.name, names, options.VERBS)


class JobType(Generic[P, R_co, Called_co], OptionsAsAttributes):
    """The definition of a kind of job, as ``@job`` makes it. To call it calls the function, for tests.

    In an annotation it has two parts: the parameters of the handler without its context, and what the handler, or its
    coroutine, returns: ``JobType[[Shop, int], str]``, or ``JobType[..., Any]`` for any job type.
    """

    do_not_call_in_templates = True  # else {{ job_type.title }} would run the handler in the web process

    def __init__(self, function: Callable[..., Any], chosen: Mapping[str, Any]) -> None:
        self.options = Options.chosen_for(function, chosen)
        # The options read as attributes: job_type.title, job_type.timeout …
        vars(self).update(
            {name: getattr(self.options, name) for name in options.NAMES if not hasattr(type(self), name)}
        )
        self.function = function
        self.place, self.import_of = place_of(function), options.import_of(function)
        # Only where it counts: to read the text of a function takes its time.
        self.code_digest = approval.code_digest(function) if self.options.approval is not None else ""
        self.defaults: EnqueueOptions = {}  # the options that ``using`` sets for the next jobs
        self.arguments = Arguments(self.options.name, function, self.options.form)
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self.__module__ = function.__module__
        self.__wrapped__ = function

    if not TYPE_CHECKING:  # the third part is for type checkers only, and need not be written
        __class_getitem__ = classmethod(GenericAlias)

        def __getattr__(self, name: str) -> Any:
            raise NoSuchAttribute(f"A job type has no attribute {name!r}.", name=name)

    def __repr__(self) -> str:
        return f"<JobType {self.name}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # as functions do: there is one definition

    @overload
    def __call__(self, context: JobContext, /, *args: P.args, **kwargs: P.kwargs) -> Called_co: ...
    @overload
    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Called_co: ...
    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if (name := self.context_parameter) is not None and not args and name not in kwargs:
            raise TypeError(
                f"{self.name} was called without its {name!r}. To put a job into the queue, use its enqueue(…) with the"
                " other arguments; in a test, qorworker.testing.run_job(…) runs it at once."
            )
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
    def budgets(self) -> dict[str, int]:
        """How much one attempt may do at most, by the name of the option; empty if it has no budget."""
        return budgets_of(self.options)

    @cached_property
    def limits(self) -> Limits:
        """How many of its jobs may run and start: all together, or separately for each key."""
        return Limits(self.options.max_concurrency, self.options.rate_limit)

    @property
    def is_limited(self) -> bool:
        return bool(self.options.max_concurrency or self.options.rate_limit)

    # Enqueueing.

    def using(self, **defaults: Unpack[EnqueueOptions]) -> Self:
        """Return the same type with other options for the jobs that it enqueues.

        None stands for what ``@job`` says. A second ``using`` adds to the first.

        :param run_after: when the job may start: a datetime, or a timedelta from now.
        :param after: a ``Job``, the id of one, or several of them: the new job starts once all of these have ended.
            It finds them in ``context.parents``.
        :param after_failure: what becomes of it if one of these fails, is aborted, cancelled or deleted: "cancel", the
            default, cancels it, too; "run" lets it run all the same; "wait" lets it wait until one that has failed
            was retried and is done.
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
        :param dry_run: True for rehearsals, if the type allows them: see ``job.rehearsal``. They are attempted once,
            unless *max_attempts* says otherwise, need no approval, and know no unique jobs.
        :raises TypeError: for an unknown option.
        :raises ValueError: for a wrong value, which it names.

        Example::

            import_products.using(run_after=timedelta(hours=1), priority=50).enqueue(shop=berlin)
        """
        options.check_defaults(self.name, defaults)
        if "after" in defaults:
            defaults["after"] = parents_in(defaults["after"])  # an iterator could be read once only
        if defaults.get("concurrency_key") and not self.is_limited:
            raise ValueError(f"{self.name}.using(concurrency_key=…): the job type has no limit.")
        if defaults.get("max_attempts") == 1 and self.options.concurrency:
            raise ValueError(f"{self.name}.using(max_attempts=1): jobs that share a process are re-runnable.")
        if defaults.get("dry_run") and not self.options.dry_run:
            raise ValueError(
                f"{self.name}.using(dry_run=True): the job type has to allow that, with @job(dry_run=True)."
            )
        other = object.__new__(type(self))  # copy.copy() asks for what it may have, at each job of a schedule
        vars(other).update(vars(self))
        other.defaults = {**self.defaults, **defaults}
        return other

    @sensitive_variables()
    def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Store one job, which takes part in the transaction that is open.

        :param args: arguments by position, in the order of the signature.
        :param kwargs: arguments by name, as the function takes them. Type checkers know their types; a text that a
            user would type is cleaned, too, but that is what ``enqueue_raw`` is for.
        :returns: the job; for a unique job type perhaps the one that exists already (``job.is_existing``).
        :raises qorworker.exceptions.InvalidArguments: with the field errors if they do not fit; nothing is stored.
        :raises qorworker.exceptions.AlreadyEnqueued: if it is unique, and its rule refuses a second job.
        :raises qorworker.exceptions.UnknownQueue: if the settings do not have its queue.

        Example::

            job = import_products.enqueue(file=upload, shop=berlin)
        """
        return self._enqueue(self.arguments.named(args, kwargs))

    @sensitive_variables()
    async def aenqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Do what ``enqueue`` does, for coroutines."""
        return await _in_thread(lambda: self.enqueue(*args, **kwargs))

    @sensitive_variables()
    def enqueue_raw(self, arguments: Mapping[str, Any], /) -> Job:
        """Store one job with arguments as a form or JSON sends them. Type checkers know nothing about them.

        :param arguments: by name: texts, numbers, primary keys, uploads, or the values that ``enqueue`` takes. In a
            ``QueryDict`` several values of one name are a list, and the CSRF token is left out.
        :returns: the job, as ``enqueue`` does.
        :raises TypeError: if it is no mapping.
        :raises qorworker.exceptions.InvalidArguments: and whatever else ``enqueue`` raises.

        Example::

            job = import_products.enqueue_raw({"file": request.FILES["file"], "shop": "7"})
        """
        return self._enqueue(raw.by_name(arguments))

    @sensitive_variables()
    async def aenqueue_raw(self, arguments: Mapping[str, Any], /) -> Job:
        """Do what ``enqueue_raw`` does, for coroutines."""
        return await _in_thread(lambda: self.enqueue_raw(arguments))

    @sensitive_variables()
    def bind(self, /, *args: P.args, **kwargs: P.kwargs) -> Call[R_co]:
        """Return the job type together with arguments that the form has cleaned. Nothing is stored.

        :param args: arguments by position, as for ``enqueue``.
        :param kwargs: arguments by name, as for ``enqueue``.
        :returns: a ``Call``, which has ``enqueue()`` and ``aenqueue()``.
        :raises qorworker.exceptions.InvalidArguments: with the field errors if they do not fit.

        Example::

            call = import_products.using(priority=50).bind(file=upload, shop=berlin)
            job = call.enqueue()
        """
        given = self.arguments.named(args, kwargs)
        cleaned = self.arguments.clean_plain(given)
        return Call(self, MappingProxyType(self.arguments.clean(given) if cleaned is None else cleaned))

    @sensitive_variables()
    async def abind(self, /, *args: P.args, **kwargs: P.kwargs) -> Call[R_co]:
        """Do what ``bind`` does, for coroutines: to clean an argument may query the database."""
        return await _in_thread(lambda: self.bind(*args, **kwargs))

    @sensitive_variables()
    def enqueue_many(self, many: Iterable[Mapping[str, Any]]) -> list[Job]:
        """Store one job for each dict of arguments: all of them, or none if one does not fit.

        :param many: dicts of arguments, as for ``enqueue`` or ``enqueue_raw``. Type checkers do not look into them.
        :returns: the jobs, in the same order.
        :raises TypeError: if one of them is no mapping.
        :raises qorworker.exceptions.InvalidArguments: with the errors of all dicts, by place and field.

        Example::

            import_products.enqueue_many({"shop": shop} for shop in Shop.objects.all())
        """
        many = [raw.by_name(arguments) for arguments in many]
        if (dumped := self.arguments.dump_plain(many)) is not None:
            return self._store_dumped(dumped)
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
    async def aenqueue_many(self, many: Iterable[Mapping[str, Any]]) -> list[Job]:
        """Do what ``enqueue_many`` does, for coroutines."""
        return await _in_thread(lambda: self.enqueue_many(many))

    @sensitive_variables()
    def enqueue_cleaned(self, cleaned: Mapping[str, Any]) -> Job:
        """Store one job.

        :param cleaned: arguments that ``arguments.form_class`` has cleaned.
        """
        return self._store([cleaned])[0]

    @sensitive_variables()
    async def aenqueue_cleaned(self, cleaned: Mapping[str, Any]) -> Job:
        """Do what ``enqueue_cleaned`` does, for coroutines."""
        return await _in_thread(lambda: self.enqueue_cleaned(cleaned))

    @sensitive_variables()
    def enqueue_stored(self, job: Job, /, **changes: Any) -> Job:
        """Store a new job with the arguments of *job*, and *changes*. Secrets are not copied: they must be in the
        changes.
        """
        return self._store([self.arguments.clean(self.arguments.reuse(job.current_arguments, changes))])[0]

    def enqueue_as_stored(self, stored: Mapping[str, Any]) -> Job:
        """Store one job with arguments as a table has them, secrets included.

        :param stored: arguments that fit; this is not checked again.
        """
        return self._store_dumped([dict(stored)])[0]

    @property
    def plans(self) -> list[Plan]:
        """The schedules that code declares for it."""
        return plans_of(self.name, self.options.schedule)

    def upgraded(self, stored: Mapping[str, Any], version: int) -> Mapping[str, Any]:
        """Return stored arguments of a *version* as this definition takes them.

        :raises qorworker.exceptions.InvalidArguments: if its ``upgrade`` fails.
        """
        return versions.upgraded(self, stored, version)

    def can_start(self, job: Job) -> bool:
        """Return whether the stored arguments of *job* still fit this definition."""
        try:
            self.arguments.load(job.current_arguments)
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

    def _enqueue(self, given: Mapping[str, Any]) -> Job:
        if (dumped := self.arguments.dump_plain([given])) is not None:
            return self._store_dumped(dumped)[0]
        return self._store([self.arguments.clean(given)])[0]

    def _store(self, many: Sequence[Mapping[str, Any]]) -> list[Job]:
        from qorworker.actions.enqueue import store  # noqa: PLC0415 - stands above the definitions

        return store(self, many)

    def _store_dumped(self, dumped: Sequence[dict[str, Any]]) -> list[Job]:
        from qorworker.actions.enqueue import store_dumped  # noqa: PLC0415 - stands above the definitions

        return store_dumped(self, dumped)

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
        return backoff.seconds_after(self.options.backoff, attempt, self.name)


async def _in_thread(call: Callable[[], T]) -> T:
    # As a closure: what is passed along stands in the frames of asgiref, and so in reports of errors.
    return await sync_to_async(sensitive_variables()(call))()
