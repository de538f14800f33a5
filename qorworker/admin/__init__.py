"""The pages of the admin: catalogue, run form, list, detail, live data, workers. Web; a page never waits for a job."""

from qorworker.admin.jobs import JobAdmin
from qorworker.admin.workers import WorkerAdmin

__all__ = ["JobAdmin", "WorkerAdmin"]
