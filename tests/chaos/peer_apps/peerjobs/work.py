"""A task of Django, for django-tasks-db."""

import ledger
from django.tasks import task


@task
def work(number, folder):
    ledger.work(number, folder)
