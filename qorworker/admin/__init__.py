"""The pages of the admin: catalogue, run form, list, detail, live data, queues, workers. Web; none waits for a job."""

from qorworker.admin.jobs.admin import JobAdmin
from qorworker.admin.queues.admin import QueueAdmin
from qorworker.admin.schedules.admin import ScheduleAdmin
from qorworker.admin.workers.admin import WorkerAdmin

__all__ = ["JobAdmin", "QueueAdmin", "ScheduleAdmin", "WorkerAdmin"]
