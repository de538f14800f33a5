"""Django's task framework on qorworker: ``TASKS`` names ``qorworker.backends.tasks.QorWorkerBackend``. All processes.

``backend`` is what the framework calls, ``task_type`` the job type of a task, ``results`` the result of a job.
"""

from qorworker.backends.tasks import events as _events  # noqa: F401 - connects its receivers
from qorworker.backends.tasks.backend import QorWorkerBackend, QorWorkerTask
from qorworker.backends.tasks.context import JobTaskContext

__all__ = ["JobTaskContext", "QorWorkerBackend", "QorWorkerTask"]
