"""What ``django.tasks`` calls: validates a task, stores it as a job, returns its result. All processes."""

from __future__ import annotations

import datetime as dt
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from asgiref.sync import sync_to_async
from django.apps import apps
from django.core import checks
from django.db import router, transaction
from django.views.decorators.debug import sensitive_variables

from qorworker.backends.tasks import results, task_type
from qorworker.compat import BaseTaskBackend, InvalidTask, Task, TaskResult, task_enqueued
from qorworker.conf import settings
from qorworker.exceptions import JobTypeError, UnsupportedByBackend
from qorworker.models import Job
from qorworker.queues import backend_of
from qorworker.queues.base import BaseBackend


@dataclass(frozen=True, slots=True, kw_only=True)
class QorWorkerTask(Task):  # type: ignore[type-arg, unused-ignore]
    """A task with the options of ``@job``, for ``@task(max_attempts=3)``; Django 6.0 takes none of them there.

    ``run_after`` may also be a timedelta from the time when the task is enqueued.
    """

    title: str = ""
    group: str = ""
    max_attempts: int = 1
    backoff: Callable[[int], Any] | str = "exponential"
    timeout: float | dt.timedelta | None = None
    memory_limit: int | None = None
    max_queries: int | None = None
    max_mails: int | None = None
    max_log_lines: int | None = None
    max_rows: int | None = None
    permission: Any = None
    schedulable: bool = True
    isolation: str = "warm"
    unique: Any = None
    max_concurrency: int | None = None
    rate_limit: Any = None
    concurrency_key: Any = None
    atomic: bool = False
    confirm: str = ""

    def __post_init__(self) -> None:
        Task.__post_init__(self)  # super() does not work in a class with slots that a decorator has recreated
        object.__setattr__(self, "priority", int(self.priority))  # Task accepts True and 1.0

    # As those of ``Task``, whose frames would have what is passed, perhaps a secret, in the report of an error.

    @sensitive_variables()
    def enqueue(self, *args: Any, **kwargs: Any) -> TaskResult[Any, Any]:
        return self.get_backend().enqueue(self, list(args), kwargs)

    @sensitive_variables()
    async def aenqueue(self, *args: Any, **kwargs: Any) -> TaskResult[Any, Any]:
        return await self.get_backend().aenqueue(self, list(args), kwargs)


class QorWorkerBackend(BaseTaskBackend):
    """Runs tasks as jobs, with everything that jobs have: pages in the admin, logs, abort, retries."""

    task_class = QorWorkerTask
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, dict(params))
        if "QUEUES" not in params:
            self.queues = set(settings.QUEUES)

    def validate_task(self, task: Task[Any, Any]) -> None:
        """Raise ``InvalidTask`` for a task that cannot run here. One that can becomes a job type."""
        if isinstance(task.run_after, dt.timedelta):
            names = ("func", "priority", "queue_name", "takes_context")
            super().validate_task(SimpleNamespace(run_after=None, **{name: getattr(task, name) for name in names}))
        else:
            super().validate_task(task)
        if inspect.isgeneratorfunction(task.func) or inspect.isasyncgenfunction(task.func):
            raise InvalidTask("Task function must not be a generator: calling it would run nothing of it.")
        try:
            task_type.register(task)
            self._queue_of(task).check_supported(priority=int(task.priority), run_after=task.run_after)
        except (JobTypeError, UnsupportedByBackend) as error:
            raise InvalidTask(str(error)) from error

    def _queue_of(self, task: Task[Any, Any]) -> BaseBackend:
        if task.queue_name not in settings.QUEUES:
            raise InvalidTask(f"There is no queue {task.queue_name!r} in QORWORKER['QUEUES'].")
        return backend_of(task.queue_name)

    @sensitive_variables()
    def enqueue(self, task: Task[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult[Any, Any]:
        """Store the task as a job, in the open transaction.

        :param task: the task.
        :param args: its positional arguments.
        :param kwargs: its keyword arguments.
        :raises django.tasks.exceptions.InvalidTask: if it cannot run here.
        :raises TypeError: for arguments that the function does not take or that JSON cannot carry.
        :raises ValueError: for NaN and infinities.
        """
        self.validate_task(task)
        job_type = task_type.of_task(task)
        given = job_type.arguments.given_by(task, args, kwargs)
        like_this = job_type.using(priority=int(task.priority), queue_name=task.queue_name, run_after=task.run_after)
        runs_here = self._queue_of(task).runs_in_caller
        # Such a queue runs the task when the transaction commits, and that comes after the signal.
        with transaction.atomic(using=router.db_for_write(Job)) if runs_here else nullcontext():
            (job,) = like_this._store([given])
            result = results.result_of(job, job_type, [], self.alias)
            if not job.is_existing:
                task_enqueued.send(type(self), task_result=result)
        return self.get_result(result.id) if runs_here else result

    @sensitive_variables()
    async def aenqueue(
        self, task: Task[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> TaskResult[Any, Any]:
        """Do what ``enqueue`` does, for coroutines."""

        @sensitive_variables()
        def enqueue() -> TaskResult[Any, Any]:
            return self.enqueue(task, args, kwargs)

        # As a closure: what is passed along stands in the frames of asgiref.
        return await sync_to_async(enqueue)()

    def get_result(self, result_id: str) -> TaskResult[Any, Any]:
        """Return the result as the database has it, or raise ``TaskResultDoesNotExist``."""
        return results.find(result_id, self.alias)

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        messages: list[checks.CheckMessage] = []
        if not apps.is_installed("qorworker"):
            messages.append(
                checks.Error(f"TASKS[{self.alias!r}] needs “qorworker” in INSTALLED_APPS.", id="qorworker.E020")
            )
        if missing := sorted(set(self.queues) - set(settings.QUEUES)):
            messages.append(
                checks.Error(
                    f"TASKS[{self.alias!r}] has queues that are not in QORWORKER['QUEUES']: {', '.join(missing)}.",
                    hint=f"The queues are: {', '.join(settings.QUEUES)}.",
                    id="qorworker.E021",
                )
            )
        if self.options:
            messages.append(
                checks.Error(
                    f"TASKS[{self.alias!r}] has OPTIONS, but this backend takes none: {', '.join(self.options)}.",
                    hint="Options of workers belong in QORWORKER, options of one task in @task(…).",
                    id="qorworker.E022",
                )
            )
        return messages
