"""Django's classes with the type parameters that only the type checker knows. Web."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.paginator import Paginator

from qorworker.models import Job, Queue, Schedule, Worker

if TYPE_CHECKING:
    PaginatorBase = Paginator[Any]
    JobAdminBase = admin.ModelAdmin[Job]
    WorkerAdminBase = admin.ModelAdmin[Worker]
    ScheduleAdminBase = admin.ModelAdmin[Schedule]
    QueueAdminBase = admin.ModelAdmin[Queue]
else:
    PaginatorBase = Paginator
    JobAdminBase = WorkerAdminBase = ScheduleAdminBase = QueueAdminBase = admin.ModelAdmin
