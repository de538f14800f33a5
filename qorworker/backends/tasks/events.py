"""Sends the signals of the task framework, once for each job, even for a killed one. All processes that run jobs.

They come from the process that supervises the job.
"""

from __future__ import annotations

from typing import Any

from qorworker import exceptions
from qorworker.backends.tasks import results
from qorworker.backends.tasks.backend import QorWorkerBackend
from qorworker.backends.tasks.task_type import TaskType
from qorworker.compat import TaskResult, TaskResultStatus, aliases_of, task_finished, task_started
from qorworker.definitions.registry import registry
from qorworker.signals import job_finished, job_started
from qorworker.status import FINISHED, JobStatus


def on_started(sender: Any, job_id: int, name: str, **kwargs: Any) -> None:
    if (event := _event_of(job_id, name)) is not None:
        backend_class, result = event
        object.__setattr__(result, "status", TaskResultStatus.RUNNING)
        task_started.send_robust(backend_class, task_result=result)


def on_finished(sender: Any, job_id: int, name: str, status: str, error: str, **kwargs: Any) -> None:
    if status not in FINISHED or (event := _event_of(job_id, name)) is None:
        return
    backend_class, result = event
    if status == JobStatus.DONE:
        task_finished.send_robust(backend_class, task_result=result)
        return
    try:
        raise exceptions.JobFailed(error)
    except exceptions.JobFailed:  # receivers look for the exception that is being handled
        task_finished.send_robust(backend_class, task_result=result)


def _event_of(job_id: int, name: str) -> tuple[type[Any], TaskResult[Any, Any]] | None:
    job_type = registry.find(name)
    if not isinstance(job_type, TaskType):
        return None
    ours = aliases_of(QorWorkerBackend)
    alias = job_type.task.backend if job_type.task.backend in ours else (ours or [job_type.task.backend])[0]
    return QorWorkerBackend, results.find(job_id, alias)


job_started.connect(on_started, dispatch_uid="qorworker.backends.tasks")
job_finished.connect(on_finished, dispatch_uid="qorworker.backends.tasks")
