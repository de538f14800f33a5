"""What a task that takes a context is given: Django's, with the verbs of a job beside it. Child process."""

from __future__ import annotations

from dataclasses import dataclass

from qorworker.compat import TaskContext
from qorworker.context import JobContext


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTaskContext(TaskContext):  # type: ignore[misc, type-arg, unused-ignore]
    """``context.attempt`` and ``context.task_result`` as anywhere; ``context.job`` is the ``JobContext``."""

    job: JobContext
