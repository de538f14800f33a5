"""A project that uses the package without listing it among its apps."""

import os
import subprocess
import sys


def test_the_tables_without_the_app_name_the_setting_to_change():
    code = (
        "import django; from django.conf import settings; settings.configure(); django.setup()\n"
        "from qorworker import job\n"
        "job(name='shop.job')(lambda: None).enqueue()"
    )
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "ImproperlyConfigured: Add “qorworker” to INSTALLED_APPS" in done.stderr
    assert "app_label" not in done.stderr
