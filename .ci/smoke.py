"""A new project with the installed package: its tables, its checks, a job through a real worker, the admin's pages.

Run in an empty folder, a release with the versions that must be installed: ``python smoke.py 1.0.0rc1 6.1``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

SETTINGS = """
SECRET_KEY = "smoke"
USE_TZ = True
ROOT_URLCONF = "urls"
ALLOWED_HOSTS = ["testserver"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
    "django.contrib.messages", "django.contrib.staticfiles", "qorworker", "shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware", "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
STATIC_URL = "static/"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True, "OPTIONS": {
    "context_processors": [
        "django.template.context_processors.request", "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]}}]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "smoke.sqlite3", "OPTIONS": {
    "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL;", "timeout": 20}}}
"""
URLS = """
from django.contrib import admin
from django.urls import path
urlpatterns = [path("admin/", admin.site.urls)]
"""
JOBS = """
from qorworker import JobContext, Secret, job

@job
def greet(context: JobContext, name: str, password: Secret[str] = "") -> str:
    context.add_log(f"hello {name}")
    return name.upper()
"""
ENQUEUE = """
from shop.jobs import greet
greet.enqueue(name="Ann", password="hunter2")
"""
VERIFY = """
import qorworker
from django.contrib.auth import get_user_model
from django.test import Client
from qorworker import Job
job = Job.objects.get()
assert (job.status, job.result) == ("done", "ANN"), (job.status, job.error)
assert "site-packages" in qorworker.__file__, qorworker.__file__
client = Client()
client.force_login(get_user_model().objects.create_superuser("root", password="root"))
for path in ("", "job/", "job/catalogue/", "job/run/shop.greet/", f"job/{job.pk}/change/", "schedule/", "worker/"):
    answer = client.get(f"/admin/qorworker/{path}")
    assert answer.status_code == 200, (path, answer.status_code)
"""


def run(*words: str) -> str:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": "."}
    done = subprocess.run([sys.executable, "-m", *words], env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)[:80]}\n{done.stdout}{done.stderr}")
    return done.stdout


def main(version: str | None = None, django: str | None = None) -> None:
    files = {"settings.py": SETTINGS, "urls.py": URLS, "shop/__init__.py": "", "shop/jobs.py": JOBS}
    for name, text in files.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
    has = metadata.version("qorworker"), metadata.version("Django")
    assert version in (None, has[0]), has
    assert django is None or f"{has[1]}.".startswith(f"{django}."), has
    run("django", "check", "--fail-level", "WARNING")
    run("django", "migrate")
    run("django", "makemigrations", "--check", "--dry-run")
    run("django", "shell", "-c", ENQUEUE)
    run("django", "checkjobs")
    run("django", "runworker", "--batch", "--processes", "1")
    run("django", "shell", "-c", VERIFY)
    print("installed, migrated, checked; a job ran, and its pages answer")


if __name__ == "__main__":
    main(*sys.argv[1:])
