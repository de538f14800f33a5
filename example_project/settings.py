"""Settings of the example project. Everything it writes goes to ``var/``.

The database is SQLite. EXAMPLE_DATABASE=postgresql or mariadb chooses a server instead; EXAMPLE_DATABASE_NAME, _HOST,
_PORT, _USER and _PASSWORD say where it is.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import django

BASE_DIR = Path(__file__).resolve().parent
VAR = Path(os.environ.get("EXAMPLE_VAR", BASE_DIR / "var"))
VAR.mkdir(parents=True, exist_ok=True)


def server(engine: str, port: int, user: str) -> dict[str, Any]:
    return {
        "ENGINE": f"django.db.backends.{engine}",
        "NAME": os.environ.get("EXAMPLE_DATABASE_NAME", "qorworker_example"),
        "HOST": os.environ.get("EXAMPLE_DATABASE_HOST", "127.0.0.1"),
        "PORT": os.environ.get("EXAMPLE_DATABASE_PORT", port),
        "USER": os.environ.get("EXAMPLE_DATABASE_USER", user),
        "PASSWORD": os.environ.get("EXAMPLE_DATABASE_PASSWORD", ""),
        "OPTIONS": {"connect_timeout": 4},  # seconds; a probe of the site waits for five
    }


DATABASES = {
    "default": {
        "sqlite": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ.get("EXAMPLE_DATABASE_NAME", VAR / "example.sqlite3"),
            # What SQLite needs when several processes write: a log beside the file, and locks that wait.
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
                "timeout": 20,
            },
        },
        "postgresql": server("postgresql", 5432, "postgres"),
        "mariadb": server("mysql", 3306, "root"),
    }[os.environ.get("EXAMPLE_DATABASE", "sqlite")]
}

DEBUG = True
SECRET_KEY = "an example key: a real project keeps its own out of the repository"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "example_project.urls"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
STATIC_URL = "static/"
MEDIA_ROOT = VAR / "media"
MAIL_FOLDER = VAR / "mail"
if django.VERSION >= (6, 1):
    MAILERS = {
        "default": {
            "BACKEND": "django.core.mail.backends.filebased.EmailBackend",
            "OPTIONS": {"file_path": MAIL_FOLDER},
        }
    }
else:
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    EMAIL_FILE_PATH = MAIL_FOLDER
DEFAULT_FROM_EMAIL = "news@example.com"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "qorworker",
    "example_project.newsletter",
    "example_project.shop",
    "example_project.reports",
    "example_project.demo",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# The job "Send newsletter" asks for this password before it writes to anybody.
NEWSLETTER_PASSWORD = os.environ.get("EXAMPLE_NEWSLETTER_PASSWORD", "letters")

LOCAL = "qorworker.backends.local.LocalBackend"
# Where jobs run: each queue has a backend. The demo needs no more than the first two, which ``runworker`` serves.
QUEUES: dict[str, dict[str, Any]] = {
    # While both have enough to do, nine jobs of the first queue are started for one of the second.
    "default": {"BACKEND": LOCAL, "WEIGHT": 9},
    "reports": {"BACKEND": LOCAL, "WEIGHT": 1},
    "now": {"BACKEND": "qorworker.backends.immediate.ImmediateBackend"},  # for scripts: enqueue() returns at the end
}
if os.environ.get("EXAMPLE_CRON"):  # needs the extra "crontab"; then once: manage.py crontab add -v0
    from qorworker.backends.crontab import CRONJOBS as TICK

    INSTALLED_APPS.append("django_crontab")
    CRONJOBS = [*TICK]
    QUEUES["nightly"] = {"BACKEND": "qorworker.backends.crontab.CrontabBackend", "OPTIONS": {"PROCESSES": 2}}
if os.environ.get("EXAMPLE_BROKER"):  # needs the extra "celery"; then: celery -A example_project.celery worker -Q media
    import example_project.celery  # noqa: F401

    QUEUES["media"] = {"BACKEND": "qorworker.backends.celery.CeleryBackend", "OPTIONS": {"CELERY_QUEUE": "media"}}

QORWORKER = {
    "QUEUES": QUEUES,
    "MIDDLEWARE": ["example_project.middleware.cost"],
}
