"""The context of a task that takes one: Django's, and the ``JobContext`` of its job. Child process."""

from __future__ import annotations

from dataclasses import dataclass

from qorworker.compat import TaskContext
from qorworker.execution.context import JobContext


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTaskContext(TaskContext):  # type: ignore[misc, type-arg, unused-ignore]
    """``context.attempt`` and ``context.task_result`` are those of Django; ``context.job`` is the ``JobContext``."""

    job: JobContext
