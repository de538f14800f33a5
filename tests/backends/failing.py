"""A backend that cannot be told of anything: its broker is down."""

from qorworker.queues import BaseBackend


class FailingBackend(BaseBackend):
    def jobs_ready(self, jobs):
        raise OSError("The broker is down.")
