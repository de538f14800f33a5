"""``python django_peer.py set_up | enqueue NUMBER FOLDER | failed``: failed prints how many have failed for good."""

import os
import sys

import django
from django.core.management import call_command

django.setup()
OURS = os.environ["PEER_APP"] == "qorworker"


def set_up():
    call_command("migrate", verbosity=0)


def enqueue(number, folder):
    if OURS:
        from peerjobs.jobs import work
    else:
        from peerjobs.work import work
    for job in range(int(number)):
        work.enqueue(number=job, folder=folder)


def failed():
    if OURS:
        from qorworker.models import Job

        print(Job.objects.ended_badly().count())
    else:
        from django_tasks_db.models import DBTaskResult

        print(DBTaskResult.objects.filter(status="FAILED").count())


globals()[sys.argv[1]](*sys.argv[2:])
