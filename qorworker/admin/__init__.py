"""The pages of the admin, from the catalogue to the jobs and the messages about them. Web; none waits for a job."""

from qorworker.admin.batches.admin import BatchAdmin
from qorworker.admin.calendars.admin import CalendarAdmin
from qorworker.admin.jobs.admin import JobAdmin
from qorworker.admin.messages.admin import MessageAdmin, MessageRuleAdmin
from qorworker.admin.queues.admin import QueueAdmin
from qorworker.admin.schedules.admin import ScheduleAdmin
from qorworker.admin.workers.admin import WorkerAdmin

__all__ = [
    "BatchAdmin",
    "CalendarAdmin",
    "JobAdmin",
    "MessageAdmin",
    "MessageRuleAdmin",
    "QueueAdmin",
    "ScheduleAdmin",
    "WorkerAdmin",
]
