from __future__ import annotations

import os
import subprocess
import sys

import pytest
from django.contrib.auth import authenticate

from example_project.demo import data
from example_project.newsletter.jobs import send_newsletter
from example_project.newsletter.models import Subscriber
from example_project.reports.jobs import nightly_report
from example_project.shop.jobs import import_products, rebuild_search_index
from example_project.shop.models import Shop
from qorworker import Schedule
from qorworker.models import Job
from qorworker.permissions import can
from tests.support import ROOT


@pytest.fixture
def users(db):
    data.make_users()


def test_jobs_stand_under_three_headings():
    types = (send_newsletter, import_products, rebuild_search_index, nightly_report)
    assert [job_type.group for job_type in types] == ["Marketing", "Catalogue", "Catalogue", "Reports"]


def test_both_users_can_log_in(users):
    assert authenticate(username="admin", password="admin").is_superuser
    operator = authenticate(username="operator", password="operator")
    assert operator.is_staff
    assert not operator.is_superuser


def test_the_operator_may_run_all_but_the_newsletter(users):
    operator = authenticate(username="operator", password="operator")
    runnable = (import_products, rebuild_search_index, nightly_report)
    assert all(can(operator, "run", job_type) for job_type in runnable)
    assert not can(operator, "run", send_newsletter)
    assert can(operator, "view", send_newsletter)


def test_seeding_twice_adds_nothing(users, settings, tmp_path):
    settings.NEWSLETTER_PASSWORD, settings.MEDIA_ROOT = "letters", tmp_path
    admin = authenticate(username="admin", password="admin")

    def count() -> tuple[int, ...]:
        data.make_users()
        data.make_rows()
        data.enqueue_jobs(admin)
        return Subscriber.objects.count(), Shop.objects.count(), Job.objects.count()

    assert count() == count() == (len(data.NAMES), 3, 4)


def test_the_first_jobs_are_in_different_states(users, settings, tmp_path):
    settings.NEWSLETTER_PASSWORD, settings.MEDIA_ROOT = "letters", tmp_path
    data.make_rows()
    data.enqueue_jobs(authenticate(username="admin", password="admin"))
    assert sorted(Job.objects.values_list("status", flat=True)) == ["cancelled", "new", "new", "scheduled"]
    assert Schedule.objects.get().job_name == "reports.nightly_report"


@pytest.mark.parametrize(
    ("chosen", "queues"),
    [({}, []), ({"EXAMPLE_CRON": "1"}, ["nightly"]), ({"EXAMPLE_BROKER": "memory://"}, ["media"])],
)
def test_the_settings_show_each_backend_and_pass_the_checks(tmp_path, chosen, queues):
    names = "from qorworker.conf import settings; print(*settings.QUEUES)"
    code = f"import django; django.setup(); {names}; from django.core.checks import run_checks; print(run_checks())"
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "example_project.settings", "EXAMPLE_VAR": str(tmp_path), **chosen}
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == [" ".join(["default", "reports", "now", *queues]), "[]"]
