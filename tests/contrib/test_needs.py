"""Without its library a module says which extra brings it, and is imported by nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [
        ("qorworker.contrib.prometheus", "prometheus_client", "prometheus"),
        ("qorworker.contrib.opentelemetry", "opentelemetry", "opentelemetry"),
        ("qorworker.contrib.sentry", "sentry_sdk", "sentry"),
    ],
)
def test_a_library_that_is_missing_is_named_with_its_extra(monkeypatch, module, library, extra):
    for name in [name for name in sys.modules if name.startswith((module, library))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    from django.core.exceptions import ImproperlyConfigured

    with pytest.raises(ImproperlyConfigured) as error:
        __import__(module)
    assert library in str(error.value)
    assert f"python -m pip install 'qorworker[{extra}]'" in str(error.value)


def test_a_project_without_them_loads_none_of_these_libraries():
    code = (
        "import os, sys, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'tests.settings'; django.setup()\n"
        "import qorworker.management.commands.runworker, qorworker.worker.parent.supervisor\n"
        "print([name for name in ('prometheus_client', 'opentelemetry', 'sentry_sdk', 'structlog')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
