"""The app that has events name their job. All processes."""

from django.apps import AppConfig

from qorworker.signals import jobs_made


class SentryConfig(AppConfig):
    name = "qorworker.contrib.sentry"
    label = "qorworker_sentry"
    verbose_name = "qorworker for Sentry"

    def ready(self) -> None:
        from sentry_sdk.scope import add_global_event_processor  # noqa: PLC0415 - needs the models

        from qorworker.contrib.sentry.runs import name_job, note_trace  # noqa: PLC0415 - as above

        add_global_event_processor(name_job)
        jobs_made.connect(note_trace, dispatch_uid="qorworker.contrib.sentry")
