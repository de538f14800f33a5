"""Sentry: each run has a scope and a transaction, events name their job, schedules are monitors. All processes.

As an app it adds the job to events and notes the trace with new jobs. ``monitored`` is the middleware for the rest.
"""

from qorworker.contrib.needs import missing

try:
    import sentry_sdk  # noqa: F401
except ImportError as error:
    raise missing("qorworker.contrib.sentry", "sentry", error) from error
