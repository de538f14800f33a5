"""A job as the ``TaskResult`` of ``django.tasks``. All processes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.utils.module_loading import import_string

from qorworker import exceptions
from qorworker.backends.tasks.task_type import TaskType
from qorworker.compat import (
    InvalidTask,
    Task,
    TaskError,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
)
from qorworker.definitions.registry import registry
from qorworker.status import JobStatus

if TYPE_CHECKING:
    from qorworker.models import Attempt, Job

LARGEST_ID = 2**63 - 1
STATUS = {
    JobStatus.NEW: TaskResultStatus.READY,
    JobStatus.SCHEDULED: TaskResultStatus.READY,
    JobStatus.RUNNING: TaskResultStatus.RUNNING,
    JobStatus.DONE: TaskResultStatus.SUCCESSFUL,
    JobStatus.EXCEPTION: TaskResultStatus.FAILED,
    JobStatus.KILLED: TaskResultStatus.FAILED,
    JobStatus.CANCELLED: TaskResultStatus.FAILED,
}
ERRORS = {  # for outcomes that no exception of the task has caused
    "row_errors": exceptions.RowsWithErrors,
    "crashed": exceptions.WorkerLost,
    "lost": exceptions.WorkerLost,
    "timeout": exceptions.TimeLimitExceeded,
    "memory": exceptions.MemoryLimitExceeded,
    "budget": exceptions.BudgetExceeded,
    "aborted": exceptions.JobAborted,
    "interrupted": exceptions.JobInterrupted,
    "refused": exceptions.JobRefused,
    "unanswered": exceptions.NotAnswered,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTaskError(TaskError):  # type: ignore[misc, unused-ignore]
    """An error whose class may be inside another one, such as ``Shop.DoesNotExist``."""

    @property
    def exception_class(self) -> type[BaseException]:
        module, _, rest = self.exception_class_path.rpartition(".")
        names = [rest]
        while module:
            try:
                value: Any = import_module(module)
            except ModuleNotFoundError:
                module, _, rest = module.rpartition(".")
                names.insert(0, rest)
                continue
            for name in names:
                value = getattr(value, name, None)
            if isinstance(value, type) and issubclass(value, BaseException):
                return value
            break
        raise ValueError(f"{self.exception_class_path!r} does not reference a valid exception.")


def find(result_id: Any, alias: str) -> TaskResult[Any, Any]:
    """Return the result with this id, or raise ``TaskResultDoesNotExist``, for an invalid id, too."""
    from qorworker.models import Job

    text = str(result_id)
    if not (text.isascii() and text.isdecimal() and text == text.lstrip("0") and int(text) <= LARGEST_ID):
        raise TaskResultDoesNotExist(result_id)
    job = Job.objects.select_related("worker").filter(pk=int(text)).first()
    if job is None:
        raise TaskResultDoesNotExist(result_id)
    return result_of(job, _type_of(job), list(job.attempts.order_by("number", "id")), alias)


def _type_of(job: Job) -> TaskType:
    if registry.find(job.name) is None:
        with suppress(ImportError):
            import_string(job.name)  # a task makes its type when it is imported
    job_type = registry.find(job.name)
    if not isinstance(job_type, TaskType):
        raise TaskResultDoesNotExist(job.pk)
    return job_type


def result_of(job: Job, job_type: TaskType, attempts: Sequence[Attempt], alias: str) -> TaskResult[Any, Any]:
    args, kwargs = job_type.arguments.call_of(job.arguments)
    result: TaskResult[Any, Any] = TaskResult(
        task=_as_enqueued(job, job_type.task, alias),
        id=str(job.pk),
        status=STATUS[JobStatus(job.status)],
        enqueued_at=job.enqueued_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        last_attempted_at=job.last_attempted_at,
        args=args,
        kwargs=kwargs,
        backend=alias,
        errors=_errors(job, attempts),
        worker_ids=_workers(job, attempts),
    )
    if job.status == JobStatus.DONE and job.return_value is not None:
        object.__setattr__(result, "_return_value", json.loads(job.return_value))
    return result


def _as_enqueued(job: Job, task: Task[Any, Any], alias: str) -> Task[Any, Any]:
    later = job.run_after if job.run_after > job.enqueued_at else None
    try:
        return task.using(priority=job.priority, queue_name=job.queue_name, run_after=later, backend=alias)
    except InvalidTask:  # its queue has left the settings since
        return task


def _errors(job: Job, attempts: Sequence[Attempt]) -> list[TaskError]:
    errors = [_error(attempt) for attempt in attempts if attempt.outcome != "done"]
    if job.status == JobStatus.CANCELLED:
        errors.append(JobTaskError(exception_class_path=_path(exceptions.JobCancelled), traceback=str(job.error)))
    elif STATUS[JobStatus(job.status)] == TaskResultStatus.FAILED and not errors:
        errors.append(JobTaskError(exception_class_path=_path(exceptions.JobFailed), traceback=str(job.error)))
    return errors


def _error(attempt: Attempt) -> TaskError:
    own = attempt.exception_class or _path(ERRORS.get(attempt.outcome, exceptions.JobFailed))
    return JobTaskError(exception_class_path=own, traceback=attempt.traceback or f"{own}: {attempt.error}\n")


def _path(error: type[BaseException]) -> str:
    return f"{error.__module__}.{error.__qualname__}"


def _workers(job: Job, attempts: Sequence[Attempt]) -> list[str]:
    names = [attempt.worker_name or str(attempt.worker_id or "") for attempt in attempts]
    if job.status == JobStatus.RUNNING:
        names.append(job.worker.name if job.worker is not None else str(job.process_id or ""))
    return names
