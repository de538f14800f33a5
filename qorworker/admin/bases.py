"""Django's classes with the type parameters that only the type checker knows. Web."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.paginator import Paginator

from qorworker.models import Batch, Calendar, Job, Message, MessageRule, Queue, Schedule, Worker

if TYPE_CHECKING:
    PaginatorBase = Paginator[Any]
    BatchAdminBase = admin.ModelAdmin[Batch]
    CalendarAdminBase = admin.ModelAdmin[Calendar]
    JobAdminBase = admin.ModelAdmin[Job]
    WorkerAdminBase = admin.ModelAdmin[Worker]
    ScheduleAdminBase = admin.ModelAdmin[Schedule]
    QueueAdminBase = admin.ModelAdmin[Queue]
    MessageAdminBase = admin.ModelAdmin[Message]
    MessageRuleAdminBase = admin.ModelAdmin[MessageRule]
else:
    PaginatorBase = Paginator
    BatchAdminBase = CalendarAdminBase = JobAdminBase = admin.ModelAdmin
    WorkerAdminBase = ScheduleAdminBase = QueueAdminBase = admin.ModelAdmin
    MessageAdminBase = MessageRuleAdminBase = admin.ModelAdmin
