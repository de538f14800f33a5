from django.contrib import admin
from unfold.admin import ModelAdmin

import qorworker.admin
from qorworker.models import Job, Worker

admin.site.unregister([Job, Worker])


@admin.register(Job)
class JobAdmin(qorworker.admin.JobAdmin, ModelAdmin):
    pass


@admin.register(Worker)
class WorkerAdmin(qorworker.admin.WorkerAdmin, ModelAdmin):
    pass
