"""Settings of the test project. QORWORKER_TEST_DATABASE chooses sqlite (default), postgresql or mariadb."""

from __future__ import annotations

import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

import django

ENGINE = os.environ.get("QORWORKER_TEST_DATABASE") or "sqlite"
NAME = os.environ.get("QORWORKER_TEST_NAME", "qorworker_test")
SCRATCH = Path(tempfile.gettempdir()) / NAME / os.environ.get("PYTEST_XDIST_WORKER", "")

DATABASES = {
    "sqlite": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(SCRATCH / "project.sqlite3"),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            "timeout": 20,
        },
        # A file, not memory: worker processes must see it too.
        "TEST": {"NAME": str(SCRATCH / "test.sqlite3")},
    },
    "postgresql": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ.get("QORWORKER_POSTGRESQL_NAME", "postgres"),
        "HOST": os.environ.get("QORWORKER_POSTGRESQL_HOST", "127.0.0.1"),
        "PORT": os.environ.get("QORWORKER_POSTGRESQL_PORT", "5432"),
        "USER": os.environ.get("QORWORKER_POSTGRESQL_USER", "postgres"),
        "PASSWORD": os.environ.get("QORWORKER_POSTGRESQL_PASSWORD", ""),
        "TEST": {"NAME": f"test_{NAME}"},
    },
    "mariadb": {
        "ENGINE": "django.db.backends.mysql",
        "NAME": os.environ.get("QORWORKER_MARIADB_NAME", "test"),
        "HOST": os.environ.get("QORWORKER_MARIADB_HOST", "127.0.0.1"),
        "PORT": os.environ.get("QORWORKER_MARIADB_PORT", "3306"),
        "USER": os.environ.get("QORWORKER_MARIADB_USER", "root"),
        "PASSWORD": os.environ.get("QORWORKER_MARIADB_PASSWORD", ""),
        "TEST": {"NAME": f"test_{NAME}", "CHARSET": "utf8mb4"},
    },
}
SCRATCH.mkdir(parents=True, exist_ok=True)
DATABASES = {"default": DATABASES[ENGINE]}
if database := os.environ.get("QORWORKER_TEST_RUNNING_DATABASE"):
    # A worker process of a test: the database that the test runner made.
    DATABASES["default"]["NAME"] = database
if os.environ.get("QORWORKER_TEST_POOL"):
    DATABASES["default"]["OPTIONS"] = {"pool": True}

SECRET_KEY = "only for tests, nothing is protected by it"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"  # a project's choice must not matter to qorworker
USE_TZ = os.environ.get("QORWORKER_TEST_USE_TZ", "1") == "1"
TIME_ZONE = "Europe/Berlin"
LANGUAGE_CODE = os.environ.get("QORWORKER_TEST_LANGUAGE", "en")
ROOT_URLCONF = "tests.urls"
STATIC_URL = "static/"
MEDIA_ROOT = str(SCRATCH / "media")
STATICFILES_DIRS: list[str] = []
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
else:
    EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "qorworker",
    "tests.testapp",
    "example_project.newsletter",
    "example_project.shop",
    "example_project.reports",
]
if find_spec("django_tasks_db"):
    INSTALLED_APPS.append("django_tasks_db")  # another backend for tasks, that keeps the same contract
NEWSLETTER_PASSWORD = "letters"
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
# Every page is under a strict policy, so that every test in a browser is one of that, too.
SECURE_CSP = {
    "default-src": ["'self'"],
    "object-src": ["'none'"],
    "base-uri": ["'none'"],
    "form-action": ["'self'"],
    "frame-ancestors": ["'none'"],
    "report-uri": ["/csp-report/"],
}
if django.VERSION >= (6, 0):
    MIDDLEWARE.append("django.middleware.csp.ContentSecurityPolicyMiddleware")
else:
    MIDDLEWARE.append("tests.browser.csp.PolicyMiddleware")
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
if django.VERSION >= (6, 0) or find_spec("django_tasks"):
    TASKS = {"default": {"BACKEND": "qorworker.backends.tasks.QorWorkerBackend"}}
QORWORKER = {
    "QUEUES": {
        name: {"BACKEND": "qorworker.backends.local.LocalBackend", "OPTIONS": {}}
        for name in ("default", "mail", "reports", "other")
    },
    "PRUNE_AT": None,
}
