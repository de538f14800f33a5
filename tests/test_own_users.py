"""A project whose users have a UUID as their key."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support import ROOT

pytestmark = pytest.mark.once

MODELS = """
import uuid

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import PermissionsMixin
from django.db import models


class Person(AbstractBaseUser, PermissionsMixin):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    email = models.EmailField(unique=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=True)
    USERNAME_FIELD = "email"
"""
SCRIPT = """
import django
from django.conf import settings
settings.configure(
    SECRET_KEY="test", AUTH_USER_MODEL="people.Person", DEFAULT_AUTO_FIELD="django.db.models.BigAutoField", USE_TZ=True,
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "people", "qorworker"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()
from django.core.management import call_command
call_command("migrate", run_syncdb=True, verbosity=0)
from datetime import timedelta
from people.models import Person
from qorworker import Job, job
from qorworker.execution import recheck
ann = Person.objects.create(email="ann@example.com", is_superuser=True)
greet = job(name="people.greet")(lambda: None)
one = greet.using(user=ann).enqueue()
many = greet.using(user=ann).enqueue_many([{}, {}])
later = greet.using(user=ann, run_after=timedelta(hours=1)).enqueue()
unique = greet.using(user=ann, unique_key="x").enqueue()
nobody = greet.enqueue()
assert Job.objects.filter(created_by=ann).count() == 5
assert Job.objects.get(pk=nobody.pk).created_by is None
recheck.check(nobody.pk, ann.pk.hex, greet, "default")
"""


def test_jobs_name_users_with_a_uuid(tmp_path):
    package = tmp_path / "people"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "models.py").write_text(MODELS)
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(ROOT)])
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
