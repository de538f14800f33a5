"""Figures for Prometheus, read from the database when they are asked for. Web, and a process of its own.

As an app it brings ``manage.py exportmetrics``. The view and the collector need no app.
"""

from qorworker.contrib.needs import missing

try:
    import prometheus_client  # noqa: F401
except ImportError as error:
    raise missing("qorworker.contrib.prometheus", "prometheus", error) from error
