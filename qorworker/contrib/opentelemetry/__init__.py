"""Traces of jobs, from where one is enqueued to each of its attempts. All processes.

As an app it notes with each new job in which trace it was enqueued. ``traced`` is the middleware that goes on with it.
"""

from qorworker.contrib.needs import missing

try:
    import opentelemetry.trace  # noqa: F401
except ImportError as error:
    raise missing("qorworker.contrib.opentelemetry", "opentelemetry", error) from error
