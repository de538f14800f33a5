"""What ``django.tasks`` calls: validates a task, stores it as a job, tells its result. Wherever a task is enqueued."""

from __future__ import annotations

import datetime as dt
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from django.apps import apps
from django.core import checks

from qorworker.backends.tasks import results, task_type
from qorworker.compat import BaseTaskBackend, InvalidTask, Task, TaskResult, task_enqueued
from qorworker.conf import settings
from qorworker.exceptions import JobTypeError


@dataclass(frozen=True, slots=True, kw_only=True)
class QorWorkerTask(Task):  # type: ignore[type-arg, unused-ignore]
    """A task with the options of ``@job``, for ``@task(max_attempts=3)``; Django 6.0 takes none of them there.

    ``run_after`` may be a timedelta too: so long after it is enqueued.
    """

    title: str = ""
    group: str = ""
    max_attempts: int = 1
    backoff: Callable[[int], Any] | str = "exponential"
    timeout: float | dt.timedelta | None = None
    memory_limit: int | None = None
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
        Task.__post_init__(self)  # super() does not work in a class with slots that a decorator has made anew
        object.__setattr__(self, "priority", int(self.priority))  # True and 1.0 are let through


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
        except JobTypeError as error:
            raise InvalidTask(str(error)) from error

    def enqueue(self, task: Task[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult[Any, Any]:
        """Store the task as a job, in the transaction that is open.

        Raises ``InvalidTask``, ``TypeError`` for arguments that the function does not take or JSON cannot carry,
        and ``ValueError`` for NaN and the like.
        """
        self.validate_task(task)
        job_type = task_type.of_task(task)
        given = job_type.arguments.given_by(task, args, kwargs)
        like_this = job_type.using(priority=int(task.priority), queue_name=task.queue_name, run_after=task.run_after)
        (job,) = like_this._store([given])
        result = results.result_of(job, job_type, [], self.alias)
        if not job.is_existing:
            task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> TaskResult[Any, Any]:
        """The result as the database has it. Raises ``TaskResultDoesNotExist``."""
        return results.find(result_id, self.alias)

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        found: list[checks.CheckMessage] = []
        if not apps.is_installed("qorworker"):
            found.append(
                checks.Error(f"TASKS[{self.alias!r}] needs “qorworker” in INSTALLED_APPS.", id="qorworker.E020")
            )
        if missing := sorted(set(self.queues) - set(settings.QUEUES)):
            found.append(
                checks.Error(
                    f"TASKS[{self.alias!r}] has queues that are not in QORWORKER['QUEUES']: {', '.join(missing)}.",
                    hint=f"There are: {', '.join(settings.QUEUES)}.",
                    id="qorworker.E021",
                )
            )
        if self.options:
            found.append(
                checks.Error(
                    f"TASKS[{self.alias!r}] has OPTIONS, and this backend knows none: {', '.join(self.options)}.",
                    hint="What concerns workers belongs into QORWORKER, what concerns one task into @task(…).",
                    id="qorworker.E022",
                )
            )
        return found
