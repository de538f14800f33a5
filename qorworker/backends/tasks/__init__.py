"""Django's task framework on qorworker: its ``TASKS`` names ``qorworker.backends.tasks.QorWorkerBackend``.

``backend`` is what the framework calls, ``task_type`` what a task becomes in the admin, ``results`` what is told of it.
"""

from qorworker.backends.tasks.backend import QorWorkerBackend, QorWorkerTask
from qorworker.backends.tasks.context import JobTaskContext

__all__ = ["JobTaskContext", "QorWorkerBackend", "QorWorkerTask"]
