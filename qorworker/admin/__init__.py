"""The pages of the admin: catalogue, run form, list, detail, live data, queues, workers. Web; none waits for a job."""

from qorworker.admin.jobs import JobAdmin
from qorworker.admin.queues import QueueAdmin
from qorworker.admin.schedules import ScheduleAdmin
from qorworker.admin.workers import WorkerAdmin

__all__ = ["JobAdmin", "QueueAdmin", "ScheduleAdmin", "WorkerAdmin"]
