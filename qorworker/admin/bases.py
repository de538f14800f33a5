"""Django's classes with the type parameters that only the type checker knows. Web."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.paginator import Paginator

from qorworker.models import Job, Worker

if TYPE_CHECKING:
    PaginatorBase = Paginator[Any]
    JobAdminBase = admin.ModelAdmin[Job]
    WorkerAdminBase = admin.ModelAdmin[Worker]
else:
    PaginatorBase = Paginator
    JobAdminBase = WorkerAdminBase = admin.ModelAdmin
